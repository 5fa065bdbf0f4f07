"""Integer instructions of the vector unit on 64 bits, and those with a carry."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

from typing import Any

import numpy as np

from rocassay.harness.engines.isa.asm import Instruction, Operand
from rocassay.harness.engines.isa.sources import Array, Get, no_modifiers, no_signs, vector32, vector64
from rocassay.harness.engines.isa.state import State
from rocassay.harness.engines.isa.steps import Function, Maker, Step, target_register

_63, _7 = np.uint64(63), np.uint64(7)


def _carry(instruction: Instruction, _: str) -> Step:
    """Additions and subtractions with a carry out, and in where there is a fifth operand."""
    out, a, b, *carried = instruction.operands[1:]
    no_modifiers(instruction)
    no_signs(instruction, (a, b))
    first, second = vector32(a, instruction.text), vector32(b, instruction.text)
    if "rev" in instruction.name:
        first, second = second, first
    index, mask_index = target_register(instruction), out.index
    into = carried[0].index if carried else None
    subtract = "sub" in instruction.name

    def step(state: State) -> None:
        x, y = first(state), second(state)
        total = x - y if subtract else x + y
        carry = x < y if subtract else total < x
        if into is not None:
            more = state.mask_of(into)
            carry = carry | ((total < more) if subtract else (total == 0xFFFFFFFF) & more)
            total = total - more if subtract else total + more
        carry = np.broadcast_to(carry, state.mask.shape)
        state.put(index, total)
        state.put_mask(mask_index, carry)

    return step


def _pair(function: Function) -> Maker:
    """An instruction on 64-bit values; a source of 32 bits is a shift amount."""

    def make(instruction: Instruction, _: str) -> Step:
        no_modifiers(instruction)
        sources = instruction.operands[1:]
        no_signs(instruction, sources)
        index, gets = target_register(instruction), [_source64(s, instruction.text) for s in sources]
        return lambda state: put64(state, index, function(*(get(state) for get in gets)))

    return make


def _source64(source: Operand, text: str) -> Get:
    if source.count == 2 or source.kind == "literal":
        return vector64(source, text)
    get = vector32(source, text)
    return lambda state: get(state).astype(np.uint64)


def put64(state: State, index: int, value: Array) -> None:
    """Write a pair of vector registers."""
    if value.ndim < 2:
        value = np.broadcast_to(value, state.mask.shape)
    halves: Any = np.ascontiguousarray(value).view(np.uint32).reshape(*value.shape, 2)
    state.put(index, halves[..., 0])
    state.put(index + 1, halves[..., 1])


def _mad64(signed: bool) -> Maker:
    """v_mad_u64_u32 and v_mad_i64_i32: a product of 64 bits and a sum, bit 64 of which is the carry out."""

    def make(instruction: Instruction, _: str) -> Step:
        no_modifiers(instruction)
        out, a, b, c = instruction.operands[1:]
        no_signs(instruction, (a, b, c))
        first, second = vector32(a, instruction.text), vector32(b, instruction.text)
        third, index = vector64(c, instruction.text), target_register(instruction)

        def step(state: State) -> None:
            x, y, z = first(state), second(state), third(state)
            if signed:
                product = np.multiply(x.view(np.int32), y.view(np.int32), dtype=np.int64).view(np.uint64)
            else:
                product = np.multiply(x, y, dtype=np.uint64)
            total = product + z
            carry = total < product
            if signed:  # bit 64 of the sum of the sign-extended terms
                carry = carry ^ (product.view(np.int64) < 0) ^ (z.view(np.int64) < 0)
            put64(state, index, total)
            state.put_mask(out.index, np.broadcast_to(carry, state.mask.shape))

        return step

    return make


MAKERS: dict[str, Maker] = {
    **dict.fromkeys(
        ("v_add_co_u32", "v_addc_co_u32", "v_sub_co_u32", "v_subb_co_u32", "v_subrev_co_u32", "v_subbrev_co_u32"),
        _carry,
    ),
    "v_lshl_add_u64": _pair(lambda a, b, c: (a << (b & _7)) + c),
    "v_lshlrev_b64": _pair(lambda a, b: b << (a & _63)),
    "v_lshrrev_b64": _pair(lambda a, b: b >> (a & _63)),
    "v_ashrrev_i64": _pair(lambda a, b: (b.view(np.int64) >> (a & _63).astype(np.int64)).view(np.uint64)),
    "v_mov_b64": _pair(lambda a: a),
    "v_mad_u64_u32": _mad64(signed=False),
    "v_mad_i64_i32": _mad64(signed=True),
}
