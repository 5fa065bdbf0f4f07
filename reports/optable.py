"""One row per op, architecture, FP8 flavour and engine: what ran, how near the limits it came, what it cost."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass

from rocassay.harness.results import Assay, CaseRecord, Status, measured


@dataclass(frozen=True, slots=True)
class OpRow:
    """Cases of one op on one architecture, flavour, engine and provider; faults are left out."""

    op: str
    arch: str
    fp8: str
    engine: str
    provider: str
    cases: int
    passed: int
    failed: int
    other: dict[str, int]
    """Cases per further status, without zeros."""
    worst_t: float | None
    """Largest worst-row t; the gate is one-sided, so a row that is better than planned is no news."""
    worst_z: float | None
    """Largest |z| of an element."""
    mean_z: float | None
    """Largest |mean z| of a case: a bias, such as truncation instead of rounding."""
    peer_rms_z: float | None
    """rms z of the torch peer where it is furthest from 1, of cases with elements enough to judge it."""
    bound_use: float | None
    """Largest share of the hard bound that an error used."""
    seconds: float
    """All phases of all cases; inputs and golden that two architectures share count in both."""
    median_seconds: float
    """Of a case."""


def op_table(assay: Assay) -> list[OpRow]:
    """Rows in the order of op, architecture, flavour, engine and provider."""
    groups: dict[tuple[str, ...], list[CaseRecord]] = {}
    for record in assay.cases:
        key = (record.op, record.arch, record.fp8, record.engine, record.provider)
        groups.setdefault(key, []).append(record)
    return [_row(*key, records=records) for key, records in sorted(groups.items())]


def _row(op: str, arch: str, fp8: str, engine: str, provider: str, *, records: Sequence[CaseRecord]) -> OpRow:
    statuses = [record.status for record in records]
    known = (Status.PASSED, Status.FAILED)
    other = {s.value: count for s in Status if s not in known and (count := statuses.count(s))}
    found = measured(records)
    return OpRow(
        *(op, arch, fp8, engine, provider),
        cases=found.cases,
        passed=statuses.count(Status.PASSED),
        failed=statuses.count(Status.FAILED),
        other=other,
        worst_t=found.worst_t,
        worst_z=found.worst_z,
        mean_z=found.mean_z,
        peer_rms_z=found.peer_rms_z,
        bound_use=found.bound_use,
        seconds=found.seconds,
        median_seconds=found.median_seconds,
    )


HEADINGS = (
    *("op", "arch", "fp8", "engine", "cases", "passed", "failed", "other"),
    *("worst t", "worst |z|", "|mean z|", "peer rms z", "bound use", "total", "median"),
)
TEXTS = 4
"""Columns from the left that hold words; the others hold numbers."""


def cells(row: OpRow) -> tuple[str, ...]:
    """The row as texts, in the order of HEADINGS; a dash where nothing was measured."""
    others = ", ".join(f"{count} {word}" for word, count in row.other.items())
    measures = (row.worst_t, row.worst_z, row.mean_z, row.peer_rms_z, row.bound_use)
    op = row.op if row.provider == "rocassay" else f"{row.op} ({row.provider})"
    return (
        *(op, row.arch, row.fp8, row.engine, str(row.cases), str(row.passed), str(row.failed), others or "–"),
        *(_number(value) for value in measures),
        *(f"{row.seconds:.1f} s", f"{1e3 * row.median_seconds:.0f} ms"),
    )


def _number(value: float | None) -> str:
    if value is None:
        return "–"
    return f"{value:.2f}" if math.isfinite(value) else "∞"


def markdown(rows: Sequence[OpRow]) -> str:
    """The table for a README or a step summary."""
    rule = ["---"] * TEXTS + ["--:"] * (len(HEADINGS) - TEXTS)
    lines = [[text.replace("|", "\\|") for text in line] for line in (HEADINGS, *map(cells, rows))]
    return "".join(f"| {' | '.join(line)} |\n" for line in (lines[0], rule, *lines[1:]))


def html_table(rows: Sequence[OpRow]) -> str:
    """The table as one HTML element."""

    def line(tag: str, texts: Sequence[str]) -> str:
        sides = [""] * TEXTS + [' style="text-align:right"'] * (len(HEADINGS) - TEXTS)
        return "".join(f"<{tag}{s}>{html.escape(t)}</{tag}>" for s, t in zip(sides, texts, strict=True))

    body = "".join(f"<tr>{line('td', cells(row))}</tr>\n" for row in rows)
    head = f"<thead>\n<tr>{line('th', HEADINGS)}</tr>\n</thead>"
    return f"<table>\n{head}\n<tbody>\n{body}</tbody>\n</table>\n"


def as_json(rows: Sequence[OpRow]) -> str:
    """The rows for programs; what is infinite is the word `inf`."""

    def plain(value: object) -> object:
        return "inf" if isinstance(value, float) and not math.isfinite(value) else value

    objects = [{name: plain(value) for name, value in asdict(row).items()} for row in rows]
    return json.dumps(objects, indent=1) + "\n"
