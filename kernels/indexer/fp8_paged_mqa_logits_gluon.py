"""The single scoring kernel for CDNA 3 and 4 in Gluon: keys go from the pages into the matrix operands' registers.

A SHUFFLE page stores 16 keys by 16 bytes as 256 consecutive bytes. A matrix operand of 16 keys whose lanes hold 16
consecutive bytes is that very order: a wave reads 1024 consecutive bytes, and nothing passes through LDS.
Contract: ROCm/aiter `deepgemm_fp8_paged_mqa_logits` with Preshuffle (vllm-project/vllm#42062), without its overruns:
no column at or beyond a row's limit is written, and every page and row has a 64-bit base (ROCm/aiter#4774, #4244).
This module needs a Triton whose Gluon has CDNA 4's scaled products: import it only where `variant.kernel` says so.
"""

# pyright: reportArgumentType=false, reportCallIssue=false, reportMissingTypeStubs=false
# pyright: reportAssignmentType=false, reportGeneralTypeIssues=false
from __future__ import annotations

import torch
import triton
from triton.experimental import gluon
from triton.experimental.gluon import language as gl
from triton.experimental.gluon.language.amd import AMDMFMALayout
from triton.experimental.gluon.language.amd.cdna3 import buffer_load, buffer_store, mfma
from triton.experimental.gluon.language.amd.cdna4 import mfma_scaled

from rocassay.kernels.common.tensors import INT32_BYTES, byte_reach
from rocassay.kernels.indexer.dispatch import LogitsVariant

_OPERAND_BYTES = 16
"""Consecutive bytes of one key or query that a lane holds: one load, and one row of a SHUFFLE tile."""


@gluon.jit
def _fp8(code, FORMAT: gl.constexpr):
    if FORMAT == "e4m3fn":
        value = code.to(gl.float8e4nv, bitcast=True)
    else:
        value = code.to(gl.float8e4b8, bitcast=True)
    return value


@gluon.jit
def _limit(context_lens, batch, next_index, columns, lens_stride, NEXT_N: gl.constexpr, LENS_PER_ROW: gl.constexpr):
    """Columns that row (batch, next_index) sees: its own length, or the request's less the later rows."""
    if LENS_PER_ROW:
        length = gl.load(context_lens + batch * lens_stride + next_index)
    else:
        length = gl.load(context_lens + batch * lens_stride) - NEXT_N + next_index + 1
    return gl.minimum(length, columns)


@gluon.jit
def _load_query(
    q,
    weights,
    batch,
    next_index,
    q_batch_stride,
    q_next_stride,
    q_head_stride,
    weights_stride,
    NEXT_N: gl.constexpr,
    HEADS: gl.constexpr,
    HEADS_PADDED: gl.constexpr,
    WIDE: gl.constexpr,
    FORMAT: gl.constexpr,
    ACCUMULATOR: gl.constexpr,
    OPERAND: gl.constexpr,
):
    """One row's queries [HEADS_PADDED, 128] as the left operand, and its head weights; padding heads are zero."""
    head = gl.arange(0, HEADS_PADDED, layout=gl.SliceLayout(1, OPERAND))
    dim = gl.arange(0, 128, layout=gl.SliceLayout(0, OPERAND))
    query_base = q + batch.to(gl.int64) * q_batch_stride + gl.to_tensor(next_index).to(gl.int64) * q_next_stride
    if WIDE:
        # Heads so far apart that no buffer spans them.
        start = head.to(gl.int64) * q_head_stride
        code = gl.load(query_base + (start[:, None] + dim[None, :]), mask=(head < HEADS)[:, None], other=0)
    else:
        offset = head[:, None] * q_head_stride + dim[None, :]
        code = buffer_load(query_base, offset, mask=(head < HEADS)[:, None], other=0)
    lane = gl.arange(0, HEADS_PADDED, layout=gl.SliceLayout(1, ACCUMULATOR))
    weight_base = weights + (batch * NEXT_N + next_index).to(gl.int64) * weights_stride
    weight = buffer_load(weight_base, lane, mask=lane < HEADS, other=0.0)
    return _fp8(code, FORMAT), weight


