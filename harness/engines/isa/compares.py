"""Comparisons of the vector unit, and the choice by a mask."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

from dataclasses import replace

import numpy as np

from rocassay.harness.engines.isa import numbers
from rocassay.harness.engines.isa.asm import Instruction, Operand, Parts, Unsupported
from rocassay.harness.engines.isa.lanes import sdwa_source
from rocassay.harness.engines.isa.sources import (
    Array,
    Get,
    float32,
    no_modifiers,
    no_signs,
    signed32,
    vector32,
    vector64,
)
from rocassay.harness.engines.isa.state import State
from rocassay.harness.engines.isa.steps import (
    LOW16,
    SDWA,
    Function,
    Maker,
    Step,
    half_source,
    into,
    parts,
    placed,
    target_register,
)

_NUMBER_RELATION: dict[str, Function] = {
    "eq": np.equal, "ne": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
}  # fmt: skip

_FLOAT_RELATION: dict[str, Function] = {
    "eq": np.equal, "neq": np.not_equal, "lt": np.less, "le": np.less_equal, "gt": np.greater, "ge": np.greater_equal,
    "lg": lambda a, b: (a < b) | (a > b),
    "nlt": lambda a, b: ~(a < b), "nle": lambda a, b: ~(a <= b), "ngt": lambda a, b: ~(a > b),
    "nge": lambda a, b: ~(a >= b), "nlg": lambda a, b: ~((a < b) | (a > b)),
    "o": lambda a, b: (a == a) & (b == b), "u": lambda a, b: (a != a) | (b != b),
}  # fmt: skip
"""AMD CDNA3 ISA guide, V_CMP_{op}_F32: n negates, so NaN fulfils it, neq too; o and u ask whether there is none."""

_WITH_ITSELF: dict[str, Function] = {"o": lambda a, _: a == a, "u": lambda a, _: a != a}
"""The same of one register twice."""


def _low_signed(x: Array) -> Array:
    return (x.view(np.int32) << np.int32(16)) >> np.int32(16)


_AS: dict[str, Function] = {
    "f32": lambda x: x.view(np.float32), "u32": lambda x: x, "i32": lambda x: x.view(np.int32),
    "u64": lambda x: x, "i64": lambda x: x.view(np.int64), "u16": lambda x: x & LOW16, "i16": _low_signed,
    "f16": numbers.from_half,
}  # fmt: skip


KINDS = tuple(_AS)
"""Number formats that are compared."""


def relations(kind: str) -> tuple[str, ...]:
    """Names of the comparisons of a number format."""
    return tuple(_relations(kind))


def _relations(kind: str) -> dict[str, Function]:
    return _FLOAT_RELATION if kind in ("f16", "f32") else _NUMBER_RELATION


def _comparison(instruction: Instruction) -> Step:
    _, _, relation, kind = instruction.name.split("_")
    if kind not in KINDS or relation not in relations(kind):
        raise Unsupported(f"comparison {instruction.text!r} is not known")
    target, *sources = instruction.operands
    if target.kind != "s":
        raise Unsupported(f"the destination of {instruction.text!r} is no pair of scalar registers")
    function, index = _relations(kind)[relation], target.index
    if relation in _WITH_ITSELF and sources[0] == sources[1]:
        function = _WITH_ITSELF[relation]
    a, b = _compared(instruction, sources, kind)

    def step(state: State) -> None:
        result = function(a(state), b(state))
        if result.shape != state.mask.shape:
            result = np.broadcast_to(result, state.mask.shape)
        state.put_mask(index, result)

    return step


def _compared(instruction: Instruction, sources: list[Operand], kind: str) -> list[Get]:
    """The sources as numbers of the kind that is compared."""
    text, view = instruction.text, _AS[kind]
    if instruction.encoding == "sdwa":
        if kind.endswith("64"):
            raise Unsupported(f"{text!r} in this encoding is not known")
        no_modifiers(instruction, *SDWA)
        return [_viewed(sdwa_source(instruction, s, f"src{n}_sel"), view) for n, s in enumerate(sources)]
    no_modifiers(instruction)
    if kind == "f32":
        return [float32(source, text) for source in sources]
    if kind == "f16":
        return [_signs(_viewed(half_source(source, text), view), source) for source in sources]
    no_signs(instruction, tuple(sources))
    if kind == "i32":
        return [signed32(source, text) for source in sources]
    if kind == "u32":
        return [vector32(source, text) for source in sources]
    wide = kind.endswith("64")
    return [_viewed(vector64(s, text) if wide else half_source(s, text), view) for s in sources]


def _signs(get: Get, source: Operand) -> Get:
    """The sign modifiers of a floating-point source."""
    positive = (lambda state: np.abs(get(state))) if source.absolute else get
    return (lambda state: -positive(state)) if source.neg else positive


def _viewed(get: Get, view: Function) -> Get:
    return lambda state: view(get(state))


def _conditional(instruction: Instruction, _: str) -> Step:
    """v_cndmask_b32: the second source where the mask is set, else the first."""
    condition = instruction.operands[-1]
    if condition.kind != "s":
        raise Unsupported(f"the condition of {instruction.text!r} is no pair of scalar registers")
    short = replace(instruction, given=Parts(instruction.operands[:-1], instruction.modifiers))
    mask = condition.index
    if instruction.encoding == "sdwa":
        return _conditional_parts(short, mask)
    no_modifiers(instruction)
    first, second = short.operands[1:]
    a, b = (_bits_of(source, instruction.text) for source in (first, second))
    index = target_register(short)
    if first.kind == "literal" and first.value == 0:
        return into(index, "v", np.multiply, [b, lambda state: state.mask_of(mask)])
    if second.kind == "literal" and second.value == 0:
        return into(index, "v", np.multiply, [a, lambda state: ~state.mask_of(mask)])
    return into(index, "v", chosen, [a, b, lambda state: state.mask_of(mask)])


def chosen(a: Array, b: Array, mask: Array, out: Array) -> None:
    """b where the mask is set, else a, without a branch per lane."""
    apart = a ^ b
    np.bitwise_xor(apart * mask.astype(np.uint32), a, out)


def _conditional_parts(short: Instruction, mask: int) -> Step:
    (a, b), put = parts(short), placed(short)

    def step(state: State) -> None:
        put(state, np.where(state.mask_of(mask), b(state), a(state)))

    return step


def _bits_of(source: Operand, text: str) -> Get:
    """32 bits, sign modifiers applied to the sign bit."""
    if not source.neg and not source.absolute:
        return vector32(source, text)
    get = float32(source, text)
    return lambda state: get(state).view(np.uint32)


def maker(name: str) -> Maker | None:
    """How a comparison is made, for any relation and kind; None for other instructions."""
    if not name.startswith("v_cmp_"):
        return None
    return lambda instruction, _: _comparison(instruction)


MAKERS: dict[str, Maker] = {"v_cndmask_b32": _conditional}
