"""What the 656-byte cache writer must store, byte by byte.

Contract: vLLM csrc/cache_kernels.cu `concat_and_cache_ds_mla` (float scales); FlashMLA's reference quantiser and
the fused V3.2 writer (powers of two). Both floor the scale, not the magnitude.
"""
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from rocassay.harness.fp8 import Fp8Format, encode, encode_tensor, format_of, power_of_two_at_least
from rocassay.harness.layouts import interleaved_656
from rocassay.references.caches.paging import Pages
from rocassay.references.caches.quantise import (
    bits_of,
    byte_rows,
    bytes_of,
    group_amax,
    group_quotients,
    other_neighbour,
)

ScaleFormat = Literal["ue8m0", "float"]

GROUP = 128
"""Dimensions under one scale."""

FLOORS: dict[ScaleFormat, np.float32] = {"ue8m0": np.float32(1e-4), "float": np.finfo(np.float32).tiny}
"""Smallest scale; that of powers of two is rounded up to 2^-13."""


@dataclass(frozen=True, slots=True)
class CacheBytes:
    """The whole cache after the write, and the buffers of which a byte may be taken instead."""

    expected: torch.Tensor
    """uint8 [NB, BS, 656]; bytes that no token owns are the input's."""
    alternatives: tuple[torch.Tensor, ...]
    """Float scales one ulp off, and the other code where a quotient is that near a midpoint; empty for ue8m0."""


def concat_and_cache_ds_mla(
    kv_c: torch.Tensor,
    k_pe: torch.Tensor,
    kv_cache: torch.Tensor,
    slot_mapping: torch.Tensor,
    *,
    fp8: str,
    scale_fmt: ScaleFormat,
) -> CacheBytes:
    """Golden of the writer; CPU tensors, none of which changes.

    kv_c: bf16 [>=T, 512], finite. k_pe: bf16 [>=T, 64]. kv_cache: uint8 [NB, BS, 656]. slot_mapping: int [T],
    negative slots are skipped.
    """
    fmt, slots = format_of(fp8), slot_mapping.to(torch.int64).numpy()
    latent = kv_c[: len(slots)].to(torch.float32).numpy()
    rope = bytes_of(bits_of(k_pe[: len(slots)]))
    scale = _scales(group_amax(latent, GROUP), fmt, scale_fmt)
    quotient = group_quotients(latent, scale, GROUP)
    codes = encode(quotient, fmt)

    def packed(values: NDArray[np.uint8], ulp: int) -> torch.Tensor:
        moved = (scale.view(np.int32) + ulp).astype("<i4").view(np.uint8).reshape(len(slots), -1)
        cache = kv_cache.clone(memory_format=torch.contiguous_format)
        records = np.concatenate([values, moved, rope], axis=1)
        interleaved_656(cache.shape[1]).pack(records, slots, cache.reshape(cache.shape[0], -1))
        return cache

    if scale_fmt == "ue8m0":
        return CacheBytes(packed(codes, 0), ())
    other = other_neighbour(quotient, codes, fmt)
    return CacheBytes(packed(codes, 0), (packed(other, -1), packed(other, 1)))


def _scales(amax: NDArray[np.float32], fmt: Fp8Format, scale_fmt: ScaleFormat) -> NDArray[np.float32]:
    raw = (amax.astype(np.float64) / fmt.scaling_max).astype(np.float32)
    floored = np.maximum(raw, FLOORS[scale_fmt])
    return power_of_two_at_least(floored) if scale_fmt == "ue8m0" else floored


def peer_concat_and_cache_ds_mla(
    kv_c: torch.Tensor,
    k_pe: torch.Tensor,
    kv_cache: torch.Tensor,
    slot_mapping: torch.Tensor,
    *,
    fp8: str,
    scale_fmt: ScaleFormat,
) -> None:
    """Plain torch fp32 writer with the kernel's rounding points; changes kv_cache in place."""
    fmt, tokens = format_of(fp8), len(slot_mapping)
    groups = kv_c[:tokens].to(torch.float32).unflatten(1, (-1, GROUP))
    amax = groups.abs().amax(dim=2)
    # A tensor divisor: torch on CUDA multiplies by the reciprocal of a number, which rounds twice.
    scale = (amax / torch.full_like(amax, fmt.scaling_max)).clamp_min(float(FLOORS[scale_fmt]))
    if scale_fmt == "ue8m0":
        mantissa, exponent = torch.frexp(scale)
        scale = torch.ldexp(torch.ones_like(scale), exponent - (mantissa == 0.5).to(exponent.dtype))
    codes = encode_tensor(groups / scale[:, :, None], fmt, overflow="saturate")
    parts = [codes.flatten(1), scale.contiguous().view(torch.uint8), byte_rows(k_pe[:tokens])]
    Pages.of(kv_cache, interleaved_656(kv_cache.shape[1])).write(torch.cat(parts, dim=1), slot_mapping)
