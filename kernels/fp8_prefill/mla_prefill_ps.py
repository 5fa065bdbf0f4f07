"""Causal prefill attention of MLA in its multi-head form: persistent workgroups that walk a plan, or plain tiles.

Contract: AITER `mla_prefill_ps_asm_fwd` and its reduction, as vLLM calls them (vllm-project/vllm#42509). A program
holds a block of queries, 128 dims without rotation and 64 with it, and walks its keys with an online softmax: first
the blocks that every row sees whole, without a mask, then those that the causal edge or the end cuts.
"""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAssignmentType=false, reportAttributeAccessIssue=false
from __future__ import annotations

import torch
import triton
import triton.language as tl

from rocassay.harness.layouts import LayoutError
from rocassay.kernels.common.fp8_codec import decode_fp8
from rocassay.kernels.common.tensors import byte_view, require_unit_stride
from rocassay.kernels.fp8_prefill.dispatch import BF16, PrefillVariant
from rocassay.kernels.fp8_prefill.mla_prefill_reduce import mla_prefill_reduce
from rocassay.kernels.persistent.buffers import all_or_none

QK_DIM = 192
"""Elements of a query or key: 128 without rotation, then 64 with it."""

V_DIM = 128
"""Elements of a value."""

WORDS = 8
"""int32 of a work item."""

PLAN = (
    "work_indptr",
    "work_info_set",
    "split_data",
    "split_lse",
    "reduce_indptr",
    "reduce_final_map",
    "reduce_partial_map",
)
"""What the persistent path needs: a plan and the memory of its partial results, all of it or none."""


@triton.jit
def _given_or_one(pointer, GIVEN: tl.constexpr):
    """A tensor's scale; 1 where the caller gives none."""
    if GIVEN:
        value = tl.load(pointer)
    else:
        value = 1.0
    return value


@triton.jit
def _load_tile(base, at, live, MASKED: tl.constexpr, FORMAT: tl.constexpr, NATIVE: tl.constexpr, DOT: tl.constexpr):
    """Matrix operand of the rows at `at`; rows that are not live are 0."""
    if MASKED:
        stored = tl.load(base + at, mask=live[:, None], other=0)
    else:
        stored = tl.load(base + at)
    if FORMAT == "bf16":
        value = stored
    else:
        value = decode_fp8(stored, FORMAT, NATIVE)
        if DOT == "fp16":
            value = value.to(tl.float16)
    return value


@triton.jit
def _as_operand(weight, FORMAT: tl.constexpr, DOT: tl.constexpr):
    """Softmax weights rounded to the type of the values."""
    if DOT == "fp8":
        if FORMAT == "e4m3fn":
            rounded = weight.to(tl.float8e4nv)
        else:
            rounded = weight.to(tl.float8e4b8)
    elif DOT == "fp16":
        rounded = weight.to(tl.float16)
    else:
        rounded = weight.to(tl.bfloat16)
    return rounded


