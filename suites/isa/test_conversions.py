"""Conversions between number formats: over all codes, and at every rounding boundary."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from fractions import Fraction
from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rocassay.harness.engines.isa.asm import Unsupported
from rocassay.suites.isa import exact
from rocassay.suites.isa.registers import lanes_of, result, run, step, words

F32 = NDArray[np.float32]
CODES = np.arange(256, dtype=np.uint32)
KINDS = [("gfx942", "fp8"), ("gfx950", "fp8"), ("gfx942", "bf8"), ("gfx950", "bf8")]
each_kind = pytest.mark.parametrize(("arch", "code"), KINDS)


def value_of(code: int, arch: str, name: str) -> float:
    """A code's value by the formats' definitions: OCP OFP8 on gfx950; AMD's FNUZ, of a higher bias, on gfx942."""
    mantissa_bits, ocp = (3 if name == "fp8" else 2), arch == "gfx950"
    exponent_bits = 7 - mantissa_bits
    bias = (1 << (exponent_bits - 1)) - (1 if ocp else 0)
    sign, field, mantissa = code >> 7, (code & 0x7F) >> mantissa_bits, code & ((1 << mantissa_bits) - 1)
    if not ocp and code == 0x80:
        return float("nan")
    if ocp and name == "bf8" and field == 31:
        return float("nan") if mantissa else (-1) ** sign * float("inf")
    if ocp and name == "fp8" and code & 0x7F == 0x7F:
        return float("nan")
    whole = mantissa / (1 << mantissa_bits) + (1 if field else 0)
    return (-1) ** sign * whole * 2.0 ** (max(field, 1) - bias)


def _finite(arch: str, name: str) -> list[float]:
    """Values of the codes from 0 up to the largest finite one."""
    values = [value_of(code, arch, name) for code in range(128)]
    return [value for value in values if np.isfinite(value)]


def _values(codes: NDArray[Any], arch: str, name: str) -> F32:
    return np.array([value_of(int(code), arch, name) for code in codes], np.float32)


def _same(got: F32, expected: F32) -> None:
    """Equal, the sign of zero included; NaN is NaN."""
    nan = np.isnan(expected)
    np.testing.assert_array_equal(np.isnan(got), nan)
    np.testing.assert_array_equal(got[~nan].view(np.uint32), expected[~nan].view(np.uint32))


PAIRS = CODES | CODES[::-1] << 8 | (CODES ^ 0x55) << 16 | (CODES ^ 0xAA) << 24
"""Every code in every byte."""


@each_kind
@pytest.mark.parametrize(
    ("form", "byte"),
    [("_e32 v[0:1], v1", 0), ("_sdwa v[0:1], v1 src0_sel:WORD_1", 2), ("_e64 v[0:1], v1 op_sel:[1,0]", 2)],
)
def test_two_codes_become_two_numbers(arch: str, code: str, form: str, byte: int) -> None:
    state = run(f"v_cvt_pk_f32_{code}{form}", lanes_of({1: PAIRS}), arch)
    for n in range(2):
        taken = PAIRS >> (8 * (byte + n)) & 255
        _same(result(state, n, 256, np.float32), _values(taken, arch, code))


@each_kind
@pytest.mark.parametrize("byte", range(4))
def test_one_code_becomes_a_number(arch: str, code: str, byte: int) -> None:
    state = run(f"v_cvt_f32_{code}_sdwa v0, v1 src0_sel:BYTE_{byte}", lanes_of({1: PAIRS}), arch)
    _same(result(state, 0, 256, np.float32), _values(PAIRS >> (8 * byte) & 255, arch, code))


