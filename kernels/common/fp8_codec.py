"""Conversion of fp8 codes inside a kernel: by the hardware where it knows the format, by integers where not.

Tensors travel as uint8 and are reinterpreted here, so that a launch never depends on torch's fp8 dtypes.
Formats: `e4m3fn` (OCP OFP8 spec; Triton `float8e4nv`) and `e4m3fnuz` (AMD CDNA3 ISA guide; `float8e4b8`).
"""
# pyright: reportAssignmentType=false

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def encode_fp8(x, FORMAT: tl.constexpr, NATIVE: tl.constexpr) -> tl.tensor:
    """fp32 tile -> uint8 codes: nearest even, saturating beyond the largest finite, NaN stays NaN."""
    tl.static_assert((FORMAT == "e4m3fn") or (FORMAT == "e4m3fnuz"), "fp8_codec knows e4m3fn and e4m3fnuz")
    if NATIVE:
        if FORMAT == "e4m3fn":
            code = x.to(tl.float8e4nv).to(tl.uint8, bitcast=True)
        else:
            code = x.to(tl.float8e4b8).to(tl.uint8, bitcast=True)
    else:
        code = _encode_by_integers(x, FORMAT)
    return code


@triton.jit
def _encode_by_integers(x, FORMAT: tl.constexpr):
    BIAS: tl.constexpr = 7 if FORMAT == "e4m3fn" else 8
    LARGEST: tl.constexpr = 0x7E if FORMAT == "e4m3fn" else 0x7F
    # fp32 keeps 20 mantissa bits more than e4m3; adding half an ulp less the odd bit rounds ties to even,
    # and the carry walks into the exponent by itself.
    REBIAS: tl.constexpr = (127 - BIAS) << 23
    SMALLEST_NORMAL: tl.constexpr = (128 - BIAS) << 23
    # Adding 2^(21-BIAS), whose fp32 ulp is the smallest subnormal, rounds below the normals.
    MAGIC: tl.constexpr = (148 - BIAS) << 23
    bits = x.to(tl.int32, bitcast=True)
    magnitude = bits & 0x7FFFFFFF
    normal = (magnitude - REBIAS + 0x7FFFF + ((magnitude >> 20) & 1)) >> 20
    magic = tl.full(x.shape, MAGIC, tl.int32).to(tl.float32, bitcast=True)
    subnormal = (magnitude.to(tl.float32, bitcast=True) + magic).to(tl.int32, bitcast=True) - MAGIC
    code = tl.where(magnitude < SMALLEST_NORMAL, subnormal, tl.minimum(normal, LARGEST))
    sign = (bits >> 24) & 0x80
    if FORMAT == "e4m3fn":
        code = tl.where(magnitude > 0x7F800000, 0x7F, code) | sign
    else:
        # There is no negative zero: 0x80 is the format's only NaN.
        code = tl.where(code == 0, 0, code | sign)
        code = tl.where(magnitude > 0x7F800000, 0x80, code)
    return code.to(tl.uint8)


@triton.jit
def decode_fp8(code, FORMAT: tl.constexpr, NATIVE: tl.constexpr) -> tl.tensor:
    """uint8 codes -> a tile of the native fp8 type, or an fp16 tile of the very same values and NaNs."""
    tl.static_assert((FORMAT == "e4m3fn") or (FORMAT == "e4m3fnuz"), "fp8_codec knows e4m3fn and e4m3fnuz")
    if NATIVE:
        if FORMAT == "e4m3fn":
            value = code.to(tl.float8e4nv, bitcast=True)
        else:
            value = code.to(tl.float8e4b8, bitcast=True)
    else:
        value = _decode_to_fp16(code, FORMAT)
    return value


@triton.jit
def _decode_to_fp16(code, FORMAT: tl.constexpr):
    # The code's exponent field read as fp16's is too small by the difference of the biases.
    RESCALE: tl.constexpr = 256.0 if FORMAT == "e4m3fn" else 128.0
    wide = code.to(tl.uint16)
    magnitude = wide & 0x7F
    bits = ((wide & 0x80) << 8) | (magnitude << 7)
    value = bits.to(tl.float16, bitcast=True) * RESCALE
    nan = magnitude == 0x7F if FORMAT == "e4m3fn" else wide == 0x80
    return tl.where(nan, float("nan"), value)
