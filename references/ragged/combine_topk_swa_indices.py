"""Which rows of the gathered workspace a prefill token reads: an integer model, token by token.

Contract: vLLM `combine_topk_swa_indices`, the ROCm version (vllm-project/vllm#41812). A request owns M rows of the
workspace: [0, N) compressed tokens, [N, N + gather_len) its last gather_len raw tokens.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class ChunkShape:
    """The scalar arguments of a combine."""

    window_size: int
    """Raw tokens that a token sees, itself included."""
    compress_ratio: int
    """Raw tokens a compressed one; <= 1 where a layer has none."""
    topk: int
    """Most compressed tokens a token sees (K)."""
    M: int
    """Workspace rows of a request."""
    N: int
    """Of these, rows of compressed tokens."""
    max_image_tokens: int = 0
    """How far an image widens a window."""


@dataclass(frozen=True, slots=True)
class TokenKeys:
    """What one token of a chunk sees, in workspace rows."""

    compressed: list[int]
    """Chosen compressed tokens; -1 where top-k names none or one beyond N."""
    window: list[int]
    """Raw tokens, ascending and contiguous."""


@dataclass(frozen=True, slots=True)
class CombinedIndices:
    """Dense rows and their lengths."""

    combined: torch.Tensor
    """int32 [T, A], -1 from a row's length on and in the holes before."""
    lens: torch.Tensor
    """int32 [T], holes counted."""


def keys_of_tokens(
    topk_indices: torch.Tensor,
    query_start_loc: torch.Tensor,
    seq_lens: torch.Tensor,
    gather_lens: torch.Tensor,
    shape: ChunkShape,
    image_left: torch.Tensor | None = None,
    image_right: torch.Tensor | None = None,
) -> Iterator[TokenKeys]:
    """The keys of every token of the chunk, in order.

    topk_indices: [T, Kw]; a column beyond Kw reads as column 0. query_start_loc: [B + 1], not rebased to the chunk.
    """
    starts = [start - int(query_start_loc[0]) for start in query_start_loc.tolist()]
    for request, (seq_len, gather_len) in enumerate(zip(seq_lens.tolist(), gather_lens.tolist(), strict=True)):
        first, last = starts[request], starts[request + 1]
        gather_start, base = seq_len - gather_len, shape.M * request
        for token in range(first, last):
            position = seq_len - (last - first) + token - first
            left = 0 if image_left is None else int(image_left[token])
            right = 0 if image_right is None else int(image_right[token])
            reach = shape.window_size - 1
            start = max(position - reach - max(left - reach, 0), 0, gather_start)
            end = min(position + right + 1, seq_len)
            row = topk_indices[token].tolist()
            count = min((position + 1) // max(shape.compress_ratio, 1), shape.topk)
            chosen = [row[c if c < len(row) else 0] for c in range(count)]
            yield TokenKeys(
                [base + local if 0 <= local < shape.N else -1 for local in chosen],
                [base + shape.N + key - gather_start for key in range(start, end)],
            )


def combine_topk_swa_indices(
    topk_indices: torch.Tensor,
    query_start_loc: torch.Tensor,
    seq_lens: torch.Tensor,
    gather_lens: torch.Tensor,
    shape: ChunkShape,
    columns: int,
    image_left: torch.Tensor | None = None,
    image_right: torch.Tensor | None = None,
) -> CombinedIndices:
    """Golden: chosen compressed tokens, then the window; `columns` is the row length A."""
    operands = (topk_indices, query_start_loc, seq_lens, gather_lens, shape, image_left, image_right)
    combined = torch.full((len(topk_indices), columns), -1, dtype=torch.int32)
    lens = torch.zeros(len(topk_indices), dtype=torch.int32)
    for token, keys in enumerate(keys_of_tokens(*operands)):
        window = keys.window[: shape.window_size + shape.max_image_tokens]
        row = [*keys.compressed, *window]
        combined[token, : len(row)] = torch.tensor(row, dtype=torch.int32)
        lens[token] = len(keys.compressed) + len(keys.window)
    return CombinedIndices(combined, lens)


def peer_combine_topk_swa_indices(
    topk_indices: torch.Tensor,
    query_start_loc: torch.Tensor,
    seq_lens: torch.Tensor,
    gather_lens: torch.Tensor,
    combined: torch.Tensor,
    lens: torch.Tensor,
    shape: ChunkShape,
    image_left: torch.Tensor | None = None,
    image_right: torch.Tensor | None = None,
) -> None:
    """Plain torch, the whole chunk at a time; writes combined and lens."""
    device = combined.device
    starts = (query_start_loc - query_start_loc[0]).long()
    token = torch.arange(len(topk_indices), device=device)
    request = torch.searchsorted(starts[1:].contiguous(), token, right=True)
    seq_len, gather_len = seq_lens[request].long(), gather_lens[request].long()
    position = seq_len - starts[request + 1] + token
    left = torch.zeros_like(token) if image_left is None else image_left.long()
    right = torch.zeros_like(token) if image_right is None else image_right.long()
    # A window reaches back to the image's first token where that lies further back.
    start = torch.maximum((position - left.clamp(min=shape.window_size - 1)).clamp(min=0), seq_len - gather_len)
    length = (torch.minimum(position + right + 1, seq_len) - start).clamp(min=0)
    ratio = torch.tensor(max(shape.compress_ratio, 1), device=device)
    chosen = torch.div(position + 1, ratio, rounding_mode="floor").clamp(max=shape.topk)
    column = torch.arange(combined.shape[1], device=device).expand(combined.shape)
    if topk_indices.shape[1]:
        local = topk_indices.gather(1, torch.where(column < topk_indices.shape[1], column, 0)).long()
    else:
        local = torch.full_like(column, -1)
    base = (request * shape.M)[:, None]
    compressed = torch.where((local >= 0) & (local < shape.N), base + local, -1)
    rank = column - chosen[:, None]
    raw = base + shape.N + (start - seq_len + gather_len)[:, None] + rank
    width = length.clamp(max=shape.window_size + shape.max_image_tokens)[:, None]
    combined.copy_(torch.where(rank < 0, compressed, torch.where(rank < width, raw, -1)))
    lens.copy_(chosen + length)
