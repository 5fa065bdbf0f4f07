"""A deterministic bisection: verify the ends, halve, write every verdict down."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from rocassay.harness.bisect.errors import CannotJudge
from rocassay.harness.bisect.halving import Halving
from rocassay.harness.bisect.journal import Journal, Verdicts
from rocassay.harness.bisect.points import Point
from rocassay.harness.bisect.verdicts import Judged, Oracle, Verdict

Told: TypeAlias = Callable[[Verdicts, int, int], None]
"""Is told each verdict, the candidates that it leaves, and the points still to be judged."""


@dataclass(frozen=True, slots=True)
class Found:
    """What a bisection says."""

    good: Verdicts
    """The last point known to be good."""
    candidates: tuple[Point, ...]
    """The points one of which is the first bad one; a single one unless some could not be judged."""
    bad: Verdicts
    """The last candidate, which is bad."""
    judged: tuple[Verdicts, ...]
    """Every point that was judged, in order."""


def bisect(points: Sequence[Point], oracle: Oracle, journal: Journal, told: Told) -> Found:
    """Find the first bad point; the last one is bad, the first one good, or BisectError says which is not.

    Judges 2 + ceil(log2(len(points) - 1)) points, and more only where some cannot be judged.
    """
    halving, judging = Halving(len(points)), _Judging(points, oracle, journal)

    def tell(line: Verdicts) -> Verdicts:
        told(line, len(halving.candidates), halving.left)
        return line

    good, bad = tell(judging(0)), tell(judging(len(points) - 1))
    oracle.settle(points, _judged(good), _judged(bad))
    while (place := halving.next()) is not None:
        line = judging(place)
        halving.tell(place, line.verdict)
        tell(line)
    lines = journal.verdicts
    found = tuple(points[place] for place in halving.candidates)
    judged = tuple(lines[place] for place in sorted(judging.asked))
    return Found(lines[halving.good], found, lines[halving.bad], judged)


class _Judging:
    """Judges a point unless the journal knows it."""

    def __init__(self, points: Sequence[Point], oracle: Oracle, journal: Journal) -> None:
        self._points, self._oracle, self._journal = points, oracle, journal
        self.asked: list[int] = []

    def __call__(self, place: int) -> Verdicts:
        self.asked.append(place)
        if place in self._journal.verdicts:
            return self._journal.verdicts[place]
        point, began = self._points[place], time.monotonic()
        try:
            said = self._oracle.judge(point)
        except CannotJudge as problem:
            said = Judged(Verdict.SKIP, str(problem))
        line = Verdicts(
            place=place,
            point=point.name,
            verdict=said.verdict,
            reason=said.reason,
            cases=said.cases,
            repro=said.repro,
            seconds=round(time.monotonic() - began, 3),
        )
        self._journal.judged(line)
        return line


def _judged(line: Verdicts) -> Judged:
    return Judged(line.verdict, line.reason, line.cases, line.repro)
