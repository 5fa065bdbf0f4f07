"""Stop a dead run early: Wald's sequential test of correctness along a fixed order of the questions.

With many requests in flight the answers that are finished are not a sample of all answers: short ones come first, and
short answers are right more often, or a broken build's are all short. So the statistic is only evaluated along a
permutation that was fixed before, on the prefix of it that is complete; what finished beyond a gap waits.
"""

from __future__ import annotations

import hashlib
import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rocassay.harness.accuracy.errors import AccuracyError

Decision = Literal["fail", "pass", "continue"]
"""fail and pass end the run; continue is everything else, a run that reached its end included."""


def permutation(questions: Iterable[str], seed: int = 0) -> tuple[str, ...]:
    """The questions in the order of SHA-256 of "{seed}:{question}" in UTF-8: the same on every machine.

    The order of any subset is the same as its order in the whole. Raises AccuracyError for an id that occurs twice.
    """
    ids = list(questions)
    if len(set(ids)) < len(ids):
        twice = next(question for question in ids if ids.count(question) > 1)
        raise AccuracyError(f"question {twice!r} occurs twice among {len(ids)}; ids must tell questions apart")
    return tuple(sorted(ids, key=lambda question: hashlib.sha256(f"{seed}:{question}".encode()).digest()))


def completed_prefix(order: Sequence[str], outcomes: Mapping[str, bool]) -> list[bool]:
    """Outcomes along `order` up to the first question that is not yet answered."""
    prefix: list[bool] = []
    for question in order:
        if question not in outcomes:
            break
        prefix.append(outcomes[question])
    return prefix


@dataclass(frozen=True, slots=True)
class Progress:
    """Where a sequential test stands."""

    decision: Decision
    """What to do with the run."""
    questions: int
    """Length of the completed prefix, up to the decision if there is one."""
    wrong: int
    """Wrong answers among them."""
    log_odds: float
    """Log likelihood ratio of p1 to p0 after them."""


@dataclass(frozen=True, slots=True)
class Stopping:
    """How a sequential test behaves for given rates."""

    fail: float
    """Probability of stopping with `fail`."""
    passes: float
    """Probability of stopping with `pass`."""
    questions: float
    """Expected questions until it stops or the questions end."""
    questions_if_failed: float
    """Expected questions of a run that is stopped with `fail`; NaN when none is."""


@dataclass(frozen=True, slots=True)
class Sprt:
    """H0: p >= p0 against H1: p <= p1; a healthy run is never stopped unless `pass_error` is given."""

    p0: float = 0.95
    """Accuracy that a healthy run has at least; set it at or below the baseline's."""
    p1: float = 0.90
    """Accuracy at which the run may as well stop."""
    alpha: float = 1e-4
    """Probability at most, by Ville's inequality, that a run with p >= p0 is ever stopped: boundary ln(1 / alpha)."""
    pass_error: float | None = None
    """Probability at most that a run with p <= p1 is passed early; None: it never passes early."""

    def __post_init__(self) -> None:
        if not 0 < self.p1 < self.p0 < 1:
            raise AccuracyError(f"p1 = {self.p1}, p0 = {self.p0}; a sequential test needs 0 < p1 < p0 < 1")
        if not 0 < self.alpha < 1 or not (self.pass_error is None or 0 < self.pass_error < 1):
            raise AccuracyError(f"error rates {self.alpha} and {self.pass_error} must lie between 0 and 1")

    @property
    def weights(self) -> tuple[float, float]:
        """What a wrong answer adds to the log odds, and what a right one takes away."""
        return math.log((1 - self.p1) / (1 - self.p0)), math.log(self.p0 / self.p1)

    def log_odds(self, questions: int, wrong: int) -> float:
        """Log likelihood ratio of p1 to p0 after so many questions and wrong answers."""
        up, down = self.weights
        return wrong * up - (questions - wrong) * down

    def decide(self, questions: int, wrong: int) -> Decision:
        """What the counts alone say."""
        odds = self.log_odds(questions, wrong)
        if odds >= -math.log(self.alpha):
            return "fail"
        return "pass" if self.pass_error is not None and odds <= math.log(self.pass_error) else "continue"

    def along(self, order: Sequence[str], outcomes: Mapping[str, bool]) -> Progress:
        """Evaluate the completed prefix of `order`; the first crossing decides, whatever follows it."""
        questions = wrong = 0
        for correct in completed_prefix(order, outcomes):
            questions, wrong = questions + 1, wrong + (not correct)
            decision = self.decide(questions, wrong)
            if decision != "continue":
                return Progress(decision, questions, wrong, self.log_odds(questions, wrong))
        return Progress("continue", questions, wrong, self.log_odds(questions, wrong))

    def stopping(self, rates: Sequence[float]) -> Stopping:
        """Exact behaviour for questions that are solved with these probabilities, in this order.

        With a baseline's item rates along the permutation it gives the false alarm of that very permutation, which the
        bound of `alpha` does not cover when hard questions happen to come first.
        """
        going = np.zeros(len(rates) + 1)
        going[0] = 1.0
        fail = passes = spent = spent_failing = 0.0
        for step, rate in enumerate(rates, start=1):
            going = going * rate + np.concatenate(([0.0], going[:-1])) * (1 - rate)
            low, high = self._bounds(step)
            failed, passed = float(going[high:].sum()), float(going[:low].sum())
            going[high:] = going[:low] = 0.0
            fail, passes = fail + failed, passes + passed
            spent, spent_failing = spent + step * (failed + passed), spent_failing + step * failed
        questions = spent + len(rates) * float(going.sum())
        return Stopping(fail, passes, questions, spent_failing / fail if fail else math.nan)

    def _bounds(self, step: int) -> tuple[int, int]:
        """The least number of wrong answers that does not pass, and the least that fails, after `step` questions."""
        up, down = self.weights
        high = max(0, math.ceil((step * down - math.log(self.alpha)) / (up + down)))
        if self.pass_error is None:
            return 0, high
        return max(0, math.floor((step * down + math.log(self.pass_error)) / (up + down)) + 1), high
