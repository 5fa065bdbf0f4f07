"""Store one MLA latent and its RoPE a token as 576 elements: bf16 as they are, or fp8 under one given scale.

Contract: vLLM csrc/cache_kernels.cu `concat_and_cache_mla`.
"""

# pyright: reportArgumentType=false, reportCallIssue=false
from __future__ import annotations

import torch
import triton
import triton.language as tl

from rocassay.kernels.caches.dispatch import LatentWriteVariant
from rocassay.kernels.caches.tensors import require_rows, token_geometry
from rocassay.kernels.common.fp8_codec import encode_fp8
from rocassay.kernels.common.integers import ceil_div


@triton.jit
def _quantised(part, k_scale, FORMAT: tl.constexpr, NATIVE: tl.constexpr):
    """bf16 bit patterns -> fp8 codes of the values divided by the scale."""
    value = part.to(tl.bfloat16, bitcast=True).to(tl.float32)
    # A plain division may be approximate; the stored bytes are compared exactly.
    quotient = tl.div_rn(value, tl.broadcast_to(k_scale, value.shape[0], value.shape[1]))
    return encode_fp8(quotient, FORMAT, NATIVE)


@triton.jit
def _concat_and_cache_mla_kernel(
    kv_c,
    k_pe,
    kv_cache,
    slot_mapping,
    scale,
    tokens,
    latent_stride,
    rope_stride,
    cache_block_stride,
    cache_token_stride,
    slot_stride,
    QUANTISE: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    FORMAT: tl.constexpr,
    NATIVE: tl.constexpr,
    TOKENS: tl.constexpr,
):
    token = tl.program_id(0).to(tl.int64) * TOKENS + tl.arange(0, TOKENS)
    slot = tl.load(slot_mapping + token * slot_stride, mask=token < tokens, other=-1).to(tl.int64)
    written = (slot >= 0)[:, None]
    block = slot // BLOCK_SIZE
    row = slot % BLOCK_SIZE

    # Elements travel as integers: a float register may quieten a signalling NaN of a bf16 cache.
    dim, lane = tl.arange(0, 512), tl.arange(0, 64)
    latent_source = (kv_c + token * latent_stride).to(tl.pointer_type(tl.int16))
    rope_source = (k_pe + token * rope_stride).to(tl.pointer_type(tl.int16))
    latent = tl.load(latent_source[:, None] + dim[None, :], mask=written, other=0)
    rope = tl.load(rope_source[:, None] + lane[None, :], mask=written, other=0)

    page_base = block * cache_block_stride
    start = kv_cache + page_base + row * cache_token_stride
    rope_at = 512
    if QUANTISE:
        k_scale = tl.load(scale)
        tl.store(start[:, None] + dim[None, :], _quantised(latent, k_scale, FORMAT, NATIVE), mask=written)
        codes = _quantised(rope, k_scale, FORMAT, NATIVE)
        tl.store(start[:, None] + (rope_at + lane)[None, :], codes, mask=written)
    else:
        elements = start.to(tl.pointer_type(tl.int16))
        tl.store(elements[:, None] + dim[None, :], latent, mask=written)
        tl.store(elements[:, None] + (rope_at + lane)[None, :], rope, mask=written)


def concat_and_cache_mla(
    kv_c: torch.Tensor,
    k_pe: torch.Tensor,
    kv_cache: torch.Tensor,
    slot_mapping: torch.Tensor,
    scale: torch.Tensor,
    *,
    variant: LatentWriteVariant,
) -> None:
    """Write latent t and its RoPE to cache slot `slot_mapping[t]`; negative slots write nothing.

    kv_c: bf16 [>=T, 512] and k_pe: bf16 [>=T, 64], any row stride. kv_cache: [NB, BS, 576] bf16, or uint8 or
    fp8 codes, changed in place, any page and token stride. slot_mapping: [T] int64 or int32. scale: fp32 [1];
    codes are elements divided by it, and a bf16 cache ignores it. Raises LayoutError for a cache of another
    dtype than the variant's and for strides that could not be honoured without a copy.
    """
    require_rows("kv_c", kv_c, 512)
    require_rows("k_pe", k_pe, 64)
    flat, block_stride, token_stride = token_geometry(kv_cache, variant.record)
    tokens = slot_mapping.shape[0]
    if tokens == 0:
        return
    _concat_and_cache_mla_kernel[(ceil_div(tokens, variant.tokens_per_program),)](
        kv_c,
        k_pe,
        flat,
        slot_mapping,
        scale,
        tokens,
        kv_c.stride(0),
        k_pe.stride(0),
        block_stride,
        token_stride,
        slot_mapping.stride(0),
        QUANTISE=variant.record == "fp8",
        BLOCK_SIZE=kv_cache.shape[1],
        FORMAT=variant.fp8,
        NATIVE=variant.native,
        TOKENS=variant.tokens_per_program,
        num_warps=variant.num_warps,
    )
