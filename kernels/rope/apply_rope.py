"""Rotary position embedding of queries and keys in one launch, in place or into other tensors.

Contract: vLLM `rotary_embedding` (vllm-project/vllm#18046 for strided views, #43781 for in place or not).
"""

# pyright: reportArgumentType=false, reportCallIssue=false
from __future__ import annotations

import torch
import triton
import triton.language as tl

from rocassay.kernels.rope.dispatch import RopeVariant
from rocassay.kernels.rope.pairs import copy_lanes, load_pairs, row_of, store_pairs
from rocassay.kernels.rope.shapes import Lanes, lanes_of, require_rotatable


@triton.jit
def _rotate_rows(
    source,
    target,
    positions,
    cos_sin_cache,
    token,
    head,
    tokens,
    heads,
    position_stride,
    cache_stride,
    source_token_stride,
    source_head_stride,
    target_token_stride,
    target_head_stride,
    ROTATED: tl.constexpr,
    KEPT: tl.constexpr,
    KEPT_LANES: tl.constexpr,
    KEPT_PADDED: tl.constexpr,
    HALF: tl.constexpr,
    ROWS: tl.constexpr,
    NEOX: tl.constexpr,
):
    """Rotate a tile of (token, head) rows; KEPT_PADDED > 0 also copies the lanes that do not rotate."""
    known = (token < tokens) & (head < heads)
    position = tl.load(positions + token * position_stride, mask=known, other=0).to(tl.int64)
    angle_at = position * cache_stride
    pair = tl.arange(0, HALF)
    cos = tl.load(cos_sin_cache + angle_at[:, None] + pair[None, :], mask=known[:, None], other=1.0)
    sin = tl.load(cos_sin_cache + angle_at[:, None] + HALF + pair[None, :], mask=known[:, None], other=0.0)

    source_at = token * source_token_stride + head * source_head_stride
    target_at = token * target_token_stride + head * target_head_stride
    first, second = load_pairs(source, source_at + ROTATED, known, HALF, ROWS, NEOX)
    turned_first = first * cos - second * sin
    turned_second = second * cos + first * sin
    store_pairs(target, target_at + ROTATED, turned_first, turned_second, known, HALF, ROWS, NEOX)
    if KEPT_PADDED > 0:
        copy_lanes(source, source_at + KEPT, target, target_at + KEPT, known, KEPT_LANES, KEPT_PADDED)


@triton.jit
def _apply_rope_kernel(
    q,
    k,
    q_out,
    k_out,
    positions,
    cos_sin_cache,
    tokens,
    heads,
    key_heads,
    query_programs,
    position_stride,
    cache_stride,
    q_token_stride,
    q_head_stride,
    k_token_stride,
    k_head_stride,
    q_out_token_stride,
    q_out_head_stride,
    k_out_token_stride,
    k_out_head_stride,
    ROTATED: tl.constexpr,
    KEPT: tl.constexpr,
    KEPT_LANES: tl.constexpr,
    KEPT_PADDED: tl.constexpr,
    HALF: tl.constexpr,
    ROWS: tl.constexpr,
    NEOX: tl.constexpr,
    HEADS_TILE: tl.constexpr,
    HEAD_TILES: tl.constexpr,
    KEY_HEADS_TILE: tl.constexpr,
    KEY_HEAD_TILES: tl.constexpr,
):
    """The first `query_programs` programs rotate rows of q, the others rows of k, which has heads of its own."""
    program = tl.program_id(0)
    if program < query_programs:
        token, head = row_of(program, HEAD_TILES, HEADS_TILE, ROWS)
        _rotate_rows(
            q, q_out, positions, cos_sin_cache, token, head, tokens, heads, position_stride, cache_stride,
            q_token_stride, q_head_stride, q_out_token_stride, q_out_head_stride,
            ROTATED, KEPT, KEPT_LANES, KEPT_PADDED, HALF, ROWS, NEOX,
        )  # fmt: skip
    else:
        token, head = row_of(program - query_programs, KEY_HEAD_TILES, KEY_HEADS_TILE, ROWS)
        _rotate_rows(
            k, k_out, positions, cos_sin_cache, token, head, tokens, key_heads, position_stride, cache_stride,
            k_token_stride, k_head_stride, k_out_token_stride, k_out_head_stride,
            ROTATED, KEPT, KEPT_LANES, KEPT_PADDED, HALF, ROWS, NEOX,
        )  # fmt: skip


