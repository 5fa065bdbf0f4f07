"""Page metadata of a dense MLA decode: bounds, pages and last page lengths from block table and lengths.

Contract: `kv_indptr`, `kv_indices` and `kv_last_page_lens` as `mla_decode_fwd` takes them (vLLM
v1/attention/backends/mla/rocm_aiter_mla.py, ROCm/aiter aiter/mla.py).
"""

# pyright: reportArgumentType=false, reportCallIssue=false
from __future__ import annotations

import torch
import triton
import triton.language as tl

from rocassay.harness.layouts import LayoutError
from rocassay.kernels.common.tensors import require_unit_stride
from rocassay.kernels.ragged.indptr import build_indptr
from rocassay.kernels.ragged.variants import RaggedVariant

_MOST_CHUNKS = 16
"""Programs that share the pages of one request."""


@triton.jit
def _page_counts_kernel(
    seq_lens,
    counts,
    kv_last_page_lens,
    requests,
    rows,
    length_stride,
    PAGE: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    ROWS: tl.constexpr,
):
    row = tl.program_id(0) * ROWS + tl.arange(0, ROWS)
    length = tl.load(seq_lens + row * length_stride, mask=row < requests, other=0)
    entries = tl.cdiv(length, PAGE)
    tl.store(counts + row, entries, mask=row < rows)
    # No page at all has a last one of one token, too: consumers compute lengths from it.
    last = (tl.maximum(length, 1) - 1) % PAGE + 1
    tl.store(kv_last_page_lens + row, last, mask=row < rows)


@triton.jit
def _list_pages_kernel(
    block_table,
    kv_indptr,
    kv_indices,
    table_width,
    table_stride,
    PAGE: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    COLUMNS: tl.constexpr,
):
    request = tl.program_id(0).to(tl.int64)
    first = tl.load(kv_indptr + request)
    entries = tl.load(kv_indptr + request + 1) - first
    table_row = block_table + request * table_stride
    PAGES_A_BLOCK: tl.constexpr = BLOCK_SIZE // PAGE
    for start in range(tl.program_id(1) * COLUMNS, entries, tl.num_programs(1) * COLUMNS):
        entry = start + tl.arange(0, COLUMNS)
        column = entry // PAGES_A_BLOCK
        listed = (entry < entries) & (column < table_width)
        block = tl.load(table_row + column, mask=listed, other=0)
        page = block * PAGES_A_BLOCK + entry % PAGES_A_BLOCK
        tl.store(kv_indices + first + entry, page, mask=listed)


def mla_paged_kv_metadata(
    block_table: torch.Tensor,
    seq_lens: torch.Tensor,
    kv_indptr: torch.Tensor,
    kv_indices: torch.Tensor,
    kv_last_page_lens: torch.Tensor,
    counts: torch.Tensor,
    *,
    block_size: int,
    page_size: int,
    variant: RaggedVariant,
) -> None:
    """Name the kernel's pages of every request, `page_size` tokens each, out of blocks of `block_size` tokens.

    block_table: [R, W] int32, any row stride; seq_lens: [R] int32, any stride, at most W * block_size. kv_indptr:
    int32 [B + 1], kv_last_page_lens and the workspace counts: int32 [B], B >= R; rows from R on are those that a graph
    was captured for and nobody uses: no page, a last page length of 1. kv_indices: int32, room for every page; it
    stays as it was from kv_indptr[B] on. page_size divides block_size: with page_size 1 entries are token slots.
    A request's tokens are (its pages - 1) * page_size + its last page length. Nothing is read back to the host.
    Raises LayoutError for sizes that do not divide and for buffers that do not fit.
    """
    requests, rows = seq_lens.shape[0], kv_last_page_lens.shape[0]
    if page_size < 1 or block_size % page_size:
        raise LayoutError(f"blocks of {block_size} tokens hold no whole number of pages of {page_size}; split them")
    if kv_indptr.shape[0] != rows + 1 or counts.shape[0] < rows or rows < requests:
        raise LayoutError(
            f"kv_indptr has {kv_indptr.shape[0]} entries, kv_last_page_lens {rows} and counts {counts.shape[0]}; "
            f"{requests} requests need B >= {requests} rows, B + 1 bounds and B counts"
        )
    outputs = (("kv_indptr", kv_indptr), ("kv_indices", kv_indices), ("kv_last_page_lens", kv_last_page_lens))
    for name, tensor in (("block_table", block_table), *outputs, ("counts", counts)):
        require_unit_stride(name, tensor)
    sizes = {"PAGE": page_size, "BLOCK_SIZE": block_size}
    if rows:
        _page_counts_kernel[(triton.cdiv(rows, variant.tile_rows),)](
            seq_lens,
            counts,
            kv_last_page_lens,
            requests,
            rows,
            seq_lens.stride(0),
            **sizes,
            ROWS=variant.tile_rows,
            num_warps=variant.num_warps,
        )
    build_indptr(counts[:rows], kv_indptr, variant)
    width = block_table.shape[1]
    chunks = min(_MOST_CHUNKS, triton.cdiv(width * (block_size // page_size), variant.tile_columns))
    if requests and chunks:
        _list_pages_kernel[(requests, chunks)](
            block_table,
            kv_indptr,
            kv_indices,
            width,
            block_table.stride(0),
            **sizes,
            COLUMNS=variant.tile_columns,
            num_warps=variant.num_warps,
        )
