"""Where the level of a series stepped: the smallest exact p-value of Wilcoxon's test over all places.

For each place k the sum of the ranks before it has, under the null that the order of the values means nothing, the
distribution of the sum of k ranks drawn without replacement. That distribution is counted out exactly, ties included.
The statistic is the smallest two-sided p-value of all places; its own null distribution depends on nothing but the
number of values and on which of them are equal, and is enumerated for short series and simulated for others, once for
each such pattern. Ranks make it indifferent to outliers and to the distribution of the values; only the order is
tested, so values must not depend on their neighbours but for the step.

What it costs: `alpha` false alarms a series and look. What it cannot see: with n values of which m came after a step,
no test of the order can have p below 2 / C(n, m), so the first nights after a step show nothing yet.
"""

from __future__ import annotations

import functools
import itertools
import math
import statistics
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

ALPHA = 1e-3
"""Chance that a series without a step shows one, each time it is looked at."""

LONGEST = 90
"""Latest values that are looked at: what stepped earlier is nobody's news."""

SIMULATED = 20_000
"""Random orders that stand for all of them; at `ALPHA` the p-value has a standard error of 2.2e-4."""

ENUMERATED = 20_000
"""Distinct orders up to which all of them are looked at."""

BLOCK = 2_000
"""Orders in memory at a time."""

SEED = 20_251_122
"""Of the simulation: equal series have equal p-values everywhere."""

SAME = 1e-9
"""p-values closer than this, relatively, are equal: sums of probabilities in another order."""

Floats: TypeAlias = NDArray[np.float64]
Integers: TypeAlias = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Step:
    """A change of level."""

    index: int
    """First value of the new level."""
    before: float
    """Median of the level before it."""
    after: float
    """Median of the level from it on."""
    p: float
    """Chance of a statistic as large where the order of the values means nothing."""


def find_step(values: Sequence[float], alpha: float = ALPHA) -> Step | None:
    """The latest step, or None. Infinite values have a rank like all others; NaN is a ValueError.

    alpha: false alarms a series. After a step has been found, the values from it on are searched for a later one,
    which does not raise that rate: without a first step there is no second search.
    """
    if any(math.isnan(value) for value in values):
        raise ValueError("a trend holds NaN, which has no place in an order; leave the value out")
    values = [float(value) for value in values]
    start = max(0, len(values) - LONGEST)
    found: Step | None = None
    while (next_one := _first(values[start:], alpha)) is not None:
        index, p = next_one
        earlier, later = values[start : start + index], values[start + index :]
        found = Step(start + index, statistics.median(earlier), statistics.median(later), p)
        start += index
    return found


def _first(values: Sequence[float], alpha: float) -> tuple[int, float] | None:
    """Place of a step and the p-value of the smallest statistic, where that is at most alpha."""
    if len(set(values)) < 2 or _least_p(values) > alpha:
        return None
    ranks = _midranks(values)
    null = _null_of(tuple(sorted(ranks.tolist())))
    found = null.statistics(ranks[None, :])[0]
    p = null.p(float(found.min()))
    if p > alpha:
        return None
    places: list[int] = (np.flatnonzero(found <= alpha) + 1).tolist()
    return min(places, key=lambda place: _misfit(values, place)), p


def _misfit(values: Sequence[float], place: int) -> float:
    """Distance of all values from the medians of the two levels: ranks show that there is a step, values show where."""
    finite = [value for value in values if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    near = [min(max(value, 2 * low - high - 1), 2 * high - low + 1) for value in values]
    return sum(abs(value - statistics.median(level)) for level in (near[:place], near[place:]) for value in level)


def _least_p(values: Sequence[float]) -> float:
    """No order of these values can have a smaller one.

    With m values before a step and all others beyond them after it, every order of either side is as extreme, and so
    is the mirror image.
    """
    return 2 / min(_orders(values), math.comb(len(values), len(values) // 2))


def _orders(values: Sequence[float]) -> float:
    """Distinct orders of these values; astronomical numbers are cut at e^700."""
    each = Counter(values).values()
    return math.exp(min(700.0, math.lgamma(len(values) + 1) - sum(math.lgamma(count + 1) for count in each)))


def _midranks(values: Sequence[float]) -> Integers:
    """Twice the ranks from 1: equal values share the mean of theirs, which may be a half."""
    _, inverse, counts = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (2 * last - counts + 1)[inverse].astype(np.int64)


class _Null:
    """What the orders of some ranks look like when they mean nothing."""

    def __init__(self, ranks: tuple[int, ...]) -> None:
        self._total = sum(ranks)
        self._places = np.asarray(range(1, len(ranks)), dtype=np.int64)
        self._tails = _tails(ranks)
        self._exact = _orders(ranks) <= ENUMERATED
        blocks = _all_orders(ranks) if self._exact else _random_orders(ranks)
        self._least: Floats = np.sort(np.concatenate([self.statistics(block).min(axis=1) for block in blocks]))

    def statistics(self, ranks: Integers) -> Floats:
        """Two-sided p-values of the sums of the first k ranks, for k from 1 on; one row an order."""
        sums = np.cumsum(ranks, axis=1)[:, :-1]
        return self._tails[self._places - 1, sums]

    def p(self, statistic: float) -> float:
        """Share of the orders whose smallest p-value is as small."""
        reached = int(np.searchsorted(self._least, statistic * (1 + SAME), side="right"))
        # The order at hand is one of the random ones: that keeps the simulated test at its level.
        return reached / len(self._least) if self._exact else (reached + 1) / (len(self._least) + 1)


@functools.lru_cache(maxsize=16)
def _null_of(ranks: tuple[int, ...]) -> _Null:
    return _Null(ranks)


def _tails(ranks: tuple[int, ...]) -> Floats:
    """[place, sum]: twice the smaller tail of the sum of so many ranks, drawn without replacement."""
    n, total = len(ranks), sum(ranks)
    half = n // 2
    counted: Floats = np.zeros((half + 1, total + 1))
    counted[0, 0] = 1
    for rank in ranks:
        # numpy adds as if it had copied first, so that no rank is drawn twice.
        counted[1:, rank:] += counted[:-1, : total + 1 - rank]
    drawn = [counted[k] if k <= half else counted[n - k][::-1] for k in range(1, n)]
    likely = np.stack(drawn)
    likely /= likely.sum(axis=1, keepdims=True)
    below, above = np.cumsum(likely, axis=1), np.cumsum(likely[:, ::-1], axis=1)[:, ::-1]
    return np.minimum(1.0, 2 * np.minimum(below, above))


def _random_orders(ranks: tuple[int, ...]) -> list[Integers]:
    random = np.random.default_rng(SEED)
    block = np.tile(np.asarray(ranks, dtype=np.int64), (BLOCK, 1))
    return [random.permuted(block, axis=1) for _ in range(SIMULATED // BLOCK)]


def _all_orders(ranks: tuple[int, ...]) -> list[Integers]:
    """Every distinct order once: equal ranks are placed together."""
    rows = [np.zeros(len(ranks), dtype=np.int64)]
    for rank, count in Counter(ranks).items():
        rows = [_placed(row, rank, places) for row in rows for places in _choices(row, count)]
    return [np.stack(rows)]


def _choices(row: Integers, count: int) -> itertools.combinations[tuple[int, ...]]:
    free: list[int] = np.flatnonzero(row == 0).tolist()
    return itertools.combinations(free, count)


def _placed(row: Integers, rank: int, places: Sequence[int]) -> Integers:
    filled: Integers = np.array(row)
    filled[list(places)] = rank
    return filled