def apply_rope(
    positions: torch.Tensor,
    q: torch.Tensor,
    cos_sin_cache: torch.Tensor,
    *,
    variant: RopeVariant,
    k: torch.Tensor | None = None,
    q_out: torch.Tensor | None = None,
    k_out: torch.Tensor | None = None,
) -> tuple[torch.Tensor, torch.Tensor | None]:
    """Rotate q and k by the angles of their positions and return them; without `q_out` and `k_out` in place.

    positions: [T] int32 or int64. q: [T, H, D], k: [T, Hk, D] (MLA and the indexer have one key head) of one dtype,
    bf16, fp16 or fp32, any token and head strides. cos_sin_cache: fp32 [P, rot], cosines first, any row stride; rot
    a power of two. The D - rot other lanes keep their bits. Computed in fp32, rounded once.
    Raises LayoutError for shapes, dtypes or innermost strides that do not fit.
    """
    targets = (q if q_out is None else q_out, k if k_out is None else k_out)
    for name, source, target in (("q", q, targets[0]), ("k", k, targets[1])):
        if source is not None and target is not None:
            require_rotatable(name, source, target, cos_sin_cache, like=q)
    tokens = positions.shape[0]
    if tokens:
        _launch(positions, (q, q if k is None else k), targets, cos_sin_cache, variant, keys=k is not None)
    return targets


def _launch(
    positions: torch.Tensor,
    sources: tuple[torch.Tensor, torch.Tensor],
    targets: tuple[torch.Tensor, torch.Tensor | None],
    cos_sin_cache: torch.Tensor,
    variant: RopeVariant,
    *,
    keys: bool,
) -> None:
    """One launch over the rows of q, then those of k; without keys q stands in for them and gets no program."""
    (q, k), q_out = sources, targets[0]
    k_out = q_out if targets[1] is None else targets[1]
    tokens, rows = positions.shape[0], variant.rows_per_program
    tiles = [_tiles(tensor.shape[1], tokens, variant) for tensor in (q, k)]
    lanes: Lanes = lanes_of(q.shape[2], cos_sin_cache.shape[1], variant.span)
    _apply_rope_kernel[(tiles[0][2] + tiles[1][2] * keys,)](
        q,
        k,
        q_out,
        k_out,
        positions,
        cos_sin_cache,
        tokens,
        q.shape[1],
        k.shape[1],
        tiles[0][2],
        positions.stride(0),
        cos_sin_cache.stride(0),
        q.stride(0),
        q.stride(1),
        k.stride(0),
        k.stride(1),
        q_out.stride(0),
        q_out.stride(1),
        k_out.stride(0),
        k_out.stride(1),
        ROTATED=lanes.rotated,
        KEPT=lanes.kept,
        KEPT_LANES=lanes.kept_lanes,
        KEPT_PADDED=0 if q_out is q else lanes.kept_padded,
        HALF=cos_sin_cache.shape[1] // 2,
        ROWS=rows,
        NEOX=variant.style == "neox",
        HEADS_TILE=tiles[0][0],
        HEAD_TILES=tiles[0][1],
        KEY_HEADS_TILE=tiles[1][0],
        KEY_HEAD_TILES=tiles[1][1],
        # Fused or not would depend on the strides; so every layout gives the same bits.
        enable_fp_fusion=False,
        num_warps=variant.num_warps,
    )


def _tiles(heads: int, tokens: int, variant: RopeVariant) -> tuple[int, int, int]:
    """(heads a program, programs over the heads, programs in all)."""
    tile = variant.heads_tile(heads)
    across = triton.cdiv(heads, tile)
    return tile, across, across * triton.cdiv(tokens, variant.rows_per_program // tile)
