"""New runs against a K-run item baseline: exactness, error rate and power."""

from __future__ import annotations

import itertools
from fractions import Fraction

import numpy as np
import pytest

from rocassay.harness.accuracy.errors import AccuracyError
from rocassay.harness.accuracy.items import ItemTest, compare
from rocassay.harness.accuracy.paired import Pairs
from rocassay.suites.accuracy.builds import Rates, broken, item_rates, successes

ALPHA, Z_ALPHA = 0.01, -2.3263
NO_NOISE = 1e-6


def simulate(
    rng: np.random.Generator, runs: int, new: int, drop: float, times: int, psi: float = 0.04, n: int = 1319
) -> list[ItemTest]:
    """Tests of fresh builds, each with its own questions, against a baseline of the undamaged build."""
    tests: list[ItemTest] = []
    for _ in range(times):
        rates: Rates = item_rates(rng, n, psi=psi)
        after = broken(rng, rates, drop) if drop else rates
        tests.append(compare(successes(rng, rates, runs), runs, successes(rng, after, new), new))
    return tests


def rate(flags: list[bool]) -> float:
    return sum(flags) / len(flags)


def by_permutation(table: list[list[int]], new: int) -> Fraction:
    """One-sided p by listing every way to call `new` of the runs of each question new. table: runs of each question."""
    observed = sum(row[:new].count(0) for row in table)
    losses = [Fraction(1)]
    for row in table:
        ways = [sum(row[i] == 0 for i in chosen) for chosen in itertools.combinations(range(len(row)), new)]
        pmf = [Fraction(ways.count(h), len(ways)) for h in range(new + 1)]
        losses = [
            sum((losses[i] * pmf[k - i] for i in range(len(losses)) if 0 <= k - i <= new), Fraction(0))
            for k in range(len(losses) + new)
        ]
    return sum(losses[observed:], Fraction(0))


@pytest.mark.parametrize(("runs", "new"), [(1, 1), (4, 1), (3, 2), (2, 3)])
@pytest.mark.parametrize("seed", range(4))
def test_p_is_that_of_all_permutations_of_the_runs_within_the_questions(runs: int, new: int, seed: int):
    rng = np.random.default_rng(seed)
    table = (rng.random((25, runs + new)) < rng.beta(0.8, 0.4, 25)[:, None]).astype(int)
    fresh, old = table[:, :new].sum(axis=1), table[:, new:].sum(axis=1)
    assert compare(old, runs, fresh, new).p == pytest.approx(float(by_permutation(table.tolist(), new)))


@pytest.mark.parametrize("seed", range(4))
def test_one_run_against_one_is_mcnemars_test(seed: int):
    rng = np.random.default_rng(seed)
    rates = item_rates(rng)
    old, fresh = successes(rng, rates), successes(rng, broken(rng, rates, 0.01))
    found, pairs = compare(old, 1, fresh), Pairs(len(rates), int((old > fresh).sum()), int((fresh > old).sum()))
    assert found.p == pytest.approx(pairs.p_worse())
    assert found.z == pytest.approx(pairs.z)
    assert found.difference == pytest.approx(pairs.difference)
    assert found.informative == pairs.discordant


def test_a_gain_is_no_loss():
    """Fails for a test that swaps the runs or looks at the wrong tail."""
    old, worse, better = [8] * 90 + [0] * 10, [0] * 5 + [1] * 85 + [0] * 10, [1] * 95 + [0] * 5
    assert compare(old, 8, worse).p == pytest.approx(9.0**-5)
    assert compare(old, 8, worse).difference == pytest.approx(-0.05)
    assert compare(old, 8, better).p == pytest.approx(1)
    assert compare(old, 8, better).z > 0


def test_runs_that_agree_everywhere_say_nothing_and_one_stray_answer_little():
    rates = np.array([8] * 95 + [0] * 5)
    same = compare(rates, 8, rates // 8)
    assert (same.p, same.z, same.error, same.informative) == (1, 0, 0, 0)
    for lost, p in ((1, 1 / 9), (2, 1 / 81), (3, 1 / 729)):
        fresh = rates // 8
        fresh[:lost] = 0
        assert compare(rates, 8, fresh).p == pytest.approx(p)


def test_a_p_value_never_underflows_to_zero():
    assert 0 < compare([8] * 1319, 8, [0] * 1319).p < 1e-300


@pytest.mark.parametrize(("runs", "new"), [(1, 1), (8, 1), (8, 2), (2, 3)])
@pytest.mark.parametrize("psi", [0.04, 0.004, NO_NOISE])
def test_a_good_build_alarms_no_more_often_than_alpha(runs: int, new: int, psi: float):
    """psi = .004 leaves about three varying questions, NO_NOISE none: a z without variance would alarm or divide."""
    times = 600
    tests = simulate(np.random.default_rng(21), runs, new, 0.0, times, psi)
    assert rate([test.p <= ALPHA for test in tests]) <= ALPHA + 3 * (ALPHA / times) ** 0.5
    assert rate([test.p <= 0.2 for test in tests]) <= 0.2 + 3 * (0.16 / times) ** 0.5


@pytest.mark.parametrize(
    ("runs", "new", "powers"),
    [
        (8, 1, {0.0: 0.009, 0.005: 0.16, 0.01: 0.50, 0.02: 0.96}),
        (4, 1, {0.0: 0.012, 0.005: 0.14, 0.01: 0.44, 0.02: 0.94}),
        (8, 2, {0.0: 0.005, 0.005: 0.24, 0.01: 0.76, 0.02: 1.0}),
        (8, 3, {0.0: 0.009, 0.005: 0.31, 0.01: 0.85, 0.02: 1.0}),
    ],
)
def test_the_power_is_the_published_one(runs: int, new: int, powers: dict[float, float]):
    """Figures of the z test at baseline .95, psi .04, 1319 questions; the exact test lies a little below them."""
    times = 500
    rng = np.random.default_rng(22)
    for drop, published in powers.items():
        tests = simulate(rng, runs, new, drop, times)
        error = (published * (1 - published) / times + 0.001**2) ** 0.5
        seen = rate([test.z < Z_ALPHA for test in tests])
        assert seen == pytest.approx(published, abs=3.5 * error + 0.02), drop
        assert seen - 0.08 < rate([test.p < ALPHA for test in tests]) <= seen, drop


def test_pooling_eight_runs_sees_what_one_does_not():
    rng = np.random.default_rng(23)
    one, eight = (rate([t.p < ALPHA for t in simulate(rng, runs, 1, 0.015, 300)]) for runs in (1, 8))
    assert eight > one + 0.25


def test_counts_that_do_not_fit_the_runs_are_refused():
    with pytest.raises(AccuracyError, match="between 0 and 8"):
        compare([9], 8, [1])
    with pytest.raises(AccuracyError, match="2 questions cannot be paired with the baseline's 1"):
        compare([8], 8, [1, 1])
    with pytest.raises(AccuracyError, match="0 questions"):
        compare([], 8, [])
