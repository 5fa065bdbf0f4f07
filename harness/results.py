"""The record schema of `results.jsonl` and the file that holds it: appended line by line, safe against a kill.

A file is a sequence of lines, each one JSON object with a `kind`: `run` (what was asked for and what was
expected), `case` (one verdict) and `end` (the run finished). Every report is a pure function of these lines.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import Annotated, Literal, Union

from pydantic import BaseModel, ConfigDict, Field, TypeAdapter, ValidationError

from rocassay.harness.errors import RocassayError

SCHEMA_VERSION = 1
"""Raised whenever a reader of the old schema could misread a new file."""


class ResultsError(RocassayError):
    """The results file cannot be read or written."""


class Status(str, Enum):
    """What is known of a case; never inferred from silence."""

    PASSED = "passed"
    FAILED = "failed"
    BLIND = "blind"
    INVALID = "invalid"
    CRASHED = "crashed"
    TIMED_OUT = "timed out"
    NOT_RUN = "not run"
    KNOWN = "known"


RAN = frozenset({Status.PASSED, Status.FAILED, Status.BLIND, Status.INVALID, Status.KNOWN})
"""Statuses of a case whose implementation was executed to its end."""

GREEN = frozenset({Status.PASSED, Status.KNOWN})
"""Statuses that do not turn a verdict red by themselves."""


class Model(BaseModel):
    """Common settings: closed, immutable, documented by attribute docstrings."""

    model_config = ConfigDict(extra="forbid", frozen=True, use_attribute_docstrings=True, ser_json_inf_nan="strings")


class Coordinate(Model):
    """Where a result is first wrong, in storage terms."""

    output: str
    """Name of the output tensor."""
    index: tuple[int, ...]
    """Index of the element in that tensor."""
    block: int | None = None
    """Cache block (page) that holds the data concerned."""
    token: int | None = None
    """Token within the block."""
    byte: int | None = None
    """Byte within the token's record; 0 when the whole record is concerned."""
    offset: int | None = None
    """Byte offset from the start of the block where the layout in force stores that byte."""
    where: dict[str, int] = Field(default_factory=dict)
    """Further names for the place: row, column, head, dimension, request."""

    def __str__(self) -> str:
        storage = [f"{n}={v}" for n in ("block", "token", "byte") if (v := getattr(self, n)) is not None]
        if self.offset is not None:
            storage.append(f"page offset={self.offset}")
        storage += [f"{name}={value}" for name, value in self.where.items()]
        return f"{self.output}{list(self.index)} ({', '.join(storage) or 'no storage coordinate'})"


class Check(Model):
    """One gate or probe and what it said."""

    name: str
    """Name of the gate or probe, e.g. `bytes`, `whitened`, `canary`."""
    kind: Literal["gate", "probe"]
    """A gate judges an output; a probe checks a property around the run."""
    passed: bool
    """Whether the property holds."""
    applicable: bool = True
    """False where the property could not be checked here; then `detail` says why, and `passed` means nothing."""
    statistic: float | None = None
    """The number that was judged, where there is one."""
    limit: float | None = None
    """What the statistic may reach."""
    reason: str = ""
    """Why the limit is that."""
    detail: str = ""
    """What was seen, in words."""
    coordinate: Coordinate | None = None
    """First wrong place."""
    metrics: dict[str, float] = Field(default_factory=dict)
    """Recorded, not judged."""


