"""The k largest scores of every decode row, in one program a row or in parts that are merged.

Contract: vLLM `top_k_per_row_decode` (csrc/sampler.cu) with the tie rule of `top_k_per_row_prefill`: candidates of
the parts are ascending and lie in order, so the lowest places still win after the merge.
"""

# pyright: reportArgumentType=false, reportCallIssue=false
from __future__ import annotations

import torch
import triton
import triton.language as tl

from rocassay.harness.layouts import LayoutError
from rocassay.kernels.common.tensors import require_unit_stride
from rocassay.kernels.topk.dispatch import SelectVariant
from rocassay.kernels.topk.top_k_per_row_prefill import (
    check_selection,
    list_short_row,
    select_long_row,
    vector_width,
)


@triton.jit
def _row_length(seq_lens, row, columns, lens_stride, step_stride, NEXT_N: tl.constexpr, LENS_PER_ROW: tl.constexpr):
    """Scores of a row: its own length, or its request's less the rows behind it; never negative."""
    request = row // NEXT_N
    step = row % NEXT_N
    if LENS_PER_ROW:
        length = tl.load(seq_lens + request * lens_stride + step * step_stride)
    else:
        length = tl.load(seq_lens + request * lens_stride) - NEXT_N + step + 1
    length = tl.minimum(length, columns)
    return tl.maximum(length, 0)


@triton.jit
def _top_k_decode_kernel(
    logits,
    seq_lens,
    indices,
    columns,
    topk,
    logits_stride,
    column_stride,
    lens_stride,
    step_stride,
    indices_stride,
    NEXT_N: tl.constexpr,
    LENS_PER_ROW: tl.constexpr,
    TILE: tl.constexpr,
    SLOTS: tl.constexpr,
    VECTOR: tl.constexpr,
):
    """Program r selects from the first scores of row r."""
    row = tl.program_id(0)
    length = _row_length(seq_lens, row, columns, lens_stride, step_stride, NEXT_N, LENS_PER_ROW)
    row_base = row.to(tl.int64) * logits_stride
    slots_base = row.to(tl.int64) * indices_stride
    out = indices + slots_base
    if length <= topk:
        list_short_row(out, length, topk, 0, SLOTS)
    else:
        scores = logits + tl.multiple_of(row_base, VECTOR)
        select_long_row(scores, indices, column_stride, 0, length, out, topk, 0, TILE, VECTOR, False)


@triton.jit
def _top_k_part_kernel(
    logits,
    seq_lens,
    candidates,
    columns,
    topk,
    logits_stride,
    column_stride,
    lens_stride,
    step_stride,
    candidates_stride,
    NEXT_N: tl.constexpr,
    LENS_PER_ROW: tl.constexpr,
    TILE: tl.constexpr,
    SLOTS: tl.constexpr,
    VECTOR: tl.constexpr,
):
    """Program (r, s) lists the candidates of part s of row r; a row that fits needs none."""
    row = tl.program_id(0)
    part = tl.program_id(1)
    length = _row_length(seq_lens, row, columns, lens_stride, step_stride, NEXT_N, LENS_PER_ROW)
    # Parts begin at whole vectors.
    size = tl.cdiv(length, tl.num_programs(1) * VECTOR) * VECTOR
    start = tl.minimum(part * size, length)
    end = tl.minimum(start + size, length)
    first_place = start
    row_start = row.to(tl.int64) * logits_stride
    scores = logits + tl.multiple_of(row_start, VECTOR)
    out = candidates + row.to(tl.int64) * candidates_stride + part * topk
    if length > topk:
        if end - start <= topk:
            list_short_row(out, end - start, topk, first_place, SLOTS)
        else:
            select_long_row(
                scores, candidates, column_stride, start, end, out, topk, first_place, TILE, VECTOR, False
            )  # fmt: skip


