"""Golden and torch peer of unpacking a padded batch into ragged rows: a byte move.

Contract: vLLM `unpack_seq_triton` (vllm/v1/attention/ops/common.py), with the output from the caller.
"""
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import torch

from rocassay.references.topk.pack_seq import byte_rows


def unpack_seq(packed: torch.Tensor, lengths: torch.Tensor, out: torch.Tensor) -> torch.Tensor:
    """Bytes, uint8 [N, row bytes], of `out` after unpacking; CPU tensors, none of which changes.

    packed: [B, Lmax, ...]. lengths: [B], zeros allowed. out: [N, ...] of packed's dtype. Row lengths[:b].sum() + i is
    packed[b, i] for i below lengths[b]; rows beyond the sum, or of which Lmax cut the source off, stay untouched.
    """
    rows, source = byte_rows(out, 1), byte_rows(packed, 2)
    rows = rows.clone()
    first = 0
    for request, length in enumerate(lengths.tolist()):
        own = source[request, :length]
        target = rows[first : first + len(own)]
        target.copy_(own[: len(target)])
        first += length
    return rows


def peer_unpack_seq(packed: torch.Tensor, lengths: torch.Tensor, out: torch.Tensor) -> None:
    """Plain torch unpacking; writes into out."""
    batch, longest = packed.shape[:2]
    ends = torch.cumsum(lengths, dim=0)
    row = torch.arange(out.shape[0], device=out.device)
    request = torch.searchsorted(ends, row, right=True)
    known = request < batch
    safe = request.clamp(max=batch - 1)
    position = row - (ends - lengths)[safe]
    present = known & (position < longest)
    chosen = byte_rows(packed, 2)[safe, position.clamp(0, longest - 1)]
    kept = torch.where(present[:, None], chosen, byte_rows(out, 1))
    out.copy_(kept.view(out.dtype).reshape(out.shape))
