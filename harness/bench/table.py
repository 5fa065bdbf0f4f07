"""Bench records as a table for people."""

from __future__ import annotations

from collections.abc import Sequence

from rich.box import SIMPLE_HEAD
from rich.table import Column, Table
from rich.text import Text

from rocassay.harness.bench.records import BenchRecord, MachineRecord


def machine_line(machine: MachineRecord) -> str:
    """The device and its ceilings in one line."""
    rates = ", ".join(f"{name} {rate / 1e12:.0f} TFLOP/s" for name, rate in machine.matrix_rates.items())
    return f"{machine.device}: copy {machine.copy_bandwidth / 1e12:.2f} TB/s (read + written), matrix {rates}"


def table(records: Sequence[BenchRecord]) -> Table:
    """One row a bench; a bench without a time shows why in its place."""
    title = "median device time a call; spread is the 10th to 90th percentile; ratios above 1 mean shipped is faster"
    shown = Table(
        Column("bench", overflow="fold"),
        Column("us", justify="right", no_wrap=True),
        Column("spread", justify="right", no_wrap=True),
        Column("of copy", justify="right", no_wrap=True),
        Column("of matrix", justify="right", no_wrap=True),
        Column("launch us", justify="right", no_wrap=True),
        Column("reference us", justify="right", no_wrap=True),
        Column("ratio", justify="right", no_wrap=True),
        Column("rivals", overflow="fold"),
        title=title,
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    last = ""
    for record in records:
        if last and record.op != last:
            shown.add_section()
        last = record.op
        shown.add_row(*_cells(record))
    return shown


def _cells(record: BenchRecord) -> list[Text | str]:
    if record.time is None:
        return [record.id, Text(record.status, "bold red"), *[""] * 6, record.reason]
    rivals = ", ".join(f"{rival.name} {rival.ratio:.2f}x" for rival in record.rivals)
    return [
        record.id,
        _time(record.time.median),
        f"{_time(record.time.low)}-{_time(record.time.high)}",
        _percent(record.copy_share),
        _percent(record.matrix_share),
        "" if record.host is None else _time(record.host.median),
        "" if record.reference is None else f"{record.reference:g}",
        "" if record.reference_ratio is None else f"{record.reference_ratio:.2f}x",
        rivals,
    ]


def _time(microseconds: float) -> str:
    return f"{microseconds:.0f}" if microseconds >= 100 else f"{microseconds:.1f}"


def _percent(share: float | None) -> str:
    return "" if share is None else f"{share:.0%}"