@pytest.mark.parametrize("high", [0, 1])
@pytest.mark.parametrize("power", [-3, 0, 90])
def test_scaled_codes_are_multiplied_by_the_exponent_of_the_scale(high: int, power: int) -> None:
    scale = np.full(256, 1.5 * 2.0**power, np.float32)
    expected = [_values(PAIRS >> (16 * high + 8 * n) & 255, "gfx950", "fp8") * np.float32(2.0**power) for n in range(2)]
    state = run(f"v_cvt_scalef32_pk_f32_fp8 v[0:1], v2, v3 op_sel:[{high},0,0]", lanes_of({2: PAIRS, 3: scale}))
    for n in range(2):
        _same(result(state, n, 256, np.float32), expected[n])
    for kind, to in (("f16", np.float16), ("bf16", None)):
        state = run(f"v_cvt_scalef32_pk_{kind}_fp8 v0, v2, v3 op_sel:[{high},0,0]", lanes_of({2: PAIRS, 3: scale}))
        for n in range(2):
            half = (result(state, 0, 256) >> (16 * n) & 0xFFFF).astype(np.uint16)
            with np.errstate(over="ignore"):
                wide = half.view(to).astype(np.float32) if to else (half.astype(np.uint32) << 16).view(np.float32)
                _same(wide, expected[n].astype(to).astype(np.float32) if to else expected[n])


def test_a_scale_of_all_ones_is_nan_and_one_without_exponent_the_smallest_power() -> None:
    scales = np.array([np.inf, 0.0, 1e-45], np.float32)
    state = run("v_cvt_scalef32_pk_f32_fp8 v[0:1], v2, v3", lanes_of({2: np.full(3, 0x38), 3: scales}))
    _same(result(state, 0, 3, np.float32), np.array([np.nan, 2.0**-127, 2.0**-127], np.float32))


def _boundaries(arch: str, name: str) -> tuple[F32, list[float]]:
    """(numbers, the value that each rounds to): codes, points halfway between them, their neighbours and far ones.

    Infinity stands for what is beyond the largest finite value.
    """
    finite = _finite(arch, name)
    top = 2 * finite[-1] - finite[-2]
    pairs: list[tuple[np.float32, float]] = [(np.float32(value), value) for value in finite]
    for place, (low, high) in enumerate(zip(finite, [*finite[1:], top], strict=True)):
        middle = np.float32((low + high) / 2)
        above = high if place < len(finite) - 1 else np.inf
        pairs += [(middle, low if place % 2 == 0 else above), (np.nextafter(middle, np.float32(0)), low),
                  (np.nextafter(middle, np.float32(np.inf)), above)]  # fmt: skip
    far = (top, 1e30, 3.4e38, np.inf)
    pairs += [(np.float32(1e-45), 0.0), (np.float32(2.0**-126), 0.0), *((np.float32(x), np.inf) for x in far)]
    return np.array([number for number, _ in pairs], np.float32), [value for _, value in pairs]


def _code(value: float, negative: bool, arch: str, name: str, saturate: bool) -> int:
    finite, ocp = _finite(arch, name), arch == "gfx950"
    sign = 0x80 if negative else 0
    if value != value:
        return 0x7F if ocp else 0x80
    if value == np.inf and saturate:
        value = finite[-1]
    if value == np.inf:
        return 0x80 if not ocp else 0x7F if name == "fp8" else 0x7C | sign
    code = finite.index(value)
    return code | sign if code or ocp else 0


def _encodings(arch: str, name: str, saturate: bool) -> tuple[F32, list[int]]:
    numbers, values = _boundaries(arch, name)
    codes = [_code(value, negative, arch, name, saturate) for negative in (False, True) for value in values]
    nan = np.array([0x7FC00000, 0xFF800001], np.uint32).view(np.float32)
    return np.concatenate([numbers, -numbers, nan]), codes + [_code(np.nan, False, arch, name, saturate)] * 2


