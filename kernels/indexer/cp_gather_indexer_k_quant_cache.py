"""Gather the cached keys of a chunk of requests into contiguous values and scales: a pure byte move.

Contract: vLLM `cp_gather_indexer_k_quant_cache_triton` (vllm-project/vllm#43781).
"""

# pyright: reportArgumentType=false, reportCallIssue=false
from __future__ import annotations

import torch
import triton
import triton.language as tl

from rocassay.kernels.common.indexer_page import scale_row, value_column, value_row
from rocassay.kernels.common.integers import ceil_div
from rocassay.kernels.common.tensors import byte_rows, byte_view, indexer_cache_geometry, require_unit_stride
from rocassay.kernels.indexer.dispatch import GatherVariant


@triton.jit
def _cp_gather_indexer_k_quant_cache_kernel(
    kv_cache,
    k_fp8,
    k_fp8_scale,
    block_table,
    cu_seqlen,
    token_to_seq,
    tokens,
    requests,
    pages,
    table_width,
    cache_block_stride,
    value_stride,
    scale_stride,
    table_stride,
    BLOCK_SIZE: tl.constexpr,
    SHUFFLE: tl.constexpr,
    TOKENS: tl.constexpr,
):
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    request = tl.load(token_to_seq + token, mask=token < tokens, other=-1)
    # T may be an upper bound: beyond cu_seqlen[B] token_to_seq holds garbage.
    known = (request >= 0) & (request < requests)
    first = tl.load(cu_seqlen + request, mask=known, other=0)
    last = tl.load(cu_seqlen + request + 1, mask=known, other=0)
    owned = known & (token >= first) & (token < last)

    position = token - first
    column = position // BLOCK_SIZE
    offset = position % BLOCK_SIZE
    listed = owned & (column < table_width)
    table_row = request.to(tl.int64) * table_stride
    page = tl.load(block_table + table_row + column, mask=listed, other=-1).to(tl.int64)
    present = listed & (page >= 0) & (page < pages)

    page_base = page * cache_block_stride
    row_start = page_base + value_row(offset, SHUFFLE)
    scale_start = page_base + scale_row(offset, BLOCK_SIZE)
    dim = tl.arange(0, 128)
    source = row_start[:, None] + value_column(dim, SHUFFLE)[None, :]
    code = tl.load(kv_cache + source, mask=present[:, None], other=0)
    # The scale moves as an integer: a float register may quieten a signalling NaN.
    scale_source = (kv_cache + scale_start).to(tl.pointer_type(tl.int32))
    scale = tl.load(scale_source, mask=present, other=0)

    value_base = token.to(tl.int64) * value_stride
    tl.store(k_fp8 + value_base[:, None] + dim[None, :], code, mask=present[:, None])
    scale_base = token.to(tl.int64) * scale_stride
    scale_target = (k_fp8_scale + scale_base).to(tl.pointer_type(tl.int32))
    # A key of this request without a page gets scale 0; a row of no request stays as it was.
    tl.store(scale_target, scale, mask=owned)


def cp_gather_indexer_k_quant_cache(
    kv_cache: torch.Tensor,
    k_fp8: torch.Tensor,
    k_fp8_scale: torch.Tensor,
    block_table: torch.Tensor,
    cu_seqlen: torch.Tensor,
    token_to_seq: torch.Tensor,
    *,
    variant: GatherVariant,
) -> None:
    """Copy the key of every gathered token to row t of `k_fp8` and its fp32 scale to row t of `k_fp8_scale`.

    kv_cache: [NB, BS, 132] uint8, any page stride. k_fp8: [T, 128] uint8 or fp8. k_fp8_scale: [T, 4] uint8
    or fp32 [T]. block_table: [B, W] int32, any row stride. cu_seqlen: [B+1] int32. token_to_seq: [T] int32.
    Rows that belong to no request stay untouched; a key whose page is missing (column >= W or a page
    outside [0, NB)) gets scale 0.0, keeps its stale value bytes and causes no read of the cache.
    """
    for name, tensor in (("k_fp8", k_fp8), ("block_table", block_table), ("token_to_seq", token_to_seq)):
        require_unit_stride(name, tensor)
    pages, block_size, block_stride = indexer_cache_geometry(kv_cache)
    values, scales = byte_view(k_fp8), byte_rows(k_fp8_scale)
    tokens = values.shape[0]
    if tokens == 0:
        return
    _cp_gather_indexer_k_quant_cache_kernel[(ceil_div(tokens, variant.tokens_per_program),)](
        kv_cache,
        values,
        scales,
        block_table,
        cu_seqlen,
        token_to_seq,
        tokens,
        block_table.shape[0],
        pages,
        block_table.shape[1],
        block_stride,
        values.stride(0),
        scales.stride(0),
        block_table.stride(0),
        BLOCK_SIZE=block_size,
        SHUFFLE=variant.layout == "SHUFFLE",
        TOKENS=variant.tokens_per_program,
        num_warps=variant.num_warps,
    )
