"""Floating-point instructions of the vector unit: single precision, half precision, and the steps of a division."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import numpy as np

from rocassay.harness.engines.isa import numbers
from rocassay.harness.engines.isa.asm import VCC, Instruction
from rocassay.harness.engines.isa.lanes import sdwa_source
from rocassay.harness.engines.isa.sources import Array, Get, float32, no_modifiers, no_signs, signed32
from rocassay.harness.engines.isa.state import LANES, State
from rocassay.harness.engines.isa.steps import (
    SDWA,
    Function,
    Maker,
    Step,
    encoded,
    half_source,
    into,
    placed,
    target_register,
)


def _narrowed(function: Function) -> Function:
    """A function of one number in float64, rounded once."""
    return lambda a, out: np.copyto(out, function(a.astype(np.float64)), casting="same_kind")


def _fraction(a: Array, out: Array) -> None:
    """V_FRACT_F32: below 1 also where rounding would give it."""
    np.minimum(a - np.floor(a), np.float32(1 - 2.0**-24), out=out)


_FLOAT: dict[str, Function] = {
    "v_add_f32": np.add,
    "v_sub_f32": np.subtract,
    "v_subrev_f32": lambda a, b, out: np.subtract(b, a, out),
    "v_mul_f32": np.multiply,
    "v_max_f32": numbers.larger,
    "v_min_f32": numbers.smaller,
    "v_max3_f32": numbers.largest,
    "v_min3_f32": numbers.smallest,
    "v_med3_f32": numbers.median,
    "v_fma_f32": numbers.fma,
    "v_fmaak_f32": numbers.fma,
    "v_fmamk_f32": numbers.fma,
    "v_exp_f32": _narrowed(np.exp2),
    "v_log_f32": _narrowed(np.log2),
    "v_rcp_f32": _narrowed(np.reciprocal),
    "v_rcp_iflag_f32": _narrowed(np.reciprocal),
    "v_rsq_f32": _narrowed(lambda a: 1.0 / np.sqrt(a)),
    "v_sqrt_f32": _narrowed(np.sqrt),
    "v_floor_f32": np.floor,
    "v_ceil_f32": np.ceil,
    "v_trunc_f32": np.trunc,
    "v_rndne_f32": np.rint,
    "v_fract_f32": _fraction,
}
"""On float32 arrays. Exponential, logarithm and roots are rounded correctly; the chip's are within 1 ulp of that."""

_HALF: dict[str, Function] = {
    "v_mul_f16": np.multiply,
    "v_add_f16": np.add,
    "v_sub_f16": np.subtract,
    "v_max_f16": numbers.larger_half,
    "v_min_f16": numbers.smaller_half,
}
"""On half-precision numbers, held as float32; every result is rounded to half once."""


def _single(name: str, function: Function) -> Maker:
    whole = encoded({name: function}, "f")[name]

    def make(instruction: Instruction, arch: str) -> Step:
        if not instruction.modifiers.get("clamp"):
            return whole(instruction, arch)
        no_modifiers(instruction, "clamp")

        def clamped(*arrays: Array) -> None:
            function(*arrays)
            numbers.clamp(arrays[-1])

        gets = [float32(s, instruction.text) for s in instruction.operands[1:]]
        return into(target_register(instruction), "f", clamped, gets)

    return make


def _extreme(name: str, function: Function) -> Maker:
    """v_max_f32 and v_min_f32; of a register with itself, as compilers make signalling NaNs quiet, a product."""
    general = _single(name, function)

    def make(instruction: Instruction, arch: str) -> Step:
        a, b = instruction.operands[1:]
        if instruction.modifiers or a != b:
            return general(instruction, arch)
        get = float32(a, instruction.text)
        return into(target_register(instruction), "f", lambda x, out: np.multiply(x, np.float32(1), out), [get])

    return make


def _half_part(instruction: Instruction, place: int) -> Get:
    source = instruction.operands[1 + place]
    if source.kind == "literal":
        return half_source(source, instruction.text)
    return sdwa_source(instruction, source, f"src{place}_sel")


def _half(function: Function) -> Maker:
    def make(instruction: Instruction, _: str) -> Step:
        sources = instruction.operands[1:]
        if instruction.encoding == "sdwa":
            no_modifiers(instruction, *SDWA)
            gets = [_half_part(instruction, place) for place in range(len(sources))]
        else:
            no_modifiers(instruction)
            no_signs(instruction, sources)
            gets = [half_source(source, instruction.text) for source in sources]
        put = placed(instruction)

        def step(state: State) -> None:
            result = np.empty((len(state.waves), LANES), np.float32)
            function(*(numbers.from_half(get(state)) for get in gets), result)
            put(state, numbers.to_half(result))

        return step

    return make


def _accumulate(instruction: Instruction, _: str) -> Step:
    """v_fmac_f32: the destination is the addend."""
    no_modifiers(instruction)
    index = target_register(instruction)
    gets = [float32(s, instruction.text) for s in instruction.operands[1:]]
    return into(index, "f", numbers.fma, [*gets, lambda state: state.f[index]])


def _div_scale(instruction: Instruction, _: str) -> Step:
    no_modifiers(instruction)
    condition, *sources = instruction.operands[1:]
    index = target_register(instruction)
    scaled, den, num = (float32(source, instruction.text) for source in sources)

    def step(state: State) -> None:
        result, flag = numbers.div_scale(scaled(state), den(state), num(state), state.mask.shape)
        state.put(index, result.view(np.uint32))
        state.put_mask(condition.index, flag)

    return step


def _div_fmas(instruction: Instruction, _: str) -> Step:
    no_modifiers(instruction)
    index = target_register(instruction)
    a, b, c = (float32(source, instruction.text) for source in instruction.operands[1:])
    usual = into(index, "f", numbers.fma, [a, b, c])
    scaled = into(index, "f", numbers.div_fmas, [a, b, c, _condition])
    return lambda state: scaled(state) if state.s[VCC : VCC + 2].any() else usual(state)


def _condition(state: State) -> Array:
    return state.mask_of(VCC)


def _ldexp(instruction: Instruction, _: str) -> Step:
    """V_LDEXP_F32: a power of two times a number, rounded once."""
    no_modifiers(instruction)
    value, power = instruction.operands[1:]
    no_signs(instruction, (power,))

    def function(x: Array, by: Array, out: Array) -> None:
        np.copyto(out, np.ldexp(x.astype(np.float64), by.clip(-400, 400)), casting="same_kind")

    gets = [float32(value, instruction.text), signed32(power, instruction.text)]
    return into(target_register(instruction), "f", function, gets)


MAKERS: dict[str, Maker] = {
    **{name: _single(name, function) for name, function in _FLOAT.items()},
    "v_max_f32": _extreme("v_max_f32", numbers.larger),
    "v_min_f32": _extreme("v_min_f32", numbers.smaller),
    **{name: _half(function) for name, function in _HALF.items()},
    "v_div_fixup_f32": _single("v_div_fixup_f32", numbers.div_fixup),
    "v_fmac_f32": _accumulate,
    "v_div_scale_f32": _div_scale,
    "v_div_fmas_f32": _div_fmas,
    "v_ldexp_f32": _ldexp,
}
