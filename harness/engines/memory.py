"""The bytes that a launch may touch, and which accesses fall outside them."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rocassay.harness.engines.base import Finding, FindingKind

POISON_BYTE = 0x7F
"""What a load outside every tensor returns, in every byte: NaN in fp16, e4m3fn and e5m2, huge elsewhere."""

Addresses = NDArray[np.uint64]
Lanes = NDArray[np.bool_]


@dataclass(frozen=True, slots=True)
class Span:
    """The bytes of one tensor argument: addresses from `start` up to, excluding, `stop`."""

    name: str
    start: int
    stop: int


def span_of(name: str, tensor: Any) -> Span:
    """From the first to the last element of a view, by its sizes and strides and not by its storage.

    `tensor` is a strided torch tensor of any dtype; the gaps within the view belong to the span.
    """
    start = int(tensor.data_ptr())
    sizes, strides = tuple(tensor.shape), tuple(tensor.stride())
    if 0 in sizes:
        return Span(name, start, start)
    last = sum((size - 1) * stride for size, stride in zip(sizes, strides, strict=True))
    return Span(name, start, start + (last + 1) * int(tensor.element_size()))


def _signed(difference: int) -> int:
    """Addresses wrap around at 2^64, so an access before a low tensor has a huge address."""
    return (difference + (1 << 63)) % (1 << 64) - (1 << 63)


class Memory:
    """Answers, for one launch, which lanes of an access stay inside the tensors it was given."""

    def __init__(self, spans: Iterable[Span]) -> None:
        self._spans: Sequence[Span] = sorted(spans, key=lambda span: (span.start, span.stop))
        self._starts: list[int] = []
        self._stops: list[int] = []
        for span in self._spans:
            self._add(span)
        self._start_array = np.array(self._starts, dtype=np.uint64)
        self._stop_array = np.array(self._stops, dtype=np.uint64)
        self.reads: dict[int, int] = {}
        """Bytes loaded so far, by the first address of the tensor, or of those that overlap it."""

    def _add(self, span: Span) -> None:
        """Keep the union of all spans as disjoint, sorted intervals."""
        if span.start == span.stop:
            return
        if self._stops and span.start <= self._stops[-1]:
            self._stops[-1] = max(self._stops[-1], span.stop)
        else:
            self._starts.append(span.start)
            self._stops.append(span.stop)

    def outside(self, addresses: Addresses, mask: Lanes | None, size: int) -> Lanes | None:
        """The active lanes whose `size` bytes leave every tensor; None when there are none.

        `mask` has the shape of `addresses`; None means that all lanes are active.
        """
        active = addresses if mask is None else addresses[mask]
        if active.size == 0:
            return None
        low, high = int(active.min()), int(active.max())
        index = bisect_right(self._starts, low) - 1
        # Nearly every access lies within one tensor, and then two numbers settle it.
        if index >= 0 and high + size <= self._stops[index]:
            return None
        outside = ~self._inside(addresses, size)
        if mask is not None:
            outside &= mask
        return outside if outside.any() else None

    def count(self, addresses: Addresses, allowed: Lanes, size: int) -> None:
        """Add a load of `size` bytes a lane; an access that spans two tensors counts for its first lane's."""
        lanes = int(np.count_nonzero(allowed))
        if lanes:
            start = self._starts[bisect_right(self._starts, int(addresses.ravel()[int(allowed.argmax())])) - 1]
            self.reads[start] = self.reads.get(start, 0) + lanes * size

    def _inside(self, addresses: Addresses, size: int) -> Lanes:
        if not self._starts:
            return np.zeros(addresses.shape, dtype=np.bool_)
        index = np.searchsorted(self._start_array, addresses, side="right") - 1
        found = index >= 0
        index = np.maximum(index, 0)
        # Subtracting keeps far pointers from wrapping around, which adding `size` would not.
        room = self._stop_array[index] - np.minimum(addresses, self._stop_array[index])
        return found & (room >= size)

    def nearest(self, address: int, size: int) -> tuple[str, int]:
        """The tensor whose bytes are nearest to an access, and the access's offset from its first byte.

        ("?", address) when the launch has no tensor at all.
        """
        if not self._spans:
            return "?", address

        def distance(span: Span) -> int:
            offset = _signed(address - span.start)
            return max(-offset, offset + size - (span.stop - span.start), 0)

        span = min(self._spans, key=distance)
        return span.name, _signed(address - span.start)


class Findings:
    """Collects the accesses outside every tensor: one finding per kind, tensor and source line."""

    def __init__(self, kernel: str, memory: Memory) -> None:
        self._kernel = kernel
        self._memory = memory
        self._found: dict[tuple[FindingKind, str, int | None], Finding] = {}

    def add(
        self,
        kind: FindingKind,
        addresses: Addresses,
        size: int,
        program: tuple[int, int, int],
        line: int | None,
    ) -> None:
        """Record the accesses at these addresses (any shape, not empty) by one program instance."""
        counts: dict[str, list[int]] = {}
        for address in addresses.ravel().tolist():
            name, offset = self._memory.nearest(address, size)
            counts.setdefault(name, []).append(offset)
        for name, offsets in counts.items():
            former = self._found.get((kind, name, line))
            first = former.byte_offset if former else offsets[0]
            where = former.program if former else program
            lanes = len(offsets) + (former.lanes if former else 0)
            self._found[kind, name, line] = Finding(kind, self._kernel, name, first, where, line, lanes)

    def all(self) -> list[Finding]:
        """In the order of their first occurrence."""
        return list(self._found.values())
