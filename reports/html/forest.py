"""Forest plot: an accuracy and its interval as places on a common axis from 0 to 1."""

from __future__ import annotations

import math
from dataclasses import dataclass

from rocassay.reports.html.evaluations import Row
from rocassay.reports.html.words import share

WIDTH, HEIGHT = 260, 22
"""Of the drawing, in its own units."""

MARGIN = 9
"""Room beside 0 and 1, so that a mark there is whole."""

TICKS = (0.0, 0.25, 0.5, 0.75, 1.0)


def place(value: float) -> float:
    """Horizontal place of a share; what lies beyond 0 or 1 is drawn there."""
    bounded = 0.0 if math.isnan(value) else min(1.0, max(0.0, value))
    return round(MARGIN + bounded * (WIDTH - 2 * MARGIN), 2)


AXIS = tuple((f"{tick:g}", place(tick)) for tick in TICKS)
"""Text and place of every tick."""


@dataclass(frozen=True, slots=True)
class Drawing:
    """What one row of the plot shows."""

    point: float | None
    low: float | None
    high: float | None
    floor: float | None
    shape: str
    """`healthy`, a disc, or `faulted`, a diamond; `faulted unseen` where the verdict is not red."""
    label: str
    """The row in words, for screen readers and as a tooltip."""


def drawing(row: Row) -> Drawing:
    """Places of point, interval and floor; None where there is none."""
    low, high = row.interval or (None, None)
    told = f"{row.label}: accuracy {share(row.accuracy)}"
    told += f", 95 % interval {share(low)} to {share(high)}" if row.interval else ", no interval"
    told += f", floor {row.floor:g}" if row.floor is not None else ""
    shape = "healthy" if not row.faults else "faulted" if row.wanted else "faulted unseen"
    return Drawing(_place(row.accuracy), _place(low), _place(high), _place(row.floor), shape, told)


def _place(value: float | None) -> float | None:
    return None if value is None else place(value)
