"""Simulated histories: every point answers by a seeded generator, right with the rate of its side of the change."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Literal

import numpy as np

from rocassay.harness.bisect.answers import Answers, Question
from rocassay.harness.bisect.believing import Believed, Believing
from rocassay.harness.bisect.errors import BisectError, CannotJudge
from rocassay.harness.bisect.points import Point
from rocassay.harness.bisect.sequences import Rates

POINTS = 64
_BLOCK = 256
"""Answers that are drawn at once."""


@dataclass(frozen=True, slots=True)
class Simulated:
    """Points whose share of right answers is `before` up to place `change`, and `after` from there on."""

    before: float
    after: float
    change: int
    seed: int
    points: tuple[Point, ...] = tuple(Point(f"v{place}") for place in range(POINTS))
    skipped: frozenset[int] = frozenset()
    questions: int = 10**9
    """Questions that there are."""

    def ask(self, point: Point) -> Drawn:
        """Answers of a point; the same ones again whenever it is asked."""
        place = self.points.index(point)
        if place in self.skipped:
            raise CannotJudge(f"{point} does not build; take another")
        return Drawn(self.seed, place, self.after if place >= self.change else self.before, self.questions)

    def command(self, place: str) -> str:
        """Nothing is run."""
        return f"simulate {place}"


class Drawn:
    """Answers of one point."""

    def __init__(self, seed: int, place: int, rate: float, questions: int) -> None:
        self._random, self._rate, self._left = np.random.default_rng((seed, place)), rate, questions
        self._given, self._block = 0, iter(())

    def next(self) -> Question | None:
        """The next one."""
        if self._given >= self._left:
            return None
        right = next(self._block, None)
        if right is None:
            self._block = iter((self._random.random(_BLOCK) < self._rate).tolist())
            right = next(self._block)
        self._given += 1
        return Question(str(self._given), right)

    def close(self) -> list[Question]:
        """Nothing was drawn that was not taken."""
        return []


Outcome = Literal["right", "wrong", "no change", "bad good end", "no answer"]


@dataclass(frozen=True, slots=True)
class Seen:
    """What a search made of one history."""

    outcome: Outcome
    questions: int
    tests: int
    said: Believed | None = None


def search(history: Simulated, rates: Rates) -> Seen:
    """Search a history, and compare what is said with the truth."""
    answers = Answers(history.points, history)
    try:
        said = Believing(history.points, answers, rates).run()
    except BisectError:
        return Seen("bad good end", answers.spent, 0)
    if said.status == "no change":
        outcome: Outcome = "no change"
    elif said.status != "found":
        outcome = "no answer"
    else:
        outcome = "right" if said.first <= history.change <= said.last else "wrong"
    return Seen(outcome, said.questions, said.visits, said)


def fixed(history: Simulated, rates: Rates, questions: int) -> Seen:
    """The naive search: as many questions at every midpoint, then a comparison with the middle of both rates."""
    limit = (rates.good + rates.bad) / 2 * questions
    good, bad, asked = 0, len(history.points) - 1, [0, len(history.points) - 1]
    shares = [_right(history, place, questions) >= limit for place in asked]
    if not shares[0] or shares[1]:
        return Seen("no change" if shares[0] else "bad good end", 2 * questions, 2)
    while bad - good > 1:
        asked.append((good + bad) // 2)
        good, bad = (asked[-1], bad) if _right(history, asked[-1], questions) >= limit else (good, asked[-1])
    return Seen("right" if bad == history.change else "wrong", questions * len(asked), len(asked))


def _right(history: Simulated, place: int, questions: int) -> int:
    rate = history.after if place >= history.change else history.before
    return int(np.random.default_rng((history.seed, place)).binomial(questions, rate))


def histories(
    before: float, after: float, count: int, *, flat: bool = False, first_seed: int = 0
) -> Sequence[Simulated]:
    """Histories of 64 points, the change anywhere behind the good end; flat ones have none."""
    seeds = range(first_seed, first_seed + count)
    where = np.random.default_rng(first_seed).integers(1, POINTS, size=count).tolist()
    return [Simulated(before, after, POINTS if flat else place, seed) for seed, place in zip(seeds, where, strict=True)]
