"""What a bench is, and the registry of benches that the suites declare."""

from __future__ import annotations

import difflib
import importlib
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, TypeAlias

import torch

from rocassay.harness.arch import Target
from rocassay.harness.errors import RocassayError
from rocassay.harness.gates.verdict import Verdict

BENCHES = "rocassay.suites.bench"
"""Package whose modules declare the shipped benches."""

SHIPPED = "shipped"
"""Name of the implementation that a bench is about; every other one is a rival."""

Arguments: TypeAlias = "dict[str, Any]"
"""One set of operands by name: tensors on the device, inputs and outputs alike."""

Call: TypeAlias = "Callable[[Arguments], object]"
"""Launches an implementation on a set of operands."""

Dot = Literal["", "bf16", "fp8"]
"""Measured matrix rate that a bench's operations are compared with; fp16 products run at the rate of bf16."""


class BenchError(RocassayError):
    """A bench cannot be declared, found or run."""


@dataclass(frozen=True, slots=True)
class Place:
    """Where a bench runs, and whose decisions it takes there."""

    device: torch.device
    """The device."""
    target: Target
    """What launchers decide by."""
    fp8: str
    """FP8 format of the caches: the platform's."""
    last_level_bytes: int
    """Size of the last cache before device memory; operands rotate through twice as much."""


@dataclass(frozen=True, slots=True)
class Traffic:
    """The least that an implementation must do, counted from shapes alone."""

    read: int
    """Bytes of every input element that is needed, once."""
    written: int
    """Bytes of every output element, once."""
    flops: int = 0
    """Floating-point operations of the matrix products, two a multiply-add, without padding."""
    dot: Dot = ""
    """Which matrix rate they are compared with."""

    @property
    def moved(self) -> int:
        """Bytes read and written."""
        return self.read + self.written


@dataclass(frozen=True, slots=True)
class Reference:
    """What somebody else's implementation takes for the same work."""

    microseconds: float
    """Median time."""
    what: str
    """Whose."""
    device: str
    """On which device, as a part of the name that torch gives it."""


Judge: TypeAlias = "Callable[[Place, Arguments], Sequence[Verdict]]"
"""Judges the outputs, or a sample of them, after a launch."""


def _no_shape() -> dict[str, int | str]:
    return {}


def _no_judges() -> dict[str, Judge]:
    return {}


@dataclass(frozen=True, slots=True)
class Bench:
    """One op at one shape: operands, implementations, the verification, and what the work costs at least."""

    op: str
    """The op's name."""
    name: str
    """Name of the shape, unique within the op."""
    traffic: Traffic
    """Least work."""
    make: Callable[[Place, int], Sequence[Arguments]]
    """(place, count) -> count sets of operands that share no memory worth caching; random, never zeros."""
    implementations: Callable[[Place], Mapping[str, Call]]
    """Implementation name -> its launch; `SHIPPED` first."""
    outputs: tuple[str, ...]
    """Operands that are poisoned before the verification."""
    check: Judge
    """Judges the outputs, or a sample of them, after a launch."""
    shape: Mapping[str, int | str] = field(default_factory=_no_shape)
    """The shape in words, for readers."""
    reference: Reference | None = None
    """A time to beat."""
    rival_checks: Mapping[str, Judge] = field(default_factory=_no_judges)
    """Judges of rivals that round elsewhere or compute from other operands; the rest share `check`."""

    @property
    def id(self) -> str:
        """`op:name`."""
        return f"{self.op}:{self.name}"


_REGISTRY: dict[str, Bench] = {}


def register(bench: Bench) -> Bench:
    """Add a bench; BenchError when its id is taken."""
    if bench.id in _REGISTRY:
        raise BenchError(f"bench {bench.id!r} is registered twice")
    _REGISTRY[bench.id] = bench
    return bench


def discover() -> tuple[Bench, ...]:
    """Import every module that declares benches and return the registry in order of declaration."""
    package = importlib.import_module(BENCHES)
    for module in pkgutil.iter_modules(package.__path__, prefix=f"{BENCHES}."):
        importlib.import_module(module.name)
    return tuple(_REGISTRY.values())


def select(benches: Iterable[Bench], ops: Sequence[str] = (), words: Sequence[str] = ()) -> list[Bench]:
    """Benches of these ops whose id contains every word; BenchError when an op or the whole selection is unknown."""
    known = list(benches)
    names = {bench.op for bench in known}
    for op in ops:
        if op not in names:
            near = difflib.get_close_matches(op, names, n=3) or sorted(names)
            raise BenchError(f"no bench is of op {op!r}; there are benches of {', '.join(near)}")
    chosen = [b for b in known if (not ops or b.op in ops) and all(word in b.id for word in words)]
    if not chosen:
        said = ", ".join(map(repr, words)) or "the filters"
        raise BenchError(f"no bench matches {said}; `rocassay bench --list` shows what there is")
    return chosen