@each_kind
@pytest.mark.parametrize("saturate", [False, True])
@pytest.mark.parametrize("high", [0, 1])
def test_numbers_become_the_nearest_codes(arch: str, code: str, saturate: bool, high: int) -> None:
    numbers, codes = _encodings(arch, code, saturate)
    old = words(7, len(numbers))
    state = lanes_of({0: old, 1: numbers, 2: numbers[::-1]})
    state.saturate = saturate
    run(f"v_cvt_pk_{code}_f32 v0, v1, v2 op_sel:[0,0,{high}]", state, arch)
    expected = np.array(codes, np.uint32) | np.array(codes[::-1], np.uint32) << 8
    got = result(state, 0, len(numbers))
    same = 0xFFFF0000 if high == 0 else 0xFFFF
    np.testing.assert_array_equal(got >> (16 * high) & 0xFFFF, expected)
    np.testing.assert_array_equal(got & same, old & same)


@pytest.mark.parametrize("power", [-40, 0, 5])
@pytest.mark.parametrize("high", [0, 1])
def test_scaled_numbers_are_divided_by_the_exponent_of_the_scale(power: int, high: int) -> None:
    numbers, codes = _encodings("gfx950", "fp8", saturate=True)
    inside = np.abs(numbers) < 2.0**100
    numbers, codes = numbers[inside] * np.float32(2.0**power), np.array(codes, np.uint32)[inside]
    state = lanes_of({0: [0], 1: numbers, 2: numbers[::-1], 3: np.array([-1.25 * 2.0**power], np.float32)})
    state.saturate = True
    run(f"v_cvt_scalef32_pk_fp8_f32 v0, v1, v2, v3 op_sel:[0,0,0,{high}]", state)
    whole = numbers == np.float32(2.0**power) * (numbers / np.float32(2.0**power))  # not lost in the denormals
    got = result(state, 0, len(numbers)) >> (16 * high)
    np.testing.assert_array_equal((got & 255)[whole], codes[whole])


def test_a_selection_of_a_source_half_is_refused() -> None:
    with pytest.raises(Unsupported):
        step("v_cvt_pk_fp8_f32 v0, v1, v2 op_sel:[1,0,0]")


EVERY_HALF = np.arange(1 << 16, dtype=np.uint32)


def _as_single(half: exact.Ieee, bits: int) -> int | None:
    if half.is_nan(bits):
        return None
    sign = 0x80000000 if bits & half.sign else 0
    if half.is_infinite(bits):
        return exact.SINGLE.infinity | sign
    return exact.SINGLE.nearest(half.value(bits), negative_zero=bool(sign))


@pytest.mark.parametrize(("form", "shift"), [("_e32 v0, v1", 0), ("_sdwa v0, v1 src0_sel:WORD_1", 16)])
def test_every_half_becomes_its_number(form: str, shift: int) -> None:
    rubbish = words(3, 1 << 16) & np.uint32(0xFFFF << (16 - shift))
    state = run(f"v_cvt_f32_f16{form}", lanes_of({1: EVERY_HALF << shift | rubbish}))
    got = result(state, 0, 1 << 16).tolist()
    for bits in range(0, 1 << 16, 7):
        expected = _as_single(exact.HALF, bits)
        assert exact.SINGLE.is_nan(got[bits]) if expected is None else got[bits] == expected, bits


def _halfway(form: exact.Ieee, count: int) -> list[int]:
    """float32 bits of numbers that a format has, points halfway to the next one, and their neighbours."""
    draw, numbers = np.random.default_rng(17), list[int]()
    chosen = [*range(40), *draw.integers(0, form.infinity, count).tolist(), form.infinity - 1]
    for code in chosen:
        low, high = (form.value(code), form.value(code) + _unit(form, code))
        middle = exact.SINGLE.nearest((low + high) / 2)
        numbers += [exact.SINGLE.nearest(low), middle, max(middle - 1, 0), min(middle + 1, 0x7F7FFFFF)]
    return [*numbers, *(number | 0x80000000 for number in numbers), 0x7F800000, 0xFF800000, 0x477FF000, 0x7F7FFFFF]


