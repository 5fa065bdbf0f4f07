"""A noisy bisection: sequential tests at the median of a posterior, and a confirmation that needs no rates.

The posterior is as good as the rates that it is told. A history without a change whose share of right answers lies
between them makes every test a coin toss, and coin tosses end somewhere, with confidence. So what the posterior names
is believed only after the points on its two sides have answered the same, fresh questions, and one lost more than it
gained: a test that is right whatever the rates are.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Literal, TypeAlias

from rocassay.harness.bisect.answers import Answers
from rocassay.harness.bisect.errors import BisectError, CannotJudge
from rocassay.harness.bisect.journal import Journal, Visit
from rocassay.harness.bisect.points import Point
from rocassay.harness.bisect.posterior import Group, Posterior
from rocassay.harness.bisect.sequences import Count, Rates, decide

Status = Literal["found", "no change", "unconfirmed", "undecided"]
"""found: confirmed. no change: believed, or what was believed was not confirmed. unconfirmed: the questions ended
before the confirmation did. undecided: they ended before anything was believed."""

Told: TypeAlias = Callable[[Visit, int], None]
"""Is told what each test said, and about how many more are to come."""

CHUNK = 100
"""Questions that one side of a confirmation answers before the other is started."""


@dataclass(frozen=True, slots=True)
class Believed:
    """What a noisy bisection says."""

    status: Status
    """How sure it is."""
    first: int
    """Place of the first point that may be the first bad one."""
    last: int
    """Place of the last one; both are the number of points where no change is likeliest."""
    posterior: float
    """Probability that the change is there."""
    credible: tuple[tuple[int, float], ...]
    """The fewest change points that hold the asked confidence together, likeliest first."""
    questions: int
    """Answers that it took."""
    visits: int
    """Tests of single points."""
    reason: str
    """One sentence."""


class Believing:
    """The search."""

    def __init__(
        self,
        points: Sequence[Point],
        answers: Answers,
        rates: Rates,
        journal: Journal | None = None,
        told: Told | None = None,
    ) -> None:
        """journal: gets a line for each test. told: hears of each test."""
        self._points, self._answers, self._rates = points, answers, rates
        self._journal, self._told = journal, told
        self._posterior, self._skipped, self._visits = Posterior(len(points)), set[int](), 0

    def run(self) -> Believed:
        """Verify the ends, then ask where the answer is least known until one place is believed.

        Raises BisectError when an end cannot be asked, or the good end is believed to be bad.
        """
        for end in (0, len(self._points) - 1):
            self._visit(end)
        while (group := self._likeliest()).mass < self._rates.confidence:
            problem = self._ask_on()
            if problem:
                return self._said("undecided", group, problem)
        return self._conclude(group)

    def _likeliest(self) -> Group:
        return max(self._posterior.groups(self._skipped), key=lambda group: group.mass)

    def _ask_on(self) -> str:
        """Test one more point; or why none can be."""
        if self._left() <= 0:
            return f"the budget of {self._rates.budget} questions is spent (--budget)"
        places = range(len(self._points))
        open_ = [place for place in places if place not in self._skipped and not self._answers.ended(place)]
        # The points that can still be asked may be those that matter no more.
        if not open_ or self._posterior.median(open_)[1] < (1 - self._rates.confidence) / 2:
            return "the points that could tell have no further answers; evaluate them on more questions"
        self._visit(self._posterior.median(open_)[0])
        return ""

    def _left(self) -> int:
        return self._rates.budget - self._answers.spent

    def _visit(self, place: int) -> None:
        try:
            count = decide(self._rates.test, self._answers.fresh(place), min(self._rates.most, max(1, self._left())))
        except CannotJudge as problem:
            if place in (0, len(self._points) - 1):
                raise BisectError(f"an end cannot be judged: {problem}") from problem
            self._skipped.add(place)
            return
        if not count.asked:
            return
        self._visits += 1
        self._posterior.tell(place, *self._rates.likelihoods(count.decision, count.asked))
        self._tell(place, count)

    def _tell(self, place: int, count: Count) -> None:
        group = self._likeliest()
        line = Visit(
            place=place,
            point=self._points[place].name,
            decision="undecided" if count.decision == "continue" else count.decision,
            questions=count.asked,
            wrong=count.wrong,
            likeliest=group.last,
            posterior=group.mass,
        )
        if self._journal is not None:
            self._journal.visited(line)
        if self._told is not None:
            self._told(line, self._tests_left(group))

    def _tests_left(self, group: Group) -> int:
        """About how many tests the posterior's entropy is worth."""
        if group.mass >= self._rates.confidence:
            return 0
        masses = self._posterior.masses
        error = max(self._rates.alpha, self._rates.beta)
        bits = -sum(float(mass) * math.log2(mass) for mass in masses if mass > 0)
        each = 1 + error * math.log2(error) + (1 - error) * math.log2(1 - error)
        return max(1, math.ceil(bits / each))

    def _conclude(self, group: Group) -> Believed:
        if group.first == 0:
            raise BisectError(
                f"the good end {self._points[0]} answers like a bad one: with probability {group.mass:.3f} its share "
                f"of right answers is {self._rates.bad:g} rather than {self._rates.good:g}; choose an older good end, "
                "another --rate, or look at whether `correct` is told the right way round"
            )
        if group.last == len(self._points):
            share = f"its share of right answers is {self._rates.good:g}, not {self._rates.bad:g}"
            return self._said("no change", group, f"the bad end answers like the good one: {share}")
        count = self._confirmed(group)
        seen = f"{count.wrong} of {count.asked} questions that they answer differently are lost"
        if count.decision == "fail":
            return self._said("found", group, f"confirmed by the points on both sides of it: {seen}")
        if count.decision == "pass":
            why = f"the posterior names {self._points[group.last]}, but {seen} there, which is no loss; "
            return self._said("no change", group, why + "--rate and --drop do not fit this history")
        return self._said("unconfirmed", group, f"the questions ended before the confirmation did: {seen}")

    def _confirmed(self, group: Group) -> Count:
        """The paired test of the points on both sides of a change."""
        pairs = self._answers.pairs(group.first - 1, group.last, max(1, min(CHUNK, self._left() // 2)))
        differing = (now for before, now in self._within(pairs) if before != now)
        return decide(self._rates.confirmation, differing, self._rates.budget)

    def _within(self, pairs: Iterator[tuple[bool, bool]]) -> Iterator[tuple[bool, bool]]:
        for pair in pairs:
            yield pair
            if self._left() <= 0:
                return

    def _said(self, status: Status, group: Group, reason: str) -> Believed:
        self._answers.close()
        credible = tuple(self._posterior.credible(self._rates.confidence))
        first, last = group.first, group.last
        return Believed(status, first, last, group.mass, credible, self._answers.spent, self._visits, reason)
