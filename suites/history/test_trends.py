"""Trends as plain data: what is compared with what, how groups are summed up, and what reports are given."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import pytest

from rocassay.harness.accuracy.history import History, StoredRun
from rocassay.harness.results import CaseRecord
from rocassay.harness.trends import TrendRow, evaluation_trends, kernel_trends, op_trends, sparkline, trends
from rocassay.suites.accuracy.stored import NAMES, TASK, evaluation
from rocassay.suites.history.recorded import case, moment, run_of

AFTER, NIGHTS = 17, 24
"""First night of a new level, of so many."""


def stored(tmp_path: Any, nights: Sequence[Sequence[CaseRecord]], **changes: Any) -> list[StoredRun]:
    history = History(tmp_path / "history.sqlite")
    for day, records in enumerate(nights):
        history.kernel_runs.append(run_of(f"r{day}", day, records, **changes))
    return history.kernel_runs.stored()


def level(night: int, before: float, after: float) -> float:
    return before if night < AFTER else after


def night(number: int) -> list[CaseRecord]:
    """`slow` takes longer from a night on, `wrong` comes nearer its limit, `same` stays as it is."""
    wobble = 0.01 * (7 * number % 5)
    return [
        case(0, "slow", t=3.0, seconds=level(number, 1.0, 2.0) + wobble),
        case(0, "slow", t=2.0, seconds=1.0, arch="gfx950"),
        case(0, "wrong", t=level(number, 1.0, 9.0) + wobble, seconds=1.0),
        case(0, "same", t=None, seconds=1.0),
    ]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> list[StoredRun]:
    return stored(tmp_path_factory.mktemp("trends"), [night(number) for number in range(NIGHTS)])


def by_name(rows: Sequence[TrendRow]) -> dict[str, TrendRow]:
    assert len({row.name for row in rows}) == len(rows)
    return {row.name: row for row in rows}


def test_reports_get_names_points_the_step_and_a_unit_and_nothing_else(runs: list[StoredRun]):
    rows = by_name(trends(runs, [evaluation("e", NAMES[:10])]))
    name, points, step, unit = rows["slow interpreter quick: total seconds"]
    assert (name, step, unit) == ("slow interpreter quick: total seconds", AFTER, "s")
    assert points[0] == (moment(0), 2.0, "c0")
    assert (len(points), points[-1].commit) == (NIGHTS, f"c{NIGHTS - 1}")
    assert rows["adder served, additions: accuracy"] == (
        "adder served, additions: accuracy", ((moment(12 * 28), 0.75, ""),), None, "share",
    )  # fmt: skip


def test_only_what_stepped_has_a_step(runs: list[StoredRun]):
    found = {(t.subject, t.measure) for t in op_trends(runs) if t.step}
    assert found == {("slow interpreter quick", "total seconds"), ("wrong interpreter quick", "worst t")}
    (step,) = [t.step for t in op_trends(runs) if t.subject.startswith("wrong") and t.step]
    assert (step.index, round(step.before, 1), round(step.after, 1)) == (AFTER, 1.0, 9.0)


def test_an_op_in_all_has_the_worst_of_its_groups_and_the_sum_of_their_time(runs: list[StoredRun]):
    last = {(t.subject.split()[0], t.measure): t.points[-1].value for t in op_trends(runs)}
    assert (last["slow", "worst t"], last["slow", "total seconds"]) == (3.0, pytest.approx(3.01))
    assert last["same", "not passed"] == 0.0
    assert ("same", "worst t") not in last, "what was never measured has no trend"


def test_one_op_in_detail_has_its_groups_apart(runs: list[StoredRun]):
    found = kernel_trends(runs, "slow")
    assert {t.subject for t in found} == {f"slow {arch} e4m3fn interpreter quick" for arch in ("gfx942", "gfx950")}
    assert {t.measure for t in found} >= {"not passed", "worst t", "median seconds", "total seconds"}
    assert [t.subject.split()[1] for t in found if t.step] == ["gfx942", "gfx942"]
    assert kernel_trends(runs, "nothing") == []


def test_costs_of_machine_code_are_shown_by_kernel(tmp_path: Any):
    def one(number: int) -> list[CaseRecord]:
        counts = {"wave_instructions": 100, "barriers": 0 if number < AFTER else 4}
        return [case(0, "op", launches=("k1", "k2"), counts=counts, engine="isa")]

    found = {t.measure: t for t in kernel_trends(stored(tmp_path, [one(n) for n in range(NIGHTS)]), "op")}
    barriers = found["barriers"]
    assert barriers.subject == "op gfx942 e4m3fn isa quick k1 + k2"
    assert barriers.step
    assert (barriers.step.index, barriers.step.after) == (AFTER, 4.0)
    assert found["wave instructions"].step is None


def test_runs_of_other_cases_or_on_another_device_are_left_out_and_counted(tmp_path: Any):
    history = History(tmp_path / "history.sqlite")
    nights = [[case(0)], [case(0), case(1)], [case(0)], [case(0)]]
    for day, records in enumerate(nights):
        history.kernel_runs.append(run_of(f"r{day}", day, records, device="gpu" if day == 2 else "cpu"))
    (found,) = [t for t in op_trends(history.kernel_runs.stored()) if t.measure == "worst t"]
    assert [point.when for point in found.points] == [moment(0), moment(3)]
    assert found.left_out == 2


@pytest.mark.parametrize("changes", [{"tier": "full"}, {"provider": "torch"}], ids=str)
def test_tiers_and_providers_have_trends_of_their_own(tmp_path: Any, changes: dict[str, Any]):
    history = History(tmp_path / "history.sqlite")
    history.kernel_runs.append(run_of("a", 0))
    history.kernel_runs.append(run_of("b", 1, **changes))
    found = {t.subject: len(t.points) for t in op_trends(history.kernel_runs.stored()) if t.measure == "worst t"}
    assert len(found) == 2
    assert set(found.values()) == {1}


def test_accuracy_is_followed_by_configuration_and_task_without_faults_and_other_questions():
    def at(day: int, wrong: int, **facts: Any) -> Any:
        return evaluation(f"e{day}", NAMES[:wrong], started=moment(day), commit=f"c{day}", **facts)

    other = TASK.fingerprint("test-1").model_copy(update={"max_tokens": 9})
    nights = [at(n, 1 if n < AFTER else 4) for n in range(NIGHTS)]
    extra = [at(30, 40, faults=("f",)), at(1, 9, model="other"), at(0, 30, fingerprint=other)]
    found = {trend.subject: trend for trend in evaluation_trends([*extra, *nights])}
    assert set(found) == {"adder served, additions", "other served, additions"}
    trend = found["adder served, additions"]
    assert (len(trend.points), trend.left_out) == (NIGHTS, 1)
    assert trend.step
    assert (trend.step.index, trend.step.before, trend.step.after) == (AFTER, 39 / 40, 36 / 40)


def test_a_sparkline_shows_the_latest_values_infinite_ones_and_the_step():
    assert sparkline([0.0, 7.0, 3.0]) == "▁█▄"
    assert sparkline([5.0] * 3) == "▁▁▁"
    assert sparkline([0.0, math.inf, 1.0], mark=2) == "▁∞|█"
    assert len(sparkline([float(n) for n in range(500)])) == 40
    assert sparkline([]) == ""
