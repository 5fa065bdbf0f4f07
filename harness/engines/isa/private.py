"""Private memory of every lane: what the compiler could not keep in registers."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import numpy as np

from rocassay.harness.engines.isa.addressing import CACHE_BITS, number
from rocassay.harness.engines.isa.asm import Instruction
from rocassay.harness.engines.isa.cells import QUAD, Cells, alignment
from rocassay.harness.engines.isa.findings import PRIVATE, By, FindingLog
from rocassay.harness.engines.isa.sources import no_modifiers
from rocassay.harness.engines.isa.state import LANES, U32, Bits, Ints, State


class Private:
    """Bytes of every lane of the waves of a chunk.

    Attributes:
        size: bytes a lane.
        moved_bytes: loaded and stored by active lanes.
    """

    def __init__(self, size: int, findings: FindingLog | None = None) -> None:
        self.size = size
        self.moved_bytes = 0
        self.findings = FindingLog() if findings is None else findings
        self._stride = -(-size // QUAD) * QUAD
        self.renew(0, np.zeros(0, np.uint32))

    def renew(self, first: int, junk: U32) -> None:
        """Wave `first` and those behind it begin, with `junk`, uint32 [waves], in every dword of each."""
        self._first = first
        held = np.repeat(junk, LANES * self._stride // 4) if self._stride else np.zeros(0, np.uint32)
        self._cells = Cells(np.resize(held, max(len(held), QUAD // 4)).view(np.uint8))

    def begin(self) -> None:
        """Begin another launch: nothing counted, nothing found."""
        self.findings.clear()
        self.moved_bytes = 0

    def _index(self, addresses: Ints, size: int, by: By) -> tuple[Ints, Bits | None]:
        """Places, and the lanes that stay within their memory where some do not or do not execute."""
        state = by.state
        lanes = None if state.full else state.mask
        inside = (addresses >= 0) & (addresses + size <= self.size)
        if not inside.all():
            stray = state.mask & ~inside
            if stray.any():
                offset = int(addresses[stray][0])
                detail = f"{size} bytes, of {self.size} a lane"
                self.findings.add(by.finding("local_out_of_bounds", stray, PRIVATE, offset, detail))
            lanes = state.mask & inside
            addresses = np.where(inside, addresses, 0)
        rows = (state.waves - self._first)[:, None] * LANES + np.arange(LANES)
        return rows * self._stride + addresses, lanes

    def load(self, addresses: Ints, size: int, by: By) -> U32:
        """uint32 [dwords, W, 64] from each lane's own memory; 0 outside of it."""
        index, lanes = self._index(addresses, size, by)
        self.moved_bytes += size * int(np.count_nonzero(by.state.mask if lanes is None else lanes))
        values = self._cells.load(index, size, alignment(index))
        return values if lanes is None else values * lanes

    def store(self, addresses: Ints, values: U32, size: int, by: By) -> None:
        """Write uint32 [dwords, W, 64] to each lane's own memory."""
        index, lanes = self._index(addresses, size, by)
        if lanes is not None:
            index, values = index[lanes], values[:, lanes]
        self.moved_bytes += size * index.size
        if index.size:
            self._cells.store(index, values, size, alignment(index))


def address_of(instruction: Instruction) -> tuple[int, int | None, int | None]:
    """(constant, vector register, scalar register) that together are a scratch instruction's address."""
    no_modifiers(instruction, "offset", *CACHE_BITS)
    operands = instruction.operands
    vector, base = (operands[1], operands[2]) if "_load_" in instruction.name else (operands[0], operands[2])
    return (
        number(instruction),
        vector.index if vector.kind == "v" else None,
        base.index if base.kind == "s" else None,
    )


def addresses(state: State, constant: int, vector: int | None, base: int | None) -> Ints:
    """int64 [W, 64], bytes in each lane's memory."""
    at = np.full(state.mask.shape, constant, np.int64)
    if vector is not None:
        at += state.v[vector]
    if base is not None:
        at += state.s[base].astype(np.int64)[:, None]
    return at
