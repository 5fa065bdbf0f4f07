"""A series as one line of characters."""

from __future__ import annotations

import math
from collections.abc import Sequence

LEVELS = "▁▂▃▄▅▆▇█"
INFINITE = "∞"
LATEST = 40
"""Values that are shown."""


def sparkline(values: Sequence[float], mark: int | None = None) -> str:
    """The latest values between their least and largest; infinite ones as such; a bar before the value `mark`."""
    first = max(0, len(values) - LATEST)
    shown = values[first:]
    finite = [value for value in shown if math.isfinite(value)]
    low, high = min(finite, default=0.0), max(finite, default=0.0)
    text = [_level(value, low, high) for value in shown]
    if mark is not None and mark > first:
        text.insert(mark - first, "|")
    return "".join(text)


def _level(value: float, low: float, high: float) -> str:
    if not math.isfinite(value):
        return INFINITE
    return LEVELS[0] if high == low else LEVELS[round((value - low) / (high - low) * (len(LEVELS) - 1))]
