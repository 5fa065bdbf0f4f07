"""What the prefill gather of indexer keys must copy: an integer model of a byte move.

Contract: vLLM `cp_gather_indexer_k_quant_cache_triton` (vllm-project/vllm#43781).
"""
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from rocassay.harness.layouts import indexer_layout

HEAD_DIM = 128
"""Value bytes of an indexer key."""


@dataclass(frozen=True, slots=True)
class GatheredBytes:
    """Both output buffers after the gather, whole."""

    values: torch.Tensor
    """uint8 [T, 128]; rows that receive no key are the input's."""

    scales: torch.Tensor
    """uint8 [T, 4], the fp32 scales' bytes; zero where a request's key has no page."""


def cp_gather_indexer_k_quant_cache(
    kv_cache: torch.Tensor,
    k_fp8: torch.Tensor,
    k_fp8_scale: torch.Tensor,
    block_table: torch.Tensor,
    cu_seqlen: torch.Tensor,
    token_to_seq: torch.Tensor,
    *,
    layout: Literal["NORMAL", "SHUFFLE"],
) -> GatheredBytes:
    """Golden of the gather, starting from the given outputs; CPU tensors, none of which changes.

    kv_cache: [NB, BS, 132] uint8. k_fp8: [T, 128] uint8 or fp8. k_fp8_scale: [T, 4] uint8 or fp32 [T].
    block_table: [B, W]. cu_seqlen: [B+1]. token_to_seq: [T], garbage beyond cu_seqlen[B].
    """
    blocks, block_size = kv_cache.shape[:2]
    values = k_fp8.view(torch.uint8).clone().numpy()
    scales = _scale_bytes(k_fp8_scale).clone().numpy()
    page = indexer_layout(layout, block_size)
    offsets = page.offset(np.arange(block_size)[:, None], np.arange(page.token_bytes)[None, :])
    bounds = cu_seqlen.tolist()
    table = block_table.tolist()
    for token, request in enumerate(token_to_seq.tolist()):
        if not 0 <= request < len(table) or not bounds[request] <= token < bounds[request + 1]:
            continue
        column, row = divmod(token - bounds[request], block_size)
        block = table[request][column] if column < len(table[request]) else -1
        if not 0 <= block < blocks:
            scales[token] = 0
            continue
        record = kv_cache[block].reshape(-1).numpy()[offsets[row]]
        values[token], scales[token] = record[:HEAD_DIM], record[HEAD_DIM:]
    return GatheredBytes(torch.from_numpy(values), torch.from_numpy(scales))


def peer_cp_gather_indexer_k_quant_cache(
    kv_cache: torch.Tensor,
    k_fp8: torch.Tensor,
    k_fp8_scale: torch.Tensor,
    block_table: torch.Tensor,
    cu_seqlen: torch.Tensor,
    token_to_seq: torch.Tensor,
    *,
    layout: Literal["NORMAL", "SHUFFLE"],
) -> None:
    """Plain torch gather without a host sync in its data path; writes into k_fp8 and k_fp8_scale."""
    blocks, block_size = kv_cache.shape[:2]
    requests, width = block_table.shape
    device = kv_cache.device
    token = torch.arange(k_fp8.shape[0], device=device)
    request = token_to_seq[: len(token)].to(torch.int64)
    known = (request >= 0) & (request < requests)
    safe = request.clamp(0, requests - 1)
    position = token - cu_seqlen[safe]
    owned = known & (position >= 0) & (token < cu_seqlen[safe + 1])
    column = torch.div(position, block_size, rounding_mode="floor")
    listed = owned & (column < width)
    block = torch.where(listed, block_table[safe, column.clamp(0, width - 1)].to(torch.int64), -1)
    present = (block >= 0) & (block < blocks)
    page = indexer_layout(layout, block_size)
    offsets = page.offset(np.arange(block_size)[:, None], np.arange(page.token_bytes)[None, :])
    source = torch.from_numpy(offsets).to(device)[position[present] % block_size]
    pages = kv_cache.as_strided((blocks, page.page_bytes), (kv_cache.stride(0), 1))
    record = pages[block[present][:, None], source]
    scales = _scale_bytes(k_fp8_scale)
    scales[owned & ~present] = 0
    scales[present] = record[:, HEAD_DIM:]
    k_fp8.view(torch.uint8)[present] = record[:, :HEAD_DIM]


def _scale_bytes(scale: torch.Tensor) -> torch.Tensor:
    """[T, 4] uint8 view of fp32 [T], fp32 [T, 1] or uint8 [T, 4] scales."""
    if scale.dtype is torch.uint8:
        return scale
    return (scale.unsqueeze(-1) if scale.dim() == 1 else scale).view(torch.uint8)
