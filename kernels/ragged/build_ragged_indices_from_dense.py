"""Compact dense index rows with holes into one CSR list: counts, prefix sums, entries.

Contract: vLLM `build_ragged_indices_from_dense` (vllm-project/vllm#41812).
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
def _kept(value, num_rows, BOUNDED: tl.constexpr):
    """Whether a value is an index of one of `num_rows` rows, or of any where there is no bound."""
    kept = value >= 0
    if BOUNDED:
        kept = kept & (value < num_rows)
    return kept


@triton.jit
def _row_window(token, lengths, tokens, columns, length_stride):
    """Columns of each row that count: its length, but no column that does not exist."""
    length = tl.load(lengths + token * length_stride, mask=token < tokens, other=0)
    window = tl.minimum(length, columns)
    return tl.maximum(window, 0).to(tl.int32)


@triton.jit
def _count_dense_kernel(
    indices,
    lengths,
    counts,
    tokens,
    columns,
    num_rows,
    index_stride,
    length_stride,
    BOUNDED: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    token = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    window = _row_window(token, lengths, tokens, columns, length_stride)
    row_base = token.to(tl.int64) * index_stride
    count = tl.zeros([ROWS], tl.int32)
    for start in range(0, tl.max(window, axis=0), COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        listed = column[None, :] < window[:, None]
        value = tl.load(indices + row_base[:, None] + column[None, :], mask=listed, other=-1).to(tl.int32)
        count += tl.sum(_kept(value, num_rows, BOUNDED).to(tl.int32), axis=1)
    tl.store(counts + token, count, mask=token < tokens)


@triton.jit
def _pack_dense_to_ragged_kernel(
    indices,
    lengths,
    indptr,
    flat,
    tokens,
    columns,
    num_rows,
    index_stride,
    length_stride,
    BOUNDED: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    token = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    window = _row_window(token, lengths, tokens, columns, length_stride)
    row_base = token.to(tl.int64) * index_stride
    first = tl.load(indptr + token, mask=token < tokens, other=0)
    packed = tl.zeros([ROWS], tl.int32)
    for start in range(0, tl.max(window, axis=0), COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        listed = column[None, :] < window[:, None]
        value = tl.load(indices + row_base[:, None] + column[None, :], mask=listed, other=-1).to(tl.int32)
        kept = _kept(value, num_rows, BOUNDED)
        survivor = kept.to(tl.int32)
        rank = packed[:, None] + tl.cumsum(survivor, axis=1) - 1
        tl.store(flat + first[:, None] + rank, value, mask=kept)
        packed += tl.sum(survivor, axis=1)


def build_ragged_indices_from_dense(
    indices: torch.Tensor,
    lengths: torch.Tensor,
    flat: torch.Tensor,
    indptr: torch.Tensor,
    counts: torch.Tensor,
    *,
    num_rows: int = -1,
    variant: RaggedVariant,
) -> None:
    """Write the kept entries of all rows, in order, to `flat` and their bounds to `indptr`.

    indices: [T, W] int32 or int64, any row stride; values are narrowed to int32 first. lengths: [T] of any integer
    type and stride; columns from a row's length on are not read, and a length below 0 or beyond W is harmless.
    Kept are values >= 0 and, unless `num_rows` is negative, below `num_rows`. flat: [T * W] int32, indptr: [T + 1]
    int32, counts: [T] int32 workspace, contiguous; flat stays as it was from indptr[T] on. Nothing is read back to
    the host.
    """
    for name, tensor in (("indices", indices), ("flat", flat), ("indptr", indptr), ("counts", counts)):
        require_unit_stride(name, tensor)
    tokens = indices.shape[0]
    columns = indices.shape[1]
    grid = (triton.cdiv(tokens, variant.tile_rows),)
    tile = {"BOUNDED": num_rows >= 0, "ROWS": variant.tile_rows, "COLUMNS": variant.tile_columns}
    strides = (indices.stride(0), lengths.stride(0))
    warps = variant.num_warps
    if tokens:
        shape = (tokens, columns, num_rows)
        _count_dense_kernel[grid](indices, lengths, counts, *shape, *strides, **tile, num_warps=warps)
    build_indptr(counts, indptr, variant)
    if tokens and columns:
        shape = (tokens, columns, num_rows)
        _pack_dense_to_ragged_kernel[grid](indices, lengths, indptr, flat, *shape, *strides, **tile, num_warps=warps)
