"""Arithmetic of single precision, against exact rational numbers."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from numpy.typing import NDArray

from rocassay.harness.engines.isa.state import State
from rocassay.suites.isa import exact
from rocassay.suites.isa.registers import SPECIALS, lanes_of, result, run, words

Words = NDArray[np.uint32]


def _bits(*values: float) -> Words:
    return np.array(values, np.float32).view(np.uint32)


def _near_ties(seed: int, count: int, least: int, root: float) -> tuple[Words, Words, Words]:
    """Sums that end halfway between two numbers, or so little beside it that float64 does not see it.

    Addends are up to 2^23 steps above `least`; the product is the square of `root`, half a step, or close to that.
    """
    draw = np.random.default_rng(seed)
    addend = draw.integers(least, least + (1 << 23), count, dtype=np.uint32)
    half_ulp = np.float32(root) * (1 + draw.integers(-1, 2, (2, count)).astype(np.float32) * np.float32(2.0**-23))
    signs = draw.integers(0, 2, (2, count), dtype=np.uint32) << np.uint32(31)
    a, b = half_ulp.astype(np.float32).view(np.uint32)
    return a ^ signs[0], b, addend ^ signs[1]


def _product_ties(seed: int, count: int) -> tuple[Words, Words, Words]:
    """Products of 25 digits, the last one set, and an addend that only says to which side."""
    draw = np.random.default_rng(seed)
    a = draw.integers(1 << 12, 1 << 13, count) | 1
    b = -(-(1 << 24) // a) | 1
    addend = draw.choice(np.array([2.0**-70, -(2.0**-70), 0.0], np.float32), count)
    return a.astype(np.float32).view(np.uint32), b.astype(np.float32).view(np.uint32), addend.view(np.uint32)


def _denormal_sums(seed: int, count: int) -> tuple[Words, Words, Words]:
    """Products of around the smallest numbers, and denormal addends."""
    draw = np.random.default_rng(seed)
    a = draw.integers(64 << 23, 66 << 23, count, dtype=np.uint32) | draw.integers(0, 2, count, dtype=np.uint32) << 31
    b = draw.integers(40 << 23, 64 << 23, count, dtype=np.uint32)
    return a.astype(np.uint32), b, draw.integers(0, 1 << 12, count, dtype=np.uint32)


def _overflows(seed: int, count: int) -> tuple[Words, Words, Words]:
    """The largest number and around half of its last digit."""
    draw = np.random.default_rng(seed)
    largest = np.full(count, 0x7F7FFFFF, np.uint32)
    factor = _bits(*(2.0**51 * (1 + k * 2.0**-23) for k in draw.integers(-3, 4, count)))
    return factor, np.full(count, _bits(2.0**52)[0]), largest


def _products() -> tuple[Words, Words, Words]:
    """All pairs of special numbers, with an addend of each."""
    a, b = np.meshgrid(SPECIALS, SPECIALS)
    return a.ravel(), b.ravel(), np.resize(SPECIALS[::-1], a.size)


CLASSES: dict[str, Any] = {
    "any bits": (words(1, 1500), words(2, 1500), words(3, 1500)),
    "close to each other": (words(4, 500), _bits(1.0), words(4, 500) ^ np.uint32(0x80000001)),
    "ties": _near_ties(5, 800, 0x3F800000, 2.0**-12),
    "ties of denormals": _near_ties(8, 800, 0, 2.0**-75),
    "ties of products": _product_ties(9, 400),
    "denormal sums": _denormal_sums(6, 800),
    "overflow": _overflows(7, 100),
    "specials": _products(),
}


def _same(got: Words, expected: list[int | None]) -> None:
    for n, (bits, exactly) in enumerate(zip(got.tolist(), expected, strict=True)):
        assert exact.SINGLE.is_nan(bits) if exactly is None else bits == exactly, n


def _expected(numbers: tuple[Words, Words, Words]) -> list[int | None]:
    return [exact.fma(*(int(x) for x in row)) for row in zip(*np.broadcast_arrays(*numbers), strict=True)]


@pytest.mark.parametrize("name", CLASSES)
def test_a_fused_multiply_add_rounds_once(name: str) -> None:
    a, b, c = CLASSES[name]
    expected = _expected((a, b, c))
    state = lanes_of({1: a, 2: b, 3: c})
    _same(result(run("v_fma_f32 v0, v1, v2, v3", state), 0, len(expected)), expected)


@pytest.mark.parametrize("text", ["v_fmac_f32_e32 v3, v1, v2", "v_fma_f32 v1, v1, v2, v3", "v_fma_f32 v2, v1, v2, v3"])
def test_the_result_may_take_the_place_of_a_source(text: str) -> None:
    a, b, c = CLASSES["ties"]
    state = run(text, lanes_of({1: a, 2: b, 3: c}))
    _same(result(state, int(text.split(" v")[1].split(",")[0]), len(a)), _expected((a, b, c)))


def test_signs_of_sources_apply_before_the_arithmetic() -> None:
    a, b, c = CLASSES["any bits"]
    state = run("v_fma_f32 v0, -v1, |v2|, -|v3|", lanes_of({1: a, 2: b, 3: c}))
    sign = np.uint32(0x80000000)
    _same(result(state, 0, len(a)), _expected((a ^ sign, b & ~sign, c | sign)))


def test_both_halves_of_a_packed_multiply_add_round_once() -> None:
    a, b, c = CLASSES["ties"]
    values = {2: a, 3: a[::-1], 4: b, 5: b[::-1], 6: c, 7: c[::-1]}
    state = run("v_pk_fma_f32 v[0:1], v[2:3], v[4:5], v[6:7]", lanes_of(values))
    _same(result(state, 0, len(a)), _expected((a, b, c)))
    _same(result(state, 1, len(a)), _expected((a[::-1], b[::-1], c[::-1])))


def _divided(num: Words, den: Words, off: int) -> Words:
    """LLVM's expansion of a division, with the reciprocal `off` units beside the nearest one."""
    state = lanes_of({1: num, 2: den})
    run("v_div_scale_f32 v3, s[4:5], v2, v2, v1", state)
    run("v_div_scale_f32 v4, vcc, v1, v2, v1", state)
    run("v_rcp_f32_e32 v5, v3", state)
    _move(state, 5, off)
    run("v_fma_f32 v6, -v3, v5, 1.0", state)
    run("v_fmac_f32_e32 v5, v6, v5", state)
    run("v_mul_f32_e32 v6, v4, v5", state)
    run("v_fma_f32 v7, -v3, v6, v4", state)
    run("v_fmac_f32_e32 v6, v7, v5", state)
    run("v_fma_f32 v7, -v3, v6, v4", state)
    run("v_div_fmas_f32 v7, v7, v5, v6", state)
    return result(run("v_div_fixup_f32 v0, v7, v2, v1", state), 0, len(num))


