"""What the indexer cache writer must store, byte by byte, from float64 division and the fp8 tables.

Contract: vLLM `indexer_k_quant_and_cache_triton` (vllm-project/vllm#43781).
"""
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from rocassay.harness.fp8 import Fp8Format, encode, encode_tensor, format_of, power_of_two_at_least
from rocassay.harness.layouts import Layout, indexer_layout

HEAD_DIM = 128
"""Dimensions of an indexer key."""

AMAX_FLOOR = np.float32(1e-4)
"""Smallest magnitude that a scale is derived from, so that zero keys get a finite scale."""

TIE_BAND = 2.0**-20
"""Relative distance of a quotient from a rounding midpoint within which either neighbour is right.

fp32 division and a scale off by one ulp move the quotient by less than this.
"""


@dataclass(frozen=True, slots=True)
class CacheBytes:
    """The whole cache buffer after the write."""

    expected: torch.Tensor
    """uint8, shaped like kv_cache; bytes that no token owns are the input's."""

    alternative: torch.Tensor
    """Like `expected`, with the other code where a quotient lies within `TIE_BAND` of a midpoint."""

    scale_ulp: int
    """How many fp32 ulp a stored scale may be off: 1 for float scales, 0 for powers of two."""


def indexer_k_quant_and_cache(
    k: torch.Tensor,
    kv_cache: torch.Tensor,
    slot_mapping: torch.Tensor,
    *,
    layout: Literal["NORMAL", "SHUFFLE"],
    fp8: str,
    scale_fmt: Literal["ue8m0", "float"],
) -> CacheBytes:
    """Golden of the cache writer.

    k: [>=T, 128] bf16, fp16 or fp32; kv_cache: [NB, BS, 132] uint8; slot_mapping: [T] int, negative slots
    are skipped. CPU tensors, none of which changes. NaN and inf in k are outside the contract.
    """
    fmt = format_of(fp8)
    slots = slot_mapping.to(torch.int64).numpy()
    keys = k[: len(slots)].to(torch.float32).numpy()
    scale = _scales(keys, fmt, scale_fmt)
    quotient = keys.astype(np.float64) / scale[:, None].astype(np.float64)
    codes = encode(quotient, fmt)
    other = codes if scale_fmt == "ue8m0" else _other_neighbour(quotient, codes, fmt)
    return CacheBytes(
        packed(kv_cache, layout, codes, scale, slots),
        packed(kv_cache, layout, other, scale, slots),
        scale_ulp=0 if scale_fmt == "ue8m0" else 1,
    )


def peer_indexer_k_quant_and_cache(
    k: torch.Tensor,
    kv_cache: torch.Tensor,
    slot_mapping: torch.Tensor,
    *,
    scale_fmt: Literal["ue8m0", "float"],
    layout: Literal["NORMAL", "SHUFFLE"],
    fp8: str,
) -> None:
    """Plain torch fp32 writer with the kernel's rounding points; changes kv_cache in place."""
    fmt = format_of(fp8)
    keys = k[: len(slot_mapping)].to(torch.float32)
    amax = keys.abs().amax(dim=1).clamp_min(float(AMAX_FLOOR))
    # A tensor divisor: torch on CUDA multiplies by the reciprocal of a number, which rounds twice.
    scale = amax / torch.full_like(amax, fmt.scaling_max)
    if scale_fmt == "ue8m0":
        mantissa, exponent = torch.frexp(scale)
        scale = torch.ldexp(torch.ones_like(scale), exponent - (mantissa == 0.5).to(exponent.dtype))
    codes = encode_tensor(keys / scale[:, None], fmt, overflow="saturate")
    records = torch.cat([codes, scale.view(-1, 1).view(torch.uint8)], dim=1)
    kept = slot_mapping >= 0
    slots = slot_mapping[kept].to(torch.int64)
    block_size = kv_cache.shape[1]
    page, token = slots // block_size, slots % block_size
    positions = torch.from_numpy(_positions(indexer_layout(layout, block_size))).to(kv_cache.device)
    _pages(kv_cache)[page[:, None], positions[token]] = records[kept]


def _scales(keys: NDArray[np.float32], fmt: Fp8Format, scale_fmt: str) -> NDArray[np.float32]:
    amax = np.maximum(np.abs(keys).max(axis=1, initial=0.0), AMAX_FLOOR)
    scale = (amax.astype(np.float64) / fmt.scaling_max).astype(np.float32)
    # An fp32 quotient is never rounded across a power of two from either side: the nearest quotient of a
    # 24-bit amax is more than half an ulp away.
    return power_of_two_at_least(scale) if scale_fmt == "ue8m0" else scale


def _other_neighbour(quotient: NDArray[np.float64], codes: NDArray[np.uint8], fmt: Fp8Format) -> NDArray[np.uint8]:
    """The code on the other side of a rounding midpoint that is within `TIE_BAND`, else the same code."""
    below = encode(quotient * (1 - TIE_BAND), fmt)
    above = encode(quotient * (1 + TIE_BAND), fmt)
    return np.where(below != codes, below, above)


def _positions(layout: Layout) -> NDArray[np.int64]:
    """Byte of the page for every (token, byte of its record), int64 [BS, 132]."""
    return layout.offset(np.arange(layout.block_size)[:, None], np.arange(layout.token_bytes)[None, :])


def _pages(kv_cache: torch.Tensor) -> torch.Tensor:
    """[NB, BS * 132] view on the same memory, whatever the page stride."""
    pages, payload = kv_cache.shape[0], kv_cache.shape[1] * kv_cache.shape[-1]
    return kv_cache.as_strided((pages, payload), (kv_cache.stride(0), 1))


def packed(
    kv_cache: torch.Tensor,
    layout: Literal["NORMAL", "SHUFFLE"],
    codes: NDArray[np.uint8],
    scale: NDArray[np.float32],
    slots: NDArray[np.int64],
) -> torch.Tensor:
    """kv_cache [NB, BS, 132] after codes [T, 128] and fp32 scales [T] have gone to their slots; negative ones skip."""
    page = indexer_layout(layout, kv_cache.shape[1])
    records = np.concatenate([codes, scale.view(np.uint8).reshape(-1, 4)], axis=1)
    cache = kv_cache.clone(memory_format=torch.contiguous_format)
    page.pack(records, slots, cache.reshape(cache.shape[0], -1))
    return cache
