"""Prefill key windows of the indexer in plain integers.

Contract: vLLM's indexer metadata builder (vLLM v1/attention/backends/mla/indexer.py).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import accumulate

import torch


@dataclass(frozen=True, slots=True)
class Windows:
    """Windows of a chunk's tokens and owners of its gathered keys."""

    ks: list[int]
    """First key of each token, [T]."""
    ke: list[int]
    """One past the last key of each token, [T]."""
    bases: list[int]
    """First gathered key of each request, and their number, [B + 1]."""
    owners: list[int]
    """Request of each gathered key, [N]."""


def windows(seq_lens: Sequence[int], query_lens: Sequence[int], ratio: int) -> Windows:
    """Windows when each request's last `query_lens[b]` of `seq_lens[b]` tokens are the chunk's."""
    gathered = [total // ratio for total in seq_lens]
    bases = [0, *accumulate(gathered)]
    ks: list[int] = []
    ke: list[int] = []
    for base, total, count in zip(bases, seq_lens, query_lens, strict=False):
        for position in range(total - count, total):
            ks.append(base)
            ke.append(base + (position + 1) // ratio)
    return Windows(ks, ke, bases, [request for request, count in enumerate(gathered) for _ in range(count)])


def indexer_prefill_windows(
    query_start_loc: torch.Tensor,
    seq_lens: torch.Tensor,
    ks: torch.Tensor,
    ke: torch.Tensor,
    cu_seqlen: torch.Tensor,
    token_to_seq: torch.Tensor,
    *,
    compress_ratio: int,
) -> dict[str, torch.Tensor]:
    """Golden: what the four outputs hold afterwards; the tensors themselves are not changed."""
    found = windows(seq_lens.tolist(), query_start_loc.diff().tolist(), compress_ratio)
    buffers = {"ks": (ks, found.ks), "ke": (ke, found.ke), "cu_seqlen": (cu_seqlen, found.bases)}
    expected: dict[str, torch.Tensor] = {}
    for name, (buffer, values) in {**buffers, "token_to_seq": (token_to_seq, found.owners)}.items():
        expected[name] = buffer.clone()
        expected[name][: len(values)] = torch.tensor(values, dtype=torch.int32)[: len(buffer)]
    return expected


def peer_indexer_prefill_windows(
    query_start_loc: torch.Tensor,
    seq_lens: torch.Tensor,
    ks: torch.Tensor,
    ke: torch.Tensor,
    cu_seqlen: torch.Tensor,
    token_to_seq: torch.Tensor,
    *,
    compress_ratio: int,
) -> None:
    """Vectorised torch, as vLLM's builder does it; writes the four outputs in place."""
    gathered, counts = seq_lens // compress_ratio, query_start_loc.diff()
    cu_seqlen[0] = 0
    cu_seqlen[1:] = gathered.cumsum(0)
    request = torch.arange(len(counts), device=ks.device)
    owner = torch.repeat_interleave(request, counts)
    token = torch.arange(len(owner), device=ks.device)
    position = seq_lens[owner] - (query_start_loc[1:][owner] - token)
    ks[: len(owner)] = cu_seqlen[owner]
    ke[: len(owner)] = (cu_seqlen[owner] + (position + 1) // compress_ratio).to(torch.int32)
    keys = torch.repeat_interleave(request, gathered).to(torch.int32)
    token_to_seq[: len(keys)] = keys
