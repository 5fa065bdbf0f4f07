"""List, for every token of a prefill chunk, the workspace rows it reads: chosen compressed tokens, then a window.

Contract: vLLM `combine_topk_swa_indices`, the ROCm version (vllm-project/vllm#41812).
"""

# pyright: reportArgumentType=false, reportCallIssue=false
from __future__ import annotations

import torch
import triton
import triton.language as tl

from rocassay.harness.layouts import LayoutError
from rocassay.kernels.common.tensors import require_unit_stride
from rocassay.kernels.ragged.chunk import REQUEST_TILE, request_of
from rocassay.kernels.ragged.variants import RaggedVariant


@triton.jit
def keys_of_tokens(
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
    RATIO: tl.constexpr,
    IMAGES: tl.constexpr,
    REQUESTS: tl.constexpr,
) -> tuple[tl.tensor, tl.tensor, tl.tensor, tl.tensor]:
    """Per token: request of the chunk, compressed tokens it sees, first gathered raw token it sees, and how many."""
    # query_start_loc is a slice of the whole batch's: its first element need not be 0.
    origin = tl.load(query_start_loc)
    request = request_of(token, query_start_loc, origin, requests, start_stride, REQUESTS)
    query_end = tl.load(query_start_loc + (request + 1) * start_stride) - origin
    seq_len = tl.load(seq_lens + request * seq_stride).to(tl.int32)
    gather_len = tl.load(gather_lens + request * gather_stride).to(tl.int32)
    position = seq_len - query_end.to(tl.int32) + token
    gather_start = seq_len - gather_len
    chosen = tl.minimum((position + 1) // RATIO, topk)
    reach = window_size - 1
    window_start = position - reach
    window_end = position + 1
    if IMAGES:
        left = tl.load(image_left + token, mask=inside, other=0)
        right = tl.load(image_right + token, mask=inside, other=0)
        window_start = window_start - tl.maximum(left - reach, 0)
        window_end = window_end + right
    window_start = tl.maximum(window_start, 0)
    window_start = tl.maximum(window_start, gather_start)
    window_end = tl.minimum(window_end, seq_len)
    return request, chosen, window_start - gather_start, tl.maximum(window_end - window_start, 0)


@triton.jit
def key_at(
    column, topk_indices, row_base, inside, chosen, base, first_key, listed_keys, compressed_rows, topk_columns
) -> tl.tensor:
    """Workspace row that stands at each column of each token's list; -1 in holes and behind the list."""
    rank = column[None, :] - chosen[:, None]
    # Beyond the columns that exist, vLLM reads the first one again.
    source = tl.where(column < topk_columns, column, 0)
    compressed = inside[:, None] & (rank < 0)
    local = tl.load(topk_indices + row_base[:, None] + source[None, :], mask=compressed, other=-1)
    present = (local >= 0) & (local < compressed_rows)
    key = tl.where(present, base[:, None] + local.to(tl.int32), -1)
    windowed = (rank >= 0) & (rank < listed_keys[:, None])
    return tl.where(windowed, first_key[:, None] + rank, key)


@triton.jit
def _combine_topk_swa_indices_kernel(
    topk_indices,
    query_start_loc,
    seq_lens,
    gather_lens,
    image_left,
    image_right,
    combined,
    lens,
    tokens,
    requests,
    columns,
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
    combined_stride,
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
    tl.store(lens + token, chosen + length, mask=inside)
    base = request * rows_per_request
    first_key = base + compressed_rows + first_raw
    listed_keys = tl.minimum(length, widest_window)
    row_base = token.to(tl.int64) * topk_stride
    out_base = token.to(tl.int64) * combined_stride
    for start in range(0, columns, COLUMNS):
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
        target = combined + out_base[:, None] + column[None, :]
        tl.store(target, key, mask=inside[:, None] & (column < columns)[None, :])


def combine_topk_swa_indices(
    topk_indices: torch.Tensor,
    query_start_loc: torch.Tensor,
    seq_lens: torch.Tensor,
    gather_lens: torch.Tensor,
    combined: torch.Tensor,
    lens: torch.Tensor,
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
    """Write the workspace rows of every token of a chunk to `combined`, -1 behind them, and their counts to `lens`.

    topk_indices: [T, Kw] int32 or int64 local positions, any row stride. query_start_loc: [B + 1], the chunk's
    slice of the batch's, not rebased; seq_lens and gather_lens: [B]; int32 or int64, any stride. The chunk must be
    whole: T = query_start_loc[B] - query_start_loc[0]. Request b *of the chunk* owns workspace rows [M b, M (b + 1)):
    N compressed tokens, then its last gather_lens[b] raw ones. combined: [T, A] int32, any row stride,
    A >= topk + window_size + max_image_tokens. lens: [T] int32, contiguous. image_left and image_right: [T] int32,
    contiguous, how far an image reaches to either side of its token; both or neither.

    A position below 0 or from N on leaves a hole (-1) that counts in `lens`; columns from Kw on repeat column 0.
    """
    for name, tensor in (("topk_indices", topk_indices), ("combined", combined), ("lens", lens)):
        require_unit_stride(name, tensor)
    widest_window = window_size + max_image_tokens
    tokens, columns = combined.shape
    if columns < topk + widest_window:
        raise LayoutError(
            f"combined has {columns} columns; {topk} compressed tokens and a window of {widest_window} need "
            f"{topk + widest_window}, rounded up to a multiple of 128"
        )
    if not tokens:
        return
    _combine_topk_swa_indices_kernel[(triton.cdiv(tokens, variant.tile_rows),)](
        topk_indices,
        query_start_loc,
        seq_lens,
        gather_lens,
        image_left,
        image_right,
        combined,
        lens,
        tokens,
        seq_lens.shape[0],
        columns,
        topk_indices.shape[1],
        window_size,
        topk,
        M,
        N,
        widest_window,
        topk_indices.stride(0),
        query_start_loc.stride(0),
        seq_lens.stride(0),
        gather_lens.stride(0),
        combined.stride(0),
        RATIO=max(compress_ratio, 1),
        IMAGES=image_left is not None,
        REQUESTS=REQUEST_TILE,
        ROWS=variant.tile_rows,
        COLUMNS=variant.tile_columns,
        num_warps=variant.num_warps,
    )
