"""The statistics of a record that are calibrated: what the gates judge, before any limit."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable
from dataclasses import dataclass

from rocassay.harness.gates.whitened import MAX_Z, WORST_ROW_T
from rocassay.harness.results import Check


@dataclass(frozen=True, slots=True)
class Statistic:
    """One number of an output."""

    name: str
    check: str
    """The gate that tells it."""
    value: Callable[[Check], float | None]
    """The number; None where the gate had nothing to judge."""
    limit: float | None
    """What the a-priori gate allows; None where there is none."""
    lies: bool = False
    """Whether a healthy kernel may exceed that limit: not where it is a worst case."""
    maximum: bool = True
    """Whether it is the largest of many; else it is a mean of many."""


def _log_rms(check: Check) -> float | None:
    rms = check.metrics.get("rms_z")
    return math.log(rms) if rms else None


def _of_rounding(check: Check) -> float | None:
    """None for an exact 0, which is what an output without any rounding shows."""
    return check.statistic or None


STATISTICS = (
    Statistic("log-rms-z", "max-z", _log_rms, None, maximum=False),
    Statistic("max-z", "max-z", _of_rounding, MAX_Z, lies=True),
    Statistic("worst-row", "worst-row", _of_rounding, WORST_ROW_T, lies=True),
    Statistic("bound", "bound", _of_rounding, 1.0),
)
"""Largest |z|, worst-row t, use of the hard bound, and the logarithm of the rms of z, which no gate limits."""

_BY_NAME = {statistic.name: statistic for statistic in STATISTICS}


def statistics_of(checks: Iterable[Check]) -> dict[str, float]:
    """Finite statistics by name; those of an op's second output are called `max-z.2`, and so on."""
    seen: dict[str, int] = {}
    found: dict[str, float] = {}
    for check in checks:
        for statistic in (one for one in STATISTICS if one.check == check.name):
            number = seen[statistic.name] = seen.get(statistic.name, 0) + 1
            value = statistic.value(check)
            if value is not None and math.isfinite(value):
                found[statistic.name if number == 1 else f"{statistic.name}.{number}"] = value
    return found


def statistic_named(key: str) -> Statistic:
    """The statistic of a key such as `max-z` or `max-z.2`."""
    return _BY_NAME[key.partition(".")[0]]
