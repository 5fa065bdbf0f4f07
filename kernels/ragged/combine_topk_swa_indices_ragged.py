"""List the workspace rows that the tokens of a prefill chunk read as one CSR list without holes.

Contract: `combine_topk_swa_indices_ragged` (vllm-project/vllm#41812): what `build_ragged_indices_from_dense` makes
of the rows of `combine_topk_swa_indices`, without the dense rows in between.
"""

# pyright: reportArgumentType=false, reportCallIssue=false
from __future__ import annotations

import torch
import triton
import triton.language as tl

from rocassay.kernels.common.tensors import require_unit_stride
from rocassay.kernels.ragged.chunk import REQUEST_TILE
from rocassay.kernels.ragged.combine_topk_swa_indices import key_at, keys_of_tokens
from rocassay.kernels.ragged.indptr import build_indptr
from rocassay.kernels.ragged.variants import RaggedVariant


@triton.jit
def _combined_lens_kernel(
    topk_indices,
    query_start_loc,
    seq_lens,
    gather_lens,
    image_left,
    image_right,
    counts,
    tokens,
    requests,
    topk_columns,
    window_size,
    topk,
    compressed_rows,
    widest_window,
    topk_stride,
    start_stride,
    seq_stride,
    gather_stride,
    RATIO: tl.constexpr,
    IMAGES: tl.constexpr,
    REQUESTS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    token = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    inside = token < tokens
    request, chosen, _first_raw, length = keys_of_tokens(
        token,
        inside,
        query_start_loc,
        seq_lens,
        gather_lens,
        image_left,
        image_right,
        requests,
        window_size,
        topk,
        start_stride,
        seq_stride,
        gather_stride,
        RATIO,
        IMAGES,
        REQUESTS,
    )
    row_base = token.to(tl.int64) * topk_stride
    count = tl.minimum(length, widest_window)
    nothing = request * 0
    for start in range(0, tl.max(chosen, axis=0), COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        # Where compressed tokens stand counts, not which rows they are.
        key = key_at(
            column,
            topk_indices,
            row_base,
            inside,
            chosen,
            nothing,
            nothing,
            nothing,
            compressed_rows,
            topk_columns,
        )
        count += tl.sum((key >= 0).to(tl.int32), axis=1)
    tl.store(counts + token, count, mask=inside)


@triton.jit
def _combine_topk_swa_indices_ragged_kernel(
    topk_indices,
    query_start_loc,
    seq_lens,
    gather_lens,
    image_left,
    image_right,
    indptr,
    ragged,
    tokens,
    requests,
    topk_columns,
    window_size,
    topk,
    rows_per_request,
    compressed_rows,
    widest_window,
    topk_stride,
    start_stride,
    seq_stride,
    gather_stride,
    RATIO: tl.constexpr,
    IMAGES: tl.constexpr,
    REQUESTS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    token = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    inside = token < tokens
    request, chosen, first_raw, length = keys_of_tokens(
        token,
        inside,
        query_start_loc,
        seq_lens,
        gather_lens,
        image_left,
        image_right,
        requests,
        window_size,
        topk,
        start_stride,
        seq_stride,
        gather_stride,
        RATIO,
        IMAGES,
        REQUESTS,
    )
    base = request * rows_per_request
    first_key = base + compressed_rows + first_raw
    listed_keys = tl.minimum(length, widest_window)
    row_base = token.to(tl.int64) * topk_stride
    first = tl.load(indptr + token, mask=inside, other=0)
    packed = tl.zeros([ROWS], tl.int32)
    for start in range(0, tl.max(chosen + listed_keys, axis=0), COLUMNS):
        column = start + tl.arange(0, COLUMNS)
        key = key_at(
            column,
            topk_indices,
            row_base,
            inside,
            chosen,
            base,
            first_key,
            listed_keys,
            compressed_rows,
            topk_columns,
        )
        kept = inside[:, None] & (key >= 0)
        survivor = kept.to(tl.int32)
        rank = packed[:, None] + tl.cumsum(survivor, axis=1) - 1
        tl.store(ragged + first[:, None] + rank, key, mask=kept)
        packed += tl.sum(survivor, axis=1)


def combine_topk_swa_indices_ragged(
    topk_indices: torch.Tensor,
    query_start_loc: torch.Tensor,
    seq_lens: torch.Tensor,
    gather_lens: torch.Tensor,
    ragged: torch.Tensor,
    indptr: torch.Tensor,
    counts: torch.Tensor,
    *,
    window_size: int,
    compress_ratio: int,
    topk: int,
    M: int,
    N: int,
    max_image_tokens: int = 0,
    image_left: torch.Tensor | None = None,
    image_right: torch.Tensor | None = None,
    variant: RaggedVariant,
) -> None:
    """Write the workspace rows of every token of a chunk to `ragged` and their bounds to `indptr`.

    Inputs as in `combine_topk_swa_indices`. ragged: int32, at least T * (topk + window_size + max_image_tokens),
    indptr: [T + 1] int32, counts: [T] int32 workspace, contiguous; ragged stays as it was from indptr[T] on.
    Nothing is read back to the host.
    """
    for name, tensor in (("topk_indices", topk_indices), ("ragged", ragged), ("counts", counts)):
        require_unit_stride(name, tensor)
    tokens = topk_indices.shape[0]
    widest_window = window_size + max_image_tokens
    grid = (triton.cdiv(tokens, variant.tile_rows),)
    chunk = (topk_indices, query_start_loc, seq_lens, gather_lens, image_left, image_right)
    shape = (tokens, seq_lens.shape[0], topk_indices.shape[1], window_size, topk)
    strides = tuple(tensor.stride(0) for tensor in chunk[:4])
    tile = {
        "RATIO": max(compress_ratio, 1),
        "IMAGES": image_left is not None,
        "REQUESTS": REQUEST_TILE,
        "ROWS": variant.tile_rows,
        "COLUMNS": variant.tile_columns,
        "num_warps": variant.num_warps,
    }
    if tokens:
        _combined_lens_kernel[grid](*chunk, counts, *shape, N, widest_window, *strides, **tile)
    build_indptr(counts, indptr, variant)
    if tokens:
        rows = (M, N, widest_window)
        _combine_topk_swa_indices_ragged_kernel[grid](*chunk, indptr, ragged, *shape, *rows, *strides, **tile)
