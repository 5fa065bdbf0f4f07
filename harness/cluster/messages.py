"""What the driver of a run, the workers on its nodes and their judging processes tell each other."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, TypeAlias

from rocassay.harness.options import Options
from rocassay.harness.results import Status
from rocassay.harness.sharding import Item

if TYPE_CHECKING:
    from rocassay.harness.calibration.judging import TightenedLimits


@dataclass(frozen=True, slots=True)
class Job:
    """What every worker of a run is told before its first case."""

    options: Options
    """Provider, engine, tier and limits of the judge; without files, which lie on the driver's machine only."""
    limits: TightenedLimits | None
    """Limits of a calibration."""


@dataclass(frozen=True, slots=True)
class Greeting:
    """What a judging process is made of."""

    versions: dict[str, str]
    commit: str
    device: str
    process: str
    """Host and process id: no other process of the cluster has these."""


@dataclass(frozen=True, slots=True)
class Judged:
    """A verdict."""

    item: Item
    record: str
    """The record as JSON, as the results file holds it."""
    resident: int
    """Bytes that the process ever had resident."""


@dataclass(frozen=True, slots=True)
class Died:
    """A piece of work took its process along; the worker has another one."""

    item: Item
    status: Status
    reason: str


Told: TypeAlias = Greeting | Judged | Died
