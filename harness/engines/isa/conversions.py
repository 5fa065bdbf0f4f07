"""Conversions between number formats."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np

from rocassay.harness.engines.isa import numbers
from rocassay.harness.engines.isa.asm import Instruction, Operand, Parts, Unsupported
from rocassay.harness.engines.isa.lanes import sdwa_source
from rocassay.harness.engines.isa.sources import Array, Get, float32, no_modifiers, no_signs, signed32, vector32
from rocassay.harness.engines.isa.state import State
from rocassay.harness.engines.isa.steps import (
    SDWA,
    Function,
    Kind,
    Maker,
    Step,
    by_lanes,
    by_parts,
    into,
    signed_half,
    target_register,
)


def _to_integer(low: int, high: int) -> Function:
    """Truncated and clamped; NaN becomes 0."""

    def convert(x: Array, out: Array) -> None:
        held = np.clip(np.trunc(np.where(x == x, x, np.float32(0)).astype(np.float64)), low, high)
        np.copyto(out, (held.astype(np.int64) & 0xFFFFFFFF), casting="unsafe")

    return convert


def _from_half(bits: Array, out: Array) -> None:
    np.copyto(out.view(np.float32), numbers.from_half(bits))


def _to_half(x: Array, out: Array) -> None:
    np.copyto(out, numbers.to_half(x))


def _from_unsigned(x: Array, out: Array) -> None:
    np.copyto(out.view(np.float32), x, casting="unsafe")


def _from_signed(x: Array, out: Array) -> None:
    np.copyto(out.view(np.float32), x.view(np.int32), casting="unsafe")


_SOURCE: dict[Kind, Callable[[Operand, str], Get]] = {"v": vector32, "i": signed32, "f": float32}


def _one(function: Function, kind: Kind) -> Maker:
    """A conversion of one number to 32 bits."""

    def make(instruction: Instruction, _: str) -> Step:
        (source,) = instruction.operands[1:]
        if instruction.encoding == "sdwa" and function is _from_half and (source.neg or source.absolute):
            return _signed_part(instruction, source)
        if instruction.encoding == "sdwa":
            view = np.float32 if kind == "f" else np.uint32
            return by_parts(instruction, lambda x, out: function(x.view(view), out))
        if instruction.encoding == "dpp" and kind == "v":
            return by_lanes(instruction, kind, function)
        no_modifiers(instruction)
        if kind == "f":
            get = float32(source, instruction.text)
        elif function is _from_half:
            get = signed_half(source, instruction.text)
        else:
            no_signs(instruction, (source,))
            get = vector32(source, instruction.text)
        return into(target_register(instruction), "v", function, [get])

    return make


def _signed_part(instruction: Instruction, source: Operand) -> Step:
    """A half out of a part of a register, with its sign modifiers: they act on the part."""
    bare = replace(source, neg=False, absolute=False)
    keep = np.uint32(0x7FFF if source.absolute else 0xFFFF)
    flip = np.uint32(0x8000 if source.neg else 0)
    part = replace(instruction, given=Parts((instruction.operands[0], bare), instruction.modifiers))
    return by_parts(part, lambda bits, out: _from_half((bits & keep) ^ flip, out))


def _from_byte(place: int) -> Function:
    """An unsigned byte of a register to a number."""
    down = np.uint32(8 * place)

    def convert(x: Array, out: Array) -> None:
        np.copyto(out.view(np.float32), (x >> down) & np.uint32(255), casting="unsafe")

    return convert


def _pair(function: Function) -> Maker:
    """Two numbers to two of 16 bits."""

    def make(instruction: Instruction, _: str) -> Step:
        no_modifiers(instruction)
        gets = [float32(source, instruction.text) for source in instruction.operands[1:]]
        return into(target_register(instruction), "v", function, gets)

    return make


def _pack_half(a: Array, b: Array, out: Array) -> None:
    np.bitwise_or(numbers.to_half(a), numbers.to_half(b) << np.uint32(16), out)


def _format(name: str, arch: str) -> str:
    """The one-byte format of a conversion: fp8 or bf8 of its name, as the chip means it."""
    return numbers.FP8[arch, "bf8" if "bf8" in name else "fp8"]


def _placed(instruction: Instruction, place: int) -> Callable[[State, Array], None]:
    """Write 16 bits into the half of the destination that op_sel names; the other one stays."""
    selected: Any = instruction.modifiers.get("op_sel", ())
    high = len(selected) > place and bool(selected[place])
    if any(selected[:place]):
        raise Unsupported(f"op_sel of the sources of {instruction.text!r} is not known")
    index = target_register(instruction)
    shift, keep = np.uint32(16 if high else 0), np.uint32(0xFFFF if high else 0xFFFF0000)
    return lambda state, value: state.put(index, (state.v[index] & keep) | (value << shift))


def _pack_fp8(instruction: Instruction, arch: str) -> Step:
    """Two numbers to two codes, divided by a power of two where there is a scale."""
    no_modifiers(instruction, "op_sel")
    a, b, *scale = instruction.operands[1:]
    put = _placed(instruction, 2 + len(scale))
    pair = float32(a, instruction.text), float32(b, instruction.text)
    factor = float32(scale[0], instruction.text) if scale else None
    name = _format(instruction.name, arch)

    def step(state: State) -> None:
        numbers_ = [get(state) for get in pair]
        if factor:
            by = numbers.e8m0(numbers.exponent(factor(state)))
            numbers_ = [x.astype(np.float64) / by for x in numbers_]
        low, high = (numbers.encode_fp8(x, name, saturate=state.saturate) for x in numbers_)
        put(state, low | (high << np.uint32(8)))

    return step


def _word(instruction: Instruction, source: Operand) -> Get:
    """The register, moved down so that the chosen half or byte is lowest."""
    if instruction.encoding == "sdwa":
        return sdwa_source(instruction, source, "src0_sel")
    selected: Any = instruction.modifiers.get("op_sel", (0,))
    get, shift = vector32(source, instruction.text), np.uint32(16 * selected[0])
    if any(selected[1:]):
        raise Unsupported(f"op_sel of {instruction.text!r} is not known")
    return (lambda state: get(state) >> shift) if shift else get


def _bytes(get: Get, count: int) -> Callable[[State], list[Array]]:
    """The lowest bytes of a register, each uint8."""

    def take(state: State) -> list[Array]:
        word = np.ascontiguousarray(np.broadcast_to(get(state), state.mask.shape))
        each = word.view(np.uint8).reshape(*word.shape, 4)
        return [each[..., n] for n in range(count)]

    return take


def _unpack_fp8(instruction: Instruction, arch: str) -> Step:
    """Two codes to two numbers of single or half precision, multiplied by a power of two where there is a scale."""
    no_modifiers(instruction, "op_sel", *SDWA)
    _only_whole(instruction)
    source, *scale = instruction.operands[1:]
    codes = _bytes(_word(instruction, source), 2)
    factor = float32(scale[0], instruction.text) if scale else None
    name, index = _format(instruction.name, arch), target_register(instruction)
    kind = instruction.name.split("_")[-2]

    def step(state: State) -> None:
        if factor:
            by = numbers.e8m0(numbers.exponent(factor(state)))
            low, high = (numbers.decode_fp8_wide(code, name) * by for code in codes(state))
        else:
            low, high = (numbers.decode_fp8(code, name) for code in codes(state))
        if kind == "f32":
            state.put(index, np.asarray(low, np.float32).view(np.uint32))
            state.put(index + 1, np.asarray(high, np.float32).view(np.uint32))
            return
        both = np.empty(state.mask.shape, np.uint32)
        if kind == "f16":
            _pack_half(low, high, both)
        else:  # a code has fewer digits than a bfloat16: float32 is exact, or a denormal that is rounded again
            numbers.pack_bf16(np.asarray(low, np.float32), np.asarray(high, np.float32), both)
        state.put(index, both)

    return step


def _only_whole(instruction: Instruction) -> None:
    if str(instruction.modifiers.get("dst_sel", "DWORD")) != "DWORD":
        raise Unsupported(f"a part as destination of {instruction.text!r} is not known")


def _one_fp8(instruction: Instruction, arch: str) -> Step:
    """v_cvt_f32_fp8 and v_cvt_f32_bf8: one code, a byte that the SDWA encoding chooses."""
    if instruction.encoding == "sdwa":
        no_modifiers(instruction, *SDWA)
        _only_whole(instruction)
    else:
        no_modifiers(instruction)
    (source,) = instruction.operands[1:]
    codes, name = _bytes(_word(instruction, source), 1), _format(instruction.name, arch)
    index = target_register(instruction)
    return lambda state: state.put(index, numbers.decode_fp8(codes(state)[0], name).view(np.uint32))


_CODES = ("fp8", "bf8")

MAKERS: dict[str, Maker] = {
    "v_cvt_f32_u32": _one(_from_unsigned, "v"),
    "v_cvt_f32_i32": _one(_from_signed, "v"),
    **{f"v_cvt_f32_ubyte{place}": _one(_from_byte(place), "v") for place in range(4)},
    "v_cvt_u32_f32": _one(_to_integer(0, 2**32 - 1), "f"),
    "v_cvt_i32_f32": _one(_to_integer(-(2**31), 2**31 - 1), "f"),
    "v_cvt_f32_f16": _one(_from_half, "v"),
    "v_cvt_f16_f32": _one(_to_half, "f"),
    "v_cvt_pk_bf16_f32": _pair(numbers.pack_bf16),
    "v_cvt_pk_f16_f32": _pair(_pack_half),
    **{f"v_cvt_pk_{code}_f32": _pack_fp8 for code in _CODES},
    **{f"v_cvt_scalef32_pk_{code}_f32": _pack_fp8 for code in _CODES},
    **{f"v_cvt_pk_f32_{code}": _unpack_fp8 for code in _CODES},
    **{f"v_cvt_scalef32_pk_{to}_{code}": _unpack_fp8 for to in ("f32", "f16", "bf16") for code in _CODES},
    **{f"v_cvt_f32_{code}": _one_fp8 for code in _CODES},
}
