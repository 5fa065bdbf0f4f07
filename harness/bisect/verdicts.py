"""What a judge says of a point, and the protocol of judges."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from enum import Enum
from typing import Protocol

from rocassay.harness.bisect.errors import BisectError
from rocassay.harness.bisect.points import Point


class Verdict(str, Enum):
    """What is known of a point."""

    GOOD = "good"
    BAD = "bad"
    SKIP = "skip"
    """It cannot be judged; its neighbours may."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict with its reason."""

    verdict: Verdict
    reason: str = ""
    """One sentence."""
    cases: dict[str, str] = field(default_factory=dict[str, str])
    """Status of every case that was judged, where cases were."""
    repro: str = ""
    """Shell line that shows what is red at {point}, where the judge knows a shorter one than its own command."""


class Oracle(Protocol):
    """Judges points; deterministic: asked again, it says the same."""

    def judge(self, point: Point) -> Judged:
        """Judge one point. Raises BisectError when the command itself cannot be run."""
        ...

    def settle(self, points: Sequence[Point], good: Judged, bad: Judged) -> None:
        """Learn what the two ends are, before anything between them is judged.

        Raises BisectError when the ends do not differ in what is judged.
        """
        ...

    def command(self, place: str) -> str:
        """Shell line that judges what stands at `place`, a shell word."""
        ...


def check_ends(points: Sequence[Point], good: Judged, bad: Judged) -> None:
    """BisectError unless the good end is good and the bad end is bad."""
    _check_end(points[0], "good", Verdict.GOOD, good)
    _check_end(points[-1], "bad", Verdict.BAD, bad)


def _check_end(point: Point, which: str, wanted: Verdict, said: Judged) -> None:
    if said.verdict is wanted:
        return
    what = "cannot be judged" if said.verdict is Verdict.SKIP else f"is {said.verdict.value}"
    hint = {
        Verdict.SKIP: "mend the command, or choose another end",
        Verdict.BAD: "choose an older good end, or look at what is judged",
        Verdict.GOOD: "choose a newer bad end, or look at what is judged",
    }[said.verdict]
    raise BisectError(f"the {which} end {point} {what}: {said.reason}; {hint}")
