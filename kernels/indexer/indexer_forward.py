"""The V3.2 Indexer from its projections to what the logits read: RoPE, query codes, head weights, cached keys.

Contract: vLLM `Indexer.forward` (vLLM models/deepseek_v2.py; vllm-project/vllm#43781) after its LayerNorm, and the
fused form, ROCm/aiter `indexer_qk_rope_quant_and_cache` (ROCm/aiter#3451). vLLM applies no Hadamard rotation.
"""

# pyright: reportArgumentType=false, reportCallIssue=false
from __future__ import annotations

import torch
import triton
import triton.language as tl

from rocassay.harness.layouts import LayoutError
from rocassay.kernels.common.fp8_codec import encode_fp8
from rocassay.kernels.common.indexer_page import HEAD_DIM, scale_row, value_column, value_row
from rocassay.kernels.common.tensors import byte_view, indexer_cache_geometry, require_unit_stride
from rocassay.kernels.indexer.forward_variant import ForwardVariant
from rocassay.kernels.indexer.indexer_k_quant_and_cache import indexer_k_quant_and_cache
from rocassay.kernels.prefill.indexer_weights import indexer_weights
from rocassay.kernels.prefill.per_token_group_quant_fp8 import per_token_group_quant_fp8
from rocassay.kernels.rope.indexer_rope_forward import indexer_rope_forward
from rocassay.kernels.rope.pairs import load_pairs, row_of

_ROTATED = 64
"""Rotated lanes of an indexer head; the fused kernel takes no other number."""


@triton.jit
def _load_rotated(
    source,
    source_at,
    positions,
    cos_sin_cache,
    token,
    known,
    position_stride,
    cache_stride,
    HALF: tl.constexpr,
    KEPT: tl.constexpr,
    ROWS: tl.constexpr,
    NEOX: tl.constexpr,
):
    """Rows of q or k in fp32: both lanes of the rotated pairs [ROWS, HALF] and the other lanes [ROWS, KEPT]."""
    position = tl.load(positions + token * position_stride, mask=known, other=0).to(tl.int64)
    angle_at = position * cache_stride
    pair = tl.arange(0, HALF)
    cos = tl.load(cos_sin_cache + angle_at[:, None] + pair[None, :], mask=known[:, None], other=1.0)
    sin = tl.load(cos_sin_cache + angle_at[:, None] + HALF + pair[None, :], mask=known[:, None], other=0.0)
    first, second = load_pairs(source, source_at, known, HALF, ROWS, NEOX)
    turned_first = first * cos - second * sin
    turned_second = second * cos + first * sin
    # The unfused path stores what it rotated; rounding here as it does there makes the codes of both paths equal.
    turned_first = turned_first.to(source.dtype.element_ty).to(tl.float32)
    turned_second = turned_second.to(source.dtype.element_ty).to(tl.float32)
    lane = 2 * HALF + tl.arange(0, KEPT)
    kept = tl.load(source + source_at[:, None] + lane[None, :], mask=known[:, None], other=0.0).to(tl.float32)
    return turned_first, turned_second, kept


@triton.jit
def _largest(first, second, kept):
    """Largest magnitude of each row."""
    rotated = tl.maximum(tl.max(tl.abs(first), axis=1), tl.max(tl.abs(second), axis=1))
    return tl.maximum(rotated, tl.max(tl.abs(kept), axis=1))


@triton.jit
def _power_of_two_at_least(scale):
    """2^ceil(log2 scale) on the bits: a log2 that returns 3.0000002 would double the scale."""
    exponent = (scale.to(tl.int32, bitcast=True) + 0x7FFFFF) >> 23
    return (exponent << 23).to(tl.float32, bitcast=True)