def _move(state: State, index: int, off: int) -> None:
    """Numbers that are neither zero nor infinite to a neighbour."""
    bits = state.v[index]
    inner = ((bits & 0x7FFFFFFF) > 0) & ((bits & 0x7FFFFFFF) < 0x7F7FFFFF)
    state.v[index] = np.where(inner, bits + np.uint32(off % (1 << 32)), bits)


@pytest.mark.parametrize("off", [-1, 0, 1])
def test_a_division_by_the_compilers_steps_is_rounded_correctly(off: int) -> None:
    """Also where the reciprocal is one unit wrong, which is what the chip promises.

    A denominator whose digits are all ones is the one that then needs the nearest reciprocal (Markstein 1990).
    """
    num, den = words(11, 60_000), words(12, 60_000)
    if off:
        den[den & 0x7FFFFF == 0x7FFFFF] ^= np.uint32(2)
    with np.errstate(all="ignore"):
        expected = (num.view(np.float32) / den.view(np.float32)).view(np.uint32)
    got = _divided(num, den, off)
    nan = np.isnan(expected.view(np.float32))
    np.testing.assert_array_equal(np.isnan(got.view(np.float32)), nan)
    np.testing.assert_array_equal(got[~nan], expected[~nan])


def test_a_division_of_usual_numbers_is_rounded_correctly() -> None:
    """No lane needs scaling or mending, which the engine takes a short way for."""
    num, den = (np.exp2(np.random.default_rng(n).uniform(-20, 20, 4096)).astype(np.float32) for n in (15, 16))
    num[::2] *= -1
    np.testing.assert_array_equal(_divided(num.view(np.uint32), den.view(np.uint32), 1).view(np.float32), num / den)


