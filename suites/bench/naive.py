"""The simplest Triton version of the ops that matter most: what a shipped kernel has to be faster than.

Each is right, and written as one would write it first: a program a row or a page, default launch options, no
splitting, no care for operand layouts.
"""

# ruff: noqa: ANN202
# Kernels return nothing that an annotation could name.
# pyright: reportArgumentType=false, reportCallIssue=false, reportAssignmentType=false, reportGeneralTypeIssues=false
from __future__ import annotations

import torch
import triton
import triton.language as tl

from rocassay.kernels.common.fp8_codec import decode_fp8, encode_fp8
from rocassay.kernels.common.indexer_page import scale_row, value_column, value_row


@triton.jit
def _logits_kernel(
    q, cache, weights, lens, table, logits, table_width, row_pitch, page_bytes,
    HEADS: tl.constexpr, BLOCK_SIZE: tl.constexpr, SHUFFLE: tl.constexpr, FORMAT: tl.constexpr, NATIVE: tl.constexpr,
):  # fmt: skip
    """One program a (request, page), one query row a request."""
    request, column = tl.program_id(0), tl.program_id(1)
    length = tl.load(lens + request)
    if column * BLOCK_SIZE >= length:
        return
    key = tl.arange(0, BLOCK_SIZE)
    dim = tl.arange(0, 128)
    head = tl.arange(0, HEADS)
    query = decode_fp8(tl.load(q + (request * HEADS + head)[:, None] * 128 + dim[None, :]), FORMAT, NATIVE)
    page = cache + tl.load(table + request * table_width + column).to(tl.int64) * page_bytes
    codes = tl.load(page + value_row(key, SHUFFLE)[None, :] + value_column(dim, SHUFFLE)[:, None])
    scale = tl.load((page + scale_row(key, BLOCK_SIZE)).to(tl.pointer_type(tl.float32)))
    dots = tl.dot(query.to(tl.float16), decode_fp8(codes, FORMAT, NATIVE).to(tl.float16), out_dtype=tl.float32)
    weight = tl.load(weights + request * HEADS + head)
    total = tl.sum(tl.maximum(dots, 0.0) * weight[:, None], axis=0) * scale
    position = column * BLOCK_SIZE + key
    tl.store(logits + request.to(tl.int64) * row_pitch + position, total, mask=position < length)


def paged_logits(
    q: torch.Tensor,
    cache: torch.Tensor,
    weights: torch.Tensor,
    lens: torch.Tensor,
    table: torch.Tensor,
    logits: torch.Tensor,
    *,
    shuffle: bool,
    fp8: str,
    native: bool,
) -> None:
    """Indexer logits of one query row a request; contiguous tensors, heads a power of two."""
    _logits_kernel[(q.shape[0], table.shape[1])](
        q, cache, weights, lens, table, logits, table.shape[1], logits.stride(0), cache.stride(0),
        HEADS=q.shape[2], BLOCK_SIZE=cache.shape[1], SHUFFLE=shuffle, FORMAT=fp8, NATIVE=native,
    )  # fmt: skip


@triton.jit
def _quantise_kernel(k, cache, slots, page_bytes, MAXIMUM: tl.constexpr, BLOCK_SIZE: tl.constexpr,
                     SHUFFLE: tl.constexpr, FORMAT: tl.constexpr, NATIVE: tl.constexpr):  # fmt: skip
    """One program a token, power-of-two scales."""
    token = tl.program_id(0).to(tl.int64)
    slot = tl.load(slots + token)
    dim = tl.arange(0, 128)
    key = tl.load(k + token * 128 + dim).to(tl.float32)
    raw = tl.div_rn(tl.maximum(tl.max(tl.abs(key), axis=0), 1e-4), MAXIMUM)
    exponent = (raw.to(tl.int32, bitcast=True) + 0x7FFFFF) >> 23
    scale = (exponent << 23).to(tl.float32, bitcast=True)
    page = cache + slot // BLOCK_SIZE * page_bytes
    place = slot % BLOCK_SIZE
    tl.store(page + value_row(place, SHUFFLE) + value_column(dim, SHUFFLE), encode_fp8(key / scale, FORMAT, NATIVE))
    tl.store((page + scale_row(place, BLOCK_SIZE)).to(tl.pointer_type(tl.float32)), scale)


