"""Packed instructions, two results in one, and multiply-adds of mixed precision."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

from typing import Any, TypeAlias

import numpy as np

from rocassay.harness.engines.isa import numbers
from rocassay.harness.engines.isa.asm import Instruction, Operand, Unsupported
from rocassay.harness.engines.isa.sources import Array, Get, float32, half_bits, no_modifiers, no_signs, vector32
from rocassay.harness.engines.isa.state import LANES, State
from rocassay.harness.engines.isa.steps import LOW16, Function, Maker, Step, half_source, into, target_register

_SIGN, _16 = np.uint32(0x80000000), np.uint32(16)

Selects: TypeAlias = "tuple[int, ...]"
"""A modifier: one bit a source."""


def _selects(instruction: Instruction, name: str, default: int) -> Selects:
    count = len(instruction.operands) - 1
    found: Any = instruction.modifiers.get(name, (default,) * count)
    if len(found) != count:
        raise Unsupported(f"{name} of {instruction.text!r} does not fit its sources")
    return found


def _packed32(function: Function) -> Maker:
    """Two 32-bit results; op_sel and op_sel_hi choose each source's dword for the first and the second."""

    def make(instruction: Instruction, _: str) -> Step:
        no_modifiers(instruction, "op_sel", "op_sel_hi", "neg_lo", "neg_hi")
        sources, index = instruction.operands[1:], target_register(instruction)
        no_signs(instruction, sources)
        first, second = (
            [_dword(s, d, n, instruction.text) for s, d, n in zip(sources, select, negate, strict=True)]
            for select, negate in (
                (_selects(instruction, "op_sel", 0), _selects(instruction, "neg_lo", 0)),
                (_selects(instruction, "op_sel_hi", 1), _selects(instruction, "neg_hi", 0)),
            )
        )

        def step(state: State) -> None:
            low = np.empty((len(state.waves), LANES), np.float32)
            function(*(get(state) for get in first), low)
            if state.full:
                function(*(get(state) for get in second), state.f[index + 1])
                state.f[index] = low
                return
            high = np.empty_like(low)
            function(*(get(state) for get in second), high)
            state.put(index, low.view(np.uint32))
            state.put(index + 1, high.view(np.uint32))

        return step

    return make


def _dword(source: Operand, dword: int, negate: int, text: str) -> Get:
    offset = dword if source.kind != "literal" and source.count > 1 else 0
    if not negate:
        return float32(source, text, offset)
    get = vector32(source, text, offset)
    return lambda state: (get(state) ^ _SIGN).view(np.float32)


def _packed16(function: Function, kind: type[np.uint16] | type[np.float16]) -> Maker:
    """Two 16-bit results; op_sel and op_sel_hi choose each source's half for the lower and the upper."""

    def whole(*arrays: Array) -> None:
        function(*(array.view(kind) for array in arrays))

    def make(instruction: Instruction, _: str) -> Step:
        no_modifiers(instruction, "op_sel", "op_sel_hi")
        sources, index = instruction.operands[1:], target_register(instruction)
        no_signs(instruction, sources)
        low, high = _selects(instruction, "op_sel", 0), _selects(instruction, "op_sel_hi", 1)
        gets = [_halves(s, at, instruction.text) for s, *at in zip(sources, low, high, strict=True)]
        return into(index, "v", whole, gets)

    return make


def _halves(source: Operand, at: list[int], text: str) -> Get:
    """uint32 of the chosen halves. A constant stands in the lower half alone."""
    get = half_source(source, text)
    if source.kind == "literal":
        if any(at):
            raise Unsupported(f"the upper half of the constant of {text!r} is not known")
        assert isinstance(source.value, (int, float))
        both = np.full((1, LANES), half_bits(source.value) * np.uint32(0x10001), np.uint32)
        return lambda _: both
    if at == [0, 1]:
        return get if source.kind != "s" else lambda state: _full(get(state))
    if at == [1, 0]:
        return lambda state: _full((get(state) >> _16) | (get(state) << _16))
    if at == [0, 0]:
        return lambda state: _full((get(state) & LOW16) * np.uint32(0x10001))
    return lambda state: _full((get(state) >> _16) * np.uint32(0x10001))


