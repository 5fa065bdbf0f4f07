"""What the kernels' own cases say of a fault, op by op."""

from __future__ import annotations

from collections.abc import Collection, Sequence
from dataclasses import dataclass

from rocassay.harness.results import CaseRecord, EvalHeader, Status
from rocassay.reports.html.measures import BROKEN, failed_checks, place_of
from rocassay.reports.html.words import plain


@dataclass(frozen=True, slots=True)
class Kernel:
    """What the cases of one op say of one fault."""

    fault: str
    op: str
    red: int
    run: int
    caught_by: tuple[str, ...]
    place: str
    """First wrong element in storage terms; empty where none was recorded."""
    place_in_full: str
    query: str
    """Filter of the case table that selects these cases."""


def kernels_of(fault: str, records: Sequence[CaseRecord], header: EvalHeader) -> list[Kernel]:
    """One entry per op; the ops of fewest launches first: a part is nearer to the cause than what is composed of it.

    fault: empty for cases without one, of which also a crash is red. header: the evaluation that they stand beside;
    the first wrong place is that of the case which is most like it.
    """
    by_op: dict[str, list[CaseRecord]] = {}
    for record in records:
        by_op.setdefault(record.op, []).append(record)
    order = sorted(by_op, key=lambda op: (min(len(record.launches) for record in by_op[op]), op))
    return [_kernel(fault, op, by_op[op], header) for op in order]


def _kernel(fault: str, op: str, records: Sequence[CaseRecord], header: EvalHeader) -> Kernel:
    wanted: Collection[Status] = (Status.FAILED,) if fault else BROKEN
    red = [record for record in records if record.status in wanted]
    near = sorted(red, key=lambda r: (r.first_wrong is None, -_nearness(r, header)))
    first = near[0].first_wrong if near else None
    start = f"^{op}: fault={fault};" if fault else f"^{op}:"
    checks = tuple(failed_checks(red))
    return Kernel(fault, op, len(red), len(records), checks, place_of(first), str(first or ""), plain(start))


def _nearness(record: CaseRecord, header: EvalHeader) -> int:
    """In how many axes the case is as the evaluation."""
    return sum(getattr(record, axis) == getattr(header, axis) for axis in ("block_size", "fp8", "arch"))
