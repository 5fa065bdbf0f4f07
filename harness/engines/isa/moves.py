"""Moves between lanes, waves' scalar registers and accumulation registers."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from rocassay.harness.engines.isa.asm import Instruction, Operand, Unsupported
from rocassay.harness.engines.isa.sources import Array, no_modifiers, no_signs, vector32
from rocassay.harness.engines.isa.state import LANES, State
from rocassay.harness.engines.isa.steps import Maker, Step, into, target_register


def _first_lane(instruction: Instruction, _: str) -> Step:
    """v_readfirstlane_b32: of the lowest lane that executes, of lane 0 where none does."""
    no_modifiers(instruction)
    target, source = instruction.operands
    get, index = vector32(source, instruction.text), target.index

    def step(state: State) -> None:
        values = np.broadcast_to(get(state), state.mask.shape)
        if state.full:
            state.put_scalar(index, values[:, 0])
        else:
            state.put_scalar(index, values[np.arange(state.count), state.mask.argmax(axis=1)])

    return step


def _lane_number(operand: Operand) -> Callable[[State], Array]:
    if operand.kind == "literal":
        assert isinstance(operand.value, int)
        number = operand.value & (LANES - 1)
        return lambda _: number
    return lambda state: (state.s[operand.index] & np.uint32(LANES - 1)).astype(np.int64)


def _read_lane(instruction: Instruction, _: str) -> Step:
    """v_readlane_b32, whatever executes."""
    no_modifiers(instruction)
    target, source, lane = instruction.operands
    if source.kind not in ("v", "a"):
        raise Unsupported(f"the source of {instruction.text!r} is no vector register")
    at, get, index = _lane_number(lane), vector32(source, instruction.text), target.index
    if lane.kind == "literal":
        return lambda state: state.put_scalar(index, get(state)[:, at(state)])
    return lambda state: state.put_scalar(index, get(state)[np.arange(state.count), at(state)])


def _write_lane(instruction: Instruction, _: str) -> Step:
    """v_writelane_b32, whatever executes."""
    no_modifiers(instruction)
    source, lane = instruction.operands[1:]
    index, at, get = target_register(instruction), _lane_number(lane), vector32(source, instruction.text)
    if source.kind not in ("s", "literal"):
        raise Unsupported(f"the source of {instruction.text!r} is no scalar")

    def step(state: State) -> None:
        value = get(state)
        state.v[index][np.arange(state.count), at(state)] = value[:, 0] if value.ndim else value

    return step


def _move_accumulator(instruction: Instruction, _: str) -> Step:
    """v_accvgpr_read_b32, v_accvgpr_write_b32 and v_accvgpr_mov_b32."""
    no_modifiers(instruction)
    target, source = instruction.operands
    no_signs(instruction, (source,))
    get, index = vector32(source, instruction.text), target.index
    if target.kind == "v":
        return into(index, "v", lambda value, out: np.copyto(out, value), [get])

    def step(state: State) -> None:
        if state.full:
            state.a[index] = get(state)
        else:
            np.copyto(state.a[index], get(state), where=state.mask)

    return step


def _swap(rows: int) -> Maker:
    """Odd groups of `rows` lanes of the first register change places with the even ones of the second."""

    def make(instruction: Instruction, _: str) -> Step:
        no_modifiers(instruction)
        first, second = instruction.operands
        if first.kind != "v" or second.kind != "v":
            raise Unsupported(f"the operands of {instruction.text!r} are no vector registers")

        def step(state: State) -> None:
            if not state.full:
                raise Unsupported(f"{instruction.text!r} with lanes that do not execute is not known")
            shape = state.count, LANES // (2 * rows), 2, rows
            one, other = state.v[first.index].reshape(shape), state.v[second.index].reshape(shape)
            odd = one[:, :, 1].copy()
            one[:, :, 1] = other[:, :, 0]
            other[:, :, 0] = odd

        return step

    return make


MAKERS: dict[str, Maker] = {
    "v_readfirstlane_b32": _first_lane,
    "v_readlane_b32": _read_lane,
    "v_writelane_b32": _write_lane,
    "v_accvgpr_read_b32": _move_accumulator,
    "v_accvgpr_write_b32": _move_accumulator,
    "v_accvgpr_mov_b32": _move_accumulator,
    "v_permlane16_swap_b32": _swap(16),
    "v_permlane32_swap_b32": _swap(32),
}
