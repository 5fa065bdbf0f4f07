"""Decode-time indexer scores against the paged fp8 key cache, in one kernel or in two.

Contract: vLLM `rocm_fp8_paged_mqa_logits` (vllm-project/vllm#42062, #43781) without its overruns: no column
at or beyond a row's limit is written by the single kernel, and the row pitch of every buffer is its stride.
"""

# pyright: reportArgumentType=false, reportCallIssue=false
from __future__ import annotations

import torch
import triton
import triton.language as tl

from rocassay.harness.layouts import LayoutError
from rocassay.kernels.common.fp8_codec import decode_fp8
from rocassay.kernels.common.indexer_page import HEAD_DIM, scale_row, value_column, value_row
from rocassay.kernels.common.integers import ceil_div, power_of_two_from
from rocassay.kernels.common.tensors import byte_view, indexer_cache_geometry, require_unit_stride
from rocassay.kernels.indexer.dispatch import LogitsVariant

_MAX_HEADS = 128
_SMALLEST_DOT = 16


@triton.jit
def _visible_limit(
    context_lens,
    batch,
    next_index,
    known,
    columns,
    lens_stride,
    NEXT_N: tl.constexpr,
    LENS_PER_ROW: tl.constexpr,
):
    """Columns that row (batch, next_index) sees: its own length, or the request's less the later rows."""
    if LENS_PER_ROW:
        limit = tl.load(context_lens + batch * lens_stride + next_index, mask=known, other=0)
    else:
        limit = tl.load(context_lens + batch * lens_stride) - NEXT_N + next_index + 1
    return tl.where(known, tl.minimum(limit, columns), 0)


@triton.jit
def _natural_row(index):
    """Which key of a tile stands in row `index` of its fragments: 4 warps of 8 threads load 8 keys each, twice."""
    return index // 64 * 64 + index // 8 % 2 * 32 + index // 16 % 4 * 8 + index % 8


@triton.jit
def _natural_dim(index):
    """Which of 64 dims stands in column `index` of a tile's fragments: a thread loads 16 neighbouring ones."""
    return index // 2 % 4 * 16 + index // 16 * 4 + index // 8 % 2 * 2 + index % 2


