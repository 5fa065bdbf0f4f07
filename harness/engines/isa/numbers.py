"""Arithmetic of the vector unit where NumPy's own is not it: fused multiply-add, extremes, division steps, formats.

Functions that end in `out` write their result there; it may be one of their sources.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import functools
from typing import Any, TypeAlias

import numpy as np
from numpy.typing import NDArray

from rocassay.harness.fp8 import decode, encode, format_of

Array: TypeAlias = Any
"""A NumPy array or 0-d constant that broadcasts to the result."""

F32: TypeAlias = NDArray[np.float32]
F64: TypeAlias = NDArray[np.float64]
U32: TypeAlias = NDArray[np.uint32]
Bits: TypeAlias = NDArray[np.bool_]

_DROPPED, _HALFWAY = np.uint64(0x1FFFFFFF), np.uint64(0x10000000)
"""Bits of a float64 below a float32's last one, and what they are halfway between two."""

_SMALLEST_NORMAL = 2.0**-126
_SIGN, _SIZE, _QUIET = np.uint32(0x80000000), np.uint32(0x7FFFFFFF), np.uint32(0x00400000)
_LOW16 = np.uint32(0xFFFF)


def fma(a: Array, b: Array, c: Array, out: F32) -> None:
    """a * b + c, rounded once."""
    np.copyto(out, wide_fma(a, b, c, out.shape), casting="same_kind")


def wide_fma(a: Array, b: Array, c: Array, shape: tuple[int, ...]) -> F64:
    """a * b + c as a float64 that rounds to float32 as the exact sum does.

    The product is exact. Rounding the sum twice goes wrong only where the first rounding ends halfway between two
    float32 values, which for denormal results can be anywhere: there the sum is rounded to odd.
    """
    total: Array = np.multiply(a, b, dtype=np.float64)
    if total.shape == shape:
        np.add(total, c, total)
    else:
        total = np.array(np.broadcast_to(np.add(total, c, dtype=np.float64), shape))
    doubtful: Array = (total.view(np.uint64) & _DROPPED) == _HALFWAY
    tiny: Array = np.abs(total) < _SMALLEST_NORMAL
    if np.count_nonzero(tiny):
        doubtful |= tiny & (total != 0)
    if np.count_nonzero(doubtful):
        x, y, z = (np.broadcast_to(s, shape)[doubtful].astype(np.float64) for s in (a, b, c))
        total[doubtful] = sum_to_odd(x * y, z)
    return total


def sum_to_odd(a: F64, b: F64) -> F64:
    """a + b rounded to odd, so that rounding once more to half the width or less is correct."""
    total = np.asarray(a + b)
    shifted = total - a
    error = (a - (total - shifted)) + (b - shifted)
    bits = total.view(np.int64)
    adjust = np.isfinite(total) & (error != 0) & (bits & 1 == 0)
    towards = np.where((error > 0) == (total > 0), 1, -1)
    return np.where(adjust, bits + towards, bits).view(np.float64)


def _is_nan(x: Array) -> Array:
    return x != x


def _exact_extreme(a: Array, b: Array, largest: bool) -> F32:
    """V_MAX_F32 and V_MIN_F32 in IEEE mode: signalling NaNs become quiet, a number beats NaN, +0 is above -0."""
    a, b = np.broadcast_arrays(a, b)
    x, y = a.view(np.uint32), b.view(np.uint32)
    tie: Array = (x & y) if largest else (x | y)
    tie = tie.view(np.float32)
    usual = np.where(a > b, a, b) if largest else np.where(a < b, a, b)
    result = np.where(a == b, tie, np.where(_is_nan(a), b, np.where(_is_nan(b), a, usual)))
    for number, bits in ((b, y), (a, x)):
        signalling = _is_nan(number) & (bits & _QUIET == 0)
        result = np.where(signalling, (bits | _QUIET).view(np.float32), result)
    return result.astype(np.float32)


def larger(a: Array, b: Array, out: F32) -> None:
    """V_MAX_F32."""
    most = np.maximum(a, b)  # NaN if either is
    if np.count_nonzero(np.abs(most) > 0) < most.size:
        most = _exact_extreme(a, b, largest=True)
    np.copyto(out, most)


def smaller(a: Array, b: Array, out: F32) -> None:
    """V_MIN_F32."""
    least = np.minimum(a, b)
    if np.count_nonzero(np.abs(least) > 0) < least.size:
        least = _exact_extreme(a, b, largest=False)
    np.copyto(out, least)


def largest(a: Array, b: Array, c: Array, out: F32) -> None:
    """V_MAX3_F32."""
    most = np.empty(out.shape, np.float32)
    larger(a, b, most)
    larger(most, c, out)


