"""First-order rounding model of a merge of parts by their log-sum-exp: fp32 sums, rounded once to the output."""

from __future__ import annotations

import torch

from rocassay.references.common.rounding import ROUNDING_RMS, U32, UNIT_ROUNDOFF, inexact, rounding_rms

EXP_RMS = 2.0
"""rms relative error granted to the exponential, in unit roundoffs; 4 is its largest (NVIDIA PTX ISA, ex2.approx)."""

TINY = torch.finfo(torch.float32).tiny
"""Smallest normal fp32 number: what lies below may be flushed to 0."""


def merged_rms(value: torch.Tensor, products: torch.Tensor, gaps: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """rms error of merged elements [..., D]; 0 where the result is a number of `dtype`.

    products: [P, ..., D] weighted values, whose sum is `value`; gaps: [P, ...] how far each LSE lies below the largest.
    The fp32 errors show only where products cancel: there the result is small, and they are not.
    """
    steps = gaps.square() + (EXP_RMS / ROUNDING_RMS) ** 2 + len(products) + 1
    single = (ROUNDING_RMS * U32) ** 2 * (products.square() * steps[..., None]).sum(dim=0)
    variance = rounding_rms(value, dtype).square() + single + TINY**2
    return variance.sqrt() * inexact(value, dtype)


def merged_slack(parts: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """Largest error [..., D] by numbers too small for their type: weights, products and results may become 0.

    parts: [P, ..., D], 0 where a part counts for nothing.
    """
    return TINY * (2 + parts.abs().sum(dim=0)) + torch.finfo(dtype).tiny * UNIT_ROUNDOFF[dtype]