def quantise_and_cache(
    k: torch.Tensor,
    cache: torch.Tensor,
    slots: torch.Tensor,
    *,
    maximum: float,
    shuffle: bool,
    fp8: str,
    native: bool,
) -> None:
    """Indexer cache writer with power-of-two scales; contiguous keys."""
    _quantise_kernel[(len(slots),)](
        k, cache, slots, cache.stride(0),
        MAXIMUM=maximum, BLOCK_SIZE=cache.shape[1], SHUFFLE=shuffle, FORMAT=fp8, NATIVE=native,
    )  # fmt: skip


@triton.jit
def _prefill_kernel(q, kv, indices, indptr, output, scale, HEADS: tl.constexpr, DIM: tl.constexpr,
                    DIM_PADDED: tl.constexpr, WIDTH: tl.constexpr, TILE: tl.constexpr):  # fmt: skip
    """One program a (token, head): products on the vector unit, online softmax."""
    row = tl.program_id(0).to(tl.int64)
    token = row // HEADS
    dim = tl.arange(0, DIM_PADDED)
    inside = dim < DIM
    query = tl.load(q + row * DIM + dim, mask=inside, other=0.0).to(tl.float32)
    peak, total = -float("inf"), 0.0
    result = tl.zeros([DIM_PADDED], tl.float32)
    end = tl.load(indptr + token + 1)
    for start in range(tl.load(indptr + token), end, TILE):
        position = start + tl.arange(0, TILE)
        live = position < end
        index = tl.load(indices + position, mask=live, other=0).to(tl.int64)
        seen = live[:, None] & inside[None, :]
        key = tl.load(kv + index[:, None] * DIM + dim[None, :], mask=seen, other=0.0).to(tl.float32)
        score = tl.where(live, tl.sum(key * query[None, :], axis=1) * scale, -float("inf"))
        highest = tl.maximum(peak, tl.max(score, axis=0))
        weight = tl.exp(score - highest)
        rescale = tl.exp(peak - highest)
        total = total * rescale + tl.sum(weight, axis=0)
        result = result * rescale + tl.sum(weight.to(tl.bfloat16).to(tl.float32)[:, None] * key, axis=0)
        peak = highest
    tl.store(output + row * WIDTH + dim, result / total, mask=dim < WIDTH)


def sparse_prefill(
    q: torch.Tensor,
    kv: torch.Tensor,
    indices: torch.Tensor,
    indptr: torch.Tensor,
    output: torch.Tensor,
    *,
    scale: float,
) -> None:
    """Ragged sparse attention over bf16 rows; contiguous tensors, every index inside, no sink."""
    tokens, heads, dim = q.shape
    _prefill_kernel[(tokens * heads,)](
        q, kv, indices, indptr, output, scale,
        HEADS=heads, DIM=dim, DIM_PADDED=triton.next_power_of_2(dim), WIDTH=output.shape[-1], TILE=16,
    )  # fmt: skip


