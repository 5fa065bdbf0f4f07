"""Where the level of a series stepped: the largest rank statistic over all places, with its own null distribution.

For each place k the ranks before it are summed and standardised: under the null, that the order of the values means
nothing, their mean and variance are those of k ranks drawn without replacement, ties included. The test statistic is
the largest of these over all places. Its null distribution depends on nothing but the number of values and on which
of them are equal, so it is enumerated for short series and simulated for others, once for each such pattern. Ranks
make it indifferent to outliers and to the distribution of the values; only the order is tested.

What it costs: `alpha` false alarms a series and look. What it cannot see: with n values of which m came after a step,
no test of the order can have p below 2 / C(n, m), so the first night after a step shows nothing yet.
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

LONGEST = 120
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
"""Statistics closer than this are equal: sums of ranks in another order."""

Floats: TypeAlias = NDArray[np.float64]


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
    """Place and p-value of the largest statistic, where that is below alpha."""
    if len(set(values)) < 2 or _least_p(values) > alpha:
        return None
    ranks = _midranks(values)
    found = _statistics(ranks[None, :])[0]
    place = int(np.argmax(found > found.max() - SAME))
    p = _tail(tuple(sorted(ranks.tolist())), float(found[place]))
    return (place + 1, p) if p <= alpha else None


def _least_p(values: Sequence[float]) -> float:
    """No order of these values can have a smaller one.

    With m values before a step and all others beyond them after it, every order of either side is as extreme, and so
    is the mirror image.
    """
    half = len(values) // 2
    return 2 / min(_orders(values), math.comb(len(values), half))


def _orders(values: Sequence[float]) -> float:
    """Distinct orders of these values; astronomical numbers are cut at e^700."""
    each = Counter(values).values()
    return math.exp(min(700.0, math.lgamma(len(values) + 1) - sum(math.lgamma(count + 1) for count in each)))


def _midranks(values: Sequence[float]) -> Floats:
    """Ranks from 1; equal values share the mean of theirs."""
    _, inverse, counts = np.unique(np.asarray(values, dtype=np.float64), return_inverse=True, return_counts=True)
    last = np.cumsum(counts)
    return (last - (counts - 1) / 2)[inverse].astype(np.float64)


def _statistics(ranks: Floats) -> Floats:
    """|sum of the first k ranks - its mean| / its standard deviation, for k from 1 on; one row an order."""
    n = ranks.shape[1]
    k = np.asarray(range(1, n), dtype=np.float64)
    mean, variance = ranks[0].mean(), ranks[0].var(ddof=1)
    deviation = np.sqrt(variance * k * (n - k) / n)
    return np.abs(np.cumsum(ranks, axis=1)[:, :-1] - k * mean) / deviation


def _tail(ranks: tuple[float, ...], statistic: float) -> float:
    """Share of the orders of these ranks whose largest statistic is as large."""
    null, exact = _null(ranks)
    reached = len(null) - int(np.searchsorted(null, statistic - SAME))
    # The order at hand is one of the random ones: that keeps the simulated test at its level.
    return reached / len(null) if exact else (reached + 1) / (len(null) + 1)


@functools.lru_cache(maxsize=256)
def _null(ranks: tuple[float, ...]) -> tuple[Floats, bool]:
    """Sorted largest statistics of all orders, or of random ones; and whether they are all."""
    exact = _orders(ranks) <= ENUMERATED
    blocks = _all_orders(ranks) if exact else _random_orders(ranks)
    return np.sort(np.concatenate([_statistics(block).max(axis=1) for block in blocks])), exact


def _random_orders(ranks: tuple[float, ...]) -> list[Floats]:
    random = np.random.default_rng(SEED)
    block = np.tile(np.asarray(ranks), (BLOCK, 1))
    return [random.permuted(block, axis=1) for _ in range(SIMULATED // BLOCK)]


def _all_orders(ranks: tuple[float, ...]) -> list[Floats]:
    """Every distinct order once: equal ranks are placed together."""
    rows = [np.full(len(ranks), np.nan)]
    for rank, count in Counter(ranks).items():
        rows = [_placed(row, rank, places) for row in rows for places in _choices(row, count)]
    return [np.stack(rows)]


def _choices(row: Floats, count: int) -> itertools.combinations[tuple[int, ...]]:
    free: list[int] = np.flatnonzero(np.isnan(row)).tolist()
    return itertools.combinations(free, count)


def _placed(row: Floats, rank: float, places: Sequence[int]) -> Floats:
    filled: Floats = np.array(row)
    filled[list(places)] = rank
    return filled
