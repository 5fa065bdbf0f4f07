"""Where the lanes of a memory instruction go: buffer descriptors, 64-bit addresses, scalar bases."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from rocassay.harness.engines.isa.asm import Instruction, Operand, Unsupported
from rocassay.harness.engines.isa.findings import By
from rocassay.harness.engines.isa.memory import Memory
from rocassay.harness.engines.isa.sources import no_modifiers, scalar32
from rocassay.harness.engines.isa.state import U32, Bits, Ints

SUPPRESSED = 0x80000000
"""Offset that Triton gives the lanes of a buffer access that must not happen."""

CACHE_BITS = ("glc", "slc", "nt", "sc0", "sc1")
"""Hints that change nothing of a value."""

Address: TypeAlias = "Callable[[By], tuple[Ints, Bits | None]]"
"""(int64 [W, 64], address of every lane; lanes that access memory, None for all)."""


def number(instruction: Instruction, name: str = "offset") -> int:
    """An integer modifier, 0 where it is absent."""
    value = instruction.modifiers.get(name, 0)
    assert isinstance(value, int)
    return value


def buffer_address(instruction: Instruction, operands: tuple[Operand, ...], size: int, memory: Memory) -> Address:
    """Buffer descriptor plus offsets; lanes beyond num_records are dropped, as the hardware does in silence.

    Raw buffers only: a descriptor with a stride is Unsupported. Dropped lanes whose offset is not exactly the one that
    Triton gives to masked lanes are reported: there the descriptor covers up an access that was meant.
    """
    no_modifiers(instruction, "offen", "offset", "lds", *CACHE_BITS)
    offen, constant = bool(instruction.modifiers.get("offen")), number(instruction)
    resource, extra = operands[-2:]
    vector = operands[0].index
    more = scalar32(extra, instruction.text)
    nothing = np.zeros((1, 1), np.uint32)

    def address(by: By) -> tuple[Ints, Bits | None]:
        state = by.state
        held: U32 = state.v[vector] if offen else np.broadcast_to(nothing, state.mask.shape)
        first = resource.index
        if int(state.s[first + 1].max()) > 0xFFFF:
            raise Unsupported(f"{instruction.text!r} with a strided or swizzled descriptor is not known")
        base = state.scalar64(first).astype(np.int64) + more(state) + constant
        records = state.s[first + 2]
        where = held.astype(np.int64)
        where += base[:, None]
        lanes = None if state.full else state.mask
        least = int(records.min())
        if int(held.max()) + constant + size <= least:
            return where, lanes
        dropped = held == SUPPRESSED
        if int(np.where(dropped, np.uint32(0), held).max()) + constant + size > least:
            dropped = held.astype(np.int64) + (constant + size) > records[:, None]
        if lanes is not None:
            dropped &= lanes
        if not dropped.any():
            return where, lanes
        odd = dropped & (held != SUPPRESSED)
        if odd.any():
            row, lane = (int(part[0]) for part in np.nonzero(odd))
            start = int(state.scalar64(first)[row])
            detail = f"from byte {memory.segment_at(start).offset(start)} of the tensor on"
            memory.findings.add(
                by.finding("suppressed", odd, memory.segment_at(start).name, int(held[row, lane]) + constant, detail)
            )
        return where, state.mask & ~dropped

    return address


def flat_address(instruction: Instruction, operands: tuple[Operand, ...]) -> Address:
    """A 64-bit address in vector registers, or a scalar base and a 32-bit vector offset."""
    no_modifiers(instruction, "offset", *CACHE_BITS)
    constant, vector, base = number(instruction), operands[0].index, operands[-1]

    def wide(by: By) -> tuple[Ints, Bits | None]:
        state = by.state
        pair = state.v[vector + 1].astype(np.int64)
        pair <<= 32
        pair |= state.v[vector]
        if constant:
            pair += constant
        return pair, None if state.full else state.mask

    def based(by: By) -> tuple[Ints, Bits | None]:
        state = by.state
        start = state.scalar64(base.index).astype(np.int64) + constant
        where = state.v[vector].astype(np.int64)
        where += start[:, None]
        return where, None if state.full else state.mask

    return wide if base.kind != "s" else based
