"""Dense MLA decode over a paged latent cache: along a persistent plan, or split evenly without one.

Contract: AITER `mla_decode_fwd` (aiter/mla.py), vLLM rocm_aiter_mla.py (vllm-project/vllm#36574). One latent row of
576 dims is the key, its first 512 dims are the value: every tile is loaded once and used twice.
"""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAssignmentType=false
from __future__ import annotations

from typing import Any

import torch
import triton
import triton.language as tl

from rocassay.harness.layouts import LayoutError
from rocassay.kernels.common.fp8_codec import decode_fp8
from rocassay.kernels.common.tensors import byte_view, require_unit_stride
from rocassay.kernels.persistent.buffers import NAMES, WORDS, PlanError, all_or_none
from rocassay.kernels.persistent.dispatch import MlaDecodeVariant
from rocassay.kernels.persistent.mla_reduce import mla_reduce
from rocassay.kernels.persistent.mla_rows import head_of, token_of

KEY_DIM = 576
"""512 latent dims and 64 RoPE dims."""

VALUE_DIM = 512

PLAN = ("work_meta_data", *NAMES[1:])
"""A plan's buffers as `mla_decode_fwd` calls them: all of them or none."""

_LOG2_E = 1.4426950408889634
_FP8_TYPES = (torch.uint8, torch.float8_e4m3fn, torch.float8_e4m3fnuz)


@triton.jit
def _wide(code, FORMAT: tl.constexpr, NATIVE: tl.constexpr, HALF: tl.constexpr):
    """FP8 codes as fp16, or as bf16 where they meet bf16 queries; both hold every value."""
    value = decode_fp8(code, FORMAT, NATIVE)
    return value.to(tl.float16) if HALF else value.to(tl.float16).to(tl.bfloat16)


@triton.jit
def _operand(loaded, IS_FP8: tl.constexpr, NATIVE_DOT: tl.constexpr, FORMAT: tl.constexpr, NATIVE: tl.constexpr,
             HALF: tl.constexpr):  # fmt: skip
    """What the score product takes of loaded elements."""
    if not IS_FP8:
        value = loaded
    elif NATIVE_DOT:
        value = decode_fp8(loaded, FORMAT, NATIVE)
    else:
        value = _wide(loaded, FORMAT, NATIVE, HALF)
    return value