def _unit(form: exact.Ieee, code: int) -> Fraction:
    return (
        form.value(code) - form.value(code - 1)
        if code & ((1 << form.mantissa) - 1)
        else form.value(code + 1) - form.value(code)
    )


def _narrowed(form: exact.Ieee, bits: int) -> int:
    sign = form.sign if bits >> 31 else 0
    if exact.SINGLE.is_infinite(bits):
        return form.infinity | sign
    return form.nearest(exact.SINGLE.value(bits), negative_zero=bool(sign))


@pytest.mark.parametrize(("name", "form"), [("bf16", exact.BFLOAT), ("f16", exact.HALF)])
def test_pairs_are_rounded_to_the_nearest_even(name: str, form: exact.Ieee) -> None:
    numbers = _halfway(form, 300)
    a, b = np.array(numbers, np.uint32), np.array(numbers[::-1], np.uint32)
    got = result(run(f"v_cvt_pk_{name}_f32 v1, v1, v2", lanes_of({1: a, 2: b})), 1, len(numbers)).tolist()
    for pair, x, y in zip(got, a.tolist(), b.tolist(), strict=True):
        assert pair == _narrowed(form, x) | _narrowed(form, y) << 16, (hex(x), hex(y))


def test_one_number_is_rounded_to_a_half_and_the_upper_bits_become_zero() -> None:
    numbers = _halfway(exact.HALF, 300)
    got = result(run("v_cvt_f16_f32_e32 v0, v1", lanes_of({1: np.array(numbers, np.uint32)})), 0, len(numbers)).tolist()
    assert got == [_narrowed(exact.HALF, bits) for bits in numbers]


@pytest.mark.parametrize(("name", "form"), [("bf16", exact.BFLOAT), ("f16", exact.HALF)])
def test_nan_stays_nan_in_either_half(name: str, form: exact.Ieee) -> None:
    nan = np.array([0x7F800001, 0xFFFFFFFF, 0x7FC00000, 0x7F80FFFF], np.uint32)
    got = result(run(f"v_cvt_pk_{name}_f32 v0, v1, v2", lanes_of({1: nan, 2: nan[::-1]})), 0, 4).tolist()
    assert all(form.is_nan(pair & 0xFFFF) and form.is_nan(pair >> 16) for pair in got)


def test_numbers_become_integers_toward_zero_and_stay_in_range() -> None:
    values = [0.0, -0.0, 0.99, -0.99, 1.5, -1.5, 2147483520.0, 2147483648.0, -2147483648.0, -2147483904.0, 4294967040.0,
              4294967296.0, 1e30, -1e30, np.inf, -np.inf, np.nan, 1e-45]  # fmt: skip
    numbers = np.array(values, np.float32)
    for name, low, high in (("u32", 0, 2**32 - 1), ("i32", -(2**31), 2**31 - 1)):
        got = result(run(f"v_cvt_{name}_f32_e32 v0, v1", lanes_of({1: numbers})), 0, len(values)).tolist()
        assert got == [_integer(value, low, high) for value in numbers.tolist()]


def _integer(value: float, low: int, high: int) -> int:
    if value != value:
        return 0
    held = low if value < low else high if value > high else int(value)
    return held & 0xFFFFFFFF


def test_integers_become_the_nearest_numbers() -> None:
    whole = np.concatenate(
        [words(51, 400), np.array([0, 1, 2**24 + 1, 2**24 + 3, 2**31, 2**32 - 1, 2**32 - 128], np.uint32)]
    )
    for name, read in (("u32", lambda x: x), ("i32", lambda x: x - (x >> 31 << 32))):
        got = result(run(f"v_cvt_f32_{name}_e32 v0, v1", lanes_of({1: whole})), 0, len(whole)).tolist()
        assert got == [exact.SINGLE.nearest(Fraction(read(int(x)))) for x in whole]


