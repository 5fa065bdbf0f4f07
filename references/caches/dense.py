"""Index map of the dense MLA cache: whole tokens of 576 elements, one behind the other."""

from __future__ import annotations

from rocassay.harness.layouts import Field, Layout

ELEMENTS = 576
"""512 latent and 64 RoPE elements of a token."""


def dense_576(block_size: int, element_bytes: int) -> Layout:
    """Page of a dense [NB, BS, 576] cache of 1-byte codes or 2-byte bf16 elements (vLLM concat_and_cache_mla)."""
    split = 512 * element_bytes
    fields = (Field("latent", 0, split), Field("rope", split, ELEMENTS * element_bytes))
    token = fields[-1].stop
    return Layout("dense_576", block_size, token, token, False, block_size * token, fields)
