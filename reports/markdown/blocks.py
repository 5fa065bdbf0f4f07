"""What Markdown says of a run or of a comparison, as blocks of rows."""

from __future__ import annotations

from collections.abc import Iterable, Sequence

from rocassay.harness.results import GREEN, Assay, CaseRecord, Status
from rocassay.reports.accuracytable import HEADINGS as EVALUATION_HEADINGS
from rocassay.reports.accuracytable import accuracy_table
from rocassay.reports.accuracytable import cells as evaluation_cells
from rocassay.reports.diff import Changes
from rocassay.reports.diff.tables import Table, remarks, tables
from rocassay.reports.html.measures import SEVERITY
from rocassay.reports.html.verdict import gaps, not_run, verdict
from rocassay.reports.html.words import counted
from rocassay.reports.markdown.budget import Block
from rocassay.reports.markdown.inert import code, fenced

MARKS = {"PASS": "✅", "FAIL": "❌"}
"""Beside the words, never instead of them."""


def of_verdict(assay: Assay) -> Block:
    """PASS or FAIL in a heading, why, and how many cases have which status."""
    said = verdict(assay)
    counts = ", ".join(f"{count:,} {status.value}" for status, count in said.counts) or "no case"
    told = [f"<p>{counts}"]
    if said.drills[1]:
        told.append(f"; {said.drills[0]:,} of {counted(said.drills[1], 'drill case')} red, as they must be")
    if assay.false_alarms:
        told.append(f"; {code(str(assay.false_alarms))}")
    head = f"# {MARKS[said.word]} {said.word}\n\n<p>{code(said.sentence)}</p>\n{''.join(told)}</p>\n"
    reasons = [f"<li>{code(reason)}</li>\n" for reason in said.reasons]
    return Block(f"{head}<ul>\n" if reasons else head, reasons, "</ul>\n\n" if reasons else "\n", more=_LI_MORE)


_LI_MORE = "<li>… and {} more</li>\n"


def of_comparison(changes: Changes, max_ratio: float | None = None) -> Block:
    """Whether anything is worse than in the base, and how."""
    worse = changes.worse(max_ratio)
    commits = " → ".join(code(commit or "unknown", 80) for commit in changes.commits)
    said = "FAIL: worse than the base" if worse else "PASS: nothing is worse than in the base"
    mark = MARKS["FAIL" if worse else "PASS"]
    told = [*(f"<li><b>worse</b>: {code(reason)}</li>\n" for reason in worse)]
    told += [f"<li>{remark}</li>\n" for remark in remarks(changes)]
    return Block(f"## {mark} {said}\n\n<p>{commits}</p>\n<ul>\n", told, "</ul>\n\n", more=_LI_MORE)


def of_absent(assay: Assay) -> Block:
    """Expected cells that did not run, and cases that were not run, with the reasons; or that there are none."""
    rows = [
        (gap.op, gap.arch, gap.fp8, gap.engine, ", ".join(map(str, gap.block_sizes)), "expected", gap.why)
        for gap in gaps(assay)
    ]
    rows += [("", "", "", "", "", counted(group.count, "case"), group.reason) for group in not_run(assay)]
    rows += [("", "", "", "", "", "drill", f"no red drill of {fault}") for fault in assay.undrilled()]
    if cut := assay.unrecorded():
        rows.append(("", "", "", "", "", counted(cut, "case"), "left no record: the run was cut short"))
    if not rows:
        return Block("## Not run\n\nNothing: everything that was expected ran.\n\n")
    return _table("## Not run\n\n", ("op", "arch", "fp8", "engine", "block sizes", "what", "why"), rows)


def of_failures(title: str, records: Iterable[CaseRecord]) -> Block:
    """One paragraph a case, the worst status first: reason, first wrong place, and the command that runs it again."""
    ordered = sorted(records, key=lambda record: SEVERITY.index(record.status))
    head = f"## {title}: {len(ordered):,}\n\n"
    return Block(head if ordered else "", [_failure(record) for record in ordered], more="… and {} more\n\n")


def _failure(record: CaseRecord) -> str:
    fault = f" with {code(record.fault)}" if record.fault else ""
    lines = [
        f"<b>{record.status.value}</b> {code(record.case)}{fault} by {code(f'{record.provider} on {record.engine}')}"
    ]
    lines += [code(record.reason)] if record.reason else []
    lines += [f"first wrong: {code(str(record.first_wrong))}"] if record.first_wrong else []
    return f"<p>{'<br>'.join(lines)}</p>\n\n{fenced(record.repro) if record.repro else ''}\n"


def of_changes(changes: Changes, *, without: Sequence[str] = (), limit: int | None = None) -> list[Block]:
    """A folded table for each kind of change; those that make the head worse are open."""
    return [_of_table(table, limit) for table in tables(changes) if table.title not in without]


def _of_table(table: Table, limit: int | None) -> Block:
    return _folded(table.title, table.headings, table.rows, is_open=table.worse, limit=limit)


def failures_of(assay: Assay) -> list[CaseRecord]:
    """Cases that are red by themselves, and drills that did not see their fault."""
    red = [r for r in assay.cases if r.status not in GREEN and r.status is not Status.NOT_RUN]
    return red + [record for record in assay.drills if record.status is not Status.FAILED]


def of_evaluations(assay: Assay) -> list[Block]:
    """Every evaluation in a folded table; none when there is none."""
    rows = [evaluation_cells(row) for row in accuracy_table(assay).evaluations]
    return [_folded("Accuracy", EVALUATION_HEADINGS, rows)] if rows else []


def of_facts(assay: Assay) -> Block:
    """What computed, folded."""
    return _folded("Run", ("what", "value"), verdict(assay).facts)


def _folded(
    title: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    *,
    is_open: bool = False,
    limit: int | None = None,
) -> Block:
    opening = "<details open>" if is_open else "<details>"
    head = f"{opening}<summary>{title} ({len(rows):,})</summary>\n\n"
    return _table(head, headings, rows, tail="\n</details>\n\n", limit=limit)


def _table(
    head: str,
    headings: Sequence[str],
    rows: Sequence[Sequence[str]],
    tail: str = "\n",
    limit: int | None = None,
) -> Block:
    """An HTML table, a row a line; `limit` rows at most."""
    named = "".join(f"<th>{heading}</th>" for heading in headings)
    lines = ["".join(("<tr>", *(f"<td>{code(text)}</td>" for text in row), "</tr>\n")) for row in rows[:limit]]
    more = f'<tr><td colspan="{len(headings)}">… and {{}} more</td></tr>\n'
    return Block(f"{head}<table>\n<tr>{named}</tr>\n", lines, f"</table>\n{tail}", more, of=len(rows))