def test_a_division_agrees_with_rational_numbers() -> None:
    num, den = words(13, 400), words(14, 400)
    _same(_divided(num, den, 0), [exact.quotient(int(a), int(b)) for a, b in zip(num, den, strict=True)])


def test_a_usual_division_leaves_the_condition_clear_and_an_extreme_one_sets_it() -> None:
    state = lanes_of({1: _bits(3.0, 2.0**100), 2: _bits(7.0, 2.0**-20)})
    run("v_div_scale_f32 v3, vcc, v1, v2, v1", state)
    assert state.mask_of(106).ravel()[:2].tolist() == [False, True]
    assert result(state, 3, 2, np.float32).tolist() == [3.0, 2.0**100]  # of the two the denominator is scaled
    run("v_div_scale_f32 v4, s[4:5], v2, v2, v1", state)
    assert result(state, 4, 2, np.float32).tolist() == [7.0, 2.0**44]


def _extreme(a: int, b: int, largest: bool) -> int:
    """V_MAX_F32 and V_MIN_F32 with IEEE mode on, case by case."""
    f = exact.SINGLE
    for x in (a, b):
        if f.is_nan(x) and not x & 0x00400000:
            return x | 0x00400000
    if f.is_nan(a) or f.is_nan(b):
        return b if f.is_nan(a) else a
    order = [(_rank(x), x) for x in (a, b)]
    return (max if largest else min)(order)[1]


def _rank(bits: int) -> int:
    """Numbers in order, -0 below +0."""
    size = bits & 0x7FFFFFFF
    return -size - 1 if bits >> 31 else size


@pytest.mark.parametrize(("name", "largest"), [("v_max_f32_e32", True), ("v_min_f32_e32", False)])
def test_extremes_know_nan_and_the_sign_of_zero(name: str, largest: bool) -> None:
    a, b, _ = CLASSES["specials"]
    a, b = np.append(a, words(21, 300)), np.append(b, words(22, 300))
    got = result(run(f"{name} v0, v1, v2", lanes_of({1: a, 2: b})), 0, len(a)).tolist()
    assert got == [_extreme(int(x), int(y), largest) for x, y in zip(a, b, strict=True)]


@pytest.mark.parametrize(("name", "largest"), [("v_max_f32_e32", True), ("v_min_f32_e32", False)])
def test_an_extreme_of_numbers_without_zeros_takes_the_same_values(name: str, largest: bool) -> None:
    a, b = (np.random.default_rng(n).standard_normal(128).astype(np.float32) for n in (23, 24))
    got = result(run(f"{name} v0, v1, v2", lanes_of({1: a, 2: b})), 0, 128, np.float32)
    np.testing.assert_array_equal(got, np.maximum(a, b) if largest else np.minimum(a, b))


@pytest.mark.parametrize("name", ["v_max_f32_e32", "v_min_f32_e32"])
def test_the_extreme_of_a_register_with_itself_only_makes_nan_quiet(name: str) -> None:
    got = result(run(f"{name} v0, v1, v1", lanes_of({1: SPECIALS})), 0, len(SPECIALS)).tolist()
    assert got == [_extreme(int(x), int(x), largest=True) for x in SPECIALS]


