"""New runs against a baseline of K runs of the same questions, question by question.

Runs of one build are exchangeable: of the N = K + m answers to a question, s of them right, every assignment of the
right ones to the runs is equally likely, whatever the question's difficulty. So the new runs' failures at a question
are hypergeometric, and over all questions they are a sum of independent hypergeometric counts whose distribution can
be written down. That is the exact Cochran-Mantel-Haenszel test with one stratum a question; for K = m = 1 it is
McNemar's exact test, and `z` is its statistic: the mean difference over the item variances pooled from all N runs.

Only questions on which the N runs disagree carry information. When there is none, the observed difference is 0 and so
is every variance; the rule then is p = 1 and z = 0. When the K good runs agree everywhere and the new run alone does
not, the distribution stays sound where a normal approximation has no variance to go by: a question that K runs solved
and the new one did not has probability 1 / (K + 1) of falling on the new run, so that for K = 8 three lost questions
and no gained one have p = 1/729.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rocassay.harness.accuracy.errors import AccuracyError

Counts = NDArray[np.int64]
"""One count a question."""


@dataclass(frozen=True, slots=True)
class ItemTest:
    """What m new runs did to the mean success rate of n questions."""

    n: int
    """Questions."""
    informative: int
    """Questions on which the runs disagree."""
    difference: float
    """Mean over the questions of new rate minus baseline rate: negative is worse."""
    error: float
    """Standard error of the difference if nothing changed."""
    z: float
    """difference / error; 0 when no question is informative."""
    p: float
    """Exact one-sided p of `the new runs are worse`; never below the smallest normal float."""


def compare(baseline: Sequence[int] | Counts, runs: int, fresh: Sequence[int] | Counts, new: int = 1) -> ItemTest:
    """Test whether `new` runs with `fresh` successes a question are worse than `runs` runs with `baseline` successes.

    baseline: successes of each question, 0..runs. fresh: successes of the same questions in the same order, 0..new.
    Raises AccuracyError when a count does not fit the runs.
    """
    old, now = _checked(baseline, runs), _checked(fresh, new)
    if len(old) != len(now) or not len(old):
        raise AccuracyError(f"{len(now)} questions cannot be paired with the baseline's {len(old)}; run the same ones")
    n, total = len(old), runs + new
    failures = total - old - now
    difference = float((now / new - old / runs).mean())
    spread = (failures * (total - failures)).sum() / (total * (total - 1)) * (1 / runs + 1 / new)
    error = math.sqrt(float(spread)) / n
    split = (failures > 0) & (failures < total)
    lost = int((new - now)[split].sum())
    p = _tail(np.bincount(failures[split], minlength=total), total, new, lost)
    return ItemTest(n, int(split.sum()), difference, error, difference / error if error else 0.0, p)


def _checked(successes: Sequence[int] | Counts, runs: int) -> Counts:
    counts = np.asarray(successes, dtype=np.int64)
    if runs < 1 or (len(counts) and not 0 <= int(counts.min()) <= int(counts.max()) <= runs):
        raise AccuracyError(f"successes of {runs} runs lie between 0 and {runs}; count each run once per question")
    return counts


def _tail(counts: Counts, total: int, new: int, lost: int) -> float:
    """P(failures of the new runs >= lost), given how many questions have each number of failures in all runs."""
    distribution = np.ones(1)
    for failures in np.flatnonzero(counts):
        distribution = np.convolve(distribution, _power(_hypergeometric(int(failures), total, new), counts[failures]))
    return min(1.0, max(float(distribution[lost:].sum()), float(np.finfo(np.float64).tiny)))


def _hypergeometric(failures: int, total: int, new: int) -> NDArray[np.float64]:
    """P(h of the `failures` among `total` runs fall on the `new` ones), h = 0 .. min(failures, new)."""
    ways = [
        math.comb(failures, h) * math.comb(total - failures, new - h) / math.comb(total, new)
        for h in range(min(failures, new) + 1)
    ]
    return np.array(ways)


def _power(pmf: NDArray[np.float64], times: int) -> NDArray[np.float64]:
    """Distribution of the sum of `times` independent counts, by repeated squaring; only positive terms are added."""
    result = np.ones(1)
    while times:
        if times & 1:
            result = np.convolve(result, pmf)
        times >>= 1
        pmf = np.convolve(pmf, pmf) if times else pmf
    return result
