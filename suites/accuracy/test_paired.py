"""Two runs over the same questions: McNemar's exact test and the score interval of the difference."""

from __future__ import annotations

import math
from fractions import Fraction

import numpy as np
import pytest

from rocassay.harness.accuracy.errors import AccuracyError
from rocassay.harness.accuracy.paired import Pairs

COUNTS = [(0, 0), (1, 0), (0, 1), (3, 0), (5, 2), (2, 5), (40, 26), (26, 40), (120, 20)]
N = 1319


def exact(b: int, c: int) -> Fraction:
    """P(X >= b) of X ~ Binomial(b + c, 1/2)."""
    return Fraction(sum(math.comb(b + c, i) for i in range(b, b + c + 1)), 2 ** (b + c))


@pytest.mark.parametrize(("b", "c"), COUNTS)
def test_the_exact_p_values_are_binomial_tails(b: int, c: int):
    pairs = Pairs(N, b, c)
    worse, better = float(exact(b, c)), float(exact(c, b))
    assert pairs.p_worse() == pytest.approx(worse)
    assert pairs.p_better() == pytest.approx(better)
    assert pairs.p_differs() == pytest.approx(min(1, 2 * min(worse, better)))
    half = math.comb(b + c, b) / 2 ** (b + c) / 2
    assert pairs.p_worse(mid=True) == pytest.approx(worse - half)
    assert pairs.p_worse(mid=True) + pairs.p_better(mid=True) == pytest.approx(1)


def test_a_loss_is_a_loss_and_a_gain_is_none():
    """Fails for a test that swaps b and c, or one that looks at both sides where one is asked for."""
    base = dict.fromkeys(map(str, range(200)), True)
    new = {question: int(question) >= 20 for question in base}
    worse, better = Pairs.of(base, new), Pairs.of(new, base)
    assert (worse.lost, worse.gained, worse.difference) == (20, 0, -0.1)
    assert worse.p_worse() == pytest.approx(2.0**-20)
    assert worse.p_better() == 1
    assert (better.lost, better.gained, better.p_worse()) == (0, 20, 1)
    assert worse.p_differs() == better.p_differs() == pytest.approx(2.0**-19)
    assert worse.z == -better.z == pytest.approx(-math.sqrt(20))


def test_questions_on_which_both_agree_change_the_difference_and_no_p_value():
    small, large = Pairs(100, 9, 1), Pairs(100_000, 9, 1)
    assert small.p_worse() == large.p_worse()
    assert (small.psi, large.psi) == (0.1, 0.0001)
    assert small.interval().high - small.interval().low > 50 * (large.interval().high - large.interval().low)


def test_the_exact_test_keeps_its_error_rate_and_mid_p_comes_closer_to_it():
    rng = np.random.default_rng(11)
    lost = rng.binomial(12, 0.5, 20_000)
    table = [(Pairs(N, b, 12 - b).p_worse(), Pairs(N, b, 12 - b).p_worse(mid=True)) for b in range(13)]
    alarms = [float(np.mean([table[b][side] < 0.05 for b in lost])) for side in (0, 1)]
    assert alarms[0] < 0.05
    assert abs(alarms[1] - 0.05) < abs(alarms[0] - 0.05)


@pytest.mark.parametrize(("b", "c"), COUNTS)
def test_the_interval_holds_the_difference_and_mirrors_itself(b: int, c: int):
    here, there = Pairs(N, b, c).interval(), Pairs(N, c, b).interval()
    assert here.low <= (c - b) / N <= here.high
    assert here.low == pytest.approx(-there.high)
    assert Pairs(N, b, c).interval(0.99).low < here.low


def likeliest_z(n: int, b: int, c: int, delta: float) -> float:
    """The score z of a difference, its nuisance parameter found by search instead of by formula."""
    lost = np.linspace(max(0.0, -delta), (1 - delta) / 2, 200_003)[1:-1]
    likelihood = (n - b - c) * np.log(1 - 2 * lost - delta)
    likelihood += (b * np.log(lost) if b else 0) + (c * np.log(lost + delta) if c else 0)
    best = lost[np.argmax(likelihood)]
    return (c - b - n * delta) / math.sqrt(n * (2 * best + delta - delta * delta))


@pytest.mark.parametrize(("n", "b", "c"), [(1319, 40, 26), (100, 5, 2), (50, 0, 3), (50, 3, 0), (20, 0, 0)])
def test_the_ends_of_the_interval_are_where_the_score_test_begins_to_reject(n: int, b: int, c: int):
    interval = Pairs(n, b, c).interval()
    assert likeliest_z(n, b, c, interval.low) == pytest.approx(1.959964, abs=2e-3)
    assert likeliest_z(n, b, c, interval.high) == pytest.approx(-1.959964, abs=2e-3)


def test_the_interval_covers_as_often_as_it_says_where_discordance_is_rare():
    rng = np.random.default_rng(12)
    n, lost, gained = 200, 0.02, 0.01
    draws = rng.multinomial(n, [lost, gained, 1 - lost - gained], 3000)
    intervals = {(int(b), int(c)): Pairs(n, int(b), int(c)).interval() for b, c, _ in np.unique(draws, axis=0)}
    covered = np.mean([gained - lost in intervals[int(b), int(c)] for b, c, _ in draws])
    assert covered == pytest.approx(0.95, abs=0.02)


@pytest.mark.parametrize(("b", "c", "edge"), [(30, 0, "low"), (0, 30, "high")])
def test_the_interval_ends_at_one_when_every_question_changed(b: int, c: int, edge: str):
    interval = Pairs(30, b, c).interval()
    assert abs(getattr(interval, edge)) == 1
    assert interval.low < interval.high


def test_runs_over_other_questions_are_refused():
    with pytest.raises(AccuracyError, match="'b' is in one run only"):
        Pairs.of({"a": True}, {"a": True, "b": True})
    with pytest.raises(AccuracyError, match="8 lost and 3 gained of 10"):
        Pairs(10, 8, 3)
