"""A share of n questions: its score interval and exact binomial tails."""

from __future__ import annotations

import math
from dataclasses import dataclass
from statistics import NormalDist

import numpy as np

from rocassay.harness.accuracy.errors import AccuracyError

NORMAL = NormalDist()
"""The standard normal distribution."""

_NEGLIGIBLE = -46.0
"""Log of a term that adds nothing to a float64 sum: e^-46 = 1e-20 of the first, and the following ones fall faster."""

_CHUNK = 4096
"""Terms of a tail that are summed at once."""


@dataclass(frozen=True, slots=True)
class Interval:
    """A closed range of a share or of a difference of shares."""

    low: float
    high: float

    def __contains__(self, value: float) -> bool:
        return self.low <= value <= self.high


def quantile(alpha: float) -> float:
    """The z that a standard normal value exceeds with probability `alpha`, 0 < alpha < 1."""
    if not 0 < alpha < 1:
        raise AccuracyError(f"alpha = {alpha} is no error rate; give one between 0 and 1")
    return -NORMAL.inv_cdf(alpha)


def wilson(successes: int, n: int, confidence: float = 0.95) -> Interval:
    """Two-sided score interval of a share (Wilson 1927): never outside [0, 1], and sound at 0 and at n successes.

    Of questions drawn anew it is an interval of the ability. Of a fixed set of questions it is conservative: a run then
    varies by the mean of p_i (1 - p_i), which is at most p (1 - p).
    """
    alpha = (1 - confidence) / 2
    return Interval(wilson_lower(successes, n, alpha), wilson_upper(successes, n, alpha))


def wilson_lower(successes: int, n: int, alpha: float) -> float:
    """One-sided lower limit: the share is below it with probability `alpha` at most, in the normal approximation."""
    centre, half = _score(successes, n, alpha)
    return 0.0 if successes == 0 else max(0.0, centre - half)


def wilson_upper(successes: int, n: int, alpha: float) -> float:
    """One-sided upper limit, the mirror image of `wilson_lower`."""
    centre, half = _score(successes, n, alpha)
    return 1.0 if successes == n else min(1.0, centre + half)


def _score(successes: int, n: int, alpha: float) -> tuple[float, float]:
    _check_counts(successes, n)
    z2 = quantile(alpha) ** 2
    share, scale = successes / n, 1 + z2 / n
    half = math.sqrt(z2 * (share * (1 - share) / n + z2 / (4 * n * n)))
    return (share + z2 / (2 * n)) / scale, math.copysign(half, 0.5 - alpha) / scale


def _check_counts(successes: int, n: int) -> None:
    if n < 1 or not 0 <= successes <= n:
        raise AccuracyError(f"{successes} successes of {n} questions are no share; count at least one question")


def at_least(k: int, n: int, p: float) -> float:
    """P(X >= k) of X ~ Binomial(n, p), exact to a relative 1e-8 for n up to 1e6."""
    return math.exp(log_at_least(k, n, p))


def at_most(k: int, n: int, p: float) -> float:
    """P(X <= k) of X ~ Binomial(n, p), exact to a relative 1e-8 for n up to 1e6."""
    return math.exp(log_at_least(n - k, n, 1 - p))


def log_at_least(k: int, n: int, p: float) -> float:
    """ln P(X >= k) of X ~ Binomial(n, p): finite where the probability itself is below the smallest float."""
    if n < 0 or not 0 <= p <= 1:
        raise AccuracyError(f"Binomial({n}, {p}) does not exist; give n >= 0 and p between 0 and 1")
    if k <= 0 or (p == 1 and k <= n):
        return 0.0
    if k > n or p == 0:
        return -math.inf
    if k > n * p:
        return _log_tail(k, n, p)
    # Below the mean the other tail is the small one; 1 - its value loses nothing.
    return math.log1p(-math.exp(_log_tail(n - k + 1, n, 1 - p)))


def log_pmf(k: int, n: int, p: float) -> float:
    """ln P(X = k) of X ~ Binomial(n, p) for 0 < p < 1."""
    choose = math.lgamma(n + 1) - math.lgamma(k + 1) - math.lgamma(n - k + 1)
    return choose + k * math.log(p) + (n - k) * math.log1p(-p)


def _log_tail(k: int, n: int, p: float) -> float:
    """ln P(X >= k) for k at or above the mode, where every term is smaller than the one before."""
    odds = math.log(p) - math.log1p(-p)
    total, last = 1.0, 0.0
    for start in range(k, n, _CHUNK):
        i = np.arange(start, min(start + _CHUNK, n), dtype=np.float64)
        logs = last + np.cumsum(np.log((n - i) / (i + 1)) + odds)
        total += float(np.exp(logs).sum())
        last = float(logs[-1])
        if last < _NEGLIGIBLE:
            break
    return log_pmf(k, n, p) + math.log(total)


def chi_square_above(x: float, freedom: int) -> float:
    """P(X > x) of a chi-square value with a whole number of degrees of freedom, by its finite sum."""
    half, odd = x / 2, freedom % 2
    if half <= 0:
        return 1.0
    powers = [odd / 2 + j for j in range(freedom // 2)]
    total = sum(math.exp(power * math.log(half) - half - math.lgamma(power + 1)) for power in powers)
    return total + (math.erfc(math.sqrt(half)) if odd else 0.0)
