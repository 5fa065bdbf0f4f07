"""Tensors at virtual addresses with gaps between them, and where in the host's memory their bytes are."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import bisect
import ctypes
from collections.abc import Collection, Iterable, Iterator
from dataclasses import dataclass, field

import numpy as np
import torch
from numpy.typing import NDArray

from rocassay.harness.arena import DENSE_LIMIT, unmapped
from rocassay.harness.engines.isa.cells import QUAD, Cells
from rocassay.harness.engines.isa.state import Bits, Ints

BASE = 0x100000000000
"""First virtual address: above what 32 bits hold, below what buffer descriptors cut off."""

GAP = 1 << 21
"""Bytes between two tensors that belong to nobody."""


TWIN = "~"
"""Behind the name of a tensor of the second world."""

PIECE = 1 << 20
"""Bytes of a tensor that get a copy of their own together, when one of them is stored to; a power of 2."""

_WIDEST = 64
"""Bytes of the widest access: it may begin in one piece and end in the next."""


@dataclass(frozen=True, slots=True)
class Segment:
    """Bytes of one tensor, or of tensors that overlap.

    Attributes:
        start: virtual address of the first byte.
        data: uint8, the bytes themselves.
        shared: whether workgroups could meet there.
        origin: address of the first byte of the whole, where this is a piece of it.
    """

    name: str
    start: int
    data: NDArray[np.uint8]
    shared: bool = True
    origin: int = -1

    def offset(self, address: int) -> int:
        """Bytes from the first one of the tensor."""
        return address - (self.start if self.origin < 0 else self.origin)

    @property
    def end(self) -> int:
        """First address behind it."""
        return self.start + len(self.data)


@dataclass(slots=True)
class Reach:
    """Where the lanes of one access lie.

    Attributes:
        index: int64 [W, lanes], bytes in the window; a harmless place for lanes that do not take part.
        lanes: those that take part; None for all of them.
        number: of the segment; an array [W, 1] or [W, lanes] when they are several.
    """

    index: Ints
    lanes: Bits | None
    number: int | Ints
    _counts: tuple[tuple[int, int], ...] | None = field(default=None, init=False)

    @property
    def taking(self) -> Bits:
        """bool [W, lanes]: those that take part."""
        return np.ones(self.index.shape, np.bool_) if self.lanes is None else self.lanes

    def within(self, number: int) -> Bits | None:
        """The lanes in a segment; None for all."""
        if isinstance(self.number, int):
            return self.lanes
        here = np.broadcast_to(self.number == number, self.index.shape)
        return here if self.lanes is None else here & self.lanes

    def counts(self) -> tuple[tuple[int, int], ...]:
        """(segment, lanes in it), those that are not empty, by segment."""
        if self._counts is None:
            self._counts = self._counted()
        return self._counts

    def _counted(self) -> tuple[tuple[int, int], ...]:
        if isinstance(self.number, int):
            return ((self.number, self.index.size if self.lanes is None else int(np.count_nonzero(self.lanes))),)
        rows, lanes = self.index.shape
        if self.number.shape[1] == 1:
            held = [lanes] * rows if self.lanes is None else np.count_nonzero(self.lanes, axis=1).tolist()
            totals: dict[int, int] = {}
            for number, count in zip(self.number[:, 0].tolist(), held, strict=True):
                totals[number] = totals.get(number, 0) + count
            return tuple(sorted((number, count) for number, count in totals.items() if count))
        totals_of = np.bincount((self.number if self.lanes is None else self.number[self.lanes]).ravel())
        return tuple((number, int(totals_of[number])) for number in np.flatnonzero(totals_of).tolist())


@dataclass(frozen=True, slots=True)
class Outside:
    """Lanes that lie in no tensor: which, and the segment that they are nearest to."""

    lanes: Bits
    nearest: Segment


def _bytes_of(tensor: torch.Tensor) -> tuple[int, int]:
    """(address, bytes) from the tensor's first element to its last."""
    last = sum((n - 1) * s for n, s in zip(tensor.shape, tensor.stride(), strict=True)) if tensor.numel() else -1
    # Not by torch: what it does here would count as the launcher's own allocations and synchronisations.
    return tensor.data_ptr(), (last + 1) * tensor.element_size()


