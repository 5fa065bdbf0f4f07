"""False alarms and power, measured on recorded answers: resampled questions, simulated runs, planted losses.

A build is made from a recorded model. Its questions have the rates p_i = (1 - w) y_i + w s_i, where y_i is what the
model did and s_i the share of all recorded models that solved the question; w is chosen so that two runs disagree on a
share psi of the questions. So questions on which all models agree never vary, and disputed ones do. A regression makes
a random set of questions, the same in every run, fail for good. Every resample draws the questions with replacement,
the baseline's runs, and two runs of the build under test.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rocassay.harness.accuracy.errors import AccuracyError
from rocassay.harness.accuracy.items import compare
from rocassay.harness.accuracy.paired import Pairs
from rocassay.harness.accuracy.power import Design, confirmed_power, margin_power, paired_power
from rocassay.harness.accuracy.verdict import Policy

DROPS = (0.0, 0.01, 0.02, 0.05)
"""Losses of accuracy that are planted; the first measures false alarms."""

BASELINE_RUNS = 8
POLICY = Policy()

_HALVINGS = 60

Rates = NDArray[np.float64]
Counts = NDArray[np.int64]


@dataclass(frozen=True, slots=True)
class Trial:
    """One resample: what a rule may look at."""

    single: Counts
    """Answers of one baseline run, 0 or 1."""
    baseline: Counts
    """Successes of all baseline runs."""
    first: Counts
    """Answers of the run under test."""
    second: Counts
    """Answers of its repetition."""
    known: float
    """Expected accuracy of the undamaged build on these questions."""


@dataclass(frozen=True, slots=True)
class Rule:
    """A way to call a run red, and what the formulas say of it."""

    name: str
    red: Callable[[Trial], bool]
    predicted: Callable[[Design, float], float]


@dataclass(frozen=True, slots=True)
class Measured:
    """How often a rule was red."""

    rule: str
    drop: float
    measured: float
    predicted: float


def rates_of(model: Sequence[bool], models: Sequence[Sequence[bool]], psi: float) -> Rates:
    """Chances of being solved of a build like `model` whose runs disagree on a share psi of the questions.

    Raises AccuracyError when the recorded models agree too much for such a psi.
    """
    own, shared = np.array(model, dtype=np.float64), np.array(models, dtype=np.float64).mean(axis=0)

    def mixed(weight: float) -> Rates:
        return (1 - weight) * own + weight * shared

    def discordance(weight: float) -> float:
        return float((2 * mixed(weight) * (1 - mixed(weight))).mean())

    low, high = 0.0, 0.5
    if discordance(high) < psi:
        raise AccuracyError(
            f"psi = {psi} is above the {discordance(high):.4f} that these models allow; give a smaller one"
        )
    for _ in range(_HALVINGS):
        middle = (low + high) / 2
        low, high = (low, middle) if discordance(middle) >= psi else (middle, high)
    return mixed(high)


def _mcnemar(trial: Trial) -> bool:
    lost, gained = int((trial.single > trial.first).sum()), int((trial.first > trial.single).sum())
    return Pairs(len(trial.first), lost, gained).p_worse() < POLICY.alpha


def _item_test(trial: Trial) -> bool:
    return compare(trial.baseline, BASELINE_RUNS, trial.first).p < POLICY.alpha


def _confirmed(trial: Trial) -> bool:
    if compare(trial.baseline, BASELINE_RUNS, trial.first).p >= POLICY.screen:
        return False
    return compare(trial.baseline, BASELINE_RUNS, trial.first + trial.second, 2).p < POLICY.confirm


def _below(trial: Trial, margin: float) -> bool:
    return float(trial.first.mean()) < trial.known - margin


def rules(accuracy: float) -> tuple[Rule, ...]:
    """The paired rules, then those of the field as margins below a known accuracy."""
    margins = {"baseline - 8 points": 0.08, "baseline x .92": 0.08 * accuracy, "baseline - 3 points": 0.03}
    margins["baseline - 2 points"] = 0.02
    single = f"McNemar against 1 run, alpha {POLICY.alpha}"
    item = f"item baseline of {BASELINE_RUNS} runs, alpha {POLICY.alpha}"
    confirmed = f"the same, p < {POLICY.screen}, confirmed p < {POLICY.confirm}"
    return (
        Rule(single, _mcnemar, lambda d, drop: paired_power(_one_run(d), drop, POLICY.alpha)),
        Rule(item, _item_test, lambda d, drop: paired_power(d, drop, POLICY.alpha)),
        Rule(confirmed, _confirmed, lambda d, drop: confirmed_power(d, drop, POLICY.screen, POLICY.confirm)),
        *(_margin_rule(f"accuracy >= {name}", margin) for name, margin in margins.items()),
    )


def _one_run(design: Design) -> Design:
    return Design(design.questions, 1, 1, design.accuracy, design.psi)


def _margin_rule(name: str, margin: float) -> Rule:
    return Rule(name, lambda trial: _below(trial, margin), lambda design, drop: margin_power(design, drop, margin))


def _trial(rng: np.random.Generator, rates: Rates, drop: float) -> Trial:
    drawn = rates[rng.integers(len(rates), size=len(rates))]
    known = float(drawn.mean())
    after = np.where(rng.random(len(drawn)) < drop / known, 0.0, drawn)
    single = rng.binomial(1, drawn)
    baseline = single + rng.binomial(BASELINE_RUNS - 1, drawn)
    return Trial(single, baseline, rng.binomial(1, after), rng.binomial(1, after), known)


def measure(rates: Rates, resamples: int, seed: int = 0) -> list[Measured]:
    """How often each rule is red at each drop, beside the prediction for this accuracy, psi and number of questions."""
    rng = np.random.default_rng(seed)
    accuracy, psi = float(rates.mean()), float((2 * rates * (1 - rates)).mean())
    design = Design(len(rates), BASELINE_RUNS, 1, accuracy, psi)
    judged = rules(accuracy)
    found: list[Measured] = []
    for drop in DROPS:
        red = [0] * len(judged)
        for _ in range(resamples):
            trial = _trial(rng, rates, drop)
            red = [count + rule.red(trial) for count, rule in zip(red, judged, strict=True)]
        found += [
            Measured(rule.name, drop, count / resamples, rule.predicted(design, drop))
            for rule, count in zip(judged, red, strict=True)
        ]
    return found
