"""Quantise rows to fp8 in groups with one scale each, as the indexer does with its queries.

Contract: vLLM `per_token_group_quant_fp8` (vLLM model_executor/layers/quantization/utils/fp8_utils.py), Triton form:
the group's largest magnitude is floored at 1e-10 before the scale is derived from it.
"""

# pyright: reportArgumentType=false, reportCallIssue=false
from __future__ import annotations

from typing import Literal

import torch
import triton
import triton.language as tl

from rocassay.harness.layouts import LayoutError
from rocassay.kernels.common.fp8_codec import encode_fp8
from rocassay.kernels.common.integers import ceil_div
from rocassay.kernels.common.tensors import byte_view, require_unit_stride
from rocassay.kernels.prefill.dispatch import QuantVariant

GROUP_SIZES = (32, 64, 128, 256)
"""Group sizes that one tile row covers; the indexer has one group of 128 a head."""


@triton.jit
def _power_of_two_at_least(scale):
    """2^ceil(log2 scale) on the bits: a log2 that returns 3.0000002 would double the scale."""
    exponent = (scale.to(tl.int32, bitcast=True) + 0x7FFFFF) >> 23
    return (exponent << 23).to(tl.float32, bitcast=True)


@triton.jit
def _per_token_group_quant_fp8_kernel(
    x,
    x_q,
    x_s,
    groups,
    groups_per_row,
    x_stride,
    code_stride,
    scale_row_stride,
    scale_group_stride,
    GROUP_SIZE: tl.constexpr,
    SCALING_MAX: tl.constexpr,
    UE8M0: tl.constexpr,
    FORMAT: tl.constexpr,
    NATIVE: tl.constexpr,
    GROUPS: tl.constexpr,
):
    index = tl.program_id(0).to(tl.int64) * GROUPS + tl.arange(0, GROUPS)
    known = index < groups
    row = index // groups_per_row
    group = index % groups_per_row
    dim = tl.arange(0, GROUP_SIZE)
    row_base = row * x_stride
    source = row_base + group * GROUP_SIZE
    values = tl.load(x + source[:, None] + dim[None, :], mask=known[:, None], other=0.0).to(tl.float32)

    amax = tl.maximum(tl.max(tl.abs(values), axis=1), 1e-10)
    scale = tl.div_rn(amax, SCALING_MAX)
    if UE8M0:
        scale = _power_of_two_at_least(scale)
    # A plain division may be approximate; the stored bytes are compared exactly.
    quotient = tl.div_rn(values, tl.broadcast_to(scale[:, None], GROUPS, GROUP_SIZE))
    code = encode_fp8(quotient, FORMAT, NATIVE)

    code_base = row * code_stride
    target = code_base + group * GROUP_SIZE
    tl.store(x_q + target[:, None] + dim[None, :], code, mask=known[:, None])
    scale_target = row * scale_row_stride + group * scale_group_stride
    tl.store(x_s + scale_target, scale, mask=known)


def per_token_group_quant_fp8(
    x: torch.Tensor,
    x_q: torch.Tensor,
    x_s: torch.Tensor,
    *,
    group_size: int,
    scale_fmt: Literal["ue8m0", "float"],
    variant: QuantVariant,
) -> None:
    """x_q[t, c] = fp8(x[t, c] / x_s[t, c // group_size]), x_s the group's largest magnitude over the scaling maximum.

    x: [T, C] bf16, fp16 or fp32, any row stride, C a multiple of group_size. x_q: [T, C] uint8 or fp8, any row stride.
    x_s: fp32 [T, C / group_size], any strides (column-major scales are a transposed view). scale_fmt: "ue8m0" rounds
    the scale up to a power of two before dividing, "float" stores it as it is. NaN and inf are outside the contract.
    Raises LayoutError for shapes or strides that the kernel cannot honour.
    """
    rows, columns = x.shape
    if group_size not in GROUP_SIZES or columns % group_size:
        raise LayoutError(f"{columns} columns in groups of {group_size}; use whole groups of {GROUP_SIZES}")
    if tuple(x_q.shape) != (rows, columns) or tuple(x_s.shape) != (rows, columns // group_size):
        raise LayoutError(f"x_q is {tuple(x_q.shape)} and x_s {tuple(x_s.shape)}; they do not fit x {tuple(x.shape)}")
    require_unit_stride("x", x)
    require_unit_stride("x_q", x_q)
    groups = rows * (columns // group_size)
    if groups == 0:
        return
    _per_token_group_quant_fp8_kernel[(ceil_div(groups, variant.groups_per_program),)](
        x,
        byte_view(x_q),
        x_s,
        groups,
        columns // group_size,
        x.stride(0),
        x_q.stride(0),
        x_s.stride(0),
        x_s.stride(1),
        GROUP_SIZE=group_size,
        SCALING_MAX=variant.scaling_max,
        UE8M0=scale_fmt == "ue8m0",
        FORMAT=variant.fp8,
        NATIVE=variant.native,
        GROUPS=variant.groups_per_program,
        num_warps=variant.num_warps,
    )
