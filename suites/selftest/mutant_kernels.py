"""The toy op as a kernel whose mutants' fates are known by reasoning."""

# pyright: reportArgumentType=false, reportCallIssue=false, reportIndexIssue=false
from __future__ import annotations

import ctypes
import os
import signal

import torch
import triton
import triton.language as tl

from rocassay.suites.selftest.mutant_helpers import twice


@triton.jit
def _double_kernel(x, out, columns, x_stride, out_stride, BLOCK: tl.constexpr, TRIPLE: tl.constexpr) -> None:
    """Program r doubles row r."""
    tl.static_assert(BLOCK > 1, "more than one column")
    row = tl.program_id(0)
    column = tl.arange(0, BLOCK)
    inside = column < columns
    value = tl.load(x + row * x_stride + column, mask=inside, other=0.0)
    step = 0
    while step < 1:
        step += 1
    if TRIPLE:
        value = value * 3.0
    result = tl.where(inside, twice(value), float("inf"))
    tl.store(out + row * out_stride + column, result, mask=inside)


@triton.jit
def other_kernel(x):
    """No launcher here runs it."""
    tl.store(x, 1.0)


def double_rows(x: torch.Tensor, out: torch.Tensor, *, variant: str) -> None:
    """out = 2 * x except in the last column; `variant` is the size of a block, in words."""
    rows, columns = x.shape
    _double_kernel[(rows,)](x, out, columns - 1, x.stride(0), out.stride(0), BLOCK=int(variant), TRIPLE=False)


def fatal_rows(x: torch.Tensor, out: torch.Tensor, *, variant: str) -> None:
    """The same, but it ends its process when the first result is infinite."""
    double_rows(x, out, variant=variant)
    # Past torch, which would have a launcher wait for a device here.
    if ctypes.c_float.from_address(out.data_ptr()).value == float("inf"):
        os.kill(os.getpid(), signal.SIGKILL)
