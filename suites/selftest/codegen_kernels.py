"""Small kernels whose code objects the tests of the static checks look at, and a launcher that picks one."""

from __future__ import annotations

import os
import signal
from typing import Any

import torch
import triton
import triton.language as tl


@triton.jit
def twice(x, out, COUNT: tl.constexpr):
    """out = 2 * x."""
    at = tl.arange(0, COUNT)
    tl.store(out + at, 2 * tl.load(x + at))


@triton.jit
def twofold(x, out, COUNT: tl.constexpr):
    """The same machine code as `twice` under other names, from other lines."""
    # The comment moves every line.
    place = tl.arange(0, COUNT)
    value = tl.load(x + place)
    tl.store(out + place, 2 * value)


@triton.jit
def thrice(x, out, COUNT: tl.constexpr):
    """out = 3 * x: one operand differs from `twice`."""
    at = tl.arange(0, COUNT)
    tl.store(out + at, 3 * tl.load(x + at))


@triton.jit
def refused(x, out, COUNT: tl.constexpr):
    """Does not compile."""
    tl.static_assert(COUNT == 0, "the toy is refused")
    tl.store(out, tl.load(x))


@triton.jit
def multiplied(x, out, COUNT: tl.constexpr):
    """x^T x in bf16: a matrix instruction that nobody declared."""
    row, column = tl.arange(0, COUNT)[:, None], tl.arange(0, COUNT)[None, :]
    tile = tl.load(x + row * COUNT + column).to(tl.bfloat16)
    tl.store(out + row * COUNT + column, tl.dot(tile, tile))


KERNELS: dict[str, Any] = {kernel.fn.__name__: kernel for kernel in (twice, twofold, thrice, refused, multiplied)}


def launch(x: torch.Tensor, out: torch.Tensor, variant: str) -> None:
    """Launch the kernel of that name; `dies` takes the process along, `raises` raises."""
    if variant == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if variant == "raises":
        raise ZeroDivisionError("the toy broke")
    KERNELS[variant][(1,)](x, out, COUNT=32)
