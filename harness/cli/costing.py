"""The verb `bench --engine isa`: count what cases cost as machine code, compare, print."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from rich.box import SIMPLE_HEAD
from rich.console import Console
from rich.table import Column, Table
from rich.text import Text

from rocassay.harness.bench import costs
from rocassay.harness.bench.costs import Change, Costs
from rocassay.harness.bench.records import CostRecord, append, read
from rocassay.harness.cases import Case
from rocassay.harness.cli.console import table_console
from rocassay.harness.environment import commit, versions
from rocassay.harness.errors import RocassayError

TABLE_WIDTH = 140

SHOWN = ("wave_instructions", "mfma_operations", "bytes_read", "bytes_written", "lds_conflicts", "scratch_bytes")
"""Counts that the table has a column for; records hold all."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What the command line asked for.

    Attributes:
        ops, words: only cases of these ops, whose id contains all of these.
        out: file of records, appended to.
        resume: leave out what `out` holds, counted at this commit.
        against: file of records to compare with; None for the recorded counts.
        record: keep the counts as the recorded ones.
        provider: whose implementations.
        fault: name of a fault to inject, or nothing.
        workers: processes; 0 for one a core.
    """

    ops: tuple[str, ...]
    words: tuple[str, ...]
    out: Path
    resume: bool
    against: Path | None
    record: bool
    provider: str
    fault: str
    workers: int


def list_cases(wanted: Wanted, *, as_json: bool) -> int:
    """Print the ids of the cases that would be counted."""
    names = [str(case) for case in costs.cost_cases(wanted.ops, wanted.words)]
    sys.stdout.write((json.dumps(names) if as_json else "\n".join(names)) + "\n")
    return 0


def count(wanted: Wanted, *, as_json: bool) -> int:
    """Count the selected cases; exit code 0 iff all are right and nothing costs more than the base."""
    if wanted.record and (wanted.fault or wanted.provider != "rocassay"):
        raise RocassayError(
            "only what the shipped kernels cost in health is recorded; leave out --fault and --provider"
        )
    cases = _selected(wanted)
    base, what = _base(wanted, cases)
    chosen = {str(case) for case in cases}
    done = [one for one in _held(wanted) if one.case in chosen] if wanted.resume else []
    left = [case for case in cases if str(case) not in {one.case for one in done}]
    records = [*done, *_with_progress(wanted, left, wanted.fault)]
    counted = costs.costs_of(records)
    moved = costs.changes(base, counted)
    if as_json:
        sys.stdout.write(json.dumps([one.model_dump(mode="json") for one in records], indent=1) + "\n")
    else:
        _show(records, moved, base, what, wanted)
    if wanted.record:
        Console(stderr=True).print(f"recorded: {costs.record(counted, versions()['triton'])}", highlight=False)
    wrong = any(one.status == "wrong" for one in records)
    return 1 if wrong or (any(change.worse for change in moved) and not wanted.record) else 0


def _selected(wanted: Wanted) -> list[Case]:
    """The cases; with a fault those of the ops that it is declared for."""
    if not wanted.fault:
        return costs.cost_cases(wanted.ops, wanted.words)
    from rocassay.harness.faults import fault_named
    from rocassay.harness.ops import discover

    discover()
    fault = fault_named(wanted.fault)
    ops = [name for name in fault.ops if not wanted.ops or name in wanted.ops]
    return costs.cost_cases(ops, wanted.words, fault.applies)


def _base(wanted: Wanted, cases: list[Case]) -> tuple[Costs, str]:
    """(counts to compare with, what they are in words); those of a fault are compared with the same cases in health."""
    if wanted.against is not None:
        if not wanted.against.is_file():
            raise RocassayError(f"there is no file {wanted.against} to compare with; write one with --out")
        return costs.costs_of(one for one in read(wanted.against) if isinstance(one, CostRecord)), str(wanted.against)
    if wanted.record:
        return {}, "nothing: these counts become the recorded ones"
    if wanted.fault:
        return costs.costs_of(_with_progress(wanted, cases, "")), "the same cases without the fault"
    held = costs.recorded()
    mine = versions()["triton"]
    if held.triton != mine:
        return (
            {},
            f"nothing: the recorded counts are of Triton {held.triton}, this is {mine}; give a file with --against",
        )
    return held.costs, f"the recorded counts, Triton {held.triton}"


def _held(wanted: Wanted) -> list[CostRecord]:
    same = (wanted.provider, wanted.fault or None, commit())
    found = [one for one in read(wanted.out) if isinstance(one, CostRecord)]
    return [one for one in found if (one.provider, one.fault, one.commit) == same and one.status == "counted"]


def _with_progress(wanted: Wanted, cases: list[Case], fault: str) -> Iterator[CostRecord]:
    console, width = Console(stderr=True), len(str(len(cases)))
    workers = min(wanted.workers or os.cpu_count() or 1, max(len(cases), 1))
    found = costs.measured(cases, wanted.provider, fault or None, workers)
    for number, record in enumerate(found, start=1):
        append(wanted.out, record)
        said = f"{record.counts.get('wave_instructions', 0)} wave-instructions"
        text = f"[{number:{width}}/{len(cases)}] {record.case}: {said if record.status == 'counted' else record.reason}"
        style = None if record.status == "counted" else "red"
        console.print(text, style=style, markup=False, highlight=False, soft_wrap=True)
        yield record


def _show(records: list[CostRecord], moved: list[Change], base: Costs, what: str, wanted: Wanted) -> None:
    console = table_console(TABLE_WIDTH)
    console.print(_table(records, base))
    for case in dict.fromkeys(change.case for change in moved if change.worse):
        told = ", ".join(change.told for change in moved if change.case == case and change.worse)
        console.print(f"MORE {case}: {told}", style="red", markup=False, highlight=False, soft_wrap=True)
    for record in records:
        if record.status == "wrong":
            text = f"RED {record.case} {record.reason}"
            console.print(text, style="red", markup=False, highlight=False, soft_wrap=True)
    more, less = sum(change.worse for change in moved), sum(not change.worse for change in moved)
    console.print(f"compared with {what}: {more} counts grew, {less} others moved", highlight=False, soft_wrap=True)
    console.print(f"records: {wanted.out}", highlight=False, soft_wrap=True)


def _table(records: list[CostRecord], base: Costs) -> Table:
    shown = Table(
        Column("case", overflow="fold"),
        Column("kernels", justify="right"),
        *(Column(name.replace("_", " "), justify="right", no_wrap=True) for name in SHOWN),
        title="counts of one call as machine code; beside them the ratio to the base where it is not 1",
        box=SIMPLE_HEAD,
        pad_edge=False,
        padding=(0, 1, 0, 0),
    )
    for record in records:
        before = base.get(record.case, {})
        cells = [_cell(before.get(name), record.counts.get(name, 0)) for name in SHOWN]
        shown.add_row(record.case, str(len(record.kernels)), *cells)
    return shown


def _cell(before: int | None, now: int) -> Text:
    if before is None or before == now:
        return Text(str(now))
    ratio = f"{now / before:.2f}x" if before else "new"
    return Text(f"{now} {ratio}", "red" if now > before else "green")
