"""Quantise one indexer key a token to fp8 with one scale and scatter it into the paged cache.

Contract: vLLM `indexer_k_quant_and_cache_triton` (vllm-project/vllm#43781), made stride-safe.
"""

# pyright: reportArgumentType=false, reportCallIssue=false
from __future__ import annotations

from typing import Literal

import torch
import triton
import triton.language as tl

from rocassay.harness.layouts import LayoutError
from rocassay.kernels.common.fp8_codec import encode_fp8
from rocassay.kernels.common.indexer_page import HEAD_DIM, scale_row, value_column, value_row
from rocassay.kernels.common.integers import ceil_div
from rocassay.kernels.common.tensors import indexer_cache_geometry, require_unit_stride
from rocassay.kernels.indexer.dispatch import WriteVariant


@triton.jit
def _indexer_k_quant_and_cache_kernel(
    k,
    kv_cache,
    slot_mapping,
    tokens,
    k_stride,
    cache_block_stride,
    slot_stride,
    SCALING_MAX: tl.constexpr,
    UE8M0: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    SHUFFLE: tl.constexpr,
    FORMAT: tl.constexpr,
    NATIVE: tl.constexpr,
    TOKENS: tl.constexpr,
):
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    known = token < tokens
    slot = tl.load(slot_mapping + token * slot_stride, mask=known, other=-1).to(tl.int64)
    written = slot >= 0
    block = slot // BLOCK_SIZE
    offset = (slot % BLOCK_SIZE).to(tl.int32)

    dim = tl.arange(0, 128)
    source = token.to(tl.int64) * k_stride
    # Not masked by the slots, or the keys would wait for them.
    key = tl.load(k + source[:, None] + dim[None, :], mask=known[:, None], other=0.0).to(tl.float32)

    amax = tl.maximum(tl.max(tl.abs(key), axis=1), 1e-4)
    scale = tl.div_rn(amax, SCALING_MAX)
    if UE8M0:
        # Rounding up to a power of two on the bits: a log2 that returns 3.0000002 would double the scale.
        exponent = (scale.to(tl.int32, bitcast=True) + 0x7FFFFF) >> 23
        scale = (exponent << 23).to(tl.float32, bitcast=True)
    # A plain division may be approximate; the stored bytes are compared exactly.
    quotient = tl.div_rn(key, tl.broadcast_to(scale[:, None], TOKENS, 128))
    code = encode_fp8(quotient, FORMAT, NATIVE)

    page_base = block * cache_block_stride
    row_start = page_base + value_row(offset, SHUFFLE)
    scale_start = page_base + scale_row(offset, BLOCK_SIZE)
    tl.store(kv_cache + row_start[:, None] + value_column(dim, SHUFFLE)[None, :], code, mask=written[:, None])
    scale_pointer = (kv_cache + scale_start).to(tl.pointer_type(tl.float32))
    tl.store(scale_pointer, scale, mask=written)


def indexer_k_quant_and_cache(
    k: torch.Tensor,
    kv_cache: torch.Tensor,
    slot_mapping: torch.Tensor,
    *,
    scale_fmt: Literal["ue8m0", "float"],
    variant: WriteVariant,
) -> None:
    """Write key t, quantised, to cache slot `slot_mapping[t]`; negative slots write nothing.

    k: [>=T, 128] bf16, fp16 or fp32, any row stride. kv_cache: [NB, BS, 132] uint8, changed in place, any
    page stride (a multiple of 4 bytes) and storage offset. slot_mapping: [T] int64 or int32.
    scale_fmt: "ue8m0" rounds the scale up to a power of two, "float" stores amax / scaling_max as it is.
    Raises LayoutError for strides that could not be honoured without a copy.
    """
    require_unit_stride("k", k)
    if k.shape[-1] != HEAD_DIM:
        raise LayoutError(f"k has {k.shape[-1]} dimensions a row; the indexer cache stores {HEAD_DIM}")
    _, block_size, block_stride = indexer_cache_geometry(kv_cache)
    tokens = slot_mapping.shape[0]
    if tokens == 0:
        return
    _indexer_k_quant_and_cache_kernel[(ceil_div(tokens, variant.tokens_per_program),)](
        k,
        kv_cache,
        slot_mapping,
        tokens,
        k.stride(0),
        block_stride,
        slot_mapping.stride(0),
        SCALING_MAX=variant.scaling_max,
        UE8M0=scale_fmt == "ue8m0",
        BLOCK_SIZE=block_size,
        SHUFFLE=variant.layout == "SHUFFLE",
        FORMAT=variant.fp8,
        NATIVE=variant.native,
        TOKENS=variant.tokens_per_program,
        num_warps=variant.num_warps,
    )
