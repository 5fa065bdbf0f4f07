"""Host-sync probe: an implementation never waits for the device to learn a value.

An engine without a device cannot be stalled, so what is watched is what would stall one: torch calls whose result
depends on values in device memory (tagged so by torch itself), reads of a tensor from Python, and blocking copies
between host and device. On a device torch itself is asked, too: its sync debug mode knows of waits inside a call.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportMissingTypeArgument=false
from __future__ import annotations

import contextlib
import linecache
import re
import warnings
from collections.abc import Generator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch
from torch.overrides import TorchFunctionMode

from rocassay.harness.gates.verdict import Verdict
from rocassay.harness.probes.callers import origin, place
from rocassay.harness.probes.probe import Observation
from rocassay.harness.probes.watching import Watch

_TENSOR: Any = torch.Tensor

_READS = {getattr(_TENSOR, name): f"Tensor.{name}" for name in ("cpu", "numpy", "tolist", "__array__")}
"""Calls that the dispatcher never sees where the tensor is on the CPU anyway."""

_BY_MASK = frozenset({"index", "index_put", "index_put_", "_index_put_impl_"})
"""Indexing counts a boolean mask's true elements first, and only then."""

_OTHERS_DEVICE = re.compile(r"\bto\((?:device=)?(?!torch\.)\w+\.device\b")
"""How a launcher moves a tensor to where another one lies."""

_COPIES = frozenset({"_to_copy", "copy_"})

_DEBUG_WARNING = "called a synchronizing CUDA operation"
"""What torch says in its sync debug mode (c10/cuda/CUDAFunctions.cpp: warn_or_error_on_sync)."""

_EXPLICIT: tuple[tuple[Any, str], ...] = (
    (torch.cuda, "synchronize"),
    (torch.cuda.Stream, "synchronize"),
    (torch.cuda.Event, "synchronize"),
)
"""Waits that are asked for by name, which neither the dispatcher nor the debug mode sees."""


_ACTIVE: list[list[str]] = []
"""Findings of the watches that are open."""


@contextlib.contextmanager
def watched(device: torch.device, syncs: list[str]) -> Generator[None, None, None]:
    """While open, whatever would make the host wait for `device` is appended to `syncs` as "what at file:line"."""
    _ACTIVE.append(syncs)
    try:
        with _asked_for(device, syncs), _debug_mode(device, syncs), _Spoken(syncs), _Dispatched(device, syncs):
            yield
    finally:
        _ACTIVE.pop()


@contextlib.contextmanager
def known_on_the_host() -> Generator[None, None, None]:
    """While open, nothing is a finding: what is read is what the caller of an implementation has on the host, too."""
    before = [(syncs, len(syncs)) for syncs in _ACTIVE]
    try:
        yield
    finally:
        for syncs, count in before:
            del syncs[count:]


@contextlib.contextmanager
def _asked_for(device: torch.device, syncs: list[str]) -> Generator[None, None, None]:
    """Replaces the calls that wait by name; without a device there is nothing they could wait for."""

    def instead(owner: Any, name: str, original: Any) -> Any:
        def wait(*args: Any, **keywords: Any) -> Any:
            syncs.append(f"torch.cuda.{'' if owner is torch.cuda else f'{owner.__name__}.'}{name} at {place()}")
            return original(*args, **keywords) if device.type == "cuda" else None

        return wait

    originals = [(owner, name, getattr(owner, name)) for owner, name in _EXPLICIT]
    try:
        for owner, name, original in originals:
            setattr(owner, name, instead(owner, name, original))
        yield
    finally:
        for owner, name, original in originals:
            setattr(owner, name, original)


