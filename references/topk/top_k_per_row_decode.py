"""Visible scores of decode rows in float64, from which any right selection can be told, and a plain torch peer.

Contract: vLLM `top_k_per_row_decode` (csrc/sampler.cu).
"""
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import torch

from rocassay.references.topk.top_k_per_row_prefill import in_order, lowest_of_largest


def row_lengths(seq_lens: torch.Tensor, next_n: int) -> torch.Tensor:
    """int64 [B * next_n]: a row's own length, or its request's less the rows behind it; never negative.

    seq_lens: int32 [B] or [B, next_n].
    """
    if seq_lens.dim() == 2:
        return seq_lens.reshape(-1).to(torch.int64).clamp(min=0)
    step = torch.arange(next_n, device=seq_lens.device)
    lengths = seq_lens.to(torch.int64)[:, None] - next_n + step + 1
    return lengths.reshape(-1).clamp(min=0)


def top_k_per_row_decode(logits: torch.Tensor, seq_lens: torch.Tensor, *, next_n: int) -> tuple[torch.Tensor, ...]:
    """float64 scores that every row sees, place 0 first.

    logits: fp32 [B * next_n, N]. seq_lens: int32 [B] or [B, next_n].
    """
    lengths = row_lengths(seq_lens, next_n).tolist()
    return tuple(logits[row, :length].double() for row, length in enumerate(lengths))


def peer_top_k_per_row_decode(
    logits: torch.Tensor, seq_lens: torch.Tensor, indices: torch.Tensor, *, next_n: int
) -> None:
    """Plain torch selection without a host sync in its data path; writes into indices [B * next_n, k]."""
    lengths = row_lengths(seq_lens, next_n)[:, None]
    column = torch.arange(logits.shape[1], device=logits.device)
    places = lowest_of_largest(logits, column < lengths, indices.shape[1])
    indices.copy_(in_order(places, lengths))
