"""First-order rounding model of elementwise arithmetic: who rounds, by how much, and where an operation is exact."""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

UNIT_ROUNDOFF = {torch.float32: 2.0**-24, torch.float16: 2.0**-11, torch.bfloat16: 2.0**-8}
"""Largest relative error of one rounding to nearest (IEEE 754; bf16 keeps 8 significant bits)."""

ROUNDING_RMS = math.sqrt(0.541 / 3)
"""rms error, in unit roundoffs, of rounding a number whose mantissa is log-uniform: E[1/m^2] = 0.541."""

U32 = UNIT_ROUNDOFF[torch.float32]

DOT_STEP = 16
"""Fewest products that a matrix instruction in scope adds before it rounds: K of v_mfma_f32_32x32x16_fp8_fp8 and of
NVIDIA's m16n8k16 (AMD CDNA3 ISA guide; NVIDIA PTX ISA)."""

EXP_WORST = 4.0
"""Largest relative error of the exponential in unit roundoffs: 2^-22 (NVIDIA PTX ISA, ex2.approx.f32)."""


@dataclass(frozen=True, slots=True)
class Modelled:
    """A golden output with its error model; all of one shape, float64."""

    value: torch.Tensor
    """The exact result."""
    sigma: torch.Tensor
    """Standard deviation of the planned roundings; 0 where nothing rounds."""
    bound: torch.Tensor
    """Error that no implementation of the plan exceeds."""
    share: torch.Tensor | None = None
    """[rows]: sum of squared variance shares of the errors that the elements of a row have in common."""


def rounded(x: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """float64 numbers rounded to `dtype`, kept in float64."""
    return x.to(dtype).to(torch.float64)


def inexact(x: torch.Tensor, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    """Where a float64 number is no number of `dtype`, so that an operation with that result rounds."""
    return rounded(x, dtype) != x


def rounding_rms(value: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """rms error of rounding float64 numbers to `dtype`; subnormal results have a uniform error of one spacing."""
    unit, tiny = UNIT_ROUNDOFF[dtype], torch.finfo(dtype).tiny
    subnormal = torch.full_like(value, 2 * unit * tiny / math.sqrt(12))
    return torch.where(value.abs() < tiny, subnormal, ROUNDING_RMS * unit * value.abs())


def absorbed(value: torch.Tensor, dtype: torch.dtype, *operands: torch.Tensor) -> torch.Tensor:
    """Where `value` rounds to one of its operands: the other contributes less than half an ulp."""
    result = rounded(value, dtype)
    return torch.stack([result == operand for operand in operands]).any(dim=0)


def output_rms(value: torch.Tensor, dtype: torch.dtype, *operands: torch.Tensor) -> torch.Tensor:
    """rms error of rounding `value` to `dtype`; where an operand absorbs the others, the error is known."""
    error = rounded(value, dtype) - value
    typical = rounding_rms(value, dtype) * (error != 0)
    return torch.where(absorbed(value, dtype, *operands), error.abs(), typical)


def ulp(x: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Distance of neighbouring numbers of `dtype` in the binade of each float64 number."""
    spacing = torch.exp2(torch.frexp(x).exponent.double()) * UNIT_ROUNDOFF[dtype]
    return spacing.clamp(min=2 * torch.finfo(dtype).tiny * UNIT_ROUNDOFF[dtype])
