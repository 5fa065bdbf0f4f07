"""Second stage of persistent MLA decode: merges the normalised parts of every split tile by their log-sum-exp.

Contract: AITER `mla_reduce_v1` (csrc/kernels/mla/reduce.cu), except that a row that sees no key in any part gets the
output 0 and the LSE -inf, as the merge of attention states has it, and never NaN.
"""

# pyright: reportArgumentType=false, reportCallIssue=false
# pyright: reportGeneralTypeIssues=false
from __future__ import annotations

import torch
import triton
import triton.language as tl

from rocassay.harness.layouts import LayoutError
from rocassay.kernels.common.tensors import require_unit_stride
from rocassay.kernels.persistent.dispatch import MlaReduceVariant
from rocassay.kernels.persistent.mla_rows import head_of, token_of


@triton.jit
def _mla_reduce_kernel(
    partial_output,
    partial_lse,
    reduce_indptr,
    reduce_final_map,
    reduce_partial_map,
    final_output,
    final_lse,
    part_row_stride,
    part_head_stride,
    part_lse_stride,
    output_token_stride,
    output_head_stride,
    lse_token_stride,
    WIDTH: tl.constexpr,
    DIMS: tl.constexpr,
    FOLD: tl.constexpr,
    QLEN: tl.constexpr,
    HAS_FINAL_MAP: tl.constexpr,
    HAS_LSE: tl.constexpr,
    ROWS: tl.constexpr,
    PARTS: tl.constexpr,
):
    """Program (g, k) merges ROWS (token, head) rows of group g, from row k·ROWS on; groups of 0 or 1 are skipped."""
    group = tl.program_id(0)
    first = tl.load(reduce_indptr + group)
    last = tl.load(reduce_indptr + group + 1)
    if last - first >= 2:
        if HAS_FINAL_MAP:
            begin = tl.load(reduce_final_map + group * 2)
            end = tl.load(reduce_final_map + group * 2 + 1)
        else:
            height = tl.load(reduce_partial_map + 1) - tl.load(reduce_partial_map)
            begin = group * height
            end = begin + height
        row = tl.program_id(1) * ROWS + tl.arange(0, ROWS)
        known = row < (end - begin) * WIDTH
        local = row // WIDTH
        head = row % WIDTH
        dim = tl.arange(0, DIMS)
        # Finite, so that parts without a key leave exp(peak - peak) = 1 and not NaN.
        peak = tl.full([ROWS], -3.4028234663852886e38, tl.float32)
        total = tl.zeros([ROWS], tl.float32)
        result = tl.zeros([ROWS, DIMS], tl.float32)
        for start in range(first, last, PARTS):
            highest = peak
            for step in tl.static_range(PARTS):
                slot = tl.load(reduce_partial_map + start + step, mask=start + step < last, other=0)
                lse_at = (slot + local).to(tl.int64) * part_lse_stride + head
                lse = tl.load(partial_lse + lse_at, mask=known & (start + step < last), other=float("-inf"))
                highest = tl.maximum(highest, lse)
            rescale = tl.exp(peak - highest)
            total = total * rescale
            result = result * rescale[:, None]
            # One part after the other: over a tile of them the order of a sum would depend on the strides.
            for step in tl.static_range(PARTS):
                slot = tl.load(reduce_partial_map + start + step, mask=start + step < last, other=0)
                part_row = (slot + local).to(tl.int64)
                lse_at = part_row * part_lse_stride + head
                lse = tl.load(partial_lse + lse_at, mask=known & (start + step < last), other=float("-inf"))
                # What a part without a visible key holds is not read: 0 * NaN would be NaN.
                live = lse > float("-inf")
                weight = tl.exp(lse - highest)
                part_base = part_row * part_row_stride + head.to(tl.int64) * part_head_stride
                value = tl.load(partial_output + part_base[:, None] + dim[None, :], mask=live[:, None], other=0.0)
                total += weight
                result += value * weight[:, None]
            peak = highest
        # No part sees a key: the sum of no value is 0, whatever it is divided by.
        share = 1.0 / tl.where(total == 0.0, 1.0, total)
        token = token_of(begin + local, FOLD, QLEN)
        place = head_of(begin + local, head, FOLD, QLEN, WIDTH)
        output_base = token * output_token_stride + place * output_head_stride
        merged = (result * share[:, None]).to(final_output.dtype.element_ty)
        tl.store(final_output + output_base[:, None] + dim[None, :], merged, mask=known[:, None])
        if HAS_LSE:
            natural = tl.where(total == 0.0, float("-inf"), peak + tl.log(total))
            tl.store(final_lse + token * lse_token_stride + place, natural, mask=known)


def mla_reduce(
    partial_output: torch.Tensor,
    partial_lse: torch.Tensor,
    reduce_indptr: torch.Tensor,
    reduce_partial_map: torch.Tensor,
    final_output: torch.Tensor,
    *,
    reduce_final_map: torch.Tensor | None = None,
    final_lse: torch.Tensor | None = None,
    max_seqlen_q: int,
    variant: MlaReduceVariant,
) -> None:
    """final[q, h] = sum over the parts of q's group of e^(lse - m) partial / sum of e^(lse - m), m the largest lse.

    partial_output: fp32 [R, W, D], normalised; partial_lse: fp32 [R, W], natural, -inf where a part has no key for a
    row; the rows of a part begin at its entry of reduce_partial_map. Group g of reduce_indptr (int32 [N + 1]) is the
    rows [reduce_final_map[g, 0], reduce_final_map[g, 1]), of at most `max_seqlen_q` tokens; without a final map all
    tiles are as high as the first two entries of the partial map are apart. Groups of fewer than two parts are left
    alone. final_output: bf16, fp16 or fp32 [T, H, D], H = W times the variant's fold; final_lse: fp32 [T, H] or None.
    Strides are free except in the last dimension. Raises LayoutError for shapes that do not belong together.
    """
    width, dims = partial_output.shape[-2:]
    heads = final_output.shape[1]
    if heads != width * variant.fold or final_output.shape[2] != dims or dims & (dims - 1):
        raise LayoutError(
            f"partial_output is {tuple(partial_output.shape)} and final_output {tuple(final_output.shape)}; with heads "
            f"folded {variant.fold} times the widths must agree, and {dims} dims must be a power of two"
        )
    for name, tensor in (("partial_output", partial_output), ("final_output", final_output)):
        require_unit_stride(name, tensor)
    for name, lse in (("partial_lse", partial_lse), ("final_lse", final_lse)):
        if lse is not None:
            require_unit_stride(name, lse)
    groups = reduce_indptr.numel() - 1
    if groups == 0 or len(final_output) == 0:
        return
    tile_rows = min(max_seqlen_q, variant.tile_tokens) * width
    _mla_reduce_kernel[(groups, triton.cdiv(tile_rows, variant.rows))](
        partial_output,
        partial_lse,
        reduce_indptr,
        reduce_final_map,
        reduce_partial_map,
        final_output,
        final_lse,
        partial_output.stride(0),
        partial_output.stride(1),
        partial_lse.stride(0),
        final_output.stride(0),
        final_output.stride(1),
        final_lse.stride(0) if final_lse is not None else 0,
        WIDTH=width,
        DIMS=dims,
        FOLD=variant.fold,
        QLEN=max_seqlen_q if variant.fold > 1 else 1,
        HAS_FINAL_MAP=reduce_final_map is not None,
        HAS_LSE=final_lse is not None,
        ROWS=variant.rows,
        PARTS=variant.parts,
        num_warps=variant.num_warps,
        # Fused or not would depend on the strides; so every layout gives the same bits.
        enable_fp_fusion=False,
    )