@triton.jit
def _codes(
    values, scale, ROWS: tl.constexpr, LANES: tl.constexpr, FORMAT: tl.constexpr, NATIVE: tl.constexpr
) -> tl.tensor:
    # A plain division may be approximate; the stored bytes are compared exactly.
    return encode_fp8(tl.div_rn(values, tl.broadcast_to(scale[:, None], ROWS, LANES)), FORMAT, NATIVE)


@triton.jit
def _store_codes(
    target,
    row_start,
    first,
    second,
    kept,
    divisor,
    known,
    HALF: tl.constexpr,
    KEPT: tl.constexpr,
    ROWS: tl.constexpr,
    NEOX: tl.constexpr,
    SHUFFLE: tl.constexpr,
    FORMAT: tl.constexpr,
    NATIVE: tl.constexpr,
):
    """Quantise rows by their divisor and store them where lane 0 lies at `row_start`."""
    pair, lane = tl.arange(0, HALF), tl.arange(0, 2 * HALF)
    first = _codes(first, divisor, ROWS, HALF, FORMAT, NATIVE)
    second = _codes(second, divisor, ROWS, HALF, FORMAT, NATIVE)
    kept = _codes(kept, divisor, ROWS, KEPT, FORMAT, NATIVE)
    known = known[:, None]
    kept_lane = 2 * HALF + tl.arange(0, KEPT)
    tl.store(target + row_start[:, None] + value_column(kept_lane, SHUFFLE)[None, :], kept, mask=known)
    if NEOX:
        tl.store(target + row_start[:, None] + value_column(pair, SHUFFLE)[None, :], first, mask=known)
        tl.store(target + row_start[:, None] + value_column(HALF + pair, SHUFFLE)[None, :], second, mask=known)
    else:
        lanes = tl.reshape(tl.join(first, second), [ROWS, 2 * HALF])
        tl.store(target + row_start[:, None] + value_column(lane, SHUFFLE)[None, :], lanes, mask=known)


@triton.jit
def _indexer_qk_rope_quant_and_cache_kernel(
    q,
    k,
    weights,
    positions,
    cos_sin_cache,
    slot_mapping,
    q_fp8,
    weights_out,
    kv_cache,
    tokens,
    heads,
    query_programs,
    factor,
    position_stride,
    cos_sin_stride,
    slot_stride,
    q_token_stride,
    q_head_stride,
    k_stride,
    weights_stride,
    code_token_stride,
    code_head_stride,
    weights_out_stride,
    cache_block_stride,
    HALF: tl.constexpr,
    KEPT: tl.constexpr,
    ROWS: tl.constexpr,
    NEOX: tl.constexpr,
    HEADS_TILE: tl.constexpr,
    HEAD_TILES: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    SHUFFLE: tl.constexpr,
    Q_MAX: tl.constexpr,
    K_MAX: tl.constexpr,
    Q_UE8M0: tl.constexpr,
    K_UE8M0: tl.constexpr,
    FORMAT: tl.constexpr,
    NATIVE: tl.constexpr,
):
    """The first `query_programs` programs take (token, head) rows of q, the others the keys of ROWS tokens each."""
    program = tl.program_id(0)
    if program < query_programs:
        token, head = row_of(program, HEAD_TILES, HEADS_TILE, ROWS)
        known = (token < tokens) & (head < heads)
        query_at = token * q_token_stride + head * q_head_stride
        first, second, kept = _load_rotated(
            q, query_at, positions, cos_sin_cache, token, known, position_stride, cos_sin_stride,
            HALF, KEPT, ROWS, NEOX,
        )  # fmt: skip
        query_amax = tl.maximum(_largest(first, second, kept), 1e-10)
        query_exact = tl.div_rn(query_amax, Q_MAX)
        query_scale = _power_of_two_at_least(query_exact) if Q_UE8M0 else query_exact
        query_divisor = query_scale
        code_at = token * code_token_stride + head * code_head_stride
        _store_codes(
            q_fp8, code_at, first, second, kept, query_divisor, known,
            HALF, KEPT, ROWS, NEOX, False, FORMAT, NATIVE,
        )  # fmt: skip
        weight = tl.load(weights + token * weights_stride + head, mask=known, other=0.0).to(tl.float32)
        scaled = weight * query_scale
        tl.store(weights_out + token * weights_out_stride + head, scaled * factor, mask=known)
    else:
        token = (program - query_programs).to(tl.int64) * ROWS + tl.arange(0, ROWS)
        slot = tl.load(slot_mapping + token * slot_stride, mask=token < tokens, other=-1).to(tl.int64)
        written = slot >= 0
        first, second, kept = _load_rotated(
            k, token * k_stride, positions, cos_sin_cache, token, written, position_stride, cos_sin_stride,
            HALF, KEPT, ROWS, NEOX,
        )  # fmt: skip
        key_amax = tl.maximum(_largest(first, second, kept), 1e-4)
        key_exact = tl.div_rn(key_amax, K_MAX)
        key_scale = _power_of_two_at_least(key_exact) if K_UE8M0 else key_exact
        key_divisor = key_scale
        block = slot // BLOCK_SIZE
        offset = (slot % BLOCK_SIZE).to(tl.int32)
        page_base = block * cache_block_stride
        row_start = page_base + value_row(offset, SHUFFLE)
        scale_start = page_base + scale_row(offset, BLOCK_SIZE)
        _store_codes(
            kv_cache, row_start, first, second, kept, key_divisor, written,
            HALF, KEPT, ROWS, NEOX, SHUFFLE, FORMAT, NATIVE,
        )  # fmt: skip
        tl.store((kv_cache + scale_start).to(tl.pointer_type(tl.float32)), key_scale, mask=written)


