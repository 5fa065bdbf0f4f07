"""`rocassay drill`: faults injected, what caught each, how plainly, and how long it took."""

from __future__ import annotations

import math
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from rich.console import Console

from rocassay.harness.cli.plain import plain_table, print_json, print_table, say
from rocassay.harness.cli.progress import Progress
from rocassay.harness.cli.running import BAD_INPUT, FINISHED, run_pytest
from rocassay.harness.errors import RocassayError
from rocassay.harness.options import RESULTS, Options
from rocassay.harness.results import Assay, CaseRecord, Status, read, seconds_of, strongest

if TYPE_CHECKING:
    from rocassay.harness.faults import Fault

FEW = 3
"""Up to so many faults are shown with their first wrong place and the command that repeats it."""

FEW_CASES = 100
"""Drill cases that one process has judged when two workers, each of which imports torch first, begin: 4 s."""


@dataclass(frozen=True, slots=True)
class Drilled:
    """What became of one fault."""

    fault: str
    ops: tuple[str, ...]
    """Ops in which it was injected."""
    caught_by: tuple[str, ...]
    """Declared checks that saw it, the one that saw it in most cases first."""
    cases: int
    """Cases that ran with it."""
    sighted: int
    """Cases that saw it beyond the margin."""
    beyond: float | None
    """Least times its limit to which a sighted case moved its strongest check; infinite: exact ones; None: crashes."""
    spots: int
    """Pairs of op and block size."""
    sighted_spots: int
    """Those with a sighted case."""
    seconds: float
    """All phases of all cases."""


def drilled(fault: Fault, records: Sequence[CaseRecord]) -> Drilled:
    """The row of one fault's records."""
    red = [record for record in records if record.status is Status.FAILED]
    checks = Counter(name for record in red for name in _declared(fault, record))
    strengths = [use.share for record in red if (use := strongest(record, fault.caught_by))]
    return Drilled(
        fault=fault.name,
        ops=tuple(dict.fromkeys(record.op for record in records)),
        caught_by=tuple(name for name, _ in checks.most_common()),
        cases=len(records),
        sighted=len(red),
        beyond=min(strengths, default=None),
        spots=len({(record.op, record.block_size) for record in records}),
        sighted_spots=len({(record.op, record.block_size) for record in red}),
        seconds=sum(map(seconds_of, records)),
    )


def _declared(fault: Fault, record: CaseRecord) -> set[str]:
    seen = {check.name for check in record.checks if not check.passed} & fault.caught_by
    return seen or ({"crash"} if record.reason.startswith("crash: ") else set())


def drill_faults(options: Options, *, workers: str, as_json: bool = False) -> int:
    """Run drills and print one row per fault; exit code 0 iff every one was seen where it must be."""
    from rocassay.harness.drills import select_drills
    from rocassay.harness.faults import catalogue, fault_named
    from rocassay.harness.ops import discover

    discover()
    names = tuple(fault_named(name).name for name in options.faults) or tuple(fault.name for fault in catalogue())
    options = replace(options, faults=names, suites=("drills",)).checked()
    assert options.out is not None
    if not (drills := select_drills(options)):
        raise RocassayError(
            "no fault applies to a case that the filters select; `rocassay list --faults` shows what there is"
        )
    status = run_pytest(options, workers or workers_for(len(drills), options), Progress(Console(stderr=True)))
    if status not in FINISHED:
        return BAD_INPUT
    assay = read(options.out / RESULTS)
    rows = [drilled(fault_named(name), records) for name, records in _by_fault(assay).items()]
    if as_json:
        print_json([_plain(row) for row in rows])
    else:
        _print(assay, rows, power=not options.thin)
    return 0 if status == 0 else 1


def workers_for(drills: int, options: Options) -> str:
    """How many workers as many drill cases are given: none where one process is done before workers have begun.

    Not so on a device: there a fault may destroy the context, and a worker can be replaced, this process cannot.
    """
    from rocassay.harness.choice import chosen_engine

    alone = drills <= FEW_CASES and chosen_engine(options.engine).name in ("interpreter", "isa")
    return "0" if alone else "auto"


def _by_fault(assay: Assay) -> dict[str, list[CaseRecord]]:
    found: dict[str, list[CaseRecord]] = {}
    for record in assay.drills:
        found.setdefault(record.fault or "", []).append(record)
    return found


def _print(assay: Assay, rows: Sequence[Drilled], *, power: bool) -> None:
    table = plain_table("fault", "caught by", "red", "beyond", "spots", "seconds")
    for row in rows:
        colour = "" if row.sighted == row.cases or (power and row.sighted_spots == row.spots) else "red"
        table.add_row(
            row.fault,
            ", ".join(row.caught_by) or "nothing",
            f"{row.sighted}/{row.cases}",
            _times(row.beyond),
            f"{row.sighted_spots}/{row.spots}",
            f"{row.seconds:.2f}",
            style=colour,
        )
    print_table(table, "no drill left a record")
    console = Console()
    say(console, "beyond: least times its limit that a fault moved the check that saw it best; exact: no noise in it")
    say(console, _sum(rows))
    blind = [record for record in assay.drills if record.status is not Status.FAILED]
    seen = [record for record in assay.drills if record.status is Status.FAILED] if len(rows) <= FEW else []
    for record in [*_firsts(seen), *_firsts(blind)]:
        say(console, f"{record.fault} in {record.op}: {record.reason}")
        say(console, f"  {record.repro}")
    if power and blind:
        say(console, f"{len(blind)} cases are blind for a fault that other cases of their op and block size see")
    for reason in assay.red_reasons():
        console.print(f"[bold red]RED[/] {reason}", highlight=False, soft_wrap=True)


def _firsts(records: Iterable[CaseRecord]) -> list[CaseRecord]:
    """One record a fault, one with a coordinate if there is one."""
    firsts: dict[str | None, CaseRecord] = {}
    for record in sorted(records, key=lambda record: record.first_wrong is None):
        firsts.setdefault(record.fault, record)
    return list(firsts.values())


def _sum(rows: Sequence[Drilled]) -> str:
    sighted, cases = sum(row.sighted for row in rows), sum(row.cases for row in rows)
    spots, seen = sum(row.spots for row in rows), sum(row.sighted_spots for row in rows)
    whole = sum(row.sighted_spots == row.spots for row in rows)
    return (
        f"{len(rows)} faults, {whole} of them seen in every op and block size ({seen} of {spots}); "
        f"{sighted} of {cases} drill cases red; {sum(row.seconds for row in rows):.1f} s of work"
    )


def _times(beyond: float | None) -> str:
    if beyond is None:
        return "crash"
    return "exact" if math.isinf(beyond) else f"{beyond:.3g}"


def _plain(row: Drilled) -> dict[str, object]:
    return {
        "fault": row.fault,
        "ops": row.ops,
        "caught_by": row.caught_by,
        "cases": row.cases,
        "sighted": row.sighted,
        "beyond": _times(row.beyond),
        "spots": row.spots,
        "sighted_spots": row.sighted_spots,
        "seconds": round(row.seconds, 4),
    }
