"""Runs as results files hold them, put together by hand; as a program it stores some: `... HISTORY NAME COUNT`."""

from __future__ import annotations

import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from rocassay.harness.accuracy.history import History
from rocassay.harness.results import Assay, CaseRecord, Check, RunEnd, RunHeader, Status

DAYS = 28


def moment(day: int, hour: int = 0) -> str:
    """Of the days of two years, counted from 0."""
    return f"{2024 + day // (12 * DAYS)}-{day // DAYS % 12 + 1:02}-{day % DAYS + 1:02}T{hour:02}:00:00+00:00"


def case(
    number: int, op: str = "toy", *, t: float | None = 1.0, seconds: float = 0.5, arch: str = "gfx942", **changes: Any
) -> CaseRecord:
    """A record with a worst-row t and a duration."""
    parts: dict[str, Any] = {
        "run_id": "r",
        "case": f"{op}:{arch}:e4m3fn:bs1:number={number}:tagged:s0",
        "op": op,
        "arch": arch,
        "fp8": "e4m3fn",
        "block_size": 1,
        "params": {"number": number},
        "recipe": "tagged",
        "seed": 0,
        "provider": "rocassay",
        "engine": "interpreter",
        "tier": "quick",
        "status": Status.PASSED,
        "timings": {"run": seconds},
    }
    if t is not None:
        parts["checks"] = (Check(name="worst-row", kind="gate", passed=t < 12, statistic=t, limit=12.0),)
    return CaseRecord(**{**parts, **changes})


def run_of(run: str, day: int = 0, records: Sequence[CaseRecord] = (), **changes: Any) -> Assay:
    """A finished run of these records; by default of two cases."""
    facts: dict[str, Any] = {
        "run_id": run,
        "started": moment(day),
        "command": "rocassay run",
        "tier": "quick",
        "provider": "rocassay",
        "engine": "interpreter",
        "commit": f"c{day}",
        "device": "cpu",
    }
    found = list(records) or [case(0), case(1, seconds=1.5)]
    ended = RunEnd(run_id=run, finished=moment(day, 1), seconds=9.0)
    return Assay(Path("results.jsonl"), [RunHeader(**{**facts, **changes})], found, [ended])


def failing(number: int) -> CaseRecord:
    """A case that did not pass."""
    return case(number, status=Status.FAILED, t=99.0)


if __name__ == "__main__":
    place, name, count = sys.argv[1:]
    for number in range(int(count)):
        mine = [case(number, f"{name}_op"), case(0, "shared", seconds=number + 1)]
        History(place).kernel_runs.append(run_of(f"{name}-{number}", number, mine))
        History(place).kernel_runs.append(run_of("same", 99, [case(0, "same"), case(1, "same")]))