def smallest(a: Array, b: Array, c: Array, out: F32) -> None:
    """V_MIN3_F32."""
    least = np.empty(out.shape, np.float32)
    smaller(a, b, least)
    smaller(least, c, out)


def median(a: Array, b: Array, c: Array, out: F32) -> None:
    """V_MED3_F32: of three numbers the middle one; where there is NaN the smallest."""
    shape = out.shape
    least, most, rest = (np.empty(shape, np.float32) for _ in range(3))
    smallest(a, b, c, least)
    largest(a, b, c, most)
    larger(np.where(most == a, b, a), np.where((most == a) | (most == b), c, b), rest)
    np.copyto(out, np.where(_is_nan(a) | _is_nan(b) | _is_nan(c), least, rest))


def clamp(value: F32) -> None:
    """The clamp modifier, in place: to [0, 1], NaN to 0 (DX10_CLAMP)."""
    np.copyto(value, np.clip(np.where(_is_nan(value), np.float32(0), value), np.float32(0), np.float32(1)))


def exponent(x: Array) -> NDArray[np.int64]:
    """Biased exponent field."""
    return ((x.view(np.uint32) >> np.uint32(23)) & np.uint32(255)).astype(np.int64)


_NEAR_ONE, _SPAN = np.uint32((127 - 46) << 23), np.uint32(92 << 23)
"""Magnitudes from 2^-46 to 2^46: quotients and reciprocals of such need no scaling."""


def _ordinary(x: Array) -> Array:
    return ((x.view(np.uint32) & _SIZE) - _NEAR_ONE) < _SPAN


def div_scale(s0: Array, den: Array, num: Array, shape: tuple[int, ...]) -> tuple[F32, Bits]:
    """(scaled s0, condition), both of `shape`: AMD CDNA3 ISA guide, V_DIV_SCALE_F32."""
    usual: Array = _ordinary(den) & _ordinary(num)
    condition = np.zeros(shape, np.bool_)
    if np.count_nonzero(usual) == usual.size:
        return np.broadcast_to(s0, shape), condition
    special = np.broadcast_to(~usual, shape)
    result = np.array(np.broadcast_to(s0, shape))
    x, y, z = (np.broadcast_to(s, shape)[special] for s in (s0, den, num))
    result[special], condition[special] = _div_scale(x, y, z)
    return result, condition


def _denormal(x: F64) -> Bits:
    return (x != 0) & (np.abs(x) < _SMALLEST_NORMAL)


def _div_scale(s0: F32, den: F32, num: F32) -> tuple[F32, Bits]:
    """In the guide's order, and so that LLVM's expansion of a division ends right.

    A denormal reciprocal is a float32's; its denominator goes down where the guide's text, up, would give infinity.
    """
    wide_den, wide_num = den.astype(np.float64), num.astype(np.float64)
    low_reciprocal, low_quotient = _denormal(1.0 / wide_den), _denormal(wide_num / wide_den)
    far = exponent(num) - exponent(den) >= 96
    small_den = _denormal(wide_den)
    is_den = s0.view(np.uint32) == den.view(np.uint32)
    is_num = s0.view(np.uint32) == num.view(np.uint32)
    wide = s0.astype(np.float64)
    up, down = (wide * 2.0**64).astype(np.float32), (wide * 2.0**-64).astype(np.float32)
    nothing = (wide_den == 0) | (wide_num == 0)
    cases = [nothing, far, small_den, low_reciprocal & low_quotient, low_reciprocal, low_quotient, exponent(num) <= 23]
    values = [
        np.full_like(s0, np.nan),
        np.where(is_den, up, s0),
        up,
        np.where(is_den, down, s0),
        down,
        np.where(is_num, up, s0),
        up,
    ]
    condition = ~nothing & (far | (~small_den & low_quotient))
    return np.select(cases, values, s0).astype(np.float32), condition


def div_fmas(a: Array, b: Array, c: Array, condition: Bits, out: F32) -> None:
    """fma scaled by 2^64 or 2^-64 before its one rounding where the condition holds (V_DIV_FMAS_F32)."""
    x, y, z = (np.broadcast_to(s, out.shape)[condition] for s in (a, b, c))
    fma(a, b, c, out)
    if len(z):
        scale = np.where(exponent(z) > 127, 2.0**64, 2.0**-64)
        total = sum_to_odd(x.astype(np.float64) * y.astype(np.float64), z.astype(np.float64))
        out[condition] = (total * scale).astype(np.float32)


def div_fixup(quotient: Array, den: Array, num: Array, out: F32) -> None:
    """The quotient with sign and special cases of num / den (V_DIV_FIXUP_F32)."""
    usual: Array = _ordinary(den) & _ordinary(num) & (quotient == quotient)
    sign = (den.view(np.uint32) ^ num.view(np.uint32)) & _SIGN
    if np.count_nonzero(usual) == usual.size:
        np.bitwise_or(quotient.view(np.uint32) & _SIZE, sign, out.view(np.uint32))
        return
    special = np.broadcast_to(~usual, out.shape)
    mended = _div_fixup(*(np.broadcast_to(s, out.shape)[special] for s in (quotient, den, num)))
    np.bitwise_or(quotient.view(np.uint32) & _SIZE, sign, out.view(np.uint32))
    out[special] = mended