def indexer_forward(
    positions: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    weights: torch.Tensor,
    cos_sin_cache: torch.Tensor,
    slot_mapping: torch.Tensor,
    q_fp8: torch.Tensor,
    weights_out: torch.Tensor,
    kv_cache: torch.Tensor,
    *,
    variant: ForwardVariant,
    q_rotated: torch.Tensor | None = None,
    k_rotated: torch.Tensor | None = None,
    q_scale: torch.Tensor | None = None,
) -> None:
    """Rotate q and k, quantise q, fold its scales into the head weights, and write k, quantised, to the cache.

    positions: [T] int32 or int64. q: [T, H, 128], k: [T, 128] of one dtype, bf16, fp16 or fp32, k after its LayerNorm.
    weights: [T, H] bf16, fp16 or fp32. cos_sin_cache: fp32 [P, 64]. slot_mapping: [T] int64 or int32, negative slots
    write nothing. q_fp8: [T, H, 128] uint8 or fp8. weights_out: fp32 [T, H] = weights * q_scale * 128^-1/2 * H^-1/2.
    kv_cache: [NB, BS, 132] uint8. All strides but the innermost are free.

    The unfused path needs `q_scale`, fp32 [T, H], and rotates into `q_rotated` and `k_rotated`, like q and k; without
    these q and k change in place. The fused path needs none of the three and leaves q and k as they are.
    Raises LayoutError for shapes or strides that do not fit.
    """
    if variant.path == "fused":
        _launch_fused(
            positions, q, k, weights, cos_sin_cache, slot_mapping, q_fp8, weights_out, kv_cache, variant
        )  # fmt: skip
        return
    if q_scale is None or q_scale.shape != weights.shape:
        raise LayoutError(f"the unfused path has no q_scale of shape {tuple(weights.shape)}; pass one in fp32")
    tokens, heads = weights.shape
    rotated_q, rotated_k = indexer_rope_forward(
        positions, q, k, cos_sin_cache, variant=variant.rope, q_out=q_rotated, k_out=k_rotated
    )
    # Heads as rows of their own: q may be a slice whose heads lie apart.
    if tokens and heads:
        _quantise_heads(rotated_q, q_fp8, q_scale, variant)
    indexer_weights(weights, q_scale, weights_out, head_dim=HEAD_DIM, variant=variant.weights)
    cached_k = rotated_k
    indexer_k_quant_and_cache(cached_k, kv_cache, slot_mapping, scale_fmt=variant.k_scale_fmt, variant=variant.write)


