"""What the launchers of the MLA caches ask of their tensors; nothing is ever copied."""

from __future__ import annotations

import torch

from rocassay.harness.layouts import LayoutError
from rocassay.kernels.common.tensors import byte_view

ELEMENTS = 576
"""512 latent and 64 RoPE elements of an MLA token."""


def planar_geometry(k_cache: torch.Tensor) -> tuple[int, int, int]:
    """(pages, block_size, bytes from page to page) of a [NB, BS, 584] uint8 cache.

    The page stride and the storage offset are free but even, as bf16 needs; inside a page the bytes must be
    contiguous. Raises LayoutError otherwise: a launcher may not copy a cache.
    """
    _require_bytes("the fp8_ds_mla cache of V4", k_cache, 584)
    if k_cache.shape[1] > 1 and k_cache.stride(1) != 584:
        raise LayoutError(
            f"the tokens of a page are {k_cache.stride(1)} bytes apart in the view, not 584; "
            "pass a cache whose pages are contiguous inside (the page stride itself is free)"
        )
    _require_multiple("the page stride", k_cache.stride(0), 2)
    return k_cache.shape[0], k_cache.shape[1], k_cache.stride(0)


def token_geometry(kv_cache: torch.Tensor, record: str) -> tuple[torch.Tensor, int, int]:
    """(byte view, bytes from page to page, bytes from token to token) of a [NB, BS, D] cache of whole tokens.

    D is 656 bytes for the record `ds_mla`, else 576 elements: uint8 or fp8 for `fp8`, bfloat16 for `bf16`.
    Raises LayoutError for another shape or dtype and for strides that would misalign what a token holds.
    """
    if record == "bf16":
        if kv_cache.dtype is not torch.bfloat16 or kv_cache.shape[-1] != ELEMENTS:
            raise LayoutError(
                f"the cache is {tuple(kv_cache.shape)} of {kv_cache.dtype}; "
                f"pass bfloat16 with {ELEMENTS} elements a token, or name its kv_cache_dtype"
            )
    else:
        kv_cache = byte_view(kv_cache)
        _require_bytes(f"the {record} cache", kv_cache, 656 if record == "ds_mla" else ELEMENTS)
    if kv_cache.stride(-1) != 1:
        raise LayoutError(f"a token's elements are {kv_cache.stride(-1)} apart; make them contiguous")
    flat = byte_view(kv_cache)
    token_stride = flat.stride(1) if flat.shape[1] > 1 else flat.shape[-1]
    for name, stride in (("the page stride", flat.stride(0)), ("the token stride", token_stride)):
        _require_multiple(name, stride, {"ds_mla": 4, "bf16": 2, "fp8": 1}[record])
    return flat, flat.stride(0), token_stride


def _require_bytes(name: str, cache: torch.Tensor, width: int) -> None:
    if cache.dim() != 3 or cache.dtype is not torch.uint8 or cache.shape[-1] != width or cache.stride(-1) != 1:
        raise LayoutError(
            f"{name} is {tuple(cache.shape)} of {cache.dtype} with last stride {cache.stride(-1)}; "
            f"pass contiguous uint8 tokens [NB, BS, {width}]"
        )


def _require_multiple(name: str, stride: int, unit: int) -> None:
    if stride % unit:
        raise LayoutError(f"{name} of {stride} bytes is no multiple of {unit}; its values would lie misaligned")


def require_rows(name: str, rows: torch.Tensor, width: int) -> None:
    """Raise LayoutError unless `rows` is bfloat16 [T, width] with contiguous rows (any row stride)."""
    if rows.dtype is not torch.bfloat16 or rows.shape[-1] != width or rows.stride(-1) != 1:
        raise LayoutError(
            f"{name} is {tuple(rows.shape)} of {rows.dtype} with last stride {rows.stride(-1)}; "
            f"pass bfloat16 rows of {width} contiguous elements"
        )
