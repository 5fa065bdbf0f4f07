"""Prefix sums of row lengths on the device: `_build_indptr_from_lengths` of vLLM (vllm-project/vllm#41812)."""

# pyright: reportArgumentType=false, reportCallIssue=false
from __future__ import annotations

import torch
import triton
import triton.language as tl

from rocassay.kernels.ragged.variants import RaggedVariant


@triton.jit
def _build_indptr_kernel(lengths, indptr, rows, TILE: tl.constexpr):
    # One program: a few thousand lengths are read faster than programs could agree on their sums.
    total = tl.full((), 0, tl.int32)
    tl.store(indptr, total)
    for start in range(0, rows, TILE):
        row = start + tl.arange(0, TILE)
        length = tl.load(lengths + row, mask=row < rows, other=0)
        tl.store(indptr + row + 1, total + tl.cumsum(length, axis=0), mask=row < rows)
        total = total + tl.sum(length, axis=0)


def build_indptr(lengths: torch.Tensor, indptr: torch.Tensor, variant: RaggedVariant) -> None:
    """Write a leading zero and the inclusive sums of `lengths` [T] int32 to `indptr` [T + 1] int32, both contiguous.

    Nothing is read back to the host.
    """
    rows = lengths.shape[0]
    _build_indptr_kernel[(1,)](lengths, indptr, rows, TILE=variant.scan_tile, num_warps=variant.num_warps)