def _quantise_heads(q: torch.Tensor, q_fp8: torch.Tensor, q_scale: torch.Tensor, variant: ForwardVariant) -> None:
    """The query quantiser on [T, H * 128] rows, of which each head is a group; no copy is made."""
    tokens, heads, head_dim = q.shape
    rows = (tokens, heads * head_dim)
    for name, tensor in (("q", q), ("q_fp8", q_fp8)):
        if tensor.stride(1) != head_dim and heads > 1:
            raise LayoutError(
                f"the heads of {name} lie {tensor.stride(1)} elements apart; "
                f"the unfused quantiser needs {head_dim}, so pass q_rotated or take the fused path"
            )
    source = q.as_strided(rows, (q.stride(0), 1))
    target = q_fp8.as_strided(rows, (q_fp8.stride(0), 1))
    per_token_group_quant_fp8(
        source, target, q_scale, group_size=head_dim, scale_fmt=variant.q_scale_fmt, variant=variant.quant
    )


def _launch_fused(
    positions: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    weights: torch.Tensor,
    cos_sin_cache: torch.Tensor,
    slot_mapping: torch.Tensor,
    q_fp8: torch.Tensor,
    weights_out: torch.Tensor,
    kv_cache: torch.Tensor,
    variant: ForwardVariant,
) -> None:
    tokens, heads, head_dim = q.shape
    if head_dim != HEAD_DIM or cos_sin_cache.shape[1] != _ROTATED:
        raise LayoutError(
            f"q has {head_dim} lanes a head of which {cos_sin_cache.shape[1]} rotate; "
            f"the fused path takes {_ROTATED} of {HEAD_DIM}"
        )
    named = {"q": q, "k": k, "weights": weights, "cos_sin_cache": cos_sin_cache, "weights_out": weights_out}
    for name, tensor in {**named, "q_fp8": q_fp8}.items():
        require_unit_stride(name, tensor)
    _, block_size, block_stride = indexer_cache_geometry(kv_cache)
    if tokens == 0:
        return
    launch, codes = variant.rope.launch, byte_view(q_fp8)
    rows, tile = launch.rows_per_program, launch.heads_tile(heads)
    across = triton.cdiv(heads, tile)
    query_programs = across * triton.cdiv(tokens, rows // tile)
    _indexer_qk_rope_quant_and_cache_kernel[(query_programs + triton.cdiv(tokens, rows),)](
        q,
        k,
        weights,
        positions,
        cos_sin_cache,
        slot_mapping,
        codes,
        weights_out,
        kv_cache,
        tokens,
        heads,
        query_programs,
        head_dim**-0.5 * heads**-0.5,
        positions.stride(0),
        cos_sin_cache.stride(0),
        slot_mapping.stride(0),
        q.stride(0),
        q.stride(1),
        k.stride(0),
        weights.stride(0),
        codes.stride(0),
        codes.stride(1),
        weights_out.stride(0),
        block_stride,
        HALF=_ROTATED // 2,
        KEPT=HEAD_DIM - _ROTATED,
        ROWS=rows,
        NEOX=launch.style == "neox",
        HEADS_TILE=tile,
        HEAD_TILES=across,
        BLOCK_SIZE=block_size,
        SHUFFLE=variant.write.layout == "SHUFFLE",
        Q_MAX=variant.quant.scaling_max,
        K_MAX=variant.write.scaling_max,
        Q_UE8M0=variant.q_scale_fmt == "ue8m0",
        K_UE8M0=variant.k_scale_fmt == "ue8m0",
        FORMAT=variant.quant.fp8,
        NATIVE=variant.quant.native,
        num_warps=launch.num_warps,
    )
