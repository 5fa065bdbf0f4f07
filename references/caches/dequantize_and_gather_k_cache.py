"""What the V4 gather must return, bit by bit, from the bytes it reads.

Contract: vLLM deepseek_v4 `dequantize_and_gather_k_cache` (vllm-project/vllm#41812).
"""
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from rocassay.harness.fp8 import decode_tensor, format_of
from rocassay.harness.layouts import planar_584
from rocassay.references.caches.paging import Pages
from rocassay.references.caches.quantise import QUIET_NAN, bf16_tensor, bits_of, nearest_bf16_bits

NOPE, ROPE_BYTES, GROUPS, GROUP = 448, 128, 7, 64


def rows_584(records: NDArray[np.uint8], fp8: str, nan: int = QUIET_NAN) -> NDArray[np.uint16]:
    """bf16 bit patterns [T, 512] of 584-byte records.

    Scale byte b stands for 2^(b - 127), also 0; 255 is infinity, as the kernels' exponent bits make it. A NaN code
    becomes `nan`.
    """
    exponent = records[:, NOPE + ROPE_BYTES :][:, :GROUPS].astype(np.int32)
    scale = np.where(exponent == 255, np.inf, np.ldexp(1.0, exponent - 127))
    value = format_of(fp8).values[records[:, :NOPE]]
    with np.errstate(invalid="ignore"):
        product = value * np.repeat(scale, GROUP, axis=1)
        nope = np.where(np.isnan(product), nan, nearest_bf16_bits(product))
    rope = np.ascontiguousarray(records[:, NOPE : NOPE + ROPE_BYTES]).view("<u2")
    return np.concatenate([nope.astype(np.uint16), rope.astype(np.uint16)], axis=1)


def dequantize_and_gather_k_cache(
    out: torch.Tensor,
    k_cache: torch.Tensor,
    seq_lens: torch.Tensor,
    block_table: torch.Tensor,
    gather_lens: torch.Tensor | None = None,
    *,
    offset: int,
    fp8: str,
    nan: int = QUIET_NAN,
) -> torch.Tensor:
    """`out` after the gather, whole; CPU tensors, none of which changes.

    out: bf16 [B, M, 512]. k_cache: uint8 [NB, BS, 584]. seq_lens, gather_lens: int [B]. block_table: int [B, W].
    Rows whose key or whose page does not exist stay as they were. A NaN code becomes a NaN, here the bits `nan`.
    """
    bits = bits_of(out).copy()
    block_size, width = k_cache.shape[1], block_table.shape[1]
    layout, pages = planar_584(block_size), k_cache.reshape(k_cache.shape[0], -1)
    tails = (seq_lens if gather_lens is None else gather_lens).tolist()
    for request, (length, tail) in enumerate(zip(seq_lens.tolist(), tails, strict=True)):
        position, row = np.arange(length - tail, length), offset + np.arange(tail)
        kept = (position >= 0) & (position < width * block_size) & (row < out.shape[1])
        position, row = position[kept], row[kept]
        block = block_table[request].numpy()[position // block_size].astype(np.int64)
        kept = (block >= 0) & (block < len(pages))
        slot = block * block_size + position % block_size
        bits[request, row[kept]] = rows_584(layout.unpack(pages, slot[kept]), fp8, nan)
    return bf16_tensor(bits)


def peer_dequantize_and_gather_k_cache(
    out: torch.Tensor,
    k_cache: torch.Tensor,
    seq_lens: torch.Tensor,
    block_table: torch.Tensor,
    gather_lens: torch.Tensor | None = None,
    *,
    offset: int,
    fp8: str,
) -> None:
    """Plain torch gather without a host sync; writes into `out`."""
    block_size, rows = k_cache.shape[1], out.shape[1]
    tails = seq_lens if gather_lens is None else gather_lens
    index = torch.arange(rows, device=out.device)[None, :] - offset
    position = (seq_lens - tails)[:, None] + index
    gathered = (index >= 0) & (index < tails[:, None]) & (position >= 0)
    safe = torch.where(gathered, position, torch.zeros_like(position))
    column = torch.div(safe, block_size, rounding_mode="floor")
    page = torch.gather(block_table.to(torch.int64), 1, column.clamp_max(block_table.shape[1] - 1))
    gathered &= (column < block_table.shape[1]) & (page >= 0) & (page < k_cache.shape[0])
    page = torch.where(gathered, page, torch.zeros_like(page))
    pages = Pages.of(k_cache, planar_584(block_size))
    records = pages.read(page.flatten(), (safe % block_size).flatten()).unflatten(0, page.shape)
    exponent = records[..., NOPE + ROPE_BYTES :][..., :GROUPS].to(torch.int32)
    bits = torch.where(exponent == 0, torch.full_like(exponent, 0x00400000), exponent << 23)
    value = decode_tensor(records[..., :NOPE], format_of(fp8)).to(torch.float32).unflatten(-1, (GROUPS, GROUP))
    nope = (value * bits.view(torch.float32).unsqueeze(-1)).flatten(-2).to(torch.bfloat16)
    rope = records[..., NOPE : NOPE + ROPE_BYTES].contiguous().view(torch.bfloat16)
    # Selecting integers: a floating select could quieten a NaN that must travel as it is.
    fresh = torch.cat([nope, rope], dim=-1).view(torch.int16)
    out.view(torch.int16).copy_(torch.where(gathered[..., None], fresh, out.view(torch.int16)))