def _div_fixup(quotient: F32, den: F32, num: F32) -> F32:
    """A quotient that is NaN though neither number is comes from an overflow on the way: infinity."""
    negative = np.signbit(den) ^ np.signbit(num)
    size = np.where(np.isnan(quotient), np.float32(np.inf), np.abs(quotient))
    size = np.where(exponent(num) - exponent(den) < -150, np.float32(0), size)
    size = np.where(np.isinf(den) | (num == 0), np.float32(0), size)
    size = np.where((den == 0) | np.isinf(num), np.float32(np.inf), size)
    result = np.where(negative, -size, size).astype(np.float32)
    undefined = ((den == 0) & (num == 0)) | (np.isinf(den) & np.isinf(num))
    bits = np.where(undefined, np.uint32(0xFFC00000), result.view(np.uint32))
    for number in (den, num):
        bits = np.where(np.isnan(number), number.view(np.uint32) | _QUIET, bits)
    return bits.astype(np.uint32).view(np.float32)


def _rounded_to_bf16(x: Array, *, nan: bool) -> Array:
    """float32 bits whose upper half is the nearest bfloat16; the lower half is rubbish. NaN becomes quiet."""
    bits: Array = x.view(np.uint32)
    rounded: Array = bits >> np.uint32(16)
    rounded = rounded & np.uint32(1)
    rounded += bits
    rounded += np.uint32(0x7FFF)
    return np.where(x != x, bits | _QUIET, rounded) if nan else rounded


def pack_bf16(a: Array, b: Array, out: U32) -> None:
    """Two numbers to two bfloat16, nearest even, the first in the lower half."""
    total: Array = a + b  # NaN where either is, and for opposite infinities
    nan = bool(np.count_nonzero(total != total))
    high = _rounded_to_bf16(b, nan=nan) & np.uint32(0xFFFF0000)
    np.bitwise_or(_rounded_to_bf16(a, nan=nan) >> np.uint32(16), high, out)


def from_half(bits: Array) -> Array:
    """float32 of the half-precision number in the lower 16 bits."""
    if bits.ndim == 2 and bits.flags.c_contiguous:
        return bits.view(np.float16)[:, ::2].astype(np.float32)
    return (bits & _LOW16).astype(np.uint16).view(np.float16).astype(np.float32)


def to_half(x: Array) -> Array:
    """Nearest half-precision number in the lower 16 bits of a uint32."""
    return np.asarray(x).astype(np.float16).view(np.uint16).astype(np.uint32)


def larger_half(a: F32, b: F32, out: F32) -> None:
    """V_MAX_F16 on widened numbers."""
    np.copyto(out, _exact_extreme(a, b, largest=True))


def smaller_half(a: F32, b: F32, out: F32) -> None:
    """V_MIN_F16 on widened numbers."""
    np.copyto(out, _exact_extreme(a, b, largest=False))


FP8 = {("gfx942", "fp8"): "e4m3fnuz", ("gfx950", "fp8"): "e4m3fn",
       ("gfx942", "bf8"): "e5m2fnuz", ("gfx950", "bf8"): "e5m2"}  # fmt: skip
"""What an FP8 or BF8 instruction of a chip means (AMD CDNA3 and CDNA4 ISA guides)."""


@functools.cache
def _decoding(name: str) -> tuple[F32, F64]:
    values = decode(np.arange(256, dtype=np.uint8), format_of(name))
    return values.astype(np.float32), values


def decode_fp8(codes: NDArray[np.uint8], name: str) -> F32:
    """Values of one-byte codes."""
    return _decoding(name)[0].take(codes)


def decode_fp8_wide(codes: NDArray[np.uint8], name: str) -> F64:
    """Values of one-byte codes as float64."""
    return _decoding(name)[1].take(codes)


def encode_fp8(x: Array, name: str, *, saturate: bool) -> U32:
    """Codes of float32 or float64, rounded to nearest even; overflow saturates or becomes NaN (infinity in e5m2)."""
    overflow = "saturate" if saturate else "nan"
    return encode(np.ascontiguousarray(x), format_of(name), overflow=overflow).astype(np.uint32)


def e8m0(codes: Array) -> F64:
    """Powers of two: 2^(code - 127), NaN for 255 (OCP Microscaling Formats, E8M0)."""
    return np.where(codes == 255, np.nan, np.ldexp(1.0, codes.astype(np.int32) - 127))
