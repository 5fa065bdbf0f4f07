"""What a rule sees and how often it is wrong, by formula.

Model of a regression: a build that loses `drop` of its accuracy gives a wrong answer to that many of the questions it
would have solved, chosen without regard to how sure it was of them, and the same ones in every run. A kernel's defect
is of this kind. Beside the drop, runs of one build disagree on a share psi of the questions; psi / 2 is the mean item
variance. The loss adds its own discordance, so a design needs a little more than the classical formula at a given
total discordance (`classical.connor_questions`) says.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np

from rocassay.harness.accuracy.baseline import PLANNING_PSI, ItemBaseline
from rocassay.harness.accuracy.errors import AccuracyError
from rocassay.harness.accuracy.intervals import NORMAL, quantile

_STEPS = 50
"""Halvings of a range of at most 1: finer than any drop that matters."""

_FAR = 9.0
"""Standard deviations beyond which a normal value does not lie: 1e-19."""

_NODES = 64
"""Points of a Gauss-Legendre rule over at most 18 standard deviations: exact to 1e-9."""

MOST_RUNS = 64
"""Baseline runs beyond which one more changes nothing: the new run's own noise is then all that is left."""


@dataclass(frozen=True, slots=True)
class Design:
    """A comparison of m new runs with an item baseline of K runs."""

    questions: int = 1319
    """n; 1319 is GSM8K's test set."""
    baseline_runs: int = 8
    """K."""
    new_runs: int = 1
    """m."""
    accuracy: float = 0.95
    """Of the baseline."""
    psi: float = PLANNING_PSI
    """Discordance of two runs of the baseline's build."""

    def __post_init__(self) -> None:
        if min(self.questions, self.baseline_runs, self.new_runs) < 1 or not 0 < self.accuracy <= 1:
            raise AccuracyError(f"{self} is no comparison; it takes questions, runs, and an accuracy above 0")
        if not 0 <= self.psi <= 2 * self.accuracy * (1 - self.accuracy) + 1e-9:
            limit = 2 * self.accuracy * (1 - self.accuracy)
            raise AccuracyError(
                f"psi = {self.psi} at accuracy {self.accuracy} is impossible, runs of one build disagree on "
                f"{limit:.4f} of the questions at most; measure psi on runs of one build"
            )

    @classmethod
    def of(cls, baseline: ItemBaseline, new_runs: int = 1) -> Design:
        """The design that a baseline allows; psi is planned where a single run cannot tell it."""
        accuracy = baseline.accuracy
        measured = PLANNING_PSI if baseline.psi is None else baseline.psi
        psi = min(measured, 2 * accuracy * (1 - accuracy))
        return cls(baseline.n, baseline.runs, new_runs, accuracy, psi)

    def moments(self, drop: float) -> tuple[float, float]:
        """Standard deviations of the mean difference: what the test will estimate from pooled runs, and the true one.

        drop: 0 to the accuracy.
        """
        k, m, n = self.baseline_runs, self.new_runs, self.questions
        if not 0 <= drop <= self.accuracy:
            raise AccuracyError(f"a drop of {drop} is not between 0 and the accuracy {self.accuracy}")
        lost = drop / self.accuracy
        old = self.psi / 2
        new = old * (1 - lost)
        apart = lost * (self.accuracy - old)  # mean square of the change of a question's rate
        pooled = (k * old + m * new) / (k + m) + apart * k * m / ((k + m) * (k + m - 1))
        true = new / m + old / k + apart - drop * drop
        return math.sqrt(pooled * (1 / k + 1 / m) / n), math.sqrt(max(0.0, true) / n)

    def spread(self, drop: float) -> float:
        """Standard deviation of the new runs' accuracy on these questions: what a rule with a fixed number is up to."""
        lost = drop / self.accuracy
        old = self.psi / 2
        variance = old * (1 - lost) / self.new_runs + lost * (self.accuracy - old) - drop * drop
        return math.sqrt(max(0.0, variance) / self.questions)


