"""Checks of a run against its baseline: accuracy, answers, endings, lengths, and whether they could tell anything."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rocassay.harness.accuracy.baseline import ItemBaseline
from rocassay.harness.accuracy.intervals import NORMAL
from rocassay.harness.accuracy.items import ItemTest, compare
from rocassay.harness.accuracy.outcomes import Outcome, log_lengths
from rocassay.harness.accuracy.power import Design, confirmed_power, paired_power, runs_needed
from rocassay.harness.accuracy.verdict import AccuracyCheck, CheckStatus, Levels, Policy

Rows = Sequence[Sequence[Outcome]]
"""By run: outcomes in the order of the baseline's questions."""

_DECIMALS = 9
"""Of ln(1 + tokens): what is left of equal lengths once their mean was taken, some 1e-16, is no shift."""

Property = Literal["correct", "answered", "finished"]
"""A property of an outcome that a good run has more often."""

_MEANING: dict[Property, tuple[str, str]] = {
    "correct": ("accuracy", "right"),
    "answered": ("answered", "with an answer"),
    "finished": ("finished", "ending by themselves"),
}


def against_baseline(rows: Rows, baseline: ItemBaseline, policy: Policy) -> list[AccuracyCheck]:
    """The checks of one run, or of a run and its repetition."""
    side = policy.levels(policy.side)
    return [
        _counts("correct", rows, baseline, policy, policy.levels()),
        _counts("answered", rows, baseline, policy, side),
        _counts("finished", rows, baseline, policy, side),
        _length(rows, baseline, policy, side),
        _power(baseline, policy),
    ]


def gate_power(baseline: ItemBaseline, policy: Policy, drop: float) -> float:
    """Probability that the accuracy check ends red after a loss of `drop`."""
    return _design_power(Design.of(baseline), policy, drop)


def _design_power(design: Design, policy: Policy, drop: float) -> float:
    loss = min(drop, design.accuracy)
    if policy.rerun:
        return confirmed_power(design, loss, policy.screen, policy.confirm)
    return paired_power(design, loss, policy.alpha)


@dataclass(frozen=True, slots=True)
class _Staged:
    """What one or two looks at p-values say, and how many runs the deciding one was about."""

    status: CheckStatus
    runs: int
    p: float
    limit: float
    reason: str
    repetition: str = ""


def _staged(p: Sequence[float], policy: Policy, levels: Levels) -> _Staged:
    """Judge p of the first run and, where there is a second, p of both together; p holds those of `_looks`."""
    first = p[0]
    if not policy.rerun:
        reason = f"one run alone: wrong in {levels.alone:.2g} of good runs"
        return _Staged("red" if first < levels.alone else "green", 1, first, levels.alone, reason)
    if first >= levels.screen or len(p) == 1:
        reason = (
            f"a run with p < {levels.screen:.2g} is repeated, and red if both together have p < {levels.confirm:.2g}"
        )
        return _Staged("green" if first >= levels.screen else "needs-confirmation", 1, first, levels.screen, reason)
    reason = f"run and repetition together: wrong in {levels.confirm:.2g} of good runs at most"
    status: CheckStatus = "red" if p[1] < levels.confirm else "green"
    alone = f"; the repetition alone has p = {p[2]:.2g}"
    if status == "red" and p[2] >= levels.screen:
        alone += ", so what is wrong comes and goes"
    return _Staged(status, 2, p[1], levels.confirm, reason, alone)


def _looks(rows: Rows) -> tuple[slice, ...]:
    """The first run; where there are two, also both together and the repetition alone, which is told but not judged."""
    return (slice(0, 1), slice(0, 2), slice(1, 2))[: 2 * len(rows) - 1]


