"""Merging partial results by their natural log-sum-exp in float64.

Contract: AITER `mla_reduce_v1`: partials are normalised; groups of fewer than two parts are left alone.
"""
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Iterator

import torch

from rocassay.references.common.merging import merged_rms, merged_slack
from rocassay.references.common.rounding import UNIT_ROUNDOFF, Modelled
from rocassay.references.fp8_prefill.attention import EXPONENTIAL, FP32


def groups(
    reduce_indptr: torch.Tensor, reduce_final_map: torch.Tensor, reduce_partial_map: torch.Tensor
) -> Iterator[tuple[int, int, torch.Tensor]]:
    """(first row, end, first partial row of each part) of every group of two parts or more."""
    bounds = reduce_indptr.tolist()
    for group in range(min(len(bounds) - 1, len(reduce_final_map))):
        parts = reduce_partial_map[bounds[group] : bounds[group + 1]].long()
        if len(parts) >= 2:
            start, end = reduce_final_map[group].tolist()
            yield start, end, parts


def merge(partial: torch.Tensor, lse: torch.Tensor, dtype: torch.dtype) -> tuple[Modelled, Modelled]:
    """Golden of one group, output [n, H, D] and LSE [n, H], from its parts [P, n, H, D] and [P, n, H].

    What a part with LSE -inf holds counts for nothing; rows that no part saw are 0 and -inf.
    """
    wide = lse.double()
    top = wide.amax(dim=0)
    anchor = torch.where(top == -torch.inf, 0.0, top)
    terms = torch.exp(wide - anchor)
    total = terms.sum(dim=0)
    share = terms / torch.where(total == 0, 1.0, total)
    seen = torch.where((wide == -torch.inf)[..., None], 0.0, partial.double())
    values = seen * share[..., None]
    value, mass = values.sum(dim=0), values.abs().sum(dim=0)
    unit = UNIT_ROUNDOFF[dtype]
    gaps = torch.where(wide == -torch.inf, 0.0, (wide - anchor).abs())
    sigma = merged_rms(value, values, gaps, dtype)
    spread = torch.where(terms > 0, gaps, 0.0).amax(dim=0)
    slop = EXPONENTIAL + (2 * spread + 2 * len(lse)) * FP32
    bound = slop[..., None] * mass + unit * (1 + unit) * value.abs() + merged_slack(seen, dtype)
    merged = torch.where(total == 0, -torch.inf, anchor + torch.log(torch.where(total == 0, 1.0, total)))
    lse_bound = torch.where(total == 0, 0.0, 2 * EXPONENTIAL * (1 + merged.abs()) + slop)
    return Modelled(value, sigma, bound), Modelled(merged, torch.zeros_like(merged), lse_bound)


def peer_merge(partial: torch.Tensor, lse: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """Plain torch fp32 result, unrounded, and LSE of one group."""
    top = lse.amax(dim=0)
    anchor = torch.where(top == -torch.inf, 0.0, top)
    terms = torch.exp(lse - anchor)
    total = terms.sum(dim=0)
    divisor = torch.where(total == 0, 1.0, total)
    values = torch.where((lse == -torch.inf)[..., None], 0.0, partial) * terms[..., None]
    merged = torch.where(total == 0, -torch.inf, anchor + torch.log(divisor))
    return values.sum(dim=0) / divisor[..., None], merged
