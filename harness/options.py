"""What a run was asked to do; travels from the command line through pytest to every worker."""

from __future__ import annotations

import math
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from rocassay.harness.errors import RocassayError

if TYPE_CHECKING:
    from rocassay.harness.cases import Selection
    from rocassay.harness.ops import Tier

RESULTS = "results.jsonl"
"""Name of the results file in the output folder."""

HISTORY = "history.sqlite"
"""Name of the history of evaluations in the output folder, unless another one is given."""

CASE_TIMEOUT = 300.0
"""Seconds that running and judging a case may take, unless another limit is given: slow ones need a tenth."""

TIER_NAMES = ("quick", "full", "nightly")
SUITE_NAMES = ("kernels", "drills")


def records_in(results: Path) -> Path:
    """The results file that a path names: itself, or the one in the folder that it is or will be."""
    return results / RESULTS if results.is_dir() or not results.suffix else results


class BadOption(RocassayError, ValueError):
    """An option whose value cannot be used."""


@dataclass(frozen=True, slots=True)
class Options:
    """Options of a run, as plain words."""

    ops: tuple[str, ...] = ()
    arches: tuple[str, ...] = ()
    fp8s: tuple[str, ...] = ()
    block_sizes: tuple[int, ...] = ()
    cases: tuple[str, ...] = ()
    faults: tuple[str, ...] = ()
    suites: tuple[str, ...] = SUITE_NAMES
    provider: str = "rocassay"
    source: str = ""
    """Where the provider's code lies: an installed distribution's folder, an unpacked tree or a wheel."""
    engine: str = ""
    tier: str = "quick"
    seed: int | None = None
    seeds: int = 1
    out: Path | None = None
    resume: bool = False
    shard: str = ""
    """`I/N`: only the I-th of N parts of the selection; empty: all of it."""
    case_timeout: float = CASE_TIMEOUT
    """Most seconds that running and judging a case may take; 0 is no limit."""
    case_memory: float | None = None
    """Most GiB that it may take; 0 is no limit, None a worker's share of the machine."""
    durations: str = ""
    """Results file or history whose durations make the parts equally long."""
    power: bool = False
    """Drill every case that applies also in the quick tier."""
    calibration: str = ""
    """File of a calibration whose tightened limits are judged, too."""
    waivers: tuple[str, ...] = ()
    """Files of known failures, beside those that packages of ops bring."""
    ray: str = ""
    """Address of the Ray cluster that judges; empty: this machine does."""

    def checked(self) -> Options:
        """The options with an engine chosen; BadOption names a value that is not known."""
        from rocassay.harness.arch import profile
        from rocassay.harness.fp8 import format_of

        if self.tier not in TIER_NAMES:
            raise BadOption(f"tier {self.tier!r} is unknown; use one of {', '.join(TIER_NAMES)}")
        if unknown := [name for name in self.suites if name not in SUITE_NAMES]:
            raise BadOption(f"suite {unknown[0]!r} is unknown; use {' or '.join(SUITE_NAMES)}")
        if self.seeds < 1:
            raise BadOption(f"{self.seeds} seeds leave nothing to run; use 1 or more")
        for arch in self.arches:
            profile(arch)
        for fp8 in self.fp8s:
            format_of(fp8)
        if any(size < 1 for size in self.block_sizes):
            raise BadOption(f"block size {min(self.block_sizes)} is not a positive number of tokens")
        if self.seed is not None and self.seed < 0:
            raise BadOption(f"seed {self.seed} is negative; a case id holds only seeds from 0 on")
        if not 0 <= self.case_timeout < math.inf:
            raise BadOption(f"{self.case_timeout:g} s is no limit for a case; use a number of seconds, or 0 for none")
        if self.case_memory is not None and not 0 <= self.case_memory < math.inf:
            raise BadOption(f"{self.case_memory:g} GiB is no limit for a case; use a number of GiB, or 0 for none")
        if self.shard:
            from rocassay.harness.sharding import numbers_of

            numbers_of(self.shard)
        elif self.durations and not self.ray:
            raise BadOption("--durations says how to cut a run into shards; pass --shard I/N with it")
        return self

    @property
    def seed_range(self) -> range:
        """Seeds to run every case with; empty means each case's own."""
        first = self.seed or 0
        return range(0) if self.seed is None and self.seeds == 1 else range(first, first + self.seeds)

    @property
    def judges(self) -> bool:
        """Whether healthy cases are to run; naming faults asks for their drills alone."""
        return "kernels" in self.suites and not self.faults

    @property
    def drills(self) -> bool:
        """Whether faults are to be injected."""
        return "drills" in self.suites

    @property
    def whole(self) -> bool:
        """Whether a run judges every case of its tier."""
        filters = (self.ops, self.arches, self.fp8s, self.block_sizes, self.cases, self.shard)
        return self.judges and not any(filters)

    @property
    def tier_name(self) -> Tier:
        """The tier as the registry's type."""
        return next(name for name in ("quick", "full", "nightly") if name == self.tier)

    @property
    def thin(self) -> bool:
        """Whether one case per fault, op and block size is drilled and must see it; else all are, and one must."""
        return self.tier == "quick" and not self.power and not self.cases

    def selection(self) -> Selection:
        """The filters as a selection of cases."""
        from rocassay.harness.cases import Selection

        return Selection(
            ops=frozenset(self.ops),
            arches=frozenset(self.arches),
            fp8s=frozenset(self.fp8s),
            block_sizes=frozenset(self.block_sizes),
            cases=frozenset(self.cases),
        )

    def arguments(self) -> list[str]:
        """The options as pytest arguments of the plugin."""
        pairs: Iterable[tuple[str, Iterable[object]]] = (
            ("op", self.ops),
            ("arch", self.arches),
            ("fp8", self.fp8s),
            ("block-size", self.block_sizes),
            ("case", self.cases),
            ("fault", self.faults),
            ("suite", self.suites),
            ("provider", [self.provider]),
            ("source", [self.source] if self.source else []),
            ("engine", [self.engine] if self.engine else []),
            ("tier", [self.tier]),
            ("seed", [] if self.seed is None else [self.seed]),
            ("seeds", [self.seeds]),
            ("case-timeout", [self.case_timeout]),
            ("case-memory", [] if self.case_memory is None else [self.case_memory]),
            ("shard", [self.shard] if self.shard else []),
            ("durations", [self.durations] if self.durations else []),
            ("calibration", [self.calibration] if self.calibration else []),
            ("waivers", self.waivers),
            ("out", [] if self.out is None else [self.out]),
        )
        words = [f"--rocassay-{name}={value}" for name, values in pairs for value in values]
        return words + [f"--rocassay-{name}" for name in ("resume", "power") if getattr(self, name)]
