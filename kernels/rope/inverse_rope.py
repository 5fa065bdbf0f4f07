"""Undo the rotary embedding of attention outputs: DeepSeek V4's values carry rotated lanes.

Contract: vLLM `rocm_inverse_rope_rows_` and `_inverse_rope_gptj_kernel` (vllm-project/vllm#45103).
"""

# pyright: reportArgumentType=false, reportCallIssue=false
from __future__ import annotations

import torch
import triton
import triton.language as tl

from rocassay.kernels.rope.dispatch import RopeVariant
from rocassay.kernels.rope.pairs import copy_lanes, load_pairs, row_of, store_pairs
from rocassay.kernels.rope.shapes import lanes_of, require_rotatable


@triton.jit
def _inverse_rope_kernel(
    o,
    out,
    positions,
    cos_sin_cache,
    tokens,
    heads,
    position_stride,
    cache_stride,
    o_token_stride,
    o_head_stride,
    out_token_stride,
    out_head_stride,
    ROTATED: tl.constexpr,
    KEPT: tl.constexpr,
    KEPT_LANES: tl.constexpr,
    KEPT_PADDED: tl.constexpr,
    HALF: tl.constexpr,
    ROWS: tl.constexpr,
    NEOX: tl.constexpr,
    HEADS_TILE: tl.constexpr,
    HEAD_TILES: tl.constexpr,
):
    """Program p turns ROWS (token, head) rows back by the angles of their tokens' positions."""
    token, head = row_of(tl.program_id(0), HEAD_TILES, HEADS_TILE, ROWS)
    known = (token < tokens) & (head < heads)
    position = tl.load(positions + token * position_stride, mask=known, other=0).to(tl.int64)
    angle_at = position * cache_stride
    pair = tl.arange(0, HALF)
    cos = tl.load(cos_sin_cache + angle_at[:, None] + pair[None, :], mask=known[:, None], other=1.0)
    sin = tl.load(cos_sin_cache + angle_at[:, None] + HALF + pair[None, :], mask=known[:, None], other=0.0)

    o_at = token * o_token_stride + head * o_head_stride
    out_at = token * out_token_stride + head * out_head_stride
    first, second = load_pairs(o, o_at + ROTATED, known, HALF, ROWS, NEOX)
    turned_first = first * cos + second * sin
    turned_second = second * cos - first * sin
    store_pairs(out, out_at + ROTATED, turned_first, turned_second, known, HALF, ROWS, NEOX)
    if KEPT_PADDED > 0:
        copy_lanes(o, o_at + KEPT, out, out_at + KEPT, known, KEPT_LANES, KEPT_PADDED)


def inverse_rope(
    o: torch.Tensor,
    positions: torch.Tensor,
    cos_sin_cache: torch.Tensor,
    *,
    variant: RopeVariant,
    out: torch.Tensor | None = None,
) -> torch.Tensor:
    """Turn o back by the angles of its positions and return it; without `out` in place.

    o: [T, H, D] bf16, fp16 or fp32, any token and head strides; out: like o, its own strides, may be o itself.
    positions: [T] int32 or int64. cos_sin_cache: fp32 [P, rot], cosines first. Lanes that do not rotate keep their
    bits. Computed in fp32, rounded once. Raises LayoutError for shapes, dtypes or strides that do not fit.
    """
    target = o if out is None else out
    require_rotatable("o", o, target, cos_sin_cache, like=o)
    tokens, heads, head_dim = o.shape
    if tokens == 0:
        return target
    tile, rot = variant.heads_tile(heads), cos_sin_cache.shape[1]
    across, lanes = triton.cdiv(heads, tile), lanes_of(head_dim, rot, variant.span)
    _inverse_rope_kernel[(across * triton.cdiv(tokens, variant.rows_per_program // tile),)](
        o,
        target,
        positions,
        cos_sin_cache,
        tokens,
        heads,
        positions.stride(0),
        cos_sin_cache.stride(0),
        o.stride(0),
        o.stride(1),
        target.stride(0),
        target.stride(1),
        ROTATED=lanes.rotated,
        KEPT=lanes.kept,
        KEPT_LANES=lanes.kept_lanes,
        KEPT_PADDED=0 if target.data_ptr() == o.data_ptr() else lanes.kept_padded,
        HALF=rot // 2,
        ROWS=variant.rows_per_program,
        NEOX=variant.style == "neox",
        HEADS_TILE=tile,
        HEAD_TILES=across,
        # Fused or not would depend on the strides; so every layout gives the same bits.
        enable_fp_fusion=False,
        num_warps=variant.num_warps,
    )
    return target
