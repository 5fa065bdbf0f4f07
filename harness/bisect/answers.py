"""Answers of every point to the same questions in the same order; each is used by one test only."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import NamedTuple, Protocol

from rocassay.harness.bisect.errors import BisectError, CannotJudge
from rocassay.harness.bisect.journal import Answer, Journal
from rocassay.harness.bisect.points import Point


class Question(NamedTuple):
    """One answered question."""

    id: str
    """Its name, the same at every point."""
    correct: bool
    """Whether it was answered right."""


class Asking(Protocol):
    """An evaluation of one point that is going on."""

    def next(self) -> Question | None:
        """The next answer of the order; None when there are no more. Raises CannotJudge if there never were any."""
        ...

    def close(self) -> list[Question]:
        """End it; what had come by then and was not taken."""
        ...


class Evaluator(Protocol):
    """Starts evaluations. One that was ended and is started again may give the same answers again, or go on."""

    def ask(self, point: Point) -> Asking:
        """Start asking. Raises CannotJudge when this point cannot be asked."""
        ...

    def command(self, place: str) -> str:
        """Shell line that evaluates what stands at `place`, a shell word."""
        ...


@dataclass(slots=True)
class _Kept:
    """What is known of one point."""

    questions: list[Question]
    ids: set[str]
    used: int = 0
    """How many of them a test has used or laid aside."""
    reached: int = 0
    """How many of them were wanted so far."""
    ended: bool = False
    """There are no others."""


class Answers:
    """The answers of all points, from the journal first and then from evaluations."""

    def __init__(self, points: Sequence[Point], evaluator: Evaluator, journal: Journal | None = None) -> None:
        """Answers that the journal holds are not asked for again; new ones are written into it as they come."""
        self._points, self._evaluator, self._journal = points, evaluator, journal
        self._kept = [_Kept([], set()) for _ in points]
        self._live: tuple[int, Asking] | None = None
        for line in journal.answers if journal else ():
            self._keep(line.place, Question(line.id, line.correct))

    @property
    def spent(self) -> int:
        """Questions that were wanted of all points together."""
        return sum(kept.reached for kept in self._kept)

    def ended(self, place: int) -> bool:
        """Whether a point has no answer that was not used."""
        kept = self._kept[place]
        return kept.ended and kept.used >= len(kept.questions)

    def fresh(self, place: int) -> Iterator[bool]:
        """Answers that no test has used, one at a time; each is used as soon as it is given."""
        kept = self._kept[place]
        while self._reach(place, kept.used + 1):
            kept.used += 1
            yield kept.questions[kept.used - 1].correct

    def pairs(self, left: int, right: int, chunk: int) -> Iterator[tuple[bool, bool]]:
        """Answers of two points to the same questions, which no test has used at either.

        Each point is asked for `chunk` more at a time, as only one of them can be up. Raises BisectError when the
        points do not answer the same questions in the same order.
        """
        one, other = self._kept[left], self._kept[right]
        at = max(one.used, other.used)
        while True:
            self._reach(left, at + chunk)
            self._reach(right, at + chunk)
            end = min(at + chunk, len(one.questions), len(other.questions))
            for mine, theirs in zip(one.questions[at:end], other.questions[at:end], strict=True):
                if mine.id != theirs.id:
                    raise BisectError(
                        f"{self._points[left]} answers {mine.id!r} where {self._points[right]} answers {theirs.id!r}; "
                        "let the command ask every point the same questions in the same order"
                    )
                one.used = other.used = at = at + 1
                yield mine.correct, theirs.correct
            if one.ended or other.ended:
                return

    def close(self) -> None:
        """End the evaluation that is going on, and keep what it had said."""
        if self._live is not None:
            (place, asking), self._live = self._live, None
            for question in asking.close():
                self._keep(place, question, new=True)

    def _reach(self, place: int, count: int) -> bool:
        """Whether the point has `count` answers, now that it was asked for them."""
        kept = self._kept[place]
        while len(kept.questions) < count and not kept.ended:
            question, problem = self._next(place)
            if question is not None:
                self._keep(place, question, new=True)
                continue
            self.close()
            # A point that never answered says nothing; one whose answers have ended has said what it had to say.
            kept.ended = len(kept.questions) < count
            if not kept.questions:
                raise CannotJudge(problem)
        kept.reached = max(kept.reached, min(count, len(kept.questions)))
        return len(kept.questions) >= count

    def _next(self, place: int) -> tuple[Question | None, str]:
        try:
            return self._asking(place).next(), f"{self._points[place]} gave no answer; look at what the command prints"
        except CannotJudge as problem:
            return None, str(problem)

    def _asking(self, place: int) -> Asking:
        if self._live is not None and self._live[0] != place:
            self.close()
        if self._live is None:
            self._live = place, self._evaluator.ask(self._points[place])
        return self._live[1]

    def _keep(self, place: int, question: Question, *, new: bool = False) -> None:
        kept = self._kept[place]
        if question.id in kept.ids:
            return
        kept.ids.add(question.id)
        kept.questions.append(question)
        if new and self._journal is not None:
            self._journal.answered(Answer(place=place, id=question.id, correct=question.correct))
