"""Stored runs and evaluations -> trends: pure functions of plain data, for the terminal and for reports."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple, TypeVar

from rocassay.harness.accuracy.history import KernelCounts, KernelRun, Series, StoredRun
from rocassay.harness.results import Evaluation
from rocassay.harness.trends.steps import ALPHA, Step, find_step


class Point(NamedTuple):
    """One run."""

    when: str
    """Begin of the run, UTC, ISO 8601."""
    value: float
    """What it measured; may be infinite."""
    commit: str
    """Commit of its checkout; empty outside one."""


class TrendRow(NamedTuple):
    """A trend as reports take it."""

    name: str
    """Subject and measure, in words."""
    points: tuple[Point, ...]
    """Oldest first."""
    step: int | None
    """Index of the first point of a new level."""
    unit: str
    """`s`, `share`, or empty for a count or a ratio."""


@dataclass(frozen=True, slots=True)
class Trend:
    """A trend with all that is known of it."""

    subject: str
    """What was measured."""
    measure: str
    """Which number."""
    unit: str
    """`s`, `share`, or empty for a count or a ratio."""
    points: tuple[Point, ...]
    """Oldest first; only of runs that are comparable with the last one."""
    step: Step | None
    """Where its level stepped last."""
    left_out: int = 0
    """Earlier runs of other cases or on another device."""

    @property
    def row(self) -> TrendRow:
        """The same for reports."""
        step = self.step.index if self.step else None
        return TrendRow(f"{self.subject}: {self.measure}", self.points, step, self.unit)


_Measured = TypeVar("_Measured", Series, KernelCounts)

Reading = Callable[[Sequence[Series]], float | None]


@dataclass(frozen=True, slots=True)
class Measure:
    """A number of a group of series."""

    name: str
    unit: str
    read: Reading


def _largest(name: str, found: Sequence[Series]) -> float | None:
    return max((value for one in found if (value := getattr(one, name)) is not None), default=None)


def _total(name: str, found: Sequence[Series]) -> float:
    return float(sum(getattr(one, name) for one in found))


def _peer(found: Sequence[Series]) -> float | None:
    values = [one.peer_rms_z for one in found if one.peer_rms_z is not None]
    return max(values, key=lambda value: abs(value - 1), default=None)


MEASURES = (
    Measure("not passed", "", functools.partial(_total, "not_passed")),
    Measure("worst t", "", functools.partial(_largest, "worst_t")),
    Measure("worst |z|", "", functools.partial(_largest, "worst_z")),
    Measure("bound use", "", functools.partial(_largest, "bound_use")),
    Measure("peer rms z", "", _peer),
    Measure("total seconds", "s", functools.partial(_total, "seconds")),
    Measure("median seconds", "s", functools.partial(_largest, "median_seconds")),
)
"""What every group of cases has; of several groups together the worst, or the sum of what can be summed."""

OVERVIEW = tuple(measure for measure in MEASURES if measure.name in ("not passed", "worst t", "total seconds"))
"""Measures of the table of all ops."""


def trends(
    runs: Sequence[StoredRun], evaluations: Sequence[Evaluation], *, op: str = "", alpha: float = ALPHA
) -> list[TrendRow]:
    """Rows for a report: every op (or each group of one op), then every evaluation."""
    found = kernel_trends(runs, op, alpha) if op else op_trends(runs, alpha)
    return [trend.row for trend in (*found, *evaluation_trends(evaluations, alpha))]


def op_trends(runs: Sequence[StoredRun], alpha: float = ALPHA, measures: Sequence[Measure] = OVERVIEW) -> list[Trend]:
    """Each op on each engine, all its architectures and flavours together."""
    groups = _gather(runs, lambda run, one: (one.op, _how(run, one.engine)))
    return [trend for group in groups for trend in _measured(group, measures, alpha)]


def kernel_trends(runs: Sequence[StoredRun], op: str, alpha: float = ALPHA) -> list[Trend]:
    """Each architecture and flavour of one op, with all measures and, where they are counted, its kernels' costs."""
    mine = [StoredRun(s.run, _of(op, s.series), _of(op, s.counts)) for s in runs]
    groups = _gather(mine, lambda run, one: (one.op, one.arch, one.fp8, _how(run, one.engine)))
    found = [trend for group in groups for trend in _measured(group, MEASURES, alpha)]
    return found + _counted(mine, alpha)


