"""The scalar unit: one value a wave; branches are the machine's."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from rocassay.harness.engines.isa.asm import EXEC, Instruction, Operand, Unsupported
from rocassay.harness.engines.isa.scalars import (
    PAIR,
    RELATION,
    SAVE,
    SHIFT_PAIR,
    WORD,
    Function,
    overflow_add,
    signed,
)
from rocassay.harness.engines.isa.sources import Array, no_modifiers, scalar32, scalar64
from rocassay.harness.engines.isa.state import State

Step: TypeAlias = Callable[[State], None]

_31, _63 = np.uint32(31), np.uint64(63)


_SILENT = frozenset({"s_nop", "s_setprio", "s_sleep", "s_icache_inv", "s_code_end", "s_clause", "s_dcache_wb"})


def build(instruction: Instruction) -> Step | None:
    """The step of a scalar instruction; None when it is none of this unit's."""
    name = instruction.name
    if name in _SILENT:
        return lambda _: None
    if name in WORD:
        return _word(instruction, *WORD[name])
    if name in PAIR:
        return _pair(instruction, *PAIR[name])
    if name in SHIFT_PAIR:
        return _shift(instruction, SHIFT_PAIR[name])
    if name in SAVE:
        return _save(instruction, SAVE[name])
    if name.startswith(("s_cmp_", "s_cmpk_")):
        return _compare(instruction)
    maker = _MAKERS.get(name)
    return maker(instruction) if maker else None


def _word(instruction: Instruction, function: Function, condition: Function | None) -> Step:
    no_modifiers(instruction)
    target, *sources = instruction.operands
    gets = [scalar32(source, instruction.text) for source in sources]
    constant = all(source.kind == "literal" for source in sources)
    put = _store(target.index)
    if condition is None and len(gets) == 1:
        (only,) = gets
        return lambda state: put(state, function(only(state)))

    def step(state: State) -> None:
        values = [get(state) for get in gets]
        result = function(*values)
        if condition is not None:
            flag = condition(*values, result)
            state.scc = np.array(np.broadcast_to(flag, state.scc.shape)) if constant else flag
        put(state, result)

    return step


def _store(index: int) -> Callable[[State, Array], None]:
    """Into a scalar register; exec is watched."""
    if index >= EXEC:
        return lambda state, value: state.put_scalar(index, value)

    def put(state: State, value: Array) -> None:
        state.s[index] = value

    return put


def _pair(instruction: Instruction, function: Function, condition: bool) -> Step:
    """On both dwords of 64 bits alike."""
    no_modifiers(instruction)
    target, *sources = instruction.operands
    gets = [_dwords(source, instruction.text) for source in sources]
    index = target.index

    def step(state: State) -> None:
        result = function(*(get(state) for get in gets))
        if condition:
            flag = (result[0] | result[1]) != 0
            state.scc = flag if flag.shape == state.scc.shape else np.array(np.broadcast_to(flag, state.scc.shape))
        state.s[index : index + 2] = result
        if index >= EXEC:
            state.exec_changed()

    return step


def _dwords(source: Operand, text: str) -> Callable[[State], Array]:
    """uint32 [2, W] of a register pair, or [2, 1] of a constant."""
    if source.kind == "s":
        index = source.index
        return lambda state: state.s[index : index + 2]
    if source.kind == "literal" and isinstance(source.value, int):
        constant = np.array([[source.value & 0xFFFFFFFF], [source.value >> 32 & 0xFFFFFFFF]], np.uint32)
        return lambda _: constant
    raise Unsupported(f"{source.value!r} is no scalar source of {text!r}")


def _shift(instruction: Instruction, function: Function) -> Step:
    no_modifiers(instruction)
    target, value, amount = instruction.operands
    get, by = scalar64(value, instruction.text), scalar32(amount, instruction.text)

    def step(state: State) -> None:
        result = np.broadcast_to(function(get(state), by(state)), (state.count,))
        state.scc = result != 0
        state.put_scalar64(target.index, result)

    return step


def _save(instruction: Instruction, function: Function) -> Step:
    no_modifiers(instruction)
    target, source = instruction.operands
    get = scalar64(source, instruction.text)

    def step(state: State) -> None:
        old = state.scalar64(EXEC)
        new = np.broadcast_to(function(get(state), old), (state.count,)).copy()
        state.put_scalar64(target.index, old)
        state.put_scalar64(EXEC, new)
        state.scc = new != 0

    return step