class CaseRecord(Model):
    """One line per case and implementation."""

    kind: Literal["case"] = "case"
    """Discriminator of the line."""
    schema_version: int = SCHEMA_VERSION
    """Version of this schema."""
    run_id: str
    """The run that made the record."""
    case: str
    """Case id; parses back into the case on any machine."""
    op: str
    """Operation."""
    arch: str
    """gfx architecture whose decisions were taken."""
    fp8: str
    """FP8 flavour of the bytes."""
    block_size: int
    """Tokens per cache page."""
    params: dict[str, int | str]
    """Further axes of the case."""
    recipe: str
    """How the inputs were drawn."""
    seed: int
    """Seed of the inputs."""
    provider: str
    """Whose implementation was judged."""
    engine: str
    """What executed it."""
    tier: str
    """quick, full or nightly."""
    fault: str | None = None
    """Injected defect; then a red verdict is the wanted one."""
    status: Status
    """The verdict."""
    reason: str = ""
    """One sentence: why the status is that."""
    checks: tuple[Check, ...] = ()
    """Every gate and probe."""
    first_wrong: Coordinate | None = None
    """The worst news, in storage terms."""
    timings: dict[str, float] = Field(default_factory=dict)
    """Seconds per phase: inputs, golden, run, judge."""
    counts: dict[str, int] = Field(default_factory=dict)
    """Launches, program instances, elements judged."""
    launches: tuple[str, ...] = ()
    """Kernels launched, in order."""
    digest: str = ""
    """Digest of the inputs: equal on every machine for equal case ids."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Versions of everything that computed."""
    device: str = ""
    """Device that executed."""
    commit: str = ""
    """Commit of the checkout, with `+` when it had changes; empty outside a checkout."""
    repro: str = ""
    """Command that runs this case again."""

    @property
    def key(self) -> tuple[str, str, str, str | None]:
        """Identity of the work: case, provider, engine, fault."""
        return (self.case, self.provider, self.engine, self.fault)


class Cell(Model):
    """One cell of the expected-to-run matrix."""

    op: str
    """Operation."""
    arch: str
    """gfx architecture."""
    fp8: str
    """FP8 flavour."""
    block_size: int
    """Tokens per cache page."""
    engine: str
    """Engine that has to execute it."""


class RunHeader(Model):
    """First line of a run: what was asked for."""

    kind: Literal["run"] = "run"
    """Discriminator of the line."""
    schema_version: int = SCHEMA_VERSION
    """Version of this schema."""
    run_id: str
    """Identifies the run; a resumed run keeps it."""
    started: str
    """UTC, ISO 8601."""
    command: str
    """Command line."""
    tier: str
    """quick, full or nightly."""
    provider: str
    """Whose implementation is judged."""
    engine: str
    """What executes it."""
    expected: tuple[Cell, ...] = ()
    """Cells in which at least one case must run to its end."""
    planned: int = 0
    """Cases that were collected for this run, without drills."""
    drills: tuple[str, ...] = ()
    """Faults whose drill must go red in this run."""
    resumed: bool = False
    """Whether records of an earlier, interrupted part precede this line."""
    versions: dict[str, str] = Field(default_factory=dict)
    """Versions of everything that computes."""
    device: str = ""
    """Device that executes."""
    commit: str = ""
    """Commit of the checkout."""


class RunEnd(Model):
    """Last line of a run that was not killed."""

    kind: Literal["end"] = "end"
    """Discriminator of the line."""
    schema_version: int = SCHEMA_VERSION
    """Version of this schema."""
    run_id: str
    """The run that ended."""
    finished: str
    """UTC, ISO 8601."""
    seconds: float
    """Wall time of the run."""
    interrupted: bool = False
    """Stopped by the user before all planned cases ran."""
    peak_bytes: int = 0
    """Largest resident size of each process that judged cases, summed; 0 where it is not known."""
    processes: int = 0
    """How many processes judged cases, those that died and were replaced among them."""


class _Versioned(BaseModel):
    """The one field that a line of any version has."""

    schema_version: int


Line = Annotated[Union[RunHeader, CaseRecord, RunEnd], Field(discriminator="kind")]  # noqa: UP007
_LINE: TypeAdapter[RunHeader | CaseRecord | RunEnd] = TypeAdapter(Line)


