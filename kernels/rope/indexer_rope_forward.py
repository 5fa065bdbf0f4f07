"""The RoPE part of the V3.2 Indexer's forward, on slices in place or functional with concatenation.

Contract: vLLM `Indexer.forward` (vllm-project/vllm#43781): the in-place path ignores what the RoPE returns, so it is
right only for an implementation that changes its arguments.
"""

# pyright: reportArgumentType=false, reportCallIssue=false
from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import torch
import triton
import triton.language as tl

from rocassay.harness.arch import Target
from rocassay.harness.layouts import LayoutError
from rocassay.kernels.common.tensors import require_unit_stride
from rocassay.kernels.rope.dispatch import DISPATCH, RopeDispatch, RopeVariant, rope_variant
from rocassay.kernels.rope.implementations import Rope
from rocassay.kernels.rope.pairs import row_of


@dataclass(frozen=True, slots=True)
class IndexerRopeVariant:
    """Decisions of one Indexer forward."""

    path: Literal["inplace", "functional"]
    """Whether the RoPE's result is ignored or concatenated with the lanes that do not rotate."""

    rope: Rope
    """The implementation the model holds."""

    launch: RopeVariant
    """How it rotates and tiles."""


def indexer_rope_variant(
    target: Target, *, rope: Rope, tensor: str, tokens: int, heads: int, dispatch: RopeDispatch = DISPATCH
) -> IndexerRopeVariant:
    """Decisions on ROCm; `tensor` is the model's indexer in `dispatch.layouts`."""
    path = dispatch.indexer_path("rocm", rope)
    launch = rope_variant(target, tensor=tensor, tokens=tokens, heads=heads, dispatch=dispatch)
    return IndexerRopeVariant("inplace" if path == "inplace" else "functional", rope, launch)


@triton.jit
def _concatenate_kernel(
    rotated,
    source,
    target,
    tokens,
    heads,
    rotated_token_stride,
    rotated_head_stride,
    source_token_stride,
    source_head_stride,
    target_token_stride,
    target_head_stride,
    ROT: tl.constexpr,
    HEAD_DIM: tl.constexpr,
    DIMS: tl.constexpr,
    ROWS: tl.constexpr,
    HEADS_TILE: tl.constexpr,
    HEAD_TILES: tl.constexpr,
):
    """target = [rotated | source's lanes from ROT on], ROWS (token, head) rows a program."""
    token, head = row_of(tl.program_id(0), HEAD_TILES, HEADS_TILE, ROWS)
    known = ((token < tokens) & (head < heads))[:, None]
    dim = tl.arange(0, DIMS)[None, :]
    rotated_at = token * rotated_token_stride + head * rotated_head_stride
    source_at = token * source_token_stride + head * source_head_stride
    target_at = token * target_token_stride + head * target_head_stride
    turned = tl.load(rotated + rotated_at[:, None] + dim, mask=known & (dim < ROT), other=0.0)
    kept = tl.load(source + source_at[:, None] + dim, mask=known & (dim >= ROT) & (dim < HEAD_DIM), other=0.0)
    lanes = tl.where(dim < ROT, turned, kept)
    tl.store(target + target_at[:, None] + dim, lanes, mask=known & (dim < HEAD_DIM))


def indexer_rope_forward(
    positions: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    cos_sin_cache: torch.Tensor,
    *,
    variant: IndexerRopeVariant,
    q_out: torch.Tensor | None = None,
    k_out: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rotate the first lanes of the indexer's queries and of its key, which counts as one head; returns both.

    positions: [T] int32 or int64. q: [T, H, D], k: [T, D] of one dtype, any token and head strides. cos_sin_cache:
    fp32 [P, rot]. With `q_out` and `k_out`, shaped like q and k, the results go there and q and k stay as they are;
    without, the results replace them. Raises LayoutError when an innermost stride is not 1 or only one is given.
    """
    if (q_out is None) != (k_out is None):
        raise LayoutError("only one of q_out and k_out is given; pass both or neither")
    q_target, k_target = q if q_out is None else q_out, k if k_out is None else k_out
    for name, tensor in (("q", q), ("k", k), ("q_out", q_target), ("k_out", k_target)):
        require_unit_stride(name, tensor)
    rot = cos_sin_cache.shape[1]
    if variant.path == "inplace":
        if q_out is not None:
            q_target.copy_(q)
            k_target.copy_(k)
        slices = (q_target[..., :rot], k_target[:, None, :rot])
        variant.rope.rotate(positions, *slices, cos_sin_cache, variant.launch)
    else:
        slices = (q[..., :rot], k[:, None, :rot])
        q_pe, k_pe = variant.rope.rotate(positions, *slices, cos_sin_cache, variant.launch)
        _concatenate(q_pe, q, q_target, variant.launch)
        _concatenate(k_pe, k[:, None], k_target[:, None], variant.launch)
    return q_target, k_target


def _concatenate(rotated: torch.Tensor, source: torch.Tensor, target: torch.Tensor, variant: RopeVariant) -> None:
    tokens, heads, head_dim = source.shape
    if tokens == 0:
        return
    tile = variant.heads_tile(heads)
    across = triton.cdiv(heads, tile)
    _concatenate_kernel[(across * triton.cdiv(tokens, variant.rows_per_program // tile),)](
        rotated,
        source,
        target,
        tokens,
        heads,
        rotated.stride(0),
        rotated.stride(1),
        source.stride(0),
        source.stride(1),
        target.stride(0),
        target.stride(1),
        ROT=rotated.shape[-1],
        HEAD_DIM=head_dim,
        DIMS=triton.next_power_of_2(head_dim),
        ROWS=variant.rows_per_program,
        HEADS_TILE=tile,
        HEAD_TILES=across,
        # Fused or not would depend on the strides; so every layout gives the same bits.
        enable_fp_fusion=False,
        num_warps=variant.num_warps,
    )
