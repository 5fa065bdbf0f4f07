"""Prefill indexer scores: every query row against its own window of gathered fp8 keys, in one kernel.

Contract: vLLM `rocm_fp8_mqa_logits` and AITER `fp8_mqa_logits` (vLLM v1/attention/ops/rocm_aiter_mla_sparse.py).
A program keeps the queries of a few rows and walks the tiles of the union of their windows, so that a key tile is
loaded once for all of them; heads lie along the product's columns, where their sum mostly stays in a lane's registers.
"""

# pyright: reportArgumentType=false, reportCallIssue=false
from __future__ import annotations

import torch
import triton
import triton.language as tl

from rocassay.harness.layouts import LayoutError
from rocassay.kernels.common.fp8_codec import decode_fp8
from rocassay.kernels.common.integers import ceil_div, power_of_two_from
from rocassay.kernels.common.tensors import byte_view, require_unit_stride
from rocassay.kernels.prefill.dispatch import LogitsVariant

HEAD_DIMS = (32, 64, 128)
"""Head dimensions that one matrix product covers; the indexer of DeepSeek V3.2 has 128."""

PITCH = 256
"""Row pitches are rounded up to a multiple of this many columns (vLLM allocates logits so)."""

_MAX_HEADS = 128
_SMALLEST_DOT = 16


