"""End-to-end accuracy as text: a row per evaluation, and beside each injected defect what its kernels' cases say."""

from __future__ import annotations

import html
import json
import math
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from typing import Any, cast

from rocassay.harness.results import Assay
from rocassay.reports.html.blame import Blame, blames, in_short
from rocassay.reports.html.evaluations import Row, rows
from rocassay.reports.html.kernelsays import Kernel
from rocassay.reports.html.words import duration, plain, points, share


@dataclass(frozen=True, slots=True)
class AccuracyTable:
    """All that is known of the evaluations of a file."""

    evaluations: tuple[Row, ...]
    defects: tuple[Blame, ...]
    summary: str
    """What accuracy sees of the injected defects; empty when none was injected."""


def accuracy_table(assay: Assay) -> AccuracyTable:
    """Evaluations that count, in the order of the file; a pure function of the records."""
    blamed = tuple(blames(assay))
    return AccuracyTable(tuple(rows(assay)), blamed, in_short(blamed))


HEADINGS = (
    *("configuration", "run", "status", "accuracy", "95 % interval", "right / asked"),
    *("by last number", "stopped after", "no number · cut · error", "time"),
)
TEXTS = 3
"""Columns from the left that hold words; the others hold numbers."""

DEFECT_HEADINGS = ("defect", "kernel cases, red / run", "together", "accuracy", "change in points", "stopped after")
DEFECT_TEXTS = 3
"""Columns from the left that hold words."""


def cells(row: Row) -> tuple[str, ...]:
    """An evaluation as texts, in the order of HEADINGS; a dash where nothing was measured."""
    interval = " to ".join(map(share, row.interval)) if row.interval else "–"
    stopped = "–" if row.stopped_after is None else str(row.stopped_after)
    name = f"{row.label}, {row.part}" if row.part else row.label
    return _visible(
        *(f"{row.configuration}\n{row.task}", name, row.words, share(row.accuracy), interval),
        *(f"{row.correct} / {row.asked}", str(row.correct_flexible), stopped),
        *(f"{row.invalid} · {row.truncated} · {row.errors}", "–" if row.seconds is None else duration(row.seconds)),
    )


def defect_cells(blame: Blame) -> tuple[str, ...]:
    """A defect as texts, in the order of DEFECT_HEADINGS; the ops of the kernel cases on a line each."""
    kernels = "\n".join(_kernel(kernel) for kernel in blame.kernels) or "no kernel case"
    change = "–" if blame.drop is None else points(blame.drop).removesuffix(" points")
    stopped = "–" if blame.stopped_after is None else str(blame.stopped_after)
    accuracy = f"{share(blame.healthy)} → {share(blame.accuracy)}"
    return _visible(blame.label, kernels, blame.sentence, accuracy, change, stopped)


def _kernel(kernel: Kernel) -> str:
    told = f"{kernel.op} {kernel.red} / {kernel.run}"
    told += f": {', '.join(kernel.caught_by)}" if kernel.caught_by else ""
    return told + (f"; first wrong: {kernel.place}" if kernel.place else "")


def _visible(*texts: str) -> tuple[str, ...]:
    return tuple(map(plain, texts))


def remarks(table: AccuracyTable, reasons: Sequence[str]) -> tuple[str, ...]:
    """The summary and every reason for which the verdict is red, a line each."""
    return _visible(*filter(None, [table.summary]), *(f"RED {reason}" for reason in reasons))


def markdown(table: AccuracyTable) -> str:
    """Both tables and the summary for a README or a step summary."""
    parts = [_markdown(HEADINGS, TEXTS, [cells(row) for row in table.evaluations])]
    if table.defects:
        parts += [f"{_inert(plain(table.summary))}\n"] if table.summary else []
        parts.append(_markdown(DEFECT_HEADINGS, DEFECT_TEXTS, [defect_cells(blame) for blame in table.defects]))
    return "\n".join(parts)


def _markdown(headings: Sequence[str], texts: int, body: Sequence[Sequence[str]]) -> str:
    rule = ["---"] * texts + ["--:"] * (len(headings) - texts)
    lines = [headings, rule, *([_inert(text) for text in line] for line in body)]
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def _inert(text: str) -> str:
    """Foreign text that stays in its cell and is neither a tag nor a link, code or emphasis."""
    escaped = html.escape(text.replace("\\", "\\\\"), quote=False)
    for sign in "|[]`*~":
        escaped = escaped.replace(sign, f"\\{sign}")
    return escaped.replace("\n", "<br>")


def as_json(table: AccuracyTable) -> str:
    """The tables for programs; a number that JSON lacks is a word."""
    objects = {
        "evaluations": [{**_fields(row), "accuracy": row.accuracy} for row in table.evaluations],
        "defects": [{**asdict(blame), "drop": blame.drop} for blame in table.defects],
        "summary": table.summary,
    }
    return json.dumps(_finite(objects), indent=1) + "\n"


def _fields(row: Row) -> dict[str, object]:
    fields = asdict(row)
    return {**fields, "checks": [check.model_dump(mode="json") for check in row.checks]}


def _finite(value: Any) -> Any:
    if isinstance(value, dict):
        return {name: _finite(part) for name, part in cast("dict[str, Any]", value).items()}
    if isinstance(value, list | tuple):
        return [_finite(part) for part in cast("list[Any]", value)]
    return str(value) if isinstance(value, float) and not math.isfinite(value) else value