@triton.jit
def _planar_rows(cache, slot, live, page_bytes, BLOCK_SIZE: tl.constexpr, FORMAT: tl.constexpr, NATIVE: tl.constexpr):
    """fp32 [TILE, 512] rows of 584-byte tokens."""
    dim = tl.arange(0, 512)
    nope = live[:, None] & (dim < 448)[None, :]
    data = slot // BLOCK_SIZE * page_bytes + slot % BLOCK_SIZE * 576
    scales = slot // BLOCK_SIZE * page_bytes + BLOCK_SIZE * 576 + slot % BLOCK_SIZE * 8
    code = tl.load(cache + data[:, None] + dim[None, :], mask=nope, other=0)
    exponent = tl.load(cache + scales[:, None] + (dim // 64)[None, :], mask=nope, other=127).to(tl.int32)
    value = decode_fp8(code, FORMAT, NATIVE).to(tl.float32) * (exponent << 23).to(tl.float32, bitcast=True)
    halves = (cache + data).to(tl.pointer_type(tl.bfloat16))
    rope = tl.load(halves[:, None] + (dim - 224)[None, :], mask=live[:, None] & (dim >= 448)[None, :], other=0.0)
    return tl.where((dim < 448)[None, :], value.to(tl.bfloat16).to(tl.float32), rope.to(tl.float32))


@triton.jit
def _decode_kernel(q, main, main_indices, main_indptr, main_bytes, extra, extra_indices, extra_indptr, extra_bytes,
                   sink, output, scale, HEADS: tl.constexpr, MAIN_BLOCK: tl.constexpr, EXTRA_BLOCK: tl.constexpr,
                   MAIN_FORMAT: tl.constexpr, MAIN_NATIVE: tl.constexpr, EXTRA_FORMAT: tl.constexpr,
                   EXTRA_NATIVE: tl.constexpr, TILE: tl.constexpr):  # fmt: skip
    """One program a (request, head) walks both lists; the sink starts the softmax."""
    row = tl.program_id(0).to(tl.int64)
    request = row // HEADS
    dim = tl.arange(0, 512)
    query = tl.load(q + row * 512 + dim).to(tl.float32)
    peak = tl.load(sink + row % HEADS)
    total = 1.0
    result = tl.zeros([512], tl.float32)
    for part in tl.static_range(2):
        lists = main_indptr if part == 0 else extra_indptr
        end = tl.load(lists + request + 1)
        for start in range(tl.load(lists + request), end, TILE):
            position = start + tl.arange(0, TILE)
            live = position < end
            if part == 0:
                slot = tl.load(main_indices + position, mask=live, other=0).to(tl.int64)
                key = _planar_rows(main, slot, live, main_bytes, MAIN_BLOCK, MAIN_FORMAT, MAIN_NATIVE)
            else:
                slot = tl.load(extra_indices + position, mask=live, other=0).to(tl.int64)
                key = _planar_rows(extra, slot, live, extra_bytes, EXTRA_BLOCK, EXTRA_FORMAT, EXTRA_NATIVE)
            score = tl.where(live, tl.sum(key * query[None, :], axis=1) * scale, -float("inf"))
            highest = tl.maximum(peak, tl.max(score, axis=0))
            weight = tl.exp(score - highest)
            rescale = tl.exp(peak - highest)
            total = total * rescale + tl.sum(weight, axis=0)
            result = result * rescale + tl.sum(weight.to(tl.bfloat16).to(tl.float32)[:, None] * key, axis=0)
            peak = highest
    tl.store(output + row * 512 + dim, result / total)


def sparse_decode(
    q: torch.Tensor,
    main: torch.Tensor,
    main_indices: torch.Tensor,
    main_indptr: torch.Tensor,
    extra: torch.Tensor,
    extra_indices: torch.Tensor,
    extra_indptr: torch.Tensor,
    sink: torch.Tensor,
    output: torch.Tensor,
    *,
    scale: float,
    formats: tuple[str, str],
    native: tuple[bool, bool],
) -> None:
    """Sparse decode over two caches of 584-byte tokens; contiguous queries, every slot inside, no NaN, a sink."""
    batch, heads, _ = q.shape
    _decode_kernel[(batch * heads,)](
        q, main, main_indices, main_indptr, main.stride(0), extra, extra_indices, extra_indptr, extra.stride(0),
        sink, output, scale, HEADS=heads, MAIN_BLOCK=main.shape[1], EXTRA_BLOCK=extra.shape[1],
        MAIN_FORMAT=formats[0], MAIN_NATIVE=native[0], EXTRA_FORMAT=formats[1], EXTRA_NATIVE=native[1], TILE=16,
    )  # fmt: skip