@triton.jit
def _fragments(code, KV_TILE: tl.constexpr):
    """Codes [KV_TILE, 64] as 16 bytes a thread load them -> in the order in which a Hopper warp group multiplies them.

    Both orders give every thread the same bytes, so this moves none: any order is right as long as the queries' dims
    and the positions follow it.
    """
    parts = tl.reshape(code, [KV_TILE // 64, 2, 4, 8, 4, 4, 2, 2])
    return tl.reshape(tl.permute(parts, (0, 2, 1, 3, 5, 6, 4, 7)), [KV_TILE, 64])


@triton.jit
def _load_query_part(
    q,
    start,
    real,
    FIRST: tl.constexpr,
    DIMS: tl.constexpr,
    FRAGMENTS: tl.constexpr,
    FORMAT: tl.constexpr,
    NATIVE: tl.constexpr,
    HALF_DOT: tl.constexpr,
):
    """Dims FIRST ... FIRST + DIMS of the queries that start at `start`, [DIMS, queries]."""
    dim = tl.arange(0, DIMS)
    if FRAGMENTS:
        dim = _natural_dim(dim)
    code = tl.load(q + start[:, None] + (FIRST + dim)[None, :], mask=real[:, None], other=0)
    query = decode_fp8(code, FORMAT, NATIVE)
    if HALF_DOT and NATIVE:
        query = query.to(tl.float16)
    return tl.trans(query)


@triton.jit
def _load_queries(
    q,
    weights,
    batch,
    chunk,
    q_batch_stride,
    q_next_stride,
    q_head_stride,
    weights_stride,
    NEXT_N: tl.constexpr,
    HEADS: tl.constexpr,
    ROWS: tl.constexpr,
    HEADS_PADDED: tl.constexpr,
    FRAGMENTS: tl.constexpr,
    FORMAT: tl.constexpr,
    NATIVE: tl.constexpr,
    HALF_DOT: tl.constexpr,
):
    """Query tile [128, ROWS * HEADS_PADDED], in two halves if in FRAGMENTS, and its columns' weights; padding is 0."""
    index = tl.arange(0, ROWS * HEADS_PADDED)
    head = index % HEADS_PADDED
    next_index = chunk * ROWS + index // HEADS_PADDED
    real = (head < HEADS) & (next_index < NEXT_N)
    start = batch.to(tl.int64) * q_batch_stride + next_index.to(tl.int64) * q_next_stride
    start += head.to(tl.int64) * q_head_stride
    if FRAGMENTS:
        low = _load_query_part(q, start, real, 0, 64, True, FORMAT, NATIVE, HALF_DOT)
        high = _load_query_part(q, start, real, 64, 64, True, FORMAT, NATIVE, HALF_DOT)
    else:
        low = _load_query_part(q, start, real, 0, 128, False, FORMAT, NATIVE, HALF_DOT)
        high = low
    weight_base = (batch * NEXT_N + next_index).to(tl.int64) * weights_stride
    weight = tl.load(weights + weight_base + head, mask=real, other=0.0)
    return low, high, weight


@triton.jit
def _find_pages(block_tables, table_base, position, live, cache_block_stride, BLOCK_SIZE: tl.constexpr):
    """Byte at which the page of each position begins, and the position's place in it."""
    column = position // BLOCK_SIZE
    offset = position % BLOCK_SIZE
    page = tl.load(block_tables + table_base + column, mask=live, other=0).to(tl.int64)
    page_base = page * cache_block_stride
    return page_base, offset


@triton.jit
def _load_key_part(
    kv_cache,
    row_start,
    live,
    FIRST: tl.constexpr,
    DIMS: tl.constexpr,
    KV_TILE: tl.constexpr,
    SHUFFLE: tl.constexpr,
    FRAGMENTS: tl.constexpr,
    FORMAT: tl.constexpr,
    NATIVE: tl.constexpr,
    HALF_DOT: tl.constexpr,
):
    """Dims FIRST ... FIRST + DIMS of the keys that start at `row_start`, [KV_TILE, DIMS]."""
    dim = FIRST + tl.arange(0, DIMS)
    source = row_start[:, None] + value_column(dim, SHUFFLE)[None, :]
    code = tl.load(kv_cache + source, mask=live[:, None], other=0)
    if FRAGMENTS:
        code = _fragments(code, KV_TILE)
    key = decode_fp8(code, FORMAT, NATIVE)
    if HALF_DOT and NATIVE:
        key = key.to(tl.float16)
    return key


@triton.jit
def _load_keys(
    kv_cache,
    block_tables,
    table_base,
    tile,
    longest,
    cache_block_stride,
    KV_TILE: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    SHUFFLE: tl.constexpr,
    FRAGMENTS: tl.constexpr,
    FORMAT: tl.constexpr,
    NATIVE: tl.constexpr,
    HALF_DOT: tl.constexpr,
):
    """Key tile [positions, 128] (twice its two halves in FRAGMENTS), its scales and positions.

    Positions from `longest` on read nothing and are zero.
    """
    lane = tl.arange(0, KV_TILE)
    row = _natural_row(lane) if FRAGMENTS else lane
    start = tile * KV_TILE
    if BLOCK_SIZE % KV_TILE == 0:
        page_base, first = _find_pages(block_tables, table_base, start, True, cache_block_stride, BLOCK_SIZE)
        row_start = page_base + value_row(first + lane, SHUFFLE)
        scale_start = page_base + scale_row(first + row, BLOCK_SIZE)
    else:
        live = start + lane < longest
        page_base, offset = _find_pages(block_tables, table_base, start + lane, live, cache_block_stride, BLOCK_SIZE)
        row_start = page_base + value_row(offset, SHUFFLE)
        if FRAGMENTS:
            live = start + row < longest
            page_base, offset = _find_pages(block_tables, table_base, start + row, live, cache_block_stride, BLOCK_SIZE)
        scale_start = page_base + scale_row(offset, BLOCK_SIZE)
    live = start + lane < longest
    if FRAGMENTS:
        low = _load_key_part(kv_cache, row_start, live, 0, 64, KV_TILE, SHUFFLE, True, FORMAT, NATIVE, HALF_DOT)
        high = _load_key_part(kv_cache, row_start, live, 64, 64, KV_TILE, SHUFFLE, True, FORMAT, NATIVE, HALF_DOT)
    else:
        low = _load_key_part(kv_cache, row_start, live, 0, 128, KV_TILE, SHUFFLE, False, FORMAT, NATIVE, HALF_DOT)
        high = low
    position = start + row
    scale_pointer = (kv_cache + scale_start).to(tl.pointer_type(tl.float32))
    scale = tl.load(scale_pointer, mask=position < longest, other=0.0)
    return low, high, scale, position


@triton.jit
def _score_pages_kernel(
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
    head_stride,
    NEXT_N: tl.constexpr,
    HEADS: tl.constexpr,
    HEADS_PADDED: tl.constexpr,
    NEXT_PADDED: tl.constexpr,
    ROWS: tl.constexpr,
    CHUNKS: tl.constexpr,
    LENS_PER_ROW: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    KV_TILE: tl.constexpr,
    SHUFFLE: tl.constexpr,
    FRAGMENTS: tl.constexpr,
    FORMAT: tl.constexpr,
    NATIVE: tl.constexpr,
    HALF_DOT: tl.constexpr,
    PER_HEAD: tl.constexpr,
):
    """Program (b, s) scores tiles s, s + splits, ... of request b for all its rows.

    PER_HEAD stores every head's scaled share (stage 1 of two), otherwise their sum.
    """
    batch = tl.program_id(0)
    split = tl.program_id(1)
    splits = tl.num_programs(1)
    every = tl.arange(0, NEXT_PADDED)
    limits = _visible_limit(context_lens, batch, every, every < NEXT_N, columns, lens_stride, NEXT_N, LENS_PER_ROW)
    longest = tl.max(limits, axis=0)
    table_base = batch.to(tl.int64) * table_stride
    if CHUNKS == 1:
        query, query_high, weight = _load_queries(
            q, weights, batch, 0, q_batch_stride, q_next_stride, q_head_stride, weights_stride,
            NEXT_N, HEADS, ROWS, HEADS_PADDED, FRAGMENTS, FORMAT, NATIVE, HALF_DOT,
        )  # fmt: skip
    for tile in range(split, tl.cdiv(longest, KV_TILE), splits):
        key, key_high, scale, position = _load_keys(
            kv_cache, block_tables, table_base, tile, longest, cache_block_stride,
            KV_TILE, BLOCK_SIZE, SHUFFLE, FRAGMENTS, FORMAT, NATIVE, HALF_DOT,
        )  # fmt: skip
        for chunk in range(CHUNKS):
            if CHUNKS > 1:
                # The query tiles of all rows together would not fit the registers; the cache holds them.
                query, query_high, weight = _load_queries(
                    q, weights, batch, chunk, q_batch_stride, q_next_stride, q_head_stride, weights_stride,
                    NEXT_N, HEADS, ROWS, HEADS_PADDED, FRAGMENTS, FORMAT, NATIVE, HALF_DOT,
                )  # fmt: skip
            product = tl.dot(key, query, out_dtype=tl.float32)
            if FRAGMENTS:
                product = tl.dot(key_high, query_high, product, out_dtype=tl.float32)
            activated = tl.maximum(product, 0.0)
            if PER_HEAD:
                index = tl.arange(0, ROWS * HEADS_PADDED)
                head = index % HEADS_PADDED
                next_index = chunk * ROWS + index // HEADS_PADDED
                score = activated * scale[:, None] * weight[None, :]
                known = (head < HEADS) & (next_index < NEXT_N)
                head_base = head.to(tl.int64) * head_stride
            else:
                next_index = chunk * ROWS + tl.arange(0, ROWS)
                weighted = activated * weight[None, :]
                score = tl.sum(tl.reshape(weighted, [KV_TILE, ROWS, HEADS_PADDED]), axis=2) * scale[:, None]
                known = next_index < NEXT_N
                head_base = tl.zeros([ROWS], tl.int64)
            limit = _visible_limit(context_lens, batch, next_index, known, columns, lens_stride, NEXT_N, LENS_PER_ROW)
            row = batch * NEXT_N + next_index
            row_base = row.to(tl.int64) * output_stride
            target = (head_base + row_base)[None, :] + position[:, None]
            written = position[:, None] < limit[None, :]
            tl.store(output + target, score, mask=written)


@triton.jit
def _sum_heads_kernel(
    workspace,
    context_lens,
    logits,
    columns,
    max_model_len,
    lens_stride,
    head_stride,
    workspace_stride,
    logits_stride,
    NEXT_N: tl.constexpr,
    HEADS: tl.constexpr,
    HEADS_PADDED: tl.constexpr,
    LENS_PER_ROW: tl.constexpr,
    TILE: tl.constexpr,
):
    """Program (r, c) sums the heads of columns c * TILE ... of row r; invisible ones become -inf."""
    row = tl.program_id(0)
    batch = row // NEXT_N
    limit = _visible_limit(context_lens, batch, row % NEXT_N, True, columns, lens_stride, NEXT_N, LENS_PER_ROW)
    position = tl.program_id(1) * TILE + tl.arange(0, TILE)
    head = tl.arange(0, HEADS_PADDED)
    # Only what stage 1 wrote is read, so the workspace needs no fill and -inf never meets a zero weight.
    visible = position < limit
    share_base = head.to(tl.int64) * head_stride + row.to(tl.int64) * workspace_stride
    source = share_base[:, None] + position[None, :]
    share = tl.load(workspace + source, mask=(head < HEADS)[:, None] & visible[None, :], other=0.0)
    total = tl.where(visible, tl.sum(share, axis=0), float("-inf"))
    sum_base = row.to(tl.int64) * logits_stride
    tl.store(logits + sum_base + position, total, mask=position < max_model_len)


def fp8_paged_mqa_logits(
    q_fp8: torch.Tensor,
    kv_cache: torch.Tensor,
    weights: torch.Tensor,
    context_lens: torch.Tensor,
    block_tables: torch.Tensor,
    logits: torch.Tensor,
    *,
    max_model_len: int,
    variant: LogitsVariant,
    workspace: torch.Tensor | None = None,
) -> None:
    """logits[b * next_n + n, p] = ks[p] * sum_h w[h] * max(0, q[b, n, h] . k[p]) for every visible p.

    q_fp8: [B, next_n, H, 128] uint8 or fp8, strides free over b, n, h. kv_cache: [NB, BS, 132] or
    [NB, BS, 1, 132] uint8, any page stride. weights: [B * next_n, H] fp32. context_lens: int32 [B] (row n
    sees `lens[b] - next_n + n + 1` keys) or [B, next_n] (each row its own). block_tables: [B, W] int32, any
    row stride; positions beyond W pages are not visible. logits: fp32 [B * next_n, >= max_model_len], any
    pitch.
    workspace: fp32 [H, B * next_n, >= max_model_len], needed by the path "two_kernel", contents ignored.
    Invisible columns keep what they held, except that "two_kernel" writes -inf up to max_model_len.
    Raises LayoutError for shapes or strides that the kernels cannot honour.
    """
    batch, next_n, heads, _ = q_fp8.shape
    if batch == 0:
        return
    _, block_size, cache_block_stride = indexer_cache_geometry(kv_cache)
    _check(q_fp8, weights, context_lens, block_tables, logits, max_model_len, workspace, variant)
    codes = byte_view(q_fp8)
    q_strides = codes.stride()
    heads_padded = power_of_two_from(heads)
    rows = max(1, variant.dot_rows // heads_padded)
    rows = max(min(rows, power_of_two_from(next_n)), _SMALLEST_DOT // heads_padded)
    columns = min(max_model_len, block_tables.shape[1] * block_size)
    if variant.kernel == "gluon":
        _score_in_gluon(codes, kv_cache, weights, context_lens, block_tables, logits, columns, max_model_len, variant)
        return
    per_head = variant.path == "two_kernel"
    output = workspace if per_head and workspace is not None else logits
    head_stride = output.stride(0) if per_head else 0
    _score_pages_kernel[(batch, variant.splits(batch * next_n, max_model_len))](
        codes,
        kv_cache,
        weights,
        context_lens,
        block_tables,
        output,
        columns,
        *q_strides[:3],
        cache_block_stride,
        weights.stride(0),
        context_lens.stride(0),
        block_tables.stride(0),
        output.stride(-2),
        head_stride,
        NEXT_N=next_n,
        HEADS=heads,
        HEADS_PADDED=heads_padded,
        NEXT_PADDED=power_of_two_from(next_n),
        ROWS=rows,
        CHUNKS=ceil_div(next_n, rows),
        LENS_PER_ROW=context_lens.dim() == 2,
        BLOCK_SIZE=block_size,
        KV_TILE=variant.kv_tile,
        SHUFFLE=variant.layout == "SHUFFLE",
        FRAGMENTS=variant.fragments,
        FORMAT=variant.fp8,
        NATIVE=variant.native,
        HALF_DOT=variant.dot == "fp16",
        PER_HEAD=per_head,
        **variant.options,
    )
    if per_head:
        # The workspace may be larger than this launch needs.
        shares = output[:heads, : batch * next_n]
        _sum_heads(shares, context_lens, logits, columns, max_model_len, next_n, variant)


def _score_in_gluon(
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
    # Imported late: older Triton releases have no such Gluon, and CUDA and the interpreter have no use for it.
    from rocassay.kernels.indexer.fp8_paged_mqa_logits_gluon import score_pages

    if columns:
        score_pages(codes, kv_cache, weights, context_lens, block_tables, logits, columns, max_model_len, variant)


def _sum_heads(
    workspace: torch.Tensor,
    context_lens: torch.Tensor,
    logits: torch.Tensor,
    columns: int,
    max_model_len: int,
    next_n: int,
    variant: LogitsVariant,
) -> None:
    heads, rows = workspace.shape[:2]
    _sum_heads_kernel[(rows, ceil_div(max_model_len, variant.sum_tile))](
        workspace,
        context_lens,
        logits,
        columns,
        max_model_len,
        context_lens.stride(0),
        workspace.stride(0),
        workspace.stride(1),
        logits.stride(0),
        NEXT_N=next_n,
        HEADS=heads,
        HEADS_PADDED=power_of_two_from(heads),
        LENS_PER_ROW=context_lens.dim() == 2,
        TILE=variant.sum_tile,
        num_warps=variant.num_warps,
    )


def _check(
    q_fp8: torch.Tensor,
    weights: torch.Tensor,
    context_lens: torch.Tensor,
    block_tables: torch.Tensor,
    logits: torch.Tensor,
    max_model_len: int,
    workspace: torch.Tensor | None,
    variant: LogitsVariant,
) -> None:
    batch, next_n, heads, head_dim = q_fp8.shape
    rows = batch * next_n
    if head_dim != HEAD_DIM or heads > _MAX_HEADS:
        raise LayoutError(f"q has {heads} heads of {head_dim}; at most {_MAX_HEADS} heads of {HEAD_DIM} fit")
    require_unit_stride("q", q_fp8)
    require_unit_stride("weights", weights)
    require_unit_stride("block_tables", block_tables)
    require_unit_stride("logits", logits)
    if context_lens.dim() == 2:
        require_unit_stride("context_lens", context_lens)
        if context_lens.shape[1] != next_n:
            raise LayoutError(f"context_lens has {context_lens.shape[1]} lengths a request; pass {next_n} or 1-D")
    have_rows, have_columns = logits.shape
    if have_rows < rows or have_columns < max_model_len:
        raise LayoutError(f"logits is {tuple(logits.shape)}; {rows} rows of {max_model_len} columns are needed")
    if variant.path == "two_kernel":
        shape = (heads, rows, max_model_len)
        have = () if workspace is None else tuple(workspace.shape)
        if workspace is None or len(have) != len(shape) or any(map(int.__lt__, have, shape)):
            raise LayoutError(f"the two-kernel path has workspace {have}; pass fp32 of at least {shape}")
        require_unit_stride("workspace", workspace)
