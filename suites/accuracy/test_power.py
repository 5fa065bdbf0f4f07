"""What is promised of power and error rates, against published tables and against simulation."""

from __future__ import annotations

import math
from dataclasses import replace

import numpy as np
import pytest

from rocassay.harness.accuracy.classical import FIELD_RULES, connor_questions, mcnemar_power
from rocassay.harness.accuracy.errors import AccuracyError
from rocassay.harness.accuracy.items import compare
from rocassay.harness.accuracy.paired import Pairs
from rocassay.harness.accuracy.power import (
    Design,
    confirmed_power,
    false_alarms_per_year,
    paired_power,
    runs_needed,
    smallest_confirmed_drop,
    smallest_drop,
)
from rocassay.suites.accuracy.builds import broken, item_rates, successes

ALPHA, SCREEN, CONFIRM = 0.01, 0.03, 0.001


@pytest.mark.parametrize(
    ("drop", "alpha", "needed"),
    [
        (0.01, 0.05, (1710, 3422, 6848)),
        (0.02, 0.05, (425, 853, 1710)),
        (0.05, 0.05, (168, 168, 271)),
        (0.01, 0.01, (2599, 5203, 10409)),
        (0.02, 0.01, (647, 1298, 2599)),
        (0.05, 0.01, (256, 256, 412)),
    ],
)
def test_the_questions_needed_are_connors(drop: float, alpha: float, needed: tuple[int, ...]):
    found = [connor_questions(drop, psi, alpha) for psi in (0.02, 0.04, 0.08)]
    assert found == pytest.approx(needed, abs=1)


DESIGNS = [
    (1, 1, 0.04, 0.02),
    (8, 1, 0.04, 0),
    (8, 1, 0.04, 0.01),
    (8, 1, 0.08, 0.02),
    (8, 2, 0.04, 0.01),
    (8, 3, 0.02, 0.005),
]


@pytest.mark.parametrize(("runs", "new", "psi", "drop"), DESIGNS)
def test_the_formula_predicts_the_exact_test(runs: int, new: int, psi: float, drop: float):
    rng, times, red = np.random.default_rng(41), 700, 0
    for _ in range(times):
        rates = item_rates(rng, psi=psi)
        after = broken(rng, rates, drop) if drop else rates
        red += compare(successes(rng, rates, runs), runs, successes(rng, after, new), new).p < ALPHA
    predicted = paired_power(Design(1319, runs, new, 0.95, psi), drop, ALPHA)
    error = math.sqrt(max(predicted * (1 - predicted), 0.002) / times)
    assert red / times == pytest.approx(predicted, abs=3.5 * error + 0.005)


@pytest.mark.parametrize("drop", [0.0, 0.01, 0.015])
def test_the_formula_predicts_the_rule_with_a_confirming_run(drop: float):
    """Levels wider than the gate's, so that a simulation of this size sees false alarms at all."""
    screen, confirm = 0.1, 0.02
    rng, times, red = np.random.default_rng(42), 700, 0
    for _ in range(times):
        rates = item_rates(rng)
        after = broken(rng, rates, drop) if drop else rates
        old, first, second = successes(rng, rates, 8), successes(rng, after), successes(rng, after)
        red += compare(old, 8, first).p < screen and compare(old, 8, first + second, 2).p < confirm
    predicted = confirmed_power(Design(), drop, screen, confirm)
    error = math.sqrt(max(predicted * (1 - predicted), 0.005) / times)
    assert red / times == pytest.approx(predicted, abs=3.5 * error)
    assert drop or predicted < confirm


def test_the_nightly_gate_sees_two_points_and_alarms_once_in_two_thousand_runs():
    nightly = Design()
    assert confirmed_power(nightly, 0.02, SCREEN, CONFIRM) == pytest.approx(0.96, abs=0.01)
    assert confirmed_power(nightly, 0.0, SCREEN, CONFIRM) == pytest.approx(0.0005, abs=0.0002)
    assert smallest_confirmed_drop(nightly, SCREEN, CONFIRM) == pytest.approx(0.017, abs=0.001)
    release = replace(nightly, new_runs=3)
    assert smallest_drop(release, ALPHA) == pytest.approx(0.011, abs=0.001)


def test_power_rises_with_drop_runs_and_questions_and_falls_with_noise():
    powers = [paired_power(Design(), drop, ALPHA) for drop in (0.0, 0.005, 0.01, 0.02, 0.05)]
    assert powers == sorted(powers)
    assert powers[0] <= ALPHA
    assert powers[-1] > 0.999
    base = paired_power(Design(), 0.01, ALPHA)
    assert paired_power(Design(baseline_runs=1), 0.01, ALPHA) < base < paired_power(Design(new_runs=2), 0.01, ALPHA)
    assert paired_power(Design(psi=0.08), 0.01, ALPHA) < base < paired_power(Design(questions=5000), 0.01, ALPHA)


