"""Quantise one V4 key a token in groups of 64 and insert it into the planar 584-byte page cache.

Contract: vLLM deepseek_v4 `quantize_and_insert_k_cache` (vllm-project/vllm#41812), with every negative slot skipped.
"""

# pyright: reportArgumentType=false, reportCallIssue=false
from __future__ import annotations

import torch
import triton
import triton.language as tl

from rocassay.kernels.caches.dispatch import InsertVariant
from rocassay.kernels.caches.tensors import planar_geometry, require_rows
from rocassay.kernels.common.fp8_codec import encode_fp8
from rocassay.kernels.common.integers import ceil_div


@triton.jit
def _quantize_and_insert_k_cache_kernel(
    k,
    k_cache,
    slot_mapping,
    tokens,
    k_stride,
    cache_block_stride,
    slot_stride,
    SCALING_MAX: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    DATA_PITCH: tl.constexpr,
    SCALE_BASE: tl.constexpr,
    SCALE_PITCH: tl.constexpr,
    FORMAT: tl.constexpr,
    NATIVE: tl.constexpr,
    TOKENS: tl.constexpr,
):
    token = tl.program_id(0).to(tl.int64) * TOKENS + tl.arange(0, TOKENS)
    slot = tl.load(slot_mapping + token * slot_stride, mask=token < tokens, other=-1).to(tl.int64)
    written = slot >= 0
    block = slot // BLOCK_SIZE
    row = slot % BLOCK_SIZE

    # Seven groups are quantised; the eighth is RoPE, which is copied, and its scale is the pad byte.
    group = tl.arange(0, 8)
    dim = group[:, None] * 64 + tl.arange(0, 64)[None, :]
    quantised = written[:, None] & (group < 7)[None, :]
    source = k + token * k_stride
    key = tl.load(source[:, None, None] + dim[None, :, :], mask=quantised[:, :, None], other=0.0).to(tl.float32)

    amax = tl.maximum(tl.max(tl.abs(key), axis=2), 1e-4)
    raw = tl.div_rn(amax, SCALING_MAX)
    # Rounding up to a power of two on the bits: a log2 that returns 3.0000002 would double the scale.
    exponent = (raw.to(tl.int32, bitcast=True) + 0x7FFFFF) >> 23
    # Dividing by a power of two is multiplying by its reciprocal, and cannot leave the scaling range.
    inverse = ((254 - exponent) << 23).to(tl.float32, bitcast=True)
    code = encode_fp8(key * inverse[:, :, None], FORMAT, NATIVE)

    page_base = block * cache_block_stride
    data_start = k_cache + page_base + row * DATA_PITCH
    scale_start = k_cache + page_base + SCALE_BASE + row * SCALE_PITCH
    tl.store(data_start[:, None, None] + dim[None, :, :], code, mask=quantised[:, :, None])
    scale = tl.where((group < 7)[None, :], exponent, 0).to(tl.uint8)
    tl.store(scale_start[:, None] + group[None, :], scale, mask=written[:, None])

    # RoPE moves as integers: a float register may quieten a signalling NaN.
    lane = tl.arange(0, 64)
    rope_source = (source + 448).to(tl.pointer_type(tl.int16))
    rope = tl.load(rope_source[:, None] + lane[None, :], mask=written[:, None], other=0)
    rope_target = (data_start + 448).to(tl.pointer_type(tl.int16))
    tl.store(rope_target[:, None] + lane[None, :], rope, mask=written[:, None])


def quantize_and_insert_k_cache(
    k: torch.Tensor,
    k_cache: torch.Tensor,
    slot_mapping: torch.Tensor,
    *,
    variant: InsertVariant,
) -> None:
    """Write key t to cache slot `slot_mapping[t]`; negative slots write nothing.

    k: bf16 [>=T, 512], any row stride: 448 NoPE dims, then 64 RoPE. k_cache: uint8 [NB, BS, 584], changed in
    place, any even page stride and storage offset. slot_mapping: [T] int64 or int32. Stored are 448 codes,
    64 bf16 copied bit by bit, 7 ue8m0 scale bytes and a zero byte. Raises LayoutError for strides that could
    not be honoured without a copy.
    """
    require_rows("k", k, 512)
    _, block_size, block_stride = planar_geometry(k_cache)
    tokens = slot_mapping.shape[0]
    if tokens == 0:
        return
    _quantize_and_insert_k_cache_kernel[(ceil_div(tokens, variant.tokens_per_program),)](
        k,
        k_cache,
        slot_mapping,
        tokens,
        k.stride(0),
        block_stride,
        slot_mapping.stride(0),
        SCALING_MAX=variant.scaling_max,
        BLOCK_SIZE=block_size,
        DATA_PITCH=variant.page.data_pitch,
        SCALE_BASE=variant.page.scale_base,
        SCALE_PITCH=variant.page.scale_pitch,
        FORMAT=variant.fp8,
        NATIVE=variant.native,
        TOKENS=variant.tokens_per_program,
        num_warps=variant.num_warps,
    )
