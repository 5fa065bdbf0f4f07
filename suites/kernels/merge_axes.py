"""Axes of the merge family and its expected-to-run matrix, written out apart from the cases."""

from __future__ import annotations

from rocassay.harness.ops import Matrix, expect

ARCHES = ("gfx942", "gfx950")
FP8S = ("e4m3fn",)
"""No FP8 byte is read or written: one flavour stands for both."""
BLOCK_SIZES = (1,)
"""States are not paged."""

EXPECTED = expect(Matrix(ops=("merge_attn_states",), arches=("gfx942", "gfx950"), fp8s=("e4m3fn",), block_sizes=(1,)))
"""Every cell must run; the values are repeated on purpose: an axis lost above shows as a red cell."""
