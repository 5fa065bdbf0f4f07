"""A night of many configurations: what stays red once it is counted how often was looked."""

from __future__ import annotations

import datetime as dt
from typing import Any

import numpy as np
import pytest

from rocassay.harness.accuracy.errors import AccuracyError
from rocassay.harness.accuracy.night import judge_night, since_of
from rocassay.harness.accuracy.verdict import Policy
from rocassay.harness.results import Evaluation
from rocassay.suites.accuracy.stored import TASK, accuracy_check, evaluation


def judged(name: str, p: float | None, status: str = "", **facts: Any) -> Evaluation:
    """A configuration of this name whose accuracy check had this p."""
    status = status or ("red" if p is not None and p < 0.001 else "green")
    checks = () if p is None else (accuracy_check(p, passed=status == "green"),)
    decided = facts.pop("decided_by", () if status == "green" else ("accuracy",))
    run = facts.pop("run", name)
    return evaluation(run, model=name, status=status, checks=checks, decided_by=decided, **facts)


def quiet(count: int) -> list[Evaluation]:
    """So many configurations without a finding."""
    return [judged(f"quiet{number:02}", 0.5) for number in range(count)]


def red(evaluations: list[Evaluation], alpha: float = 0.01) -> list[str]:
    return [line.run for line in judge_night(evaluations, alpha).lines if line.red]


@pytest.mark.parametrize(("others", "found"), [(0, ["m"]), (9, ["m"]), (19, []), (29, [])])
def test_a_red_accuracy_stays_red_where_the_night_is_short_enough(others: int, found: list[str]):
    """0.0006 x 10 is below 0.01, 0.0006 x 20 is not."""
    night = judge_night([judged("m", 0.0006), *quiet(others)], 0.01)
    (line,) = [line for line in night.lines if line.run == "m"]
    assert (line.p, line.adjusted) == (0.0006, pytest.approx(0.0006 * (others + 1)))
    assert (line.status, [line.run for line in night.lines if line.red]) == ("red", found)
    assert night.red == bool(found)


def test_the_second_smallest_is_adjusted_by_one_less():
    night = judge_night([judged("a", 0.0001), judged("b", 0.00052), *quiet(18)], 0.01)
    assert [line.run for line in night.lines if line.red] == ["a", "b"], "Bonferroni would clear b: 20 x .00052 > .01"


@pytest.mark.parametrize("decided", [("floor",), ("accuracy", "floor"), ("sequential",), ("answered",), ()])
def test_what_other_checks_turned_red_is_not_cleared_by_the_number_of_configurations(decided: tuple[str, ...]):
    assert red([judged("m", 0.0009, "red", decided_by=decided), *quiet(50)]) == ["m"]
    assert red([judged("m", None, "red", decided_by=decided), *quiet(50)]) == ["m"]


@pytest.mark.parametrize(("p", "found"), [(1e-6, ["m"]), (0.005, [])])
def test_a_run_that_still_waits_for_its_repetition_is_red_where_it_alone_proves_enough(p: float, found: list[str]):
    assert red([judged("m", p, "needs-confirmation"), *quiet(9)]) == found


@pytest.mark.parametrize("status", ["green", "blind", "undecided", "refused"])
def test_what_the_gate_did_not_call_red_is_not_red(status: str):
    night = judge_night([judged("m", 0.002, status)], 0.01)
    assert (night.red, night.lines[0].status) == (False, status)


def test_a_repeated_run_is_one_line_with_the_p_of_both():
    pair = [judged("m", 0.01, "needs-confirmation", run="first"), judged("m", 0.4, run="again", repeats="first")]
    (line,) = judge_night(pair, 0.01).lines
    assert (line.run, line.repeats, line.p, line.status, line.evaluations) == ("again", "first", 0.4, "green", 1)


