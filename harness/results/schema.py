"""The record schema: what one line of `results.jsonl` says of a run of kernel cases."""

from __future__ import annotations

from enum import Enum
from typing import Literal

from pydantic import BaseModel, ConfigDict, Field

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


class Axis(Model):
    """One axis of a picture, in elements of what it counts."""

    name: str
    """What it counts, e.g. `token`, `byte`, `token x head`."""
    extent: int
    """Elements of the whole axis."""
    start: int = 0
    """First element that is shown."""
    step: int = 1
    """Elements that share a cell; a power of 2, so that pages and tiles stay aligned."""
    group: int = 0
    """Elements from one boundary to the next, counted from element 0; 0 where there is none."""
    group_name: str = ""
    """What lies between boundaries, e.g. `page`."""
    tile: int = 0
    """Elements from one tile of the layout to the next, counted from the start of a group; 0: it is not tiled."""


class Picture(Model):
    """Small map of where an output is wrong, and how much."""

    output: str
    """Name of the output tensor."""
    measure: str
    """What a level says, in words."""
    rows: Axis
    """From top to bottom."""
    columns: Axis
    """From left to right."""
    levels: tuple[float, ...]
    """Largest value of each level, in ascending order; a value beyond the last has a level of its own."""
    limit: float
    """Values above it are wrong."""
    cells: tuple[str, ...]
    """A string per row of cells: `.` is 0, `a` the first level and so on, `!` no finite value, `-` nothing judged.

    A number before a character repeats it: `12.3ab` has 16 cells.
    """
    worst: float | None
    """Value of the worst cell; None where it is not finite."""
    worst_cell: tuple[int, int]
    """Row and column of that cell, from 0."""


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
    source: str = ""
    """File or module, and function, that implements it, where the provider says."""
    offered: bool = True
    """Whether the provider claims to run the case at all; one that it does not offer is `not run`, and nothing expects
    it."""
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
    customary: dict[str, float] = Field(default_factory=dict)
    """What other projects' rules say of floating-point outputs, in units of their limits: above 1 they would have
    failed the case. Recorded for comparison, not judged."""
    first_wrong: Coordinate | None = None
    """The worst news, in storage terms."""
    picture: Picture | None = None
    """Where the output of the first failed gate is wrong; None when every gate holds."""
    timings: dict[str, float] = Field(default_factory=dict)
    """Seconds per phase: inputs, golden, run, judge."""
    counts: dict[str, int] = Field(default_factory=dict)
    """Launches, program instances, elements judged."""
    launches: tuple[str, ...] = ()
    """Kernels launched, in order."""
    codes: dict[str, str] = Field(default_factory=dict)
    """Digest of the machine code of each kernel that was launched, where the engine runs machine code; a kernel that
    was launched in several specialisations has one digest of all. Under one engine equal digests mean equal code."""
    digest: str = ""
    """Digest of the inputs: equal on every machine for equal case ids."""
    produced: str = ""
    """Digest of the outputs: runs of a case with equal ones gave the same bits; empty where nothing was produced."""
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


class Shard(Model):
    """Which part of a selection a run was given."""

    number: int
    """Which of them, from 1."""
    count: int
    """Into how many the selection was cut."""
    plan: str
    """Digest of which case went where: parts of different plans do not make a whole."""
    selected: int
    """Cases of the whole selection, without drills."""

    def __str__(self) -> str:
        return f"shard {self.number} of {self.count} (plan {self.plan})"


class FalseAlarms(Model):
    """How often the checks of a run are expected to be red although every kernel is healthy, by a calibration."""

    source: str
    """File of the calibration."""
    cases: int
    """Cases of the run of a kind that was calibrated; the others are not counted."""
    a_run: dict[str, float]
    """Expected in this run, by check."""
    runs_per_year: int
    """Such runs in a year."""

    @property
    def total(self) -> float:
        """Expected in this run, of all checks."""
        return sum(self.a_run.values())

    def __str__(self) -> str:
        a_year = self.total * self.runs_per_year
        return (
            f"false alarms to be expected: {self.total:.2g} in a run of these {self.cases} calibrated cases, "
            f"{a_year:.2g} in {self.runs_per_year} of them a year ({self.source})"
        )


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
    tree: str = ""
    """What `--source` named: the distribution, unpacked tree or wheel that holds the implementation."""
    engine: str
    """What executes it."""
    expected: tuple[Cell, ...] = ()
    """Cells in which at least one case must run to its end."""
    planned: int = 0
    """Cases that were collected for this run, without drills."""
    drills: tuple[str, ...] = ()
    """Faults whose drill must go red in this run."""
    power: bool = False
    """Whether every case that applies was drilled: then some may be blind, as long as each fault is seen in one case
    per op and block size."""
    resumed: bool = False
    """Whether records of an earlier, interrupted part precede this line."""
    shard: Shard | None = None
    """The part of the selection that this run was given; None for a whole one."""
    merged: tuple[Shard, ...] = ()
    """The shards whose files were joined into this one; those that are not among them are missing."""
    false_alarms: FalseAlarms | None = None
    """What is expected of healthy kernels; None where no calibration was given."""
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
