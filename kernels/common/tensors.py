"""What every launcher asks of its tensors: byte views that never copy, and strides as they really are."""

from __future__ import annotations

import torch

from rocassay.harness.layouts import LayoutError

RECORD_BYTES = 132
"""Bytes of one indexer cache record: 128 fp8 values and one fp32 scale."""


INT32_BYTES = 2**31
"""Bytes that offsets of 32 bits reach: the last of them is 2^31 - 1."""


def byte_reach(tensor: torch.Tensor) -> int:
    """Bytes from a view's first element to behind its last, gaps of its strides included; 0 if it has none.

    Not the number of its elements: a view of a shared pool spans the pool (ROCm/aiter#4673).
    """
    if not tensor.numel():
        return 0
    last = sum((size - 1) * stride for size, stride in zip(tensor.shape, tensor.stride(), strict=True))
    return (last + 1) * tensor.element_size()


def byte_view(tensor: torch.Tensor) -> torch.Tensor:
    """The same memory as uint8 (fp8 and uint8 tensors of any stride); never a copy."""
    return tensor if tensor.dtype is torch.uint8 else tensor.view(torch.uint8)


def byte_rows(tensor: torch.Tensor) -> torch.Tensor:
    """A [T, 4] uint8 view of fp32 scales given as [T], [T, 1] or already as [T, 4] uint8; any row stride."""
    if tensor.dtype is torch.uint8:
        return tensor
    return (tensor.unsqueeze(-1) if tensor.dim() == 1 else tensor).view(torch.uint8)


def indexer_cache_geometry(kv_cache: torch.Tensor) -> tuple[int, int, int]:
    """(pages, block_size, bytes from page to page) of a [NB, BS, 132] or [NB, BS, 1, 132] uint8 cache.

    The page stride and the storage offset are free (cross-layer allocations inflate both); inside a page
    the records must be contiguous. Raises LayoutError otherwise: a launcher may not copy a cache.
    """
    pages, block_size, *_, record = kv_cache.shape
    strides = kv_cache.stride()
    if record != RECORD_BYTES or kv_cache.dtype is not torch.uint8:
        raise LayoutError(
            f"the indexer cache is {tuple(kv_cache.shape)} of {kv_cache.dtype}; "
            f"pass uint8 with {RECORD_BYTES} bytes a key in the last dimension"
        )
    if strides[-1] != 1 or (block_size > 1 and strides[1] != RECORD_BYTES):
        raise LayoutError(
            f"the records of a page have strides {strides[1:]}, not ({RECORD_BYTES}, 1); "
            "pass a cache whose pages are contiguous inside (the page stride itself is free)"
        )
    return pages, block_size, strides[0]


def require_unit_stride(name: str, tensor: torch.Tensor) -> None:
    """Raise LayoutError unless neighbouring elements of the last dimension are neighbours in memory."""
    if tensor.stride(-1) != 1 and tensor.shape[-1] > 1:
        raise LayoutError(f"{name} has stride {tensor.stride(-1)} in its last dimension; make it contiguous there")
