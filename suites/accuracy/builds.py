"""Simulated builds: questions with rates, runs of them, and what a regression does to them."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray

from rocassay.harness.accuracy.baseline import ItemBaseline
from rocassay.harness.accuracy.outcomes import Outcome, Run

QUESTIONS = 1319
"""Of GSM8K's test set."""
ACCURACY = 0.95
PSI = 0.04

Rates = NDArray[np.float64]


def item_rates(rng: np.random.Generator, n: int = QUESTIONS, accuracy: float = ACCURACY, psi: float = PSI) -> Rates:
    """Chances of being solved, drawn from the beta distribution with this mean and mean 2 p (1 - p) = psi.

    With psi far below 2 a (1 - a) it is U-shaped: most questions are solved always or never, few vary.
    """
    share = psi / (2 * accuracy * (1 - accuracy))
    size = share / (1 - share)
    return rng.beta(accuracy * size, (1 - accuracy) * size, n)


def broken(rng: np.random.Generator, rates: Rates, drop: float) -> Rates:
    """The rates of a build that always fails on a random set of questions, `drop` of the accuracy in expectation."""
    return np.where(rng.random(len(rates)) < drop / float(rates.mean()), 0.0, rates)


def successes(rng: np.random.Generator, rates: Rates, runs: int = 1) -> NDArray[np.int64]:
    """By question: how many of `runs` runs solved it."""
    return rng.binomial(runs, rates)


def run_of(rng: np.random.Generator, rates: Rates, tokens: float = 120.0) -> Run:
    """One run with texts of about this many tokens."""
    right = (rng.random(len(rates)) < rates).tolist()
    lengths = rng.poisson(tokens, len(rates)).tolist()
    return {f"q{i:05}": Outcome(right[i], tokens=lengths[i]) for i in range(len(rates))}


def baseline_of(rng: np.random.Generator, rates: Rates, runs: int = 8) -> ItemBaseline:
    """The item baseline of so many runs."""
    return ItemBaseline.of([run_of(rng, rates) for _ in range(runs)])
