"""Assay -> view model: everything the templates show, decided by pure functions."""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass

from rocassay.harness.results import Assay, CaseRecord, Status, summary
from rocassay.reports.html.drills import Drill, drill_table
from rocassay.reports.html.grids import OpMap, Safety, covered_cells, error_map, safety
from rocassay.reports.html.rows import encode
from rocassay.reports.html.verdict import Gap, NotRun, Verdict, gaps, not_run, verdict
from rocassay.reports.html.words import counted


@dataclass(frozen=True, slots=True)
class Limit:
    """Why the limit of a check is what it is."""

    name: str
    limits: str
    """Smallest and largest limit in force, or `exact`."""
    reasons: tuple[str, ...]
    """Distinct reasons, texts that differ only in numbers once."""


@dataclass(frozen=True, slots=True)
class Page:
    """The whole page, top to bottom."""

    title: str
    verdict: Verdict
    complete: str
    """Set when nothing is missing: the sentence that says so."""
    gaps: tuple[Gap, ...]
    missing: int
    not_run: tuple[NotRun, ...]
    unrecorded: int
    maps: tuple[OpMap, ...]
    drills: tuple[Drill, ...]
    safety: Safety
    statuses: tuple[tuple[Status, int], ...]
    """Statuses of all records, drills included, for the filter."""
    cases: int
    drill_cases: int
    uniform: bool
    """Whether one provider on one engine made every record."""
    rows: dict[str, object]
    limits: tuple[Limit, ...]
    schema: str
    source: str


def page(assay: Assay) -> Page:
    """The view model of an assay."""
    head, missing, unrecorded = verdict(assay), assay.missing_cells(), assay.unrecorded()
    skipped = not_run(assay)
    return Page(
        title=_title(head, assay),
        verdict=head,
        complete="" if missing or unrecorded or skipped else _complete(assay),
        gaps=tuple(gaps(assay)),
        missing=len(missing),
        not_run=tuple(skipped),
        unrecorded=unrecorded,
        maps=tuple(error_map(assay)),
        drills=tuple(drill_table(assay)),
        safety=safety(assay),
        statuses=tuple(summary(assay.records).items()),
        cases=len(assay.cases),
        drill_cases=len(assay.drills),
        uniform=len({(record.provider, record.engine) for record in assay.records}) < 2,
        rows=encode(assay.records),
        limits=tuple(limits(assay.records)),
        schema=", ".join(sorted({str(line.schema_version) for line in [*assay.headers, *assay.records]})),
        source=str(assay.path),
    )


def _title(head: Verdict, assay: Assay) -> str:
    arches = ", ".join(dict.fromkeys(record.arch for record in assay.records))
    return " · ".join(part for part in (head.word, "rocassay", arches) if part)


def _complete(assay: Assay) -> str:
    if any(header.expected for header in assay.headers):
        return f"Everything that was expected ran: {covered_cells(assay)}, {counted(len(assay.cases), 'case')}."
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
