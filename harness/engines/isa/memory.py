"""Global memory of a launch: its tensors, read and written in place, and what went wrong at it."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Collection, Iterable
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from rocassay.harness.engines.isa.asm import Instruction
from rocassay.harness.engines.isa.atomics import Operation
from rocassay.harness.engines.isa.cells import alignment
from rocassay.harness.engines.isa.findings import By, FindingLog, MachineFinding, place_of
from rocassay.harness.engines.isa.meetings import Meetings, Store
from rocassay.harness.engines.isa.placement import Reach, Segment, Space
from rocassay.harness.engines.isa.state import U32, Bits, Ints

Access = Literal["read", "write"]


class Memory:
    """The tensors of a launch.

    Attributes:
        findings: what accesses did beyond their values.
        read_bytes, written_bytes: by tensor; a byte moved twice counts twice.
        atomics: lanes that updated memory atomically.
        meetings: where workgroups meet.
    """

    def __init__(self, findings: FindingLog | None = None) -> None:
        self.findings = FindingLog() if findings is None else findings
        self.read_bytes: dict[str, int] = {}
        self.written_bytes: dict[str, int] = {}
        self.atomics = 0
        self._stores: dict[int, dict[str, Instruction]] = {}
        self._space = Space()
        self.meetings = Meetings(self._space, self.findings)

    def renew(self) -> None:
        """Begin another launch."""
        self.findings.clear()
        self.read_bytes.clear()
        self.written_bytes.clear()
        self.atomics = 0
        self._stores: dict[int, dict[str, Instruction]] = {}
        self._space.clear()
        self.meetings.renew()

    def divide(self, undefined: Collection[str], junk: int) -> None:
        """From here on there are two worlds, in which a stored byte is that world's own.

        undefined: tensors of which the second world has `junk` in place of what is there.
        """
        self._space.divide(undefined, junk)

    def differences(self) -> FindingLog:
        """A finding for every tensor with a byte that is not the same in both worlds; undefined ones where written."""
        log = FindingLog()
        for number, twin in enumerate(self._space.twins):
            total, place = 0, -1
            for begin, unequal in twin.differences():
                if twin.undefined:
                    unequal &= self.meetings.written(twin.first.start + begin, len(unequal))
                if total == 0 and unequal.any():
                    place = begin + int(unequal.argmax())
                total += int(np.count_nonzero(unequal))
            if total:
                log.add(self._difference(number, place, total))
        return log

    def _difference(self, number: int, offset: int, count: int) -> MachineFinding:
        stores = list(self._stores.get(number, {}).values())
        detail = f"{count} bytes differ between two worlds of junk"
        if len(stores) > 1:
            detail += f"; stored by {', '.join(place_of(one) for one in stores)}"
        text, place = (stores[0].text, place_of(stores[0])) if stores else ("?", "no store")
        return MachineFinding("uninitialised", text, place, self.segments[number].name, offset, detail=detail)

    def _of_its_world(self, addresses: Ints, by: By) -> Ints:
        """Addresses where each row's world has its tensors."""
        shift = self._space.shift
        return addresses + (by.state.world * shift)[:, None] if shift else addresses

    def _own(self, addresses: Ints, reach: Reach, instruction: Instruction) -> bool:
        """Note who stores to which tensor; whether bytes that both worlds shared had to be parted for it."""
        parted = False
        for number, _ in reach.counts():
            first, piece = self._space.owner(number) if self._space.twins else (number, None)
            self._stores.setdefault(first, {}).setdefault(instruction.text + instruction.where, instruction)
            if self._space.twins and not self._space.twins[first].whole:
                touched = (piece,) if piece is not None else self._touched(addresses, reach, number)
                parted |= self._space.settle(first, touched)
        return parted

    def _touched(self, addresses: Ints, reach: Reach, number: int) -> list[int]:
        """Pieces of a first world's tensor that lanes lie in."""
        lanes = reach.within(number)
        places = addresses if lanes is None else addresses[lanes]
        return np.unique(self._space.twins[number].piece_of(places)).tolist()

    def place(self, tensors: Iterable[tuple[str, torch.Tensor]]) -> None:
        """Give every tensor an address of the same alignment as its own; overlapping ones share a segment."""
        self._space.place(tensors)

    def add(self, name: str, data: NDArray[np.uint8]) -> int:
        """A segment that is no tensor's; returns its address."""
        return self._space.add(name, data)

    @property
    def segments(self) -> list[Segment]:
        """By address."""
        return self._space.segments

    def address(self, name: str) -> int:
        """Where a tensor begins."""
        return self._space.span(name)[0]

    def segment_at(self, address: int) -> Segment:
        """The segment that holds an address, or the nearest one."""
        return self._space.segment_at(address)

    def written(self, name: str) -> Bits:
        """bool [bytes of a tensor]: which of them the launch stored to.

        Exact to the byte where the program has a store of less than a dword, else to the dword.
        """
        return self.meetings.written(*self._space.span(name))

    def load(self, addresses: Ints, size: int, lanes: Bits | None, by: By, *, atomic: bool = False) -> U32:
        """uint32 [dwords, W, lanes]: `size` bytes of every active address, 0 elsewhere and outside tensors.

        addresses: int64 [W, lanes]; lanes: None for all of them; atomic: whether others may store there meanwhile.
        """
        addresses = self._of_its_world(addresses, by)
        reach = self._reach(addresses, size, lanes, "read", by)
        if reach is None:
            return np.zeros((max(1, size // 4), *addresses.shape), np.uint32)
        self._count(self.read_bytes, reach, size)
        aligned = self._aligned(addresses, reach, size, by)
        if not atomic:
            self.meetings.load(addresses, size, aligned, reach, by)
        return self._space.cells.load(reach.index, size, aligned)

    def store(
        self, addresses: Ints, values: U32, size: int, lanes: Bits | None, by: By, *, atomic: bool = False
    ) -> None:
        """Write `size` bytes of uint32 [dwords, W, lanes] to every active address within a tensor."""
        addresses = self._of_its_world(addresses, by)
        reach = self._reach(addresses, size, lanes, "write", by)
        if reach is None:
            return
        if self._own(addresses, reach, by.instruction):
            reach = self._reach(addresses, size, lanes, "write", by) or reach
        self._count(self.written_bytes, reach, size)
        aligned = self._aligned(addresses, reach, size, by)
        index, taking = reach.index, reach.lanes
        if taking is not None:
            addresses, index, values = addresses[taking], index[taking], values[:, taking]
        store = Store(addresses, index, values, size, aligned, taking)
        if atomic:
            groups = np.broadcast_to(store.spread(by.state.group), addresses.shape)
            self.meetings.atomic(addresses.ravel(), size, aligned, reach, groups.ravel())
        alone = atomic or self.meetings.before_store(store, reach, by)
        self._space.cells.store(store.index, store.values, size, aligned)
        if not alone:
            self.meetings.after_store(store, by)

    def update(
        self, addresses: Ints, values: U32, lanes: Bits | None, by: By, operation: Operation, returns: bool = True
    ) -> U32:
        """An atomic: what memory held before, uint32 [dwords, W, lanes]; lanes that meet go one after the other.

        values: uint32 [operation.brought, W, lanes]; returns: whether anybody wants the result.
        """
        size = operation.size
        before = np.zeros((size // 4, *addresses.shape), np.uint32)
        addresses = self._of_its_world(addresses, by)
        reach = self._reach(addresses, size, lanes, "write", by)
        if reach is None:
            return before
        if self._own(addresses, reach, by.instruction):
            reach = self._reach(addresses, size, lanes, "write", by) or reach
        aligned = self._aligned(addresses, reach, size, by)
        taking = reach.taking
        self.atomics += int(np.count_nonzero(taking))
        self._count(self.written_bytes, reach, size)
        groups = np.broadcast_to(by.state.group[:, None], taking.shape)[taking]
        self.meetings.atomic(addresses[taking], size, aligned, reach, groups)
        before[:, taking] = operation.run(self._space.cells, reach.index[taking], values[:, taking], aligned, returns)
        return before

    def _count(self, totals: dict[str, int], reach: Reach, size: int) -> None:
        for number, count in reach.counts():
            name = self.segments[number].name
            totals[name] = totals.get(name, 0) + size * count

    def _reach(self, addresses: Ints, size: int, lanes: Bits | None, access: Access, by: By) -> Reach | None:
        """Where active lanes lie; those outside of every tensor are reported."""
        reach, outside = self._space.reach(addresses, size, lanes)
        for one in outside:
            offset = one.nearest.offset(int(addresses[one.lanes][0]))
            detail = f"{size} bytes a lane, and {one.nearest.name} has {len(one.nearest.data)}"
            kind = "out_of_bounds_read" if access == "read" else "out_of_bounds_write"
            self.findings.add(by.finding(kind, one.lanes, one.nearest.name, offset, detail))
        if reach is None or not self._space.twins or not alignment(reach.index) & (size - 1):
            return reach
        joined = self._space.join(addresses, size, reach)
        return self._space.reach(addresses, size, lanes)[0] if joined else reach

    def _aligned(self, addresses: Ints, reach: Reach, size: int, by: By) -> int:
        """How places are aligned; reported where dwords do not begin at multiples of 4, or words at odd bytes.

        AMD CDNA3 ISA guide, "Memory Buffer Addressing": with unaligned mode off the hardware would move such an access.
        """
        found = alignment(reach.index) if size > 1 else 0
        if found & (min(size, 4) - 1):
            odd = reach.taking & (reach.index & (min(size, 4) - 1) != 0)
            if odd.any():
                address = int(addresses[odd][0])
                segment = self.segment_at(address)
                offset = segment.offset(address)
                self.findings.add(by.finding("misaligned", odd, segment.name, offset, f"{size} bytes a lane"))
        return found
