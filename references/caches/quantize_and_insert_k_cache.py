"""What the V4 cache writer must store, byte by byte.

Contract: vLLM deepseek_v4 `quantize_and_insert_k_cache` (vllm-project/vllm#41812).
"""
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from rocassay.harness.fp8 import clamping_encode, encode_tensor, format_of, ue8m0_encode_up
from rocassay.harness.layouts import planar_584
from rocassay.references.caches.paging import Pages
from rocassay.references.caches.quantise import bits_of, byte_rows, bytes_of, group_amax, group_quotients

NOPE = 448
"""Quantised dimensions of a V4 key; the other 64 are RoPE."""

GROUP = 64
"""Dimensions under one scale."""

AMAX_FLOOR = np.float32(1e-4)
"""Smallest magnitude that a scale is derived from, so that zero groups get a finite scale."""


def records_584(k: torch.Tensor, fp8: str) -> NDArray[np.uint8]:
    """The 584-byte records of keys bf16 [T, 512]: codes, RoPE, seven ue8m0 scale bytes, a zero byte."""
    fmt = format_of(fp8)
    nope = k[:, :NOPE].to(torch.float32).numpy()
    amax = np.maximum(group_amax(nope, GROUP), AMAX_FLOOR)
    # No bf16 magnitude is so near a power of two times 448 that an fp32 quotient would round across it.
    scale = ue8m0_encode_up(amax.astype(np.float64) / fmt.scaling_max)
    codes = clamping_encode(group_quotients(nope, np.ldexp(1.0, scale.astype(np.int32) - 127), GROUP), fmt)
    return np.concatenate([codes, bytes_of(bits_of(k[:, NOPE:])), scale, np.zeros((len(k), 1), np.uint8)], axis=1)


def quantize_and_insert_k_cache(
    k: torch.Tensor, k_cache: torch.Tensor, slot_mapping: torch.Tensor, *, fp8: str
) -> torch.Tensor:
    """The whole cache after the write, bytes that no token owns as they were.

    k: bf16 [>=T, 512], finite in its first 448 dims. k_cache: uint8 [NB, BS, 584]. slot_mapping: int [T],
    negative slots are skipped. CPU tensors, none of which changes.
    """
    slots = slot_mapping.to(torch.int64).numpy()
    cache = k_cache.clone(memory_format=torch.contiguous_format)
    layout = planar_584(cache.shape[1])
    layout.pack(records_584(k[: len(slots)], fp8), slots, cache.reshape(cache.shape[0], -1))
    return cache


def peer_quantize_and_insert_k_cache(
    k: torch.Tensor, k_cache: torch.Tensor, slot_mapping: torch.Tensor, *, fp8: str
) -> None:
    """Plain torch fp32 writer with the kernel's rounding points; changes k_cache in place."""
    fmt = format_of(fp8)
    keys = k[: len(slot_mapping)]
    groups = keys[:, :NOPE].to(torch.float32).unflatten(1, (-1, GROUP))
    amax = groups.abs().amax(dim=2).clamp_min(float(AMAX_FLOOR))
    # A tensor divisor: torch on CUDA multiplies by the reciprocal of a number, which rounds twice.
    mantissa, exponent = torch.frexp(amax / torch.full_like(amax, fmt.scaling_max))
    exponent = exponent - (mantissa == 0.5).to(exponent.dtype)
    codes = encode_tensor(torch.ldexp(groups, -exponent[:, :, None]), fmt, overflow="saturate")
    pad = torch.zeros_like(exponent[:, :1], dtype=torch.uint8)
    parts = [codes.flatten(1), byte_rows(keys[:, NOPE:]), (exponent + 127).to(torch.uint8), pad]
    Pages.of(k_cache, planar_584(k_cache.shape[1])).write(torch.cat(parts, dim=1), slot_mapping)
