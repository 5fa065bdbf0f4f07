"""Ragged rows into a padded batch: a byte move with padding.

Contract: vLLM `pack_seq_triton` (vllm/v1/attention/ops/common.py); the caller passes the output, so that no length
is read back to the host.
"""

# pyright: reportArgumentType=false, reportCallIssue=false
from __future__ import annotations

import torch
import triton
import triton.language as tl

from rocassay.harness.layouts import LayoutError
from rocassay.kernels.common.tensors import require_unit_stride
from rocassay.kernels.topk.dispatch import PackVariant
from rocassay.kernels.topk.ragged import as_integers, padding_bits, request_range


@triton.jit
def _pack_kernel(
    x,
    lengths,
    out,
    rows,
    requests,
    longest,
    features,
    padding,
    row_stride,
    request_stride,
    position_stride,
    BATCH: tl.constexpr,
    TOKENS: tl.constexpr,
    FEATURES: tl.constexpr,
):
    """Program (b, t, f) fills positions t * TOKENS ... and elements f * FEATURES ... of request b."""
    request = tl.program_id(0)
    first_row, length = request_range(lengths, request, requests, BATCH)
    position = tl.program_id(1) * TOKENS + tl.arange(0, TOKENS)
    feature = tl.program_id(2) * FEATURES + tl.arange(0, FEATURES)
    source = first_row + position
    # Lengths may promise more rows than there are.
    present = (position < length) & (source < rows)
    inside = feature < features
    source_base = source * row_stride
    value = tl.load(x + source_base[:, None] + feature[None, :], mask=present[:, None] & inside[None, :], other=0)
    value = tl.where(present[:, None], value, padding).to(value.dtype)
    target_base = request.to(tl.int64) * request_stride + position.to(tl.int64) * position_stride
    written = (position < longest)[:, None] & inside[None, :]
    tl.store(out + target_base[:, None] + feature[None, :], value, mask=written)


def pack_seq(
    x: torch.Tensor, lengths: torch.Tensor, out: torch.Tensor, *, variant: PackVariant, pad_value: float = -torch.inf
) -> None:
    """out[b, i] = x[lengths[:b].sum() + i] for i below lengths[b], padding elsewhere.

    x: [N, ...] of fp32, bf16, fp16, fp8 or uint8, any stride between rows. lengths: int32 or int64 [B], none
    negative. out: [B, Lmax, ...] of x's dtype, any strides of its first two dimensions; requests longer than Lmax
    are cut off. pad_value: for uint8 an integer from 0 to 255; FP8, which has no infinity, is padded with NaN.
    Raises LayoutError for rows that differ or are not contiguous, other dtypes, or such a padding.
    """
    if x.dtype is not out.dtype or x.shape[1:] != out.shape[2:]:
        have = f"{x.dtype} {tuple(x.shape[1:])} and {out.dtype} {tuple(out.shape[2:])}"
        raise LayoutError(f"the rows of x and out are {have}; pass the same")
    require_unit_stride("lengths", lengths)
    source, target = as_integers("x", x, 1), as_integers("out", out, 2)
    requests, longest, features = target.shape
    if target.numel() == 0:
        return
    grid = (requests, triton.cdiv(longest, variant.tokens), triton.cdiv(features, variant.features))
    _pack_kernel[grid](
        source,
        lengths,
        target,
        source.shape[0],
        requests,
        longest,
        features,
        padding_bits(x.dtype, pad_value),
        source.stride(0),
        target.stride(0),
        target.stride(1),
        BATCH=triton.next_power_of_2(requests),
        TOKENS=variant.tokens,
        FEATURES=variant.features,
        num_warps=variant.num_warps,
    )
