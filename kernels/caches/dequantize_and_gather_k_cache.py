"""Gather V4 keys of several requests from the planar 584-byte page cache into bf16 rows.

Contract: vLLM deepseek_v4 `dequantize_and_gather_k_cache` (vllm-project/vllm#41812), with the block table's own
row stride and pages outside the cache skipped.
"""

# pyright: reportArgumentType=false, reportCallIssue=false
from __future__ import annotations

import torch
import triton
import triton.language as tl

from rocassay.kernels.caches.dispatch import PlanarGatherVariant
from rocassay.kernels.caches.tensors import planar_geometry, require_rows
from rocassay.kernels.common.fp8_codec import decode_fp8
from rocassay.kernels.common.integers import ceil_div
from rocassay.kernels.common.tensors import INT32_BYTES, require_unit_stride


@triton.jit
def _dequantize_and_gather_k_cache_kernel(
    out,
    k_cache,
    seq_lens,
    gather_lens,
    block_table,
    rows,
    offset,
    pages,
    table_width,
    out_request_stride,
    out_row_stride,
    cache_block_stride,
    table_stride,
    TAIL: tl.constexpr,
    WIDE: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    DATA_PITCH: tl.constexpr,
    SCALE_BASE: tl.constexpr,
    SCALE_PITCH: tl.constexpr,
    FORMAT: tl.constexpr,
    NATIVE: tl.constexpr,
    TOKENS: tl.constexpr,
):
    request = tl.program_id(1).to(tl.int64)
    seq_len = tl.load(seq_lens + request)
    gather_len = tl.load(gather_lens + request) if TAIL else seq_len
    index = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    position = seq_len - gather_len + index
    column = position // BLOCK_SIZE
    gathered = (index < gather_len) & (index + offset < rows) & (position >= 0) & (column < table_width)

    table_row = block_table + request * table_stride
    page = tl.load(table_row + column, mask=gathered, other=-1)
    page = page.to(tl.int64) if WIDE else page
    present = gathered & (page >= 0) & (page < pages)
    page_base = page * cache_block_stride
    row = (position % BLOCK_SIZE).to(tl.int64)
    data_start = k_cache + page_base + row * DATA_PITCH
    scale_start = k_cache + page_base + SCALE_BASE + row * SCALE_PITCH

    target = out + request * out_request_stride + (index + offset).to(tl.int64) * out_row_stride
    # RoPE moves as integers: a float register may quieten a signalling NaN.
    lane = tl.arange(0, 64)
    rope_source = (data_start + 448).to(tl.pointer_type(tl.int16))
    rope = tl.load(rope_source[:, None] + lane[None, :], mask=present[:, None], other=0)
    rope_target = (target + 448).to(tl.pointer_type(tl.int16))
    tl.store(rope_target[:, None] + lane[None, :], rope, mask=present[:, None])

    group = tl.arange(0, 8)
    dim = group[:, None] * 64 + tl.arange(0, 64)[None, :]
    quantised = present[:, None] & (group < 7)[None, :]
    code = tl.load(data_start[:, None, None] + dim[None, :, :], mask=quantised[:, :, None], other=0)
    exponent = tl.load(scale_start[:, None] + group[None, :], mask=quantised, other=0).to(tl.int32)
    # Byte 0 stands for 2^-127, which fp32 holds only as a subnormal; byte 255 becomes infinity.
    bits = tl.where(exponent == 0, 0x00400000, exponent << 23)
    scale = bits.to(tl.float32, bitcast=True)
    key = decode_fp8(code, FORMAT, NATIVE).to(tl.float32) * scale[:, :, None]
    tl.store(target[:, None, None] + dim[None, :, :], key.to(tl.bfloat16), mask=quantised[:, :, None])


def dequantize_and_gather_k_cache(
    out: torch.Tensor,
    k_cache: torch.Tensor,
    seq_lens: torch.Tensor,
    block_table: torch.Tensor,
    gather_lens: torch.Tensor | None = None,
    *,
    offset: int,
    variant: PlanarGatherVariant,
) -> None:
    """Copy the last `gather_lens[b]` of `seq_lens[b]` keys of every request to rows `offset`... of `out[b]`.

    out: bf16 [B, M, 512], any strides above the last; other rows stay untouched. k_cache: uint8 [NB, BS, 584],
    any even page stride; offsets take 64 bits where the view reaches beyond 2^31 bytes. seq_lens, gather_lens:
    int32 [B]; without gather_lens all keys. block_table: int32 [B, W], any row stride. A key is its code times
    2^(scale byte - 127), exact in bf16 while in range; RoPE is copied bit by bit. Raises LayoutError for strides
    that could not be honoured without a copy.
    """
    require_rows("out", out, 512)
    require_unit_stride("block_table", block_table)
    pages, block_size, block_stride = planar_geometry(k_cache)
    requests, rows = out.shape[0], out.shape[1]
    if requests == 0 or rows <= offset:
        return
    grid = (ceil_div(rows - offset, variant.tokens_per_program), requests)
    _dequantize_and_gather_k_cache_kernel[grid](
        out,
        k_cache,
        seq_lens,
        seq_lens if gather_lens is None else gather_lens,
        block_table,
        rows,
        offset,
        pages,
        block_table.shape[1],
        out.stride(0),
        out.stride(1),
        block_stride,
        block_table.stride(0),
        TAIL=gather_lens is not None,
        WIDE=variant.reach(k_cache) > INT32_BYTES,
        BLOCK_SIZE=block_size,
        DATA_PITCH=variant.page.data_pitch,
        SCALE_BASE=variant.page.scale_base,
        SCALE_PITCH=variant.page.scale_pitch,
        FORMAT=variant.fp8,
        NATIVE=variant.native,
        TOKENS=variant.tokens_per_program,
        num_warps=variant.num_warps,
    )
