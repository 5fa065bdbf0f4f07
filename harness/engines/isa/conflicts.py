"""Which workgroup read or wrote what, so that two of them that meet in no order are found.

Workgroups of one launch run in any order. Two that touch a byte, one of them writing, give a result by luck unless
atomics hand over between them: a release (`buffer_wbl2`), an atomic, and on the other side the same atomic and an
acquire (`buffer_inv`) (LLVM AMDGPU usage, "Memory Model gfx942").
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rocassay.harness.arena import unmapped
from rocassay.harness.engines.isa.state import Bits, Ints

Tags: TypeAlias = NDArray[np.uint16]

SEVERAL_TAG, ATOMIC_TAG = 0xFFFF, 0xFFFE
"""Of a unit that several workgroups touched, and of one that was written by atomics."""

_LAST_TAG = 0xFFFD

_WIDE: dict[int, tuple[Any, Any, int]] = {
    1: (np.uint16, np.uint16(1), 0),
    2: (np.uint32, np.uint32(0x00010001), 1),
    4: (np.uint64, np.uint64(0x0001000100010001), 2),
}
"""Units at once -> type of that many tags side by side, what repeats a tag in it, and the shift of the unit."""


class Units:
    """The units that an access touches: `count` from each of `first`, any shape.

    They are reached in pieces of up to 4, as their alignment allows: `wide` is how many, `pieces` where those begin.
    """

    def __init__(self, first: Ints, count: int, wide: int) -> None:
        self.first, self.count, self.wide = first, count, wide
        shift = _WIDE[wide][2]
        start = first >> shift if shift else first
        self.pieces = [start + n if n else start for n in range(count // wide)]

    @classmethod
    def of(cls, addresses: Ints, size: int, grain: int, aligned: int) -> Units:
        """Those of `size` bytes from every address, a unit having 2^grain bytes; aligned: see `cells.alignment`."""
        count = max(1, size >> grain)
        low = aligned >> grain | count | 4
        return cls(addresses >> grain, count, low & -low)

    def chosen(self, lanes: Bits) -> Units:
        """Those of some lanes or waves."""
        return Units(self.first[lanes], self.count, self.wide)

    def repeated(self, tags: Tags) -> Any:
        """Tags as wide as a piece."""
        kind, repeat, _ = _WIDE[self.wide]
        return tags.astype(kind) * repeat


_FRESH = 1 << 23
"""Bytes from which on memory comes from the system, zero and not there before it is touched."""


def _zeros(count: int) -> Tags:
    """uint16 [count]. The allocator would use freed memory again, and wipe all of it."""
    return np.frombuffer(unmapped(2 * count), np.uint16) if 2 * count >= _FRESH else np.zeros(count, np.uint16)


class Tagged:
    """A tag for every unit of memory; untouched parts cost no physical memory."""

    def __init__(self, units: int) -> None:
        self.tags: Tags = _zeros(-(-units // 4) * 4)
        self.views: dict[int, Any] = {count: self.tags.view(kind) for count, (kind, _, _) in _WIDE.items()}

    def among(self, units: Units, tags: Tags) -> bool:
        """Whether all these units are untouched or carry the lane's own tag."""
        view = self.views[units.wide]
        for index in units.pieces:
            held = view.take(index)
            if held.any() and not ((held == 0) | (held == units.repeated(tags))).all():
                return False
        return True

    def put(self, units: Units, tags: Tags) -> bool:
        """Write the tags; False when lanes of different tags met at a unit."""
        view, wide, whole = self.views[units.wide], units.repeated(tags), True
        for index in units.pieces:
            view[index] = wide
            whole = whole and bool((view.take(index) == wide).all())
        return whole

    def add(self, units: Units, tags: Tags) -> None:
        """Note readers: a unit that another tag holds becomes that of several."""
        if self.among(units, tags) and self.put(units, tags):
            return
        for n in range(units.count):
            place = units.first + n
            held = self.tags.take(place)
            mine = np.where((held == 0) | (held == tags), tags, np.uint16(SEVERAL_TAG))
            self.tags[place] = mine
            clash = self.tags.take(place) != mine
            if clash.any():
                self.tags[place[clash]] = SEVERAL_TAG


@dataclass(slots=True)
class Handovers:
    """Tags of workgroups, and which of them are ordered by releases and acquires.

    A workgroup gets a new tag at every release; those behind it are ordered before what an acquire saw of it.
    """

    _groups: Ints = field(default_factory=lambda: np.full(1 << 16, -1, np.int64))
    """Workgroup of every tag."""
    _newest: dict[int, int] = field(default_factory=dict[int, int])
    _next: int = 0
    _seen: dict[int, set[int]] = field(default_factory=dict[int, set[int]])
    _released: dict[int, set[int]] = field(default_factory=dict[int, set[int]])
    _published: dict[int, set[int]] = field(default_factory=dict[int, set[int]])
    _gathered: dict[int, set[int]] = field(default_factory=dict[int, set[int]])
    _last: tuple[Ints | None, Tags] = (None, np.zeros(0, np.uint16))

    def clear(self) -> None:
        """Forget everything."""
        for held in (self._newest, self._seen, self._released, self._published, self._gathered):
            held.clear()
        self._next, self._last = 0, (None, np.zeros(0, np.uint16))

    def tags(self, groups: Ints) -> Tags:
        """uint16 [W]: the present tag of each row's workgroup; 0, that is untracked, once tags have run out."""
        known, found = self._last
        if known is not groups:
            found = np.array([self._newest.get(group) or self._new(group) for group in groups.tolist()], np.uint16)
            self._last = (groups, found)
        return found

    def _new(self, group: int) -> int:
        if self._next >= _LAST_TAG:
            return 0
        self._next += 1
        self._newest[group] = self._next
        self._groups[self._next] = group
        return self._next

    def group_of(self, tags: Tags) -> Ints:
        """Workgroups; -1 for untouched, several and atomic."""
        return self._groups[tags]

    def release(self, group: int) -> None:
        """What the workgroup did so far may be handed over by its next atomic."""
        own = self._newest.get(group)
        self._released.setdefault(group, set()).update(self._seen.get(group, ()), [own] if own else [])
        self._new(group)
        self._last = (None, self._last[1])

    def meet(self, groups: Ints, addresses: Ints) -> None:
        """Atomics, one after the other: each takes what others left at its address, and leaves what was released."""
        if not self._released:
            return
        for group, address in zip(groups.tolist(), addresses.tolist(), strict=True):
            published = self._published.setdefault(address, set())
            self._gathered.setdefault(group, set()).update(published)
            published.update(self._released.get(group, ()))

    def acquire(self, group: int) -> None:
        """What the workgroup's atomics gathered lies before what follows."""
        self._seen.setdefault(group, set()).update(self._gathered.get(group, ()))

    def unordered(self, tags: Tags, groups: Ints) -> Bits:
        """Whether what carries a tag and what the workgroup does now are of two workgroups, in no order."""
        bad = (tags != 0) & (tags != ATOMIC_TAG) & (self.group_of(tags) != groups)
        if self._seen and bad.any():
            for place in zip(*np.nonzero(bad), strict=True):
                bad[place] = int(tags[place]) not in self._seen.get(int(groups[place]), ())
        return bad