def test_the_last_evaluation_of_each_configuration_and_task_counts_and_faults_do_not():
    early, late = "2025-01-01T01:00:00+00:00", "2025-01-01T02:00:00+00:00"
    other = TASK.fingerprint("test-1").model_copy(update={"task": "retrieval-4096"})
    night = judge_night(
        [
            judged("m", 0.5, run="new", started=late),
            judged("m", 0.0001, run="old", started=early),
            judged("m", 0.0001, run="long", fingerprint=other),
            judged("n", 0.0001, run="drill", faults=("f",)),
        ],
        0.01,
    )
    assert [(line.run, line.task, line.evaluations, line.red) for line in night.lines] == [
        ("new", "additions", 2, False), ("long", "retrieval-4096", 1, True)
    ]  # fmt: skip
    assert night.tested == 2, "the faulted run is none of the night's looks"


def test_the_expected_false_alarms_are_those_of_the_policy():
    night = judge_night([*quiet(30), judged("blind", None, "blind")], 0.01)
    assert night.tested == 30
    assert night.alarms() == {k: pytest.approx(v) for k, v in {"alone": 0.03, "holm": 0.01, "side": 0.009}.items()}
    year = night.alarms(365)
    assert (year["alone"], year["holm"]) == (pytest.approx(10.95), pytest.approx(3.65)), "11 a year, as is known"
    assert judge_night(quiet(2), 0.01).alarms()["holm"] == pytest.approx(0.002), "Holm never adds an alarm"


def test_two_looks_and_holm_keep_the_rate_of_nights_with_a_false_alarm():
    """Nights of ten good configurations under the gate's own rule, at a level that a simulation can measure."""
    rng, policy, alpha, nights = np.random.default_rng(91), Policy(screen=0.3, confirm=0.2), 0.1, 400
    alarms = alone = 0
    for _ in range(nights):
        night = [_simulated(f"m{number}", rng, policy) for number in range(10)]
        alarms += bool(red(night, alpha))
        alone += any(e.verdict is not None and e.verdict.status == "red" for e in night)
    assert alarms <= alpha * nights + 3 * (alpha * nights) ** 0.5
    assert alarms > 0.2 * alpha * nights, "the level is used, not thrown away"
    assert alone > 0.6 * nights, "without Holm most nights alarm"


def _simulated(name: str, rng: np.random.Generator, policy: Policy) -> Evaluation:
    """p of a first run and, where it is suspicious, of it and its repetition together, from normal statistics."""
    from rocassay.harness.accuracy.intervals import NORMAL

    first, second = rng.standard_normal(2).tolist()
    p, both = NORMAL.cdf(first), NORMAL.cdf((first + second) / 2**0.5)
    if p >= policy.screen:
        return judged(name, p, "green")
    return judged(name, both, "red" if both < policy.confirm else "green")


@pytest.mark.parametrize("alpha", [0.0, 1.0, -1.0])
def test_an_alpha_that_is_no_probability_is_refused(alpha: float):
    with pytest.raises(AccuracyError, match="give one between 0 and 1"):
        judge_night(quiet(1), alpha)


NOW = dt.datetime(2025, 3, 10, 6, 0, tzinfo=dt.timezone.utc)


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("24h", "2025-03-09T06:00:00+00:00"),
        ("90m", "2025-03-10T04:30:00+00:00"),
        ("1.5d", "2025-03-08T18:00:00+00:00"),
        ("2w", "2025-02-24T06:00:00+00:00"),
        ("2025-03-09T22:00", "2025-03-09T22:00:00+00:00"),
        ("2025-03-09T22:00Z", "2025-03-09T22:00:00+00:00"),
        ("2025-03-09T22:00:00+02:00", "2025-03-09T22:00:00+02:00"),
        ("2025-03-09", "2025-03-09T00:00:00+00:00"),
    ],
)
def test_since_reads(text: str, found: str):
    assert since_of(text, NOW).isoformat() == found


@pytest.mark.parametrize("text", ["", "yesterday", "24", "24 h", "-3h", "99999999d", "h"])
def test_since_refuses(text: str):
    with pytest.raises(AccuracyError, match="is no time; write it like 24h, 7d or 2025-01-31T22:00"):
        since_of(text, NOW)
