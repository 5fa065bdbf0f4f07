"""Cases and their checks as tables."""

# pyright: reportMissingTypeStubs=false
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from rocassay.harness.results import Assay, CaseRecord, Check, usage, worst_usage
from rocassay.reports.frames.columns import Column, table

if TYPE_CHECKING:
    import pandas as pd

_IDENTITY: dict[str, Column[CaseRecord]] = {
    "run_id": ("string", attrgetter("run_id")),
    "case": ("string", attrgetter("case")),
    "op": ("string", attrgetter("op")),
    "arch": ("string", attrgetter("arch")),
    "fp8": ("string", attrgetter("fp8")),
    "block_size": ("int64", attrgetter("block_size")),
    "provider": ("string", attrgetter("provider")),
    "engine": ("string", attrgetter("engine")),
    "fault": ("string", attrgetter("fault")),
}

PHASES = ("inputs", "golden", "peer", "run", "judge")
"""Phases of every case."""

COUNTS = ("launches", "programs", "elements")
"""Counts of every case; the machine-code engine adds its own."""


def case_frame(assay: Assay) -> pd.DataFrame:
    """One row per record; the worst ratio is the largest statistic / limit of its gates, NaN where none has a limit."""
    columns: dict[str, Column[CaseRecord]] = {
        **_IDENTITY,
        "recipe": ("string", attrgetter("recipe")),
        "seed": ("int64", attrgetter("seed")),
        "tier": ("string", attrgetter("tier")),
        "status": ("string", lambda record: record.status.value),
        "reason": ("string", attrgetter("reason")),
        "worst_ratio": ("float64", lambda record: worst.share if (worst := worst_usage(record)) else None),
        "worst_gate": ("string", lambda record: worst.check if (worst := worst_usage(record)) else None),
        "first_wrong": ("string", lambda record: record.first_wrong),
        "digest": ("string", attrgetter("digest")),
        "launched": ("string", lambda record: " ".join(record.launches)),
        "device": ("string", attrgetter("device")),
        "commit": ("string", attrgetter("commit")),
        "repro": ("string", attrgetter("repro")),
        **{f"time.{phase}": ("float64", _at("timings", phase)) for phase in PHASES},
        **{f"count.{name}": ("Int64", _at("counts", name)) for name in COUNTS},
    }
    brought = {"time": "timings", "count": "counts", "param": "params", "code": "codes", "version": "versions"}
    return table(assay.records, columns, {prefix: attrgetter(name) for prefix, name in brought.items()})


def _at(mapping: str, name: str) -> Callable[[CaseRecord], Any]:
    """The value of a name in a record's mapping; None where it is not there."""
    return lambda record: getattr(record, mapping).get(name)


@dataclass(frozen=True, slots=True)
class _Checked:
    record: CaseRecord
    check: Check


def check_frame(assay: Assay) -> pd.DataFrame:
    """One row per check, beside the identity of its case."""
    columns: dict[str, Column[_Checked]] = {
        **{name: (dtype, _of_record(value)) for name, (dtype, value) in _IDENTITY.items()},
        "check": ("string", attrgetter("check.name")),
        "kind": ("string", attrgetter("check.kind")),
        "passed": ("bool", attrgetter("check.passed")),
        "applicable": ("bool", attrgetter("check.applicable")),
        "statistic": ("float64", attrgetter("check.statistic")),
        "limit": ("float64", attrgetter("check.limit")),
        "ratio": ("float64", lambda row: usage(row.check)),
        "reason": ("string", attrgetter("check.reason")),
        "detail": ("string", attrgetter("check.detail")),
        "coordinate": ("string", attrgetter("check.coordinate")),
    }
    rows = [_Checked(record, check) for record in assay.records for check in record.checks]
    return table(rows, columns, {"metric": attrgetter("check.metrics")})


def _of_record(value: Callable[[CaseRecord], Any]) -> Callable[[_Checked], Any]:
    return lambda row: value(row.record)
