"""Local memory of the workgroups: its bytes, races, strays and bank conflicts."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace

import numpy as np
from numpy.typing import NDArray

from rocassay.harness.engines.isa.atomics import Operation
from rocassay.harness.engines.isa.banks import Banks
from rocassay.harness.engines.isa.cells import QUAD, Cells, alignment
from rocassay.harness.engines.isa.conflicts import Units
from rocassay.harness.engines.isa.findings import LOCAL, By, FindingLog
from rocassay.harness.engines.isa.races import Clash, Touch, Watch
from rocassay.harness.engines.isa.state import U32, Bits, Ints, State


class Lds:
    """Local memory of all workgroups of a chunk.

    Attributes:
        size: bytes of a workgroup, padded to 16.
        groups, first: how many workgroups, and the number of the first one.
        findings: what accesses did beyond their values.
        grain: log2 of the bytes that races are told apart by: 2 while the program stores whole dwords only.
        watched: whether races are looked for; a workgroup of one wave has none.
        read_bytes, written_bytes: by active lanes.
        atomics: lanes that updated memory atomically.
    """

    def __init__(
        self,
        size: int,
        groups: int,
        first: int,
        junk: int = 0,
        findings: FindingLog | None = None,
        watched: bool = True,
    ) -> None:
        self.size = -(-size // QUAD) * QUAD
        self.groups, self.watched = groups, watched
        self.findings = FindingLog() if findings is None else findings
        self.grain = 2
        self.read_bytes = self.written_bytes = self.atomics = 0
        self._banks = Banks()
        self.renew(self.size, groups, first, np.full(groups, junk, np.uint32), watched=watched)

    def begin(self) -> None:
        """Begin another launch: nothing counted, nothing found."""
        self.findings.clear()
        self.read_bytes = self.written_bytes = self.atomics = 0
        self._banks.conflicts = 0

    def renew(self, size: int, groups: int, first: int, junk: U32, *, watched: bool) -> None:
        """Other workgroups, from `first` on, of `size` bytes each; `junk` is in every dword of each."""
        self.size = max(-(-size // QUAD) * QUAD, QUAD)
        self.groups, self.first, self.watched = groups, first, watched
        self._cells = Cells(np.repeat(junk, self.size // 4).view(np.uint8))
        self._watch: Watch | None = None
        self._copying = False
        self._bases: tuple[Ints | None, Ints] = (None, np.zeros(0, np.int64))

    @property
    def data(self) -> NDArray[np.uint8]:
        """uint8 [groups * size]."""
        return self._cells.bytes

    @property
    def conflicts(self) -> int:
        """Extra cycles that bank conflicts cost: see `Banks`."""
        return self._banks.conflicts

    @property
    def watch(self) -> Watch:
        """Who touched what."""
        if self._watch is None:
            self._watch = Watch(self.size >> self.grain, self.groups, self.first)
        return self._watch

    def barrier(self, states: Sequence[State]) -> None:
        """All waves of the workgroups of these batches stand at a barrier.

        What they did before is over, but for operations that nobody waited for: those are carried across.
        """
        if not self.watched or not states:
            return
        self.watch.barrier(np.concatenate([state.group for state in states]))
        for state in states:
            for pending in state.pending:
                for touch in pending.touches:
                    self.watch.carry(touch, state)

    def _flat(
        self, at: U32 | Ints, offset: int, size: int, lanes: Bits | None, by: By
    ) -> tuple[Ints, Bits | None] | None:
        """(bytes in `data`, lanes that lie in their workgroup's part; None for all); None where none does."""
        known, base = self._bases
        if known is not by.state.group:
            base = ((by.state.group - self.first) * self.size)[:, None]
            self._bases = (by.state.group, base)
        if lanes is not None:
            if not lanes.any():
                return None
            at = np.where(lanes, at, at.dtype.type(0))
        if int(at.max()) + offset + size > self.size:
            # The sum of address and offset has 32 bits: a negative address may come back into the memory.
            wide = (at.astype(np.int64) + offset) & 0xFFFFFFFF
            inside = wide + size <= self.size
            stray = ~inside if lanes is None else lanes & ~inside
            if stray.any():
                detail = f"{size} bytes, and a workgroup has {self.size}"
                self.findings.add(by.finding("local_out_of_bounds", stray, LOCAL, int(wide[stray][0]), detail))
            lanes = None if inside.all() and lanes is None else inside if lanes is None else lanes & inside
            at = np.where(inside, wide - offset, 0)
            if lanes is not None and not lanes.any():
                return None
        flat = at.astype(np.int64)
        flat += base + offset if offset else base
        return flat, lanes

    def _aligned(self, flat: Ints, size: int, wanted: int, lanes: Bits | None, by: By) -> int:
        """How places are aligned; reported where they are less than `wanted`.

        The chips run with unaligned access on (LLVM AMDGPU usage, "Target Properties"), under which LLVM itself emits
        ds_write_b128 at multiples of 8; what is less than a dword's alignment is split by the hardware, and no kernel
        means it.
        """
        wanted = min(wanted, 4)
        found = alignment(flat)
        if found & (wanted - 1):
            odd = flat & (wanted - 1) != 0
            odd = odd if lanes is None else odd & lanes
            if odd.any():
                offset = int(flat[odd][0]) % self.size
                self.findings.add(by.finding("misaligned", odd, LOCAL, offset, f"{size} bytes want {wanted}"))
        return found

    def _touch(self, flat: Ints, size: int, aligned: int, lanes: Bits | None, by: By, writes: bool) -> Touch:
        units = Units.of(flat, size, self.grain, aligned)
        return Touch(units, by.state.mask if lanes is None else lanes, writes)

    def load(
        self, at: U32 | Ints, offset: int, size: int, lanes: Bits | None, by: By, wanted: int = 1
    ) -> tuple[U32, Touch | None]:
        """(uint32 [dwords, W, 64], what was touched); 0 where lanes do not take part.

        at: byte addresses [W, 64], to which `offset` is added; wanted: alignment in bytes.
        """
        found = self._flat(at, offset, size, lanes, by)
        if found is None:
            return np.zeros((max(1, size // 4), *at.shape), np.uint32), None
        flat, lanes = found
        self.read_bytes += size * (flat.size if lanes is None else int(np.count_nonzero(lanes)))
        self._banks.access("read", at, offset, size, lanes)
        aligned = self._aligned(flat, size, wanted, lanes, by)
        touch = None
        if self.watched or self._copying:
            touch = self._touch(flat, size, aligned, lanes, by, writes=False)
            self._check_copies(touch, by)
        if self.watched and touch is not None:
            self._race(self.watch.read(touch, lanes is None, by.state), by)
        values = self._cells.load(flat, size, aligned)
        return (values if lanes is None else values * lanes), touch

    def store(
        self, at: U32 | Ints, offset: int, values: U32, size: int, lanes: Bits | None, by: By, wanted: int = 1
    ) -> Touch | None:
        """Write uint32 [dwords, W, 64]; what was touched."""
        found = self._flat(at, offset, size, lanes, by)
        if found is None:
            return None
        flat, lanes = found
        self.written_bytes += size * (flat.size if lanes is None else int(np.count_nonzero(lanes)))
        self._banks.access("write", at, offset, size, lanes)
        aligned = self._aligned(flat, size, wanted, lanes, by)
        touch, meets = None, False
        if self.watched or self._copying:
            touch = self._touch(flat, size, aligned, lanes, by, writes=True)
            self._check_copies(touch, by)
        if self.watched and touch is not None:
            clashes, meets = self.watch.write(touch, lanes is None, by.state)
            self._race(self._changing(clashes, touch, flat, values, size), by)
        if lanes is None:
            self._cells.store(flat, values, size, aligned)
        else:
            self._cells.store(flat[lanes], values[:, lanes], size, aligned)
        if meets and touch is not None:
            clashes = self.watch.met(touch, by.state)
            self._race(self._changing(clashes, touch, flat, values, size), by)
        return touch

    def _changing(self, clashes: Sequence[Clash], touch: Touch, flat: Ints, values: U32, size: int) -> list[Clash]:
        """Races without those whose stores leave what is there: Triton lets waves store replicas of a value each."""
        found: list[Clash] = []
        for clash in clashes:
            if clash.order == "write after write":
                held = self._cells.load(flat[clash.lanes], size, alignment(flat[clash.lanes]))
                keep = np.uint32((1 << 8 * min(size, 4)) - 1)
                unequal = (held ^ values[:, clash.lanes]) & keep
                lanes = np.zeros_like(clash.lanes)
                lanes[clash.lanes] = unequal.any(axis=0)
                if not lanes.any():
                    continue
                if (lanes != clash.lanes).any():
                    row, lane = (int(part[0]) for part in np.nonzero(lanes))
                    clash = replace(clash, lanes=lanes, unit=int(touch.units.first[row, lane]))
            found.append(clash)
        return found

    def update(
        self,
        at: U32 | Ints,
        offset: int,
        values: U32,
        lanes: Bits | None,
        by: By,
        operation: Operation,
        returns: bool = True,
    ) -> tuple[U32, Touch | None]:
        """An atomic: (what was there before, uint32 [dwords, W, 64], what was touched).

        Lanes that meet go one after the other.
        """
        size = operation.size
        before = np.zeros((size // 4, *at.shape), np.uint32)
        found = self._flat(at, offset, size, lanes, by)
        if found is None:
            return before, None
        flat, lanes = found
        aligned = self._aligned(flat, size, size, lanes, by)
        touch = self._touch(flat, size, aligned, lanes, by, writes=True)
        self.atomics += int(np.count_nonzero(touch.lanes))
        self._check_copies(touch, by)
        if self.watched:
            self._race(self.watch.update(touch, lanes is None, by.state), by)
        taking = touch.lanes
        before[:, taking] = operation.run(self._cells, flat[taking], values[:, taking], aligned, returns)
        return before, touch

    def copy(self, places: Ints, values: U32, size: int, by: By) -> Callable[[Bits], None]:
        """Begin an asynchronous copy into local memory; what makes it arrive, given the lanes that are left."""
        state = by.state
        found = self._flat(places, 0, size, None if state.full else state.mask, by)
        if found is None:
            return lambda _: None
        flat, lanes = found
        aligned = alignment(flat)
        touch = self._touch(flat, size, aligned, lanes, by, writes=True)
        then = By(_snapshot(state), by.instruction)
        if self.watched:
            clashes, _ = self.watch.write(touch, False, state)
            self._race(clashes, by)
        self._copying = True
        self.watch.fly(touch, state, landed=False)

        def land(landing: Bits) -> None:
            taking = touch.lanes & landing
            if not taking.any():
                return
            part = Touch(touch.units, taking, writes=True)
            self.watch.fly(part, then.state, landed=True)
            if self.watched:
                clashes, _ = self.watch.write(part, False, then.state)
                self._race(clashes, then)
            self.written_bytes += size * int(np.count_nonzero(taking))
            self._cells.store(flat[taking], values[:, taking], size, aligned)

        return land

    def _check_copies(self, touch: Touch, by: By) -> None:
        found = self.watch.flying(touch, by.state) if self._copying else None
        if found is None:
            return
        own, others, unit, wave = found
        offset = (unit << self.grain) % self.size
        if own.any():
            detail = "nothing waited for the copy into local memory that is under way"
            self.findings.add(by.finding("missing_wait", own, f"byte {offset} of {LOCAL}", offset, detail))
        if others.any():
            order = "access while an asynchronous copy is under way"
            self.findings.add(by.finding("local_race", others, LOCAL, offset, order, wave))

    def _race(self, clashes: Sequence[Clash], by: By) -> None:
        for clash in clashes:
            offset = (clash.unit << self.grain) % self.size
            self.findings.add(by.finding("local_race", clash.lanes, LOCAL, offset, clash.detail, clash.other))


def _snapshot(state: State) -> State:
    """The batch as it is now, for what happens later: waves and workgroups only."""
    none = np.zeros((0, state.count, 64), np.uint32)
    scalars = np.zeros((0, state.count), np.uint32)
    return State(state.pc, state.waves, state.group, state.world, none, none, scalars, state.scc, state.mask)