def logits_pitch(columns: int) -> int:
    """Floats from row to row of a logits buffer for `columns` keys."""
    return -(-columns // PITCH) * PITCH


@triton.jit
def _load_queries(
    q,
    weights,
    first_row,
    rows,
    q_row_stride,
    q_head_stride,
    weights_stride,
    HEADS: tl.constexpr,
    HEADS_PADDED: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    ROWS: tl.constexpr,
    FORMAT: tl.constexpr,
    NATIVE: tl.constexpr,
    HALF_DOT: tl.constexpr,
):
    """Query tile [HEAD_DIM, ROWS * HEADS_PADDED] and the head weights of its columns; padding is zero."""
    index = tl.arange(0, ROWS * HEADS_PADDED)
    head = index % HEADS_PADDED
    row = first_row + index // HEADS_PADDED
    real = (head < HEADS) & (row < rows)
    query_base = row.to(tl.int64) * q_row_stride
    source = query_base + head.to(tl.int64) * q_head_stride
    dim = tl.arange(0, HEAD_DIM)
    code = tl.load(q + source[:, None] + dim[None, :], mask=real[:, None], other=0)
    query = decode_fp8(code, FORMAT, NATIVE)
    if HALF_DOT and NATIVE:
        query = query.to(tl.float16)
    weight_base = row.to(tl.int64) * weights_stride
    weight = tl.load(weights + weight_base + head, mask=real, other=0.0)
    return tl.trans(query), weight


@triton.jit
def _fill_tiles(logits, row_base, known, begin, end, step, columns, KV_TILE: tl.constexpr):
    """-inf in every `step`-th tile from `begin` to `end`."""
    for tile in range(begin, end, step):
        position = tile * KV_TILE + tl.arange(0, KV_TILE)
        nothing = tl.full([KV_TILE], float("-inf"), tl.float32)[None, :]
        target = row_base[:, None] + position[None, :]
        tl.store(logits + target, nothing, mask=known[:, None] & (position < columns)[None, :])


@triton.jit
def _score_windows_kernel(
    q,
    k,
    k_scale,
    weights,
    ks,
    ke,
    logits,
    rows,
    columns,
    q_row_stride,
    q_head_stride,
    key_stride,
    scale_stride,
    weights_stride,
    output_stride,
    HEADS: tl.constexpr,
    HEADS_PADDED: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    ROWS: tl.constexpr,
    KV_TILE: tl.constexpr,
    CLEAN: tl.constexpr,
    FORMAT: tl.constexpr,
    NATIVE: tl.constexpr,
    HALF_DOT: tl.constexpr,
):
    """Program (b, s) scores tiles s, s + splits, ... of the union of the windows of row block b.

    Row blocks run last to first: causal windows grow, and the longest should not start last.
    """
    split = tl.program_id(1)
    splits = tl.num_programs(1)
    first_row = (tl.num_programs(0) - 1 - tl.program_id(0)) * ROWS
    row = first_row + tl.arange(0, ROWS)
    known = row < rows
    low = tl.maximum(tl.load(ks + row, mask=known, other=0), 0)
    high = tl.minimum(tl.load(ke + row, mask=known, other=0), columns)
    row_base = row.to(tl.int64) * output_stride

    filled = low < high
    union_low = tl.min(tl.where(filled, low, columns), axis=0)
    union_high = tl.max(tl.where(filled, high, 0), axis=0)
    begin = union_low // KV_TILE
    end = tl.maximum(tl.cdiv(union_high, KV_TILE), begin)
    if CLEAN:
        _fill_tiles(logits, row_base, known, split, begin, splits, columns, KV_TILE)
        _fill_tiles(logits, row_base, known, end + split, tl.cdiv(columns, KV_TILE), splits, columns, KV_TILE)

    query, weight = _load_queries(
        q, weights, first_row, rows, q_row_stride, q_head_stride, weights_stride,
        HEADS, HEADS_PADDED, HEAD_DIM, ROWS, FORMAT, NATIVE, HALF_DOT,
    )  # fmt: skip
    dim = tl.arange(0, HEAD_DIM)
    for tile in range(begin + split, end, splits):
        position = tile * KV_TILE + tl.arange(0, KV_TILE)
        live = (position >= union_low) & (position < union_high)
        key_base = position.to(tl.int64) * key_stride
        code = tl.load(k + key_base[:, None] + dim[None, :], mask=live[:, None], other=0)
        scale_base = position.to(tl.int64) * scale_stride
        scale = tl.load(k_scale + scale_base, mask=live, other=0.0)
        key = decode_fp8(code, FORMAT, NATIVE)
        if HALF_DOT and NATIVE:
            key = key.to(tl.float16)
        activated = tl.maximum(tl.dot(key, query, out_dtype=tl.float32), 0.0)
        weighted = activated * weight[None, :]
        score = tl.sum(tl.reshape(weighted, [KV_TILE, ROWS, HEADS_PADDED]), axis=2) * scale[:, None]
        inside = (position[:, None] >= low[None, :]) & (position[:, None] < high[None, :])
        target = row_base[None, :] + position[:, None]
        if CLEAN:
            score = tl.where(inside, score, float("-inf"))
            inside = known[None, :] & (position < columns)[:, None]
        tl.store(logits + target, score, mask=inside)


def fp8_mqa_logits(
    q_fp8: torch.Tensor,
    k_fp8: torch.Tensor,
    k_scale: torch.Tensor,
    weights: torch.Tensor,
    ks: torch.Tensor,
    ke: torch.Tensor,
    logits: torch.Tensor,
    *,
    clean_logits: bool,
    variant: LogitsVariant,
) -> None:
    """logits[m, n] = k_scale[n] * sum_h weights[m, h] * max(0, q[m, h] . k[n]) for ks[m] <= n < ke[m].

    q_fp8: [M, H, D] uint8 or fp8, strides free over m and h, 1 <= H <= 128, D in `HEAD_DIMS`. k_fp8: [N, D], any row
    stride. k_scale: fp32 [N] or [N, 1]. weights: fp32 [M, H], any row stride. ks, ke: int32 [M], clamped to [0, N];
    ks >= ke is an empty row. logits: fp32 [M, N] of any pitch; callers read it through its stride(0).
    Outside the window a row keeps what it held or, with `clean_logits`, becomes -inf. A key outside every window is
    never a cause of a visible result. Raises LayoutError for shapes or strides that the kernel cannot honour.
    """
    _check(q_fp8, k_fp8, k_scale, weights, ks, ke, logits)
    rows, heads, head_dim = q_fp8.shape
    columns = k_fp8.shape[0]
    if rows == 0 or columns == 0:
        return
    queries, keys = byte_view(q_fp8), byte_view(k_fp8)
    heads_padded = power_of_two_from(heads)
    rows_per_program = max(1, variant.tile.dot_columns // heads_padded)
    rows_per_program = min(rows_per_program, power_of_two_from(rows))
    rows_per_program = max(rows_per_program, _SMALLEST_DOT // heads_padded)
    row_blocks = ceil_div(rows, rows_per_program)
    _score_windows_kernel[(row_blocks, variant.splits(row_blocks, columns))](
        queries,
        keys,
        k_scale,
        weights,
        ks,
        ke,
        logits,
        rows,
        columns,
        queries.stride(0),
        queries.stride(1),
        keys.stride(0),
        k_scale.stride(0),
        weights.stride(0),
        logits.stride(0),
        HEADS=heads,
        HEADS_PADDED=heads_padded,
        HEAD_DIM=head_dim,
        ROWS=rows_per_program,
        KV_TILE=variant.tile.kv_tile,
        CLEAN=bool(clean_logits),
        FORMAT=variant.fp8,
        NATIVE=variant.native,
        HALF_DOT=variant.dot == "fp16",
        enable_fp_fusion=False,
        **variant.options,
    )


def _check(
    q_fp8: torch.Tensor,
    k_fp8: torch.Tensor,
    k_scale: torch.Tensor,
    weights: torch.Tensor,
    ks: torch.Tensor,
    ke: torch.Tensor,
    logits: torch.Tensor,
) -> None:
    rows, heads, head_dim = q_fp8.shape
    columns = k_fp8.shape[0]
    if head_dim not in HEAD_DIMS or not 1 <= heads <= _MAX_HEADS:
        raise LayoutError(f"q has {heads} heads of {head_dim}; pass 1 to {_MAX_HEADS} heads of {HEAD_DIMS} dimensions")
    expected = {
        "k_fp8": (k_fp8, (columns, head_dim)),
        "weights": (weights, (rows, heads)),
        "ks": (ks, (rows,)),
        "ke": (ke, (rows,)),
        "logits": (logits, (rows, columns)),
    }
    for name, (tensor, shape) in expected.items():
        if tuple(tensor.shape) != shape:
            raise LayoutError(f"{name} is {tuple(tensor.shape)}; {shape} is needed for these queries and keys")
        require_unit_stride(name, tensor)
    require_unit_stride("q", q_fp8)
    if tuple(k_scale.shape) not in ((columns,), (columns, 1)):
        raise LayoutError(f"k_scale is {tuple(k_scale.shape)}; pass fp32 scales ({columns},) or ({columns}, 1)")
