"""Quantise one V3.2 latent a token in groups of 128 and store it with its RoPE as a 656-byte token.

Contract: vLLM csrc/cache_kernels.cu `concat_and_cache_ds_mla` (float scales) and the fused V3.2 writer, whose
scales are powers of two as in FlashMLA's reference quantiser.
"""

# pyright: reportArgumentType=false, reportCallIssue=false
from __future__ import annotations

from typing import Literal

import torch
import triton
import triton.language as tl

from rocassay.kernels.caches.dispatch import LatentWriteVariant
from rocassay.kernels.caches.tensors import require_rows, token_geometry
from rocassay.kernels.common.fp8_codec import encode_fp8
from rocassay.kernels.common.integers import ceil_div


@triton.jit
def _concat_and_cache_ds_mla_kernel(
    kv_c,
    k_pe,
    kv_cache,
    slot_mapping,
    tokens,
    latent_stride,
    rope_stride,
    cache_block_stride,
    cache_token_stride,
    slot_stride,
    SCALING_MAX: tl.constexpr,
    UE8M0: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    FORMAT: tl.constexpr,
    NATIVE: tl.constexpr,
    TOKENS: tl.constexpr,
):
    token = tl.program_id(0).to(tl.int64) * TOKENS + tl.arange(0, TOKENS)
    slot = tl.load(slot_mapping + token * slot_stride, mask=token < tokens, other=-1).to(tl.int64)
    written = slot >= 0
    block = slot // BLOCK_SIZE
    row = slot % BLOCK_SIZE

    group = tl.arange(0, 4)
    dim = group[:, None] * 128 + tl.arange(0, 128)[None, :]
    stored = written[:, None, None]
    source = kv_c + token * latent_stride
    latent = tl.load(source[:, None, None] + dim[None, :, :], mask=stored, other=0.0).to(tl.float32)

    raw = tl.div_rn(tl.max(tl.abs(latent), axis=2), SCALING_MAX)
    # Here the scale has a floor, not the magnitude as in the 584-byte token.
    if UE8M0:
        floored = tl.maximum(raw, 1e-4)
        # Rounding up to a power of two on the bits: a log2 that returns 3.0000002 would double the scale.
        exponent = (floored.to(tl.int32, bitcast=True) + 0x7FFFFF) >> 23
        scale = (exponent << 23).to(tl.float32, bitcast=True)
    else:
        scale = tl.maximum(raw, 1.1754943508222875e-38)
    divisor = scale
    # A plain division may be approximate; the stored bytes are compared exactly.
    quotient = tl.div_rn(latent, tl.broadcast_to(divisor[:, :, None], TOKENS, 4, 128))
    code = encode_fp8(quotient, FORMAT, NATIVE)

    page_base = block * cache_block_stride
    start = kv_cache + page_base + row * cache_token_stride
    tl.store(start[:, None, None] + dim[None, :, :], code, mask=stored)
    scale_target = (start + 512).to(tl.pointer_type(tl.float32))
    tl.store(scale_target[:, None] + group[None, :], scale, mask=written[:, None])

    # RoPE moves as integers: a float register may quieten a signalling NaN.
    lane = tl.arange(0, 64)
    rope_source = (k_pe + token * rope_stride).to(tl.pointer_type(tl.int16))
    rope = tl.load(rope_source[:, None] + lane[None, :], mask=written[:, None], other=0)
    rope_target = (start + 528).to(tl.pointer_type(tl.int16))
    tl.store(rope_target[:, None] + lane[None, :], rope, mask=written[:, None])


def concat_and_cache_ds_mla(
    kv_c: torch.Tensor,
    k_pe: torch.Tensor,
    kv_cache: torch.Tensor,
    slot_mapping: torch.Tensor,
    *,
    scale_fmt: Literal["ue8m0", "float"],
    variant: LatentWriteVariant,
) -> None:
    """Write latent t and its RoPE to cache slot `slot_mapping[t]`; negative slots write nothing.

    kv_c: bf16 [>=T, 512] and k_pe: bf16 [>=T, 64], any row stride. kv_cache: uint8 [NB, BS, 656], changed in
    place, page and token strides multiples of 4. slot_mapping: [T] int64 or int32. scale_fmt "float" stores
    max(amax / scaling_max, FLT_MIN); "ue8m0" stores max(amax / scaling_max, 1e-4) rounded up to a power of
    two. Raises LayoutError for strides that could not be honoured without a copy.
    """
    require_rows("kv_c", kv_c, 512)
    require_rows("k_pe", k_pe, 64)
    flat, block_stride, token_stride = token_geometry(kv_cache, variant.record)
    tokens = slot_mapping.shape[0]
    if tokens == 0:
        return
    _concat_and_cache_ds_mla_kernel[(ceil_div(tokens, variant.tokens_per_program),)](
        kv_c,
        k_pe,
        flat,
        slot_mapping,
        tokens,
        kv_c.stride(0),
        k_pe.stride(0),
        block_stride,
        token_stride,
        slot_mapping.stride(0),
        SCALING_MAX=variant.scaling_max,
        UE8M0=scale_fmt == "ue8m0",
        BLOCK_SIZE=kv_cache.shape[1],
        FORMAT=variant.fp8,
        NATIVE=variant.native,
        TOKENS=variant.tokens_per_program,
        num_warps=variant.num_warps,
    )