def evaluation_trends(evaluations: Iterable[Evaluation], alpha: float = ALPHA) -> list[Trend]:
    """Accuracy of each configuration and task; evaluations with injected faults are left out."""
    groups: dict[tuple[object, ...], list[Evaluation]] = {}
    for found in sorted(evaluations, key=lambda one: one.header.started):
        if not found.header.faults and found.verdict is not None and found.verdict.asked:
            groups.setdefault(found.subject, []).append(found)
    return [_accuracy(group, alpha) for group in groups.values()]


def _accuracy(group: Sequence[Evaluation], alpha: float) -> Trend:
    """Runs that were asked other questions, or in another way, are not comparable with the last one."""
    last = group[-1].header
    like = [one for one in group if one.header.fingerprint == last.fingerprint]
    points = [
        Point(one.header.started, one.verdict.correct / one.verdict.asked, one.header.commit)
        for one in like
        if one.verdict
    ]
    name = f"{last.configuration}, {last.fingerprint.task}"
    return _trend(name, "accuracy", "share", points, len(group) - len(like), alpha)


@dataclass(slots=True)
class _Group:
    """The series of one subject, run by run."""

    subject: str
    found: list[tuple[KernelRun, list[Series]]]


def _gather(runs: Sequence[StoredRun], key: Callable[[KernelRun, Series], tuple[str, ...]]) -> list[_Group]:
    groups: dict[tuple[str, ...], _Group] = {}
    for stored in sorted(runs, key=lambda one: one.run.started):
        for one in stored.series:
            name = key(stored.run, one)
            group = groups.setdefault(name, _Group(" ".join(name), []))
            if not group.found or group.found[-1][0] is not stored.run:
                group.found.append((stored.run, []))
            group.found[-1][1].append(one)
    return [groups[name] for name in sorted(groups)]


def _measured(group: _Group, measures: Sequence[Measure], alpha: float) -> list[Trend]:
    last = _likeness(*group.found[-1])
    like = [(run, series) for run, series in group.found if _likeness(run, series) == last]
    other = len(group.found) - len(like)
    made = (_trend(group.subject, m.name, m.unit, _points(like, m.read), other, alpha) for m in measures)
    return [trend for trend in made if trend.points]


def _likeness(run: KernelRun, series: Sequence[Series]) -> tuple[object, ...]:
    """Runs are comparable when they judged the same cases on the same device."""
    return (run.device, tuple((one.arch, one.fp8, one.digest) for one in series))


def _points(found: Sequence[tuple[KernelRun, Sequence[Series]]], read: Reading) -> list[Point]:
    values = ((run, read(series)) for run, series in found)
    return [Point(run.started, value, run.revision) for run, value in values if value is not None]


def _counted(runs: Sequence[StoredRun], alpha: float) -> list[Trend]:
    """Counts do not depend on the device, but on the cases."""
    groups: dict[tuple[str, ...], list[tuple[KernelRun, str, KernelCounts]]] = {}
    for stored in sorted(runs, key=lambda one: one.run.started):
        digests = {(one.arch, one.fp8, one.engine): one.digest for one in stored.series}
        for one in stored.counts:
            cases = digests.get((one.arch, one.fp8, one.engine), "")
            key = (one.op, one.arch, one.fp8, _how(stored.run, one.engine), one.kernels)
            groups.setdefault(key, []).append((stored.run, cases, one))
    return [trend for key in sorted(groups) for trend in _costs(key, groups[key], alpha)]


def _costs(key: tuple[str, ...], group: Sequence[tuple[KernelRun, str, KernelCounts]], alpha: float) -> list[Trend]:
    like = [(run, one) for run, cases, one in group if cases == group[-1][1]]
    names = dict.fromkeys(name for _, one in like for name in one.counts)
    subject, other = " ".join(key[:-1]) + f" {key[-1]}", len(group) - len(like)
    return [_trend(subject, name.replace("_", " "), "", _count_points(like, name), other, alpha) for name in names]


def _count_points(like: Sequence[tuple[KernelRun, KernelCounts]], name: str) -> list[Point]:
    return [Point(run.started, float(one.counts.get(name, 0)), run.revision) for run, one in like]


def _trend(subject: str, measure: str, unit: str, points: Sequence[Point], left_out: int, alpha: float) -> Trend:
    step = find_step([point.value for point in points], alpha)
    return Trend(subject, measure, unit, tuple(points), step, left_out)


def _how(run: KernelRun, engine: str) -> str:
    """Engine, and what else is not usual."""
    provider = "" if run.provider == "rocassay" else run.provider
    return " ".join(part for part in (engine, run.tier, provider) if part)


def _of(op: str, found: Sequence[_Measured]) -> tuple[_Measured, ...]:
    return tuple(one for one in found if one.op == op)
