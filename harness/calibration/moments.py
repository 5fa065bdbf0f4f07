"""Moments of a sample, a limit that a mean rarely exceeds, and a bound of a probability from counted events."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from rocassay.harness.accuracy.intervals import at_most

CONFIDENCE = 0.95
"""Of every one-sided bound of a calibration."""

Z_CONFIDENCE = NormalDist().inv_cdf(CONFIDENCE)
"""Standard deviations of that."""

_BISECTIONS = 60
"""Halvings after which an interval of [0, 1] has no float64 between its ends."""


@dataclass(frozen=True, slots=True)
class Moments:
    """A sample in seven numbers."""

    n: int
    mean: float
    sd: float
    skew: float
    kurtosis: float
    """Excess: 0 of a normal sample."""
    least: float
    most: float


def moments(sample: Sequence[float]) -> Moments:
    """Moments of at least two values, whatever their order; skewness and kurtosis of a constant sample are 0."""
    values = np.sort(np.asarray(sample, dtype=np.float64))
    mean, sd = float(values.mean()), float(values.std(ddof=1))
    skew = kurtosis = 0.0
    if varies(mean, sd):
        z = (values - mean) / values.std()
        skew, kurtosis = float((z**3).mean()), float((z**4).mean()) - 3
    return Moments(len(values), mean, sd, skew, kurtosis, float(values[0]), float(values[-1]))


def varies(mean: float, spread: float) -> bool:
    """Whether a sample varies by more than the rounding of its own mean."""
    return spread > 1e-12 * max(1.0, abs(mean))


def rare_mean(sample: Moments, alpha: float) -> float:
    """A limit that a mean of many terms exceeds with probability `alpha` at most, with 95 % confidence.

    mean + k sd. Without skewness k is the normal quantile z of alpha; a skewed sample has Pearson's type III tail
    (Wilson and Hilferty 1931). Skewness, mean and spread count at their upper bounds, since at 5 sd an error of 5 % in
    the spread is an order of magnitude in alpha.
    """
    z = -NormalDist().inv_cdf(alpha)
    skew = max(0.0, sample.skew) + Z_CONFIDENCE * math.sqrt(6 / sample.n)
    k = 2 / skew * ((1 + skew * z / 6 - (skew / 6) ** 2) ** 3 - 1)
    return sample.mean + (k + Z_CONFIDENCE * math.sqrt(1 / sample.n + k * k / (2 * sample.n))) * sample.sd


def most_often(count: int, n: int) -> float:
    """Largest probability at which `count` or fewer events in n have a chance of 5 % (Clopper and Pearson 1934)."""
    if count >= n:
        return 1.0
    low, high = count / n, 1.0
    for _ in range(_BISECTIONS):
        middle = (low + high) / 2
        low, high = (middle, high) if at_most(count, n, middle) > 1 - CONFIDENCE else (low, middle)
    return high
