"""Windows of the prefill scores in float64, from which any right selection can be told, and a plain torch peer.

Contract: vLLM `top_k_per_row_prefill` (csrc/sampler.cu).
"""
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import torch


def top_k_per_row_prefill(
    logits: torch.Tensor, row_starts: torch.Tensor, row_ends: torch.Tensor
) -> tuple[torch.Tensor, ...]:
    """float64 scores of every row's window [start, end), place 0 first; empty where the end is not behind the start.

    logits: fp32 [R, N]. row_starts, row_ends: int32 [R].
    """
    windows = zip(row_starts.tolist(), row_ends.tolist(), strict=True)
    return tuple(logits[row, start : max(start, end)].double() for row, (start, end) in enumerate(windows))


def peer_top_k_per_row_prefill(
    logits: torch.Tensor, row_starts: torch.Tensor, row_ends: torch.Tensor, indices: torch.Tensor
) -> None:
    """Plain torch selection without a host sync in its data path; writes into indices [R, k]."""
    rows, topk = indices.shape
    column = torch.arange(logits.shape[1], device=logits.device)
    starts, ends = row_starts[:rows, None], row_ends[:rows, None]
    visible = (column >= starts) & (column < ends)
    places = lowest_of_largest(logits, visible, topk)
    lengths = (ends - starts).clamp(min=0)
    local = torch.where(places >= 0, places - starts, -1)
    indices.copy_(in_order(local, lengths))


def lowest_of_largest(logits: torch.Tensor, visible: torch.Tensor, topk: int) -> torch.Tensor:
    """Columns int64 [R, topk] of the largest visible scores, ascending, -1 behind them; ties go to the lowest."""
    # Two stable sorts: by score, then visible ones first; an invisible score may be NaN or infinite.
    scores = torch.where(visible, logits, 0.0)
    by_score = torch.argsort(scores, dim=1, descending=True, stable=True)
    hidden_last = torch.argsort((~visible.gather(1, by_score)).to(torch.int8), dim=1, stable=True)
    chosen = by_score.gather(1, hidden_last)[:, :topk]
    missing = torch.full((len(logits), topk - chosen.shape[1]), -1, device=logits.device)
    chosen = torch.where(visible.gather(1, chosen), chosen, -1)
    return torch.cat([chosen, missing], dim=1)


def in_order(places: torch.Tensor, lengths: torch.Tensor) -> torch.Tensor:
    """Places [R, k] ascending with -1 behind them; lengths [R, 1] bound what is a place."""
    beyond = lengths.to(places.dtype)
    ordered = torch.where(places >= 0, places, beyond).sort(dim=1).values
    return torch.where(ordered < beyond, ordered, -1).to(torch.int32)
