"""What the verbs about the history print with: plain tables, lines as they are, JSON."""

from __future__ import annotations

import json
from typing import Any

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table

from rocassay.harness.cli.console import table_console

WIDTH = 140
"""Columns of a table at least."""

NUMBERS = frozenset(
    {
        "accuracy", "beyond", "cases", "drills", "evaluations", "last", "not passed", "number", "p", "p by Holm", "red",
        "right", "runs", "seconds", "spots",
    }
)  # fmt: skip
"""Headings over numbers, which stand to the right."""


def plain_table(*names: str) -> Table:
    """An empty table with these columns."""
    columns = [Column(name, justify="right" if name in NUMBERS else "left", overflow="fold") for name in names]
    return Table(*columns, box=SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))


def print_table(table: Table, otherwise: str) -> None:
    """Print it, or `otherwise` when it has no row."""
    if table.row_count:
        table_console(WIDTH).print(table)
    else:
        say(Console(), otherwise)


def say(console: Console, text: str) -> None:
    """Print a line as it is."""
    console.print(text, highlight=False, markup=False, soft_wrap=True)


def print_json(value: Any) -> None:
    """Print it for programs."""
    Console().print_json(json.dumps(value))


def minute(moment: str) -> str:
    """An ISO 8601 moment to the minute."""
    return moment[:16].replace("T", " ")
