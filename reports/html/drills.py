"""The drill table: which injected faults were caught, by what, and which were not."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rocassay.harness.results import Assay, CaseRecord, Status
from rocassay.reports.html.measures import failed_checks, place_of
from rocassay.reports.html.words import joined, plain


@dataclass(frozen=True, slots=True)
class Drill:
    """All drill cases of one fault."""

    fault: str
    state: str
    """`caught`, `partly` (some of its cases did not go red), `blind` (none did) or `undrilled`."""
    red: int
    """Cases that went red."""
    run: int
    """Cases with the fault injected."""
    caught_by: tuple[tuple[str, int], ...]
    """Names of the failed checks with the number of cases."""
    ops: str
    place: str
    """First wrong block, token and byte of the first red case."""
    place_in_full: str
    """The same with output index, page offset and every further name."""
    others: str
    """What the cases said that did not go red."""
    repro: str
    query: str
    """Filter of the case table that selects these cases."""


def drill_table(assay: Assay) -> list[Drill]:
    """One entry per fault that was asked for or injected, holes first."""
    records: dict[str, list[CaseRecord]] = {}
    for record in assay.drills:
        records.setdefault(record.fault or "", []).append(record)
    asked = [name for header in assay.headers for name in header.drills]
    drills = [_drill(name, records.get(name, [])) for name in dict.fromkeys([*asked, *records])]
    return sorted(drills, key=lambda drill: drill.state == "caught")


def _drill(fault: str, records: Sequence[CaseRecord]) -> Drill:
    red = [record for record in records if record.status is Status.FAILED]
    others = [record for record in records if record.status is not Status.FAILED]
    first = next(iter([*others, *red]), None)
    coordinate = next((record.first_wrong for record in red if record.first_wrong), None)
    said = (f"{record.status.value}: {record.reason}" if record.reason else record.status.value for record in others)
    return Drill(
        fault,
        _state(len(red), len(records)),
        len(red),
        len(records),
        tuple(failed_checks(red).items()),
        joined(record.op for record in records),
        place_of(coordinate),
        str(coordinate) if coordinate else "",
        joined(said, "; "),
        first.repro if first else "",
        plain(f"fault={fault};"),
    )


def _state(red: int, run: int) -> str:
    if not run:
        return "undrilled"
    if not red:
        return "blind"
    return "caught" if red == run else "partly"