def _compare(instruction: Instruction) -> Step:
    no_modifiers(instruction)
    _, word, relation, kind = instruction.name.split("_")
    function = RELATION.get(relation)
    if word == "cmpk":
        return _compare_constant(instruction, relation, kind)
    if function is None or kind not in ("i32", "u32", "u64") or (kind == "u64" and relation not in ("eq", "lg")):
        raise Unsupported(f"comparison {instruction.text!r} is not known")
    if kind == "u64":
        gets = [scalar64(source, instruction.text) for source in instruction.operands]
    else:
        gets = [scalar32(source, instruction.text) for source in instruction.operands]
    view: Function = signed if kind == "i32" else lambda x: x
    a, b = gets

    def step(state: State) -> None:
        flag = function(view(a(state)), view(b(state)))
        state.scc = flag if flag.shape == state.scc.shape else np.array(np.broadcast_to(flag, state.scc.shape))

    return step


def _compare_constant(instruction: Instruction, relation: str, kind: str) -> Step:
    """With a 16-bit constant, sign- or zero-extended."""
    function = RELATION[relation]
    source, constant = instruction.operands
    get = scalar32(source, instruction.text)
    value = _signed16(constant.value)
    if kind == "i32":
        against = np.array([value], np.int32)

        def below_zero_too(state: State) -> None:
            state.scc = np.array(function(signed(get(state)), against))

        return below_zero_too
    unsigned_value = np.array([value & 0xFFFF], np.uint32)

    def from_zero(state: State) -> None:
        state.scc = np.array(function(get(state), unsigned_value))

    return from_zero


def _constant(instruction: Instruction) -> Step:
    """s_movk_i32: a sign-extended 16-bit constant."""
    target, value = instruction.operands
    constant = np.uint32(_signed16(value.value) & 0xFFFFFFFF)
    return lambda state: state.put_scalar(target.index, np.full(state.count, constant))


def _signed16(value: object) -> int:
    assert isinstance(value, int)
    low = value & 0xFFFF
    return low - 0x10000 if low & 0x8000 else low


def _add_constant(instruction: Instruction) -> Step:
    """s_addk_i32."""
    target, value = instruction.operands
    constant = np.array([_signed16(value.value) & 0xFFFFFFFF], np.uint32)

    def step(state: State) -> None:
        before = state.s[target.index].copy()
        state.scc = np.array(overflow_add(before, np.broadcast_to(constant, before.shape)))
        state.put_scalar(target.index, before + constant)

    return step


def _multiply_constant(instruction: Instruction) -> Step:
    """s_mulk_i32."""
    target, value = instruction.operands
    constant = np.uint32(_signed16(value.value) & 0xFFFFFFFF)
    return lambda state: state.put_scalar(target.index, state.s[target.index] * constant)


def _with_carry(subtract: bool) -> Callable[[Instruction], Step]:
    def make(instruction: Instruction) -> Step:
        no_modifiers(instruction)
        target, a, b = instruction.operands
        first, second = scalar32(a, instruction.text), scalar32(b, instruction.text)

        def step(state: State) -> None:
            x, y, more = first(state).astype(np.int64), second(state).astype(np.int64), state.scc.astype(np.int64)
            total = x - y - more if subtract else x + y + more
            total = np.broadcast_to(total, (state.count,))
            state.scc = np.array((total < 0) | (total > 0xFFFFFFFF))
            state.put_scalar(target.index, (total & 0xFFFFFFFF).astype(np.uint32))

        return step

    return make


def _select32(instruction: Instruction) -> Step:
    target, a, b = instruction.operands
    first, second = scalar32(a, instruction.text), scalar32(b, instruction.text)
    return lambda state: state.put_scalar(target.index, np.where(state.scc, first(state), second(state)))


def _select64(instruction: Instruction) -> Step:
    target, a, b = instruction.operands
    first, second = _dwords(a, instruction.text), _dwords(b, instruction.text)
    index = target.index

    def step(state: State) -> None:
        state.s[index : index + 2] = np.where(state.scc, first(state), second(state))
        if index >= EXEC:
            state.exec_changed()

    return step


