"""Where tables are printed: a cut name or number says nothing, so a table gets the columns it needs."""

from __future__ import annotations

import sys

from rich.console import Console

PIPED_WIDTH = 180
"""Columns of a table that no terminal limits."""


def table_console(least: int) -> Console:
    """A console of the terminal's width, but not below `least` columns: a narrow terminal wraps, it does not cut."""
    if not sys.stdout.isatty():
        return Console(width=PIPED_WIDTH)
    console = Console()
    return Console(width=max(console.width, least))
