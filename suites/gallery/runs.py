"""The two runs of an exhibit: the same cases on the shipped kernels, and on them with the defect in."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from datetime import datetime, timezone
from pathlib import Path

import rocassay
from rocassay.harness.arch import fp8_format_of
from rocassay.harness.cases import Case, Selection
from rocassay.harness.choice import make_judge
from rocassay.harness.environment import commit, peak_memory, versions
from rocassay.harness.faults import Fault, fault_named
from rocassay.harness.judge import Judge
from rocassay.harness.ops import op_named, select_cases
from rocassay.harness.options import Options
from rocassay.harness.probes import RELAUNCHING
from rocassay.harness.results import Assay, CaseRecord, Cell, ResultsWriter, RunEnd, RunHeader, read
from rocassay.suites.gallery.exhibits import Exhibit

BASE, HEAD = "base.jsonl", "head.jsonl"
MODULE = "python -m rocassay.suites.gallery"


def cases_of(exhibit: Exhibit) -> list[Case]:
    """A handful: per op, chip and block size the first case that must break and the first that need not."""
    fault, ops = fault_named(exhibit.fault), frozenset(exhibit.ops)
    chosen: dict[tuple[object, ...], Case] = {}
    for case in select_cases("quick", Selection(ops=ops)):
        if exhibit.both_flavours or case.fp8 == fp8_format_of(case.arch):
            chosen.setdefault((case.op, case.arch, case.fp8, case.block_size, fault.applies(case)), case)
    return list(chosen.values())


def run(exhibit: Exhibit, folder: Path, engine: str, tell: Callable[[], None] = lambda: None) -> tuple[Assay, Assay]:
    """Run both, write them to `folder` and return them, base first; `tell` is called after each case.

    engine: as `--engine` of `rocassay run` has it.
    """
    cases, judge = cases_of(exhibit), make_judge(Options(engine=engine).checked())
    for name, fault in ((BASE, None), (HEAD, fault_named(exhibit.fault))):
        _write(folder / name, judge, cases, fault, f"{MODULE} {exhibit.fault}", tell)
    return read(folder / BASE), read(folder / HEAD)


def _write(
    path: Path, judge: Judge, cases: Sequence[Case], fault: Fault | None, command: str, tell: Callable[[], None]
) -> None:
    path.unlink(missing_ok=True)
    start, writer = time.perf_counter(), ResultsWriter(path)
    state = f"with the defect {fault.name} injected" if fault else "the shipped kernels, before the defect"
    header = _header(path.stem, judge, cases, f"{command}  # {state}", _versions(fault))
    writer.append(header)
    try:
        for record in _judged(judge, cases, fault):
            writer.append(record.model_copy(update={"run_id": header.run_id}))
            tell()
        seconds = time.perf_counter() - start
        end = RunEnd(run_id=header.run_id, finished=_now(), seconds=seconds, peak_bytes=peak_memory(), processes=1)
        writer.append(end)
    finally:
        writer.close()


def _judged(judge: Judge, cases: Sequence[Case], fault: Fault | None) -> Iterator[CaseRecord]:
    """Records as the run of a regression has them: no `fault`, for nobody wanted red; what ran is in the versions.

    A drill leaves out the probes that cannot see its fault. A regression knows no such thing, so all of them run.
    """
    for case in cases:
        op = op_named(case.op)
        probes = (*op.probes, *RELAUNCHING) if op.probed(case) else ()
        broken = fault and replace(fault, caught_by=frozenset(probe.name for probe in probes))
        yield judge(case, broken).model_copy(update={"fault": None, "versions": _versions(fault)})


def _versions(fault: Fault | None) -> dict[str, str]:
    """Of everything that computes; the defect is part of what computed."""
    changed = f" with {fault.name}" if fault else ""
    return {**versions(), "rocassay": f"{rocassay.__version__}{changed}"}


def _header(run_id: str, judge: Judge, cases: Sequence[Case], command: str, found: dict[str, str]) -> RunHeader:
    described = judge.engine.describe()
    cells = dict.fromkeys((case.op, case.arch, case.fp8, case.block_size) for case in cases)
    return RunHeader(
        run_id=run_id,
        started=_now(),
        command=command,
        tier=judge.tier,
        provider=judge.provider.name,
        engine=judge.engine.name,
        expected=tuple(
            Cell(op=op, arch=arch, fp8=fp8, block_size=size, engine=judge.engine.name) for op, arch, fp8, size in cells
        ),
        planned=len(cases),
        versions={**found, **{name: text for name, text in described.items() if name != "device"}},
        device=described.get("device", ""),
        commit=commit(),
    )


def _now() -> str:
    return datetime.now(timezone.utc).isoformat(timespec="microseconds")
