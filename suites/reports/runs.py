"""Runs made by hand: files that hold what a test says and nothing else."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from rocassay.harness.results import Assay, CaseRecord, Check, Evaluation, Status
from rocassay.suites.selftest.toys import end, header, record, toy_case

HOSTILE = "a|b `c` <img src=x onerror=alert(1)> @team #1 [x](http://evil) \\| \n\n# head\n```\n~~~ </details> "
HOSTILE += "\x1b[31m\u202e **b** _i_ &lt; https://evil.example www.evil.example $x$ :tada: <!-- --> user/repo@0123abcd"
"""Everything that has a meaning in Markdown, HTML, XML or a terminal."""


def gate(statistic: float | None = 1.0, limit: float = 2.0, *, name: str = "max-z", passed: bool = True) -> Check:
    return Check(name=name, kind="gate", passed=passed, statistic=statistic, limit=limit, detail=f"{name} {statistic}")


def case(number: int = 0, status: Status = Status.PASSED, *checks: Check, **changes: Any) -> CaseRecord:
    """Case `number` of the toy, with inputs of its own."""
    made = toy_case(number=number)
    parts: dict[str, Any] = {
        "checks": checks or (gate(),),
        "digest": f"{number:016x}",
        "repro": f"rocassay repro '{made}' --engine interpreter",
    }
    return record(made, status, **parts).model_copy(update=changes)


def drill(number: int = 0, status: Status = Status.FAILED, fault: str = "toy-off-by-one", **changes: Any) -> CaseRecord:
    return case(number, status, fault=fault, **changes)


def run(
    *records: CaseRecord, evaluations: tuple[Evaluation, ...] = (), seconds: float | None = 9.0, **more: Any
) -> Assay:
    """A run of these records that came to its end, unless `seconds` is None."""
    ends = [] if seconds is None else [end(seconds=seconds)]
    headers = [header(**more)] if records or more else []
    return Assay(Path("results.jsonl"), headers, list(records), ends, {e.header.run_id: e for e in evaluations})
