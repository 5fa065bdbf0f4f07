"""Sparse attention over two paged fp8_ds_mla caches in float64, from the stored bytes: decode.

Contract: vLLM `rocm_sparse_attn_decode` (vllm-project/vllm#41812); the 584-byte page of vLLM deepseek_v4
cache_utils.py; e4m3fn in the compressed cache everywhere (vllm-project/vllm#42893, #45681).
"""
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import numpy as np
import torch

from rocassay.harness.fp8 import decode_tensor, format_of
from rocassay.harness.layouts import planar_584
from rocassay.references.attention.softmax import Attended, attend_rows, peer_attend

HEAD_DIM = 512
"""448 NoPE dims in FP8 and 64 RoPE dims in bf16."""

NOPE = 448
GROUP = 64
"""NoPE dims that share one ue8m0 scale."""

EXTRA_FP8 = "e4m3fn"
"""Flavour of the compressed cache on every architecture."""


def sparse_attn_decode(
    q: torch.Tensor,
    swa_k_cache: torch.Tensor,
    swa_ragged_indices: torch.Tensor,
    swa_ragged_indptr: torch.Tensor,
    kv_cache: torch.Tensor | None = None,
    topk_ragged_indices: torch.Tensor | None = None,
    topk_ragged_indptr: torch.Tensor | None = None,
    attn_sink: torch.Tensor | None = None,
    *,
    scale: float,
    fp8: str,
    dtype: torch.dtype,
) -> Attended:
    """Golden of the decode; CPU tensors, none of which changes.

    q: bf16 [B, H, 512]. Caches: uint8 [NB, BS, 584], each with its own NB, BS and flavour (`fp8` for the main
    cache). A query attends to the multiset union of its two lists of slots; slots outside their own cache are
    skipped. NaN elements of a listed row count as 0. Slots that nobody lists are not read.
    """
    rows: list[tuple[torch.Tensor, torch.Tensor]] = []
    for query in range(len(q)):
        slots = _listed(swa_k_cache, swa_ragged_indices, swa_ragged_indptr, query)
        index, count = torch.unique(slots, return_counts=True)
        parts = [(dequantised(swa_k_cache, index, fp8), count)]
        if kv_cache is not None and topk_ragged_indices is not None and topk_ragged_indptr is not None:
            slots = _listed(kv_cache, topk_ragged_indices, topk_ragged_indptr, query)
            index, count = torch.unique(slots, return_counts=True)
            parts.append((dequantised(kv_cache, index, EXTRA_FP8), count))
        keys = torch.cat([keys for keys, _ in parts]).double()
        rows.append((keys, torch.cat([count for _, count in parts]).double()))
    return attend_rows(q.double(), rows, attn_sink, scale=scale, width=HEAD_DIM, dtype=dtype)


def peer_sparse_attn_decode(
    q: torch.Tensor,
    swa_k_cache: torch.Tensor,
    swa_ragged_indices: torch.Tensor,
    swa_ragged_indptr: torch.Tensor,
    output: torch.Tensor,
    kv_cache: torch.Tensor | None = None,
    topk_ragged_indices: torch.Tensor | None = None,
    topk_ragged_indptr: torch.Tensor | None = None,
    attn_sink: torch.Tensor | None = None,
    *,
    scale: float,
    fp8: str,
) -> None:
    """Plain torch with the golden's rounding points, into `output` [B, H, 512]; moves the lists to the host."""
    for query in range(len(q)):
        slots = _listed(swa_k_cache, swa_ragged_indices, swa_ragged_indptr, query)
        keys = dequantised(swa_k_cache, slots, fp8)
        if kv_cache is not None and topk_ragged_indices is not None and topk_ragged_indptr is not None:
            slots = _listed(kv_cache, topk_ragged_indices, topk_ragged_indptr, query)
            keys = torch.cat([keys, dequantised(kv_cache, slots, EXTRA_FP8)])
        output[query] = peer_attend(q[query], keys, attn_sink, scale=scale, width=HEAD_DIM, dtype=output.dtype)


def dequantised(cache: torch.Tensor, slots: torch.Tensor, fp8: str) -> torch.Tensor:
    """bf16 [N, 512] rows of int64 slots: code times 2^(scale byte - 127), then the stored RoPE; NaN becomes 0.

    The product is exact in bf16 while its exponent is in range.
    """
    pages, block_size = cache.shape[:2]
    layout = planar_584(block_size)
    offsets = layout.offset(np.arange(block_size)[:, None], np.arange(layout.token_bytes)[None, :])
    in_page = torch.from_numpy(offsets).to(cache.device)[slots % block_size]
    flat = cache.as_strided((pages, layout.page_bytes), (cache.stride(0), 1))
    record = flat[(slots // block_size)[:, None], in_page]
    scales = torch.exp2(record[:, 576:583].double() - 127).repeat_interleave(GROUP, dim=1)
    nope = (decode_tensor(record[:, :NOPE].contiguous(), format_of(fp8)) * scales).to(torch.bfloat16)
    rope = record[:, NOPE:576].contiguous().view(torch.bfloat16)
    keys = torch.cat([nope, rope], dim=1)
    return torch.where(keys.isnan(), torch.zeros_like(keys), keys)


def _listed(cache: torch.Tensor, indices: torch.Tensor, indptr: torch.Tensor, query: int) -> torch.Tensor:
    """Valid slots of a query in one cache, int64, duplicates included."""
    begin, end = indptr[query : query + 2].tolist()
    listed = indices[begin:end].long()
    return listed[(listed >= 0) & (listed < cache.shape[0] * cache.shape[1])]