class ResultsWriter:
    """Appends lines to one file; a line is on the file as soon as `append` returns."""

    def __init__(self, path: Path) -> None:
        self.path = path
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise ResultsError(f"cannot open {path}: {error.strerror}; choose another --out") from error
        self.lines = 0

    def append(self, line: RunHeader | CaseRecord | RunEnd) -> None:
        """Write one whole line or, when the disk refuses, nothing of it.

        Raises ResultsError when the file cannot take the line; all earlier lines stay intact.
        """
        data = (line.model_dump_json(exclude_defaults=False) + "\n").encode()
        size = os.fstat(self._fd).st_size
        try:
            _write_all(self._fd, data)
        except OSError as error:
            self._cut_back(size)
            raise ResultsError(
                f"cannot append to {self.path}: {error.strerror}; the {self.lines} records of this run are safe, "
                "free some space and continue with `rocassay run --resume`"
            ) from error
        self.lines += 1

    def _cut_back(self, size: int) -> None:
        try:
            os.ftruncate(self._fd, size)
        except OSError:  # a device such as a pipe cannot be cut; the reader reports the torn line
            return

    def close(self) -> None:
        """Close the file; further appends are an error."""
        os.close(self._fd)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


@dataclass(slots=True)
class Assay:
    """What one results file holds."""

    path: Path
    headers: list[RunHeader] = field(default_factory=list[RunHeader])
    records: list[CaseRecord] = field(default_factory=list[CaseRecord])
    ends: list[RunEnd] = field(default_factory=list[RunEnd])
    problems: list[str] = field(default_factory=list[str])
    """Lines that could not be read, each in one sentence; any of them makes the verdict red."""

    @property
    def ended(self) -> bool:
        """Whether the last run in the file came to its own end."""
        if not self.headers or not self.ends:
            return not self.headers
        last = self.ends[-1]
        return not last.interrupted and last.finished >= self.headers[-1].started

    @property
    def cases(self) -> list[CaseRecord]:
        """Records without an injected fault."""
        return [record for record in self.records if record.fault is None]

    @property
    def drills(self) -> list[CaseRecord]:
        """Records with an injected fault."""
        return [record for record in self.records if record.fault is not None]

    def missing_cells(self) -> list[Cell]:
        """Expected cells in which no case ran to its end."""
        ran = {(r.op, r.arch, r.fp8, r.block_size, r.engine) for r in self.cases if r.status in RAN}
        expected = dict.fromkeys(cell for header in self.headers for cell in header.expected)
        return [c for c in expected if (c.op, c.arch, c.fp8, c.block_size, c.engine) not in ran]

    def unrecorded(self) -> int:
        """Planned cases that left no record (0 unless the run was cut short)."""
        planned = max((header.planned for header in self.headers), default=0)
        return max(0, planned - len(self.cases))

    def undrilled(self) -> list[str]:
        """Faults whose drill was asked for and that no record shows red."""
        asked = dict.fromkeys(name for header in self.headers for name in header.drills)
        red = {record.fault for record in self.drills if record.status is Status.FAILED}
        return [name for name in asked if name not in red]

    def _may_be_absent(self, record: CaseRecord) -> bool:
        """Whether the record was not run and the matrix does not ask for it."""
        cell = Cell(op=record.op, arch=record.arch, fp8=record.fp8, block_size=record.block_size, engine=record.engine)
        return record.status is Status.NOT_RUN and not any(cell in header.expected for header in self.headers)

    def red_reasons(self) -> list[str]:
        """Every reason, in words, for which the verdict is red; empty means green."""
        reasons = list(self.problems)
        red = [record for record in self.cases if record.status not in GREEN and not self._may_be_absent(record)]
        blind = [record for record in self.drills if record.status is not Status.FAILED]
        missing, cut, undrilled = self.missing_cells(), self.unrecorded(), self.undrilled()
        if all(record.status is Status.NOT_RUN for record in self.records):
            reasons.append("no case ran")
        if red:
            reasons.append(f"{len(red)} of {len(self.cases)} cases are not green")
        if missing:
            reasons.append(f"{len(missing)} cells of the expected-to-run matrix did not run")
        if cut:
            reasons.append(f"{cut} planned cases left no record: the run was cut short")
        if not self.ended:
            reasons.append("the run did not come to its end; `rocassay run --resume` completes it")
        if blind:
            reasons.append(f"{len(blind)} drill cases did not go red")
        if undrilled:
            reasons.append(f"faults without a red drill: {', '.join(undrilled)}")
        return reasons


