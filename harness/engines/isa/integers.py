"""Integer instructions of the vector unit on 32 and 16 bits."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

from typing import Any

import numpy as np

from rocassay.harness.engines.isa.asm import Instruction, Unsupported
from rocassay.harness.engines.isa.sources import Array, Get, no_modifiers, no_signs, vector32
from rocassay.harness.engines.isa.state import LANES
from rocassay.harness.engines.isa.steps import (
    LOW16,
    Function,
    Maker,
    Step,
    by_lanes,
    by_parts,
    encoded,
    half_source,
    half_sources,
    into,
    target_register,
)

_31, _15 = np.uint32(31), np.uint32(15)
_LOW24 = np.uint32(0xFFFFFF)


def _reversed_bits(x: Array, out: Array) -> None:
    for shift, keep in ((1, 0x55555555), (2, 0x33333333), (4, 0x0F0F0F0F), (8, 0x00FF00FF), (16, 0x0000FFFF)):
        x = ((x >> np.uint32(shift)) & np.uint32(keep)) | ((x & np.uint32(keep)) << np.uint32(shift))
    np.copyto(out, x)


def set_bits(x: Array) -> Array:
    """How many bits of each uint32 are set, uint32."""
    x = x - ((x >> np.uint32(1)) & np.uint32(0x55555555))
    x = (x & np.uint32(0x33333333)) + ((x >> np.uint32(2)) & np.uint32(0x33333333))
    return (((x + (x >> np.uint32(4))) & np.uint32(0x0F0F0F0F)) * np.uint32(0x01010101)) >> np.uint32(24)


def _high_product(kind: type[np.uint64] | type[np.int64]) -> Function:
    def function(a: Array, b: Array, out: Array) -> None:
        np.copyto(out, np.multiply(a, b, dtype=kind) >> kind(32), casting="unsafe")

    return function


def _signed24(x: Array) -> Array:
    return (x << np.int32(8)) >> np.int32(8)


def _middle(a: Array, b: Array, c: Array, out: Array) -> None:
    np.maximum(np.minimum(a, b), np.minimum(np.maximum(a, b), c), out=out)


def _field(x: Array, offset: Array, width: Array, out: Array) -> None:
    keep = (np.uint32(1) << (width & _31)) - np.uint32(1)
    np.bitwise_and(x >> (offset & _31), keep, out)


def _signed_field(x: Array, offset: Array, width: Array, out: Array) -> None:
    """V_BFE_I32: the field's highest bit is its sign; a field that reaches beyond bit 31 has the number's."""
    width = width & _31
    moved: Array = x.view(np.int32) >> (offset & _31).view(np.int32)
    taken = moved.view(np.uint32) & ((np.uint32(1) << width) - np.uint32(1))
    sign = np.where(width > 0, np.uint32(1) << ((width - np.uint32(1)) & _31), np.uint32(0)).astype(np.uint32)
    np.subtract(taken ^ sign, sign, out)


def _align(a: Array, b: Array, amount: Array, out: Array) -> None:
    wide = (a.astype(np.uint64) << np.uint64(32)) | b
    np.copyto(out, wide >> (amount & _31), casting="unsafe")


_UNSIGNED: dict[str, Function] = {
    "v_mov_b32": lambda a, out: np.copyto(out, a),
    "v_not_b32": np.invert,
    "v_bfrev_b32": _reversed_bits,
    "v_add_u32": np.add,
    "v_sub_u32": np.subtract,
    "v_subrev_u32": lambda a, b, out: np.subtract(b, a, out),
    "v_and_b32": np.bitwise_and,
    "v_or_b32": np.bitwise_or,
    "v_xor_b32": np.bitwise_xor,
    "v_xnor_b32": lambda a, b, out: np.invert(a ^ b, out),
    "v_lshlrev_b32": lambda a, b, out: np.left_shift(b, a & _31, out),
    "v_lshrrev_b32": lambda a, b, out: np.right_shift(b, a & _31, out),
    "v_mul_lo_u32": np.multiply,
    "v_mul_hi_u32": _high_product(np.uint64),
    "v_mul_u32_u24": lambda a, b, out: np.multiply(a & _LOW24, b & _LOW24, out),
    "v_min_u32": lambda a, b, out: np.minimum(a, b, out=out),
    "v_max_u32": lambda a, b, out: np.maximum(a, b, out=out),
    "v_add3_u32": lambda a, b, c, out: np.add(a + b, c, out),
    "v_add_lshl_u32": lambda a, b, c, out: np.left_shift(a + b, c & _31, out),
    "v_lshl_add_u32": lambda a, b, c, out: np.add(a << (b & _31), c, out),
    "v_lshl_or_b32": lambda a, b, c, out: np.bitwise_or(a << (b & _31), c, out),
    "v_and_or_b32": lambda a, b, c, out: np.bitwise_or(a & b, c, out),
    "v_or3_b32": lambda a, b, c, out: np.bitwise_or(a | b, c, out),
    "v_xad_u32": lambda a, b, c, out: np.add(a ^ b, c, out),
    "v_bfe_u32": _field,
    "v_bfe_i32": _signed_field,
    "v_bfi_b32": lambda a, b, c, out: np.bitwise_xor((b ^ c) & a, c, out),
    "v_alignbit_b32": _align,
    "v_mad_u32_u24": lambda a, b, c, out: np.add((a & _LOW24) * (b & _LOW24), c, out),
    "v_mul_hi_u32_u24": lambda a, b, out: _high_product(np.uint64)(a & _LOW24, b & _LOW24, out),
    "v_max3_u32": lambda a, b, c, out: np.maximum(np.maximum(a, b), c, out=out),
    "v_min3_u32": lambda a, b, c, out: np.minimum(np.minimum(a, b), c, out=out),
    "v_med3_u32": lambda a, b, c, out: _middle(a, b, c, out),
    "v_bcnt_u32_b32": lambda a, b, out: np.add(set_bits(a), b, out),
    "v_mbcnt_lo_u32_b32": lambda a, b, out: _below(a, b, 0, out),
    "v_mbcnt_hi_u32_b32": lambda a, b, out: _below(a, b, 32, out),
}
"""On uint32 arrays (AMD CDNA3 ISA guide, VOP1, VOP2 and VOP3 by name)."""

_SIGNED: dict[str, Function] = {
    "v_ashrrev_i32": lambda a, b, out: np.right_shift(b, a & np.int32(31), out),
    "v_mul_hi_i32": _high_product(np.int64),
    "v_mul_i32_i24": lambda a, b, out: np.multiply(_signed24(a), _signed24(b), out),
    "v_mul_hi_i32_i24": lambda a, b, out: _high_product(np.int64)(_signed24(a), _signed24(b), out),
    "v_mad_i32_i24": lambda a, b, c, out: np.add(_signed24(a) * _signed24(b), c, out),
    "v_med3_i32": lambda a, b, c, out: _middle(a, b, c, out),
    "v_min_i32": lambda a, b, out: np.minimum(a, b, out=out),
    "v_max_i32": lambda a, b, out: np.maximum(a, b, out=out),
    "v_max3_i32": lambda a, b, c, out: np.maximum(np.maximum(a, b), c, out=out),
    "v_min3_i32": lambda a, b, c, out: np.minimum(np.minimum(a, b), c, out=out),
}
"""On int32 arrays."""

_HALF: dict[str, Function] = {
    "v_add_u16": lambda a, b, out: np.bitwise_and(a + b, LOW16, out),
    "v_sub_u16": lambda a, b, out: np.bitwise_and(a - b, LOW16, out),
    "v_mul_lo_u16": lambda a, b, out: np.bitwise_and(a * b, LOW16, out),
    "v_lshlrev_b16": lambda a, b, out: np.bitwise_and(b << (a & _15), LOW16, out),
    "v_lshrrev_b16": lambda a, b, out: np.right_shift(b & LOW16, a & _15, out),
    "v_ashrrev_i16": lambda a, b, out: np.bitwise_and(
        ((b << np.uint32(16)).view(np.int32) >> (np.uint32(16) + (a & _15)).view(np.int32)).view(np.uint32), LOW16, out
    ),
    "v_max_u16": lambda a, b, out: np.maximum(a & LOW16, b & LOW16, out=out),
    "v_min_u16": lambda a, b, out: np.minimum(a & LOW16, b & LOW16, out=out),
    "v_subrev_u16": lambda a, b, out: np.bitwise_and(b - a, LOW16, out),
    "v_max_i16": lambda a, b, out: np.bitwise_and(np.maximum(_signed16(a), _signed16(b)).view(np.uint32), LOW16, out),
    "v_min_i16": lambda a, b, out: np.bitwise_and(np.minimum(_signed16(a), _signed16(b)).view(np.uint32), LOW16, out),
    "v_mad_u16": lambda a, b, c, out: np.bitwise_and(a * b + c, LOW16, out),
    "v_pack_b32_f16": lambda a, b, out: np.bitwise_or(a & LOW16, b << np.uint32(16), out),
}
"""On the lower halves of uint32 arrays; the upper half of the result is zero (VOP3 on gfx9)."""


def _below(mask: Array, add: Array, first: int, out: Array) -> None:
    """Set bits of a mask below each lane, of the 32 lanes from `first` on, and an addend."""
    lane = np.arange(LANES) - first
    keep = np.where(lane >= 32, 0xFFFFFFFF, (1 << lane.clip(0, 32)) - 1).astype(np.uint64).astype(np.uint32)
    np.add(set_bits(mask & keep), add, out)


def _half(function: Function) -> Maker:
    def make(instruction: Instruction, _: str) -> Step:
        if instruction.encoding == "sdwa":
            return by_parts(instruction, function)
        if instruction.encoding == "dpp":
            return by_lanes(instruction, "v", function)
        return into(target_register(instruction), "v", function, half_sources(instruction))

    return make


def _subtract(instruction: Instruction, arch: str) -> Step:
    """v_sub_u32, which alone of its family is met with `clamp`: 0 instead of a borrow."""
    if not instruction.modifiers.get("clamp"):
        return encoded({"v_sub_u32": np.subtract}, "v")["v_sub_u32"](instruction, arch)
    no_modifiers(instruction, "clamp")
    if instruction.encoding not in ("", "e32", "e64"):
        raise Unsupported(f"clamp of {instruction.text!r} is not known")
    sources = instruction.operands[1:]
    no_signs(instruction, sources)

    def function(a: Array, b: Array, out: Array) -> None:
        np.subtract(np.maximum(a, b), b, out)

    return into(target_register(instruction), "v", function, [vector32(s, instruction.text) for s in sources])


def _signed16(x: Array) -> Array:
    return (x.view(np.int32) << np.int32(16)) >> np.int32(16)


def _multiply_add(instruction: Instruction, _: str) -> Step:
    """v_mad_i32_i16 and v_mad_u32_u16: factors of 16 bits, of the halves that op_sel chooses, and a sum of 32."""
    no_modifiers(instruction, "op_sel")
    *factors, addend = instruction.operands[1:]
    no_signs(instruction, (*factors, addend))
    chosen: Any = instruction.modifiers.get("op_sel", ())
    if any(chosen[2:]):
        raise Unsupported(f"op_sel of {instruction.text!r} is not known")
    gets = [half_source(factor, instruction.text) for factor in factors]
    gets = [_upper(get) if n < len(chosen) and chosen[n] else get for n, get in enumerate(gets)]
    wide = _signed16 if instruction.name == "v_mad_i32_i16" else lambda x: x & LOW16

    def function(a: Array, b: Array, c: Array, out: Array) -> None:
        np.add((wide(a) * wide(b)).view(np.uint32), c, out)

    return into(target_register(instruction), "v", function, [*gets, vector32(addend, instruction.text)])


def _upper(get: Get) -> Get:
    return lambda state: get(state) >> np.uint32(16)


def _extract(instruction: Instruction, arch: str) -> Step:
    """v_bfe_u32 and v_bfe_i32: where offset and width are constants, two shifts or a shift and a mask."""
    _, source, *limits = instruction.operands
    general = encoded({instruction.name: _UNSIGNED[instruction.name]}, "v")[instruction.name]
    if instruction.modifiers or any(limit.kind != "literal" for limit in limits):
        return general(instruction, arch)
    offset, width = (int(limit.value) & 31 for limit in limits)  # type: ignore[arg-type]
    if width == 0 or offset + width > 32:
        return general(instruction, arch)
    no_signs(instruction, (source,))
    index, get = target_register(instruction), vector32(source, instruction.text)
    down = np.uint32(offset)
    if instruction.name == "v_bfe_u32":
        keep = np.uint32((1 << width) - 1)

        def unsigned(x: Array, out: Array) -> None:
            np.right_shift(x, down, out)
            np.bitwise_and(out, keep, out)

        return into(index, "v", unsigned, [get])
    left, right = np.uint32(32 - width - offset), np.int32(32 - width)

    def signed(x: Array, out: Array) -> None:
        np.left_shift(x, left, out)
        whole = out.view(np.int32)
        np.right_shift(whole, right, whole)

    return into(index, "v", signed, [get])


_OF_TWO: tuple[Function, ...] = (
    lambda b, _: b ^ b, lambda b, c: ~(b | c), lambda b, c: ~b & c, lambda b, _: ~b,
    lambda b, c: b & ~c, lambda _, c: ~c, lambda b, c: b ^ c, lambda b, c: ~(b & c),
    lambda b, c: b & c, lambda b, c: ~(b ^ c), lambda _, c: c, lambda b, c: ~b | c,
    lambda b, _: b, lambda b, c: b | ~c, lambda b, c: b | c, lambda b, _: b | ~b,
)  # fmt: skip
"""The sixteen functions of two bits: bit (2 b + c) of the number is the value."""


def of_three(table: int) -> Function:
    """Any function of three bits, bit (4 a + 2 b + c) of the table, in few operations."""
    low, high = table & 15, table >> 4
    if low == high:
        return lambda _a, b, c, out: np.copyto(out, _OF_TWO[low](b, c))
    if low == 0:
        return lambda a, b, c, out: np.bitwise_and(a, _OF_TWO[high](b, c), out)
    if high == 15:
        return lambda a, b, c, out: np.bitwise_or(a, _OF_TWO[low](b, c), out)
    if high == 0:
        return lambda a, b, c, out: np.bitwise_and(~a, _OF_TWO[low](b, c), out)
    if low == 15:
        return lambda a, b, c, out: np.bitwise_or(~a, _OF_TWO[high](b, c), out)
    if low ^ high == 15:
        return lambda a, b, c, out: np.bitwise_xor(a, _OF_TWO[low](b, c), out)
    return lambda a, b, c, out: np.bitwise_xor(_OF_TWO[low](b, c), a & _OF_TWO[low ^ high](b, c), out)


def _bitop3(instruction: Instruction, _: str) -> Step:
    """V_BITOP3_B32 and V_BITOP3_B16 (AMD CDNA4 ISA guide)."""
    no_modifiers(instruction, "bitop3", "op_sel")
    sources, table = instruction.operands[1:], instruction.modifiers.get("bitop3", 0)
    no_signs(instruction, sources)
    if any(instruction.modifiers.get("op_sel", ())):  # type: ignore[arg-type]
        raise Unsupported(f"op_sel of {instruction.text!r} is not known")
    assert isinstance(table, int)
    function = of_three(table)
    if instruction.name == "v_bitop3_b32":
        gets = [vector32(s, instruction.text) for s in sources]
        return into(target_register(instruction), "v", function, gets)

    def lower(a: Array, b: Array, c: Array, out: Array) -> None:
        function(a, b, c, out)
        np.bitwise_and(out, LOW16, out)

    return into(target_register(instruction), "v", lower, [half_source(s, instruction.text) for s in sources])


MAKERS: dict[str, Maker] = {
    **encoded(_UNSIGNED, "v"),
    **encoded(_SIGNED, "i"),
    **{name: _half(function) for name, function in _HALF.items()},
    "v_sub_u32": _subtract,
    "v_bfe_u32": _extract,
    "v_bfe_i32": _extract,
    "v_mad_i32_i16": _multiply_add,
    "v_mad_u32_u16": _multiply_add,
    "v_bitop3_b32": _bitop3,
    "v_bitop3_b16": _bitop3,
}