def test_a_byte_becomes_a_number() -> None:
    state = run("v_cvt_f32_u32_sdwa v0, v1 dst_sel:DWORD dst_unused:UNUSED_PAD src0_sel:BYTE_2", lanes_of({1: PAIRS}))
    np.testing.assert_array_equal(result(state, 0, 256, np.float32), (PAIRS >> 16 & 255).astype(np.float32))


@pytest.mark.parametrize("name", ["v_fma_mix_f32", "v_fma_mixlo_f16", "v_fma_mixhi_f16"])
@pytest.mark.parametrize("half", [(0, 0, 0), (1, 0, 1), (1, 1, 1), (0, 1, 0)])
@pytest.mark.parametrize("upper", [(0, 0, 0), (1, 1, 0)])
def test_a_mixed_multiply_add_takes_halves_where_it_is_told(name: str, half: Any, upper: Any) -> None:
    draw = np.random.default_rng(sum(half) + 10 * sum(upper))
    sources = [_mixed_source(draw, bool(h), bool(u)) for h, u in zip(half, upper, strict=True)]
    old = words(61, 200)
    selects = f"op_sel:[{upper[0]},{upper[1]},{upper[2]}] op_sel_hi:[{half[0]},{half[1]},{half[2]}]"
    values = {n + 1: bits for n, (bits, _) in enumerate(sources)}
    got = result(run(f"{name} v0, v1, -v2, |v3| {selects}", lanes_of({0: old, **values})), 0, 200).tolist()
    sign = 0x80000000
    for n, bits in enumerate(got):
        a, b, c = (int(numbers[n]) for _, numbers in sources)
        single = exact.fma(a, b ^ sign, c & ~sign)
        assert single is not None
        rounded = _narrowed(exact.HALF, single)
        before = int(old[n])
        expected = {"v_fma_mix_f32": single, "v_fma_mixlo_f16": before & 0xFFFF0000 | rounded,
                    "v_fma_mixhi_f16": before & 0xFFFF | rounded << 16}  # fmt: skip
        assert bits == expected[name], n


def _mixed_source(draw: np.random.Generator, half: bool, upper: bool) -> tuple[Any, Any]:
    """(register contents, the same number as float32 bits); singles have digits that a half cannot hold."""
    numbers = draw.standard_normal(200).astype(np.float32)
    if not half:
        return numbers.view(np.uint32), numbers.view(np.uint32)
    halves = numbers.astype(np.float16)
    bits = halves.view(np.uint16).astype(np.uint32)
    rubbish = draw.integers(0, 1 << 16, 200, dtype=np.uint32)
    held = bits << 16 | rubbish if upper else bits | rubbish << 16
    return held, halves.astype(np.float32).view(np.uint32)


def test_a_mixed_result_is_rounded_to_single_before_half() -> None:
    """1 + 2^-11 is halfway between two halves; what float32 cannot hold beside it no longer counts."""
    a, b = np.array([1.0], np.float32), np.array([1 + 2.0**-11], np.float32)
    c = np.array([2.0**-30], np.float32)
    state = run("v_fma_mixlo_f16 v0, v1, v2, v3", lanes_of({0: [0], 1: a, 2: b, 3: c}))
    assert result(state, 0, 1)[0] & 0xFFFF == 0x3C00


@pytest.mark.parametrize(
    ("selects", "low", "high"),
    [("", (0, 0), (1, 1)), (" op_sel:[1,0] op_sel_hi:[0,1]", (1, 0), (0, 1)), (" op_sel_hi:[1,0]", (0, 0), (1, 0)),
     (" op_sel:[0,1]", (0, 1), (1, 1))],
)  # fmt: skip
def test_packed_halves_are_multiplied_and_rounded_once(
    selects: str, low: tuple[int, int], high: tuple[int, int]
) -> None:
    draw = np.random.default_rng(71)
    a, b = (draw.standard_normal((200, 2)).astype(np.float16) * np.float16(0.01) for _ in range(2))
    values = {1: a.view(np.uint32).ravel(), 2: b.view(np.uint32).ravel()}
    got = result(run(f"v_pk_mul_f16 v0, v1, v2{selects}", lanes_of(values)), 0, 200)
    for n, (x, y) in enumerate((low, high)):
        product = a[:, x].astype(np.float64) * b[:, y].astype(np.float64)
        np.testing.assert_array_equal((got >> (16 * n)).astype(np.uint16), product.astype(np.float16).view(np.uint16))


