"""Merge the partial results of split query tiles by their natural log-sum-exp.

Contract: AITER `mla_reduce_v1` (partials are normalised, groups of fewer than two parts are left alone), as vLLM calls
it behind the FP8 prefill (vllm-project/vllm#42509). A part that saw nothing for a row (-inf) is not read at all.
"""

# pyright: reportArgumentType=false, reportCallIssue=false
from __future__ import annotations

import torch
import triton
import triton.language as tl

from rocassay.harness.layouts import LayoutError
from rocassay.kernels.common.tensors import require_unit_stride
from rocassay.kernels.fp8_prefill.dispatch import ReduceVariant

SMALLEST_GROUP = 2
"""Parts below which a group is no reduction."""


@triton.jit
def _mla_prefill_reduce_kernel(
    partial_output,
    partial_lse,
    reduce_indptr,
    reduce_final_map,
    reduce_partial_map,
    final_output,
    final_lse,
    partial_row_stride,
    partial_head_stride,
    partial_lse_stride,
    output_token_stride,
    output_head_stride,
    lse_token_stride,
    lse_head_stride,
    WIDTH: tl.constexpr,
    HAS_LSE: tl.constexpr,
    ROWS: tl.constexpr,
):
    """Program (g, h, b) merges rows [b * ROWS, (b + 1) * ROWS) of group g in head h."""
    group = tl.program_id(0)
    head = tl.program_id(1).to(tl.int64)
    first = tl.load(reduce_indptr + group)
    last = tl.load(reduce_indptr + group + 1)
    if last - first >= 2:
        start = tl.load(reduce_final_map + group * 2)
        end = tl.load(reduce_final_map + group * 2 + 1)
        local = tl.program_id(2) * ROWS + tl.arange(0, ROWS)
        known = local < end - start
        highest = tl.full([ROWS], float("-inf"), tl.float32)
        for part in range(first, last):
            place = (tl.load(reduce_partial_map + part) + local).to(tl.int64)
            lse = tl.load(partial_lse + place * partial_lse_stride + head, mask=known, other=float("-inf"))
            highest = tl.maximum(highest, lse)
        # No part saw anything: -inf - -inf would be NaN.
        anchor = tl.where(highest == float("-inf"), 0.0, highest)
        dim = tl.arange(0, WIDTH)
        total = tl.zeros([ROWS], tl.float32)
        result = tl.zeros([ROWS, WIDTH], tl.float32)
        for part in range(first, last):
            place = (tl.load(reduce_partial_map + part) + local).to(tl.int64)
            part_lse = tl.load(partial_lse + place * partial_lse_stride + head, mask=known, other=float("-inf"))
            weight = tl.exp(part_lse - anchor)
            seen = part_lse > float("-inf")
            at = place * partial_row_stride + head * partial_head_stride
            value = tl.load(partial_output + at[:, None] + dim[None, :], mask=seen[:, None], other=0.0)
            total += weight
            result += value * weight[:, None]
        divisor = tl.where(total == 0.0, 1.0, total)
        token = (start + local).to(tl.int64)
        output_base = token * output_token_stride + head * output_head_stride
        merged = (result / divisor[:, None]).to(final_output.dtype.element_ty)
        tl.store(final_output + output_base[:, None] + dim[None, :], merged, mask=known[:, None])
        if HAS_LSE:
            natural = tl.where(total == 0.0, float("-inf"), anchor + tl.log(divisor))
            lse_at = token * lse_token_stride + head * lse_head_stride
            tl.store(final_lse + lse_at, natural, mask=known)


def mla_prefill_reduce(
    partial_output: torch.Tensor,
    partial_lse: torch.Tensor,
    reduce_indptr: torch.Tensor,
    reduce_final_map: torch.Tensor,
    reduce_partial_map: torch.Tensor,
    final_output: torch.Tensor,
    *,
    variant: ReduceVariant,
    final_lse: torch.Tensor | None = None,
) -> None:
    """final_output[i] = sum_p e^(lse_p) partial_p / sum_p e^(lse_p) over the parts of the group of row i.

    partial_output: fp32 [R, H, D], normalised; partial_lse: fp32 [R, H], natural log, -inf for a part that saw nothing.
    Group g has the rows [reduce_final_map[g, 0], reduce_final_map[g, 1]) and the parts reduce_partial_map[j] (their
    first row in the partials) for reduce_indptr[g] <= j < reduce_indptr[g + 1]; all int32. The number of launched
    groups is that of the buffers, so nothing is fetched from the device. final_output: any float [>= Tq, H, D];
    final_lse: fp32 [>= Tq, H] or None. Rows of no group, or of one part, keep what they held; a row that no part saw
    becomes 0 with LSE -inf. Raises LayoutError for shapes that do not fit.
    """
    _check(partial_output, partial_lse, reduce_indptr, reduce_final_map, final_output)
    heads, width = final_output.shape[1:]
    groups = min(reduce_final_map.shape[0], reduce_indptr.shape[0] - 1)
    if groups == 0 or reduce_partial_map.shape[0] < SMALLEST_GROUP:
        return
    lse = final_output if final_lse is None else final_lse
    blocks = triton.cdiv(variant.tile_q, variant.rows_per_program)
    _mla_prefill_reduce_kernel[(groups, heads, blocks)](
        partial_output,
        partial_lse,
        reduce_indptr,
        reduce_final_map,
        reduce_partial_map,
        final_output,
        lse,
        partial_output.stride(0),
        partial_output.stride(1),
        partial_lse.stride(0),
        final_output.stride(0),
        final_output.stride(1),
        lse.stride(0),
        lse.stride(1),
        WIDTH=width,
        HAS_LSE=final_lse is not None,
        ROWS=variant.rows_per_program,
        num_warps=variant.num_warps,
    )


def _check(
    partial_output: torch.Tensor,
    partial_lse: torch.Tensor,
    reduce_indptr: torch.Tensor,
    reduce_final_map: torch.Tensor,
    final_output: torch.Tensor,
) -> None:
    rows, heads, width = partial_output.shape
    if tuple(partial_lse.shape) != (rows, heads) or tuple(final_output.shape[1:]) != (heads, width):
        raise LayoutError(
            f"partial_output {tuple(partial_output.shape)}, partial_lse {tuple(partial_lse.shape)} and final_output "
            f"{tuple(final_output.shape)} do not fit; pass [R, H, D], [R, H] and [T, H, D]"
        )
    if width & (width - 1) or reduce_final_map.shape[1:] != (2,):
        raise LayoutError(f"value width {width} is no power of two, or reduce_final_map is no [groups, 2]")
    for name, tensor in (("partial_output", partial_output), ("final_output", final_output)):
        require_unit_stride(name, tensor)
    require_unit_stride("partial_lse", partial_lse)
    require_unit_stride("reduce_indptr", reduce_indptr)