def test_the_smallest_drop_is_where_the_power_is_reached():
    drop = smallest_drop(Design(), ALPHA, 0.9)
    assert paired_power(Design(), drop, ALPHA) == pytest.approx(0.9, abs=1e-6)
    assert paired_power(Design(), 0.99 * drop, ALPHA) < 0.9
    assert math.isnan(smallest_drop(Design(questions=2), ALPHA, 0.9))


def test_noiseless_runs_see_one_question_at_best():
    sure = Design(psi=0.0, accuracy=1.0)
    assert paired_power(sure, 0.0, ALPHA) == 0
    assert paired_power(sure, 0.02, ALPHA) > 0.99
    assert confirmed_power(sure, 0.0, SCREEN, CONFIRM) == 0


def test_the_runs_that_a_baseline_lacks_are_counted():
    few = Design(baseline_runs=1)
    enough = runs_needed(few, lambda design: paired_power(design, 0.02, ALPHA))
    assert enough is not None
    assert paired_power(replace(few, baseline_runs=enough), 0.02, ALPHA) >= 0.9
    assert paired_power(replace(few, baseline_runs=enough - 1), 0.02, ALPHA) < 0.9
    assert runs_needed(replace(few, questions=50), lambda design: paired_power(design, 0.02, ALPHA)) is None


def test_mcnemars_power_is_exact():
    n, lost, gained = 30, 0.3, 0.1
    same = 1 - lost - gained
    red = sum(
        math.comb(n, b) * math.comb(n - b, c) * lost**b * gained**c * same ** (n - b - c)
        for b in range(n + 1)
        for c in range(n + 1 - b)
        if Pairs(n, b, c).p_worse() <= 0.05
    )
    assert mcnemar_power(n, lost, gained, 0.05) == pytest.approx(red)
    assert mcnemar_power(1319, 0.02, 0.02, ALPHA) == pytest.approx(0.007, abs=0.0005), "steps cost a third of alpha"
    assert mcnemar_power(1319, 0.02, 0.02, ALPHA) == pytest.approx(
        paired_power(Design(baseline_runs=1), 0.0, ALPHA), abs=0.001
    )
    assert mcnemar_power(20, 1.0, 0.0, ALPHA) == 1


@pytest.mark.parametrize(
    ("rule", "detected"),
    [(0, (0, 0, 0, 0.48)), (1, (0, 0, 0, 0.65)), (2, (0.07, 0.48, 0.99, 1)), (3, (0.48, 0.90, 1, 1))],
)
def test_the_rules_of_the_field_miss_what_they_are_known_to_miss(rule: int, detected: tuple[float, ...]):
    found = [FIELD_RULES[rule].alarm(1319, 0.95 - drop) for drop in (0.02, 0.03, 0.05, 0.08)]
    assert found == pytest.approx(detected, abs=0.02)


def test_the_false_alarms_of_the_fields_rules_are_binomial():
    loose, _, middle, tight = FIELD_RULES
    assert loose.alarm(1319, 0.95) < 1e-20
    assert loose.alarm(50, 0.95) == pytest.approx(0.0118, abs=0.0005)
    assert [middle.alarm(n, 0.95) for n in (200, 50)] == pytest.approx([0.0238, 0.1036], abs=0.0005)
    assert [tight.alarm(n, 0.95) for n in (200, 50)] == pytest.approx([0.0781, 0.2396], abs=0.0005)
    rng = np.random.default_rng(44)
    assert tight.alarm(200, 0.95) == pytest.approx(np.mean(rng.binomial(200, 0.95, 20_000) / 200 < 0.93), abs=0.01)


def test_a_year_of_nights_is_the_product():
    assert false_alarms_per_year(30, CONFIRM) == pytest.approx(10.95)


def test_designs_that_cannot_be_are_refused():
    with pytest.raises(AccuracyError, match="impossible"):
        Design(accuracy=0.99, psi=0.04)
    with pytest.raises(AccuracyError, match="no comparison"):
        Design(baseline_runs=0)
    with pytest.raises(AccuracyError, match="a drop of 2"):
        Design().moments(2.0)
    with pytest.raises(AccuracyError, match="lost 0"):
        mcnemar_power(10, 0.0, 0.0, ALPHA)