@pytest.mark.parametrize("name", ["add", "sub", "mul", "max", "min"])
def test_half_precision_arithmetic_is_rounded_once(name: str) -> None:
    draw = np.random.default_rng(72)
    a, b = (draw.standard_normal(300).astype(np.float16) for _ in range(2))
    function = {"add": np.add, "sub": np.subtract, "mul": np.multiply, "max": np.maximum, "min": np.minimum}[name]
    expected = function(a.astype(np.float64), b.astype(np.float64)).astype(np.float16)
    values = {1: a.view(np.uint16).astype(np.uint32), 2: b.view(np.uint16).astype(np.uint32) << 16}
    text = f"v_{name}_f16_sdwa v0, v1, v2 dst_sel:WORD_1 dst_unused:UNUSED_PAD src0_sel:WORD_0 src1_sel:WORD_1"
    got = result(run(text, lanes_of(values)), 0, 300)
    np.testing.assert_array_equal(got, expected.view(np.uint16).astype(np.uint32) << 16)


def test_every_byte_of_a_register_becomes_a_number() -> None:
    for place in range(4):
        got = result(run(f"v_cvt_f32_ubyte{place}_e32 v0, v1", lanes_of({1: PAIRS})), 0, 256, np.float32)
        np.testing.assert_array_equal(got, (PAIRS >> (8 * place) & 255).astype(np.float32))


@pytest.mark.parametrize(
    ("source", "change"),
    [("-v1", lambda x: -x), ("|v1|", np.abs), ("-|v1|", lambda x: -np.abs(x))],
    ids=["negated", "absolute", "both"],
)
def test_a_half_is_widened_with_its_sign_modifiers(source: str, change: Any) -> None:
    halves = np.array([0.0, -0.0, 1.5, -2.25, 65504.0, -(2.0**-24), np.inf, -np.inf], np.float16)
    bits = halves.view(np.uint16).astype(np.uint32) | np.uint32(0xABCD0000)
    got = result(run(f"v_cvt_f32_f16_e64 v0, {source}", lanes_of({1: bits})), 0, len(bits), np.float32)
    _same(got, change(halves.astype(np.float32)))


@pytest.mark.parametrize(("source", "change"), [("-v1", lambda x: -x), ("|v1|", np.abs)], ids=["negated", "absolute"])
def test_the_upper_half_is_widened_with_its_sign_modifiers(source: str, change: Any) -> None:
    halves = np.array([0.0, -0.0, 1.5, -2.25, np.inf], np.float16)
    bits = halves.view(np.uint16).astype(np.uint32) << 16 | np.uint32(0xABCD)
    text = f"v_cvt_f32_f16_sdwa v0, {source} dst_sel:DWORD dst_unused:UNUSED_PAD src0_sel:WORD_1"
    got = result(run(text, lanes_of({1: bits})), 0, len(bits), np.float32)
    _same(got, change(halves.astype(np.float32)))


def test_a_half_is_widened_out_of_another_lane() -> None:
    halves = np.arange(8, dtype=np.float16)
    text = "v_cvt_f32_f16_dpp v0, v1 quad_perm:[1,0,3,2] row_mask:0xf bank_mask:0xf"
    got = result(run(text, lanes_of({1: halves.view(np.uint16).astype(np.uint32)})), 0, 8, np.float32)
    np.testing.assert_array_equal(got, [1, 0, 3, 2, 5, 4, 7, 6])
