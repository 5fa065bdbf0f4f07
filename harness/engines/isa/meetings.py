"""Where workgroups of a launch meet in global memory: stores against what others stored or loaded, loads likewise.

A store that leaves a byte as it is does no harm to anybody, whoever was there before.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rocassay.harness.engines.isa.cells import QUAD
from rocassay.harness.engines.isa.conflicts import ATOMIC_TAG, Handovers, Tagged, Tags, Units
from rocassay.harness.engines.isa.findings import SEVERAL, By, FindingLog, Kind
from rocassay.harness.engines.isa.placement import BASE, Reach, Space
from rocassay.harness.engines.isa.state import U32, Bits, Ints

LOGGED = 1 << 26
"""Bytes of addresses of loads that are kept until a store shows that they matter."""


@dataclass(frozen=True, slots=True)
class _Read:
    """A load that is kept for the case that its tensor is stored to later."""

    addresses: Ints
    size: int
    aligned: int
    reach: Reach
    tags: Tags
    numbers: frozenset[int]
    """Segments that it reaches."""


@dataclass(frozen=True, slots=True)
class Store:
    """The lanes of a store that take part.

    Attributes:
        addresses, index: int64 [W, lanes] or, when not all take part, [n]; virtual and in the window.
        values: uint32 [dwords, ...].
        lanes: bool [W, lanes], with n of them set; None for all.
    """

    addresses: Ints
    index: Ints
    values: U32
    size: int
    aligned: int
    lanes: Bits | None

    @property
    def taking(self) -> Bits:
        """bool [W, lanes]."""
        return np.ones(self.addresses.shape, np.bool_) if self.lanes is None else self.lanes

    def spread(self, rows: NDArray[Any]) -> NDArray[Any]:
        """One of each wave -> what broadcasts against the addresses."""
        return rows[:, None] if self.lanes is None else rows.repeat(np.count_nonzero(self.lanes, axis=1))


class Meetings:
    """Who touched what, by unit of 4 bytes, or of 1 where the program stores less than that at once.

    Attributes:
        grain: log2 of the unit's bytes; to be set before the first access.
        handovers: what atomics order between workgroups.
    """

    def __init__(self, space: Space, findings: FindingLog) -> None:
        self.grain = 2
        self.handovers = Handovers()
        self._space, self._findings = space, findings
        self.renew()

    def renew(self) -> None:
        """Begin another launch."""
        self.handovers.clear()
        self._written: set[int] = set()
        self._reads: list[_Read] = []
        self._logged = 0
        self._writers = self._readers = Tagged(0)

    def written(self, address: int, length: int) -> Bits:
        """bool [length]: which bytes were stored to, whole units."""
        if not len(self._writers.tags):
            return np.zeros(length, np.bool_)
        return self._writers.tags[np.arange(address - BASE, address - BASE + length) >> self.grain] != 0

    def _units(self, addresses: Ints, size: int, aligned: int) -> Units:
        return Units.of(addresses - BASE, size, self.grain, aligned)

    def load(self, addresses: Ints, size: int, aligned: int, reach: Reach, by: By) -> None:
        """Check a load against stores of other workgroups; where there are none yet, keep it for later ones."""
        reached = [number for number, _ in reach.counts()]
        numbers = [number for number in reached if self._space.segments[number].shared]
        if not numbers:
            return
        tags = self.handovers.tags(by.state.group)
        read = _Read(addresses, size, aligned, reach, tags, frozenset(reached))
        for number in numbers:
            if number in self._written:
                self._settle(read, number)
                self._check(read, number, by)
        if not self._written.issuperset(numbers):
            self._reads.append(read)
            self._logged += addresses.nbytes
            if self._logged > LOGGED:
                self._settle_all()

    def _settle_all(self) -> None:
        """Turn the kept loads into tags, for their room."""
        self._map()
        for read in self._reads:
            for number in read.numbers:
                self._settle(read, number)
        self._reads, self._logged = [], 0

    def _map(self) -> None:
        if not len(self._writers.tags):
            units = (self._space.extent >> self.grain) + QUAD
            self._writers, self._readers = Tagged(units), Tagged(units)

    def _units_in(self, read: _Read, number: int) -> tuple[Units, Tags] | None:
        """Units and tags of the lanes of a load in a segment."""
        if isinstance(read.reach.number, int) and read.reach.number != number:
            return None
        lanes, tags = read.reach.within(number), read.tags[:, None]
        if lanes is None:
            return self._units(read.addresses, read.size, read.aligned), tags
        if not lanes.any():
            return None
        units = self._units(read.addresses[lanes], read.size, read.aligned)
        return units, np.broadcast_to(tags, lanes.shape)[lanes]

    def _settle(self, read: _Read, number: int) -> None:
        found = self._units_in(read, number)
        if found is not None:
            self._readers.add(*found)

    def _check(self, read: _Read, number: int, by: By) -> None:
        found = self._units_in(read, number)
        if found is None or self._writers.among(*found):
            return
        units, _ = found
        lanes = read.reach.within(number)
        taking = np.ones(read.addresses.shape, np.bool_) if lanes is None else lanes
        groups = np.broadcast_to(by.state.group[:, None], taking.shape)[taking]
        for n in range(units.count):
            tags = self._writers.tags[units.first.ravel() + n]
            bad = self.handovers.unordered(tags, groups)
            if bad.any():
                offset = int(read.addresses[taking][bad][0]) - BASE + (n << self.grain)
                self._report("read_conflict", taking, bad, offset + BASE, tags[bad], by)
                return

    def _begin(self, reach: Reach) -> None:
        """From the first store to a tensor on, loads of it are told apart by workgroup."""
        for number, _ in reach.counts():
            if number not in self._written:
                self._map()
                self._written.add(number)
                for read in self._reads:
                    if number in read.numbers:
                        self._settle(read, number)

    def before_store(self, store: Store, reach: Reach, by: By) -> bool:
        """Check a store and take note of it; False when workgroups meet in the store itself."""
        self._begin(reach)
        units = self._units(store.addresses, store.size, store.aligned)
        tags = store.spread(self.handovers.tags(by.state.group))
        if not self._writers.among(units, tags):
            self._compare(store, self._writers, "write_conflict", by)
        if not self._readers.among(units, tags):
            self._compare(store, self._readers, "read_conflict", by)
        return self._writers.put(units, tags)

    def after_store(self, store: Store, by: By) -> None:
        """Check what is in memory after a store whose workgroups met."""
        self._compare(store, self._writers, "write_conflict", by)

    def atomic(self, addresses: Ints, size: int, aligned: int, reach: Reach, groups: Ints) -> None:
        """Take note of atomic stores of workgroups, int64 [n] each, in this order."""
        self._begin(reach)
        units = self._units(addresses, size, aligned)
        self._writers.put(units, np.full(units.first.shape, ATOMIC_TAG, np.uint16))
        self.handovers.meet(groups, addresses)

    def _compare(self, store: Store, tagged: Tagged, kind: Kind, by: By) -> None:
        """Report bytes that another workgroup touched in no order and that this store does not leave as they are."""
        groups = store.spread(by.state.group)
        for byte in range(store.size):
            tags = tagged.tags[(store.addresses + byte - BASE) >> self.grain]
            new = (store.values[byte // 4] >> np.uint32(8 * (byte % 4))).astype(np.uint8)
            changes = self._space.cells.bytes[store.index + byte] != new
            bad = self.handovers.unordered(tags, np.broadcast_to(groups, tags.shape)) & changes
            if bad.any():
                self._report(kind, store.taking, bad.ravel(), int(store.addresses[bad][0]) + byte, tags[bad], by)
                return

    def _report(self, kind: Kind, taking: Bits, bad: Bits, address: int, tags: Tags, by: By) -> None:
        lanes = taking.copy()
        lanes[taking] = bad
        segment = self._space.segment_at(address)
        other = int(self.handovers.group_of(tags[:1])[0])
        offset = segment.offset(address)
        self._findings.add(by.finding(kind, lanes, segment.name, offset, other=other if other >= 0 else SEVERAL))