@gluon.jit
def _load_tile(
    kv_cache,
    block_tables,
    table_base,
    first,
    longest,
    cache_block_stride,
    BLOCK_SIZE: gl.constexpr,
    KV_TILE: gl.constexpr,
    SHUFFLE: gl.constexpr,
    ACCUMULATOR: gl.constexpr,
    OPERAND: gl.constexpr,
):
    """Codes [128, KV_TILE] of keys first ... as the right operand, and their scales; keys beyond `longest` are zero."""
    key = gl.arange(0, KV_TILE, layout=gl.SliceLayout(0, OPERAND))
    dim = gl.arange(0, 128, layout=gl.SliceLayout(1, OPERAND))
    lane = gl.arange(0, KV_TILE, layout=gl.SliceLayout(0, ACCUMULATOR))
    column = (dim // 16) * 256 + dim % 16 if SHUFFLE else dim
    if BLOCK_SIZE % KV_TILE == 0:
        # The tile lies in one page, whose base is a 64-bit scalar; offsets within it are small.
        page = gl.load(block_tables + table_base + first // BLOCK_SIZE).to(gl.int64)
        page_base = kv_cache + page * cache_block_stride
        inside = first % BLOCK_SIZE + key
        row = (inside // 16) * 2048 + (inside % 16) * 16 if SHUFFLE else inside * 128
        code = buffer_load(page_base, column[:, None] + row[None, :], mask=(first + key < longest)[None, :], other=0)
        scale_base = (page_base + BLOCK_SIZE * 128).to(gl.pointer_type(gl.float32))
        scale = buffer_load(scale_base, first % BLOCK_SIZE + lane, mask=first + lane < longest, other=0.0)
    else:
        # A tile of several pages: every key has a 64-bit address of its own.
        live = first + key < longest
        page = gl.load(block_tables + table_base + (first + key) // BLOCK_SIZE, mask=live, other=0).to(gl.int64)
        inside = (first + key) % BLOCK_SIZE
        row = (inside // 16) * 2048 + (inside % 16) * 16 if SHUFFLE else inside * 128
        # Pages lie whole words apart, which the compiler cannot know of a number such as 132.
        word_stride = cache_block_stride // 4
        key_start = page * word_stride * 4 + row
        code = gl.load(kv_cache + (key_start[None, :] + column[:, None]), mask=live[None, :], other=0)
        seen = first + lane < longest
        owner = gl.load(block_tables + table_base + (first + lane) // BLOCK_SIZE, mask=seen, other=0).to(gl.int64)
        scale_start = owner * word_stride * 4 + BLOCK_SIZE * 128 + (first + lane) % BLOCK_SIZE * 4
        scale = gl.load((kv_cache + scale_start).to(gl.pointer_type(gl.float32)), mask=seen, other=0.0)
    return code, scale


@gluon.jit
def _score_pages_gluon_kernel(
    q,
    kv_cache,
    weights,
    context_lens,
    block_tables,
    output,
    columns,
    q_batch_stride,
    q_next_stride,
    q_head_stride,
    cache_block_stride,
    weights_stride,
    lens_stride,
    table_stride,
    output_stride,
    NEXT_N: gl.constexpr,
    HEADS: gl.constexpr,
    HEADS_PADDED: gl.constexpr,
    LENS_PER_ROW: gl.constexpr,
    BLOCK_SIZE: gl.constexpr,
    KV_TILE: gl.constexpr,
    SHUFFLE: gl.constexpr,
    WIDE: gl.constexpr,
    FORMAT: gl.constexpr,
    CDNA: gl.constexpr,
    OPERAND_BYTES: gl.constexpr,
    WARPS: gl.constexpr,
):
    """Program (b, s) scores tiles s, s + splits, ... of request b for all its rows; a wave's keys are its own."""
    INSTRUCTION_K: gl.constexpr = 32 if CDNA == 3 else 128
    ACCUMULATOR: gl.constexpr = AMDMFMALayout(CDNA, [16, 16, INSTRUCTION_K], False, [1, WARPS])
    LEFT: gl.constexpr = gl.DotOperandLayout(0, ACCUMULATOR, OPERAND_BYTES)
    RIGHT: gl.constexpr = gl.DotOperandLayout(1, ACCUMULATOR, OPERAND_BYTES)
    batch = gl.program_id(0)
    split = gl.program_id(1)
    splits = gl.num_programs(1)
    longest = _limit(context_lens, batch, 0, columns, lens_stride, NEXT_N, LENS_PER_ROW)
    for later in gl.static_range(1, NEXT_N):
        longest = gl.maximum(longest, _limit(context_lens, batch, later, columns, lens_stride, NEXT_N, LENS_PER_ROW))
    tiles = (longest + KV_TILE - 1) // KV_TILE
    if split >= tiles:
        return
    table_base = batch.to(gl.int64) * table_stride
    if NEXT_N == 1:
        query, weight = _load_query(
            q, weights, batch, 0, q_batch_stride, q_next_stride, q_head_stride, weights_stride,
            NEXT_N, HEADS, HEADS_PADDED, WIDE, FORMAT, ACCUMULATOR, LEFT,
        )  # fmt: skip
    code, scale = _load_tile(
        kv_cache, block_tables, table_base, split * KV_TILE, longest,
        cache_block_stride, BLOCK_SIZE, KV_TILE, SHUFFLE, ACCUMULATOR, RIGHT,
    )  # fmt: skip
    position = gl.arange(0, KV_TILE, layout=gl.SliceLayout(0, ACCUMULATOR))
    for tile in range(split, tiles, splits):
        # The next tile is under way while this one is multiplied; behind the last one it is the last again.
        following = gl.minimum(tile + splits, tiles - 1)
        next_code, next_scale = _load_tile(
            kv_cache, block_tables, table_base, following * KV_TILE, longest,
            cache_block_stride, BLOCK_SIZE, KV_TILE, SHUFFLE, ACCUMULATOR, RIGHT,
        )  # fmt: skip
        key = _fp8(code, FORMAT)
        for next_index in gl.static_range(NEXT_N):
            if NEXT_N > 1:
                query, weight = _load_query(
                    q, weights, batch, next_index, q_batch_stride, q_next_stride, q_head_stride, weights_stride,
                    NEXT_N, HEADS, HEADS_PADDED, WIDE, FORMAT, ACCUMULATOR, LEFT,
                )  # fmt: skip
            dots = gl.zeros([HEADS_PADDED, KV_TILE], gl.float32, layout=ACCUMULATOR)
            if CDNA == 4:
                # Without scales this is CDNA 4's plain product of 128 dimensions at once.
                dots = mfma_scaled(query, None, "e4m3", key, None, "e4m3", dots)
            else:
                dots = mfma(query, key, dots)
            weighted = gl.maximum(dots, 0.0) * weight[:, None]
            score = gl.sum(weighted, axis=0) * scale
            limit = _limit(context_lens, batch, next_index, columns, lens_stride, NEXT_N, LENS_PER_ROW)
            row_base = output + (batch * NEXT_N + next_index).to(gl.int64) * output_stride
            target = tile * KV_TILE + position
            buffer_store(score, row_base, target, mask=target < limit)
        code, scale = next_code, next_scale


def score_pages(
    codes: torch.Tensor,
    kv_cache: torch.Tensor,
    weights: torch.Tensor,
    context_lens: torch.Tensor,
    block_tables: torch.Tensor,
    logits: torch.Tensor,
    columns: int,
    max_model_len: int,
    variant: LogitsVariant,
) -> None:
    """Launch the kernel on checked tensors: codes [B, next_n, H, 128] uint8, the others as the launcher takes them."""
    batch, next_n, heads = codes.shape[:3]
    _score_pages_gluon_kernel[(batch, variant.splits(batch * next_n, max_model_len))](
        codes,
        kv_cache,
        weights,
        context_lens,
        block_tables,
        logits,
        columns,
        codes.stride(0),
        codes.stride(1),
        codes.stride(2),
        kv_cache.stride(0),
        weights.stride(0),
        context_lens.stride(0),
        block_tables.stride(0),
        logits.stride(0),
        NEXT_N=next_n,
        HEADS=heads,
        HEADS_PADDED=max(16, triton.next_power_of_2(heads)),
        LENS_PER_ROW=context_lens.dim() == 2,
        BLOCK_SIZE=kv_cache.shape[1],
        KV_TILE=variant.kv_tile,
        SHUFFLE=variant.layout == "SHUFFLE",
        WIDE=byte_reach(codes[0, 0]) > INT32_BYTES,
        FORMAT=variant.fp8,
        CDNA=variant.cdna,
        OPERAND_BYTES=_OPERAND_BYTES,
        WARPS=variant.num_warps,
        **variant.options,
    )
