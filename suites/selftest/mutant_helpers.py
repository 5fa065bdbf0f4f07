"""A device function in a module of its own, for the self-test of mutants."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def twice(value) -> tl.tensor:
    """The value doubled."""
    return value + value


@triton.jit
def unused(value) -> tl.tensor:
    """Nothing calls it."""
    return value * 3
