"""Allocation probe: an implementation works in the memory its caller gave it, and copies nothing twice.

A launcher that allocates hides a buffer the caller could have kept across steps, and one that casts or copies its
own result into the output moves every byte once more than the kernel did (vllm-project/vllm#42509 review). What is
watched are torch calls whose result lies in memory that none of their arguments had, and copies between tensors; on
a device also torch's own allocator, which knows of memory that no call returned.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import contextlib
from collections.abc import Generator, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import torch

from rocassay.harness.gates.verdict import Verdict
from rocassay.harness.probes.callers import place
from rocassay.harness.probes.probe import Allowance, Observation
from rocassay.harness.probes.watching import Watch

_COUNTER = "allocation.all.allocated"
"""Key of torch.cuda.memory_stats: blocks handed out since the process began."""

_COPIES = frozenset({"copy_", "_foreach_copy_"})

_FROM_HOST = frozenset({"lift_fresh", "lift_fresh_copy"})
"""How the dispatcher sees torch.tensor and its kin: the memory exists by then."""


@contextlib.contextmanager
def counted(device: torch.device, allocations: list[str]) -> Generator[None, None, None]:
    """While open, every allocation and copy is appended to `allocations` as "what (dtype shape) at file:line"."""
    before = _handed_out(device)
    mode = _Counted(device, allocations)
    with mode:
        yield
    hidden = _handed_out(device) - before - mode.fresh
    allocations.extend(["memory that no torch call returned, in the allocator's books"] * max(0, hidden))


def _handed_out(device: torch.device) -> int:
    return int(torch.cuda.memory_stats(device).get(_COUNTER, 0)) if device.type == "cuda" else 0


class _Counted(Watch):
    def __init__(self, device: torch.device, allocations: list[str]) -> None:
        super().__init__()
        self._kind = device.type
        self._allocations = allocations
        self.fresh = 0
        """Allocations on the watched device, copies aside."""

    def __torch_dispatch__(
        self, func: Any, types: Any, args: Sequence[Any] = (), kwargs: Mapping[str, Any] | None = None
    ) -> Any:
        keywords = kwargs or {}
        given = {_memory(tensor) for tensor in _tensors((*args, *keywords.values()))}
        result = func(*args, **keywords)
        name = func.overloadpacket.__name__
        if name in _COPIES:
            self._note("redundant-cast-copy", func, args[0])
        for tensor in _tensors((result,)):
            if (_memory(tensor) not in given or name in _FROM_HOST) and tensor.numel():
                self.fresh += tensor.device.type == self._kind
                self._note("allocation", func, tensor)
        return result

    def _note(self, kind: str, func: Any, tensor: Any) -> None:
        shape = f" ({str(tensor.dtype).removeprefix('torch.')} {list(tensor.shape)})" if _is_tensor(tensor) else ""
        self._allocations.append(f"{kind} by {func}{shape} at {place()}")


def _is_tensor(value: object) -> bool:
    return isinstance(value, torch.Tensor)


def _memory(tensor: torch.Tensor) -> int:
    return tensor.untyped_storage()._cdata  # pyright: ignore[reportPrivateUsage]


def _tensors(values: Sequence[Any]) -> Iterator[torch.Tensor]:
    for value in values:
        if isinstance(value, torch.Tensor):
            yield value
        elif isinstance(value, (list, tuple)):
            yield from _tensors(value)


@dataclass(frozen=True, slots=True)
class Allocations:
    """No allocation and no copy between an op's call and its return, beyond what the op declares."""

    name: str = "allocations"
    reruns: bool = False

    def check(self, seen: Observation) -> Verdict:
        """Red with the first allocation or copy beyond the allowance, and where it is made."""
        allowance: Allowance = seen.allowance
        reason = allowance.reason or "the caller owns every buffer, and a graph replays only what it was given"
        made, limit = seen.trace.allocations, float(allowance.count)
        if seen.provider != "rocassay":
            detail = f"{len(made)} allocations and copies; how provider {seen.provider} holds its memory is its own"
            return Verdict(self.name, True, detail, reason=reason)
        detail = f"{len(made)} allocations and copies, the first: {made[0]}" if made else "nothing is allocated"
        return Verdict(self.name, len(made) <= allowance.count, detail, float(len(made)), limit, reason)
