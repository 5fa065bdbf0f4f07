"""Sparse attention of decode queries over two paged fp8_ds_mla caches, in one pass or split over the keys.

Contract: vLLM `rocm_sparse_attn_decode` (vllm-project/vllm#41812); page of 584 bytes a token: 448 FP8 and 64 bf16
dims of every token, then 8 scale bytes of every token (vLLM deepseek_v4 cache_utils.py).
"""

# pyright: reportArgumentType=false, reportCallIssue=false, reportAssignmentType=false
from __future__ import annotations

import torch
import triton
import triton.language as tl

from rocassay.harness.layouts import LayoutError
from rocassay.kernels.attention.dispatch import DecodeVariant
from rocassay.kernels.common.fp8_codec import decode_fp8
from rocassay.kernels.common.integers import ceil_div, power_of_two_from
from rocassay.kernels.common.tensors import require_unit_stride

HEAD_DIM = 512
RECORD_BYTES = 584
_LOG2_E = 1.4426950408889634
_SPLIT_TILE = 8


@triton.jit
def _load_rows(
    cache,
    slot,
    valid,
    block_stride,
    BLOCK_SIZE: tl.constexpr,
    FORMAT: tl.constexpr,
    NATIVE: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """bf16 [BLOCK_K, 512] rows of the slots: dequantised NoPE, then RoPE; NaN elements and invalid rows are 0."""
    page = slot // BLOCK_SIZE
    place = slot % BLOCK_SIZE
    page_base = page.to(tl.int64) * block_stride
    data_base = page_base + place * 576
    scale_base = page_base + BLOCK_SIZE * 576 + place * 8
    # Eight groups of 64 dims, one scale each; the last group is the RoPE part.
    group = tl.arange(0, 8)
    lane = tl.arange(0, 64)
    nope = valid[:, None] & (group < 7)[None, :]
    scale = tl.load(cache + scale_base[:, None] + group[None, :], mask=nope, other=127)
    code_at = data_base[:, None, None] + (group[:, None] * 64 + lane[None, :])[None, :, :]
    code = tl.load(cache + code_at, mask=nope[:, :, None], other=0)
    # ue8m0 is fp32's exponent field; only 0, which means 2^-127, is a subnormal there.
    exponent = scale.to(tl.int32)
    bits = tl.where(exponent == 0, 0x00400000, exponent << 23)
    factor = bits.to(tl.float32, bitcast=True)
    value = decode_fp8(code, FORMAT, NATIVE).to(tl.float32) * factor[:, :, None]
    # The base pointer is cast, not the lanes' pointers: only so are eight bf16 loaded at once.
    rope_base = (data_base + 448) // 2
    rope_at = rope_base[:, None, None] + (group[:, None] * 0 + lane[None, :])[None, :, :]
    is_rope = valid[:, None] & (group == 7)[None, :]
    rope = tl.load(cache.to(tl.pointer_type(tl.bfloat16)) + rope_at, mask=is_rope[:, :, None], other=0.0)
    row = tl.where((group == 7)[None, :, None], rope.to(tl.float32), value)
    row = tl.where(row == row, row, 0.0)
    return tl.reshape(row.to(tl.bfloat16), [BLOCK_K, 512])


@triton.jit
def _attend(
    query,
    cache,
    indices,
    begin,
    end,
    capacity,
    block_stride,
    scale_log2,
    peak,
    total,
    result,
    BLOCK_SIZE: tl.constexpr,
    FORMAT: tl.constexpr,
    NATIVE: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Online softmax over the slots at [begin, end) of a list; slots outside the cache are skipped."""
    for start in range(begin, end, BLOCK_K):
        position = start + tl.arange(0, BLOCK_K)
        slot = tl.load(indices + position, mask=position < end, other=-1)
        valid = (slot >= 0) & (slot < capacity)
        key = _load_rows(cache, slot, valid, block_stride, BLOCK_SIZE, FORMAT, NATIVE, BLOCK_K)
        score = tl.dot(query, tl.trans(key), out_dtype=tl.float32)
        score = score * scale_log2
        score = tl.where(valid[None, :], score, float("-inf"))
        highest = tl.maximum(peak, tl.max(score, axis=1))
        rescale = tl.exp2(peak - highest)
        weight = tl.exp2(score - highest[:, None])
        total = total * rescale + tl.sum(weight, axis=1)
        peak = highest
        result = result * rescale[:, None]
        result = tl.dot(weight.to(tl.bfloat16), key, result, out_dtype=tl.float32)
    return peak, total, result


@triton.jit
def _slice(indptr, token, split, splits):
    """Where split `split` of `splits` begins and ends in a token's list; empty slices have begin >= end."""
    first = tl.load(indptr + token)
    last = tl.load(indptr + token + 1)
    chunk = tl.cdiv(last - first, splits)
    begin = first + split * chunk
    return begin, tl.minimum(begin + chunk, last)


@triton.jit
def _attend_slices(
    q,
    main_cache,
    main_indices,
    main_indptr,
    main_capacity,
    main_stride,
    extra_cache,
    extra_indices,
    extra_indptr,
    extra_capacity,
    extra_stride,
    scale_log2,
    q_token_stride,
    q_head_stride,
    token,
    head,
    split,
    splits,
    HEADS: tl.constexpr,
    HAS_EXTRA: tl.constexpr,
    MAIN_BLOCK: tl.constexpr,
    MAIN_FORMAT: tl.constexpr,
    MAIN_NATIVE: tl.constexpr,
    EXTRA_BLOCK: tl.constexpr,
    EXTRA_FORMAT: tl.constexpr,
    EXTRA_NATIVE: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Running maximum (base 2), sum and unnormalised result of a split's slices of both lists."""
    known = head < HEADS
    dim = tl.arange(0, 512)
    query_base = token * q_token_stride + head.to(tl.int64) * q_head_stride
    query = tl.load(q + query_base[:, None] + dim[None, :], mask=known[:, None], other=0.0)
    # Finite, so that a tile without any valid slot leaves exp2(peak - peak) = 1 and not NaN.
    peak = tl.full([BLOCK_H], -3.4028234663852886e38, tl.float32)
    total = tl.zeros([BLOCK_H], tl.float32)
    result = tl.zeros([BLOCK_H, 512], tl.float32)
    begin, end = _slice(main_indptr, token, split, splits)
    peak, total, result = _attend(
        query, main_cache, main_indices, begin, end, main_capacity, main_stride, scale_log2, peak, total, result,
        MAIN_BLOCK, MAIN_FORMAT, MAIN_NATIVE, BLOCK_K,
    )  # fmt: skip
    if HAS_EXTRA:
        capacity = extra_capacity
        begin, end = _slice(extra_indptr, token, split, splits)
        peak, total, result = _attend(
            query, extra_cache, extra_indices, begin, end, capacity, extra_stride, scale_log2, peak, total, result,
            EXTRA_BLOCK, EXTRA_FORMAT, EXTRA_NATIVE, BLOCK_K,
        )  # fmt: skip
    return peak, total, result


@triton.jit
def _sparse_attn_decode_kernel(
    q,
    main_cache,
    main_indices,
    main_indptr,
    main_capacity,
    main_stride,
    extra_cache,
    extra_indices,
    extra_indptr,
    extra_capacity,
    extra_stride,
    attn_sink,
    output,
    scale_log2,
    q_token_stride,
    q_head_stride,
    output_token_stride,
    output_head_stride,
    HEADS: tl.constexpr,
    HAS_EXTRA: tl.constexpr,
    HAS_SINK: tl.constexpr,
    MAIN_BLOCK: tl.constexpr,
    MAIN_FORMAT: tl.constexpr,
    MAIN_NATIVE: tl.constexpr,
    EXTRA_BLOCK: tl.constexpr,
    EXTRA_FORMAT: tl.constexpr,
    EXTRA_NATIVE: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Program (t * head blocks + b) walks all keys of token t once, for BLOCK_H heads."""
    BLOCKS: tl.constexpr = (HEADS + BLOCK_H - 1) // BLOCK_H
    token = (tl.program_id(0) // BLOCKS).to(tl.int64)
    head = (tl.program_id(0) % BLOCKS) * BLOCK_H + tl.arange(0, BLOCK_H)
    peak, total, result = _attend_slices(
        q, main_cache, main_indices, main_indptr, main_capacity, main_stride,
        extra_cache, extra_indices, extra_indptr, extra_capacity, extra_stride,
        scale_log2, q_token_stride, q_head_stride, token, head, 0, 1,
        HEADS, HAS_EXTRA, MAIN_BLOCK, MAIN_FORMAT, MAIN_NATIVE, EXTRA_BLOCK, EXTRA_FORMAT, EXTRA_NATIVE,
        BLOCK_H, BLOCK_K,
    )  # fmt: skip
    known = head < HEADS
    if HAS_SINK:
        sink = tl.load(attn_sink + head, mask=known, other=0.0) * 1.4426950408889634
    else:
        sink = tl.full([BLOCK_H], float("-inf"), tl.float32)
    highest = tl.maximum(peak, sink)
    rescale = tl.exp2(peak - highest)
    total = total * rescale + tl.exp2(sink - highest)
    # Nothing attended to: the sum of no value is 0, whatever it is divided by.
    share = rescale / tl.where(total == 0.0, 1.0, total)
    dim = tl.arange(0, 512)
    output_base = token * output_token_stride + head.to(tl.int64) * output_head_stride
    value = (result * share[:, None]).to(output.dtype.element_ty)
    tl.store(output + output_base[:, None] + dim[None, :], value, mask=known[:, None])


@triton.jit
def _sparse_attn_decode_partial_kernel(
    q,
    main_cache,
    main_indices,
    main_indptr,
    main_capacity,
    main_stride,
    extra_cache,
    extra_indices,
    extra_indptr,
    extra_capacity,
    extra_stride,
    part_m,
    part_l,
    part_acc,
    scale_log2,
    q_token_stride,
    q_head_stride,
    part_token_stride,
    part_split_stride,
    acc_token_stride,
    acc_split_stride,
    acc_head_stride,
    HEADS: tl.constexpr,
    HAS_EXTRA: tl.constexpr,
    MAIN_BLOCK: tl.constexpr,
    MAIN_FORMAT: tl.constexpr,
    MAIN_NATIVE: tl.constexpr,
    EXTRA_BLOCK: tl.constexpr,
    EXTRA_FORMAT: tl.constexpr,
    EXTRA_NATIVE: tl.constexpr,
    BLOCK_H: tl.constexpr,
    BLOCK_K: tl.constexpr,
):
    """Program (t * head blocks + b, s) leaves the maximum (natural units), sum and result of split s of token t.

    A split without a valid slot leaves (-FLT_MAX, 0) and does not touch its accumulator.
    """
    BLOCKS: tl.constexpr = (HEADS + BLOCK_H - 1) // BLOCK_H
    token = (tl.program_id(0) // BLOCKS).to(tl.int64)
    head = (tl.program_id(0) % BLOCKS) * BLOCK_H + tl.arange(0, BLOCK_H)
    split = tl.program_id(1)
    peak, total, result = _attend_slices(
        q, main_cache, main_indices, main_indptr, main_capacity, main_stride,
        extra_cache, extra_indices, extra_indptr, extra_capacity, extra_stride,
        scale_log2, q_token_stride, q_head_stride, token, head, split, tl.num_programs(1),
        HEADS, HAS_EXTRA, MAIN_BLOCK, MAIN_FORMAT, MAIN_NATIVE, EXTRA_BLOCK, EXTRA_FORMAT, EXTRA_NATIVE,
        BLOCK_H, BLOCK_K,
    )  # fmt: skip
    known = head < HEADS
    natural = tl.where(total == 0.0, -3.4028234663852886e38, peak * 0.6931471805599453)
    part_base = token * part_token_stride + split.to(tl.int64) * part_split_stride
    tl.store(part_m + part_base + head, natural, mask=known)
    tl.store(part_l + part_base + head, total, mask=known)
    dim = tl.arange(0, 512)
    acc_base = token * acc_token_stride + split.to(tl.int64) * acc_split_stride
    head_base = acc_base + head.to(tl.int64) * acc_head_stride
    used = known & (total != 0.0)
    tl.store(part_acc + head_base[:, None] + dim[None, :], result, mask=used[:, None])


@triton.jit
def _sparse_attn_decode_reduce_kernel(
    part_m,
    part_l,
    part_acc,
    attn_sink,
    output,
    splits,
    part_token_stride,
    part_split_stride,
    acc_token_stride,
    acc_split_stride,
    acc_head_stride,
    output_token_stride,
    output_head_stride,
    HEADS: tl.constexpr,
    HAS_SINK: tl.constexpr,
    REDUCE_HEADS: tl.constexpr,
    SPLITS_PADDED: tl.constexpr,
    SPLIT_TILE: tl.constexpr,
):
    """Program (t * head blocks + b) merges the splits of REDUCE_HEADS heads of token t, and the sink once."""
    BLOCKS: tl.constexpr = (HEADS + REDUCE_HEADS - 1) // REDUCE_HEADS
    token = (tl.program_id(0) // BLOCKS).to(tl.int64)
    head = (tl.program_id(0) % BLOCKS) * REDUCE_HEADS + tl.arange(0, REDUCE_HEADS)
    known = head < HEADS
    dim = tl.arange(0, 512)
    part_base = token * part_token_stride
    acc_base = token * acc_token_stride + head.to(tl.int64) * acc_head_stride
    every = tl.arange(0, SPLITS_PADDED)
    every_at = part_base + every.to(tl.int64)[None, :] * part_split_stride + head[:, None]
    present = known[:, None] & (every < splits)[None, :]
    peaks = tl.load(part_m + every_at, mask=present, other=-3.4028234663852886e38)
    sums = tl.load(part_l + every_at, mask=present, other=0.0)
    if HAS_SINK:
        sink = tl.load(attn_sink + head, mask=known, other=0.0)
    else:
        sink = tl.full([REDUCE_HEADS], float("-inf"), tl.float32)
    highest = tl.maximum(tl.max(peaks, axis=1), sink)
    total = tl.sum(tl.where(sums == 0.0, 0.0, sums * tl.exp(peaks - highest[:, None])), axis=1)
    total += tl.exp(sink - highest)
    result = tl.zeros([REDUCE_HEADS, 512], tl.float32)
    for start in range(0, splits, SPLIT_TILE):
        split = start + tl.arange(0, SPLIT_TILE)
        here = known[:, None] & (split < splits)[None, :]
        at = part_base + split.to(tl.int64)[None, :] * part_split_stride + head[:, None]
        maximum = tl.load(part_m + at, mask=here, other=-3.4028234663852886e38)
        mass = tl.load(part_l + at, mask=here, other=0.0)
        live = mass != 0.0
        weight = tl.exp(maximum - highest[:, None])
        # The accumulator of an empty split is whatever lay in memory: it is not read.
        acc_at = acc_base[:, None, None] + split.to(tl.int64)[None, :, None] * acc_split_stride + dim[None, None, :]
        part = tl.load(part_acc + acc_at, mask=live[:, :, None], other=0.0)
        result += tl.sum(part * weight[:, :, None], axis=1)
    share = 1.0 / tl.where(total == 0.0, 1.0, total)
    output_base = token * output_token_stride + head.to(tl.int64) * output_head_stride
    value = (result * share[:, None]).to(output.dtype.element_ty)
    tl.store(output + output_base[:, None] + dim[None, :], value, mask=known[:, None])


def sparse_attn_decode(
    q: torch.Tensor,
    swa_k_cache: torch.Tensor,
    swa_ragged_indices: torch.Tensor,
    swa_ragged_indptr: torch.Tensor,
    output: torch.Tensor,
    *,
    scale: float,
    variant: DecodeVariant,
    kv_cache: torch.Tensor | None = None,
    topk_ragged_indices: torch.Tensor | None = None,
    topk_ragged_indptr: torch.Tensor | None = None,
    attn_sink: torch.Tensor | None = None,
    part_m: torch.Tensor | None = None,
    part_l: torch.Tensor | None = None,
    part_acc: torch.Tensor | None = None,
) -> None:
    """output[b, h] = softmax over the union of a query's two slot lists and the sink, applied to the rows themselves.

    q: bf16 [B, H, 512], strides free over b and h. swa_k_cache ("main") and kv_cache ("extra", or None for the
    sliding window alone): uint8 [NB, BS, 584], each with its own NB, BS, page stride and FP8 flavour. Lists: int32
    [nnz], those of query b at [indptr[b], indptr[b + 1]). Slots outside [0, NB * BS) of their own cache are skipped,
    duplicates count as often as they stand, NaN elements of a row count as 0. attn_sink: fp32 [>= H] or None.
    output: bf16 (or any float) [B, H, 512], strides free over b and h; queries without a valid slot become 0.
    part_m, part_l: fp32 [>= B, >= S, >= H], part_acc: fp32 [>= B, >= S, >= H, 512], needed by the path "split" with
    S = variant.splits(B, H, numel of each list); contents ignored.
    Raises LayoutError for shapes or strides that the kernels cannot honour.
    """
    batch, heads, dim = q.shape
    if dim != HEAD_DIM or tuple(output.shape) != tuple(q.shape):
        raise LayoutError(f"q is {tuple(q.shape)} and output {tuple(output.shape)}; both need [B, H, {HEAD_DIM}]")
    for name, tensor in (("q", q), ("output", output), ("swa_ragged_indices", swa_ragged_indices)):
        require_unit_stride(name, tensor)
    if batch == 0:
        return
    extra = kv_cache is not None
    if extra and (topk_ragged_indices is None or topk_ragged_indptr is None):
        raise LayoutError("kv_cache comes without topk_ragged_indices or topk_ragged_indptr; pass both or no cache")
    main_capacity, main_block, main_stride = _geometry(swa_k_cache)
    extra_capacity, extra_block, extra_stride = _geometry(kv_cache) if kv_cache is not None else (0, 1, 0)
    listed = topk_ragged_indices.numel() if topk_ragged_indices is not None else 0
    splits = variant.splits(batch, heads, swa_ragged_indices.numel(), listed)
    blocks = ceil_div(heads, variant.block_h)
    arguments = (
        q,
        swa_k_cache,
        swa_ragged_indices,
        swa_ragged_indptr,
        main_capacity,
        main_stride,
        kv_cache,
        topk_ragged_indices,
        topk_ragged_indptr,
        extra_capacity,
        extra_stride,
    )
    constants = {
        "HEADS": heads,
        "HAS_EXTRA": extra,
        "MAIN_BLOCK": main_block,
        "MAIN_FORMAT": variant.main_fp8,
        "MAIN_NATIVE": variant.main_native,
        "EXTRA_BLOCK": extra_block,
        "EXTRA_FORMAT": variant.extra_fp8,
        "EXTRA_NATIVE": variant.extra_native,
        "BLOCK_H": variant.block_h,
        "BLOCK_K": variant.block_k,
        **variant.options,
    }
    if variant.one_pass(batch * blocks, splits):
        _sparse_attn_decode_kernel[(batch * blocks,)](
            *arguments,
            attn_sink,
            output,
            scale * _LOG2_E,
            q.stride(0),
            q.stride(1),
            output.stride(0),
            output.stride(1),
            HAS_SINK=attn_sink is not None,
            **constants,
        )
        return
    part_m, part_l, part_acc = _parts(part_m, part_l, part_acc, (batch, splits, heads))
    part_strides = (*part_m.stride()[:2], *part_acc.stride()[:3])
    _sparse_attn_decode_partial_kernel[(batch * blocks, splits)](
        *arguments,
        part_m,
        part_l,
        part_acc,
        scale * _LOG2_E,
        q.stride(0),
        q.stride(1),
        *part_strides,
        **constants,
    )
    _sparse_attn_decode_reduce_kernel[(batch * ceil_div(heads, variant.reduce_heads),)](
        part_m,
        part_l,
        part_acc,
        attn_sink,
        output,
        splits,
        *part_strides,
        output.stride(0),
        output.stride(1),
        HEADS=heads,
        HAS_SINK=attn_sink is not None,
        REDUCE_HEADS=variant.reduce_heads,
        SPLITS_PADDED=power_of_two_from(splits),
        SPLIT_TILE=min(_SPLIT_TILE, power_of_two_from(splits)),
        num_warps=variant.num_warps,
    )


def _geometry(cache: torch.Tensor) -> tuple[int, int, int]:
    """(slots, block size, bytes from page to page) of a uint8 [NB, BS, 584] cache; the page stride is free."""
    pages, block_size, record = cache.shape if cache.dim() == 3 else (0, 0, 0)
    page_stride, token_stride, byte_stride = cache.stride() if cache.dim() == 3 else (0, 0, 0)
    inside = byte_stride == 1 and (block_size == 1 or token_stride == RECORD_BYTES)
    # bf16 dims are addressed as such.
    inside &= page_stride % 2 == 0
    if cache.dtype is not torch.uint8 or record != RECORD_BYTES or not inside:
        raise LayoutError(
            f"the cache is {cache.dtype} {tuple(cache.shape)} with strides {cache.stride()}; "
            f"pass uint8 [pages, block size, {RECORD_BYTES}] whose pages are contiguous inside and start at even bytes"
        )
    return pages * block_size, block_size, page_stride


def _parts(
    part_m: torch.Tensor | None,
    part_l: torch.Tensor | None,
    part_acc: torch.Tensor | None,
    shape: tuple[int, int, int],
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """The three buffers of partial results; they stand or fall together."""
    if part_m is None or part_l is None or part_acc is None:
        raise LayoutError(f"the split path needs part_m, part_l {shape} and part_acc {(*shape, HEAD_DIM)}; pass all")
    queries, splits, heads = shape
    for tensor, least in ((part_m, shape), (part_l, shape), (part_acc, (*shape, HEAD_DIM))):
        have = tensor.shape
        # Spelt out, since this is on the way of every launch.
        fits = len(have) == len(least) and have[0] >= queries and have[1] >= splits and have[2] >= heads
        if not fits or have[-1] < least[-1] or tensor.stride(-1) != 1:
            raise LayoutError(
                f"a buffer of partial results is {tuple(have)}; pass fp32 of at least {least}, dense in the end"
            )
    if part_m.stride() != part_l.stride():
        raise LayoutError(f"part_m has strides {part_m.stride()} and part_l {part_l.stride()}; make them equal")
    return part_m, part_l, part_acc
