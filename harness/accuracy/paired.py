"""Two runs over the same questions: McNemar's exact test and the difference with its interval.

A question counts as lost when the first run, the baseline, solved it and the second did not, as gained the other way
round. Questions on which both agree say nothing about which run is better, however many there are.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass

from rocassay.harness.accuracy.errors import AccuracyError
from rocassay.harness.accuracy.intervals import Interval, at_least, at_most, log_pmf, quantile

_STEPS = 60
"""Halvings of a range of width 1 until float64 has no finer number."""


@dataclass(frozen=True, slots=True)
class Pairs:
    """What two runs over the same n questions did."""

    n: int
    """Questions that both answered."""
    lost: int
    """b: right in the first run only."""
    gained: int
    """c: right in the second run only."""

    def __post_init__(self) -> None:
        if min(self.lost, self.gained) < 0 or self.n < max(1, self.lost + self.gained):
            raise AccuracyError(
                f"{self.lost} lost and {self.gained} gained of {self.n} questions is no comparison; count each once"
            )

    @classmethod
    def of(cls, first: Mapping[str, bool], second: Mapping[str, bool]) -> Pairs:
        """The pairs of two runs by question id; AccuracyError unless both answered the same questions."""
        if first.keys() != second.keys():
            odd = min(first.keys() ^ second.keys())
            raise AccuracyError(
                f"{len(first)} and {len(second)} questions cannot be paired: {odd!r} is in one run only; "
                "run both on the same questions"
            )
        lost = sum(right and not second[question] for question, right in first.items())
        gained = sum(second[question] and not right for question, right in first.items())
        return cls(len(first), lost, gained)

    @property
    def discordant(self) -> int:
        """b + c."""
        return self.lost + self.gained

    @property
    def psi(self) -> float:
        """Discordance: share of questions on which the runs disagree."""
        return self.discordant / self.n

    @property
    def difference(self) -> float:
        """Accuracy of the second run minus that of the first: negative is worse."""
        return (self.gained - self.lost) / self.n

    @property
    def z(self) -> float:
        """(c - b) / sqrt(b + c), McNemar's statistic with its sign; 0 when the runs agree everywhere."""
        return (self.gained - self.lost) / math.sqrt(self.discordant) if self.discordant else 0.0

    def p_worse(self, *, mid: bool = False) -> float:
        """One-sided exact p of `the second run is worse`: P(X >= b), X ~ Binomial(b + c, 1/2); 1 without discordance.

        mid: count only half of P(X = b), which makes up for the coarse steps of small counts and in exchange may exceed
        the nominal error rate slightly (Fagerland, Lydersen, Laake 2013).
        """
        return at_least(self.lost, self.discordant, 0.5) - self._half(mid=mid)

    def p_better(self, *, mid: bool = False) -> float:
        """One-sided exact p of `the second run is better`."""
        return at_most(self.lost, self.discordant, 0.5) - self._half(mid=mid)

    def p_differs(self, *, mid: bool = False) -> float:
        """Two-sided exact p: twice the smaller side, 1 at most."""
        return min(1.0, 2 * min(self.p_worse(mid=mid), self.p_better(mid=mid)))

    def _half(self, *, mid: bool) -> float:
        return math.exp(log_pmf(self.lost, self.discordant, 0.5)) / 2 if mid else 0.0

    def interval(self, confidence: float = 0.95) -> Interval:
        """Score interval of the difference (Tango 1998): sound for few discordant questions and for none."""
        z = quantile((1 - confidence) / 2)
        here = self.difference
        low = -1.0 if self.gained == 0 and self.lost == self.n else self._edge(-1.0, here, z)
        high = 1.0 if self.lost == 0 and self.gained == self.n else self._edge(1.0, here, z)
        return Interval(low, high)

    def _edge(self, outside: float, inside: float, z: float) -> float:
        """The difference nearest to `outside` that the score test does not reject, by bisection."""
        for _ in range(_STEPS):
            middle = (outside + inside) / 2
            if abs(self._score(middle)) > z:
                outside = middle
            else:
                inside = middle
        return inside

    def _score(self, delta: float) -> float:
        """z of the hypothesis that the difference is `delta`, with the discordance most likely under it."""
        n, b, c = self.n, self.lost, self.gained
        linear = -(b + c) + (2 * n - (c - b)) * delta
        constant = -b * delta * (1 - delta)
        lost = (math.sqrt(max(0.0, linear**2 - 8 * n * constant)) - linear) / (4 * n)
        variance = n * (2 * lost + delta * (1 - delta))
        error = c - b - n * delta
        return error / math.sqrt(variance) if variance > 0 else math.copysign(math.inf, error) if error else 0.0
