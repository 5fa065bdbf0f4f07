"""A package as `rocassay gsm8k` expects the embedded model's to be: a build that a test tells what to answer."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from rocassay.harness.accuracy.evaluating import Rules, Subject
from rocassay.harness.accuracy.outcomes import Run
from rocassay.suites.accuracy import nightly

FEW = 32
BUILDS: list[nightly.Build] = []
"""What answers, one an evaluation; a test fills it."""


@dataclass(frozen=True)
class Setting:
    """What the command line names."""

    arch: str
    fp8: str
    block_size: int
    provider: str
    engine: str
    faults: tuple[str, ...]


@dataclass(frozen=True)
class Drill:
    """Defects injected together."""

    faults: tuple[str, ...]
    arch: str = "gfx950"
    fp8: str = "e4m3fn"
    block_size: int = 1


DRILLS = (Drill(("idx-shuffle-at-bs1",)), Drill(("rope-not-inplace-fast-path",)))


def task(shots: int) -> object:
    """Additions."""
    return nightly.TASK


def rules(limit: int, *, stop: bool = True, order_seed: int = 0) -> Rules:
    """A floor that a collapse breaks."""
    return Rules(floor=0.8, limit=limit, order_seed=order_seed)


def embedded(setting: Setting, workers: int = 0) -> tuple[Any, Subject]:
    """The next build."""
    build = BUILDS.pop(0)
    build.__dict__["close"] = lambda: None
    facts = {name: getattr(setting, name) for name in ("arch", "fp8", "block_size", "provider", "engine", "faults")}
    return build, Subject(model="toy", **facts)


def baseline(fingerprint: object) -> Sequence[Run]:
    """None is shipped."""
    return ()
