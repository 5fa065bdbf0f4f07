"""Waves that stand at the same instruction: their registers, one array row a register, all of them at once."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rocassay.harness.engines.isa.asm import EXEC, VCC

if TYPE_CHECKING:
    from rocassay.harness.engines.isa.races import Touch

LANES = 64

U32: TypeAlias = NDArray[np.uint32]
U64: TypeAlias = NDArray[np.uint64]
F32: TypeAlias = NDArray[np.float32]
I32: TypeAlias = NDArray[np.int32]
Bits: TypeAlias = NDArray[np.bool_]
Ints: TypeAlias = NDArray[np.int64]

SCALARS = 128
"""Scalar registers, the special ones among them."""


def pack(mask: Bits) -> U64:
    """bool [W, 64] -> a 64-bit mask a wave."""
    return np.packbits(mask, axis=1, bitorder="little").view(np.uint64)[:, 0]


def unpack(low: U32, high: U32) -> Bits:
    """Two scalar registers [W] -> bool [W, 64]."""
    pair = np.empty((len(low), 2), np.uint32)
    pair[:, 0], pair[:, 1] = low, high
    return np.unpackbits(pair.view(np.uint8), axis=1, bitorder="little").view(np.bool_)


MOST_UNDER_WAY = {"vmcnt": 63, "lgkmcnt": 15}
"""Largest values of the counters of gfx9 (LLVM AMDGPU usage, s_waitcnt)."""

Place: TypeAlias = "tuple[str, int]"
"""A register: its file, v, a or s, and its number."""


@dataclass(frozen=True, slots=True)
class Pending:
    """A memory operation whose result nobody may count on yet.

    Attributes:
        counter: vmcnt or lgkmcnt.
        ordered: whether it completes after those that were issued before it; scalar loads do not.
        writes: what it will write: uint32 [W, 64] for vector registers, [W] for scalar ones.
        lanes: bool [W, 64], the lanes that it writes.
        late: done when it completes, on the waves that are left: an asynchronous copy into LDS.
        text, line: of the instruction, for reports.
    """

    counter: str
    ordered: bool
    writes: tuple[tuple[Place, U32], ...]
    lanes: Bits
    late: Callable[[Bits], None] | None
    text: str
    line: int
    touches: tuple[Touch, ...] = ()
    """What it touches of local memory."""

    def commit(self, state: State) -> None:
        """Make the result visible."""
        whole = bool(self.lanes.all())
        for (file, number), values in self.writes:
            if file == "s":
                state.put_scalar(number, values)
            else:
                target = state.v if file == "v" else state.a
                if whole:
                    target[number] = values
                else:
                    np.copyto(target[number], values, where=self.lanes)
        if self.late:
            self.late(self.lanes)

    def part(self, chosen: Bits) -> Pending:
        """The same for some of the waves."""
        writes = tuple((place, values[chosen]) for place, values in self.writes)
        late = self.late
        whole = np.zeros_like(self.lanes)

        def later(lanes: Bits) -> None:
            whole[:] = False
            whole[chosen] = lanes
            assert late
            late(whole)

        touches = tuple(touch.part(chosen) for touch in self.touches)
        lanes, after = self.lanes[chosen], later if late else None
        return Pending(self.counter, self.ordered, writes, lanes, after, self.text, self.line, touches)


def _no_pending() -> list[Pending]:
    return []


@dataclass(slots=True)
class State:
    """A batch of waves with one program counter.

    Attributes:
        waves: int64 [W], number of each wave in the launch.
        group: int64 [W], its workgroup; those of a chunk are consecutive, the second world's behind the first's.
        world: int64 [W], 0 or 1: two worlds differ in what nobody has written.
        v, a: uint32 [registers, W, 64].
        s: uint32 [128, W].
        scc: bool [W].
        mask: bool [W, 64], the lanes that execute; a copy of the exec registers.
        full: whether all lanes of all waves execute.
        mode: FP16_OVFL, the saturating conversion of FP8.
    """

    pc: int
    waves: Ints
    group: Ints
    world: Ints
    v: U32
    a: U32
    s: U32
    scc: Bits
    mask: Bits
    full: bool = True
    saturate: bool = False
    pending: list[Pending] = field(default_factory=_no_pending)
    busy: set[Place] = field(default_factory=set[Place])
    """Registers that pending operations will write."""
    f: F32 = field(init=False, repr=False)
    """The vector registers as single-precision numbers: the same memory."""
    i: I32 = field(init=False, repr=False)
    """The vector registers as signed integers: the same memory."""

    def __post_init__(self) -> None:
        # Steps reshape registers and write through the result, which must not be a copy.
        self.v, self.a = np.ascontiguousarray(self.v), np.ascontiguousarray(self.a)
        self.f, self.i = self.v.view(np.float32), self.v.view(np.int32)

    def issue(self, pending: Pending) -> None:
        """Take note of a memory operation that is under way.

        The hardware holds an operation back while its counter is full, so that the oldest has completed by then;
        LLVM counts on it and leaves out the wait (SIInsertWaitcnts, ScoreBrackets::setScoreByOperand).
        """
        self.pending.append(pending)
        most = MOST_UNDER_WAY[pending.counter]
        if len(self.pending) > most:
            self.await_results(pending.counter, most)
        self.busy.update([place for place, _ in pending.writes])

    def await_results(self, counter: str, left: int) -> None:
        """Complete the oldest operations of a counter until `left` are outstanding.

        Scalar loads complete in any order: only 0 says anything of them.
        """
        own = [pending for pending in self.pending if pending.counter == counter]
        if len(own) <= left or (left and not all(pending.ordered for pending in own)):
            return
        done = {id(pending) for pending in own[: len(own) - left]}
        for pending in own[: len(own) - left]:
            pending.commit(self)
        self.pending = [pending for pending in self.pending if id(pending) not in done]
        self.note_pending()

    def note_pending(self) -> None:
        """Bring `busy` up to the pending operations."""
        self.busy = {place for pending in self.pending for place, _ in pending.writes}

    @property
    def count(self) -> int:
        """Waves."""
        return len(self.waves)

    def scalar64(self, index: int) -> U64:
        """A register pair of every wave."""
        pair = np.empty((len(self.waves), 2), np.uint32)
        pair[:, 0], pair[:, 1] = self.s[index], self.s[index + 1]
        return pair.view(np.uint64)[:, 0]

    def put_scalar(self, index: int, value: U32) -> None:
        """Write a scalar register; the mask follows exec."""
        self.s[index] = value
        if index >= EXEC:
            self.exec_changed()

    def put_scalar64(self, index: int, value: U64) -> None:
        """Write a pair of scalar registers."""
        self.s[index], self.s[index + 1] = value, value >> np.uint64(32)
        if index >= EXEC:
            self.exec_changed()

    def exec_changed(self) -> None:
        """Bring the mask up to the exec registers."""
        self.mask = unpack(self.s[EXEC], self.s[EXEC + 1])
        self.full = bool(np.count_nonzero(self.mask) == self.mask.size)

    def put(self, index: int, value: NDArray[np.generic] | np.generic) -> None:
        """Write a vector register where lanes execute."""
        if self.full:
            self.v[index] = value
        else:
            np.copyto(self.v[index], value, where=self.mask, casting="unsafe")

    def put_lanes(self, index: int, value: NDArray[np.generic], lanes: Bits) -> None:
        """Write a vector register in some of the executing lanes."""
        np.copyto(self.v[index], value, where=self.mask & lanes, casting="unsafe")

    def put_mask(self, index: int, mask: Bits) -> None:
        """Write a lane mask to a pair of scalar registers; lanes that do not execute give 0."""
        bits = np.packbits(mask if self.full else mask & self.mask, axis=1, bitorder="little").view(np.uint32)
        self.s[index], self.s[index + 1] = bits[:, 0], bits[:, 1]
        if index >= EXEC:
            self.exec_changed()

    def mask_of(self, index: int) -> Bits:
        """A pair of scalar registers as a lane mask."""
        return unpack(self.s[index], self.s[index + 1])

    @property
    def vcc(self) -> U64:
        """The vector condition code."""
        return self.scalar64(VCC)

    def part(self, chosen: Bits) -> State:
        """The chosen waves, in arrays of their own."""
        rows = np.flatnonzero(chosen)
        mask = self.mask[rows]
        return State(
            self.pc,
            self.waves[rows],
            self.group[rows],
            self.world[rows],
            self.v.take(rows, axis=1),
            self.a.take(rows, axis=1),
            self.s.take(rows, axis=1),
            self.scc[rows],
            mask,
            bool(mask.all()),
            self.saturate,
            [pending.part(chosen) for pending in self.pending],
            set(self.busy),
        )


def merged(first: State, second: State) -> State:
    """Two batches at the same instruction as one; nothing may be pending in either."""
    order = np.argsort(np.concatenate([first.waves, second.waves]), kind="stable")
    ordered = bool((order[1:] > order[:-1]).all())

    def both(one: NDArray[np.generic], other: NDArray[np.generic], axis: int) -> NDArray[np.generic]:
        whole = np.concatenate([one, other], axis=axis)
        return whole if ordered else whole.take(order, axis=axis)

    mask = both(first.mask, second.mask, 0).astype(np.bool_)
    return State(
        first.pc,
        both(first.waves, second.waves, 0).astype(np.int64),
        both(first.group, second.group, 0).astype(np.int64),
        both(first.world, second.world, 0).astype(np.int64),
        both(first.v, second.v, 1).astype(np.uint32, copy=False),
        both(first.a, second.a, 1).astype(np.uint32, copy=False),
        both(first.s, second.s, 1).astype(np.uint32, copy=False),
        both(first.scc, second.scc, 0).astype(np.bool_),
        mask,
        bool(mask.all()),
        first.saturate,
    )
