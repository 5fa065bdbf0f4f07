"""A padded batch into ragged rows: a byte move, the inverse of packing.

Contract: vLLM `unpack_seq_triton` (vllm/v1/attention/ops/common.py); the caller passes the output, so that no length
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
from rocassay.kernels.topk.ragged import as_integers, request_range


@triton.jit
def _unpack_kernel(
    packed,
    lengths,
    out,
    rows,
    requests,
    longest,
    features,
    request_stride,
    position_stride,
    row_stride,
    BATCH: tl.constexpr,
    TOKENS: tl.constexpr,
    FEATURES: tl.constexpr,
):
    """Program (b, t, f) moves positions t * TOKENS ... and elements f * FEATURES ... of request b."""
    request = tl.program_id(0)
    first_row, length = request_range(lengths, request, requests, BATCH)
    position = tl.program_id(1) * TOKENS + tl.arange(0, TOKENS)
    feature = tl.program_id(2) * FEATURES + tl.arange(0, FEATURES)
    target = first_row + position
    # Lengths may promise more rows than there is room for.
    present = (position < length) & (position < longest) & (target < rows)
    moved = present[:, None] & (feature < features)[None, :]
    source_base = request.to(tl.int64) * request_stride + position.to(tl.int64) * position_stride
    value = tl.load(packed + source_base[:, None] + feature[None, :], mask=moved, other=0)
    target_base = target * row_stride
    tl.store(out + target_base[:, None] + feature[None, :], value, mask=moved)


def unpack_seq(packed: torch.Tensor, lengths: torch.Tensor, out: torch.Tensor, *, variant: PackVariant) -> None:
    """out[lengths[:b].sum() + i] = packed[b, i] for i below lengths[b]; all other rows of out stay untouched.

    packed: [B, Lmax, ...] of elements of 1, 2 or 4 bytes, any strides of its first two dimensions. lengths: int32 or
    int64 [B], none negative; what Lmax cut off is not written. out: [N, ...] of packed's dtype, any stride between
    rows. Raises LayoutError for rows that differ or are not contiguous, or other element sizes.
    """
    if packed.dtype is not out.dtype or packed.shape[2:] != out.shape[1:]:
        have = f"{packed.dtype} {tuple(packed.shape[2:])} and {out.dtype} {tuple(out.shape[1:])}"
        raise LayoutError(f"the rows of packed and out are {have}; pass the same")
    require_unit_stride("lengths", lengths)
    source, target = as_integers("packed", packed, 2), as_integers("out", out, 1)
    requests, longest, features = source.shape
    if source.numel() == 0:
        return
    grid = (requests, triton.cdiv(longest, variant.tokens), triton.cdiv(features, variant.features))
    _unpack_kernel[grid](
        source,
        lengths,
        target,
        target.shape[0],
        requests,
        longest,
        features,
        source.stride(0),
        source.stride(1),
        target.stride(0),
        BATCH=triton.next_power_of_2(requests),
        TOKENS=variant.tokens,
        FEATURES=variant.features,
        num_warps=variant.num_warps,
    )
