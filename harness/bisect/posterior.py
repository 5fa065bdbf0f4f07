"""What is believed of where a history turned bad: one probability for every place, and for nowhere.

Each test is right only most of the time. A verdict on point m says of every change point k whether it had to be
expected: a change at or before m makes m bad. So the masses on both sides of m are multiplied by the probabilities with
which the test says so of a bad and of a good point (Horstein 1963; Waeber, Frazier and Henderson 2013).
"""

from __future__ import annotations

import math
from collections.abc import Collection, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

ENDS = 0.1
"""Prior probability of a good end that is bad already, and as much of no change at all; the rest is spread evenly."""


@dataclass(frozen=True, slots=True)
class Group:
    """Neighbouring change points that no point that can be judged tells apart."""

    first: int
    """Least of them: place of the first bad point."""
    last: int
    """Greatest of them."""
    mass: float
    """Their probability together."""


class Posterior:
    """Probabilities that the first bad point is at place k = 0 .. n-1, or that there is none (k = n)."""

    def __init__(self, count: int) -> None:
        """count: n, two or more points."""
        self.count = count
        self._logs: NDArray[np.float64] = np.full(count + 1, math.log((1 - 2 * ENDS) / (count - 1)))
        self._logs[[0, count]] = math.log(ENDS)

    @property
    def masses(self) -> NDArray[np.float64]:
        """Probability of each k."""
        weights = np.exp(self._logs - self._logs.max())
        return weights / weights.sum()

    def tell(self, place: int, if_bad: float, if_good: float) -> None:
        """Take what was seen at a point.

        if_bad, if_good: probability of seeing it if the point is bad, and if it is good; both above 0.
        """
        self._logs[: place + 1] += math.log(if_bad)
        self._logs[place + 1 :] += math.log(if_good)

    def bad(self) -> NDArray[np.float64]:
        """Probability that each of the n points is bad."""
        return np.cumsum(self.masses)[:-1]

    def median(self, open_: Sequence[int]) -> tuple[int, float]:
        """The open point whose verdict is hardest to foretell, and the probability of the less likely one."""
        bad = self.bad()
        place = min(open_, key=lambda place: (abs(float(bad[place]) - 0.5), place))
        return place, min(float(bad[place]), 1 - float(bad[place]))

    def groups(self, skipped: Collection[int] = ()) -> list[Group]:
        """All change points, those together between which every point is skipped."""
        masses, groups, first = self.masses, list[Group](), 0
        for k in range(self.count + 1):
            if k == self.count or k not in skipped:
                groups.append(Group(first, k, float(masses[first : k + 1].sum())))
                first = k + 1
        return groups

    def credible(self, level: float) -> list[tuple[int, float]]:
        """The fewest change points that hold the probability `level` together, likeliest first."""
        masses = self.masses
        order = [int(k) for k in np.argsort(-masses, kind="stable")]
        needed = int(np.searchsorted(np.cumsum(masses[order]), level)) + 1
        return [(k, float(masses[k])) for k in order[:needed]]