def _bytes_at(address: int, count: int) -> NDArray[np.uint8]:
    if not count:
        return np.zeros(0, np.uint8)
    return np.ctypeslib.as_array((ctypes.c_uint8 * count).from_address(address))


class Twin:
    """The second world's copy of a tensor, of which only pieces that were stored to are bytes of their own.

    Attributes:
        first: the first world's segment.
        number: of the twin's first piece among all segments.
        store: uint8, as many bytes as the first's; those of shared pieces mean nothing and cost nothing.
    """

    def __init__(self, first: Segment, number: int, undefined: Collection[str], junk: int) -> None:
        self.first, self.number = first, number
        length = len(first.data)
        room = length + 2 * QUAD
        whole = np.frombuffer(unmapped(room), np.uint8) if room > DENSE_LIMIT else np.empty(room, np.uint8)
        begin = (first.data.ctypes.data - whole.ctypes.data) % QUAD
        self.store: NDArray[np.uint8] = whole[begin : begin + length]
        self._begin = first.start // PIECE
        self.count = (first.start + max(length, 1) - 1) // PIECE - self._begin + 1
        self._own = set[int]()
        self.undefined = first.name in undefined
        if self.undefined:
            self.store[:] = np.full(length // 4 + 1, junk, np.uint32).view(np.uint8)[:length]
            self._own.update(range(self.count))

    def pieces(self, shift: int) -> Iterator[Segment]:
        """The twin's segments."""
        for piece in range(self.count):
            part = self.part(piece)
            data = (self.store if piece in self._own else self.first.data)[part]
            start, origin = self.first.start + shift, self.first.start + shift
            yield Segment(self.first.name + TWIN, start + part.start, data, self.first.shared, origin)

    def part(self, piece: int) -> slice:
        """The bytes of a piece."""
        before = self._begin * PIECE - self.first.start
        return slice(max(before + piece * PIECE, 0), min(before + (piece + 1) * PIECE, len(self.store)))

    def piece_of(self, addresses: Ints) -> Ints:
        """The piece of each of the first world's addresses."""
        return addresses // PIECE - self._begin

    @property
    def whole(self) -> bool:
        """Whether every piece has bytes of its own."""
        return len(self._own) == self.count

    def settle(self, piece: int) -> bool:
        """Give a piece bytes of its own; False where it has."""
        if piece in self._own:
            return False
        self._own.add(piece)
        part = self.part(piece)
        self.store[part] = self.first.data[part]
        return True

    def host(self, piece: int) -> int:
        """Address in the host's memory of a piece's own bytes."""
        return int(self.store.ctypes.data) + self.part(piece).start

    def differences(self) -> Iterator[tuple[int, Bits]]:
        """(offset, which of the bytes from there on differ between the worlds) of every piece that was stored to."""
        for piece in sorted(self._own):
            part = self.part(piece)
            yield part.start, self.first.data[part] != self.store[part]


class Space:
    """Segments by address, and one window on the host's memory from the first to the last of them.

    Through the window lanes in several tensors are served by one gather; only places that lie in a tensor are touched.
    """

    def __init__(self) -> None:
        self._spare = np.zeros(4 * QUAD, np.uint8)
        self.clear()

    def clear(self) -> None:
        """Forget every segment."""
        self.segments: list[Segment] = []
        self.shift = 0
        self.twins: tuple[Twin, ...] = ()
        self._addresses: dict[str, tuple[int, int]] = {}
        self._owners: list[torch.Tensor] = []
        self._cells: Cells | None = None

    def divide(self, undefined: Collection[str], junk: int) -> None:
        """A second world, `shift` further on: the same tensors, which share the first world's bytes until a store.

        undefined: tensors that hold `junk` in every dword there.
        """
        self.shift = self.extent // GAP * GAP + 2 * GAP
        self.twins = tuple(Twin(one, len(self.segments), undefined, junk) for one in self.segments)
        for twin in self.twins:
            twin.number = len(self.segments)
            self.segments += twin.pieces(self.shift)
        self._cells = None

    def owner(self, number: int) -> tuple[int, int | None]:
        """(number of the first world's segment, piece of its twin), of a segment of either world."""
        if number < len(self.twins):
            return number, None
        numbers = [twin.number for twin in self.twins]
        first = bisect.bisect_right(numbers, number) - 1
        return first, number - numbers[first]

    def join(self, addresses: Ints, size: int, reach: Reach) -> bool:
        """Give both pieces bytes of their own where an access begins in one and ends in the next."""
        found = False
        for number, _ in reach.counts():
            first, piece = self.owner(number)
            if piece is not None and piece + 1 < self.twins[first].count:
                lanes = reach.within(number)
                places = addresses if lanes is None else addresses[lanes]
                if int(places.max()) + size > self.segments[number].end:
                    found |= self.settle(first, (piece, piece + 1))
        return found

    def settle(self, first: int, pieces: Iterable[int]) -> bool:
        """Give pieces of a twin bytes of their own; whether any of them shared its bytes until now."""
        twin = self.twins[first]
        fresh = [piece for piece in pieces if twin.settle(piece)]
        for piece in fresh:
            number = twin.number + piece
            shift = twin.host(piece) - self._low - self._starts[number]
            self._shifts[number] = self._arrays[2][number] = shift
        return bool(fresh)

    def place(self, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Give every tensor an address of the same alignment as its own; overlapping ones share a segment.

        Addresses follow the order of the arguments, so that the same launch sees the same ones wherever tensors lie.
        """
        held = list(tensors)
        order = {name: number for number, (name, _) in enumerate(held)}
        self._owners += [tensor for _, tensor in held]
        groups: list[list[tuple[int, int, str]]] = []
        for address, length, name in sorted((*_bytes_of(tensor), name) for name, tensor in held):
            if groups and address < max(a + n for a, n, _ in groups[-1]):
                groups[-1].append((address, length, name))
            else:
                groups.append([(address, length, name)])
        for group in sorted(groups, key=lambda one: min(order[name] for _, _, name in one)):
            first = group[0][0]
            whole = max(a + n for a, n, _ in group) - first
            start = self._append(group[0][2], _bytes_at(first, whole), first % 4096)
            for address, length, name in group:
                self._addresses[name] = start + address - first, length

    def add(self, name: str, data: NDArray[np.uint8]) -> int:
        """A segment that is no tensor's; returns its address."""
        start = self._append(name, data, data.ctypes.data % QUAD, shared=False)
        self._addresses[name] = start, len(data)
        return start

    def _append(self, name: str, data: NDArray[np.uint8], remainder: int, *, shared: bool = True) -> int:
        base = (self.segments[-1].end + 2 * GAP) // GAP * GAP if self.segments else BASE
        self.segments.append(Segment(name, base + remainder, data, shared))
        self._cells = None
        return base + remainder

    def span(self, name: str) -> tuple[int, int]:
        """(address, bytes) of a tensor."""
        return self._addresses[name]

    @property
    def extent(self) -> int:
        """Bytes from the first address to the last one."""
        return self.segments[-1].end - BASE

    @property
    def cells(self) -> Cells:
        """The window."""
        if self._cells is None:
            self._starts = [segment.start for segment in self.segments]
            self._ends = [segment.end for segment in self.segments]
            for twin in self.twins:
                for number in range(twin.number, twin.number + twin.count - 1):
                    self._ends[number] += _WIDEST
            hosts = [segment.data.ctypes.data for segment in self.segments]
            spans = [(host, len(s.data)) for host, s in zip(hosts, self.segments, strict=True) if len(s.data)]
            spans += [(twin.store.ctypes.data, len(twin.store)) for twin in self.twins if len(twin.store)]
            spans.append((self._spare.ctypes.data, len(self._spare)))
            low = min(host for host, _ in spans) // QUAD * QUAD
            high = -(-max(host + length for host, length in spans) // QUAD) * QUAD
            self._low, self._cells = low, Cells(_bytes_at(low, high - low), window=True)
            self._harmless = -(-self._spare.ctypes.data // QUAD) * QUAD - low
            self._shifts = [host - low - start for host, start in zip(hosts, self._starts, strict=True)]
            self._arrays = tuple(np.array(x, np.int64) for x in (self._starts, self._ends, self._shifts))
        return self._cells

    def reach(self, addresses: Ints, size: int, lanes: Bits | None) -> tuple[Reach | None, list[Outside]]:
        """Where `size` bytes at the addresses of the active lanes lie, None when nowhere; and the lanes left out."""
        assert self.cells
        if lanes is not None:
            if not lanes.any():
                return None, []
            addresses = _gathered(addresses, lanes)
        low, high = int(addresses.min()), int(addresses.max())
        number = bisect.bisect_right(self._starts, low) - 1
        if number >= 0 and high + size <= self._ends[number]:
            return Reach(self._harmless_but(addresses + self._shifts[number], lanes), lanes, number), []
        starts, ends, shifts = self._arrays
        lows, highs = addresses.min(axis=1), addresses.max(axis=1)
        numbers = np.searchsorted(starts, lows, side="right") - 1
        if (numbers >= 0).all() and (highs + size <= ends[numbers]).all():
            index = self._harmless_but(addresses + shifts[numbers][:, None], lanes)
            return Reach(index, lanes, numbers[:, None]), []
        numbers = np.searchsorted(starts, addresses, side="right") - 1
        active = np.ones(addresses.shape, np.bool_) if lanes is None else lanes
        inside = active & (numbers >= 0) & (addresses + size <= ends[numbers])
        outside = list(self._outside(addresses, active & ~inside))
        index = np.where(inside, addresses + shifts[numbers], self._harmless)
        return Reach(index, inside, np.where(inside, numbers, 0)) if inside.any() else None, outside

    def _harmless_but(self, index: Ints, lanes: Bits | None) -> Ints:
        """Lanes that take no part go where nothing but zeros is."""
        return index if lanes is None else np.where(lanes, index, self._harmless)

    def _outside(self, addresses: Ints, stray: Bits) -> Iterator[Outside]:
        nearest = np.full(addresses.shape, -1)
        nearest[stray] = self._nearest(addresses[stray])
        for number in np.unique(nearest[stray]):
            yield Outside(nearest == number, self.segments[number])

    def _nearest(self, addresses: Ints) -> Ints:
        """The segment that each address lies in or is nearest to."""
        starts, ends, _ = self._arrays
        below = np.clip(np.searchsorted(starts, addresses, side="right") - 1, 0, None)
        above = np.clip(below + 1, None, len(starts) - 1)
        nearer = (starts[above] - addresses < addresses - ends[below]) & (addresses >= starts[0])
        return np.where(nearer, above, below)

    def segment_at(self, address: int) -> Segment:
        """The segment that holds an address, or the nearest one."""
        assert self.cells
        return self.segments[int(self._nearest(np.array([address]))[0])]


def _gathered(addresses: Ints, lanes: Bits) -> Ints:
    """Lanes that take no part moved to where one of their wave is, or of another wave."""
    rows = np.arange(len(lanes))
    first = lanes.argmax(axis=1)
    present, anchor = lanes[rows, first], addresses[rows, first]
    if not present.all():
        anchor = np.where(present, anchor, anchor[present.argmax()])
    return np.where(lanes, addresses, anchor[:, None])
