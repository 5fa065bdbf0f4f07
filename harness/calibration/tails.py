"""The tail of a statistic of cases: how often it exceeds a limit that no case of the sample came near.

The largest |z| and the worst row of a case are maxima over its elements and rows, so a sample of cases is a sample of
block maxima, and their limiting distribution is known.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from rocassay.harness.calibration.moments import Z_CONFIDENCE, varies

EULER = 0.5772156649015329
"""Mean of the standard Gumbel distribution."""

SHAPE_VARIANCE = 0.5633
"""n times the variance of the estimated shape of a Gumbel sample (Hosking, Wallis and Wood 1985)."""

LOCATION_VARIANCE, COVARIANCE, SCALE_VARIANCE = 1.1128, 0.2287, 0.8046
"""n times those of the estimates of a Gumbel sample, in squares of its scale (Phien 1987)."""


@dataclass(frozen=True, slots=True)
class Tail:
    """A generalised extreme value distribution whose upper tail falls as an exponential, or slower."""

    n: int
    """Values that it was estimated from."""
    location: float
    scale: float
    """0: the sample is constant, and nothing is known of a tail."""
    shape: float
    """0 is Gumbel's; above 0 the tail falls as a power."""

    def above(self, limit: float) -> float:
        """Estimated probability that a value exceeds `limit`."""
        if not self.scale:
            return float(self.location > limit)
        y = (limit - self.location) / self.scale
        if not self.shape:
            return -math.expm1(-math.exp(min(-y, 700.0)))
        reach = 1 + self.shape * y
        return 1.0 if reach <= 0 else -math.expm1(-(reach ** (-1 / self.shape)))

    def rare(self, alpha: float) -> float:
        """A limit that a value exceeds with probability `alpha` at most, with 95 % confidence where the tail holds."""
        y = -math.log(-math.log1p(-alpha))
        error = math.sqrt((LOCATION_VARIANCE + 2 * COVARIANCE * y + SCALE_VARIANCE * y * y) / self.n)
        reduced = y + Z_CONFIDENCE * error
        grown = math.expm1(self.shape * reduced) / self.shape if self.shape else reduced
        return self.location + self.scale * grown


def tail(sample: Sequence[float]) -> Tail:
    """The tail of a sample of maxima, by L-moments (Hosking, Wallis and Wood 1985).

    It is Gumbel's unless the sample contradicts that at 5 % in the heavy direction. A lighter one, which maxima of
    normal or of bounded errors have, is never granted: what lies beyond the data counts too often, not too rarely.
    """
    first, second, ratio = _l_moments(sample)
    if not varies(first, second):
        return Tail(len(sample), first, 0.0, 0.0)
    c = 2 / (3 + ratio) - math.log(2) / math.log(3)
    shape = -(7.8590 * c + 2.9554 * c * c)
    if shape < Z_CONFIDENCE * math.sqrt(SHAPE_VARIANCE / len(sample)):
        scale = second / math.log(2)
        return Tail(len(sample), first - EULER * scale, scale, 0.0)
    # Beyond 1/2 there is no variance; such a sample is no error of rounding, and any probability will be large.
    shape = min(shape, 0.5)
    gamma = math.gamma(1 - shape)
    scale = second * shape / (gamma * (2**shape - 1))
    return Tail(len(sample), first - scale * (gamma - 1) / shape, scale, shape)


def _l_moments(sample: Sequence[float]) -> tuple[float, float, float]:
    """First and second L-moment and L-skewness, by unbiased probability-weighted moments (Hosking 1990)."""
    values = np.sort(np.asarray(sample, dtype=np.float64))
    n, rank = len(values), np.arange(len(values), dtype=np.float64)
    b0 = float(values.mean())
    b1 = float((values * rank).mean()) / (n - 1)
    b2 = float((values * rank * (rank - 1)).mean()) / ((n - 1) * (n - 2))
    second, third = 2 * b1 - b0, 6 * b2 - 6 * b1 + b0
    return b0, second, third / second if second > 0 else 0.0
