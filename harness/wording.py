"""Records of a run in words, for terminals and pytest."""

from __future__ import annotations

from rocassay.harness.choice import is_expected
from rocassay.harness.options import Options
from rocassay.harness.results import GREEN, CaseRecord, RunEnd, Status


def explain(record: CaseRecord) -> str:
    """A failing record in words: case, metric, value, limit, why the limit is that, and the repro line."""
    lines = [f"{record.case} on {record.provider}/{record.engine}: {record.status.value}"]
    if not any(not check.passed for check in record.checks):
        lines.append(f"  {record.reason}")
    for check in (check for check in record.checks if not check.passed):
        limit = "" if check.limit is None else f" (limit {check.limit:g}: {check.reason})"
        lines.append(f"  {check.name}: {check.detail}{limit}")
        if check.coordinate:
            lines.append(f"    first wrong: {check.coordinate}")
    return "\n".join([*lines, f"  {record.repro}"])


def complaint(record: CaseRecord, options: Options) -> str:
    """What is wrong about a record of a run, in words; empty where it is as it should be."""
    if record.fault is not None:
        allowed = {Status.FAILED} if options.thin else {Status.FAILED, Status.BLIND}
        missed = f"fault {record.fault} was not seen on {record.case}: {record.reason}\n  {record.repro}"
        return "" if record.status in allowed else missed
    absent = record.status is Status.NOT_RUN and not is_expected(record, options)
    return "" if absent or record.status in GREEN else explain(record)


def cost(end: RunEnd) -> str:
    """Wall time and memory of a run, in words."""
    told = f"wall time: {end.seconds:.1f} s"
    if not end.processes:
        return told
    whose = "its process" if end.processes == 1 else f"the sum over {end.processes} processes"
    return f"{told}; peak memory: {end.peak_bytes / 2**30:.2f} GiB (largest resident size, {whose})"
