"""The verbs `report diff`, `md` and `schema`: what changed between two runs, a verdict to paste, what a file holds."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, TypeAlias

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Table
from rich.text import Text

from rocassay.harness.cli.console import table_console
from rocassay.harness.errors import RocassayError
from rocassay.harness.options import records_in
from rocassay.harness.results import Assay, ResultsError, json_schema, read

LEAST_WIDTH = 150
"""Columns of a table at least."""


_Rows: TypeAlias = "Sequence[tuple[str, ...]]"

_STYLE: dict[str, Any] = {"box": SIMPLE_HEAD, "pad_edge": False, "padding": (0, 1, 0, 0)}


def whole(results: Path) -> Assay:
    """The run in a file or folder; ResultsError when a line of it cannot be read, since a hole looks like a change."""
    assay = read(records_in(results))
    if assay.problems:
        more = f" and {len(assay.problems) - 1} more" if len(assay.problems) > 1 else ""
        raise ResultsError(f"{assay.problems[0]}{more}; a comparison needs whole files")
    return assay


def show_diff(base: Path, head: Path, forms: list[str], limit: int, max_ratio: float | None) -> int:
    """Print what changed, on a terminal or in one form; exit code 0 iff nothing is worse.

    limit: most rows of a table, 0 for no limit. RocassayError for two forms, a negative limit or a ratio below 1.
    """
    from rocassay.reports import diff
    from rocassay.reports.diff.tables import remarks, tables
    from rocassay.reports.diff.text import as_json
    from rocassay.reports.markdown import diff_markdown

    _check(forms, limit, max_ratio)
    changes = diff.compare(whole(base), whole(head))
    worse = changes.worse(max_ratio)
    if "json" in forms:
        sys.stdout.write(as_json(changes, limit=limit or None, max_ratio=max_ratio))
    elif "md" in forms:
        sys.stdout.write(diff_markdown(changes, limit=limit or None, max_ratio=max_ratio))
    else:
        console = table_console(LEAST_WIDTH)
        for table in tables(changes):
            title = Text(table.title, "bold red" if table.worse else "bold")
            _print_rows(console, title, table.headings, table.texts, table.rows, limit)
        for line in (*map(Text, remarks(changes)), *_verdict(worse)):
            console.print(line, soft_wrap=True)
    return 1 if worse else 0


def _verdict(worse: Sequence[str]) -> list[Text]:
    told = [Text.assemble(("WORSE ", "bold red"), reason) for reason in worse]
    return told or [Text("nothing is worse", "bold green")]


def _check(forms: list[str], limit: int, max_ratio: float | None) -> None:
    if len(forms) > 1:
        raise RocassayError(f"--{' and --'.join(forms)} exclude each other; pass one of them")
    if limit < 0:
        raise RocassayError(f"--limit {limit} is below 0; pass the most rows of a table, or 0 for all")
    if max_ratio is not None and not max_ratio >= 1:
        raise RocassayError(f"--max-ratio {max_ratio:g} is below 1; pass the factor by which an error may grow, e.g. 2")


def _print_rows(console: Console, title: Text, headings: Sequence[str], texts: int, rows: _Rows, limit: int) -> None:
    shown = Table(title=title, title_justify="left", **_STYLE)
    for number, heading in enumerate(headings):
        shown.add_column(heading, justify="left" if number < texts else "right", overflow="fold")
    for row in rows[: limit or None]:
        shown.add_row(*map(Text, row))
    console.print(shown)
    if limit and len(rows) > limit:
        console.print(Text(f"… and {len(rows) - limit:,} more; --limit 0 shows all\n", "dim"))


def print_markdown(results: Path, base: Path | None, *, comment: bool, max_bytes: int | None) -> int:
    """Print a run for a step summary or a comment; exit code 0 iff its verdict is green and nothing is worse.

    RocassayError for a limit given twice or too small.
    """
    from rocassay.reports import diff, markdown

    if comment and max_bytes is not None:
        raise RocassayError("--comment and --max-bytes exclude each other; pass one of them")
    assay, before = read(records_in(results)), whole(base) if base else None
    most = max_bytes if max_bytes is not None else markdown.COMMENT_BYTES if comment else markdown.SUMMARY_BYTES
    sys.stdout.write(markdown.run_markdown(assay, before, most=most))
    worse = diff.compare(before, assay).worse() if before else ()
    return 1 if assay.red_reasons() or worse else 0


def print_schema(*, md: bool) -> int:
    """Print what a line of a results file holds: as JSON schema, or as tables of fields."""
    from rocassay.reports import schema

    sys.stdout.write(schema.markdown() if md else json_schema() + "\n")
    return 0