@contextlib.contextmanager
def _debug_mode(device: torch.device, syncs: list[str]) -> Generator[None, None, None]:
    """Torch's sync debug mode, its warnings taken as findings where the dispatcher saw nothing at that line.

    Warnings and not errors: a wait is then one finding of the launcher, and the result can still be judged.
    """
    if device.type != "cuda":
        yield
        return
    former = torch.cuda.get_sync_debug_mode()
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", message="Synchronization debug mode is a prototype")
        warnings.filterwarnings("always", message=_DEBUG_WARNING)
        show = warnings.showwarning

        def note(message: Any, *rest: Any, **more: Any) -> None:
            if _DEBUG_WARNING not in str(message):
                show(message, *rest, **more)
            elif not any(sync.endswith(f" at {place()}") for sync in syncs):
                syncs.append(f"a wait inside torch at {place()}")

        warnings.showwarning = note
        torch.cuda.set_sync_debug_mode("warn")
        try:
            yield
        finally:
            torch.cuda.set_sync_debug_mode(former)


class _Spoken(TorchFunctionMode):
    """Sees calls as Python makes them."""

    def __init__(self, syncs: list[str]) -> None:
        super().__init__()
        self._syncs = syncs

    def __torch_function__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        name = _READS.get(func)
        if func is _TENSOR.to and _names_the_cpu([*args[1:], *(kwargs or {}).values()]) and not _of_a_tensor():
            name = "Tensor.to the CPU"
        if name:
            self._syncs.append(f"{name} at {place()}")
        return func(*args, **(kwargs or {}))


def _of_a_tensor() -> bool:
    """Whether the device is taken from a tensor, and so is the CPU only where there is no other: `x.to(y.device)`."""
    file, line = origin()
    return _OTHERS_DEVICE.search(linecache.getline(file, line)) is not None


def _names_the_cpu(values: Sequence[Any]) -> bool:
    return any(value == "cpu" if isinstance(value, str) else value == torch.device("cpu") for value in values)


class _Dispatched(Watch):
    """Sees what calls turn into."""

    def __init__(self, device: torch.device, syncs: list[str]) -> None:
        super().__init__()
        self._kind = device.type
        self._syncs = syncs

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        keywords = kwargs or {}
        tensors = [value for value in (*args, *keywords.values()) if isinstance(value, torch.Tensor)]
        mine = any(tensor.device.type == self._kind for tensor in tensors)
        if mine and (_needs_values(func, args, keywords) or _blocking_copy(func, args, keywords)):
            self._syncs.append(f"{func} at {place()}")
        return func(*args, **keywords)


def _needs_values(func: Any, args: Sequence[Any], keywords: Mapping[str, Any]) -> bool:
    name = func.overloadpacket.__name__
    if name in _BY_MASK:
        masks = [i for i in args[1] if i is not None and i.dtype in (torch.bool, torch.uint8)]
        # One value for every masked element is a masked fill, which counts nothing.
        return bool(masks) and (name == "index" or args[2].numel() > 1)
    if name == "repeat_interleave" and keywords.get("output_size") is not None:
        return False
    return torch.Tag.data_dependent_output in func.tags or torch.Tag.dynamic_output_shape in func.tags


def _blocking_copy(func: Any, args: Sequence[Any], keywords: Mapping[str, Any]) -> bool:
    name = func.overloadpacket.__name__
    if name not in _COPIES or keywords.get("non_blocking"):
        return False
    if name == "copy_":
        asynchronous = len(args) > 2 and args[2]
        return not asynchronous and args[0].device.type != args[1].device.type
    target = keywords.get("device")
    return target is not None and torch.device(target).type != args[0].device.type


@dataclass(frozen=True, slots=True)
class HostSync:
    """No host synchronisation between an op's call and its return."""

    name: str = "host-sync"
    reruns: bool = False

    def check(self, seen: Observation) -> Verdict:
        """Red with the first call that waits, and where it is made."""
        reason = "a value fetched from the device stalls it at every decode step and cannot be captured in a graph"
        if seen.provider == "torch":
            return Verdict(self.name, True, "the peer is a yardstick, not a kernel", reason=reason)
        syncs = seen.trace.syncs
        detail = f"{len(syncs)} host synchronisations, the first: {syncs[0]}" if syncs else "the host never waits"
        return Verdict(self.name, not syncs, detail, float(len(syncs)), 0.0, reason)
