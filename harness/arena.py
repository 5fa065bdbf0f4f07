"""Guarded memory: every tensor an op sees lies between canaries, at the strides its case asks for."""

from __future__ import annotations

import functools
import mmap
import sys
import time
from dataclasses import dataclass

import torch

from rocassay.harness.inputs import Operands, Placement, as_bytes

GUARD_BYTES = 64 * 1024
"""Canary band before and after each tensor; wider than any page's misaddressing within a tile."""

DENSE_LIMIT = 64 * 1024 * 1024
"""Spans up to this many bytes are filled and checked everywhere; beyond it the gaps stay unmapped zero pages."""

PATIENCE = 60
"""Seconds to wait for device memory that other workers hold."""

_NORESERVE: int = getattr(mmap, "MAP_NORESERVE", 0x4000 if sys.platform == "linux" else 0)
"""Python has the name since 3.13; Linux the number (asm-generic/mman-common.h)."""

_ALIGNMENT = 256

_PERIOD = 251
"""Of the canary pattern; prime to every power of two, so that a shifted copy of a band is damage, too."""


@dataclass(frozen=True, slots=True)
class Damage:
    """A canary byte that changed."""

    tensor: str
    """Name of the tensor the band belongs to."""
    offset: int
    """Byte offset relative to the tensor's first byte; negative in front of it."""
    span: int
    """Bytes from the tensor's first to its last element."""
    count: int
    """Changed canary bytes in all."""

    def __str__(self) -> str:
        if self.offset < 0:
            place = f"{-self.offset} bytes before {self.tensor}"
        elif self.offset >= self.span:
            place = f"{self.offset - self.span} bytes past the end of {self.tensor}"
        else:
            place = f"in a stride gap of {self.tensor}, {self.offset} bytes from its start"
        return f"{self.count} guard bytes overwritten, the first {place}"


def _canary(band: slice, device: torch.device) -> torch.Tensor:
    """Canary bytes of an arena's range; a function of the position, so that overlapping bands agree."""
    phase, count = band.start % _PERIOD, band.stop - band.start
    # In powers of two, so that few patterns are ever made: every tensor of every launch asks for one.
    return _pattern(1 << (phase + count - 1).bit_length(), device)[phase : phase + count]


@functools.lru_cache(maxsize=32)
def _pattern(count: int, device: torch.device) -> torch.Tensor:
    period = torch.arange(_PERIOD, dtype=torch.uint8, device=device).bitwise_xor_(0xA5)
    return period.repeat(-(-count // _PERIOD))[:count]


def unmapped(count: int) -> mmap.mmap:
    """`count` bytes of 0 that take memory only where they are touched.

    They are shared memory, though with nobody: what is shared does not count towards the memory that a case may take
    (harness/isolation/memory.py), and nor must gaps of gigabytes that nobody maps.
    """
    # Not reserved, or a machine would refuse more than it has, though it is never touched.
    return mmap.mmap(-1, count, flags=mmap.MAP_SHARED | mmap.MAP_ANONYMOUS | _NORESERVE)


def _allocate(count: int, device: torch.device) -> torch.Tensor:
    """`count` bytes, unmapped until touched on the CPU; on a shared device, waits for other workers' memory."""
    if device.type == "cpu" and count > DENSE_LIMIT:
        return torch.frombuffer(unmapped(count), dtype=torch.uint8)
    for _ in range(PATIENCE):
        try:
            return torch.empty(count, dtype=torch.uint8, device=device)
        except torch.OutOfMemoryError:
            torch.cuda.empty_cache()
            time.sleep(1.0)
    return torch.empty(count, dtype=torch.uint8, device=device)


class Guarded:
    """One tensor in its arena: [guard | lead | strided view | guard]."""

    def __init__(self, name: str, logical: torch.Tensor, placement: Placement, device: torch.device) -> None:
        self.name = name
        size = logical.element_size()
        # The shape's own strides: an empty tensor may carry any, and a launcher would see them.
        strides = placement.strides or torch.empty(logical.shape, device="meta").stride()
        last = sum((n - 1) * s for n, s in zip(logical.shape, strides, strict=True)) if logical.numel() else -1
        self.span = (last + 1) * size
        self._first = _round_up(GUARD_BYTES + placement.lead)
        self._bytes = _allocate(self._first + _round_up(self.span) + GUARD_BYTES, device)
        self._dense = self._bytes.numel() <= DENSE_LIMIT
        self.view = torch.as_strided(
            self._bytes.view(logical.dtype), logical.shape, strides, storage_offset=self._first // size
        )
        self.fill(logical)

    def fill(self, logical: torch.Tensor) -> None:
        """Give the elements the bytes of `logical`, of the same shape and dtype, and the guards theirs."""
        self._fill_canaries()
        self.view.copy_(logical)
        self._before = logical

    def _bands(self) -> list[slice]:
        total = self._bytes.numel()
        if self._dense:
            return [slice(0, total)]
        end = self._first + self.span
        return [
            slice(0, GUARD_BYTES),
            slice(self._first - GUARD_BYTES, self._first),
            slice(end, end + GUARD_BYTES),
        ]

    def _fill_canaries(self) -> None:
        for band in self._bands():
            self._bytes[band] = _canary(band, self._bytes.device)

    def damage(self) -> Damage | None:
        """The first changed canary byte outside the tensor's elements, if any."""
        for band in self._bands():
            changed = self._bytes[band] != _canary(band, self._bytes.device)
            if self._dense:
                self._elements_of(changed).fill_(False)
            if changed.any():
                offset = int(changed.nonzero()[0]) + band.start - self._first
                return Damage(self.name, offset, self.span, int(changed.sum()))
        return None

    def _elements_of(self, mask: torch.Tensor) -> torch.Tensor:
        size = self.view.element_size()
        return torch.as_strided(
            mask,
            (*self.view.shape, size),
            (*(stride * size for stride in self.view.stride()), 1),
            storage_offset=self._first,
        )

    def unchanged(self) -> bool:
        """Whether the elements still hold the bytes they were given."""
        return torch.equal(as_bytes(self.view.cpu()), as_bytes(self._before))


def _round_up(count: int) -> int:
    return -(-count // _ALIGNMENT) * _ALIGNMENT


class Placed:
    """All tensors of one call, guarded, on one device."""

    def __init__(self, operands: Operands, device: torch.device) -> None:
        self.operands = operands
        self.guarded = {
            name: Guarded(name, tensor, operands.placements.get(name, Placement()), device)
            for name, tensor in operands.tensors().items()
        }

    def arguments(self) -> dict[str, object]:
        """Keyword arguments for a launcher: guarded views and scalars."""
        views = {name: guarded.view for name, guarded in self.guarded.items()}
        return {**views, **self.operands.scalars}

    def refill(self, operands: Operands) -> None:
        """Other values at the same addresses, outputs and workspaces included."""
        self.operands = operands
        for name, tensor in operands.tensors().items():
            self.guarded[name].fill(tensor)

    def outputs(self) -> dict[str, torch.Tensor]:
        """Contiguous CPU copies of the outputs."""
        views = {name: self.guarded[name].view.cpu() for name in self.operands.outputs}
        return {name: view.clone(memory_format=torch.contiguous_format) for name, view in views.items()}

    def damages(self) -> list[Damage]:
        """Damaged canaries of every tensor, in argument order."""
        return [damage for guarded in self.guarded.values() if (damage := guarded.damage())]

    def mutated_inputs(self) -> list[str]:
        """Names of inputs whose bytes changed."""
        return [name for name in self.operands.inputs if not self.guarded[name].unchanged()]
