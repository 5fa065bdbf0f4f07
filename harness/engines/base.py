"""What an engine is: the thing that executes kernel launches, and what it reports of a session."""

from __future__ import annotations

import importlib
from collections.abc import Callable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, Protocol, TypeAlias, cast, runtime_checkable

from rocassay.harness.engines.launch import Launch
from rocassay.harness.errors import RocassayError

if TYPE_CHECKING:
    import torch

    from rocassay.harness.arch import Target

FindingKind: TypeAlias = Literal[
    "out_of_bounds_read",
    "out_of_bounds_write",
    "suppressed",
    "misaligned",
    "local_race",
    "local_out_of_bounds",
    "missing_wait",
    "write_conflict",
    "read_conflict",
    "uninitialised",
    "divergent_barrier",
]
"""What an engine may find of a launch beside its values.

out_of_bounds_*: an access outside every tensor (atomics count as writes); suppressed: one that the hardware drops in
silence, though the kernel did not mask it; misaligned; local_race: two waves touch local memory in no order;
local_out_of_bounds: an access outside the workgroup's local memory; missing_wait: a register is used before its load
has arrived; write_conflict, read_conflict: two workgroups, or two lanes of one store in the source, touch a byte in no
order; uninitialised: an output depends on what nothing has written; divergent_barrier: not all waves of a workgroup
reach a barrier.
"""

OUT_OF_BOUNDS: frozenset[FindingKind] = frozenset(["out_of_bounds_read", "out_of_bounds_write"])
"""What every engine that watches accesses finds."""


class UnknownEngine(RocassayError, ValueError):
    """The named engine does not exist."""


class EngineUnavailable(RocassayError, RuntimeError):
    """The engine exists, but cannot run on this machine or with this Triton."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that a launch did and that its outputs need not show.

    Attributes:
        kind: what it is.
        kernel: name of the launched kernel.
        tensor: the argument whose bytes are nearest to the first such access, local memory or a register.
        byte_offset: of the first such access, from that tensor's first byte; negative is before it.
        program: (x, y, z) of the first program instance that did it.
        line: line in the kernel's source file, None where the engine does not know it.
        lanes: how many accesses of this kind the launch made at this line near this tensor.
        sentence: the finding in words, where the engine says more than these fields do.
    """

    kind: FindingKind
    kernel: str
    tensor: str
    byte_offset: int
    program: tuple[int, int, int]
    line: int | None
    lanes: int
    sentence: str = ""

    def __str__(self) -> str:
        """Kind, kernel, line and program, then what happened there."""
        line = f" at line {self.line}" if self.line else ""
        where = f"{self.kind.replace('_', ' ')} in {self.kernel}{line}, program {self.program}: "
        return where + (self.sentence or f"byte {self.byte_offset} relative to {self.tensor}, {self.lanes} lanes")


def _no_launches() -> list[Launch]:
    return []


def _no_findings() -> list[Finding]:
    return []


def _nothing() -> list[str]:
    return []


def _no_counts() -> dict[str, int]:
    return {}


def _no_addresses() -> dict[int, int]:
    return {}


def _no_codes() -> dict[str, set[str]]:
    return {}


@dataclass(slots=True)
class Trace:
    """What happened in a session, in order; it grows while the session runs."""

    launches: list[Launch] = field(default_factory=_no_launches)
    findings: list[Finding] = field(default_factory=_no_findings)
    syncs: list[str] = field(default_factory=_nothing)
    """What made the host wait for the device, as "what at file:line"."""
    allocations: list[str] = field(default_factory=_nothing)
    """What took memory or copied a tensor beside the kernels, as "what at file:line"."""
    reads: dict[int, int] | None = None
    """Bytes that kernels loaded, by the address of the tensor's first byte; None: this engine does not count them.

    Every lane that may load counts, a byte that is loaded twice counts twice.
    """
    addresses: dict[int, int] = field(default_factory=_no_addresses)
    """Where kernels of the last launches saw tensors, by the address of the first byte; the others where they are."""
    watched: frozenset[FindingKind] = frozenset()
    """Kinds of findings that this engine looks for."""
    counts: dict[str, int] = field(default_factory=_no_counts)
    """What the launches cost, where the engine counts it: the same on every machine."""
    codes: dict[str, set[str]] = field(default_factory=_no_codes)
    """Digests of the machine code that ran, by name of the kernel, one per specialisation; empty where none ran."""


@runtime_checkable
class Engine(Protocol):
    """Executes kernel launches made within a session."""

    @property
    def name(self) -> str:
        """The name by which `engine` finds it."""
        ...

    @property
    def device(self) -> torch.device:
        """Where tensors that kernels are given must live."""
        ...

    def target(self, arch: str) -> Target:
        """The target that launchers see: decisions of `arch`, abilities of this engine."""
        ...

    def unavailable(self, arch: str, fp8: str) -> str | None:
        """Why cases of `arch` and FP8 format `fp8` cannot run here, in words; None when they can."""
        ...

    def stands_for(self, arch: str) -> bool:
        """Whether cases of `arch` are expected to run on this engine."""
        ...

    def release(self) -> None:
        """Give memory that finished runs cached back to the machine; other workers may need it."""
        ...

    def lost(self) -> str | None:
        """Why nothing can run in this process any more, in words; None while all is well."""
        ...

    def session(self) -> AbstractContextManager[Trace]:
        """While open, launches run on this engine. Raises EngineUnavailable on entry."""
        ...

    def describe(self) -> dict[str, str]:
        """Versions of everything that computes, and the device's name."""
        ...


@runtime_checkable
class CapturesGraphs(Protocol):
    """An engine that can record launches once and repeat them as they were."""

    def captured(self, call: Callable[[], None]) -> Callable[[], None]:
        """The launches of `call`, none of them executed yet, as something that repeats them.

        Within a session. RuntimeError when `call` does what a graph cannot hold, such as waiting for the device.
        """
        ...


_ENGINES: dict[str, str] = {
    "interpreter": "rocassay.harness.engines.interpreter:InterpreterEngine",
    "isa": "rocassay.harness.engines.isa.engine:IsaEngine",
    "device": "rocassay.harness.engines.device:DeviceEngine",
}


ENGINE_NAMES: tuple[str, ...] = tuple(_ENGINES)
"""Engines that exist; whether they can run here is another question."""


def engine(name: str) -> Engine:
    """The engine of that name; imports it on first use.

    Raises UnknownEngine naming the engines that exist. An engine that exists but cannot run here is
    still returned: ask `unavailable`, or let `session` raise EngineUnavailable. Raises EngineUnavailable
    itself when not even the engine's module loads with the installed Triton and torch.
    """
    path = _ENGINES.get(name)
    if path is None:
        raise UnknownEngine(f"there is no engine {name!r}; choose one of {', '.join(sorted(_ENGINES))}")
    module, _, attribute = path.partition(":")
    try:
        found = getattr(importlib.import_module(module), attribute)
    except (ImportError, AttributeError) as error:
        raise EngineUnavailable(
            f"engine {name!r} does not load with the installed Triton and torch ({error}); "
            "`rocassay doctor` names the versions it knows"
        ) from error
    return cast("Engine", found())