def _full(word: Array) -> Array:
    """As many lanes as there are, so that halves of neighbouring lanes lie side by side."""
    return word if word.shape[1] == LANES else np.repeat(word, LANES, axis=1)


def _half_product(a: Array, b: Array, out: Array) -> None:
    """Of two 11-digit numbers: exact in single precision, so rounded once."""
    np.copyto(out, a.astype(np.float32) * b.astype(np.float32), casting="same_kind")


def _half_sum(a: Array, b: Array, out: Array) -> None:
    """The sum of two halves has at most 40 digits: exact in double precision."""
    np.copyto(out, a.astype(np.float64) + b.astype(np.float64), casting="same_kind")


def _mixed(instruction: Instruction, _: str) -> Step:
    """v_fma_mix_f32, v_fma_mixlo_f16 and v_fma_mixhi_f16.

    Sources are single or, where op_sel_hi says so, half precision, of the half that op_sel chooses. The sum is rounded
    to single precision, and for the last two then to half, into the lower or upper half of the destination.
    """
    no_modifiers(instruction, "op_sel", "op_sel_hi")
    sources, index = instruction.operands[1:], target_register(instruction)
    upper, half = _selects(instruction, "op_sel", 0), _selects(instruction, "op_sel_hi", 0)
    a, b, c = (_mix_source(s, instruction.text, bool(h), bool(u)) for s, h, u in zip(sources, half, upper, strict=True))
    place = {"v_fma_mix_f32": None, "v_fma_mixlo_f16": 0, "v_fma_mixhi_f16": 16}[instruction.name]

    def step(state: State) -> None:
        total = np.empty((len(state.waves), LANES), np.float32)
        numbers.fma(a(state), b(state), c(state), total)
        if place is None:
            state.put(index, total.view(np.uint32))
            return
        keep = np.uint32(0xFFFF if place else 0xFFFF0000)
        state.put(index, (state.v[index] & keep) | (numbers.to_half(total) << np.uint32(place)))

    return step


def _mix_source(source: Operand, text: str, half: bool, upper: bool) -> Get:
    if not half:
        return float32(source, text)
    get, shift = half_source(source, text), np.uint32(16 if upper else 0)

    def number(state: State) -> Array:
        value = numbers.from_half(get(state) >> shift)
        value = np.abs(value) if source.absolute else value
        return -value if source.neg else value

    return number


def _packed_move(instruction: Instruction, _: str) -> Step:
    """v_pk_mov_b32: the first result is the chosen dword of the first source, the second that of the second."""
    no_modifiers(instruction, "op_sel", "op_sel_hi")
    index = target_register(instruction)
    no_signs(instruction, instruction.operands[1:])
    selected = _selects(instruction, "op_sel", 0)
    first, second = (vector32(s, instruction.text, d) for s, d in zip(instruction.operands[1:], selected, strict=True))

    def step(state: State) -> None:
        low, high = np.array(first(state)), np.array(second(state))
        state.put(index, low)
        state.put(index + 1, high)

    return step


_15 = np.uint16(15)

MAKERS: dict[str, Maker] = {
    "v_pk_add_f32": _packed32(np.add),
    "v_pk_mul_f32": _packed32(np.multiply),
    "v_pk_fma_f32": _packed32(numbers.fma),
    "v_pk_mov_b32": _packed_move,
    "v_pk_lshlrev_b16": _packed16(lambda a, b, out: np.left_shift(b, a & _15, out), np.uint16),
    "v_pk_lshrrev_b16": _packed16(lambda a, b, out: np.right_shift(b, a & _15, out), np.uint16),
    "v_pk_add_u16": _packed16(np.add, np.uint16),
    "v_pk_sub_u16": _packed16(np.subtract, np.uint16),
    "v_pk_mul_f16": _packed16(_half_product, np.float16),
    "v_pk_add_f16": _packed16(_half_sum, np.float16),
    "v_fma_mix_f32": _mixed,
    "v_fma_mixlo_f16": _mixed,
    "v_fma_mixhi_f16": _mixed,
}
