"""A share of n questions, against exact rational arithmetic."""

from __future__ import annotations

import math
from fractions import Fraction

import pytest

from rocassay.harness.accuracy.errors import AccuracyError
from rocassay.harness.accuracy.intervals import (
    at_least,
    at_most,
    chi_square_above,
    log_at_least,
    quantile,
    wilson,
    wilson_lower,
    wilson_upper,
)

FLOAT = 1e-9
"""Relative error granted to a tail of at most 1319 terms."""
MILLION = 10**6


def exact_at_least(k: int, n: int, p: Fraction) -> Fraction:
    return sum((math.comb(n, i) * p**i * (1 - p) ** (n - i) for i in range(max(k, 0), n + 1)), Fraction(0))


@pytest.mark.parametrize("n", [0, 1, 2, 7, 60])
@pytest.mark.parametrize("p", [Fraction(1, 2), Fraction(1, 20), Fraction(19, 20), Fraction(0), Fraction(1)])
def test_both_tails_are_exact_at_every_count(n: int, p: Fraction):
    for k in range(-1, n + 2):
        assert at_least(k, n, float(p)) == pytest.approx(float(exact_at_least(k, n, p)), rel=FLOAT, abs=0), k
        below = 1 - exact_at_least(k + 1, n, p)
        assert at_most(k, n, float(p)) == pytest.approx(float(below), rel=FLOAT, abs=1e-300), k


@pytest.mark.parametrize("k", [1, 40, 66, 67, 100, 200, 1319])
def test_a_tail_of_all_of_gsm8k_is_exact_however_small(k: int):
    exact = exact_at_least(k, 1319, Fraction(1, 20))
    assert at_least(k, 1319, 0.05) == pytest.approx(float(exact), rel=FLOAT, abs=0)


def test_the_logarithm_stays_finite_where_the_probability_is_no_float():
    log = log_at_least(1319, 1319, 0.05)
    assert math.exp(log) == 0
    assert log == pytest.approx(1319 * math.log(0.05))
    assert log_at_least(2, 1, 0.5) == -math.inf


def test_tails_of_a_million_questions_are_sound():
    exact = math.exp(math.lgamma(MILLION + 1) - 2 * math.lgamma(MILLION // 2 + 1) - MILLION * math.log(2))
    assert at_least(MILLION // 2, MILLION, 0.5) - 0.5 == pytest.approx(exact / 2, rel=1e-4)
    for k in (400_000, 499_000, 501_500):
        assert at_least(k, MILLION, 0.5) + at_most(k - 1, MILLION, 0.5) == pytest.approx(1, abs=1e-8)
    spread = math.sqrt(MILLION * 0.05 * 0.95)
    k = math.ceil(50_000 + 3 * spread)
    assert at_least(k, MILLION, 0.05) == pytest.approx(0.00135, rel=0.03)


def test_a_probability_outside_its_range_is_refused():
    with pytest.raises(AccuracyError, match=r"Binomial\(5, 1.5\)"):
        at_least(1, 5, 1.5)
    with pytest.raises(AccuracyError, match="alpha = 0"):
        quantile(0)


@pytest.mark.parametrize(
    ("right", "n", "low", "high"), [(1253, 1319, 0.937, 0.960), (190, 200, 0.910, 0.973), (19, 20, 0.764, 0.991)]
)
def test_the_wilson_interval_is_the_published_one(right: int, n: int, low: float, high: float):
    found = wilson(right, n)
    assert (round(found.low, 3), round(found.high, 3)) == (low, high)


@pytest.mark.parametrize(("right", "n"), [(0, 7), (3, 7), (7, 7), (1253, 1319)])
def test_the_wilson_limits_solve_the_score_equation(right: int, n: int):
    for alpha, limit, sign in ((0.01, wilson_lower(right, n, 0.01), 1), (0.01, wilson_upper(right, n, 0.01), -1)):
        if 0 < limit < 1:
            z = (right / n - limit) / math.sqrt(limit * (1 - limit) / n)
            assert z == pytest.approx(sign * quantile(alpha))
        else:
            assert right in (0, n)


def test_the_wilson_limits_mirror_each_other_and_keep_to_the_unit_interval():
    assert wilson_lower(0, 9, 0.01) == 0
    assert wilson_upper(9, 9, 0.01) == 1
    assert wilson_upper(3, 9, 0.05) == pytest.approx(1 - wilson_lower(6, 9, 0.05))
    assert wilson(3, 9).low < 1 / 3 < wilson(3, 9).high
    assert 1 / 3 in wilson(3, 9)
    with pytest.raises(AccuracyError, match="10 successes of 9"):
        wilson(10, 9)


@pytest.mark.parametrize("p", [0.5, 0.9, 0.95])
def test_the_wilson_interval_covers_as_often_as_it_says(p: float):
    n = 1319
    covered = sum(
        math.exp(log_at_least(k, n, p)) - math.exp(log_at_least(k + 1, n, p)) for k in range(n + 1) if p in wilson(k, n)
    )
    assert covered == pytest.approx(0.95, abs=0.006)


@pytest.mark.parametrize(
    ("x", "freedom", "p"), [(3.841, 1, 0.05), (5.991, 2, 0.05), (7.815, 3, 0.05), (18.475, 7, 0.01)]
)
def test_the_chi_square_tail_is_that_of_the_tables(x: float, freedom: int, p: float):
    assert chi_square_above(x, freedom) == pytest.approx(p, rel=1e-3)
    assert chi_square_above(0, freedom) == 1
