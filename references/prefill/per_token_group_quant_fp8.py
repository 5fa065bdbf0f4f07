"""What the query quantiser must store, code by code, from float64 division and the fp8 tables.

Contract: vLLM `per_token_group_quant_fp8` as the indexer calls it (vLLM model_executor/layers/quantization/utils/
fp8_utils.py): groups of 128, amax floored at 1e-10, the scale optionally rounded up to a power of two.
"""
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from rocassay.harness.fp8 import Fp8Format, encode, encode_tensor, format_of, power_of_two_at_least

ScaleFormat = Literal["ue8m0", "float"]

AMAX_FLOOR = np.float32(1e-10)
"""Smallest magnitude that a scale is derived from; the indexer's key writer has another one, 1e-4."""

TIE_BAND = 2.0**-20
"""Relative distance of a quotient from a rounding midpoint within which either neighbour is right.

fp32 division and a scale off by one ulp move the quotient by less than this.
"""


@dataclass(frozen=True, slots=True)
class Quantised:
    """Codes and scales of all groups."""

    codes: torch.Tensor
    """uint8 [T, C]."""

    other_codes: torch.Tensor
    """Like `codes`, with the other neighbour where a quotient lies within `TIE_BAND` of a midpoint."""

    scales: torch.Tensor
    """fp32 [T, C / group]."""

    scale_ulp: int
    """How many fp32 ulp a stored scale may be off: 1 for float scales, 0 for powers of two."""


def per_token_group_quant_fp8(x: torch.Tensor, *, fp8: str, scale_fmt: ScaleFormat, group_size: int) -> Quantised:
    """Golden of the quantiser. x: [T, C] bf16, fp16 or fp32, C a multiple of group_size, finite; not changed."""
    fmt = format_of(fp8)
    groups = x.to(torch.float32).reshape(x.shape[0], -1, group_size).numpy()
    scale = _scales(groups, fmt, scale_fmt)
    quotient = groups.astype(np.float64) / scale[..., None].astype(np.float64)
    codes = encode(quotient, fmt)
    other = codes if scale_fmt == "ue8m0" else _other_neighbour(quotient, codes, fmt)
    return Quantised(
        torch.from_numpy(codes).reshape(x.shape),
        torch.from_numpy(other).reshape(x.shape),
        torch.from_numpy(scale),
        scale_ulp=0 if scale_fmt == "ue8m0" else 1,
    )


def peer_per_token_group_quant_fp8(
    x: torch.Tensor,
    x_q: torch.Tensor,
    x_s: torch.Tensor,
    *,
    fp8: str,
    scale_fmt: ScaleFormat,
    group_size: int,
) -> None:
    """Plain torch fp32 quantiser with the kernel's rounding points, written into x_q [T, C] and x_s [T, C / group]."""
    fmt = format_of(fp8)
    groups = x.to(torch.float32).reshape(x.shape[0], -1, group_size)
    amax = groups.abs().amax(dim=-1).clamp_min(float(AMAX_FLOOR))
    # A tensor divisor: torch on CUDA multiplies by the reciprocal of a number, which rounds twice.
    scale = amax / torch.full_like(amax, fmt.scaling_max)
    if scale_fmt == "ue8m0":
        mantissa, exponent = torch.frexp(scale)
        scale = torch.ldexp(torch.ones_like(scale), exponent - (mantissa == 0.5).to(exponent.dtype))
    x_q.copy_(encode_tensor(groups / scale[..., None], fmt, overflow="saturate").reshape(x.shape))
    x_s.copy_(scale)


def _scales(groups: NDArray[np.float32], fmt: Fp8Format, scale_fmt: ScaleFormat) -> NDArray[np.float32]:
    amax = np.maximum(np.abs(groups).max(axis=-1), AMAX_FLOOR)
    scale = (amax.astype(np.float64) / fmt.scaling_max).astype(np.float32)
    # An fp32 quotient is never rounded across a power of two: the nearest quotient of a 24-bit amax is farther off.
    return power_of_two_at_least(scale) if scale_fmt == "ue8m0" else scale


def _other_neighbour(quotient: NDArray[np.float64], codes: NDArray[np.uint8], fmt: Fp8Format) -> NDArray[np.uint8]:
    """The code on the other side of a rounding midpoint that is within `TIE_BAND`, else the same code."""
    below = encode(quotient * (1 - TIE_BAND), fmt)
    above = encode(quotient * (1 + TIE_BAND), fmt)
    return np.where(below != codes, below, above)
