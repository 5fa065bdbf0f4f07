"""The verb `bench`: measure on the device, verify before, print a table."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.console import Console

from rocassay.harness.bench.bench import Bench, discover, select
from rocassay.harness.bench.machine import place
from rocassay.harness.bench.records import BenchRecord, MachineRecord, append
from rocassay.harness.bench.runner import Runner, done_before, measure_machine
from rocassay.harness.bench.table import machine_line, table
from rocassay.harness.cli.console import table_console

TABLE_WIDTH = 120


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asked for."""

    ops: tuple[str, ...]
    """Only benches of these ops."""
    words: tuple[str, ...]
    """Only benches whose id contains all of these."""
    out: Path
    """File of records, appended to."""
    resume: bool
    """Leave out what the file holds a time for, on this device at this commit."""


def list_benches(wanted: Wanted, *, as_json: bool) -> int:
    """Print the ids of the selected benches; needs no device."""
    names = [bench.id for bench in select(discover(), wanted.ops, wanted.words)]
    sys.stdout.write((json.dumps(names) if as_json else "\n".join(names)) + "\n")
    return 0


def bench(wanted: Wanted, *, as_json: bool) -> int:
    """Measure the selected benches; exit code 0 iff every one was right and has a time."""
    where = place()
    chosen = select(discover(), wanted.ops, wanted.words)
    machine = measure_machine(where)
    if wanted.resume:
        done = done_before(wanted.out, machine.device)
        chosen = [bench for bench in chosen if bench.id not in done]
    append(wanted.out, machine)
    progress = Console(stderr=True)
    progress.print(machine_line(machine), highlight=False, soft_wrap=True)
    records = list(_with_progress(Runner(where, machine, wanted.out), chosen, progress))
    _show(machine, records, wanted.out, as_json=as_json)
    return 0 if all(record.status == "measured" for record in records) else 1


def _with_progress(runner: Runner, chosen: list[Bench], console: Console) -> Iterator[BenchRecord]:
    width = len(str(len(chosen)))
    for number, record in enumerate(runner.run(chosen), start=1):
        took = f"{record.time.median:.1f} us" if record.time else f"{record.status}: {record.reason}"
        style = None if record.time else "red"
        line = f"[{number:{width}}/{len(chosen)}] {record.id}: {took}"
        console.print(line, style=style, markup=False, highlight=False, soft_wrap=True)
        yield record


def _show(machine: MachineRecord, records: list[BenchRecord], out: Path, *, as_json: bool) -> None:
    if as_json:
        lines = [record.model_dump(mode="json") for record in (machine, *records)]
        sys.stdout.write(json.dumps(lines, indent=1) + "\n")
        return
    console = table_console(TABLE_WIDTH)
    console.print(table(records))
    wrong = [record for record in records if record.status != "measured"]
    for record in wrong:
        text = f"RED {record.id} {record.status}: {record.reason}"
        console.print(text, style="red", markup=False, highlight=False, soft_wrap=True)
    console.print(f"records: {out}", highlight=False, soft_wrap=True)
