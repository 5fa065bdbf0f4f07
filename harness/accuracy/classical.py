"""Power of the textbook's tests: two single runs under McNemar's, one run under a rule with a fixed number."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rocassay.harness.accuracy.errors import AccuracyError
from rocassay.harness.accuracy.intervals import at_least, at_most, log_pmf, quantile

_NEGLIGIBLE = 1e-12
"""Probability of a number of discordant questions that need not be looked at."""


def mcnemar_power(n: int, lost: float, gained: float, alpha: float) -> float:
    """Exact probability that McNemar's one-sided exact test has p <= alpha.

    lost, gained: chance of a question to be lost or gained, from one run of the baseline to one new run.
    """
    discordant = lost + gained
    if not 0 < discordant <= 1:
        raise AccuracyError(f"lost {lost} and gained {gained} are no chances of one question; their sum is in (0, 1]")
    total = 0.0
    for count in range(n + 1):
        weight = math.exp(log_pmf(count, n, discordant)) if discordant < 1 else float(count == n)
        if weight > _NEGLIGIBLE:
            total += weight * at_least(_critical(count, alpha), count, lost / discordant)
    return total


def _critical(discordant: int, alpha: float) -> int:
    """The least number of lost questions out of so many discordant ones that has p <= alpha."""
    low, high = discordant // 2, discordant + 1
    while low < high:
        middle = (low + high) // 2
        low, high = (low, middle) if at_least(middle, discordant, 0.5) <= alpha else (middle + 1, high)
    return low


def connor_questions(drop: float, discordance: float, alpha: float, power: float = 0.9) -> int:
    """Questions that McNemar's test needs when two runs disagree on a share `discordance`, the drop included.

    Connor, Biometrics 43 (1987). A drop above the discordance raises it to the drop.
    """
    psi = max(discordance, drop)
    needed = quantile(alpha) * math.sqrt(psi) + quantile(1 - power) * math.sqrt(psi - drop * drop)
    return math.ceil(round((needed / drop) ** 2, 6))


@dataclass(frozen=True, slots=True)
class FixedRule:
    """A rule that compares the accuracy with a number and knows nothing of noise."""

    name: str
    """The rule and who uses it."""
    baseline: float
    """The accuracy around which it was set."""
    threshold: float
    """Accuracy below which it is red."""

    def alarm(self, n: int, accuracy: float) -> float:
        """Probability of red at this true accuracy, for questions drawn anew; on fixed ones the spread is smaller."""
        least = math.ceil(round(self.threshold * n, 9))
        return at_most(least - 1, n, accuracy) if least > 0 else 0.0


FIELD_RULES = (
    FixedRule("accuracy >= baseline - .08 (vLLM gsm8k tests)", 0.95, 0.95 - 0.08),
    FixedRule("accuracy >= .92 x baseline (vLLM lm-eval tests)", 0.95, 0.95 * (1 - 0.08)),
    FixedRule("accuracy >= .92", 0.95, 0.92),
    FixedRule("accuracy >= .93 (SGLang MI35x tests, 200 questions)", 0.95, 0.93),
)
"""Rules that are in use, at a baseline of .95."""
