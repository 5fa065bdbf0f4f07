"""Matrix instructions: which lane holds which element, what is rounded, and where scales apply.

The layouts are written down here as the ISA guides have them, and not taken from the engine.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rocassay.harness.engines.isa.asm import Unsupported
from rocassay.harness.engines.isa.mfma import SHAPES
from rocassay.harness.engines.isa.state import State
from rocassay.harness.fp8 import encode, format_of
from rocassay.suites.isa.registers import LANES, blank, execute, run, step, words

Matrix = NDArray[np.float64]
WAVES = 2


@dataclass(frozen=True, slots=True)
class Form:
    """One instruction: its shape, the formats of its factors and a chip that has it."""

    m: int
    k: int
    kind: str
    arch: str

    @property
    def name(self) -> str:
        """The mnemonic."""
        return f"v_mfma_f32_{self.m}x{self.m}x{self.k}_{self.kind}"

    @property
    def held(self) -> int:
        """Elements of a factor a lane."""
        return self.m * self.k // LANES

    def element(self, lane: int, number: int) -> tuple[int, int]:
        """(row, k) of an element of the first factor; of the second (column, k)."""
        group = lane // self.m
        if self.kind == "f8f6f4":  # CDNA4: registers 0 to 3 hold the first half of k, 4 to 7 the second
            return lane % self.m, 16 * group + number % 16 + number // 16 * (self.k // 2)
        return lane % self.m, self.held * group + number

    def place(self, lane: int, register: int) -> tuple[int, int]:
        """(row, column) of a register of the result."""
        if self.m == 16:
            return 4 * (lane // 16) + register, lane % 16
        return 8 * (register // 4) + 4 * (lane // 32) + register % 4, lane % 32


FORMS = [
    *(Form(m, k, kind, arch) for m, k, arch in ((16, 16, "gfx942"), (32, 8, "gfx942"), (16, 32, "gfx950"),
                                                (32, 16, "gfx950")) for kind in ("bf16", "f16")),
    Form(16, 4, "f32", "gfx942"), Form(32, 2, "f32", "gfx942"),
    *(Form(m, k, f"{a}_{b}", arch) for m, k in ((16, 32), (32, 16)) for a in ("fp8", "bf8") for b in ("fp8", "bf8")
      for arch in ("gfx942", "gfx950")),
    Form(16, 128, "f8f6f4", "gfx950"), Form(32, 64, "f8f6f4", "gfx950"),
]  # fmt: skip
each_form = pytest.mark.parametrize("form", FORMS, ids=lambda form: f"{form.name}-{form.arch}")

CODES = {
    ("gfx942", "fp8"): "e4m3fnuz",
    ("gfx942", "bf8"): "e5m2fnuz",
    ("gfx950", "fp8"): "e4m3fn",
    ("gfx950", "bf8"): "e5m2",
}


def test_every_shape_of_the_table_is_tested() -> None:
    assert {(shape.m, shape.k, shape.kind) for shape in SHAPES} == {(form.m, form.k, form.kind) for form in FORMS}


def _bits(form: Form, values: Matrix, operand: int) -> tuple[Any, int]:
    """(codes of numbers in the format of a factor, bits of each)."""
    if form.kind == "f32":
        return values.astype(np.float32).view(np.uint32), 32
    if form.kind == "f16":
        return values.astype(np.float16).view(np.uint16), 16
    if form.kind == "bf16":
        return (values.astype(np.float32).view(np.uint32) >> 16).astype(np.uint16), 16
    code = "fp8" if form.kind == "f8f6f4" else form.kind.split("_")[operand]
    return encode(values, format_of(CODES[form.arch, code])), 8


def _place(state: State, form: Form, first: int, matrix: Matrix, operand: int) -> None:
    """[W, m, k] into registers from `first` on."""
    codes, width = _bits(form, matrix, operand)
    per = 32 // width
    for lane in range(LANES):
        for dword in range(form.held // per):
            word = np.zeros(WAVES, np.uint64)
            for n in range(per):
                row, k = form.element(lane, dword * per + n)
                word |= codes[:, row, k].astype(np.uint64) << np.uint64(n * width)
            state.v[first + dword, :, lane] = word


def _result(state: State, form: Form, first: int, file: str = "v") -> NDArray[np.float32]:
    """[W, m, m] of the result's registers."""
    matrix = np.full((WAVES, form.m, form.m), np.nan, np.float32)
    registers = getattr(state, file)
    for lane in range(LANES):
        for n in range(form.m * form.m // LANES):
            row, column = form.place(lane, n)
            matrix[:, row, column] = registers[first + n, :, lane].view(np.float32)
    return matrix


def _put_result(state: State, form: Form, first: int, matrix: Matrix) -> None:
    for lane in range(LANES):
        for n in range(form.m * form.m // LANES):
            row, column = form.place(lane, n)
            state.v[first + n, :, lane] = matrix[:, row, column].astype(np.float32).view(np.uint32)


def _small(seed: int, *shape: int) -> Matrix:
    """Integers that every format holds."""
    return np.random.default_rng(seed).integers(-3, 4, shape).astype(np.float64)


def _operands(form: Form, c: str, d: str = "v") -> str:
    dwords, registers = form.held * _bits(form, np.zeros(1), 0)[1] // 32, form.m * form.m // LANES
    a, b = (f"v[{first}:{first + dwords - 1}]" if dwords > 1 else f"v{first}" for first in (16, 32))
    addend = f"v[{c}:{int(c) + registers - 1}]" if c != "0" else "0"
    return f"{d}[{0}:{registers - 1}], {a}, {b}, {addend}".replace("v[0:", f"{d}[0:", 1)


@each_form
def test_a_product_of_integers_is_exact_in_every_place(form: Form) -> None:
    a, b, c = _small(1, WAVES, form.m, form.k), _small(2, WAVES, form.m, form.k), _small(3, WAVES, form.m, form.m)
    state = blank(WAVES, vectors=80)
    _place(state, form, 16, a, 0)
    _place(state, form, 32, b, 1)
    _put_result(state, form, 48, c)
    run(f"{form.name} {_operands(form, '48')}", state, form.arch)
    np.testing.assert_array_equal(_result(state, form, 0), a @ b.transpose(0, 2, 1) + c)
    _put_result(state, form, 0, c)
    run(f"{form.name} {_operands(form, '0').rsplit(', ', 1)[0]}, v[0:{form.m * form.m // LANES - 1}]", state, form.arch)
    np.testing.assert_array_equal(_result(state, form, 0), a @ b.transpose(0, 2, 1) + c)


@each_form
@pytest.mark.parametrize("operand", [0, 1])
def test_one_element_reaches_one_row_or_column(form: Form, operand: int) -> None:
    """A single element of one factor picks a line of the other, which holds another number at every k."""
    other = _small(4, WAVES, form.m, form.k)
    for lane, number in ((0, 0), (form.m - 1, form.held - 1), (form.m, 1 % form.held), (LANES - 1, form.held // 2)):
        row, k = form.element(lane, number)
        single = np.zeros_like(other)
        single[:, row, k] = 2
        state = blank(WAVES, vectors=80)
        for place, matrix in enumerate((single, other) if operand == 0 else (other, single)):
            _place(state, form, 16 + 16 * place, matrix, place)
        run(f"{form.name} {_operands(form, '0')}", state, form.arch)
        expected = np.zeros((WAVES, form.m, form.m))
        line = expected[:, row, :] if operand == 0 else expected[:, :, row]
        line += 2 * other[:, :, k]
        np.testing.assert_array_equal(_result(state, form, 0), expected)


@each_form
def test_sums_are_rounded_once(form: Form) -> None:
    """The largest terms cancel, and what is left is not lost beside them."""
    a, b = np.zeros((WAVES, form.m, form.k)), np.ones((WAVES, form.m, form.k))
    a[:, :, 0], a[:, :, form.k - 1] = 1, 0.25
    c = np.full((WAVES, form.m, form.m), 2.0**24)
    state = blank(WAVES, vectors=80)
    _place(state, form, 16, a, 0)
    _place(state, form, 32, b, 1)
    _put_result(state, form, 48, c)
    run(f"{form.name} {_operands(form, '48')}", state, form.arch)
    assert (_result(state, form, 0) == 2.0**24 + 2).all()  # 1.25 more: adding 1 first would be a tie and lost


def test_accumulation_registers_are_factors_addends_and_results() -> None:
    form = Form(16, 16, "bf16", "gfx942")
    a, b, c = _small(5, WAVES, 16, 16), _small(6, WAVES, 16, 16), _small(7, WAVES, 16, 16)
    state = blank(WAVES, vectors=80, accumulators=16)
    _place(state, form, 16, a, 0)
    state.a[4:6] = state.v[16:18]
    state.v[16:18] = 0
    _place(state, form, 32, b, 1)
    _put_result(state, form, 48, c)
    state.a[8:12] = state.v[48:52]
    execute(state, 1)  # matrix instructions take all lanes, whatever executes
    run("v_mfma_f32_16x16x16_bf16 a[0:3], a[4:5], v[32:33], a[8:11]", state, "gfx942")
    np.testing.assert_array_equal(_result(state, form, 0, "a"), a @ b.transpose(0, 2, 1) + c)


def test_nan_and_infinity_stay() -> None:
    form = Form(16, 16, "f16", "gfx942")
    a, b = np.ones((WAVES, 16, 16)), np.ones((WAVES, 16, 16))
    a[0, 3, 5], a[1, 2, 9], b[1, 4, 9] = np.nan, np.inf, -1.0
    state = blank(WAVES, vectors=80)
    _place(state, form, 16, a, 0)
    _place(state, form, 32, b, 1)
    got = _result(run(f"{form.name} {_operands(form, '0')}", state, "gfx942"), form, 0)
    assert np.isnan(got[0, 3]).all()
    assert np.isfinite(np.delete(got[0], 3, axis=0)).all()
    assert got[1, 2, 4] == -np.inf
    assert got[1, 2, 5] == np.inf


@pytest.mark.parametrize("form", FORMS[-2:], ids=lambda form: form.name)
@pytest.mark.parametrize("byte", [(0, 0), (1, 2), (3, 1)])
def test_scales_apply_to_blocks_of_32_along_k(form: Form, byte: tuple[int, int]) -> None:
    """Lane l gives the scale of row l % m and of block l // m of k, whichever lane holds the block's elements."""
    a, b = _small(8, WAVES, form.m, form.k), _small(9, WAVES, form.m, form.k)
    powers = [np.random.default_rng(10 + n).integers(-3, 4, (WAVES, form.m, form.k // 32)) for n in range(2)]
    state = blank(WAVES, vectors=80)
    _place(state, form, 16, a, 0)
    _place(state, form, 32, b, 1)
    for n in range(2):
        codes = words(70 + n, WAVES, LANES) & np.uint32(0xFFFFFFFF ^ 255 << 8 * byte[n])
        for lane in range(LANES):
            codes[:, lane] |= (powers[n][:, lane % form.m, lane // form.m] + 127).astype(np.uint32) << (8 * byte[n])
        state.v[70 + n] = codes
    selects = f"op_sel:[{byte[0] & 1},{byte[1] & 1},0] op_sel_hi:[{byte[0] >> 1},{byte[1] >> 1},0]"
    run(f"{form.name.replace('mfma_', 'mfma_scale_')} {_operands(form, '0')}, v70, v71 {selects}", state)
    wide = [matrix * np.repeat(2.0**power, 32, axis=2) for matrix, power in zip((a, b), powers, strict=True)]
    np.testing.assert_array_equal(_result(state, form, 0), wide[0] @ wide[1].transpose(0, 2, 1))


def test_a_scale_of_all_ones_makes_its_row_nan() -> None:
    form = FORMS[-2]
    state = blank(WAVES, vectors=80)
    for place in range(2):
        _place(state, form, 16 + 16 * place, np.ones((WAVES, 16, 128)), place)
    state.v[70], state.v[71] = 127, 127
    state.v[70, :, 5] = 255
    run(f"{form.name.replace('mfma_', 'mfma_scale_')} {_operands(form, '0')}, v70, v71 op_sel_hi:[0,0,0]", state)
    got = _result(state, form, 0)
    assert np.isnan(got[:, 5]).all()
    assert (np.delete(got, 5, axis=1) == 128).all()


@pytest.mark.parametrize(
    "text",
    ["v_mfma_f32_4x4x4_16b_f16 v[0:3], v[16:17], v[32:33], 0",
     "v_mfma_f32_16x16x16_bf16 v[0:3], v[16:17], v[32:33], 1.0",
     "v_mfma_f32_16x16x16_bf16 v[0:3], v[16:19], v[32:35], 0",
     "v_mfma_f32_16x16x16_bf16 v[0:3], v[16:17], v[32:33], 0 cbsz:1",
     "v_mfma_f32_16x16x128_f8f6f4 v[0:3], v[16:23], v[32:39], 0 cbsz:2",
     "v_mfma_scale_f32_16x16x128_f8f6f4 v[0:3], v[16:23], v[32:39], 0, v1, v2"],
)  # fmt: skip
def test_other_matrix_instructions_are_refused(text: str) -> None:
    with pytest.raises(Unsupported):
        step(text)
