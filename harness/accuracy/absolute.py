"""Checks of a run against what was declared, so that a slow drift of the baseline cannot hide a loss."""

from __future__ import annotations

from collections.abc import Sequence

from rocassay.harness.accuracy.intervals import wilson_lower, wilson_upper
from rocassay.harness.accuracy.outcomes import Outcome, Run
from rocassay.harness.accuracy.verdict import AccuracyCheck, CheckStatus, Policy


def against_floor(run: Run, others: Sequence[Run], floor: float | None, policy: Policy) -> list[AccuracyCheck]:
    """The accuracy above the floor, and no more unanswered or cut texts than the floor leaves room for.

    others: further runs of the configuration, the latest ones and a repetition of this one; they sharpen the floor.
    """
    if floor is None:
        return [AccuracyCheck("floor", "not applicable", detail="no ability floor is declared for this configuration")]
    outcomes = list(run.values())
    return [
        _floor(outcomes, [outcome for other in others for outcome in other.values()], floor, policy),
        _cap("unanswered", "without an answer", [not o.answered for o in outcomes], floor, policy),
        _cap("cut", "cut at the token limit", [not o.finished for o in outcomes], floor, policy),
    ]


def _floor(run: Sequence[Outcome], others: Sequence[Outcome], floor: float, policy: Policy) -> AccuracyCheck:
    right, pooled = _right(run), _right(run) + _right(others)
    n, total = len(run), len(run) + len(others)
    below = min(wilson_upper(right, n, policy.alpha), wilson_upper(pooled, total, policy.alpha))
    above = wilson_lower(pooled, total, policy.alpha)
    status: CheckStatus = "red" if below < floor else "green" if above > floor else "undecided"
    reason = (
        f"the statistic is the accuracy's Wilson limit at one-sided {policy.alpha:.2g}, the limit the declared floor: "
        "red when even the upper one is below it, green when the lower one is above"
    )
    detail = f"{right} of {n} right, {pooled} of {total} with the latest runs: {above:.4f} at least"
    if status == "red":
        detail = f"{right} of {n} right, {pooled} of {total} with the latest runs: {below:.4f} at most"
    elif status == "undecided":
        detail += "; pool more runs or declare a lower floor"
    return AccuracyCheck("floor", status, below if status == "red" else above, floor, reason, detail)


def _right(outcomes: Sequence[Outcome]) -> int:
    return sum(outcome.correct for outcome in outcomes)


def _cap(name: str, words: str, found: Sequence[bool], floor: float, policy: Policy) -> AccuracyCheck:
    count, n, cap = sum(found), len(found), 1 - floor
    least = wilson_lower(count, n, policy.alpha)
    reason = (
        f"the statistic is the share's Wilson lower limit at {policy.alpha:.2g}; a floor of {floor:.4g} leaves room "
        f"for {cap:.4g} of wrong answers of all kinds, and what was not answered was not measured"
    )
    return AccuracyCheck(name, "red" if least > cap else "green", least, cap, reason, f"{count} of {n} texts {words}")
