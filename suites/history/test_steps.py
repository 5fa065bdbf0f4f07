"""The test for a step: its p-value is the exact one, its size is as stated, and it sees what can be seen."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable

import numpy as np
import pytest
from scipy import stats

from rocassay.harness.trends.steps import ALPHA, LONGEST, find_step

Draw = Callable[[np.random.Generator, int], np.ndarray]

NULLS: dict[str, Draw] = {
    "normal": lambda random, n: random.normal(size=n),
    "heavy tails": lambda random, n: random.standard_cauchy(size=n),
    "skew": lambda random, n: random.lognormal(sigma=1.5, size=n),
    "ties": lambda random, n: random.poisson(1.0, size=n).astype(float),
    "two values": lambda random, n: random.integers(0, 2, size=n).astype(float),
    "infinities": lambda random, n: np.where(random.random(n) < 0.2, np.inf, random.normal(size=n)),
}


def exact(values: tuple[float, ...]) -> float:
    """The p-value by its definition: through all orders, and at each place through all that may lie before it."""
    ranks = np.asarray(stats.rankdata(values))
    orders = np.array(list(itertools.permutations(ranks)))
    least = np.min([_two_sided(ranks, orders, k) for k in range(1, len(ranks))], axis=0)
    return float(np.mean(least <= least[0] * (1 + 1e-9)))


def _two_sided(ranks: np.ndarray, orders: np.ndarray, k: int) -> np.ndarray:
    """Of each order: twice the smaller tail of the sum of its first k ranks."""
    drawn = np.sort([sum(part) for part in itertools.combinations(ranks, k)])
    sums = orders[:, :k].sum(axis=1)
    below = np.searchsorted(drawn, sums + 1e-9) / len(drawn)
    above = 1 - np.searchsorted(drawn, sums - 1e-9) / len(drawn)
    return np.minimum(1, 2 * np.minimum(below, above))


@pytest.mark.parametrize(
    "values", [(1, 2, 3, 7, 8, 9), (2, 1, 3, 9, 8, 7, 6), (0, 0, 0, 0, 1, 1, 1), (0, 0, 1, 0, 2, 2, 2), (5, 5, 5, 1, 1)]
)
def test_the_p_value_is_that_of_all_orders(values: tuple[float, ...]):
    found = find_step(values, alpha=0.9999)
    assert found is not None
    latest = find_step(values, alpha=exact(values) + 1e-12)
    assert latest is not None, "found exactly when alpha reaches the exact p"
    assert find_step(values, alpha=exact(values) - 1e-6) is None
    assert latest.p == pytest.approx(exact(values), abs=1e-12)


def test_the_simulated_p_value_is_that_of_all_orders_within_its_error():
    values = (1, 2, 3, 4, 9, 8, 7, 6)
    found = find_step(values, alpha=0.2)
    assert found is not None
    assert len(set(values)) == 8, "40 320 orders are simulated, not enumerated"
    p = exact(values)
    assert abs(found.p - p) < 5 * math.sqrt(p * (1 - p) / 20_000) + 1 / 20_000


def alarms(draw: Draw, n: int, alpha: float, times: int) -> int:
    random = np.random.default_rng([n, times])
    return sum(find_step(draw(random, n).tolist(), alpha) is not None for _ in range(times))


def at_most(alpha: float, times: int) -> float:
    """What so many tests of that size exceed once in 10 000 times."""
    return float(stats.binom.ppf(0.9999, times, alpha))


@pytest.mark.parametrize("kind", NULLS)
@pytest.mark.parametrize("n", [9, 24])
def test_without_a_step_there_are_as_many_alarms_as_stated(kind: str, n: int):
    times = 80 if kind == "ties" else 600
    found = alarms(NULLS[kind], n, 0.05, times)
    assert found <= at_most(0.05, times)
    if n == 24 and kind in ("normal", "heavy tails", "skew"):
        assert found >= stats.binom.ppf(0.0001, times, 0.05), "no power is given away"


def test_the_default_rate_holds_too():
    assert alarms(NULLS["normal"], 30, ALPHA, 8000) <= at_most(ALPHA, 8000)


def test_a_test_that_looks_at_every_place_without_paying_for_it_would_be_seen():
    """The bound above tells the sound test from the largest of Welch's t over all places."""
    times = 400
    values = np.random.default_rng(5).normal(size=(24, times))
    each = [np.asarray(stats.ttest_ind(values[:k], values[k:], equal_var=False))[1] for k in range(3, 22)]
    wrong = int((np.min(each, axis=0) <= 0.05).sum())
    assert wrong > 2 * at_most(0.05, times)


