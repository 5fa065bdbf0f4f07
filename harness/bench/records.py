"""Bench records: one JSON object a line, appended and flushed as each is measured, so that a kill loses one at most."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, TypeAdapter, ValidationError

from rocassay.harness.bench.timing import Timing
from rocassay.harness.results import Check, Model, ResultsError

SCHEMA_VERSION = 1
"""Raised whenever a reader of the old schema could misread a new file."""

BenchStatus = Literal["measured", "wrong", "failed"]
"""`wrong`: an output did not pass its gates, so no time was taken; `failed`: it did not run."""


class MachineRecord(Model):
    """What the device can do; the ceilings of every bench record with the same run id."""

    kind: Literal["machine"] = "machine"
    """Discriminator of the line."""
    schema_version: int = SCHEMA_VERSION
    """Version of this schema."""
    run_id: str
    """The run that measured."""
    started: str
    """UTC, ISO 8601."""
    device: str
    """Name that torch gives the device."""
    copy_bandwidth: float
    """Bytes a second, read plus written, of a large copy."""
    matrix_rates: dict[str, float]
    """Operations a second of a large product, by type."""
    last_level_bytes: int
    """Size of the last cache."""
    versions: dict[str, str]
    """Versions of everything that computes."""
    commit: str
    """Commit of the checkout."""


class Time(Model):
    """Median and spread in microseconds a call."""

    median: float
    """Half of the samples took no longer."""
    low: float
    """10th percentile."""
    high: float
    """90th percentile."""
    samples: int
    """How many were taken."""
    calls: int
    """Calls a sample is the mean of."""

    @classmethod
    def of(cls, timing: Timing) -> Time:
        """The record of a measurement."""
        return cls(median=timing.median, low=timing.low, high=timing.high, samples=timing.samples, calls=timing.calls)


class RivalTime(Model):
    """Another implementation of the same work, in the same run."""

    name: str
    """Which."""
    time: Time
    """Its time."""
    ratio: float
    """Its median over the shipped implementation's: above 1 the shipped one is faster."""


class BenchRecord(Model):
    """One bench, measured or found wrong."""

    kind: Literal["bench"] = "bench"
    """Discriminator of the line."""
    schema_version: int = SCHEMA_VERSION
    """Version of this schema."""
    run_id: str
    """The run that measured."""
    op: str
    """Operation."""
    name: str
    """Name of the shape."""
    shape: dict[str, int | str] = Field(default_factory=dict)
    """The shape in words."""
    status: BenchStatus
    """Whether there is a time to trust."""
    reason: str = ""
    """One sentence: why there is none."""
    checks: tuple[Check, ...] = ()
    """The gates of the shipped implementation's verification."""
    time: Time | None = None
    """Device time of the shipped implementation."""
    host: Time | None = None
    """Host time of one launch."""
    bytes_read: int = 0
    """Least bytes read."""
    bytes_written: int = 0
    """Least bytes written."""
    flops: int = 0
    """Operations of the matrix products."""
    copy_share: float | None = None
    """Bytes over time, over the copy bandwidth measured in this run."""
    matrix_share: float | None = None
    """Operations over time, over the matrix rate measured in this run."""
    reference: float | None = None
    """Microseconds of somebody else's implementation."""
    reference_of: str = ""
    """Whose, and on which device."""
    reference_ratio: float | None = None
    """Reference over this time, on the same kind of device only: above 1 the shipped implementation is faster."""
    rivals: tuple[RivalTime, ...] = ()
    """Other implementations in the same run."""
    device: str = ""
    """Device that executed."""
    commit: str = ""
    """Commit of the checkout."""

    @property
    def id(self) -> str:
        """`op:name`."""
        return f"{self.op}:{self.name}"


class CostRecord(Model):
    """What one case costs as machine code, counted."""

    kind: Literal["cost"] = "cost"
    """Discriminator of the line."""
    schema_version: int = SCHEMA_VERSION
    """Version of this schema."""
    case: str
    """Case id."""
    op: str
    """Operation."""
    arch: str
    """Chip whose code was run."""
    provider: str
    """Whose implementation."""
    fault: str | None = None
    """Injected fault, if any."""
    status: Literal["counted", "wrong"]
    """`wrong`: the outputs did not pass their gates, or nothing ran."""
    reason: str = ""
    """One sentence: why there are no counts."""
    kernels: tuple[str, ...] = ()
    """What was launched, in order."""
    counts: dict[str, int] = Field(default_factory=dict)
    """Totals by name; what is not there is 0."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Versions of everything that compiles and computes."""
    commit: str = ""
    """Commit of the checkout."""


Record = MachineRecord | BenchRecord | CostRecord
Line = Annotated[Record, Field(discriminator="kind")]
_LINE: TypeAdapter[Record] = TypeAdapter(Line)


def append(path: Path, record: Record) -> None:
    """Add one line and force it to disk; ResultsError when the file cannot be written."""
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with path.open("a", encoding="utf-8") as file:
            file.write(record.model_dump_json() + "\n")
            file.flush()
            os.fsync(file.fileno())
    except OSError as error:
        raise ResultsError(f"cannot write {path}: {error.strerror}; choose another --out") from error


def read(path: Path) -> Iterator[Record]:
    """All records of a file; a last line that a kill cut short is left out. ResultsError for any other bad line."""
    if not path.exists():
        return
    lines = path.read_text(encoding="utf-8").split("\n")
    for number, line in enumerate(lines, start=1):
        if not line:
            continue
        try:
            yield _LINE.validate_json(line)
        except ValidationError as error:
            if number == len(lines):
                return
            raise ResultsError(f"line {number} of {path} is no bench record; choose another --out") from error