@triton.jit
def _attend(
    q,
    query_base,
    known,
    limit,
    kv_buffer,
    positions,
    begin,
    end,
    page_stride,
    token_stride,
    scale_log2,
    Q_FP8: tl.constexpr,
    KV_FP8: tl.constexpr,
    FORMAT: tl.constexpr,
    NATIVE: tl.constexpr,
    HALF_DOT: tl.constexpr,
    PAGE_SIZE: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Online softmax of BLOCK_M query rows over the keys [begin, end) of a request, row i below limit[i].

    positions: the request's part of kv_indices. Returns the running maximum (base 2), sum and unnormalised result.
    """
    NATIVE_DOT: tl.constexpr = Q_FP8 and NATIVE and not HALF_DOT
    dim = tl.arange(0, 512)
    rope_dim = 512 + tl.arange(0, 64)
    query = tl.load(q + query_base[:, None] + dim[None, :], mask=known[:, None], other=0)
    query_rope = tl.load(q + query_base[:, None] + rope_dim[None, :], mask=known[:, None], other=0)
    query = _operand(query, Q_FP8, NATIVE_DOT, FORMAT, NATIVE, Q_FP8)
    query_rope = _operand(query_rope, Q_FP8, NATIVE_DOT, FORMAT, NATIVE, Q_FP8)
    # Finite, so that a tile without any visible key leaves exp2(peak - peak) = 1 and not NaN.
    peak = tl.full([BLOCK_M], -3.4028234663852886e38, tl.float32)
    total = tl.zeros([BLOCK_M], tl.float32)
    result = tl.zeros([BLOCK_M, 512], tl.float32)
    for start in range(begin, end, BLOCK_N):
        key = start + tl.arange(0, BLOCK_N)
        # Keys behind the end are not loaded: a page's tail may hold NaN, and 0 * NaN is NaN.
        live = key < end
        page = tl.load(positions + key // PAGE_SIZE, mask=live, other=0).to(tl.int64)
        page_base = page * page_stride
        key_base = page_base + (key % PAGE_SIZE) * token_stride
        latent = tl.load(kv_buffer + key_base[:, None] + dim[None, :], mask=live[:, None], other=0)
        rope = tl.load(kv_buffer + key_base[:, None] + rope_dim[None, :], mask=live[:, None], other=0)
        value = _wide(latent, FORMAT, NATIVE, Q_FP8) if KV_FP8 else latent
        left = _operand(latent, KV_FP8, NATIVE_DOT, FORMAT, NATIVE, Q_FP8) if NATIVE_DOT else value
        right = _operand(rope, KV_FP8, NATIVE_DOT, FORMAT, NATIVE, Q_FP8)
        score = tl.dot(query, tl.trans(left), out_dtype=tl.float32)
        score = tl.dot(query_rope, tl.trans(right), score, out_dtype=tl.float32)
        score = score * scale_log2
        seen = live[None, :] & (key[None, :] < limit[:, None])
        score = tl.where(seen, score, float("-inf"))
        highest = tl.maximum(peak, tl.max(score, axis=1))
        rescale = tl.exp2(peak - highest)
        weight = tl.exp2(score - highest[:, None])
        total = total * rescale + tl.sum(weight, axis=1)
        peak = highest
        result = result * rescale[:, None]
        result = tl.dot(weight.to(value.dtype), value, result, out_dtype=tl.float32)
    return peak, total, result


@triton.jit
def _length(kv_indptr, kv_last_page_lens, request, PAGE_SIZE: tl.constexpr):
    """(first position in kv_indices, keys) of a request; without a page its last page's length says nothing."""
    first = tl.load(kv_indptr + request)
    pages = tl.load(kv_indptr + request + 1) - first
    tail = tl.load(kv_last_page_lens + request)
    length = tl.where(pages > 0, (pages - 1) * PAGE_SIZE + tail, 0)
    return first, length


@triton.jit
def _scales(q_scale, kv_scale, sm_scale_log2, HAS_Q_SCALE: tl.constexpr, HAS_KV_SCALE: tl.constexpr):
    """(factor of the scores in base 2, factor of the values)."""
    scale_log2 = sm_scale_log2
    latent_scale = 1.0
    if HAS_Q_SCALE:
        scale_log2 = scale_log2 * tl.load(q_scale)
    if HAS_KV_SCALE:
        latent_scale = tl.load(kv_scale)
    return scale_log2 * latent_scale, latent_scale


@triton.jit
def _finished(peak, total, result, latent_scale):
    """(output, natural LSE) of running sums; a row without a visible key is 0 and -inf."""
    value_scale = latent_scale
    share = value_scale / tl.where(total == 0.0, 1.0, total)
    natural = (peak + tl.log2(total)) * 0.6931471805599453
    lse = tl.where(total == 0.0, float("-inf"), natural)
    return result * share[:, None], lse


@triton.jit
def _mla_decode_persistent_kernel(
    q,
    kv_buffer,
    o,
    final_lse,
    part_output,
    part_lse,
    qo_indptr,
    kv_indptr,
    kv_indices,
    kv_last_page_lens,
    work_indptr,
    work_info_set,
    q_scale,
    kv_scale,
    sm_scale_log2,
    q_token_stride,
    q_head_stride,
    page_stride,
    token_stride,
    o_token_stride,
    o_head_stride,
    lse_token_stride,
    part_row_stride,
    part_head_stride,
    part_lse_stride,
    WIDTH: tl.constexpr,
    FOLD: tl.constexpr,
    QLEN: tl.constexpr,
    CAUSAL: tl.constexpr,
    HAS_Q_SCALE: tl.constexpr,
    HAS_KV_SCALE: tl.constexpr,
    HAS_LSE: tl.constexpr,
    Q_FP8: tl.constexpr,
    KV_FP8: tl.constexpr,
    FORMAT: tl.constexpr,
    NATIVE: tl.constexpr,
    HALF_DOT: tl.constexpr,
    PAGE_SIZE: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Program w does the work items [work_indptr[w], work_indptr[w + 1]) one after the other."""
    dim = tl.arange(0, 512)
    scale_log2, latent_scale = _scales(q_scale, kv_scale, sm_scale_log2, HAS_Q_SCALE, HAS_KV_SCALE)
    worker = tl.program_id(0)
    for item in range(tl.load(work_indptr + worker), tl.load(work_indptr + worker + 1)):
        info = work_info_set + item * 8
        virtual = tl.load(info)
        slot = tl.load(info + 1)
        q_start = tl.load(info + 2)
        rows = (tl.load(info + 3) - q_start) * WIDTH
        kv_start = tl.load(info + 4)
        behind = tl.load(info + 6)
        request = virtual // FOLD
        kv_first, length = _length(kv_indptr, kv_last_page_lens, request, PAGE_SIZE)
        begin = (kv_start - kv_first) * PAGE_SIZE
        end = length - behind
        q_first = tl.load(qo_indptr + request)
        hidden = length - (tl.load(qo_indptr + request + 1) - q_first)
        row_first = q_first if FOLD == 1 else virtual * QLEN
        for block in range(0, rows, BLOCK_M):
            row = block + tl.arange(0, BLOCK_M)
            known = row < rows
            plan_row = q_start + row // WIDTH
            head = row % WIDTH
            token = token_of(plan_row, FOLD, QLEN)
            place = head_of(plan_row, head, FOLD, QLEN, WIDTH)
            if CAUSAL:
                limit = hidden + plan_row - row_first + 1
            else:
                limit = tl.full([BLOCK_M], 0, tl.int32) + length
            query_base = token * q_token_stride + place * q_head_stride
            peak, total, result = _attend(
                q, query_base, known, limit, kv_buffer, kv_indices + kv_first, begin, end, page_stride, token_stride,
                scale_log2, Q_FP8, KV_FP8, FORMAT, NATIVE, HALF_DOT, PAGE_SIZE, BLOCK_M, BLOCK_N,
            )  # fmt: skip
            output, lse = _finished(peak, total, result, latent_scale)
            if slot < 0:
                o_base = token * o_token_stride + place * o_head_stride
                tl.store(o + o_base[:, None] + dim[None, :], output.to(o.dtype.element_ty), mask=known[:, None])
                if HAS_LSE:
                    tl.store(final_lse + token * lse_token_stride + place, lse, mask=known)
            else:
                part_row = (slot + row // WIDTH).to(tl.int64)
                part_base = part_row * part_row_stride + head.to(tl.int64) * part_head_stride
                tl.store(part_output + part_base[:, None] + dim[None, :], output, mask=known[:, None])
                tl.store(part_lse + part_row * part_lse_stride + head, lse, mask=known)


@triton.jit
def _mla_decode_split_kernel(
    q,
    kv_buffer,
    o,
    final_lse,
    part_output,
    part_lse,
    qo_indptr,
    kv_indptr,
    kv_indices,
    kv_last_page_lens,
    q_scale,
    kv_scale,
    sm_scale_log2,
    q_token_stride,
    q_head_stride,
    page_stride,
    token_stride,
    o_token_stride,
    o_head_stride,
    lse_token_stride,
    part_token_stride,
    part_split_stride,
    part_head_stride,
    part_lse_token_stride,
    part_lse_split_stride,
    BLOCKS,
    HEADS: tl.constexpr,
    ONE_SPLIT: tl.constexpr,
    CAUSAL: tl.constexpr,
    HAS_Q_SCALE: tl.constexpr,
    HAS_KV_SCALE: tl.constexpr,
    HAS_LSE: tl.constexpr,
    Q_FP8: tl.constexpr,
    KV_FP8: tl.constexpr,
    FORMAT: tl.constexpr,
    NATIVE: tl.constexpr,
    HALF_DOT: tl.constexpr,
    PAGE_SIZE: tl.constexpr,
    BLOCK_M: tl.constexpr,
    BLOCK_N: tl.constexpr,
):
    """Program (b * BLOCKS + k, s): rows [k * BLOCK_M, ...) of request b over split s of its keys.

    An empty split leaves an LSE of -inf and does not touch its output.
    """
    dim = tl.arange(0, 512)
    request = tl.program_id(0) // BLOCKS
    q_first = tl.load(qo_indptr + request)
    q_len = tl.load(qo_indptr + request + 1) - q_first
    row = (tl.program_id(0) % BLOCKS) * BLOCK_M + tl.arange(0, BLOCK_M)
    known = row < q_len * HEADS
    if (tl.program_id(0) % BLOCKS) * BLOCK_M < q_len * HEADS:
        scale_log2, latent_scale = _scales(q_scale, kv_scale, sm_scale_log2, HAS_Q_SCALE, HAS_KV_SCALE)
        kv_first, length = _length(kv_indptr, kv_last_page_lens, request, PAGE_SIZE)
        split = tl.program_id(1)
        chunk = tl.cdiv(tl.cdiv(length, tl.num_programs(1)), BLOCK_N) * BLOCK_N
        begin = split * chunk
        end = tl.minimum(begin + chunk, length)
        token = (q_first + row // HEADS).to(tl.int64)
        head = (row % HEADS).to(tl.int64)
        if CAUSAL:
            limit = length - q_len + row // HEADS + 1
        else:
            limit = tl.full([BLOCK_M], 0, tl.int32) + length
        query_base = token * q_token_stride + head * q_head_stride
        peak, total, result = _attend(
            q, query_base, known, limit, kv_buffer, kv_indices + kv_first, begin, end, page_stride, token_stride,
            scale_log2, Q_FP8, KV_FP8, FORMAT, NATIVE, HALF_DOT, PAGE_SIZE, BLOCK_M, BLOCK_N,
        )  # fmt: skip
        output, lse = _finished(peak, total, result, latent_scale)
        if ONE_SPLIT:
            o_base = token * o_token_stride + head * o_head_stride
            final = output.to(o.dtype.element_ty)
            tl.store(o + o_base[:, None] + dim[None, :], final, mask=known[:, None])
            if HAS_LSE:
                tl.store(final_lse + token * lse_token_stride + head, lse, mask=known)
        else:
            part_base = token * part_token_stride + split.to(tl.int64) * part_split_stride + head * part_head_stride
            used = known & (total != 0.0)
            tl.store(part_output + part_base[:, None] + dim[None, :], output, mask=used[:, None])
            lse_base = token * part_lse_token_stride + split.to(tl.int64) * part_lse_split_stride
            tl.store(part_lse + lse_base + head, lse, mask=known)


@triton.jit
def _mla_decode_merge_kernel(
    part_output,
    part_lse,
    o,
    final_lse,
    splits,
    part_token_stride,
    part_split_stride,
    part_head_stride,
    part_lse_token_stride,
    part_lse_split_stride,
    o_token_stride,
    o_head_stride,
    lse_token_stride,
    HEADS: tl.constexpr,
    HAS_LSE: tl.constexpr,
    ROWS: tl.constexpr,
    PARTS: tl.constexpr,
):
    """Program (t * blocks + k) merges the splits of heads [k * ROWS, ...) of token t."""
    BLOCKS: tl.constexpr = (HEADS + ROWS - 1) // ROWS
    token = (tl.program_id(0) // BLOCKS).to(tl.int64)
    head = (tl.program_id(0) % BLOCKS) * ROWS + tl.arange(0, ROWS).to(tl.int64)
    known = head < HEADS
    dim = tl.arange(0, 512)
    peak = tl.full([ROWS], -3.4028234663852886e38, tl.float32)
    total = tl.zeros([ROWS], tl.float32)
    result = tl.zeros([ROWS, 512], tl.float32)
    for start in range(0, splits, PARTS):
        split = (start + tl.arange(0, PARTS)).to(tl.int64)
        here = known[:, None] & (split < splits)[None, :]
        lse_at = token * part_lse_token_stride + split[None, :] * part_lse_split_stride + head[:, None]
        lse = tl.load(part_lse + lse_at, mask=here, other=float("-inf"))
        # The output of an empty split is whatever lay in memory: it is not read.
        live = lse > float("-inf")
        highest = tl.maximum(peak, tl.max(lse, axis=1))
        rescale = tl.exp(peak - highest)
        weight = tl.exp(lse - highest[:, None])
        part_base = token * part_token_stride + split[None, :] * part_split_stride + head[:, None] * part_head_stride
        value_at = part_base[:, :, None] + dim[None, None, :]
        value = tl.load(part_output + value_at, mask=live[:, :, None], other=0.0)
        total = total * rescale + tl.sum(weight, axis=1)
        result = result * rescale[:, None] + tl.sum(value * weight[:, :, None], axis=1)
        peak = highest
    merged = result / tl.where(total == 0.0, 1.0, total)[:, None]
    o_base = token * o_token_stride + head * o_head_stride
    tl.store(o + o_base[:, None] + dim[None, :], merged.to(o.dtype.element_ty), mask=known[:, None])
    if HAS_LSE:
        lse_merged = tl.where(total == 0.0, float("-inf"), peak + tl.log(total))
        tl.store(final_lse + token * lse_token_stride + head, lse_merged, mask=known)


def mla_decode_fwd(
    q: torch.Tensor,
    kv_buffer: torch.Tensor,
    o: torch.Tensor,
    qo_indptr: torch.Tensor,
    kv_indptr: torch.Tensor,
    kv_indices: torch.Tensor,
    kv_last_page_lens: torch.Tensor,
    *,
    max_seqlen_q: int,
    sm_scale: float,
    logits: torch.Tensor,
    attn_lse: torch.Tensor,
    variant: MlaDecodeVariant,
    causal: int = 1,
    work_meta_data: torch.Tensor | None = None,
    work_indptr: torch.Tensor | None = None,
    work_info_set: torch.Tensor | None = None,
    reduce_indptr: torch.Tensor | None = None,
    reduce_final_map: torch.Tensor | None = None,
    reduce_partial_map: torch.Tensor | None = None,
    q_scale: torch.Tensor | None = None,
    kv_scale: torch.Tensor | None = None,
    final_lse: torch.Tensor | None = None,
) -> None:
    """o[t, h] = softmax over the visible keys of t's request of sm_scale * q . k, applied to the first 512 key dims.

    q: bf16 or FP8 (uint8 or the torch type) [T, H, 576]. kv_buffer: likewise [NP, PAGE, 1, 576] (the unit dimension
    may be missing), the latent rows; strides over pages, tokens and heads are free. o: bf16 [T, H, 512]; final_lse:
    fp32 [T, H] or None, natural. qo_indptr, kv_indptr: int32 [B + 1] of tokens and of positions in kv_indices (pages);
    kv_last_page_lens: int32 [B]. Causal: the tokens of a request are its last ones. Rows without a visible key get 0
    and -inf. q_scale, kv_scale: fp32 with one element, both required when q is FP8.
    The six work and reduce buffers are a plan (see `planner`), all or none of them: with them the variant's path must
    be "persistent", and logits [R, H / fold, 512] and attn_lse [R, H / fold], fp32, hold the partial rows that the
    plan names; without them "plain", and they are at least [T, S, H, 512] and [T, S, H] with
    S = variant.splits(B, numel of kv_indices, PAGE). Their contents are ignored.
    Raises PartialMetadata, PlanError or LayoutError for what the kernels cannot honour.
    """
    six = (work_meta_data, work_indptr, work_info_set, reduce_indptr, reduce_final_map, reduce_partial_map)
    persistent = all_or_none(six, PLAN)
    if persistent != (variant.path == "persistent"):
        given = "all" if persistent else "none"
        raise PlanError(f"path {variant.path!r} is chosen, but {given} of the plan's buffers are given; choose by them")
    page_size, page_stride, token_stride = _geometry(kv_buffer)
    _require_shapes(q, o, q_scale, kv_scale)
    if len(q) == 0 or max_seqlen_q == 0:
        return
    for name, tensor in (("q", q), ("o", o), ("logits", logits), ("attn_lse", attn_lse), ("final_lse", final_lse)):
        if tensor is not None:
            require_unit_stride(name, tensor)
    codes, cache = _codes(q), _codes(kv_buffer)
    lists = (qo_indptr, kv_indptr, kv_indices, kv_last_page_lens)
    scales = (q_scale, kv_scale, sm_scale * _LOG2_E)
    strides = (
        codes.stride(0),
        codes.stride(1),
        page_stride,
        token_stride,
        o.stride(0),
        o.stride(1),
        final_lse.stride(0) if final_lse is not None else 0,
    )
    constants: dict[str, Any] = {
        "CAUSAL": bool(causal),
        "HAS_Q_SCALE": q_scale is not None,
        "HAS_KV_SCALE": kv_scale is not None,
        "HAS_LSE": final_lse is not None,
        "Q_FP8": q.dtype in _FP8_TYPES,
        "KV_FP8": kv_buffer.dtype in _FP8_TYPES,
        "FORMAT": variant.fp8,
        "NATIVE": variant.native,
        "HALF_DOT": variant.half_dot,
        "PAGE_SIZE": page_size,
        "BLOCK_M": variant.block_m,
        "BLOCK_N": variant.block_n,
        **variant.options,
    }
    if not persistent:
        _plain(codes, cache, o, final_lse, logits, attn_lse, lists, scales, strides, max_seqlen_q, variant, constants)
        return
    assert work_indptr is not None
    assert work_info_set is not None
    assert reduce_indptr is not None
    assert reduce_partial_map is not None
    width = q.shape[1] // variant.fold
    if logits.shape[-2] != width or attn_lse.shape[1] != width or work_info_set.shape[1] != WORDS:
        raise LayoutError(
            f"logits is {tuple(logits.shape)}, attn_lse {tuple(attn_lse.shape)}, work_info_set "
            f"{tuple(work_info_set.shape)}; due are rows of {width} heads (folded {variant.fold} times), {WORDS} words"
        )
    _mla_decode_persistent_kernel[(work_indptr.numel() - 1,)](
        codes,
        cache,
        o,
        final_lse,
        logits,
        attn_lse,
        *lists,
        work_indptr,
        work_info_set,
        *scales,
        *strides,
        logits.stride(0),
        logits.stride(-2),
        attn_lse.stride(0),
        WIDTH=width,
        FOLD=variant.fold,
        QLEN=max_seqlen_q if variant.fold > 1 else 1,
        **constants,
    )
    mla_reduce(
        logits,
        attn_lse,
        reduce_indptr,
        reduce_partial_map,
        o,
        reduce_final_map=reduce_final_map,
        final_lse=final_lse,
        max_seqlen_q=max_seqlen_q,
        variant=variant.reduce,
    )


def _plain(
    q: torch.Tensor,
    cache: torch.Tensor,
    o: torch.Tensor,
    final_lse: torch.Tensor | None,
    logits: torch.Tensor,
    attn_lse: torch.Tensor,
    lists: tuple[torch.Tensor, ...],
    scales: tuple[Any, ...],
    strides: tuple[int, ...],
    max_seqlen_q: int,
    variant: MlaDecodeVariant,
    constants: dict[str, Any],
) -> None:
    """Every request in the same number of splits, and their merge."""
    tokens, heads = q.shape[:2]
    batch = lists[0].numel() - 1
    splits = variant.splits(batch, lists[2].numel(), constants["PAGE_SIZE"])
    have = tuple(logits.shape), tuple(attn_lse.shape)
    if have[0][0] < tokens or have[0][1] < splits or have[0][2:] != (heads, VALUE_DIM) or have[1] != have[0][:3]:
        raise LayoutError(f"logits is {have[0]} and attn_lse {have[1]}; pass fp32 of {(tokens, splits, heads)} rows")
    blocks = triton.cdiv(max_seqlen_q * heads, variant.block_m)
    parts = (logits.stride(0), logits.stride(1), logits.stride(2), attn_lse.stride(0), attn_lse.stride(1))
    _mla_decode_split_kernel[(batch * blocks, splits)](
        q,
        cache,
        o,
        final_lse,
        logits,
        attn_lse,
        *lists,
        *scales,
        *strides,
        *parts,
        blocks,
        HEADS=heads,
        ONE_SPLIT=splits == 1,
        **constants,
    )
    if splits > 1:
        _mla_decode_merge_kernel[(tokens * triton.cdiv(heads, variant.reduce.rows),)](
            logits,
            attn_lse,
            o,
            final_lse,
            splits,
            *parts,
            *strides[4:],
            HEADS=heads,
            HAS_LSE=final_lse is not None,
            ROWS=variant.reduce.rows,
            PARTS=variant.reduce.parts,
            num_warps=variant.reduce.num_warps,
        )


def _codes(tensor: torch.Tensor) -> torch.Tensor:
    """FP8 tensors as their bytes; never a copy."""
    return byte_view(tensor) if tensor.dtype in _FP8_TYPES else tensor


def _geometry(cache: torch.Tensor) -> tuple[int, int, int]:
    """(page size, elements from page to page, from token to token) of [NP, PAGE, (1,) 576]."""
    shape, strides = cache.shape, cache.stride()
    fits = len(shape) == 3 or (len(shape) == 4 and shape[2] == 1)
    if not fits or shape[-1] != KEY_DIM or strides[-1] != 1:
        raise LayoutError(
            f"kv_buffer is {tuple(shape)} with strides {strides}; "
            f"pass [pages, page size, 1, {KEY_DIM}] whose last dimension is contiguous"
        )
    return shape[1], strides[0], strides[1]


def _require_shapes(
    q: torch.Tensor, o: torch.Tensor, q_scale: torch.Tensor | None, kv_scale: torch.Tensor | None
) -> None:
    if q.dim() != 3 or q.shape[2] != KEY_DIM or tuple(o.shape) != (*q.shape[:2], VALUE_DIM):
        wanted = f"pass [T, H, {KEY_DIM}] and [T, H, {VALUE_DIM}]"
        raise LayoutError(f"q is {tuple(q.shape)} and o {tuple(o.shape)}; {wanted}")
    if q.dtype in _FP8_TYPES and (q_scale is None or kv_scale is None):
        raise LayoutError("q is FP8 and q_scale or kv_scale is missing; scores and values would lose their factors")