def power(before: int, after: int, shift: float, times: int = 200) -> tuple[float, float]:
    """How often a shift by so many standard deviations is found, and how often within two of its place."""
    random, hits, near = np.random.default_rng([before, after]), 0, 0
    for _ in range(times):
        values = np.concatenate([random.normal(size=before), random.normal(shift, size=after)])
        found = find_step(values.tolist())
        hits += found is not None
        near += found is not None and abs(found.index - before) <= 2
    return hits / times, near / times


@pytest.mark.parametrize(
    ("before", "after", "shift", "least"),
    [(56, 4, 6.0, 0.9), (24, 6, 3.0, 0.8), (40, 20, 1.75, 0.9), (60, 8, 2.5, 0.9)],
)
def test_a_step_is_found_and_placed(before: int, after: int, shift: float, least: float):
    found, near = power(before, after, shift)
    assert found >= least
    assert near >= 0.75 * found


def test_power_is_near_that_of_the_test_that_knows_the_place():
    """Wilcoxon's test at the true place, which no search can beat, is matched but for the price of searching."""
    random, ours, known = np.random.default_rng(11), 0, 0
    for _ in range(200):
        before, after = random.normal(size=20), random.normal(1.75, size=20)
        ours += find_step([*before.tolist(), *after.tolist()]) is not None
        known += stats.mannwhitneyu(before, after).pvalue <= ALPHA
    assert known > 180
    assert ours >= 0.85 * known


def test_an_outlier_is_no_step_and_hides_none():
    level = [1.0 + 0.01 * (n % 5) for n in range(30)]
    assert find_step([*level[:29], 1e9]) is None
    assert find_step([*level[:15], 1e9, *level[15:]]) is None
    stepped = [*level, *(value + 1 for value in level[:6])]
    stepped[7] = 1e9
    found = find_step(stepped)
    assert found is not None
    assert found.index == 30


def test_values_without_any_noise_step_as_soon_as_no_chance_order_explains_it():
    assert [find_step([1.0] * (20 - after) + [2.0] * after) is not None for after in (1, 2, 3, 4)] == [
        False, False, False, True,
    ]  # fmt: skip
    found = find_step([1.0] * 27 + [2.0] * 3)
    assert found is not None
    assert (found.index, found.before, found.after) == (27, 1.0, 2.0)
    assert found.p == pytest.approx(2 / math.comb(30, 3))


def test_of_two_steps_the_latest_is_told():
    values = [1.0] * 20 + [5.0] * 20 + [1.0] * 12
    found = find_step(values)
    assert found is not None
    assert (found.index, found.before, found.after) == (40, 5.0, 1.0)


@pytest.mark.parametrize("values", [[], [1.0], [1.0, 2.0], [3.0] * 50, [float("inf")] * 9])
def test_too_little_or_nothing_new_is_no_step(values: list[float]):
    assert find_step(values) is None


def test_a_value_without_a_place_in_the_order_is_refused():
    with pytest.raises(ValueError, match="NaN, which has no place in an order"):
        find_step([1.0, float("nan"), 2.0])


def test_a_long_series_is_searched_at_its_end_and_the_index_counts_from_its_beginning():
    assert find_step([1.0] * 10 + [2.0] * LONGEST) is None
    found = find_step([2.0] * 300 + [1.0] * 5)
    assert found is not None
    assert found.index == 300
