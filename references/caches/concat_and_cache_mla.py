"""What the dense MLA cache writer must store, byte by byte.

Contract: vLLM csrc/cache_kernels.cu `concat_and_cache_mla`.
"""
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from rocassay.harness.fp8 import encode, encode_tensor, format_of
from rocassay.references.caches.dense import dense_576
from rocassay.references.caches.paging import Pages
from rocassay.references.caches.quantise import bits_of, byte_rows, bytes_of, other_neighbour


@dataclass(frozen=True, slots=True)
class DenseBytes:
    """The whole cache after the write, in the cache's dtype."""

    expected: torch.Tensor
    """[NB, BS, 576]; elements that no token owns are the input's."""
    alternatives: tuple[torch.Tensor, ...]
    """The other code where a quotient is within `TIE_BAND` of a midpoint; empty for bf16, and for a scale that is a
    power of two, which divides without rounding."""


def concat_and_cache_mla(
    kv_c: torch.Tensor,
    k_pe: torch.Tensor,
    kv_cache: torch.Tensor,
    slot_mapping: torch.Tensor,
    scale: torch.Tensor,
    *,
    fp8: str,
) -> DenseBytes:
    """Golden of the writer; CPU tensors, none of which changes.

    kv_c: bf16 [>=T, 512]. k_pe: bf16 [>=T, 64]. kv_cache: bf16 or uint8 [NB, BS, 576]. slot_mapping: int [T],
    negative slots are skipped. scale: fp32 [1]; magnitudes over it must not exceed the format's largest.
    """
    slots = slot_mapping.to(torch.int64).numpy()
    rows = torch.cat([kv_c[: len(slots)], k_pe[: len(slots)]], dim=1)
    if kv_cache.dtype is torch.bfloat16:
        return DenseBytes(_packed(kv_cache, bytes_of(bits_of(rows)), slots), ())
    fmt = format_of(fp8)
    quotient = rows.to(torch.float64).numpy() / scale.to(torch.float64).numpy()
    codes = encode(quotient, fmt)
    if np.frexp(scale.item())[0] == 0.5:
        return DenseBytes(_packed(kv_cache, codes, slots), ())
    other = other_neighbour(quotient, codes, fmt)
    return DenseBytes(_packed(kv_cache, codes, slots), (_packed(kv_cache, other, slots),))


def _packed(kv_cache: torch.Tensor, records: NDArray[np.uint8], slots: NDArray[np.int64]) -> torch.Tensor:
    cache = kv_cache.clone(memory_format=torch.contiguous_format)
    layout = dense_576(cache.shape[1], cache.element_size())
    layout.pack(records, slots, cache.reshape(cache.shape[0], -1).view(torch.uint8))
    return cache


def peer_concat_and_cache_mla(
    kv_c: torch.Tensor,
    k_pe: torch.Tensor,
    kv_cache: torch.Tensor,
    slot_mapping: torch.Tensor,
    scale: torch.Tensor,
    *,
    fp8: str,
) -> None:
    """Plain torch writer with the kernel's rounding points; changes kv_cache in place."""
    tokens = len(slot_mapping)
    rows = torch.cat([kv_c[:tokens], k_pe[:tokens]], dim=1)
    if kv_cache.dtype is torch.bfloat16:
        records = byte_rows(rows)
    else:
        records = encode_tensor(rows.to(torch.float32) / scale, format_of(fp8), overflow="saturate")
    layout = dense_576(kv_cache.shape[1], kv_cache.element_size())
    Pages.of(kv_cache, layout).write(records, slot_mapping)
