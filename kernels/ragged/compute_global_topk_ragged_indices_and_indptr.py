"""Turn per-token top-k positions into one CSR list of cache slots: lengths, prefix sums, entries.

Contract: vLLM `compute_global_topk_ragged_indices_and_indptr` (vllm-project/vllm#41812).
"""

# pyright: reportArgumentType=false, reportCallIssue=false
from __future__ import annotations

import torch
import triton
import triton.language as tl

from rocassay.kernels.common.tensors import require_unit_stride
from rocassay.kernels.ragged.indptr import build_indptr
from rocassay.kernels.ragged.variants import RaggedVariant


@triton.jit
def _compute_topk_lens_kernel(
    topk_indices,
    is_valid_token,
    lens,
    tokens,
    columns,
    positions,
    topk_stride,
    valid_stride,
    STRICT: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    token = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    inside = token < tokens
    flag = tl.load(is_valid_token + token * valid_stride, mask=inside, other=0)
    valid = flag != 0
    row_base = token.to(tl.int64) * topk_stride
    count = tl.zeros([ROWS], tl.int32)
    stop = columns
    for start in range(0, stop, COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        listed = valid[:, None] & (column < columns)[None, :]
        local = tl.load(topk_indices + row_base[:, None] + column[None, :], mask=listed, other=-1)
        chosen = local >= 0
        if STRICT:
            chosen = chosen & (local < positions)
        count += tl.sum(chosen.to(tl.int32), axis=1)
    tl.store(lens + token, count, mask=inside)


@triton.jit
def _pack_global_topk_ragged_kernel(
    topk_indices,
    token_to_req_indices,
    block_table,
    indptr,
    lens,
    ragged,
    tokens,
    columns,
    positions,
    topk_stride,
    request_stride,
    table_stride,
    BLOCK_SIZE: tl.constexpr,
    STRICT: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    token = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    inside = token < tokens
    length = tl.load(lens + token, mask=inside, other=0)
    first = tl.load(indptr + token, mask=inside, other=0)
    # An empty row may belong to a padding token, whose request is anything.
    owned = length > 0
    request = tl.load(token_to_req_indices + token * request_stride, mask=owned, other=0)
    table_base = request.to(tl.int64) * table_stride
    row_base = token.to(tl.int64) * topk_stride
    packed = tl.zeros([ROWS], tl.int32)
    if STRICT:
        window = tl.where(owned, columns, 0)
    else:
        window = tl.minimum(length, columns)
    for start in range(0, tl.max(window, axis=0), COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        listed = column[None, :] < window[:, None]
        local = tl.load(topk_indices + row_base[:, None] + column[None, :], mask=listed, other=-1)
        present = (local >= 0) & (local < positions)
        table_column = local // BLOCK_SIZE
        page = tl.load(block_table + table_base[:, None] + table_column, mask=present, other=0)
        slot = tl.where(present, page * BLOCK_SIZE + local % BLOCK_SIZE, -1)
        if STRICT:
            survivor = present.to(tl.int32)
            rank = packed[:, None] + tl.cumsum(survivor, axis=1) - 1
            packed += tl.sum(survivor, axis=1)
            listed = present
        else:
            rank = tl.broadcast_to(column[None, :], [ROWS, COLUMNS])
        tl.store(ragged + first[:, None] + rank, slot.to(tl.int32), mask=listed)


def compute_global_topk_ragged_indices_and_indptr(
    topk_indices: torch.Tensor,
    token_to_req_indices: torch.Tensor,
    block_table: torch.Tensor,
    is_valid_token: torch.Tensor,
    ragged: torch.Tensor,
    indptr: torch.Tensor,
    lens: torch.Tensor,
    *,
    block_size: int,
    variant: RaggedVariant,
) -> None:
    """Write the slots of every token's top-k positions to `ragged`, their bounds to `indptr`, their counts to `lens`.

    topk_indices: [T, K] int32 or int64, any row stride, negative = empty. token_to_req_indices: [>= T] int32 or
    int64 and is_valid_token: [>= T] bool, any stride; what they hold beyond T is not read, nor is the request of a
    token without positions. block_table: [B, W] int32, any row stride. block_size: rows of a page of the
    *compressed* cache. ragged: [T * K] int32, indptr: [T + 1] int32, lens: [T] int32, contiguous; ragged stays as
    it was from indptr[T] on.

    Rows must hold their valid positions first, as top-k writes them. Otherwise vLLM's rule applies unless
    `variant.strict`: a row keeps as many leading columns as it has positions >= 0, holes included as -1. Strict
    rows keep every position within the block table and nothing else. Positions beyond the block table are read
    as holes; a request of a valid token outside [0, B) is undefined. Nothing is read back to the host.
    """
    for name, tensor in (("topk_indices", topk_indices), ("block_table", block_table), ("ragged", ragged)):
        require_unit_stride(name, tensor)
    tokens = topk_indices.shape[0]
    columns = topk_indices.shape[1]
    positions = block_table.shape[1] * block_size
    grid = (triton.cdiv(tokens, variant.tile_rows),)
    tile = {"STRICT": variant.strict, "ROWS": variant.tile_rows, "COLUMNS": variant.tile_columns}
    if tokens:
        _compute_topk_lens_kernel[grid](
            topk_indices,
            is_valid_token.view(torch.uint8),
            lens,
            tokens,
            columns,
            positions,
            topk_indices.stride(0),
            is_valid_token.stride(0),
            **tile,
            num_warps=variant.num_warps,
        )
    build_indptr(lens, indptr, variant)
    if tokens and columns:
        _pack_global_topk_ragged_kernel[grid](
            topk_indices,
            token_to_req_indices,
            block_table,
            indptr,
            lens,
            ragged,
            tokens,
            columns,
            positions,
            topk_indices.stride(0),
            token_to_req_indices.stride(0),
            block_table.stride(0),
            BLOCK_SIZE=block_size,
            **tile,
            num_warps=variant.num_warps,
        )
