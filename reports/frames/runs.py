"""Runs as a table: what was asked for, and how it ended."""

# pyright: reportMissingTypeStubs=false
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from operator import attrgetter
from typing import TYPE_CHECKING, Any

from rocassay.harness.results import Assay, RunEnd, RunHeader
from rocassay.reports.frames.columns import Column, Dtype, table

if TYPE_CHECKING:
    import pandas as pd


@dataclass(frozen=True, slots=True)
class _Part:
    """A run, or a part of one that was resumed; end is None where it was cut short."""

    header: RunHeader
    end: RunEnd | None


_HEADER: dict[str, Dtype] = {
    "run_id": "string", "started": "datetime64[us, UTC]", "command": "string", "tier": "string", "provider": "string",
    "engine": "string", "device": "string", "commit": "string", "resumed": "bool", "planned": "int64",
}  # fmt: skip

_END: dict[str, Dtype] = {
    "finished": "datetime64[us, UTC]", "seconds": "float64", "peak_bytes": "Int64", "processes": "Int64",
}  # fmt: skip


def run_frame(assay: Assay) -> pd.DataFrame:
    """One row per header; `complete` says whether the part came to its own end."""
    columns: dict[str, Column[_Part]] = {
        **{name: (dtype, attrgetter(f"header.{name}")) for name, dtype in _HEADER.items()},
        "expected_cells": ("int64", lambda part: len(part.header.expected)),
        "drills": ("int64", lambda part: len(part.header.drills)),
        **{name: (dtype, _of_end(name)) for name, dtype in _END.items()},
        "complete": ("bool", lambda part: part.end is not None and not part.end.interrupted),
    }
    return table(_parts(assay), columns, {"version": attrgetter("header.versions")})


def _of_end(name: str) -> Callable[[_Part], Any]:
    return lambda part: getattr(part.end, name) if part.end else None


def _parts(assay: Assay) -> list[_Part]:
    """Headers with the end that was written before the next part of the same run began."""
    found: list[_Part] = []
    for place, header in enumerate(assay.headers):
        later = (other.started for other in assay.headers[place + 1 :] if other.run_id == header.run_id)
        before = min(later, default="￿")
        ends = (e for e in assay.ends if e.run_id == header.run_id and header.started <= e.finished <= before)
        found.append(_Part(header, next(ends, None)))
    return found
