"""Matrix instructions by table: which lane holds which element, products exact, sums in float64, rounded once."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from rocassay.harness.engines.isa import numbers
from rocassay.harness.engines.isa.asm import Instruction, Operand, Unsupported
from rocassay.harness.engines.isa.sources import Get, no_modifiers, vector32
from rocassay.harness.engines.isa.state import LANES, State

Step: TypeAlias = Callable[[State], None]
Array: TypeAlias = Any
Decode: TypeAlias = Callable[[Array], Array]
"""uint32 [W, dwords, 64] -> float64 [W, elements, 64] or the same in more dimensions, the lowest bits first."""

_NAME = re.compile(r"v_mfma_(?P<scale>scale_)?f32_(?P<m>\d+)x(?P<n>\d+)x(?P<k>\d+)_(?P<kind>\w+)$")


@dataclass(frozen=True, slots=True)
class Shape:
    """A matrix instruction: [m, k] by [k, m] (AMD CDNA3 and CDNA4 ISA guides, matrix arithmetic instructions).

    Of a factor, lane l holds row l % m. Its elements lie in runs: the first run of the lanes l // m covers the first
    part of k in their order, the second run the next. Of the result, lane l holds column l % m, and rows in fours.

    Attributes:
        m: rows and columns of the result.
        k: length of the sum.
        kind: number format of the factors.
        run: how many elements of a lane follow each other in k.
    """

    m: int
    k: int
    kind: str
    run: int

    @property
    def groups(self) -> int:
        """Lanes that share a row."""
        return LANES // self.m

    @property
    def held(self) -> int:
        """Elements of a factor a lane."""
        return self.k // self.groups


_BITS = {"f32": 32, "bf16": 16, "f16": 16, "fp8_fp8": 8, "fp8_bf8": 8, "bf8_fp8": 8, "bf8_bf8": 8, "f8f6f4": 8}
_RUN_OF_F8F6F4 = 16
"""One-byte elements of the f8f6f4 instructions lie in two runs of sixteen, half of k apart (AMD CDNA4 ISA guide)."""

SHAPES = frozenset(
    Shape(m, k, kind, _RUN_OF_F8F6F4 if kind == "f8f6f4" else k * m // LANES)
    for m, k, kinds in (
        (16, 4, ("f32",)), (32, 2, ("f32",)),
        (16, 16, ("bf16", "f16")), (32, 8, ("bf16", "f16")), (16, 32, ("bf16", "f16")), (32, 16, ("bf16", "f16")),
        (16, 32, ("fp8_fp8", "fp8_bf8", "bf8_fp8", "bf8_bf8")), (32, 16, ("fp8_fp8", "fp8_bf8", "bf8_fp8", "bf8_bf8")),
        (16, 128, ("f8f6f4",)), (32, 64, ("f8f6f4",)),
    )
    for kind in kinds
)  # fmt: skip


def build(instruction: Instruction, arch: str) -> Step | None:
    """The step of a matrix instruction; None when it is none."""
    if not instruction.name.startswith("v_mfma_"):
        return None
    shape, scaled = _shape(instruction)
    no_modifiers(instruction, *(("op_sel", "op_sel_hi") if scaled else ()))
    target, a, b, c, *scales = instruction.operands
    dwords, registers = shape.held * _BITS[shape.kind] // 32, shape.m * shape.m // LANES
    if a.count != dwords or b.count != dwords or target.count != registers or len(scales) != (2 if scaled else 0):
        raise Unsupported(f"{instruction.text!r} has operands of a size that is not known")
    left, right = (_factor(shape, s, arch, n) for n, s in enumerate((a, b)))
    by = [_scale_of(instruction, shape, scale, place) for place, scale in enumerate(scales)]
    add = _addend(instruction, shape, c)

    def step(state: State) -> None:
        one, other = left(state), right(state)
        if by:
            one, other = one * by[0](state), other * by[1](state)
        total = _by_registers(shape, np.matmul(one.transpose(0, 2, 1), other))
        file = state.v if target.kind == "v" else state.a
        out = file[target.index : target.index + registers].view(np.float32).reshape(total.shape)
        np.copyto(out, add(state, total), casting="same_kind")

    return step


def _shape(instruction: Instruction) -> tuple[Shape, bool]:
    found = _NAME.match(instruction.name)
    if found and found["m"] == found["n"]:
        for shape in SHAPES:
            if (shape.m, shape.k, shape.kind) == (int(found["m"]), int(found["k"]), found["kind"]):
                return shape, bool(found["scale"])
    raise Unsupported(f"{instruction.text!r} is not known")


def _registers(state: State, operand: Operand) -> Array:
    file = state.v if operand.kind == "v" else state.a
    return file[operand.index : operand.index + operand.count]


def _factor(shape: Shape, operand: Operand, arch: str, place: int) -> Get:
    """float64 [W, k, m] of registers; k goes through the elements of a lane, and for each through the groups of lanes.

    Any order of k will do that both factors share: this one copies whole rows of 64 lanes.
    """
    if operand.kind not in ("v", "a"):
        raise Unsupported("a factor of a matrix instruction is no vector register")
    decode = _decoder(shape.kind, arch, place)

    def get(state: State) -> Array:
        return decode(_registers(state, operand).transpose(1, 0, 2)).reshape(state.count, shape.k, shape.m)

    return get


def _decoder(kind: str, arch: str, place: int) -> Decode:
    if kind == "f32":
        return lambda words: words.view(np.float32).astype(np.float64, order="C")
    if kind == "bf16":
        return _decode_bf16
    if kind == "f16":
        return lambda words: _apart(words, np.float16).astype(np.float64, order="C")
    code = "fp8" if kind == "f8f6f4" else kind.split("_")[place]
    name = numbers.FP8[arch, code]
    return lambda words: numbers.decode_fp8_wide(_apart(words, np.uint8), name)


def _apart(words: Array, kind: type[np.float16] | type[np.uint8]) -> Array:
    """[W, dwords, 64] -> [W, dwords, elements of a dword, 64], a view."""
    parts: Array = words.view(kind).reshape(*words.shape, 4 // np.dtype(kind).itemsize)
    return parts.transpose(0, 1, 3, 2)


def _decode_bf16(words: Array) -> Array:
    waves, dwords, lanes = words.shape
    wide = np.empty((waves, dwords, 2, lanes), np.uint32)
    np.left_shift(words, np.uint32(16), wide[:, :, 0])
    np.bitwise_and(words, np.uint32(0xFFFF0000), wide[:, :, 1])
    return wide.view(np.float32).astype(np.float64)


def _by_registers(shape: Shape, matrix: Array) -> Array:
    """[W, m, m] -> [fours, 4, W, groups, m]: the result as its registers have it, without a copy.

    Register 4 f + r of lane l holds row 4 (groups f + l // m) + r, column l % m.
    """
    waves, m = len(matrix), shape.m
    return matrix.reshape(waves, m // (4 * shape.groups), shape.groups, 4, m).transpose(1, 3, 0, 2, 4)


def _addend(instruction: Instruction, shape: Shape, c: Operand) -> Callable[[State, Array], Array]:
    """The sum with the third source, in float64."""
    if c.kind == "literal":
        if c.value:
            raise Unsupported(f"{instruction.text!r} adds a constant that is not known")
        return lambda _, total: total
    if c.count != shape.m * shape.m // LANES or c.kind not in ("v", "a"):
        raise Unsupported(f"{instruction.text!r} has an addend of a size that is not known")
    return lambda state, total: np.add(total, _registers(state, c).view(np.float32).reshape(total.shape))


def _scale_of(instruction: Instruction, shape: Shape, operand: Operand, place: int) -> Get:
    """float64 [W, k, m]: lane l has the E8M0 scale of row l % m, elements k // groups from (l // m) of them on.

    It is the byte of the register that op_sel and op_sel_hi choose.
    """
    mods: Any = instruction.modifiers
    if "op_sel_hi" not in mods:
        raise Unsupported(f"{instruction.text!r} does not say which bytes hold its scales")
    byte = mods.get("op_sel", (0, 0, 0))[place] + 2 * mods["op_sel_hi"][place]
    get, shift = vector32(operand, instruction.text), np.uint32(8 * byte)

    group = np.arange(shape.groups)
    number = np.arange(shape.held)[:, None]
    k = shape.run * group + number % shape.run + number // shape.run * (shape.run * shape.groups)
    block = (k // (shape.k // shape.groups)).ravel()

    def factors(state: State) -> Array:
        codes = np.broadcast_to((get(state) >> shift) & np.uint32(255), state.mask.shape)
        return numbers.e8m0(codes).reshape(state.count, shape.groups, shape.m)[:, block]

    return factors
