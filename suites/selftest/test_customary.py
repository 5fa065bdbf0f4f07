"""Other projects' rules beside ours: each rule where it holds and where it does not, and the table over records."""

from __future__ import annotations

import json
import math
from dataclasses import replace
from pathlib import Path

import pytest
import torch

from rocassay.harness.gates import Whitened
from rocassay.harness.gates.customary import RULES, largest_error, uses
from rocassay.harness.results import Assay, CaseRecord, Check, Status
from rocassay.reports import gatetable
from rocassay.suites.selftest.toys import record, toy_case

NAMES = [rule.name for rule in RULES]
ROWS, COLUMNS = 10, 100


def golden(size: float = 1.0) -> Whitened:
    values = torch.linspace(-size, size, ROWS * COLUMNS, dtype=torch.float64).reshape(ROWS, COLUMNS)
    ones = torch.ones_like(values)
    return Whitened(values, 1e-3 * ones, 1e-2 * ones, torch.ones_like(values, dtype=torch.bool))


def judged(expected: Whitened, found: torch.Tensor, peer: float | None = None) -> dict[str, float]:
    return uses({"out": expected}, {"out": found}, {} if peer is None else {"out": peer})


def with_error(expected: Whitened, error: float, count: int) -> torch.Tensor:
    """The golden with an error in its `count` largest elements."""
    found = expected.golden.clone().flatten()
    found[-count:] += error
    return found.reshape(ROWS, COLUMNS)


def test_nobody_fails_what_is_right():
    assert judged(golden(), golden().golden, 0.0) == dict.fromkeys(NAMES, 0.0)


@pytest.mark.parametrize(("count", "fails"), [(50, False), (51, True)])
def test_five_percent_of_the_elements_may_be_anything_for_aiter(count: int, fails: bool):
    use = judged(golden(), with_error(golden(), 1e9, count))["5 % beyond 1e-2"]
    assert (use > 1) is fails


@pytest.mark.parametrize(("error", "fails"), [(0.0399, False), (0.0401, True)])
def test_one_element_beyond_absolute_plus_relative_tolerance_fails_for_vllm(error: float, fails: bool):
    assert (judged(golden(), with_error(golden(), error, 1))["2e-2"] > 1) is fails


def test_small_outputs_hide_in_an_absolute_tolerance():
    small = golden(size=0.009)
    use = judged(small, torch.zeros(ROWS, COLUMNS))
    assert use["5 % beyond 1e-2"] == 0
    assert use["2e-2"] < 1
    assert use["cosine 3e-2"] > 1


@pytest.mark.parametrize("scale", [1.01, 1.1])
def test_the_cosine_sees_energy(scale: float):
    """1 - 2s / (1 + s^2), by hand."""
    defect = 1 - 2 * scale / (1 + scale**2)
    use = judged(golden(), golden().golden * scale)
    assert use["cosine 3e-2"] == pytest.approx(defect / 3e-2, rel=1e-3)
    assert use["cosine 1e-5"] == pytest.approx(defect / 1e-5, rel=1e-3)


@pytest.mark.parametrize(("error", "fails"), [(0.0156, False), (0.0159, True)])
def test_flash_mla_takes_the_kinder_of_two_thresholds_for_every_element(error: float, fails: bool):
    """The largest elements are 1: 2.01/128 = 0.0157 of them counts, not 1e-3."""
    assert (judged(golden(), with_error(golden(), error, 1))["FlashMLA"] > 1) is fails


@pytest.mark.parametrize(("peer", "fails"), [(0.011, False), (0.009, True)])
def test_twice_the_largest_error_of_torch_is_allowed_by_flash_attention(peer: float, fails: bool):
    assert (judged(golden(), with_error(golden(), 0.02, 3), peer)["2x peer"] > 1) is fails


def test_without_a_peer_nobody_speaks_of_it():
    assert "2x peer" not in judged(golden(), golden().golden)