@pytest.mark.parametrize(("name", "largest"), [("v_max3_f32", True), ("v_min3_f32", False)])
def test_extremes_of_three_are_two_extremes(name: str, largest: bool) -> None:
    a, b, c = (x[:400] for x in CLASSES["specials"])
    got = result(run(f"{name} v0, v1, v2, v3", lanes_of({1: a, 2: b, 3: c})), 0, len(a)).tolist()
    rows = ((int(x), int(y), int(z)) for x, y, z in zip(a, b, c, strict=True))
    assert got == [_extreme(_extreme(x, y, largest), z, largest) for x, y, z in rows]


def test_the_median_is_the_middle_one_and_the_smallest_beside_nan() -> None:
    nan = float("nan")
    rows = [(1.0, 2.0, 3.0), (2.0, 3.0, 1.0), (3.0, 1.0, 2.0), (5.0, 5.0, 1.0), (nan, 2.0, 1.0), (1.0, nan, 2.0),
            (4.0, 3.0, nan), (-np.inf, np.inf, 7.0)]  # fmt: skip
    values = {n + 1: np.array([row[n] for row in rows], np.float32) for n in range(3)}
    state = run("v_med3_f32 v0, v1, v2, v3", lanes_of(values))
    assert result(state, 0, len(rows), np.float32).tolist() == [2.0, 2.0, 2.0, 5.0, 1.0, 1.0, 3.0, 7.0]


def test_clamp_takes_numbers_into_the_unit_interval_and_nan_to_zero() -> None:
    a = np.array([-1.0, 0.25, 7.0, np.nan, np.inf], np.float32)
    state = run("v_add_f32_e64 v0, v1, v2 clamp", lanes_of({1: a, 2: _bits(0.0)}))
    assert result(state, 0, 5, np.float32).tolist() == [0.0, 0.25, 1.0, 0.0, 1.0]


@pytest.mark.parametrize(
    ("name", "function"),
    [("v_exp_f32", np.exp2), ("v_log_f32", np.log2), ("v_rcp_f32", np.reciprocal), ("v_sqrt_f32", np.sqrt),
     ("v_rsq_f32", lambda a: 1 / np.sqrt(a))],
)  # fmt: skip
def test_transcendental_functions_are_those_of_float64_rounded_once(name: str, function: Any) -> None:
    a = np.exp(np.random.default_rng(31).uniform(-20, 4, 500)).astype(np.float32)
    got = result(run(f"{name}_e32 v0, v1", lanes_of({1: a})), 0, len(a), np.float32)
    np.testing.assert_array_equal(got, function(a.astype(np.float64)).astype(np.float32))


def test_a_fraction_stays_below_one() -> None:
    a = np.array([1.75, -0.25, -1e-10, 3.0], np.float32)
    got = result(run("v_fract_f32_e32 v0, v1", lanes_of({1: a})), 0, 4, np.float32)
    assert got.tolist() == [0.75, 0.75, float(np.nextafter(np.float32(1), np.float32(0))), 0.0]


def test_scaling_by_a_power_of_two_rounds_once_into_the_denormals() -> None:
    values, powers = words(41, 500), np.random.default_rng(42).integers(-300, 300, 500)
    powers[:4] = 2**31 - 1, -(2**31), 0, -149
    got = result(run("v_ldexp_f32 v0, v1, v2", lanes_of({1: values, 2: powers.astype(np.int32)})), 0, 500)
    for bits, value, power in zip(got.tolist(), values.tolist(), powers.tolist(), strict=True):
        if exact.SINGLE.is_nan(value):
            assert exact.SINGLE.is_nan(bits)
        elif exact.SINGLE.is_infinite(value):
            assert bits == value
        else:
            scaled = exact.SINGLE.value(value) * exact.Fraction(2) ** max(-500, min(500, power))
            assert bits == exact.SINGLE.nearest(scaled, negative_zero=bool(value >> 31))
