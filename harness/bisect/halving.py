"""Plain bisection: halve the range between the last good point and the first bad one, around what cannot be judged."""

from __future__ import annotations

import math

from rocassay.harness.bisect.verdicts import Verdict


class Halving:
    """Where a bisection stands; both ends are taken as verified."""

    def __init__(self, count: int) -> None:
        """count: points, of which the first is good and the last is bad."""
        self.good, self.bad = 0, count - 1
        self.skipped: set[int] = set()
        self._in_a_row = 0

    def next(self) -> int | None:
        """The point to judge; None when nothing between the ends is left.

        The middle one or, where it cannot be judged, a neighbour. Points that cannot be judged come in runs, as a build
        is broken for a while: each further one in a row doubles the distance, so that a run costs its logarithm.
        """
        middle = (self.good + self.bad) // 2
        untried = [place for place in range(self.good + 1, self.bad) if place not in self.skipped]
        if not untried:
            return None
        reach = 2 ** (self._in_a_row - 1) if self._in_a_row else 0
        far = [place for place in untried if abs(place - middle) >= reach]
        return min(far or untried, key=lambda place: (abs(place - middle), place))

    def tell(self, place: int, verdict: Verdict) -> None:
        """Take the verdict on a point that `next` named."""
        self._in_a_row = self._in_a_row + 1 if verdict is Verdict.SKIP else 0
        if verdict is Verdict.SKIP:
            self.skipped.add(place)
        elif verdict is Verdict.GOOD:
            self.good = place
        else:
            self.bad = place

    @property
    def candidates(self) -> range:
        """The points one of which is the first bad one: the smallest range that the verdicts leave."""
        return range(self.good + 1, self.bad + 1)

    @property
    def left(self) -> int:
        """Points that are still to be judged, if each can be."""
        return math.ceil(math.log2(len(self.candidates)))
