"""Byte offsets inside one page of the indexer key cache, as device functions.

A page of BLOCK_SIZE keys is block-flat: all values (128 bytes a key) first, then one fp32 scale a key.
NORMAL stores the values row by row; SHUFFLE stores them as [BLOCK_SIZE/16][8][16 keys][16 bytes]
(vLLM `indexer_k_quant_and_cache_triton`). In both, a value's offset is a part that depends on the key
plus a part that depends on the dimension.
"""

from __future__ import annotations

import triton
import triton.language as tl

HEAD_DIM = 128
"""Dimensions (and value bytes) of one indexer key."""

SCALE_BYTES = 4
"""Bytes of one key's fp32 scale."""


@triton.jit
def value_row(key, SHUFFLE: tl.constexpr) -> tl.tensor:
    """In-page offset of a key's dimension 0; `key` is its index in the page."""
    return (key // 16) * 2048 + (key % 16) * 16 if SHUFFLE else key * 128


@triton.jit
def value_column(dim, SHUFFLE: tl.constexpr) -> tl.tensor:
    """Offset of dimension `dim` from the key's dimension 0."""
    return (dim // 16) * 256 + dim % 16 if SHUFFLE else dim


@triton.jit
def scale_row(key, BLOCK_SIZE: tl.constexpr) -> tl.tensor:
    """In-page offset of a key's fp32 scale, the same in both layouts."""
    return BLOCK_SIZE * 128 + key * 4
