"""Instructions that move values between lanes through the crossbar of local memory, and touch none of its bytes."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TypeAlias

import numpy as np

from rocassay.harness.engines.isa.addressing import number
from rocassay.harness.engines.isa.asm import Instruction, Operand
from rocassay.harness.engines.isa.sources import no_modifiers
from rocassay.harness.engines.isa.state import LANES, U32, Ints, Pending, State
from rocassay.harness.engines.isa.swizzles import sources

Step: TypeAlias = Callable[[State], None]


def _issue(state: State, instruction: Instruction, values: U32) -> None:
    """The result arrives like that of a read of local memory."""
    target = instruction.operands[0]
    writes = (((target.kind, target.index), values),)
    state.issue(Pending("lgkmcnt", True, writes, state.mask, None, instruction.text, instruction.line, ()))


def _offered(state: State, data: Operand) -> U32:
    """uint32 [W, 64], what may be taken: 0 of the lanes that do not execute."""
    file = state.v if data.kind == "v" else state.a
    return file[data.index] if state.full else np.where(state.mask, file[data.index], np.uint32(0))


def _lane_of(state: State, at: Operand, offset: np.uint32) -> Ints:
    """The lane that an address in bytes names."""
    return (((state.v[at.index] + offset) >> np.uint32(2)) & np.uint32(LANES - 1)).astype(np.int64)


def _gathered(instruction: Instruction) -> Step:
    """ds_bpermute_b32: lane n gets the value of lane address[n] / 4; lanes that do not execute give 0."""
    no_modifiers(instruction, "offset")
    _, at, data = instruction.operands
    offset = np.uint32(number(instruction))

    def step(state: State) -> None:
        index = _lane_of(state, at, offset) + (np.arange(state.count) * LANES)[:, None]
        _issue(state, instruction, _offered(state, data).take(index))

    return step


def _scattered(instruction: Instruction) -> Step:
    """ds_permute_b32: lane n gives its value to lane address[n] / 4.

    Of several givers the highest lane wins, and a lane that none gives to gets 0 (AMD CDNA3 ISA guide).
    """
    no_modifiers(instruction, "offset")
    _, at, data = instruction.operands
    offset = np.uint32(number(instruction))

    def step(state: State) -> None:
        lane, given = _lane_of(state, at, offset), _offered(state, data)
        giver = np.full((state.count, LANES), -1)
        waves, lanes = np.nonzero(state.mask)
        np.maximum.at(giver, (waves, lane[waves, lanes]), lanes)
        values = np.take_along_axis(given, giver.clip(0), axis=1)
        _issue(state, instruction, np.where(giver >= 0, values, np.uint32(0)))

    return step


def _swizzled(instruction: Instruction) -> Step:
    """ds_swizzle_b32: lanes read one another in a fixed pattern; those that do not execute give 0."""
    no_modifiers(instruction, "offset")
    _, data = instruction.operands
    source = sources(number(instruction))

    def step(state: State) -> None:
        _issue(state, instruction, _offered(state, data).take(source, axis=1))

    return step


CROSSINGS: Mapping[str, Callable[[Instruction], Step]] = {
    "ds_bpermute_b32": _gathered,
    "ds_permute_b32": _scattered,
    "ds_swizzle_b32": _swizzled,
}
"""Makers of steps by name."""
