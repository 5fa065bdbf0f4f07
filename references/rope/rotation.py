"""Rotation of pairs as multiplication of complex numbers in complex128, with a first-order model of fp32 rounding.

Sources: Su et al., RoFormer (arXiv 2104.09864); vLLM `rotary_embedding` for the two ways in which lanes form pairs.
"""

from __future__ import annotations

from typing import Literal

import torch

from rocassay.references.common.rounding import (
    ROUNDING_RMS,
    U32,
    Modelled,
    absorbed,
    inexact,
    output_rms,
    rounded,
    rounding_rms,
    ulp,
)

Style = Literal["neox", "gptj"]
"""`neox` pairs lane i with lane i + rot/2, `gptj` lane 2i with lane 2i + 1."""

Span = Literal["first", "last"]
"""Which lanes of a head are rotated."""

INPUT_BUDGET = 2.0**-22
"""Worst error of the fp32 arithmetic per unit of both inputs' magnitude."""

OUTPUT_BUDGET = 0.51
"""Worst error of the final rounding in ulp of the output."""


def rotated_lanes(head_dim: int, rot: int, span: Span) -> slice:
    """The lanes of a head that are rotated."""
    return slice(0, rot) if span == "first" else slice(head_dim - rot, head_dim)


def unit_numbers(positions: torch.Tensor, cos_sin_cache: torch.Tensor) -> torch.Tensor:
    """complex128 [T, 1, rot/2]: cos + i sin as stored; the cache holds cosines, then sines."""
    rows = cos_sin_cache[positions.long()].double()
    cos, sin = rows.chunk(2, dim=-1)
    return torch.complex(cos, sin)[:, None, :]


def as_complex(lanes: torch.Tensor, style: Style) -> torch.Tensor:
    """The pairs of [..., rot] lanes as complex numbers [..., rot/2]."""
    wide = lanes.double()
    if style == "gptj":
        return torch.view_as_complex(wide.unflatten(-1, (-1, 2)).contiguous())
    return torch.complex(*wide.chunk(2, dim=-1))


def as_lanes(real: torch.Tensor, imaginary: torch.Tensor, style: Style) -> torch.Tensor:
    """The inverse of `as_complex`, on both parts of any real quantity."""
    if style == "gptj":
        return torch.stack([real, imaginary], dim=-1).flatten(-2)
    return torch.cat([real, imaginary], dim=-1)


def rotate(x: torch.Tensor, unit: torch.Tensor, *, style: Style, span: Span) -> Modelled:
    """x [T, H, D] with its pairs multiplied by `unit` [T, 1, rot/2]; the other lanes stay exactly what they are."""
    rot = 2 * unit.shape[-1]
    lanes = rotated_lanes(x.shape[-1], rot, span)
    pairs = as_complex(x[..., lanes], style)
    turned = pairs * unit
    real = _modelled(turned.real, pairs.real, pairs.real * unit.real, -pairs.imag * unit.imag, x.dtype)
    imaginary = _modelled(turned.imag, pairs.imag, pairs.imag * unit.real, pairs.real * unit.imag, x.dtype)
    sigma, bound = torch.zeros(x.shape, dtype=torch.float64), torch.zeros(x.shape, dtype=torch.float64)
    value = x.double()
    value[..., lanes] = as_lanes(turned.real, turned.imag, style)
    sigma[..., lanes] = as_lanes(real, imaginary, style)
    budget = INPUT_BUDGET * (pairs.real.abs() + pairs.imag.abs())
    bound[..., lanes] = OUTPUT_BUDGET * ulp(value[..., lanes], x.dtype) + as_lanes(budget, budget, style)
    return Modelled(value, sigma, bound)


def _modelled(
    value: torch.Tensor, own: torch.Tensor, kept: torch.Tensor, mixed: torch.Tensor, dtype: torch.dtype
) -> torch.Tensor:
    """sigma of kept + mixed: both products, their sum and the output round; `own` is the lane before the rotation."""
    products = kept.square() * inexact(kept) + mixed.square() * inexact(mixed)
    variance = (ROUNDING_RMS * U32) ** 2 * products + output_rms(value, torch.float32, kept, mixed).square()
    if dtype is not torch.float32:
        known = absorbed(value, dtype, own) | (variance == 0)
        error = (rounded(value, dtype) - value).square()
        variance = torch.where(known, error, variance + rounding_rms(value, dtype).square())
    return variance.sqrt()


def peer_rotate(
    x: torch.Tensor,
    positions: torch.Tensor,
    cos_sin_cache: torch.Tensor,
    *,
    style: Style,
    span: Span,
    inverse: bool = False,
) -> torch.Tensor:
    """Plain torch: x [T, H, D] with fp32 products, sum, and one rounding to x's dtype; a new tensor."""
    rows = cos_sin_cache[positions.long()]
    cos, sin = rows[:, None, :].chunk(2, dim=-1)
    sin = -sin if inverse else sin
    lanes = rotated_lanes(x.shape[-1], cos_sin_cache.shape[-1], span)
    wide = x[..., lanes].float()
    real, imaginary = wide.unflatten(-1, (-1, 2)).unbind(-1) if style == "gptj" else wide.chunk(2, dim=-1)
    turned = as_lanes(real * cos - imaginary * sin, imaginary * cos + real * sin, style)
    result = x.clone(memory_format=torch.contiguous_format)
    result[..., lanes] = turned.to(x.dtype)
    return result
