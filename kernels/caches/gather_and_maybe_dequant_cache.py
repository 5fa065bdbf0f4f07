"""Gather cached MLA latents of a chunk of requests into bf16 rows, whatever a cached token is.

Contract: vLLM csrc/cache_kernels.cu `gather_and_maybe_dequant_cache` (dense tokens) and
`cp_gather_and_upconvert_fp8_kv_cache` (656-byte tokens). Which of the three records is read is the
dispatcher's decision, because their bytes do not tell (vllm-project/vllm#48611).
"""

# pyright: reportArgumentType=false, reportCallIssue=false
from __future__ import annotations

import torch
import triton
import triton.language as tl

from rocassay.kernels.caches.dispatch import LatentGatherVariant
from rocassay.kernels.caches.tensors import ELEMENTS, require_rows, token_geometry
from rocassay.kernels.common.fp8_codec import decode_fp8
from rocassay.kernels.common.integers import ceil_div
from rocassay.kernels.common.tensors import require_unit_stride


@triton.jit
def _bf16_bits(code, scale, FORMAT: tl.constexpr, NATIVE: tl.constexpr):
    """fp8 codes times their scale, as bf16 bit patterns."""
    value = decode_fp8(code, FORMAT, NATIVE).to(tl.float32) * scale
    return value.to(tl.bfloat16).to(tl.int16, bitcast=True)


@triton.jit
def _gather_and_maybe_dequant_cache_kernel(
    src_cache,
    dst,
    block_table,
    cu_seq_lens,
    token_to_seq,
    scale,
    seq_starts,
    tokens,
    requests,
    pages,
    table_width,
    cache_block_stride,
    cache_token_stride,
    dst_stride,
    table_stride,
    STARTS: tl.constexpr,
    RECORD: tl.constexpr,
    BLOCK_SIZE: tl.constexpr,
    FORMAT: tl.constexpr,
    NATIVE: tl.constexpr,
    TOKENS: tl.constexpr,
):
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    request = tl.load(token_to_seq + token, mask=token < tokens, other=-1)
    # T may be an upper bound: beyond cu_seq_lens[B] token_to_seq holds garbage.
    known = (request >= 0) & (request < requests)
    first = tl.load(cu_seq_lens + request, mask=known, other=0)
    last = tl.load(cu_seq_lens + request + 1, mask=known, other=0)
    position = token - first
    if STARTS:
        position += tl.load(seq_starts + request, mask=known, other=0)
    column = position // BLOCK_SIZE
    listed = known & (token >= first) & (token < last) & (column < table_width)
    table_row = block_table + request.to(tl.int64) * table_stride
    page = tl.load(table_row + column, mask=listed, other=-1).to(tl.int64)
    present = listed & (page >= 0) & (page < pages)

    page_base = page * cache_block_stride
    row = (position % BLOCK_SIZE).to(tl.int64)
    start = src_cache + page_base + row * cache_token_stride

    # Results travel as bf16 bit patterns: what is copied must not pass through a float register.
    group = tl.arange(0, 4)
    lane = tl.arange(0, 64)
    dim = group[:, None] * 128 + tl.arange(0, 128)[None, :]
    latent_at = start[:, None, None] + dim[None, :, :]
    if RECORD == "bf16":
        elements = start.to(tl.pointer_type(tl.int16))
        latent = tl.load(elements[:, None, None] + dim[None, :, :], mask=present[:, None, None], other=0)
        rope = tl.load(elements[:, None] + (512 + lane)[None, :], mask=present[:, None], other=0)
    elif RECORD == "fp8":
        k_scale = tl.load(scale)
        code = tl.load(latent_at, mask=present[:, None, None], other=0)
        latent = _bf16_bits(code, k_scale, FORMAT, NATIVE)
        rope_code = tl.load(start[:, None] + (512 + lane)[None, :], mask=present[:, None], other=0)
        rope = _bf16_bits(rope_code, k_scale, FORMAT, NATIVE)
    else:
        scales = (start + 512).to(tl.pointer_type(tl.float32))
        scale_index = group
        group_scale = tl.load(scales[:, None] + scale_index[None, :], mask=present[:, None], other=0.0)
        code = tl.load(latent_at, mask=present[:, None, None], other=0)
        latent = _bf16_bits(code, group_scale[:, :, None], FORMAT, NATIVE)
        rope_at = (start + 528).to(tl.pointer_type(tl.int16))
        rope = tl.load(rope_at[:, None] + lane[None, :], mask=present[:, None], other=0)

    target = (dst + token.to(tl.int64) * dst_stride).to(tl.pointer_type(tl.int16))
    tl.store(target[:, None, None] + dim[None, :, :], latent, mask=present[:, None, None])
    tl.store(target[:, None] + (512 + lane)[None, :], rope, mask=present[:, None])


def gather_and_maybe_dequant_cache(
    src_cache: torch.Tensor,
    dst: torch.Tensor,
    block_table: torch.Tensor,
    cu_seq_lens: torch.Tensor,
    token_to_seq: torch.Tensor,
    scale: torch.Tensor,
    seq_starts: torch.Tensor | None = None,
    *,
    variant: LatentGatherVariant,
) -> None:
    """Copy the cached token of every gathered row t to `dst[t]`, dequantised.

    src_cache: [NB, BS, 576] bf16 or fp8 codes, or [NB, BS, 656] uint8, any page stride. dst: bf16 [T, 576],
    any row stride. block_table: int32 [B, W], any row stride. cu_seq_lens: int32 [B+1]. token_to_seq: int32
    [T]. scale: fp32 [1], for dense fp8 codes alone. seq_starts: int32 [B], first position of each request,
    whole pages; without it 0. Rows of no request, or whose page is outside the cache, stay untouched.
    Raises LayoutError for strides that could not be honoured without a copy.
    """
    require_rows("dst", dst, ELEMENTS)
    for name, tensor in (("block_table", block_table), ("token_to_seq", token_to_seq)):
        require_unit_stride(name, tensor)
    flat, block_stride, token_stride = token_geometry(src_cache, variant.record)
    tokens = dst.shape[0]
    if tokens == 0:
        return
    _gather_and_maybe_dequant_cache_kernel[(ceil_div(tokens, variant.tokens_per_program),)](
        flat,
        dst,
        block_table,
        cu_seq_lens,
        token_to_seq,
        scale,
        cu_seq_lens if seq_starts is None else seq_starts,
        tokens,
        block_table.shape[0],
        src_cache.shape[0],
        block_table.shape[1],
        block_stride,
        token_stride,
        dst.stride(0),
        block_table.stride(0),
        STARTS=seq_starts is not None,
        RECORD=variant.record,
        BLOCK_SIZE=src_cache.shape[1],
        FORMAT=variant.fp8,
        NATIVE=variant.native,
        TOKENS=variant.tokens_per_program,
        num_warps=variant.num_warps,
    )