@triton.jit
def _top_k_merge_kernel(
    logits,
    seq_lens,
    candidates,
    indices,
    columns,
    topk,
    listed,
    logits_stride,
    column_stride,
    lens_stride,
    step_stride,
    candidates_stride,
    indices_stride,
    NEXT_N: tl.constexpr,
    LENS_PER_ROW: tl.constexpr,
    TILE: tl.constexpr,
    SLOTS: tl.constexpr,
    VECTOR: tl.constexpr,
):
    """Program r selects from the `listed` candidates of row r, unused ones among them."""
    row = tl.program_id(0)
    length = _row_length(seq_lens, row, columns, lens_stride, step_stride, NEXT_N, LENS_PER_ROW)
    scores = logits + row.to(tl.int64) * logits_stride
    members = candidates + row.to(tl.int64) * candidates_stride
    out = indices + row.to(tl.int64) * indices_stride
    if length <= topk:
        list_short_row(out, length, topk, 0, SLOTS)
    else:
        select_long_row(scores, members, column_stride, 0, listed, out, topk, 0, TILE, 1, True)


def top_k_per_row_decode(
    logits: torch.Tensor,
    seq_lens: torch.Tensor,
    indices: torch.Tensor,
    *,
    next_n: int,
    variant: SelectVariant,
    candidates: torch.Tensor | None = None,
) -> None:
    """indices[r] = places of the k largest of the first scores of logits[r].

    logits: fp32 [B * next_n, N], any strides. seq_lens: int32 [B] (row n of a request sees
    `lens - next_n + n + 1` scores) or [B, next_n], each row its own, any strides; negative lengths are empty rows.
    indices: int32 [B * next_n, k], any row pitch. candidates: int32 [>= B * next_n, >= splits * k], any row pitch,
    needed by the path "split", contents ignored. Rows are filled as by `top_k_per_row_prefill`. Raises LayoutError for
    other dtypes, missing rows or candidates, or slots that are not neighbours.
    """
    rows, topk = seq_lens.shape[0] * next_n, indices.shape[1]
    check_selection(logits, indices, rows)
    per_row = seq_lens.dim() == 2
    if per_row and seq_lens.shape[1] != next_n:
        raise LayoutError(f"seq_lens has {seq_lens.shape[1]} lengths a request; pass {next_n} or 1-D")
    if rows == 0:
        return
    geometry = (
        logits.stride(0),
        logits.stride(1),
        seq_lens.stride(0),
        seq_lens.stride(1) if per_row else 0,
    )
    constants = {
        "NEXT_N": next_n,
        "LENS_PER_ROW": per_row,
        "TILE": variant.tile,
        "SLOTS": triton.next_power_of_2(topk),
        "VECTOR": vector_width(logits),
        "num_warps": variant.num_warps,
    }
    columns = logits.shape[1]
    if variant.path == "single":
        slots_pitch = indices.stride(0)
        _top_k_decode_kernel[(rows,)](logits, seq_lens, indices, columns, topk, *geometry, slots_pitch, **constants)
        return
    scratch = _scratch(candidates, rows, variant.splits * topk)
    pitch = scratch.stride(0)
    grid = (rows, variant.splits)
    _top_k_part_kernel[grid](logits, seq_lens, scratch, columns, topk, *geometry, pitch, **constants)
    _top_k_merge_kernel[(rows,)](
        logits,
        seq_lens,
        scratch,
        indices,
        columns,
        topk,
        variant.splits * topk,
        *geometry,
        pitch,
        indices.stride(0),
        **constants,
    )


def _scratch(candidates: torch.Tensor | None, rows: int, listed: int) -> torch.Tensor:
    have = None if candidates is None else (candidates.dtype, *candidates.shape)
    if candidates is None or candidates.dtype is not torch.int32 or candidates.dim() != 2:
        raise LayoutError(f"the split path has candidates {have}; pass int32 of at least {rows} x {listed}")
    if candidates.shape[0] < rows or candidates.shape[1] < listed:
        raise LayoutError(f"the split path has candidates {have}; pass int32 of at least {rows} x {listed}")
    require_unit_stride("candidates", candidates)
    return candidates
