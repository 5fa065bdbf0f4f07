"""Drills: runs that must go red because of an injected fault, and go red by a wide margin.

A gate that a fault moves barely beyond its limit would miss the next defect of the family, or this one at other values.
So a case sees a fault only if a declared check is exact, or its statistic goes beyond `MARGIN` times its limit.
"""

from __future__ import annotations

from collections.abc import Iterator

from rocassay.harness.cases import Case
from rocassay.harness.faults import Fault, catalogue, fault_named
from rocassay.harness.ops import discover, select_cases
from rocassay.harness.options import Options
from rocassay.harness.results import CaseRecord, Status, strongest

MARGIN = 10.0
"""Times its limit that a fault must move a gate's statistic."""


def select_drills(options: Options) -> list[tuple[Fault, Case]]:
    """(fault, case) pairs of a run: one case per fault, op and block size where it is thin, else all that apply.

    Cases that are named by their ids get every fault of their op, whether or not it claims to show there. Faults that
    the run's engine cannot see are left out.
    """
    # The controller records which drills a run owes, and asks here.
    from rocassay.harness.choice import chosen_engine

    discover()
    engine = chosen_engine(options.engine).name
    named = [fault_named(name) for name in options.faults] or list(catalogue())
    faults = [fault for fault in named if fault.visible_on(engine)]
    # A past failure was kept for one defect: whether it shows others nobody has said.
    cases = select_cases(options.tier_name, options.selection(), options.seed_range, corpus=False)
    if options.cases:
        return [(fault, case) for fault in faults for case in cases if case.op in fault.ops]
    return [pair for fault in faults for pair in _pairs(fault, cases, thin=options.thin)]


def _pairs(fault: Fault, cases: list[Case], *, thin: bool) -> Iterator[tuple[Fault, Case]]:
    seen: set[tuple[str, int]] = set()
    for case in cases:
        spot = (case.op, case.block_size)
        if case.op in fault.ops and fault.applies(case) and not (thin and spot in seen):
            seen.add(spot)
            yield fault, case


def drill_names(options: Options) -> tuple[str, ...]:
    """Faults whose drill the run has to show red."""
    return tuple(dict.fromkeys(fault.name for fault, _ in select_drills(options)))


def verdict_of(fault: Fault, record: CaseRecord) -> CaseRecord:
    """The record as a drill sees it: green, or red for undeclared reasons only, is blind.

    A crash is red where the fault declares that it may take the process or the device's context with it.
    """
    if record.status is Status.CRASHED and "crash" in fault.caught_by:
        return record.model_copy(update={"status": Status.FAILED, "reason": f"crash: {record.reason}"})
    if record.status is Status.PASSED:
        reason = "every check stayed green: these inputs cannot reveal the fault"
        return record.model_copy(update={"status": Status.BLIND, "reason": reason})
    saw = {check.name for check in record.checks if not check.passed}
    if record.status is Status.FAILED and not saw & fault.caught_by:
        declared, other = ", ".join(sorted(fault.caught_by)), ", ".join(sorted(saw))
        reason = f"red, but only by {other}; the fault is declared to be caught by {declared}"
        return record.model_copy(update={"status": Status.BLIND, "reason": reason})
    strength = strongest(record, fault.caught_by)
    if record.status is Status.FAILED and strength is not None and strength.share < MARGIN:
        reason = (
            f"barely seen: the fault moves {strength.check} to {strength.share:.2g} times its limit, "
            f"and {MARGIN:g} times is asked for; {record.reason}"
        )
        return record.model_copy(update={"status": Status.BLIND, "reason": reason})
    return record
