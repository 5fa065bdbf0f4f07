"""What the gather of MLA latents must return, bit by bit, from the bytes it reads.

Contract: vLLM csrc/cache_kernels.cu `gather_and_maybe_dequant_cache` and `cp_gather_and_upconvert_fp8_kv_cache`.
"""
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from rocassay.harness.fp8 import decode_tensor, format_of
from rocassay.harness.layouts import Layout, interleaved_656
from rocassay.references.caches.dense import dense_576
from rocassay.references.caches.paging import Pages
from rocassay.references.caches.quantise import QUIET_NAN, bf16_tensor, bits_of, fp32_then_bf16_bits, nearest_bf16_bits

Record = Literal["bf16", "fp8", "ds_mla"]
"""What a cached token is: 576 bf16, 576 fp8 under one scale, or 512 fp8 under four scales and 64 bf16."""

Rounding = Callable[[NDArray[np.float64]], NDArray[np.uint16]]


@dataclass(frozen=True, slots=True)
class GatheredRows:
    """The whole output after the gather, bf16 [T, 576]."""

    expected: torch.Tensor
    """Every product rounded once."""
    alternative: torch.Tensor
    """Every product rounded to fp32 first, as kernels do that multiply in fp32."""


def layout_of(record: Record, block_size: int) -> Layout:
    """Index map of the cache that holds this record."""
    if record == "ds_mla":
        return interleaved_656(block_size)
    return dense_576(block_size, 2 if record == "bf16" else 1)


def gather_and_maybe_dequant_cache(
    src_cache: torch.Tensor,
    dst: torch.Tensor,
    block_table: torch.Tensor,
    cu_seq_lens: torch.Tensor,
    token_to_seq: torch.Tensor,
    scale: torch.Tensor,
    seq_starts: torch.Tensor | None = None,
    *,
    record: Record,
    fp8: str,
    nan: int = QUIET_NAN,
) -> GatheredRows:
    """Golden of the gather; CPU tensors, none of which changes.

    src_cache: [NB, BS, 576] bf16 or uint8, or [NB, BS, 656] uint8. dst: bf16 [T, 576]. block_table: int [B, W].
    cu_seq_lens: int [B+1]. token_to_seq: int [T], garbage beyond cu_seq_lens[B]. seq_starts: int [B].
    A NaN code becomes a NaN, here the bits `nan`.
    """
    bounds = cu_seq_lens.tolist()
    starts = [0] * (len(bounds) - 1) if seq_starts is None else seq_starts.tolist()
    owners = [
        (token, request)
        for token, request in enumerate(token_to_seq.tolist())
        if 0 <= request < len(starts) and bounds[request] <= token < bounds[request + 1]
    ]
    token, request = np.array(owners, dtype=np.int64).reshape(-1, 2).T
    block_size = src_cache.shape[1]
    position = token - np.array(bounds)[request] + np.array(starts, dtype=np.int64)[request]
    blocks, width = src_cache.shape[0], block_table.shape[1]
    column = position // block_size
    block = block_table.numpy()[request, np.minimum(column, width - 1)].astype(np.int64)
    kept = (column < width) & (block >= 0) & (block < blocks)
    token, position, block = token[kept], position[kept], block[kept]
    pages = src_cache.reshape(src_cache.shape[0], -1).view(torch.uint8)
    stored = layout_of(record, block_size).unpack(pages, block * block_size + position % block_size)
    found: list[torch.Tensor] = []
    for rounding in (nearest_bf16_bits, fp32_then_bf16_bits):
        bits = bits_of(dst).copy()
        rounded = functools.partial(_rounded, rounding=rounding, nan=nan)
        bits[token] = _rows(stored, record, fp8, scale.double().numpy(), rounded)
        found.append(bf16_tensor(bits))
    return GatheredRows(*found)


def _rounded(x: NDArray[np.float64], rounding: Rounding, nan: int) -> NDArray[np.uint16]:
    return np.where(np.isnan(x), nan, rounding(x)).astype(np.uint16)


def _rows(
    stored: NDArray[np.uint8], record: Record, fp8: str, k_scale: NDArray[np.float64], rounding: Rounding
) -> NDArray[np.uint16]:
    """bf16 bit patterns [T, 576] of cached tokens."""
    if record == "bf16":
        return np.ascontiguousarray(stored).view("<u2").astype(np.uint16)
    values = format_of(fp8).values
    if record == "fp8":
        return rounding(values[stored] * k_scale)
    scales = np.ascontiguousarray(stored[:, 512:528]).view("<f4").astype(np.float64)
    rope = np.ascontiguousarray(stored[:, 528:]).view("<u2").astype(np.uint16)
    return np.concatenate([rounding(values[stored[:, :512]] * np.repeat(scales, 128, axis=1)), rope], axis=1)


def peer_gather_and_maybe_dequant_cache(
    src_cache: torch.Tensor,
    dst: torch.Tensor,
    block_table: torch.Tensor,
    cu_seq_lens: torch.Tensor,
    token_to_seq: torch.Tensor,
    scale: torch.Tensor,
    seq_starts: torch.Tensor | None = None,
    *,
    record: Record,
    fp8: str,
) -> None:
    """Plain torch gather without a host sync in its data path; writes into dst."""
    blocks, block_size = src_cache.shape[:2]
    requests, width = block_table.shape
    token = torch.arange(dst.shape[0], device=dst.device)
    request = token_to_seq[: len(token)].to(torch.int64)
    safe = request.clamp(0, requests - 1)
    owned = (request == safe) & (token >= cu_seq_lens[safe]) & (token < cu_seq_lens[safe + 1])
    position = token - cu_seq_lens[safe] + (0 if seq_starts is None else seq_starts[safe])
    column = torch.div(position, block_size, rounding_mode="floor")
    page = block_table[safe, column.clamp(0, width - 1)].to(torch.int64)
    present = owned & (column < width) & (page >= 0) & (page < blocks)
    pages = Pages.of(src_cache, layout_of(record, block_size))
    stored = pages.read(page[present], position[present] % block_size)
    # Integers: a floating copy could quieten a NaN that must travel as it is.
    dst.view(torch.int16)[present] = _peer_rows(stored, record, fp8, scale).view(torch.int16)


def _peer_rows(stored: torch.Tensor, record: Record, fp8: str, scale: torch.Tensor) -> torch.Tensor:
    if record == "bf16":
        return stored.view(torch.bfloat16)
    fmt = format_of(fp8)
    if record == "fp8":
        return (decode_tensor(stored, fmt).to(torch.float32) * scale).to(torch.bfloat16)
    scales = stored[:, 512:528].contiguous().view(torch.float32)
    latent = decode_tensor(stored[:, :512], fmt).to(torch.float32).unflatten(1, (4, 128)) * scales[:, :, None]
    rope = stored[:, 528:].contiguous().view(torch.bfloat16)
    return torch.cat([latent.flatten(1).to(torch.bfloat16), rope], dim=1)
