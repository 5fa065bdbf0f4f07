"""Ragged sparse attention over unquantised rows: one pass over each token's list with an online softmax.

Contract: vLLM `rocm_sparse_attn_prefill` (vllm-project/vllm#41812).
"""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAssignmentType=false
from __future__ import annotations

import torch
import triton
import triton.language as tl

from rocassay.harness.layouts import LayoutError
from rocassay.kernels.attention.dispatch import PrefillVariant
from rocassay.kernels.common.integers import ceil_div, power_of_two_from
from rocassay.kernels.common.tensors import require_unit_stride

_LOG2_E = 1.4426950408889634
_SMALLEST_DIM = 16


@triton.jit
def _sparse_attn_prefill_kernel(
    q,
    kv,
    ragged_indices,
    ragged_indptr,
    attn_sink,
    output,
    rows,
    scale_log2,
    q_token_stride,
    q_head_stride,
    kv_stride,
    output_token_stride,
    output_head_stride,
    HEADS: tl.constexpr,
    DIM: tl.constexpr,
    WIDTH: tl.constexpr,
    MAIN: tl.constexpr,
    TAIL: tl.constexpr,
    HAS_SINK: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Program (t * head blocks + b) attends from BLOCK_H heads of token t.

    A row's first MAIN dims (a power of two) and its TAIL further ones are tiles of their own: no dot is padded
    to twice the width. The values are the first WIDTH dims of the very tile that made the scores.
    """
    BLOCKS: tl.constexpr = (HEADS + BLOCK_H - 1) // BLOCK_H
    token = (tl.program_id(0) // BLOCKS).to(tl.int64)
    head = (tl.program_id(0) % BLOCKS) * BLOCK_H + tl.arange(0, BLOCK_H)
    known = head < HEADS
    dim = tl.arange(0, MAIN)
    query_base = token * q_token_stride + head.to(tl.int64) * q_head_stride
    query = tl.load(q + query_base[:, None] + dim[None, :], mask=known[:, None], other=0.0)
    result = tl.zeros([BLOCK_H, MAIN], tl.float32)
    if TAIL:
        tail = MAIN + tl.arange(0, TAIL)
        in_row = tail < DIM
        tail_seen = known[:, None] & in_row[None, :]
        query_tail = tl.load(q + query_base[:, None] + tail[None, :], mask=tail_seen, other=0.0)
        if WIDTH > MAIN:
            result_tail = tl.zeros([BLOCK_H, TAIL], tl.float32)
    # Finite, so that a tile without any valid row leaves exp2(peak - peak) = 1 and not NaN.
    peak = tl.full([BLOCK_H], -3.4028234663852886e38, tl.float32)
    total = tl.zeros([BLOCK_H], tl.float32)
    begin = tl.load(ragged_indptr + token)
    end = tl.load(ragged_indptr + token + 1)
    for start in range(begin, end, BLOCK_K):
        position = start + tl.arange(0, BLOCK_K)
        row = tl.load(ragged_indices + position, mask=position < end, other=-1)
        valid = (row >= 0) & (row < rows)
        row_base = row.to(tl.int64) * kv_stride
        seen = valid[:, None]
        key = tl.load(kv + row_base[:, None] + dim[None, :], mask=seen, other=0.0)
        score = tl.dot(query, tl.trans(key), out_dtype=tl.float32)
        if TAIL:
            tail_valid = valid[:, None] & in_row[None, :]
            key_tail = tl.load(kv + row_base[:, None] + tail[None, :], mask=tail_valid, other=0.0)
            score = tl.dot(query_tail, tl.trans(key_tail), score, out_dtype=tl.float32)
        score = score * scale_log2
        score = tl.where(valid[None, :], score, float("-inf"))
        highest = tl.maximum(peak, tl.max(score, axis=1))
        rescale = tl.exp2(peak - highest)
        weight = tl.exp2(score - highest[:, None])
        total = total * rescale + tl.sum(weight, axis=1)
        peak = highest
        result = result * rescale[:, None]
        rounded = weight.to(key.dtype)
        result = tl.dot(rounded, key, result, out_dtype=tl.float32)
        if WIDTH > MAIN:
            result_tail = result_tail * rescale[:, None]
            result_tail = tl.dot(rounded, key_tail, result_tail, out_dtype=tl.float32)
    if HAS_SINK:
        sink = tl.load(attn_sink + head, mask=known, other=0.0) * 1.4426950408889634
    else:
        sink = tl.full([BLOCK_H], float("-inf"), tl.float32)
    highest = tl.maximum(peak, sink)
    rescale = tl.exp2(peak - highest)
    total = total * rescale + tl.exp2(sink - highest)
    # Nothing attended to: the sum of no value is 0, whatever it is divided by.
    share = rescale / tl.where(total == 0.0, 1.0, total)
    output_base = token * output_token_stride + head.to(tl.int64) * output_head_stride
    written = known[:, None] & (dim < WIDTH)[None, :]
    target = output + output_base[:, None]
    tl.store(target + dim[None, :], (result * share[:, None]).to(output.dtype.element_ty), mask=written)
    if WIDTH > MAIN:
        written = known[:, None] & (tail < WIDTH)[None, :]
        value = (result_tail * share[:, None]).to(output.dtype.element_ty)
        tl.store(target + tail[None, :], value, mask=written)


def sparse_attn_prefill(
    q: torch.Tensor,
    kv: torch.Tensor,
    ragged_indices: torch.Tensor,
    ragged_indptr: torch.Tensor,
    output: torch.Tensor,
    *,
    scale: float,
    variant: PrefillVariant,
    attn_sink: torch.Tensor | None = None,
) -> None:
    """output[t, h] = sum_j softmax_j(scale * q[t, h] . kv[j]) * kv[j, :DV] over the rows j that token t lists.

    q: bf16 or fp16 [T, H, D], strides free over t and h. kv: same type, [R, 1, D], row stride free.
    ragged_indices: int32 [nnz]; token t lists those at [ragged_indptr[t], ragged_indptr[t + 1]), int32 [T + 1].
    Indices outside [0, R) are skipped, duplicates count as often as they stand, NaN of a listed row propagates.
    attn_sink: fp32 [>= H], a logit per head that takes weight and gives no value, or None. output: [T, H, DV]
    with DV <= D, strides free over t and h; rows without a valid index become 0.
    Raises LayoutError for shapes or strides that the kernel cannot honour.
    """
    tokens, heads, dim = q.shape
    width = output.shape[-1]
    _check(q, kv, ragged_indices, ragged_indptr, output, attn_sink)
    if tokens == 0:
        return
    main = 1 << (dim.bit_length() - 1)
    tail = dim - main
    blocks = ceil_div(heads, variant.block_h)
    _sparse_attn_prefill_kernel[(tokens * blocks,)](
        q,
        kv,
        ragged_indices,
        ragged_indptr,
        attn_sink,
        output,
        kv.shape[0],
        scale * _LOG2_E,
        q.stride(0),
        q.stride(1),
        kv.stride(0),
        output.stride(0),
        output.stride(1),
        HEADS=heads,
        DIM=dim,
        WIDTH=width,
        MAIN=main,
        TAIL=max(_SMALLEST_DIM, power_of_two_from(tail)) if tail else 0,
        HAS_SINK=attn_sink is not None,
        BLOCK_H=variant.block_h,
        BLOCK_K=variant.block_k,
        **variant.options,
    )


def _check(
    q: torch.Tensor,
    kv: torch.Tensor,
    ragged_indices: torch.Tensor,
    ragged_indptr: torch.Tensor,
    output: torch.Tensor,
    attn_sink: torch.Tensor | None,
) -> None:
    tokens, heads, dim = q.shape
    if kv.dim() != 3 or kv.shape[1] != 1 or kv.shape[2] != dim or kv.dtype != q.dtype:
        raise LayoutError(f"kv is {kv.dtype} {tuple(kv.shape)}; pass {q.dtype} [rows, 1, {dim}] as q has it")
    if dim < _SMALLEST_DIM or output.shape[:2] != q.shape[:2] or not 0 < output.shape[2] <= dim:
        raise LayoutError(f"output is {tuple(output.shape)}; pass [{tokens}, {heads}, at most {dim}]")
    if ragged_indptr.shape[0] < tokens + 1:
        raise LayoutError(f"ragged_indptr has {ragged_indptr.shape[0]} entries; {tokens} tokens need {tokens + 1}")
    if attn_sink is not None and attn_sink.shape[0] < heads:
        raise LayoutError(f"attn_sink has {attn_sink.shape[0]} entries; {heads} heads need one each")
    for name, tensor in (("q", q), ("kv", kv), ("ragged_indices", ragged_indices), ("output", output)):
        require_unit_stride(name, tensor)
