"""Head weights that carry the query's scale and both normalisations, so that the logits need none of them.

Contract: vLLM's V3.2 `Indexer.forward` (vLLM models/deepseek_v2.py): weights * q_scale * D^-1/2 * H^-1/2 in fp32.
"""

# pyright: reportArgumentType=false, reportCallIssue=false
from __future__ import annotations

import torch
import triton
import triton.language as tl

from rocassay.harness.layouts import LayoutError
from rocassay.kernels.common.integers import ceil_div, power_of_two_from
from rocassay.kernels.common.tensors import require_unit_stride
from rocassay.kernels.prefill.dispatch import RowsVariant


@triton.jit
def _indexer_weights_kernel(
    weights,
    q_scale,
    out,
    factor,
    rows,
    weights_stride,
    scale_stride,
    out_stride,
    HEADS: tl.constexpr,
    HEADS_PADDED: tl.constexpr,
    ROWS: tl.constexpr,
):
    row = tl.program_id(0).to(tl.int64) * ROWS + tl.arange(0, ROWS)
    head = tl.arange(0, HEADS_PADDED)
    real = (row < rows)[:, None] & (head < HEADS)[None, :]
    weight_base = row * weights_stride
    weight = tl.load(weights + weight_base[:, None] + head[None, :], mask=real, other=0.0).to(tl.float32)
    scale_base = row * scale_stride
    scale = tl.load(q_scale + scale_base[:, None] + head[None, :], mask=real, other=0.0)
    scaled = weight * scale
    out_base = row * out_stride
    tl.store(out + out_base[:, None] + head[None, :], scaled * factor, mask=real)


def indexer_weights(
    weights: torch.Tensor, q_scale: torch.Tensor, out: torch.Tensor, *, head_dim: int, variant: RowsVariant
) -> None:
    """out[t, h] = weights[t, h] * q_scale[t, h] * head_dim^-1/2 * H^-1/2.

    weights: [T, H] bf16, fp16 or fp32, any row stride (a slice of a fused projection). q_scale: fp32 [T, H], any row
    stride. out: fp32 [T, H], any row stride. Raises LayoutError for shapes or strides that do not fit.
    """
    rows, heads = weights.shape
    for name, tensor in (("weights", weights), ("q_scale", q_scale), ("out", out)):
        if tuple(tensor.shape) != (rows, heads):
            raise LayoutError(f"{name} is {tuple(tensor.shape)}; ({rows}, {heads}) is needed, as the weights are")
        require_unit_stride(name, tensor)
    if rows == 0 or heads == 0:
        return
    normalisation = head_dim**-0.5 * heads**-0.5
    _indexer_weights_kernel[(ceil_div(rows, variant.rows_per_program),)](
        weights,
        q_scale,
        out,
        normalisation,
        rows,
        weights.stride(0),
        q_scale.stride(0),
        out.stride(0),
        HEADS=heads,
        HEADS_PADDED=power_of_two_from(heads),
        ROWS=variant.rows_per_program,
        num_warps=variant.num_warps,
    )