def read(path: Path) -> Assay:
    """Read a results file; unreadable lines become `problems`, whole lines are never dropped.

    Raises ResultsError when the file does not exist or holds no readable line at all.
    """
    try:
        data = path.read_bytes()
    except OSError as error:
        raise ResultsError(f"cannot read {path}: {error.strerror}; run `rocassay run` first") from error
    assay = Assay(path)
    for number, raw in enumerate(data.splitlines(keepends=True), start=1):
        _take_line(assay, number, raw)
    if not (assay.headers or assay.records):
        first = assay.problems[0] if assay.problems else "it is empty"
        raise ResultsError(f"{path} holds no record: {first}; run `rocassay run` again")
    assay.records = list({record.key: record for record in assay.records}.values())
    return assay


def _take_line(assay: Assay, number: int, raw: bytes) -> None:
    if not raw.endswith(b"\n"):
        assay.problems.append(
            f"{assay.path}: line {number} is cut off after {len(raw)} bytes (the run was killed while writing?); "
            f"{len(assay.records)} records before it are intact, `rocassay run --resume` completes the run"
        )
        return
    try:
        line = _LINE.validate_json(raw)
    except ValidationError as error:
        assay.problems.append(f"{assay.path}: line {number} {_why_unreadable(raw, error)}")
        return
    if line.schema_version != SCHEMA_VERSION:
        assay.problems.append(f"{assay.path}: line {number} {_foreign(line.schema_version)}")
    elif isinstance(line, RunHeader):
        assay.headers.append(line)
    elif isinstance(line, RunEnd):
        assay.ends.append(line)
    else:
        assay.records.append(line)


def _why_unreadable(raw: bytes, error: ValidationError) -> str:
    """The schema version if it is another one, since then every further complaint only follows from it."""
    try:
        version = _Versioned.model_validate_json(raw).schema_version
    except ValidationError:
        version = SCHEMA_VERSION
    return f"is not a record: {_first_error(error)}" if version == SCHEMA_VERSION else _foreign(version)


def _foreign(version: int) -> str:
    return f"has schema version {version}, this rocassay reads {SCHEMA_VERSION}"


def _first_error(error: ValidationError) -> str:
    first = error.errors()[0]
    place = ".".join(str(part) for part in first["loc"])
    return f"{place}: {first['msg']}" if place else str(first["msg"])


def set_aside_cut_tail(path: Path) -> Path | None:
    """Move a torn last line into `<name>.cut`, so that appending starts on a fresh line; None if there is none."""
    if not path.exists():
        return None
    data = path.read_bytes()
    if not data or data.endswith(b"\n"):
        return None
    keep = data.rfind(b"\n") + 1
    aside = path.with_name(path.name + ".cut")
    with aside.open("ab") as stream:
        stream.write(data[keep:] + b"\n")
    with path.open("rb+") as stream:
        stream.truncate(keep)
    return aside


def finished_keys(assay: Assay) -> Iterator[tuple[str, str, str, str | None]]:
    """Keys of the work a resumed run need not repeat: everything that ran to its end."""
    return (record.key for record in assay.records if record.status in RAN)


def json_schema() -> str:
    """JSON schema of a line, for programs that read the file without this package."""
    return json.dumps(_LINE.json_schema(), indent=2)


def summary(records: Iterable[CaseRecord]) -> dict[Status, int]:
    """Records per status, in the order of `Status`, without zeros."""
    counts = dict.fromkeys(Status, 0)
    for record in records:
        counts[record.status] += 1
    return {status: count for status, count in counts.items() if count}