def _counts(name: Property, rows: Rows, baseline: ItemBaseline, policy: Policy, levels: Levels) -> AccuracyCheck:
    title, words = _MEANING[name]
    old: Sequence[int] = getattr(baseline, name)
    found = np.array([[bool(getattr(outcome, name)) for outcome in row] for row in rows], dtype=np.int64)
    parts = [found[look] for look in _looks(rows)]
    tests = [compare(old, baseline.runs, part.sum(axis=0), len(part)) for part in parts]
    staged = _staged([test.p for test in tests], policy, levels)
    reason = f"exact test, given how often each question varies; {staged.reason}"
    detail = _seen(tests[staged.runs - 1], old, baseline, words) + staged.repetition
    return AccuracyCheck(title, staged.status, staged.p, staged.limit, reason, detail)


def _seen(test: ItemTest, old: Sequence[int], baseline: ItemBaseline, words: str) -> str:
    before = sum(old) / (baseline.n * baseline.runs)
    return (
        f"{100 * (before + test.difference):.2f} % {words}, {100 * before:.2f} % in {baseline.runs} baseline runs: "
        f"{100 * test.difference:+.2f} points, error {100 * test.error:.2f}, z = {test.z:.2f}, p = {test.p:.2g}; "
        f"{test.informative} of {test.n} questions vary"
    )


def _length(rows: Rows, baseline: ItemBaseline, policy: Policy, levels: Levels) -> AccuracyCheck:
    lengths, known, means = log_lengths(rows), baseline.log_tokens, baseline.run_log_tokens
    if lengths is None or known is None or means is None:
        return AccuracyCheck("length", "not applicable", detail="tokens were not counted in the run or its baseline")
    shifts = [(lengths[look].mean(axis=0) - np.array(known)).round(_DECIMALS) for look in _looks(rows)]
    staged = _staged([_mean_is_zero(shift.tolist()) for shift in shifts], policy, levels)
    shift, own = float(shifts[staged.runs - 1].mean()), _largest_between(means)
    status: CheckStatus = staged.status if abs(shift) > own else "green"
    detail = (
        f"length {100 * math.expm1(shift):+.1f} % against the baseline's (geometric mean), p = {staged.p:.2g}; "
        f"its own runs differ by {100 * math.expm1(own):.1f} % at most{staged.repetition}"
    )
    reason = (
        "the mean shift of ln(1 + tokens) per question is 0 for a good run, and one as large as between the runs of "
        f"the baseline is none; {staged.reason}"
    )
    return AccuracyCheck("length", status, staged.p, staged.limit, reason, detail)


def _mean_is_zero(values: Sequence[float]) -> float:
    """Two-sided p of the paired z test over the questions."""
    mean = math.fsum(values) / len(values)
    variance = math.fsum((value - mean) ** 2 for value in values) / max(1, len(values) - 1)
    error = math.sqrt(variance / len(values))
    if not error:
        return float(mean == 0)
    return 2 * NORMAL.cdf(-abs(mean) / error)


def _largest_between(means: Sequence[float]) -> float:
    """The largest shift of a baseline run from the mean of the others; 0 for a single run."""
    k, total = len(means), math.fsum(means)
    return max((abs(mean - (total - mean) / (k - 1)) for mean in means), default=0.0) if k > 1 else 0.0


def _power(baseline: ItemBaseline, policy: Policy) -> AccuracyCheck:
    power = gate_power(baseline, policy, policy.drop)
    detail = f"a drop of {100 * policy.drop:.1f} points is seen with probability {power:.2f}"
    reason = (
        f"the statistic is a probability: below {policy.power:.2f} a green verdict would not mean that "
        f"{100 * policy.drop:.1f} points were not lost"
    )
    if power >= policy.power:
        return AccuracyCheck("power", "green", power, policy.power, reason, detail)
    design = Design.of(baseline)
    enough = runs_needed(design, lambda more: _design_power(more, policy, policy.drop), policy.power)
    advice = f"record {enough} baseline runs" if enough else "no number of baseline runs suffices, ask more questions"
    detail += f" by {baseline.runs} baseline runs of {baseline.n} questions; {advice}"
    return AccuracyCheck("power", "blind", power, policy.power, reason, detail)