def test_a_nan_where_none_belongs_is_seen_by_all():
    found = golden().golden.clone()
    found[3, 4] = math.nan
    assert judged(golden(), found, 1.0) == dict.fromkeys(NAMES, math.inf)


def test_what_the_contract_leaves_open_is_not_compared():
    expected = golden()
    expected.visible[0] = False
    found = expected.golden.clone()
    found[0] = math.nan
    assert max(judged(expected, found, 0.0).values()) == 0
    assert largest_error(expected, found) == 0


def test_infinities_that_belong_there_are_no_error():
    expected = golden()
    expected.golden[2] = -math.inf
    assert max(judged(expected, expected.golden, 0.0).values()) == 0
    assert largest_error(expected, expected.golden) == 0


def test_the_worst_of_several_outputs_counts():
    good, bad = golden().golden, with_error(golden(), 1.0, 1)
    found = uses({"a": golden(), "b": golden(), "c": golden()}, {"a": good, "b": bad, "c": good}, {})
    assert found["2e-2"] == pytest.approx(25)


def drill(fault: str, *, ours: bool, use: float, produced: str = "wrong", seed: int = 0) -> CaseRecord:
    check = Check(name="bound", kind="gate", passed=not ours, statistic=1.0, limit=1.0)
    status = Status.FAILED if ours else Status.BLIND
    case = replace(toy_case(), seed=seed)
    return record(case, status, fault=fault, checks=(check,), customary={"rule": use}, produced=produced)


def healthy(use: float = 0.5, seed: int = 0) -> CaseRecord:
    return record(replace(toy_case(), seed=seed), customary={"rule": use}, produced="right")


def rows_of(*records: CaseRecord) -> dict[str, gatetable.GateRow]:
    return {row.rule: row for row in gatetable.gate_table(Assay(Path("none"), records=list(records)))}


def test_the_table_counts_what_each_rule_missed_and_what_it_failed_wrongly():
    rows = rows_of(
        healthy(),
        healthy(use=1.5, seed=1),
        drill("a", ours=True, use=3.0),
        drill("a", ours=True, use=0.3, seed=1),
        drill("b", ours=True, use=0.9),
        drill("c", ours=False, use=1.1),
    )
    ours, rule = rows[gatetable.OURS], rows["rule"]
    assert (ours.seen, ours.changed, ours.missed, ours.false_reds) == (3, 4, ("c",), 0)
    assert (rule.seen, rule.changed, rule.missed, rule.defects) == (2, 4, ("b",), 3)
    assert (rule.false_reds, rule.healthy) == (1, 2)


def test_a_defect_that_left_the_output_alone_was_missed_by_nobody():
    rows = rows_of(healthy(), drill("a", ours=True, use=3.0), drill("b", ours=False, use=0.1, produced="right"))
    assert rows["rule"].changed == rows[gatetable.OURS].changed == 1


def test_a_probe_is_no_gate_on_values():
    probe = Check(name="host-sync", kind="probe", passed=False)
    red = record(status=Status.FAILED, fault="a", checks=(probe,), customary={"rule": 0.2}, produced="wrong")
    assert rows_of(healthy(), red)[gatetable.OURS].missed == ("a",)


def test_a_rule_is_not_blamed_where_it_has_no_say():
    silent = drill("a", ours=True, use=2.0).model_copy(update={"customary": {"other": 2.0}})
    rows = rows_of(healthy(), silent, drill("b", ours=True, use=2.0))
    assert (rows["rule"].changed, rows["other"].changed) == (1, 1)


def test_the_table_is_there_as_markdown_and_json():
    rows = list(rows_of(healthy(), drill("a", ours=True, use=0.1)).values())
    assert "| rule | 1 | 1 | 1 | 1 | 0 | 1 |" in gatetable.markdown(rows)
    assert json.loads(gatetable.as_json(rows))[1]["missed"] == ["a"]
    assert gatetable.gate_table(Assay(Path("none"), records=[healthy()])) == []
