"""Assay -> view model: everything the templates show, decided by pure functions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rocassay.harness.results import Assay, CaseRecord, EvalHeader, RunHeader, Status, summary
from rocassay.reports.diff import compare
from rocassay.reports.html.alpha import Budget, budget
from rocassay.reports.html.blame import Blame, blames, in_short
from rocassay.reports.html.changes import Comparison, comparison
from rocassay.reports.html.drills import Drill, drill_table
from rocassay.reports.html.evaluations import Group, groups
from rocassay.reports.html.forest import AXIS, HEIGHT, WIDTH, Drawing, drawing
from rocassay.reports.html.grids import OpMap, Safety, covered_cells, error_map, safety
from rocassay.reports.html.heat import Heat, heat, storage_words
from rocassay.reports.html.pattern import in_common
from rocassay.reports.html.pictures import pictures
from rocassay.reports.html.rows import encode
from rocassay.reports.html.score import FaultScore, fault_score
from rocassay.reports.html.strips import Strips, strips
from rocassay.reports.html.trends import Sparkline, Trend, sparklines
from rocassay.reports.html.verdict import Gap, NotRun, Verdict, gaps, not_run, verdict
from rocassay.reports.html.words import counted

FEW = 8
"""Healthy ops or caught drills beyond which they are folded away, so that what needs a look comes first."""


@dataclass(frozen=True, slots=True)
class Limit:
    """Why the limit of a check is what it is."""

    name: str
    limits: str
    """Smallest and largest limit in force, or `exact`."""
    reasons: tuple[str, ...]
    """Distinct reasons, texts that differ only in numbers once."""


@dataclass(frozen=True, slots=True)
class Accuracy:
    """End-to-end evaluations, and what they say beside the kernels' own cases."""

    groups: tuple[Group, ...]
    drawings: dict[str, Drawing]
    """Forest plot of each evaluation, by run id."""
    axis: tuple[tuple[str, float], ...]
    size: tuple[int, int]
    blames: tuple[Blame, ...]
    summary: str


@dataclass(frozen=True, slots=True)
class Page:
    """The whole page, top to bottom."""

    title: str
    verdict: Verdict
    in_common: str
    """What the red cases have in common; empty when there are not several."""
    place: str
    """Where the first failure is first wrong, in words."""
    picture: Heat | None
    """Of the first failure."""
    comparison: Comparison | None
    """With the base run; None without one."""
    accuracy: Accuracy
    kernels: bool
    """Whether the file is about kernel cases at all; one of evaluations only is not."""
    complete: str
    """Set when nothing is missing: the sentence that says so."""
    gaps: tuple[Gap, ...]
    missing: int
    not_run: tuple[NotRun, ...]
    unrecorded: int
    maps: tuple[OpMap, ...]
    few: int
    """Healthy ops or caught drills that are shown without being asked for."""
    drills: tuple[Drill, ...]
    score: FaultScore
    safety: Safety
    strips: Strips
    trends: tuple[Sparkline, ...]
    pictures: tuple[tuple[int, Heat], ...]
    """Of failed records, by their place in the file, as many as the page bears."""
    statuses: tuple[tuple[Status, int], ...]
    """Statuses of all records, drills included, for the filter."""
    cases: int
    drill_cases: int
    uniform: bool
    """Whether one provider on one engine made every record."""
    rows: dict[str, object]
    limits: tuple[Limit, ...]
    budget: Budget
    calibrated: str
    """False alarms to be expected by measurement; empty where no calibration was given."""
    schema: str
    source: str


def page(assay: Assay, base: Assay | None = None, trends: Sequence[Trend] = ()) -> Page:
    """The view model of an assay, compared with a base run and beside the trends of a history where they are given."""
    head, missing, unrecorded = verdict(assay), assay.missing_cells(), assay.unrecorded()
    skipped, drills, first = not_run(assay), tuple(drill_table(assay)), head.first
    return Page(
        title=_title(head, assay),
        verdict=head,
        in_common=in_common(assay),
        place=storage_words(first) if first else "",
        picture=heat(first.picture) if first and first.picture else None,
        comparison=comparison(compare(base, assay), str(base.path)) if base else None,
        accuracy=accuracy(assay),
        kernels=bool(assay.headers or assay.records or not assay.evaluations),
        complete="" if missing or unrecorded or skipped else _complete(assay),
        gaps=tuple(gaps(assay)),
        missing=len(missing),
        not_run=tuple(skipped),
        unrecorded=unrecorded,
        maps=tuple(error_map(assay)),
        few=FEW,
        drills=drills,
        score=fault_score(assay, drills),
        safety=safety(assay),
        strips=strips(assay, base),
        trends=sparklines(trends),
        pictures=tuple(pictures(assay.records)),
        statuses=tuple(summary(assay.records).items()),
        cases=len(assay.cases),
        drill_cases=len(assay.drills),
        uniform=len({(record.provider, record.engine) for record in assay.records}) < 2,
        rows=encode(assay.records),
        limits=tuple(limits(assay.records)),
        budget=budget(assay.cases),
        calibrated=str(assay.false_alarms or ""),
        schema=", ".join(sorted({str(line.schema_version) for line in _lines(assay)})),
        source=str(assay.path),
    )


def accuracy(assay: Assay) -> Accuracy:
    """The view model of the evaluations."""
    found, blamed = groups(assay), tuple(blames(assay))
    drawings = {row.run_id: drawing(row) for group in found for row in group.rows}
    return Accuracy(tuple(found), drawings, AXIS, (WIDTH, HEIGHT), blamed, in_short(blamed))


def _title(head: Verdict, assay: Assay) -> str:
    judged = [*assay.records, *(found.header for found in assay.evaluations.values())]
    arches = ", ".join(dict.fromkeys(record.arch for record in judged if record.arch))
    return " · ".join(part for part in (head.word, "rocassay", arches) if part)


def _complete(assay: Assay) -> str:
    if any(header.expected for header in assay.headers):
        return f"Everything that was expected ran: {covered_cells(assay)}, {counted(len(assay.cases), 'case')}."
    if assay.drills and not assay.cases:
        return f"Only drills were asked for; {counted(len(assay.drills), 'drill case')} ran and none was left out."
    return f"No expected-to-run matrix was recorded; {counted(len(assay.cases), 'case')} ran and none was left out."


def limits(records: Sequence[CaseRecord]) -> list[Limit]:
    """How each check's limit is derived, in its own words."""
    distinct = dict.fromkeys((c.name, c.limit, c.reason) for record in records for c in record.checks)
    values: dict[str, list[float]] = {}
    reasons: dict[str, dict[str, str]] = {}
    for name, limit, reason in distinct:
        values.setdefault(name, []).extend([limit] if limit else [])
        if reason:
            reasons.setdefault(name, {}).setdefault(re.sub(r"\d+", "#", reason), reason)
    return [Limit(name, _range(found), tuple(reasons.get(name, {}).values())) for name, found in values.items()]


def _range(found: Sequence[float]) -> str:
    if not found:
        return "exact"
    low, high = min(found), max(found)
    return f"{low:g}" if low == high else f"{low:g} to {high:g}"


def _lines(assay: Assay) -> list[RunHeader | CaseRecord | EvalHeader]:
    return [*assay.headers, *assay.records, *(found.header for found in assay.evaluations.values())]
