"""Golden and torch peer of packing ragged rows into a padded batch: a byte move.

Contract: vLLM `pack_seq_triton` (vllm/v1/attention/ops/common.py), with the output and its length from the caller.
"""
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import torch


def byte_rows(tensor: torch.Tensor, leading: int) -> torch.Tensor:
    """The tensor's bytes as uint8, the dimensions behind the first `leading` ones made one (a contiguous copy)."""
    flat = tensor.contiguous()
    return flat.reshape(*flat.shape, 1).view(torch.uint8).flatten(leading)


def pack_seq(x: torch.Tensor, lengths: torch.Tensor, out: torch.Tensor, *, pad: bytes) -> torch.Tensor:
    """Bytes, uint8 [B, Lmax, row bytes], of the packed batch; CPU tensors, none of which changes.

    x: [N, ...]. lengths: [B], zeros allowed. out: [B, Lmax, ...] of x's dtype, for its shape. pad: the bytes of one
    padding element. Row i of request b is x[lengths[:b].sum() + i], or padding from its length (or N) on.
    """
    rows = byte_rows(x, 1)
    batch, longest = out.shape[:2]
    count = rows.shape[1] // len(pad)
    filler = torch.frombuffer(bytearray(pad), dtype=torch.uint8).repeat(count)
    packed = filler.repeat(batch, longest, 1)
    first = 0
    for request, length in enumerate(lengths.tolist()):
        own = rows[first : first + min(length, longest)]
        packed[request, : len(own)] = own
        first += length
    return packed


def peer_pack_seq(x: torch.Tensor, lengths: torch.Tensor, out: torch.Tensor, *, pad: bytes) -> None:
    """Plain torch packing without a host sync in its data path; writes into out."""
    longest = out.shape[1]
    padding = torch.frombuffer(bytearray(pad), dtype=torch.uint8).to(out.device)
    position = torch.arange(longest, device=x.device)
    starts = torch.cumsum(lengths, dim=0) - lengths
    source = starts[:, None] + position
    present = (position < lengths[:, None]) & (source < x.shape[0])
    rows = byte_rows(x, 1)
    taken = rows[torch.where(present, source, 0)]
    filler = padding.repeat(taken.shape[-1] // len(pad))
    packed = torch.where(present[..., None], taken, filler)
    out.copy_(packed.view(x.dtype).reshape(out.shape))
