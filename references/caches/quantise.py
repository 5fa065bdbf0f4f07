"""Arithmetic that the cache goldens share: group scales, codes on both sides of a midpoint, bf16 from float64."""
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from rocassay.harness.fp8 import Fp8Format, bfloat16_bits, encode

TIE_BAND = 2.0**-20
"""Relative distance of a quotient from a rounding midpoint within which either neighbour is right.

fp32 division, a reciprocal, and a scale off by one ulp move the quotient by less than this.
"""


QUIET_NAN = 0x7FC0
"""bf16 bits of the NaN that a NaN code becomes here; the contracts do not say which one."""


def group_amax(rows: NDArray[np.float32], group: int) -> NDArray[np.float32]:
    """Largest magnitude of each group of `group` neighbours, [T, D / group]."""
    return np.abs(rows.reshape(len(rows), -1, group)).max(axis=2, initial=0.0)


def group_quotients(rows: NDArray[np.float32], scale: NDArray[np.floating], group: int) -> NDArray[np.float64]:
    """rows [T, D] divided by their group's scale [T, D / group], in float64."""
    return rows.astype(np.float64) / np.repeat(scale.astype(np.float64), group, axis=1)


def other_neighbour(quotient: NDArray[np.float64], codes: NDArray[np.uint8], fmt: Fp8Format) -> NDArray[np.uint8]:
    """The code on the other side of a rounding midpoint that is within `TIE_BAND`, else the same code."""
    below = encode(quotient * (1 - TIE_BAND), fmt, overflow="saturate")
    above = encode(quotient * (1 + TIE_BAND), fmt, overflow="saturate")
    return np.where(below != codes, below, above)


def nearest_bf16_bits(x: NDArray[np.float64]) -> NDArray[np.uint16]:
    """Bits of the bf16 nearest to float64 values, ties to even, rounded once; beyond the largest inf."""
    magnitude = np.where(np.isfinite(x), x, 0.0)
    _, exponent = np.frexp(magnitude)
    step = np.ldexp(1.0, np.maximum(exponent, -125) - 8)
    with np.errstate(over="ignore"):
        once = np.where(np.isfinite(x), np.rint(magnitude / step) * step, x).astype(np.float32)
    return bfloat16_bits(once)


def fp32_then_bf16_bits(x: NDArray[np.float64]) -> NDArray[np.uint16]:
    """Bits of the bf16 reached through fp32: what a kernel stores whose product is one fp32 operation."""
    with np.errstate(over="ignore"):
        return bfloat16_bits(x.astype(np.float32))


def bf16_tensor(bits: NDArray[np.uint16]) -> torch.Tensor:
    """bfloat16 tensor of the given bit patterns."""
    return torch.from_numpy(bits.view(np.int16).copy()).view(torch.bfloat16)


def bits_of(tensor: torch.Tensor) -> NDArray[np.uint16]:
    """uint16 bit patterns of a bfloat16 tensor on the CPU, same shape."""
    return tensor.contiguous().view(torch.int16).numpy().view(np.uint16)


def bytes_of(bits: NDArray[np.uint16]) -> NDArray[np.uint8]:
    """Little-endian bytes of 16-bit patterns [T, D], [T, 2 D]."""
    return np.ascontiguousarray(bits.astype("<u2")).view(np.uint8).reshape(len(bits), -1)


def byte_rows(tensor: torch.Tensor) -> torch.Tensor:
    """The rows of a bfloat16 tensor as uint8 [T, 2 D], on its device."""
    return tensor.contiguous().view(torch.uint8)
