"""Distribution strips: the worst |z| of every case of an op, base and head, against the limit."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rocassay.harness.results import Assay, CaseRecord, Check
from rocassay.reports.html.words import number

GATE, ROW_GATE = "max-z", "worst-row"

WIDTH, LANE = 300, 15
"""Units of the drawing: the axis from 0 to END, and the height of the bars of one run."""

PER_LIMIT = 40
"""Bins from 0 to the limit; the axis ends SPARE bins behind it, where everything beyond is counted."""

SPARE = 8

WORSE = 1.25
"""Growth of the median |z| from which the strip says so in words: well beyond what other seeds change."""

FEWEST = 3
"""Cases below which two medians are not compared."""


@dataclass(frozen=True, slots=True)
class Lane:
    """The cases of one run."""

    path: str
    """Bars, as one path."""
    cases: int
    median: float
    worst: float
    beyond: int
    """Cases beyond the limit."""
    rms: float | None
    """Median rms z of a case."""
    row: float | None
    """Largest worst-row t."""


@dataclass(frozen=True, slots=True)
class Strip:
    """One op."""

    op: str
    limit: float
    head: Lane
    base: Lane | None
    ratio: float | None
    """Median of the head over that of the base; None where it says nothing."""
    label: str

    @property
    def worse(self) -> bool:
        """Whether errors grew, in or beyond the limit."""
        return self.ratio is not None and self.ratio >= WORSE


@dataclass(frozen=True, slots=True)
class Strips:
    """All ops with a rounding model, and the names of the others."""

    strips: tuple[Strip, ...]
    exact: tuple[str, ...]
    """Ops whose every output is compared bit by bit."""
    compared: bool
    """Whether there is a base."""
    width: int = WIDTH
    lane: int = LANE
    limit_at: float = round(WIDTH * PER_LIMIT / (PER_LIMIT + SPARE), 2)


def strips(head: Assay, base: Assay | None) -> Strips:
    """Worst first: ops that grew, then by their worst |z|."""
    after, before = _by_op(head.cases), _by_op(base.cases if base else [])
    found = [_strip(op, records, before.get(op, [])) for op, records in after.items()]
    drawn = sorted(filter(None, found), key=lambda strip: (not strip.worse, not strip.head.beyond, -strip.head.worst))
    exact = tuple(op for op, strip in zip(after, found, strict=True) if strip is None)
    return Strips(tuple(drawn), exact, base is not None)


def _by_op(records: Iterable[CaseRecord]) -> dict[str, list[CaseRecord]]:
    found: dict[str, list[CaseRecord]] = {}
    for record in records:
        found.setdefault(record.op, []).append(record)
    return found


def _strip(op: str, after: Sequence[CaseRecord], before: Sequence[CaseRecord]) -> Strip | None:
    """None when no case rounds at all."""
    checks = _checks(after, GATE)
    limit = next((check.limit for check in checks if check.limit), None)
    head = _lane(after, limit, up=True) if limit else None
    if limit is None or head is None:
        return None
    base = _lane(before, limit, up=False)
    ratio = head.median / base.median if base and base.median and min(head.cases, base.cases) >= FEWEST else None
    told = f"{op}: worst |z| of {head.cases} outputs, median {head.median:.2f}, largest {number(head.worst)}"
    told += f"; base median {base.median:.2f}, largest {number(base.worst)}" if base else ""
    return Strip(op, limit, head, base, ratio, f"{told}; limit {limit:g}")


def _checks(records: Iterable[CaseRecord], name: str) -> list[Check]:
    return [check for record in records for check in record.checks if check.name == name and check.applicable]


def _value(check: Check) -> float | None:
    """A gate that failed without a number is infinite; JSON has no infinity."""
    return math.inf if check.statistic is None and not check.passed else check.statistic


def _lane(records: Sequence[CaseRecord], limit: float, *, up: bool) -> Lane | None:
    """Cases in which something rounded."""
    checks = [(check, value) for check in _checks(records, GATE) if (value := _value(check))]
    if not checks:
        return None
    values = [value for _, value in checks]
    rms = [found for check, _ in checks if (found := check.metrics.get("rms_z")) is not None]
    rows = [value for check in _checks(records, ROW_GATE) if (value := _value(check)) is not None]
    return Lane(
        _bars(values, limit, up=up),
        len(values),
        statistics.median(values),
        max(values),
        sum(value > limit for value in values),
        statistics.median(rms) if rms else None,
        max(rows, default=None),
    )


def _bars(values: Sequence[float], limit: float, *, up: bool) -> str:
    """A histogram as one path from the middle line up or down; heights grow with the root, so that one case shows."""
    bins = [0] * (PER_LIMIT + SPARE)
    for value in values:
        bins[len(bins) - 1 if value >= limit * len(bins) / PER_LIMIT else int(value / limit * PER_LIMIT)] += 1
    wide, most = WIDTH / len(bins), max(bins)
    parts: list[str] = []
    for place, count in enumerate(bins):
        if count:
            high = max(2.0, LANE * math.sqrt(count / most)) * (-1 if up else 1)
            parts.append(f"M{place * wide:g} {LANE}v{high:.3g}h{wide - 0.75:g}v{-high:.3g}z")
    return "".join(parts)
