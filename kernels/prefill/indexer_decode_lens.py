"""Visible lengths of decode rows, and the block table by row where every token becomes a row of its own.

Contract: vLLM's indexer metadata builder (vLLM v1/attention/backends/mla/indexer.py). Lengths are compressed after the
row's offset: floor((S - after) / ratio), which is not floor(S / ratio) - after.
"""

# pyright: reportArgumentType=false, reportCallIssue=false
from __future__ import annotations

import torch
import triton
import triton.language as tl

from rocassay.harness.layouts import LayoutError
from rocassay.kernels.common.integers import ceil_div, power_of_two_from
from rocassay.kernels.common.tensors import require_unit_stride
from rocassay.kernels.prefill.dispatch import DecodeLensVariant
from rocassay.kernels.prefill.request_search import bisection_steps, owner_of


@triton.jit
def _native_decode_lens_kernel(
    seq_lens,
    lens,
    requests,
    lens_stride,
    NEXT_N: tl.constexpr,
    NEXT_PADDED: tl.constexpr,
    RATIO: tl.constexpr,
    REQUESTS: tl.constexpr,
):
    request = tl.program_id(0) * REQUESTS + tl.arange(0, REQUESTS)
    step = tl.arange(0, NEXT_PADDED)
    total = tl.load(seq_lens + request, mask=request < requests, other=0)
    after = NEXT_N - 1 - step
    row_length = tl.maximum(total[:, None] - after[None, :], 0) // RATIO
    target = request.to(tl.int64)[:, None] * lens_stride + step[None, :]
    tl.store(lens + target, row_length, mask=(request < requests)[:, None] & (step < NEXT_N)[None, :])


@triton.jit
def _flattened_decode_lens_kernel(
    seq_lens,
    query_start_loc,
    block_table,
    lens,
    row_table,
    requests,
    rows,
    width,
    table_stride,
    row_table_stride,
    RATIO: tl.constexpr,
    STEPS: tl.constexpr,
    ROWS: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    used = tl.load(query_start_loc + requests)
    real = row < tl.minimum(used, rows)
    request = owner_of(query_start_loc, row, requests, real, STEPS)
    if tl.program_id(1) == 0:
        end = tl.load(query_start_loc + request + 1, mask=real, other=0)
        total = tl.load(seq_lens + request, mask=real, other=0)
        later = end - 1 - row
        length = tl.maximum(total - later, 0) // RATIO
        # The buffer outlives the step: a graph replays with more rows than there are tokens.
        cleared = row < rows
        tl.store(lens + row, tl.where(real, length, 0), mask=cleared)

    column = tl.program_id(1) * COLUMNS + tl.arange(0, COLUMNS)
    listed = real[:, None] & (column < width)[None, :]
    source = request.to(tl.int64)[:, None] * table_stride + column[None, :]
    page = tl.load(block_table + source, mask=listed, other=0)
    target = row.to(tl.int64)[:, None] * row_table_stride + column[None, :]
    # A padding row reads at most its first page; it must be one that exists. A table without columns has none.
    padding = ((row >= used) & (row < rows))[:, None] & (column < tl.minimum(width, 1))[None, :]
    tl.store(row_table + target, page, mask=listed | padding)


def indexer_decode_lens(
    seq_lens: torch.Tensor,
    lens: torch.Tensor,
    *,
    compress_ratio: int,
    variant: DecodeLensVariant,
    query_start_loc: torch.Tensor | None = None,
    block_table: torch.Tensor | None = None,
    row_table: torch.Tensor | None = None,
) -> None:
    """Compressed visible length of every decode row, and with the path "flattened" its block-table row.

    seq_lens: [B] int32, total lengths S. compress_ratio: keys that one cached key stands for.
    "native": lens [B, next_n] int32, any row stride; lens[b, j] = max(0, S - next_n + 1 + j) // ratio, where next_n is
    the most query tokens of any request in the step. "flattened": lens [R] int32, row_table [R, W] int32 of any row
    stride, query_start_loc [B + 1] int32, block_table [B, W] int32; token i of d of request b is one row of length
    (S - d + i + 1) // ratio with b's block-table row. Rows beyond query_start_loc[B] get length 0 and page 0 in the
    first column, if there is one; their other columns keep what they held. Raises LayoutError for other shapes.
    """
    requests = seq_lens.shape[0]
    if variant.path == "native":
        _native(seq_lens, lens, compress_ratio, variant)
        return
    if query_start_loc is None or block_table is None or row_table is None:
        raise LayoutError('the path "flattened" has no query_start_loc, block_table or row_table; pass all three')
    rows, width = row_table.shape
    if lens.shape != (rows,) or block_table.shape != (requests, width) or query_start_loc.shape != (requests + 1,):
        raise LayoutError(
            f"lens {tuple(lens.shape)}, block_table {tuple(block_table.shape)} and query_start_loc "
            f"{tuple(query_start_loc.shape)} do not fit {requests} requests and {rows} rows of {width} pages"
        )
    for name, tensor in (("lens", lens), ("block_table", block_table), ("row_table", row_table)):
        require_unit_stride(name, tensor)
    if rows == 0 or requests == 0:
        return
    tile = variant.rows
    grid = (ceil_div(rows, tile.rows_per_program), ceil_div(max(1, width), tile.columns_per_program))
    _flattened_decode_lens_kernel[grid](
        seq_lens,
        query_start_loc,
        block_table,
        lens,
        row_table,
        requests,
        rows,
        width,
        block_table.stride(0),
        row_table.stride(0),
        RATIO=compress_ratio,
        STEPS=bisection_steps(requests),
        ROWS=tile.rows_per_program,
        COLUMNS=tile.columns_per_program,
        num_warps=tile.num_warps,
    )


def _native(seq_lens: torch.Tensor, lens: torch.Tensor, compress_ratio: int, variant: DecodeLensVariant) -> None:
    requests, tile = seq_lens.shape[0], variant.rows
    if lens.dim() != 2 or lens.shape[0] != requests:
        raise LayoutError(f"lens is {tuple(lens.shape)}; pass [{requests}, next_n]")
    require_unit_stride("lens", lens)
    if requests == 0 or lens.shape[1] == 0:
        return
    _native_decode_lens_kernel[(ceil_div(requests, tile.rows_per_program),)](
        seq_lens,
        lens,
        requests,
        lens.stride(0),
        NEXT_N=lens.shape[1],
        NEXT_PADDED=power_of_two_from(lens.shape[1]),
        RATIO=compress_ratio,
        REQUESTS=tile.rows_per_program,
        num_warps=tile.num_warps,
    )
