"""The two sequential tests of a noisy bisection: is this point bad, and did this commit lose answers?"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from functools import lru_cache

from rocassay.harness.accuracy.sequential import Decision, Sprt
from rocassay.harness.bisect.errors import BisectError


@dataclass(frozen=True, slots=True)
class Rates:
    """What is known, and how sure the answer must be.

    Attributes:
        good: share of right answers of a good point.
        drop: how much less it is at a bad one.
        alpha: probability at most that a test of one point calls a good one bad.
        beta: probability at most that it calls a bad one good.
        confidence: posterior probability at which the search ends; its complement is the confirmation's error rate.
        most: questions that one test of a point may take.
        budget: questions of the whole search.
    """

    good: float
    drop: float
    alpha: float = 0.1
    beta: float = 0.1
    confidence: float = 0.99
    most: int = 1319
    budget: int = 20000

    def __post_init__(self) -> None:
        if not 0 < self.good - self.drop < self.good < 1:
            raise BisectError(
                f"rate {self.good} and drop {self.drop} leave {self.good - self.drop:g} at a bad point; "
                "give a rate below 1 and a drop between 0 and the rate"
            )
        for name in ("alpha", "beta"):
            if not 0 < float(getattr(self, name)) < 0.5:
                raise BisectError(f"{name} = {getattr(self, name)} tells nothing; give a number between 0 and 0.5")
        if not 0.5 < self.confidence < 1:
            raise BisectError(f"confidence {self.confidence} is none; give a number between 0.5 and 1")
        if min(self.most, self.budget) < 1:
            raise BisectError(f"{min(self.most, self.budget)} questions are too few; give 1 or more")

    @property
    def bad(self) -> float:
        """Share of right answers of a bad point."""
        return self.good - self.drop

    @property
    def test(self) -> Sprt:
        """Wald's test of one point."""
        return Sprt(p0=self.good, p1=self.bad, alpha=self.alpha, pass_error=self.beta)

    @property
    def confirmation(self) -> Sprt:
        """Wald's test of two points by the questions on which they disagree; `right` is a question gained.

        Where nothing changed, losing and gaining a question are equally likely, whatever the share of right answers,
        the difficulty of the questions, and how far the points' answers depend on each other. Where the share drops,
        and the points answer independently, a disagreement is a gain with the probability below.
        """
        gained, lost = self.bad * (1 - self.good), self.good * (1 - self.bad)
        error = 1 - self.confidence
        return Sprt(p0=0.5, p1=gained / (gained + lost), alpha=error, pass_error=error)

    def likelihoods(self, decision: Decision, asked: int) -> tuple[float, float]:
        """Probability of a decision at a bad point, and at a good one, by the exact error rates of the test.

        asked: answers after which a test without a decision ended; others may take `most`.
        """
        at = asked if decision == "continue" else self.most
        return _probability(self, decision, self.bad, at), _probability(self, decision, self.good, at)


@lru_cache(maxsize=4096)
def _probability(rates: Rates, decision: Decision, rate: float, most: int) -> float:
    stopping = rates.test.stopping([rate] * most)
    shares = {"fail": stopping.fail, "pass": stopping.passes, "continue": 1 - stopping.fail - stopping.passes}
    return max(shares[decision], 1e-12)


@dataclass(slots=True)
class Count:
    """What a sequential test has seen."""

    decision: Decision = "continue"
    """What it says so far."""
    asked: int = 0
    """Outcomes, up to the decision if there is one."""
    wrong: int = 0
    """Wrong ones among them."""


def decide(test: Sprt, outcomes: Iterable[bool], most: int) -> Count:
    """Take outcomes until the test decides, they end, or there were `most`."""
    count = Count()
    for right in outcomes:
        count.asked, count.wrong = count.asked + 1, count.wrong + (not right)
        count.decision = test.decide(count.asked, count.wrong)
        if count.decision != "continue" or count.asked >= most:
            break
    return count
