"""Merging the parts of split tiles by their log-sum-exp in float64, and its plain torch peer.

Contract: AITER `mla_reduce_v1` (csrc/kernels/mla/reduce.cu): parts are normalised, LSEs natural, groups of fewer than
two parts are left alone. Rows that no part has a key for are 0 with an LSE of -inf, as `merge_attn_states` has it.
"""
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from rocassay.references.common.merging import merged_rms, merged_slack
from rocassay.references.common.rounding import EXP_WORST, U32, UNIT_ROUNDOFF, Modelled


@dataclass(frozen=True, slots=True)
class Reduced:
    """Golden of both outputs, and which of their rows are written at all."""

    output: Modelled
    """[T, H, D]."""
    lse: Modelled
    """[T, H]."""
    written: torch.Tensor
    """bool [T]: rows of split tiles."""


def groups(
    reduce_indptr: torch.Tensor, reduce_final_map: torch.Tensor | None, reduce_partial_map: torch.Tensor
) -> Iterator[tuple[int, int, list[int]]]:
    """(first row, behind the last row, slots) of every group of two parts or more."""
    height = int(reduce_partial_map[1] - reduce_partial_map[0]) if reduce_final_map is None else 0
    for group, (first, last) in enumerate(itertools.pairwise(reduce_indptr.tolist())):
        if last - first < 2:
            continue
        begin, end = group * height, (group + 1) * height
        if reduce_final_map is not None:
            begin, end = reduce_final_map[group].tolist()
        yield begin, end, reduce_partial_map[first:last].tolist()


def mla_reduce(
    partial_output: torch.Tensor,
    partial_lse: torch.Tensor,
    reduce_indptr: torch.Tensor,
    reduce_final_map: torch.Tensor | None,
    reduce_partial_map: torch.Tensor,
    *,
    tokens: int,
    dtype: torch.dtype,
) -> Reduced:
    """Golden of the merge; CPU tensors. partial_output: fp32 [R, H, D]; partial_lse: fp32 [R, H]."""
    heads, dims = partial_output.shape[1:]
    value, worst, sigma = (torch.zeros(tokens, heads, dims, dtype=torch.float64) for _ in range(3))
    unit = UNIT_ROUNDOFF[dtype]
    lse = torch.full((tokens, heads), -torch.inf, dtype=torch.float64)
    lse_worst = torch.zeros(tokens, heads, dtype=torch.float64)
    written = torch.zeros(tokens, dtype=torch.bool)
    for begin, end, slots in groups(reduce_indptr, reduce_final_map, reduce_partial_map):
        place = torch.tensor(slots)[:, None] + torch.arange(end - begin)
        each, parts = partial_lse[place].double(), partial_output[place].double()
        peak = each.max(dim=0).values
        anchor = torch.where(peak == -torch.inf, 0.0, peak)
        terms = (each - anchor).exp()
        total = terms.sum(dim=0)
        weights = terms / torch.where(total == 0, 1.0, total)
        # A part of weight 0 counts for nothing, whatever it holds.
        parts = torch.where(weights[..., None] == 0, 0.0, parts)
        value[begin:end] = (weights[..., None] * parts).sum(dim=0)
        lse[begin:end] = torch.where(total == 0, -torch.inf, anchor + total.clamp(min=1).log())
        gap = torch.where(each == -torch.inf, 0.0, (each - anchor).abs())
        # fp32: the distance of the LSEs and its exponential, sums and products of every part, the quotient.
        steps = 2 * gap + EXP_WORST + 3 * len(slots) + 4
        relative = U32 * (steps + (weights * steps).sum(dim=0))
        single = (weights[..., None] * parts.abs() * relative[..., None]).sum(dim=0)
        worst[begin:end] = single * (1 + unit) + merged_slack(parts, dtype)
        sigma[begin:end] = merged_rms(value[begin:end], weights[..., None] * parts, gap, dtype)
        lse_worst[begin:end] = U32 * ((weights * steps).sum(dim=0) + 2 * anchor.abs() + 8)
        written[begin:end] = True
    bound = worst + unit * value.abs()
    return Reduced(Modelled(value, sigma, bound), Modelled(lse, torch.zeros_like(lse), lse_worst), written)


def peer_mla_reduce(
    partial_output: torch.Tensor,
    partial_lse: torch.Tensor,
    reduce_indptr: torch.Tensor,
    reduce_partial_map: torch.Tensor,
    final_output: torch.Tensor,
    *,
    reduce_final_map: torch.Tensor | None = None,
    final_lse: torch.Tensor | None = None,
    max_seqlen_q: int,  # noqa: ARG001 (the op's own keyword)
) -> None:
    """Plain torch fp32 merge, rounded once to the output's type; moves the lists to the host."""
    for begin, end, slots in groups(reduce_indptr, reduce_final_map, reduce_partial_map):
        rows = torch.arange(end - begin, device=partial_lse.device)
        place = torch.tensor(slots, device=partial_lse.device)[:, None] + rows
        each = partial_lse[place]
        peak = each.max(dim=0).values
        anchor = torch.where(peak == -torch.inf, 0.0, peak)
        weights = (each - anchor).exp()
        total = weights.sum(dim=0)
        parts = torch.where(weights[..., None] == 0, 0.0, weights[..., None] * partial_output[place])
        divisor = torch.where(total == 0, torch.ones_like(total), total)
        final_output[begin:end] = (parts.sum(dim=0) / divisor[..., None]).to(final_output.dtype)
        if final_lse is not None:
            final_lse[begin:end] = torch.where(total == 0, -torch.inf, anchor + divisor.log())
