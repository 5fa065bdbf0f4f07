"""Merge two attention states, prefix and suffix of a sequence, by their natural log-sum-exp in one pass.

Contract: vLLM `merge_attn_states` (vllm-project/vllm#12639, #15492, #48739). An empty part is not read at all: what
its output holds, NaN included, cannot matter.
"""

# pyright: reportArgumentType=false, reportCallIssue=false
from __future__ import annotations

import torch
import triton
import triton.language as tl

from rocassay.harness.layouts import LayoutError
from rocassay.kernels.common.tensors import require_unit_stride
from rocassay.kernels.merge.dispatch import MergeVariant
from rocassay.kernels.merge.elementary import exp_of_negative, log_between_1_and_2


@triton.jit
def _merge_attn_states_kernel(
    output,
    output_lse,
    prefix_output,
    prefix_lse,
    suffix_output,
    suffix_lse,
    tokens,
    tokens_with_context,
    output_token_stride,
    output_head_stride,
    prefix_token_stride,
    prefix_head_stride,
    suffix_token_stride,
    suffix_head_stride,
    output_lse_head_stride,
    output_lse_token_stride,
    prefix_lse_head_stride,
    prefix_lse_token_stride,
    suffix_lse_head_stride,
    suffix_lse_token_stride,
    HEAD_DIM: tl.constexpr,
    DIMS: tl.constexpr,
    TOKENS: tl.constexpr,
    HAS_LSE: tl.constexpr,
):
    """Program (h, t) merges TOKENS tokens of head h; heads are neighbours in the grid as they are in memory."""
    head = tl.program_id(0).to(tl.int64)
    index = tl.program_id(1) * TOKENS + tl.arange(0, TOKENS)
    known = index < tokens
    merged = known & (index < tokens_with_context)
    token = index.to(tl.int64)

    prefix_lse_at = head * prefix_lse_head_stride + token * prefix_lse_token_stride
    suffix_lse_at = head * suffix_lse_head_stride + token * suffix_lse_token_stride
    before = tl.load(prefix_lse + prefix_lse_at, mask=merged, other=float("-inf"))
    stored_after = tl.load(suffix_lse + suffix_lse_at, mask=known, other=float("-inf"))
    # FlashAttention 2 reports an empty part as +inf, FlashAttention 3 as -inf.
    before = tl.where(before == float("inf"), float("-inf"), before)
    after = tl.where(stored_after == float("inf"), float("-inf"), stored_after)

    largest = tl.maximum(before, after)
    # Two empty parts: -inf - -inf would be NaN.
    anchor = tl.where(largest == float("-inf"), 0.0, largest)
    before_term = exp_of_negative(before - anchor)
    after_term = exp_of_negative(after - anchor)
    total = before_term + after_term
    divisor = tl.where(total == 0.0, 1.0, total)
    before_share = tl.div_rn(before_term, divisor)
    after_share = tl.div_rn(after_term, divisor)

    dim = tl.arange(0, DIMS)
    inside = dim < HEAD_DIM
    read_before = before > float("-inf")
    read_after = known & ((after > float("-inf")) | (index >= tokens_with_context))
    prefix_at = token * prefix_token_stride + head * prefix_head_stride
    suffix_at = token * suffix_token_stride + head * suffix_head_stride
    prefix = tl.load(
        prefix_output + prefix_at[:, None] + dim[None, :], mask=read_before[:, None] & inside[None, :], other=0.0
    )
    suffix = tl.load(
        suffix_output + suffix_at[:, None] + dim[None, :], mask=read_after[:, None] & inside[None, :], other=0.0
    )
    both = before_share[:, None] * prefix.to(tl.float32) + after_share[:, None] * suffix.to(tl.float32)
    result = tl.where(merged[:, None], both.to(output.dtype.element_ty), suffix)
    output_at = token * output_token_stride + head * output_head_stride
    written = known[:, None] & inside[None, :]
    tl.store(output + output_at[:, None] + dim[None, :], result, mask=written)

    if HAS_LSE:
        lse = anchor + log_between_1_and_2(divisor)
        lse = tl.where(total == 0.0, float("-inf"), lse)
        lse = tl.where(merged, lse, stored_after)
        output_lse_at = head * output_lse_head_stride + token * output_lse_token_stride
        tl.store(output_lse + output_lse_at, lse, mask=known)


def merge_attn_states(
    output: torch.Tensor,
    prefix_output: torch.Tensor,
    prefix_lse: torch.Tensor,
    suffix_output: torch.Tensor,
    suffix_lse: torch.Tensor,
    *,
    variant: MergeVariant,
    output_lse: torch.Tensor | None = None,
    prefill_tokens_with_context: int | None = None,
) -> None:
    """output[t, h] = softmax-weighted mean of both parts, and its LSE.

    output, prefix_output, suffix_output: [T, H, D] of one dtype (fp32, fp16, bf16), any token and head strides, which
    need not agree. prefix_lse, suffix_lse, output_lse: fp32 [H, T], natural log, any strides. -inf and +inf mark an
    empty part; two empty parts give zeros and -inf. Tokens from `prefill_tokens_with_context` on copy the suffix,
    output and LSE; None merges all. Raises LayoutError when shapes, dtypes or the innermost stride do not fit.
    """
    _require_alike(output, prefix_output, suffix_output)
    tokens, heads, head_dim = output.shape
    if tokens == 0 or heads == 0:
        return
    limit = tokens if prefill_tokens_with_context is None else prefill_tokens_with_context
    # Without an LSE to write its strides are never used; any tensor of the dtype stands in.
    lse = prefix_lse if output_lse is None else output_lse
    _merge_attn_states_kernel[(heads, triton.cdiv(tokens, variant.tokens_per_program))](
        output,
        lse,
        prefix_output,
        prefix_lse,
        suffix_output,
        suffix_lse,
        tokens,
        limit,
        output.stride(0),
        output.stride(1),
        prefix_output.stride(0),
        prefix_output.stride(1),
        suffix_output.stride(0),
        suffix_output.stride(1),
        lse.stride(0),
        lse.stride(1),
        prefix_lse.stride(0),
        prefix_lse.stride(1),
        suffix_lse.stride(0),
        suffix_lse.stride(1),
        HEAD_DIM=head_dim,
        DIMS=triton.next_power_of_2(head_dim),
        TOKENS=variant.tokens_per_program,
        HAS_LSE=output_lse is not None,
        num_warps=variant.num_warps,
        # Fused or not would depend on the strides; so every layout gives the same bits.
        enable_fp_fusion=False,
    )


def _require_alike(output: torch.Tensor, *parts: torch.Tensor) -> None:
    for name, tensor in (("output", output), ("prefix_output", parts[0]), ("suffix_output", parts[1])):
        require_unit_stride(name, tensor)
        if tensor.shape != output.shape or tensor.dtype != output.dtype:
            raise LayoutError(
                f"{name} is {tuple(tensor.shape)} of {tensor.dtype}, output {tuple(output.shape)} of {output.dtype}; "
                "pass three tensors [T, H, D] of one shape and dtype"
            )
