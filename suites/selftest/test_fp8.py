"""The FP8, ue8m0 and bfloat16 codecs against torch, against the formats' definitions, and exhaustively."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st
from numpy.typing import NDArray

from rocassay.harness import fp8
from rocassay.harness.fp8 import FORMATS, Fp8Format, Overflow, decode, encode

CODES = np.arange(256, dtype=np.uint8)
RANDOM_FLOATS = 1 << 21

each_format = pytest.mark.parametrize("fmt", FORMATS.values(), ids=lambda fmt: fmt.name)


def finite_magnitudes(fmt: Fp8Format) -> NDArray[np.float64]:
    return fmt.values[: fmt.max_code + 1]


def ties(fmt: Fp8Format) -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """Midpoints of adjacent finite magnitudes, and the even code that each rounds to."""
    values = finite_magnitudes(fmt)
    lower = np.arange(len(values) - 1)
    return (values[:-1] + values[1:]) / 2, lower + lower % 2


def torch_codes(x: NDArray[np.float32], fmt: Fp8Format) -> NDArray[np.uint8]:
    return torch.from_numpy(x).to(fp8.torch_dtype(fmt)).view(torch.uint8).numpy()


def torch_overflow(fmt: Fp8Format) -> Overflow:
    """How this torch converts overflow: it differs from format to format and from version to version."""
    code = torch_codes(np.array([1e9], dtype=np.float32), fmt)
    return "saturate" if code == fmt.max_code else "nan"


def random_float32(seed: int, fmt: Fp8Format) -> NDArray[np.float32]:
    """Half random bit patterns, half normals of many scales around the format's range."""
    rng = np.random.default_rng(seed)
    patterns = rng.integers(0, 1 << 32, RANDOM_FLOATS // 2, dtype=np.uint32).view(np.float32)
    low, high = np.log2(fmt.smallest_subnormal) - 2, np.log2(fmt.max_finite) + 1
    scales = np.exp2(rng.uniform(low, high, RANDOM_FLOATS // 2))
    normals = rng.standard_normal(RANDOM_FLOATS // 2) * scales
    return np.concatenate([patterns, normals.astype(np.float32)])


def same_codes(actual: NDArray[np.uint8], expected: NDArray[np.uint8], fmt: Fp8Format) -> NDArray[np.bool_]:
    """Equality of bytes, all NaN bytes being one."""
    return (actual == expected) | (np.isin(actual, fmt.nan_codes) & np.isin(expected, fmt.nan_codes))


@each_format
def test_every_byte_decodes_as_in_torch(fmt: Fp8Format):
    expected = torch.from_numpy(CODES).view(fp8.torch_dtype(fmt)).to(torch.float64).numpy()
    actual = decode(CODES, fmt)
    np.testing.assert_array_equal(actual, expected)
    np.testing.assert_array_equal(np.signbit(actual[actual == 0]), np.signbit(expected[expected == 0]))


@each_format
def test_stated_extremes_are_those_of_the_table(fmt: Fp8Format):
    finite = fmt.values[np.isfinite(fmt.values)]
    assert finite.max() == fmt.max_finite == torch.finfo(fp8.torch_dtype(fmt)).max
    assert finite[finite > 0].min() == fmt.smallest_subnormal == fmt.values[1]
    assert set(np.flatnonzero(np.isnan(fmt.values))) == set(fmt.nan_codes)
    assert set(np.flatnonzero(np.isinf(fmt.values))) == set(fmt.inf_codes)
    assert fmt.has_negative_zero == bool(fmt.values[0x80] == 0)


@each_format
def test_every_non_nan_byte_survives_decoding_and_encoding(fmt: Fp8Format):
    codes = CODES[~np.isnan(fmt.values)]
    np.testing.assert_array_equal(encode(decode(codes, fmt), fmt), codes)
    np.testing.assert_array_equal(encode(decode(codes, fmt).astype(np.float32), fmt), codes)


@each_format
def test_random_floats_encode_as_in_torch(fmt: Fp8Format):
    x = random_float32(11, fmt)
    expected = torch_codes(x, fmt)
    agree = same_codes(encode(x, fmt, overflow=torch_overflow(fmt)), expected, fmt)
    np.testing.assert_array_equal(x[~agree], [])


@each_format
def test_the_overflow_of_torch_is_one_of_the_two_modes_throughout(fmt: Fp8Format):
    past = np.linspace(fmt.max_finite, 2 * fmt.max_finite, 4097, dtype=np.float32)
    x = np.concatenate([past, -past, np.array([np.inf, -np.inf, 3e38, -3e38], dtype=np.float32)])
    mode = torch_overflow(fmt)
    assert same_codes(encode(x, fmt, overflow=mode), torch_codes(x, fmt), fmt).all()
    # Only for e4m3fn has torch ever saturated, and only in some versions.
    assert mode == "nan" or fmt.name == "e4m3fn"


@each_format
def test_random_floats_encode_alike_from_both_widths(fmt: Fp8Format):
    x = random_float32(12, fmt)
    x = x[~np.isnan(x)]
    for overflow in ("nan", "saturate"):
        wide = encode(x.astype(np.float64), fmt, overflow=overflow)
        np.testing.assert_array_equal(encode(x, fmt, overflow=overflow), wide)


@each_format
def test_ties_go_to_the_even_code_of_either_sign(fmt: Fp8Format):
    midpoints, even = ties(fmt)
    assert len(midpoints) == fmt.max_code
    np.testing.assert_array_equal(encode(midpoints, fmt), even)
    negative = np.where((even == 0) & (not fmt.has_negative_zero), 0, even | 0x80)
    np.testing.assert_array_equal(encode(-midpoints, fmt), negative)
    both = np.concatenate([midpoints, -midpoints]).astype(np.float32)
    np.testing.assert_array_equal(encode(both, fmt), torch_codes(both, fmt))


@each_format
def test_a_float64_just_off_a_tie_is_rounded_once(fmt: Fp8Format):
    midpoints, _ = ties(fmt)
    lower = np.arange(len(midpoints))
    np.testing.assert_array_equal(encode(np.nextafter(midpoints, 0.0), fmt), lower)
    np.testing.assert_array_equal(encode(np.nextafter(midpoints, np.inf), fmt), lower + 1)


@each_format
def test_overflow_starts_where_rounding_passes_the_largest_finite_value(fmt: Fp8Format):
    largest, step = fmt.max_finite, fmt.max_finite - fmt.values[fmt.max_code - 1]
    tie = largest + step / 2
    beyond = fmt.inf_codes[0] if fmt.inf_codes else fmt.nan_code
    tie_code = fmt.max_code if fmt.max_code % 2 == 0 else beyond
    x = np.array([np.nextafter(tie, 0.0), tie, np.nextafter(tie, np.inf), np.inf])
    np.testing.assert_array_equal(encode(x, fmt), [fmt.max_code, tie_code, beyond, beyond])
    negative = [code if code in fmt.nan_codes else code | 0x80 for code in (fmt.max_code, tie_code, beyond)]
    np.testing.assert_array_equal(encode(-x[:3], fmt), negative)
    np.testing.assert_array_equal(encode(x, fmt, overflow="saturate"), [fmt.max_code] * 4)
    np.testing.assert_array_equal(encode(-x, fmt, overflow="saturate"), [fmt.max_code | 0x80] * 4)


@each_format
def test_nan_encodes_to_the_nan_code_in_either_mode(fmt: Fp8Format):
    patterns = np.array([0x7FC00000, 0xFFC00000, 0x7F800001, 0xFF800001], dtype=np.uint32).view(np.float32)
    for overflow in ("nan", "saturate"):
        assert set(encode(patterns, fmt, overflow=overflow)) == {fmt.nan_code}
    assert np.isnan(fmt.values[fmt.nan_code])


@each_format
def test_negative_zero_and_underflow_follow_the_format(fmt: Fp8Format):
    tiny = np.array([-0.0, -fmt.smallest_subnormal / 2, -1e-300])
    assert set(encode(tiny, fmt)) == ({0x80} if fmt.has_negative_zero else {0x00})


@each_format
def test_clamping_encode_never_passes_the_scaling_maximum(fmt: Fp8Format):
    x = random_float32(13, fmt)
    decoded = decode(fp8.clamping_encode(x, fmt), fmt)
    assert np.nanmax(np.abs(decoded)) == fmt.scaling_max
    np.testing.assert_array_equal(np.isnan(decoded), np.isnan(x))


@given(st.sampled_from(list(FORMATS)), st.floats(allow_nan=False), st.floats(allow_nan=False))
def test_encoding_is_monotonic(name: str, x: float, y: float):
    low, high = sorted((x, y))
    fmt = FORMATS[name]
    decoded = decode(encode(np.array([low, high]), fmt, overflow="saturate"), fmt)
    assert decoded[0] <= decoded[1]


@given(st.sampled_from(list(FORMATS)), st.floats(allow_nan=False, allow_infinity=False))
def test_no_code_is_nearer_than_the_one_chosen(name: str, x: float):
    fmt = FORMATS[name]
    chosen = decode(encode(np.array([x]), fmt, overflow="saturate"), fmt)[0]
    finite = fmt.values[np.isfinite(fmt.values)]
    assert abs(chosen - x) == np.abs(finite - x).min()


@pytest.mark.parametrize(
    ("value", "ocp", "fnuz"),
    [
        (0.0175, 0x09, 0x11),
        (1.0, 0x38, 0x40),
        (17.0, 0x58, 0x60),
        (19.0, 0x5A, 0x62),
        (1.0625, 0x38, 0x40),
        (2.0**-10, 0x00, 0x01),
        (2.0**-9, 0x01, 0x02),
        (240.0, 0x77, 0x7F),
        (247.0, 0x77, 0x7F),
        (248.0, 0x78, 0x80),
    ],
)
def test_golden_values_encode_as_worked_out_by_hand(value: float, ocp: int, fnuz: int):
    x = np.array([value])
    assert encode(x, FORMATS["e4m3fn"]) == ocp
    assert encode(x, FORMATS["e4m3fnuz"]) == fnuz


@pytest.mark.parametrize(("ocp", "fnuz"), [("e4m3fn", "e4m3fnuz"), ("e5m2", "e5m2fnuz")])
def test_fnuz_value_is_half_the_ocp_value_of_the_same_byte(ocp: str, fnuz: str):
    full, half = FORMATS[ocp].values, FORMATS[fnuz].values
    both = np.isfinite(full) & np.isfinite(half)
    np.testing.assert_array_equal(half[both], full[both] / 2)
    assert both.sum() == 256 - len({*FORMATS[ocp].nan_codes, *FORMATS[ocp].inf_codes, *FORMATS[fnuz].nan_codes})


def quantise(x: NDArray[np.float32], fmt: Fp8Format, scaling_max: float) -> tuple[NDArray[np.uint8], np.float32]:
    """Float-scale row quantisation, every step in float32."""
    scale = np.abs(x).max() / np.float32(scaling_max)
    return encode(x / scale, fmt), scale


@pytest.mark.parametrize(("ocp", "fnuz"), [("e4m3fn", "e4m3fnuz"), ("e5m2", "e5m2fnuz")])
def test_writers_of_both_flavours_store_the_same_bytes_with_twice_the_scale(ocp: str, fnuz: str):
    x = np.random.default_rng(14).standard_normal(4096).astype(np.float32)
    x[:64] *= np.float32(1e-12)  # rounds to ±0, where the flavours must differ
    ocp_codes, ocp_scale = quantise(x, FORMATS[ocp], FORMATS[ocp].scaling_max)
    fnuz_codes, fnuz_scale = quantise(x, FORMATS[fnuz], FORMATS[fnuz].scaling_max)
    negative_zero = ocp_codes == 0x80
    assert negative_zero.any()
    np.testing.assert_array_equal(np.where(negative_zero, 0x00, ocp_codes), fnuz_codes)
    assert fnuz_scale == 2 * ocp_scale


def test_a_fnuz_writer_that_scales_to_the_largest_finite_value_stores_other_bytes():
    x = np.random.default_rng(15).standard_normal(4096).astype(np.float32)
    ocp, fnuz = FORMATS["e4m3fn"], FORMATS["e4m3fnuz"]
    ocp_codes, ocp_scale = quantise(x, ocp, ocp.scaling_max)
    fnuz_codes, fnuz_scale = quantise(x, fnuz, fnuz.max_finite)
    assert (ocp_codes != fnuz_codes).mean() > 0.5
    assert fnuz_scale != 2 * ocp_scale


@pytest.mark.parametrize("name", ["fp8", "e4m3", "E4M3FN", ""])
def test_unknown_format_is_refused_by_value_and_with_the_known_ones(name: str):
    with pytest.raises(fp8.UnknownFormat) as refusal:
        fp8.format_of(name)
    assert repr(name) in str(refusal.value)
    assert all(known in str(refusal.value) for known in FORMATS)


@each_format
def test_tensors_decode_and_encode_as_arrays_do(fmt: Fp8Format):
    codes = torch.from_numpy(CODES).reshape(16, 16)
    decoded = fp8.decode_tensor(codes.t(), fmt)
    np.testing.assert_array_equal(decoded.numpy(), decode(CODES.reshape(16, 16).T, fmt))
    typed = fp8.decode_tensor(codes.view(fp8.torch_dtype(fmt)), fmt)
    torch.testing.assert_close(typed, decoded.t(), rtol=0, atol=0, equal_nan=True)
    for dtype in (torch.float64, torch.float32, torch.bfloat16, torch.float16):
        x = decoded.to(dtype)
        expected = encode(x.to(torch.float64).numpy(), fmt)
        np.testing.assert_array_equal(fp8.encode_tensor(x, fmt).numpy(), expected)


def test_an_fp8_tensor_is_read_as_the_flavour_asked_for_not_as_its_dtype():
    one = torch.tensor([0x38], dtype=torch.uint8).view(torch.float8_e4m3fn)
    assert fp8.decode_tensor(one, FORMATS["e4m3fn"]) == 1.0
    assert fp8.decode_tensor(one, FORMATS["e4m3fnuz"]) == 0.5


def test_ue8m0_decodes_powers_of_two_and_one_nan():
    decoded = fp8.ue8m0_decode(CODES)
    np.testing.assert_array_equal(decoded[:255], np.exp2(np.arange(-127.0, 128.0)))
    assert np.isnan(decoded[255])


@pytest.mark.parametrize("dtype", [np.float32, np.float64])
def test_ue8m0_keeps_exact_powers_and_rounds_all_else_up(dtype: type[np.floating]):
    powers = np.exp2(np.arange(-126, 127)).astype(dtype)
    exact = np.arange(1, 254)
    np.testing.assert_array_equal(fp8.ue8m0_encode_up(powers), exact)
    np.testing.assert_array_equal(fp8.ue8m0_encode_up(np.nextafter(powers, dtype(np.inf))), exact + 1)
    np.testing.assert_array_equal(fp8.ue8m0_encode_up(np.nextafter(powers, dtype(0))), exact)


def test_ue8m0_is_clamped_to_the_codes_that_are_numbers():
    x = np.array([0.0, 1e-300, 2.0**-127, 2.0**127, 1.5 * 2.0**127, 1e300, np.inf, np.nan])
    np.testing.assert_array_equal(fp8.ue8m0_encode_up(x), [0, 0, 0, 254, 254, 254, 254, 255])


@pytest.mark.parametrize(
    ("name", "amax", "byte"),
    [
        ("e4m3fn", 448 * 2.0**-8, 119),
        ("e4m3fn", 448 * 2.0**-8 * (1 + 2.0**-7), 120),
        ("e4m3fn", 448.0, 127),
        ("e4m3fn", 451.5, 128),
        ("e4m3fn", 1.0, 119),
        ("e4m3fn", 0.0, 105),
        ("e4m3fnuz", 224 * 2.0**-8, 119),
        ("e4m3fnuz", 224.0, 127),
        ("e4m3fnuz", 225.75, 128),
        ("e4m3fnuz", 1.0, 120),
        ("e4m3fnuz", 0.0, 106),
    ],
)
def test_ue8m0_scale_bytes_of_floored_maxima_are_the_goldens(name: str, amax: float, byte: int):
    floored = np.maximum(np.float32(amax), np.float32(1e-4))
    raw = np.array([floored / np.float32(FORMATS[name].scaling_max)], dtype=np.float32)
    assert fp8.ue8m0_encode_up(raw) == byte
    assert fp8.power_of_two_at_least(raw) == fp8.ue8m0_decode(np.array([byte], dtype=np.uint8))


@pytest.mark.parametrize(
    ("floored", "scaling_max", "exponent"),
    [(1e-4, 448, -22), (1e-4, 224, -21), (1e-10, 448, -42), (1e-10, 224, -41), (1e-4, 1, -13)],
)
def test_scale_floors_of_the_writers_round_to_their_documented_powers(floored: float, scaling_max: int, exponent: int):
    raw = np.array([floored], dtype=np.float32) / np.array([scaling_max], dtype=np.float32)
    assert fp8.power_of_two_at_least(raw) == 2.0**exponent


@pytest.mark.parametrize("name", ["e4m3fn", "e4m3fnuz"])
def test_the_indexer_golden_row_encodes_to_its_codes(name: str):
    fmt = FORMATS[name]
    row = ((7 * np.arange(128) % 31 - 15) / 16).astype(np.float32)
    codes, scale = quantise(row, fmt, fmt.scaling_max)
    raw = np.array([scale], dtype=np.float32)
    ue8m0 = encode((row / fp8.power_of_two_at_least(raw)).astype(np.float32), fmt)
    assert raw.tobytes() == bytes.fromhex("9224093b" if name == "e4m3fn" else "9224893b")
    assert list(codes[:16]) == [254, 247, 223, 115, 124, 250, 239, 107, 121, 253, 245, 0, 117, 125, 249, 235]
    assert list(ue8m0[:16]) == [
        247,
        240,
        216,
        108,
        117,
        243,
        232,
        100,
        114,
        246,
        238,
        0,
        110,
        118,
        242,
        228,
    ]
    assert (codes.sum(), ue8m0.sum()) == (22447, 21579)


@pytest.mark.parametrize(("name", "first"), [("e4m3fn", 116), ("e4m3fnuz", 117)])
def test_the_golden_nope_row_encodes_to_its_codes_and_scale_bytes(name: str, first: int):
    fmt = FORMATS[name]
    d = np.arange(448)
    groups = ((3 * d % 23 - 11) / 8 * np.exp2(d // 64 - 3)).reshape(7, 64)
    scale_bytes = fp8.ue8m0_encode_up(np.abs(groups).max(axis=1) / fmt.scaling_max)
    codes = fp8.clamping_encode(groups / fp8.ue8m0_decode(scale_bytes)[:, None], fmt).ravel()
    assert list(scale_bytes) == list(range(first, first + 7))
    assert list(codes[:12]) == [251, 248, 242, 232, 96, 112, 118, 122, 250, 246, 240, 224]
    assert codes.sum() == 76561


@pytest.mark.parametrize("k", range(-22, 9))
def test_a_maximum_on_a_scale_boundary_is_not_pushed_over_it(k: int):
    raw = (np.array([448 * 2.0**k], dtype=np.float32) / np.float32(448)).astype(np.float32)
    assert fp8.power_of_two_at_least(raw) == 2.0**k


def test_power_of_two_at_least_is_the_smallest_such_power():
    x = np.abs(np.random.default_rng(16).integers(1, 0x7F000000, 1 << 18, dtype=np.uint32).view(np.float32))
    power = fp8.power_of_two_at_least(x)
    assert np.all(np.frexp(power)[0] == 0.5)
    assert np.all(power >= x)
    assert np.all(power.astype(np.float64) / 2 < x)


def test_power_of_two_at_least_passes_zero_infinity_and_nan_through():
    x = np.array([0.0, np.inf, np.nan, 1.5 * 2.0**127, 2.0**-149], dtype=np.float32)
    np.testing.assert_array_equal(fp8.power_of_two_at_least(x), [0.0, np.inf, np.nan, np.inf, 2.0**-149])


@pytest.mark.parametrize("rounding", [fp8.ue8m0_encode_up, fp8.power_of_two_at_least])
def test_a_negative_scale_is_refused(rounding):
    with pytest.raises(fp8.ScaleError, match=r"-0\.5"):
        rounding(np.array([1.0, -0.5], dtype=np.float32))


def test_random_floats_round_to_bfloat16_as_in_torch():
    x = random_float32(17, FORMATS["e5m2"])
    expected = torch.from_numpy(x).to(torch.bfloat16).to(torch.float32).numpy()
    np.testing.assert_array_equal(fp8.round_to_bfloat16(x), expected)


def test_every_bfloat16_survives_and_every_tie_goes_to_the_even_one():
    bits = np.arange(1 << 16, dtype=np.uint16)
    values = fp8.bfloat16_from_bits(bits)
    number = ~np.isnan(values)
    np.testing.assert_array_equal(fp8.bfloat16_bits(values)[number], bits[number])
    finite = np.isfinite(values)
    tie = (bits[finite].astype(np.uint32) << 16 | 0x8000).view(np.float32)
    np.testing.assert_array_equal(fp8.bfloat16_bits(tie), bits[finite] + (bits[finite] & 1))


def test_bfloat16_nan_stays_nan_of_the_same_sign():
    x = np.array([0x7F800001, 0xFF800001, 0x7FFFFFFF, 0xFFFFFFFF], dtype=np.uint32).view(np.float32)
    rounded = fp8.round_to_bfloat16(x)
    assert np.isnan(rounded).all()
    np.testing.assert_array_equal(np.signbit(rounded), [False, True, False, True])