@triton.jit
def _walk_keys(
    query,
    query_rope,
    keys,
    values,
    kv_page_indices,
    first,
    last,
    limit,
    scale_log2,
    k_token_stride,
    v_token_stride,
    peak,
    total,
    result,
    MASKED: tl.constexpr,
    PAGED: tl.constexpr,
    FORMAT: tl.constexpr,
    NATIVE: tl.constexpr,
    DOT: tl.constexpr,
    VALUE_DOT: tl.constexpr,
    SHIFT: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Online softmax over the keys at [first, last); row r sees those below limit[r].

    The largest weight of a row is 2^SHIFT.
    """
    dim = tl.arange(0, 128)
    rope_dim = 128 + tl.arange(0, 64)
    for start in range(first, last, BLOCK_K):
        position = start + tl.arange(0, BLOCK_K)
        live = position < last
        if PAGED:
            row = tl.load(kv_page_indices + position, mask=live, other=0)
        else:
            row = position
        key_base = row.to(tl.int64) * k_token_stride
        value_base = row.to(tl.int64) * v_token_stride
        key = _load_tile(keys, key_base[:, None] + dim[None, :], live, MASKED, FORMAT, NATIVE, DOT)
        key_rope = _load_tile(keys, key_base[:, None] + rope_dim[None, :], live, MASKED, FORMAT, NATIVE, DOT)
        value = _load_tile(values, value_base[:, None] + dim[None, :], live, MASKED, FORMAT, NATIVE, VALUE_DOT)
        score = tl.dot(query, tl.trans(key), out_dtype=tl.float32)
        score = tl.dot(query_rope, tl.trans(key_rope), score, out_dtype=tl.float32)
        if MASKED:
            seen = position[None, :] < limit[:, None]
            score = tl.where(seen, score, float("-inf"))
        highest = tl.maximum(peak, tl.max(score, axis=1) * scale_log2)
        rescale = tl.exp2(peak - highest)
        # Fused by name: left to the compiler, the bits would depend on stages and on how memory is addressed.
        weight = tl.exp2(tl.fma(score, scale_log2, (SHIFT - highest)[:, None]))
        total = tl.fma(total, rescale, tl.sum(weight, axis=1))
        peak = highest
        result = result * rescale[:, None]
        result = tl.dot(_as_operand(weight, FORMAT, VALUE_DOT), value, result, out_dtype=tl.float32)
    return peak, total, result


@triton.jit
def _attend_rows(
    queries,
    keys,
    values,
    kv_page_indices,
    row,
    row_end,
    key_first,
    key_end,
    own_key,
    scale_log2,
    value_scale,
    q_token_stride,
    k_token_stride,
    v_token_stride,
    CAUSAL: tl.constexpr,
    PAGED: tl.constexpr,
    FORMAT: tl.constexpr,
    NATIVE: tl.constexpr,
    DOT: tl.constexpr,
    VALUE_DOT: tl.constexpr,
    SHIFT: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Normalised fp32 result [BLOCK_Q, 128] and natural LSE of rows over [key_first, key_end) of one head.

    own_key: position of each row's own key, the last one it sees. A row that sees nothing has 0 and -inf.
    """
    known = row < row_end
    dim = tl.arange(0, 128)
    query_base = row.to(tl.int64) * q_token_stride
    query = _load_tile(queries, query_base[:, None] + dim[None, :], known, True, FORMAT, NATIVE, DOT)
    rope_at = query_base[:, None] + (128 + tl.arange(0, 64))[None, :]
    query_rope = _load_tile(queries, rope_at, known, True, FORMAT, NATIVE, DOT)
    if CAUSAL:
        limit = tl.minimum(own_key + 1, key_end)
    else:
        limit = tl.zeros_like(own_key) + key_end
    last = tl.max(tl.where(known, limit, key_first), axis=0)
    whole = tl.maximum(tl.min(limit, axis=0) - key_first, 0) // BLOCK_K
    edge = key_first + whole * BLOCK_K
    # Finite, so that a block in which a row sees nothing leaves exp2(peak - peak) = 1 and not NaN.
    peak = tl.full([BLOCK_Q], -3.4028234663852886e38, tl.float32)
    total = tl.zeros([BLOCK_Q], tl.float32)
    result = tl.zeros([BLOCK_Q, 128], tl.float32)
    peak, total, result = _walk_keys(
        query, query_rope, keys, values, kv_page_indices, key_first, edge, limit, scale_log2,
        k_token_stride, v_token_stride, peak, total, result,
        False, PAGED, FORMAT, NATIVE, DOT, VALUE_DOT, SHIFT, BLOCK_K,
    )  # fmt: skip
    peak, total, result = _walk_keys(
        query, query_rope, keys, values, kv_page_indices, edge, last, limit, scale_log2,
        k_token_stride, v_token_stride, peak, total, result,
        True, PAGED, FORMAT, NATIVE, DOT, VALUE_DOT, SHIFT, BLOCK_K,
    )  # fmt: skip
    # Nothing seen: the sum of no value is 0, whatever it is divided by.
    empty = total == 0.0
    share = value_scale / tl.where(empty, 1.0, total)
    natural = (peak + tl.log2(tl.where(empty, 1.0, total)) - SHIFT) * 0.6931471805599453
    return result * share[:, None], tl.where(empty, float("-inf"), natural)


@triton.jit
def _mla_prefill_ps_kernel(
    q,
    k,
    v,
    qo_indptr,
    kv_indptr,
    kv_page_indices,
    work_indptr,
    work_info_set,
    split_data,
    split_lse,
    output,
    final_lse,
    q_scale,
    k_scale,
    v_scale,
    softmax_scale,
    q_token_stride,
    q_head_stride,
    k_token_stride,
    k_head_stride,
    v_token_stride,
    v_head_stride,
    data_row_stride,
    data_head_stride,
    split_lse_stride,
    output_token_stride,
    output_head_stride,
    lse_token_stride,
    lse_head_stride,
    HAS_Q_SCALE: tl.constexpr,
    HAS_K_SCALE: tl.constexpr,
    HAS_V_SCALE: tl.constexpr,
    HAS_LSE: tl.constexpr,
    CAUSAL: tl.constexpr,
    PAGED: tl.constexpr,
    FORMAT: tl.constexpr,
    NATIVE: tl.constexpr,
    DOT: tl.constexpr,
    VALUE_DOT: tl.constexpr,
    SHIFT: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Program w does the work items [work_indptr[w], work_indptr[w + 1]), one head and part of a tile each."""
    worker = tl.program_id(0)
    score_scale = _given_or_one(q_scale, HAS_Q_SCALE) * _given_or_one(k_scale, HAS_K_SCALE)
    scale_log2 = softmax_scale * 1.4426950408889634 * score_scale
    value_scale = _given_or_one(v_scale, HAS_V_SCALE)
    dim = tl.arange(0, 128)
    for item in range(tl.load(work_indptr + worker), tl.load(work_indptr + worker + 1)):
        info = work_info_set + item.to(tl.int64) * 8
        request = tl.load(info)
        slot = tl.load(info + 1)
        q_start = tl.load(info + 2)
        q_end = tl.load(info + 3)
        kv_start = tl.load(info + 4)
        kv_end = tl.load(info + 5)
        head = (tl.load(info + 7) & 0xFFFF).to(tl.int64)
        # Queries are the last tokens of their request: the last row's own key is the last key.
        to_own_key = tl.load(kv_indptr + request + 1) - tl.load(qo_indptr + request + 1)
        queries = q + head * q_head_stride
        keys = k + head * k_head_stride
        values = v + head * v_head_stride
        for block in range(q_start, q_end, BLOCK_Q):
            row = block + tl.arange(0, BLOCK_Q)
            known = row < q_end
            result, lse = _attend_rows(
                queries, keys, values, kv_page_indices, row, q_end, kv_start, kv_end, row + to_own_key,
                scale_log2, value_scale, q_token_stride, k_token_stride, v_token_stride,
                CAUSAL, PAGED, FORMAT, NATIVE, DOT, VALUE_DOT, SHIFT, BLOCK_Q, BLOCK_K,
            )  # fmt: skip
            if slot < 0:
                output_base = row.to(tl.int64) * output_token_stride + head * output_head_stride
                rounded = result.to(output.dtype.element_ty)
                tl.store(output + output_base[:, None] + dim[None, :], rounded, mask=known[:, None])
                if HAS_LSE:
                    lse_at = row.to(tl.int64) * lse_token_stride + head * lse_head_stride
                    tl.store(final_lse + lse_at, lse, mask=known)
            else:
                part_row = (slot + row - q_start).to(tl.int64)
                part_base = part_row * data_row_stride + head * data_head_stride
                tl.store(split_data + part_base[:, None] + dim[None, :], result, mask=known[:, None])
                tl.store(split_lse + part_row * split_lse_stride + head, lse, mask=known)


@triton.jit
def _mla_prefill_fallback_kernel(
    q,
    k,
    v,
    qo_indptr,
    kv_indptr,
    kv_page_indices,
    output,
    final_lse,
    q_scale,
    k_scale,
    v_scale,
    softmax_scale,
    q_token_stride,
    q_head_stride,
    k_token_stride,
    k_head_stride,
    v_token_stride,
    v_head_stride,
    output_token_stride,
    output_head_stride,
    lse_token_stride,
    lse_head_stride,
    HAS_Q_SCALE: tl.constexpr,
    HAS_K_SCALE: tl.constexpr,
    HAS_V_SCALE: tl.constexpr,
    HAS_LSE: tl.constexpr,
    CAUSAL: tl.constexpr,
    PAGED: tl.constexpr,
    FORMAT: tl.constexpr,
    NATIVE: tl.constexpr,
    DOT: tl.constexpr,
    VALUE_DOT: tl.constexpr,
    SHIFT: tl.constexpr,
    BLOCK_Q: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Program (t, h, b) attends from the t-th last block of queries of request b in head h."""
    head = tl.program_id(1).to(tl.int64)
    request = tl.program_id(2)
    q_begin = tl.load(qo_indptr + request)
    q_end = tl.load(qo_indptr + request + 1)
    # Long rows first: causal blocks grow, and the longest should not start last.
    block = q_begin + (tl.num_programs(0) - 1 - tl.program_id(0)) * BLOCK_Q
    if block < q_end:
        kv_begin = tl.load(kv_indptr + request)
        kv_end = tl.load(kv_indptr + request + 1)
        row = block + tl.arange(0, BLOCK_Q)
        own_key = row + (kv_end - q_end)
        score_scale = _given_or_one(q_scale, HAS_Q_SCALE) * _given_or_one(k_scale, HAS_K_SCALE)
        plain_scale_log2 = softmax_scale * 1.4426950408889634 * score_scale
        result, lse = _attend_rows(
            q + head * q_head_stride, k + head * k_head_stride, v + head * v_head_stride, kv_page_indices,
            row, q_end, kv_begin, kv_end, own_key, plain_scale_log2, _given_or_one(v_scale, HAS_V_SCALE),
            q_token_stride, k_token_stride, v_token_stride,
            CAUSAL, PAGED, FORMAT, NATIVE, DOT, VALUE_DOT, SHIFT, BLOCK_Q, BLOCK_K,
        )  # fmt: skip
        known = row < q_end
        row_at = row.to(tl.int64)
        target = row_at[:, None] * output_token_stride + head * output_head_stride + tl.arange(0, 128)[None, :]
        tl.store(output + target, result.to(output.dtype.element_ty), mask=known[:, None])
        if HAS_LSE:
            tl.store(final_lse + row_at * lse_token_stride + head * lse_head_stride, lse, mask=known)


def mla_prefill_ps(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    output: torch.Tensor,
    qo_indptr: torch.Tensor,
    kv_indptr: torch.Tensor,
    *,
    max_seqlen_q: int,
    softmax_scale: float,
    variant: PrefillVariant,
    kv_page_indices: torch.Tensor | None = None,
    is_causal: bool = True,
    q_scale: torch.Tensor | None = None,
    k_scale: torch.Tensor | None = None,
    v_scale: torch.Tensor | None = None,
    final_lse: torch.Tensor | None = None,
    work_indptr: torch.Tensor | None = None,
    work_info_set: torch.Tensor | None = None,
    split_data: torch.Tensor | None = None,
    split_lse: torch.Tensor | None = None,
    reduce_indptr: torch.Tensor | None = None,
    reduce_final_map: torch.Tensor | None = None,
    reduce_partial_map: torch.Tensor | None = None,
) -> None:
    """output[i, h] = v_scale * sum_j softmax_j(softmax_scale * q_scale * k_scale * q[i, h] . k[j, h]) v[j, h].

    q: [>= Tq, H, 192], k: [n, H, 192], v: [n, H, 128], all uint8 or fp8, or all bf16; strides free over tokens and
    heads. Request b has the rows [qo_indptr[b], qo_indptr[b + 1]) and the keys kv_page_indices[j] (or j itself) for
    kv_indptr[b] <= j < kv_indptr[b + 1]; its rows are its last tokens, so row i of T sees the first L - T + i + 1 of L
    keys. Scales: fp32 [1], None for 1. softmax_scale has no default: AITER's would be that of the value's width.
    output: bf16 (or any float) [>= Tq, H, 128]; a row without keys becomes 0. final_lse: fp32 [>= Tq, H], natural log,
    any strides, -inf for such a row; None leaves it out.

    The path "persistent" needs a plan: work_indptr int32 [W + 1] (W programs), work_info_set int32 [>= works, 8],
    reduce_indptr, reduce_final_map, reduce_partial_map, and scratch split_data fp32 [>= parts * tile, H, 128] and
    split_lse fp32 [>= parts * tile, H], both contents ignored. max_seqlen_q: at least the longest T.
    The path "fallback" reads none of these seven; given in part they are refused on either path.
    Raises LayoutError for shapes or strides that the kernels cannot honour, PartialMetadata for a plan in parts.
    """
    _check(q, k, v, output, final_lse, variant)
    work = (work_indptr, work_info_set, split_data, split_lse)
    maps = (reduce_indptr, reduce_final_map, reduce_partial_map)
    planned = all_or_none((*work, *maps), PLAN)
    if variant.path == "persistent" and not planned:
        raise LayoutError(f"path 'persistent' is chosen without a plan; pass {', '.join(PLAN)}")
    heads, requests = q.shape[1], qo_indptr.shape[0] - 1
    if requests < 1 or q.shape[0] == 0:
        return
    lse = output if final_lse is None else final_lse
    queries, keys, values = (byte_view(x) if variant.fp8 != BF16 else x for x in (q, k, v))
    states = (queries, keys, values, qo_indptr, kv_indptr, kv_page_indices)
    scales = (q_scale, k_scale, v_scale, softmax_scale)
    strides = tuple(stride for x in (queries, keys, values) for stride in x.stride()[:2])
    results = (output.stride(0), output.stride(1), lse.stride(0), lse.stride(1))
    constants = {
        "HAS_Q_SCALE": q_scale is not None,
        "HAS_K_SCALE": k_scale is not None,
        "HAS_V_SCALE": v_scale is not None,
        "HAS_LSE": final_lse is not None,
        "CAUSAL": is_causal,
        "PAGED": kv_page_indices is not None,
        "FORMAT": variant.fp8,
        "NATIVE": variant.native,
        "DOT": variant.dot,
        "VALUE_DOT": variant.value_dot,
        "SHIFT": variant.weight_shift,
        "BLOCK_Q": variant.block_q,
        "BLOCK_K": variant.block_k,
        **variant.options,
    }
    if variant.path == "fallback":
        blocks = triton.cdiv(max_seqlen_q, variant.block_q)
        if blocks:
            grid = (blocks, heads, requests)
            _mla_prefill_fallback_kernel[grid](*states, output, lse, *scales, *strides, *results, **constants)
        return
    parts = (split_data.stride(0), split_data.stride(1), split_lse.stride(0))  # type: ignore[union-attr]
    workers = work_indptr.shape[0] - 1  # type: ignore[union-attr]
    _mla_prefill_ps_kernel[(workers,)](*states, *work, output, lse, *scales, *strides, *parts, *results, **constants)
    mla_prefill_reduce(split_data, split_lse, *maps, output, final_lse=final_lse, variant=variant.reduce)


def _check(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    output: torch.Tensor,
    final_lse: torch.Tensor | None,
    variant: PrefillVariant,
) -> None:
    tokens, heads, _ = q.shape
    expected = {
        "q": (q, (tokens, heads, QK_DIM)),
        "k": (k, (k.shape[0], heads, QK_DIM)),
        "v": (v, (k.shape[0], heads, V_DIM)),
        "output": (output, (tokens, heads, V_DIM)),
    }
    for name, (tensor, shape) in expected.items():
        if tuple(tensor.shape) != shape:
            raise LayoutError(f"{name} is {tuple(tensor.shape)}; {shape} is needed for these queries")
        require_unit_stride(name, tensor)
    if final_lse is not None and tuple(final_lse.shape) != (tokens, heads):
        raise LayoutError(f"final_lse is {tuple(final_lse.shape)}; pass fp32 {(tokens, heads)} or None")
    plain = [x.dtype is torch.bfloat16 for x in (q, k, v)]
    if plain != [variant.fp8 == BF16] * 3:
        raise LayoutError(f"q, k and v are {q.dtype}, {k.dtype} and {v.dtype}, the decisions are for {variant.fp8}")