def _test_bit(wanted: int) -> Callable[[Instruction], Step]:
    def make(instruction: Instruction) -> Step:
        no_modifiers(instruction)
        a, b = (scalar32(operand, instruction.text) for operand in instruction.operands)

        def step(state: State) -> None:
            bit = (a(state) >> (b(state) & _31)) & np.uint32(1)
            state.scc = np.array(np.broadcast_to(bit == wanted, state.scc.shape))

        return step

    return make


def _count_bits(instruction: Instruction) -> Step:
    target, source = instruction.operands
    get = scalar64(source, instruction.text) if instruction.name.endswith("b64") else scalar32(source, instruction.text)

    def step(state: State) -> None:
        value = np.broadcast_to(get(state), (state.count,)).astype(np.uint64)
        count = np.unpackbits(np.ascontiguousarray(value).view(np.uint8).reshape(-1, 8), axis=1).sum(axis=1)
        state.scc = count != 0
        state.put_scalar(target.index, count.astype(np.uint32))

    return step


def _first_bit(instruction: Instruction) -> Step:
    """s_ff1_i32_b32/b64: place of the lowest set bit, -1 when there is none."""
    target, source = instruction.operands
    get = scalar64(source, instruction.text) if instruction.name.endswith("b64") else scalar32(source, instruction.text)

    def step(state: State) -> None:
        value = np.broadcast_to(get(state), (state.count,)).astype(np.uint64)
        bits = np.unpackbits(np.ascontiguousarray(value).view(np.uint8).reshape(-1, 8), axis=1, bitorder="little")
        place = np.where(value != 0, bits.argmax(axis=1), -1)
        state.put_scalar(target.index, place.astype(np.int32).view(np.uint32))

    return step


MODE_SATURATES = ("HW_REG_MODE", 23, 1)
"""FP16_OVFL: conversions to FP8 saturate."""


def _set_mode(instruction: Instruction) -> Step:
    m = instruction.modifiers
    if (m["register"], m["first"], m["width"]) != MODE_SATURATES:
        raise Unsupported(f"{instruction.text!r} sets a mode that is not known")
    (value,) = instruction.operands
    on = bool(value.value)

    def step(state: State) -> None:
        state.saturate = on

    return step


def _put_bit(value: int) -> Callable[[Instruction], Step]:
    """s_bitset0_b32 and s_bitset1_b32: one bit of the destination, the others stay."""

    def make(instruction: Instruction) -> Step:
        no_modifiers(instruction)
        target, place = instruction.operands
        get, put = scalar32(place, instruction.text), _store(target.index)
        old = scalar32(target, instruction.text)

        def step(state: State) -> None:
            bit = np.uint32(1) << (get(state) & _31)
            put(state, old(state) | bit if value else old(state) & ~bit)

        return step

    return make


_MAKERS: dict[str, Callable[[Instruction], Step]] = {
    "s_bitset0_b32": _put_bit(0),
    "s_bitset1_b32": _put_bit(1),
    "s_movk_i32": _constant,
    "s_addk_i32": _add_constant,
    "s_mulk_i32": _multiply_constant,
    "s_addc_u32": _with_carry(subtract=False),
    "s_subb_u32": _with_carry(subtract=True),
    "s_cselect_b32": _select32,
    "s_cselect_b64": _select64,
    "s_bitcmp0_b32": _test_bit(0),
    "s_bitcmp1_b32": _test_bit(1),
    "s_bcnt1_i32_b32": _count_bits,
    "s_bcnt1_i32_b64": _count_bits,
    "s_ff1_i32_b32": _first_bit,
    "s_ff1_i32_b64": _first_bit,
    "s_setreg_imm32_b32": _set_mode,
}

MNEMONICS = (
    *WORD, *PAIR, *SHIFT_PAIR, *SAVE, *_MAKERS, *_SILENT,
    *(f"s_cmp_{relation}_{kind}" for relation in RELATION for kind in ("i32", "u32")), "s_cmp_eq_u64", "s_cmp_lg_u64",
    *(f"s_cmpk_{relation}_{kind}" for relation in RELATION for kind in ("i32", "u32")),
)  # fmt: skip
"""Every instruction of this unit."""
