"""Decode lengths of the indexer in plain integers.

Contract: vLLM's indexer metadata builder (vLLM v1/attention/backends/mla/indexer.py).
"""

from __future__ import annotations

from collections.abc import Sequence

import torch


def native_lens(seq_lens: Sequence[int], next_n: int, ratio: int) -> list[list[int]]:
    """[B][next_n]: max(0, S - next_n + 1 + j) // ratio; next_n is the most query tokens of any request in the step."""
    return [[max(0, total - next_n + 1 + j) // ratio for j in range(next_n)] for total in seq_lens]


def flattened_lens(seq_lens: Sequence[int], decode_lens: Sequence[int], ratio: int) -> list[int]:
    """One entry a token: (S - d + i + 1) // ratio for token i of the d tokens of each request."""
    return [
        max(0, total - count + step + 1) // ratio
        for total, count in zip(seq_lens, decode_lens, strict=True)
        for step in range(count)
    ]


def indexer_decode_lens(
    seq_lens: torch.Tensor,
    lens: torch.Tensor,
    *,
    compress_ratio: int,
    query_start_loc: torch.Tensor | None = None,
    block_table: torch.Tensor | None = None,
    row_table: torch.Tensor | None = None,
) -> dict[str, torch.Tensor]:
    """Golden: what `lens` and, if given, `row_table` hold afterwards; the tensors themselves are not changed.

    Lengths are by request where `lens` is [B, next_n], and by row where it is [R].
    """
    if query_start_loc is None or block_table is None or row_table is None:
        table = native_lens(seq_lens.tolist(), lens.shape[1], compress_ratio)
        return {"lens": torch.tensor(table, dtype=torch.int32).reshape(lens.shape)}
    counts = query_start_loc.diff().tolist()
    rows = flattened_lens(seq_lens.tolist(), counts, compress_ratio)
    expected = {"lens": torch.zeros_like(lens), "row_table": row_table.clone()}
    expected["lens"][: len(rows)] = torch.tensor(rows, dtype=torch.int32)
    owners = [request for request, count in enumerate(counts) for _ in range(count)]
    expected["row_table"][: len(rows)] = block_table[owners]
    expected["row_table"][len(rows) :, :1] = 0
    return expected


def peer_indexer_decode_lens(
    seq_lens: torch.Tensor,
    lens: torch.Tensor,
    *,
    compress_ratio: int,
    query_start_loc: torch.Tensor | None = None,
    block_table: torch.Tensor | None = None,
    row_table: torch.Tensor | None = None,
) -> None:
    """Vectorised torch, as vLLM's builder does it; writes `lens` and `row_table` in place."""
    if query_start_loc is None or block_table is None or row_table is None:
        after = torch.arange(lens.shape[1] - 1, -1, -1, dtype=torch.int32, device=lens.device)
        lens.copy_((seq_lens[:, None] - after).clamp_min(0) // compress_ratio)
        return
    counts = query_start_loc.diff()
    owner = torch.repeat_interleave(torch.arange(len(counts), device=lens.device), counts)
    later = query_start_loc[1:][owner] - 1 - torch.arange(len(owner), device=lens.device)
    lens.zero_()
    lens[: len(owner)] = ((seq_lens[owner] - later).clamp_min(0) // compress_ratio).to(torch.int32)
    row_table[: len(owner)] = block_table[owner]
    row_table[len(owner) :, :1] = 0
