"""What the families of vector instructions share: from sources and a function to the step that stores the result."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any, Literal, TypeAlias

import numpy as np

from rocassay.harness.engines.isa.asm import Instruction, Operand, Unsupported
from rocassay.harness.engines.isa.lanes import dpp, sdwa_put, sdwa_source
from rocassay.harness.engines.isa.sources import (
    Array,
    Get,
    float32,
    half_bits,
    no_modifiers,
    no_signs,
    signed32,
    vector32,
)
from rocassay.harness.engines.isa.state import LANES, State

Step: TypeAlias = Callable[[State], None]
Maker: TypeAlias = Callable[[Instruction, str], Step]
"""Of an instruction and a chip."""

Makers: TypeAlias = Mapping[str, Maker]
Function: TypeAlias = Callable[..., Any]
"""Of the sources, and last the array that takes the result; it may be one of the sources."""

Kind: TypeAlias = Literal["v", "i", "f"]
"""How registers are read and written: uint32, int32 or float32; also the name of the state's view of them."""

LOW16 = np.uint32(0xFFFF)
DPP = ("quad_perm", "row_shr", "row_shl", "row_ror", "row_bcast", "row_mirror", "row_half_mirror", "row_mask",
       "bank_mask", "bound_ctrl")  # fmt: skip
SDWA = ("dst_sel", "dst_unused", "src0_sel", "src1_sel")

_DTYPE = {"v": np.uint32, "i": np.int32, "f": np.float32}
_SOURCE: dict[str, Callable[[Operand, str], Get]] = {"v": vector32, "i": signed32, "f": float32}


def into(index: int, kind: Kind, function: Function, gets: Sequence[Get]) -> Step:
    """Compute straight into a vector register; through a scratch array where some lanes do not execute."""
    # Partial functions and not closures: they are a fourth of the objects, of which a launch has many.
    return partial(_WHOLE.get(len(gets), _many), function, index, kind, *gets)


def _partly(state: State, function: Function, index: int, kind: Kind, *gets: Get) -> None:
    scratch = np.empty((len(state.waves), LANES), _DTYPE[kind])
    function(*[get(state) for get in gets], scratch)
    np.copyto(getattr(state, kind)[index], scratch, where=state.mask)


# The step by number of sources: these lines run a million times a launch.
def _one(function: Function, index: int, kind: Kind, a: Get, state: State) -> None:
    if state.full:
        function(a(state), getattr(state, kind)[index])
    else:
        _partly(state, function, index, kind, a)


def _two(function: Function, index: int, kind: Kind, a: Get, b: Get, state: State) -> None:
    if state.full:
        function(a(state), b(state), getattr(state, kind)[index])
    else:
        _partly(state, function, index, kind, a, b)


def _three(function: Function, index: int, kind: Kind, a: Get, b: Get, c: Get, state: State) -> None:
    if state.full:
        function(a(state), b(state), c(state), getattr(state, kind)[index])
    else:
        _partly(state, function, index, kind, a, b, c)


def _many(function: Function, index: int, kind: Kind, *gets_and_state: Any) -> None:
    *gets, state = gets_and_state
    if state.full:
        function(*[get(state) for get in gets], getattr(state, kind)[index])
    else:
        _partly(state, function, index, kind, *gets)


_WHOLE: dict[int, Callable[..., None]] = {1: _one, 2: _two, 3: _three}


def target_register(instruction: Instruction) -> int:
    """Number of the vector register that takes the result."""
    target = instruction.operands[0]
    if target.kind != "v":
        raise Unsupported(f"the destination of {instruction.text!r} is no vector register")
    return target.index


def plain(instruction: Instruction, kind: Kind, function: Function) -> Step:
    """A step in the plain encodings: no modifiers beyond the signs of floating-point sources."""
    no_modifiers(instruction)
    sources = instruction.operands[1:]
    if kind != "f":
        no_signs(instruction, sources)
    return into(target_register(instruction), kind, function, [_SOURCE[kind](s, instruction.text) for s in sources])


