"""Trends as sparklines: rows of plain data that the history hands in."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rocassay.reports.html.words import number

WIDTH, HEIGHT, EDGE = 220, 36, 5
"""Units of a sparkline, and the room round it."""


@dataclass(frozen=True, slots=True)
class Trend:
    """One number over the runs of a history, oldest first."""

    name: str
    """What is measured: an op, or a configuration of an evaluation."""
    points: tuple[tuple[str, float, str], ...]
    """When (ISO 8601), value, commit."""
    step: int | None = None
    """Index of the first point after the step; None: there is none."""
    unit: str = ""
    """Of the values."""


@dataclass(frozen=True, slots=True)
class Sparkline:
    """A trend as it is drawn."""

    name: str
    path: str
    last: tuple[float, float]
    step: float | None
    """Where the step is drawn."""
    first: str
    latest: str
    spread: str
    """Smallest and largest value."""
    told: str
    """The step in words; empty without one."""
    since: str
    """From when to when."""
    label: str
    width: int = WIDTH
    height: int = HEIGHT


def sparklines(trends: Sequence[Trend]) -> tuple[Sparkline, ...]:
    """Every trend with a point, those with a step first."""
    drawn = [_sparkline(trend) for trend in trends if trend.points]
    return tuple(sorted(drawn, key=lambda line: not line.told))


def _sparkline(trend: Trend) -> Sparkline:
    values = [value for _, value, _ in trend.points]
    finite = [value for value in values if math.isfinite(value)] or [0.0]
    low, high = min(finite), max(finite)
    places = [(_across(place, len(values)), _up(value, low, high)) for place, value in enumerate(values)]
    unit = f" {trend.unit}" if trend.unit else ""
    first, latest = f"{number(values[0])}{unit}", f"{number(values[-1])}{unit}"
    told = _step(trend, unit)
    return Sparkline(
        name=trend.name,
        path="M" + "L".join(f"{x:g} {y:g}" for x, y in places),
        last=places[-1],
        step=None if not _stepped(trend) else (_across(trend.step or 0, len(values)) + _before(trend, len(values))) / 2,
        first=first,
        latest=latest,
        spread=f"{number(min(values))} to {number(max(values))}{unit}",
        told=told,
        since=f"{trend.points[0][0][:10]} to {trend.points[-1][0][:10]}, {len(values)} runs",
        label=f"{trend.name}: {first} to {latest} in {len(values)} runs" + (f"; {told}" if told else ""),
    )


def _across(place: int, count: int) -> float:
    return round(EDGE + (WIDTH - 2 * EDGE) * (place / (count - 1) if count > 1 else 0.5), 2)


def _up(value: float, low: float, high: float) -> float:
    # A limit of 0 that was exceeded makes a ratio infinite: it is drawn at the upper edge.
    share = 1.0 if not math.isfinite(value) else (value - low) / (high - low) if high > low else 0.5
    return round(HEIGHT - EDGE - share * (HEIGHT - 2 * EDGE), 2)


def _stepped(trend: Trend) -> bool:
    return trend.step is not None and 0 < trend.step < len(trend.points)


def _before(trend: Trend, count: int) -> float:
    return _across((trend.step or 1) - 1, count)


def _step(trend: Trend, unit: str) -> str:
    """The step with the means on both sides and the commit that it came with."""
    if trend.step is None or not _stepped(trend):
        return ""
    values = [value for _, value, _ in trend.points]
    before, after = (sum(part) / len(part) for part in (values[: trend.step], values[trend.step :]))
    when, _, commit = trend.points[trend.step]
    came = f" with {commit}" if commit else ""
    return f"step from {number(before)} to {number(after)}{unit}{came} on {when[:10]}"