def paired_power(design: Design, drop: float, alpha: float) -> float:
    """Probability that the item test rejects at one-sided `alpha` after a loss of `drop`; drop = 0: a false alarm.

    In the normal approximation, less half a step: one more lost question is the finest that the exact test can tell,
    and on average it rejects half of that later than its z does.
    """
    return NORMAL.cdf(_edge(design, drop, alpha))


def _edge(design: Design, drop: float, alpha: float) -> float:
    """Standardised true difference up to which the test rejects."""
    k, m = design.baseline_runs, design.new_runs
    assumed, true = design.moments(drop)
    margin = drop - quantile(alpha) * assumed - (k + m) / (2 * k * m * design.questions)
    return margin / true if true else math.copysign(math.inf, margin)


def confirmed_power(design: Design, drop: float, screen: float, confirm: float) -> float:
    """Probability of red when a first run with p < `screen` is repeated and both together must have p < `confirm`.

    The two statistics share the first run and the baseline; their correlation is that of a part with the whole.
    """
    pooled = replace(design, new_runs=2 * design.new_runs)
    first, both = _edge(design, drop, screen), _edge(pooled, drop, confirm)
    if math.isinf(first) or math.isinf(both):
        return NORMAL.cdf(min(first, both))
    rho = min(1.0, pooled.moments(drop)[1] / design.moments(drop)[1])
    return _both_below(first, both, rho)


def _both_below(a: float, b: float, rho: float) -> float:
    """P(X <= a, Y <= b) of standard normal values with correlation 0 <= rho <= 1, by quadrature over Y."""
    rest = math.sqrt(max(0.0, 1 - rho * rho))
    if rest < 1e-6:
        return NORMAL.cdf(min(a, b))
    low, high = -_FAR, min(b, _FAR)
    nodes, weights = np.polynomial.legendre.leggauss(_NODES)
    at = ((nodes + 1) / 2 * (high - low) + low).tolist()
    terms = [w * NORMAL.pdf(y) * NORMAL.cdf((a - rho * y) / rest) for w, y in zip(weights.tolist(), at, strict=True)]
    return max(0.0, (high - low) / 2 * math.fsum(terms))


def smallest_drop(design: Design, alpha: float, power: float = 0.9) -> float:
    """The drop that the item test sees with probability `power` at one-sided `alpha`; NaN if no drop is."""
    return _least_drop(lambda drop: paired_power(design, drop, alpha), design.accuracy, power)


def smallest_confirmed_drop(design: Design, screen: float, confirm: float, power: float = 0.9) -> float:
    """The drop that ends red with probability `power` under the rule of `confirmed_power`; NaN if no drop is."""
    return _least_drop(lambda drop: confirmed_power(design, drop, screen, confirm), design.accuracy, power)


def _least_drop(power_at: Callable[[float], float], largest: float, power: float) -> float:
    low, high = 0.0, largest
    if power_at(high) < power:
        return math.nan
    for _ in range(_STEPS):
        middle = (low + high) / 2
        low, high = (low, middle) if power_at(middle) >= power else (middle, high)
    return high


def runs_needed(design: Design, power_of: Callable[[Design], float], power: float = 0.9) -> int | None:
    """The smallest K, from the design's own on, for which `power_of` reaches `power`; None up to MOST_RUNS."""
    candidates = range(design.baseline_runs, MOST_RUNS + 1)
    return next((k for k in candidates if power_of(replace(design, baseline_runs=k)) >= power), None)


def margin_power(design: Design, drop: float, margin: float) -> float:
    """Probability that a rule `accuracy >= baseline - margin` is red after a loss of `drop`, on fixed questions.

    The baseline's accuracy is taken as known, which flatters the rule.
    """
    spread = design.spread(drop)
    return NORMAL.cdf((drop - margin) / spread) if spread else float(drop > margin)


def false_alarms_per_year(configurations: int, alpha: float, nights: int = 365) -> float:
    """Expected number of false alarms when every configuration is judged every night at `alpha`.

    An average over baselines: nights share theirs, so one that was recorded on lucky runs alarms more often than this
    until it is recorded again, and the others less.
    """
    return configurations * nights * alpha