def by_lanes(instruction: Instruction, kind: Kind, function: Function) -> Step:
    """A step in the DPP encoding: the first source comes from other lanes."""
    no_modifiers(instruction, *DPP)
    first, *rest = instruction.operands[1:]
    no_signs(instruction, (first, *rest))
    index, moved, others = (
        target_register(instruction),
        dpp(instruction, first),
        [vector32(s, instruction.text) for s in rest],
    )
    dtype = _DTYPE[kind]
    columns = moved.columns if len(moved.columns) < LANES else None

    def step(state: State) -> None:
        shape = (len(state.waves), LANES)
        scratch = np.empty(shape, dtype)
        function(moved.read(state).view(dtype), *(get(state).view(dtype) for get in others), scratch)
        row = state.v[index]
        bits = scratch.view(np.uint32)
        lanes = moved.written(state)
        if lanes is not None:
            np.copyto(row, bits, where=lanes)
        elif columns is not None:
            row[:, columns] = bits[:, columns]
        else:
            row[...] = bits

    return step


def parts(instruction: Instruction) -> list[Get]:
    """Sources of the SDWA encoding: chosen parts of registers."""
    no_modifiers(instruction, *SDWA)
    return [sdwa_source(instruction, s, f"src{n}_sel") for n, s in enumerate(instruction.operands[1:])]


def by_parts(instruction: Instruction, function: Function) -> Step:
    """A step in the SDWA encoding: parts of registers in, a part of a register out."""
    index, gets = target_register(instruction), parts(instruction)
    if str(instruction.modifiers.get("dst_sel", "DWORD")) == "DWORD":
        return into(index, "v", function, gets)
    put = placed(instruction)

    def step(state: State) -> None:
        scratch = np.empty((len(state.waves), LANES), np.uint32)
        function(*(get(state) for get in gets), scratch)
        put(state, scratch)

    return step


def placed(instruction: Instruction) -> Callable[[State, Array], None]:
    """How a result of 32 bits gets into the destination of the plain and the SDWA encoding."""
    index = target_register(instruction)
    if instruction.encoding == "sdwa":
        return lambda state, value: sdwa_put(instruction, index, state, value)
    return lambda state, value: state.put(index, value)


def half_source(source: Operand, text: str) -> Get:
    """16 bits in the lower half; what the upper half holds is left to the reader."""
    if source.kind == "literal":
        assert isinstance(source.value, (int, float))
        constant = np.array(half_bits(source.value), np.uint32)
        return lambda _: constant
    return vector32(source, text)


def signed_half(source: Operand, text: str) -> Get:
    """16 bits with the sign modifiers in the lower half."""
    plain, absolute, neg = half_source(source, text), source.absolute, source.neg
    if not absolute and not neg:
        return plain
    sign = np.uint32(0x8000)

    def get(state: State) -> Array:
        bits = plain(state)
        if absolute:
            bits = bits & ~sign
        return bits ^ sign if neg else bits

    return get


def half_sources(instruction: Instruction) -> list[Get]:
    """16-bit sources, from the upper half where op_sel says so; the destination must be the lower one."""
    no_modifiers(instruction, "op_sel")
    sources = instruction.operands[1:]
    no_signs(instruction, sources)
    chosen: Any = instruction.modifiers.get("op_sel", ())
    if len(chosen) > len(sources) and chosen[len(sources)]:
        raise Unsupported(f"op_sel of the destination of {instruction.text!r} is not known")

    def upper(get: Get) -> Get:
        return lambda state: get(state) >> np.uint32(16)

    gets = [half_source(source, instruction.text) for source in sources]
    return [upper(get) if n < len(chosen) and chosen[n] else get for n, get in enumerate(gets)]


def _signed(function: Function) -> Function:
    return lambda *arrays: function(*(array.view(np.int32) for array in arrays))


def encoded(table: Mapping[str, Function], kind: Kind) -> dict[str, Maker]:
    """Makers of a table of functions, in the plain and DPP encodings, and for integers in SDWA."""

    def maker(function: Function) -> Maker:
        def make(instruction: Instruction, _: str) -> Step:
            if instruction.encoding == "dpp":
                return by_lanes(instruction, kind, function)
            if instruction.encoding == "sdwa" and kind != "f":
                return by_parts(instruction, function if kind == "v" else _signed(function))
            if instruction.encoding == "sdwa":
                raise Unsupported(f"{instruction.text!r} in this encoding is not known")
            return plain(instruction, kind, function)

        return make

    return {name: maker(function) for name, function in table.items()}
