"""Counted costs: what is compared, what is a regression, and that a defect of the field shows as one."""

from __future__ import annotations

from pathlib import Path

import pytest

from rocassay.harness.bench import costs
from rocassay.harness.bench.costs import Change, changes, cost_cases, costs_of, measured, recorded
from rocassay.harness.bench.records import CostRecord, append, read
from rocassay.harness.cases import Case
from rocassay.harness.errors import RocassayError
from rocassay.harness.faults import fault_named

BASE = {"a": {"wave_instructions": 100, "bytes_read": 50}, "gone": {"bytes_read": 1}}


def test_only_growth_beyond_the_allowance_is_worse():
    head = {"a": {"wave_instructions": 102, "bytes_read": 52, "lds_conflicts": 1, "valu_instructions": 9}, "new": {}}
    found = {change.count: change.worse for change in changes(BASE, head)}
    assert found == {"bytes_read": True, "wave_instructions": False, "lds_conflicts": True, "valu_instructions": False}
    assert Change("a", "lds_conflicts", 0, 1).ratio == float("inf")


def test_fewer_counts_are_told_and_not_worse():
    (change,) = changes({"a": {"bytes_read": 50}}, {"a": {}})
    assert (change.base, change.head, change.worse) == (50, 0, False)


def test_records_survive_a_file_and_wrong_ones_have_no_costs(tmp_path: Path):
    path = tmp_path / "costs.jsonl"
    right = CostRecord(case="a", op="o", arch="gfx942", provider="p", status="counted", counts={"waits": 3})
    wrong = CostRecord(case="b", op="o", arch="gfx942", provider="p", status="wrong", counts={"waits": 4})
    for record in (right, wrong):
        append(path, record)
    assert list(read(path)) == [right, wrong]
    assert costs_of(record for record in read(path) if isinstance(record, CostRecord)) == {"a": {"waits": 3}}


def test_every_counted_case_has_a_recorded_cost():
    cases = {str(case) for case in cost_cases()}
    assert cases == set(recorded().costs)


def test_filters_that_leave_nothing_say_what_to_do():
    with pytest.raises(RocassayError, match="--list"):
        cost_cases(words=["no such case"])


@pytest.fixture(scope="module")
def two_passes() -> dict[str, list[int]]:
    """(healthy, two passes) of every count of one decode case."""
    fault = fault_named("two-pass-decode")
    (case, *_) = cost_cases(fault.ops, ("gfx950",), fault.applies)
    healthy, broken = (next(measured([case], "rocassay", name, 1)) for name in (None, fault.name))
    assert (healthy.status, broken.status) == ("counted", "counted")
    return {name: [healthy.counts.get(name, 0), broken.counts.get(name, 0)] for name in broken.counts}


def test_a_second_pass_over_the_cache_shows_as_bytes(two_passes: dict[str, list[int]]):
    once, twice = two_passes["bytes_read"]
    assert twice > 1.5 * once


def test_the_same_case_costs_the_same_again():
    (case, *_) = cost_cases(["per_token_group_quant_fp8"])
    first, second = (next(measured([case], "rocassay", None, 1)) for _ in range(2))
    assert first.counts == second.counts
    assert first.counts["wave_instructions"] > 0


def test_a_case_that_cannot_run_is_wrong_and_not_free():
    case = next(case for case in cost_cases(["per_token_group_quant_fp8"]))
    (record,) = measured([Case.parse(str(case).replace(case.arch, "gfx1250"))], "rocassay", None, 1)
    assert record.status == "wrong"
    assert "gfx1250" in record.reason
    assert costs.costs_of([record]) == {}
