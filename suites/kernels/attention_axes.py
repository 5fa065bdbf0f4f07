"""Axes of the sparse attention family and its expected-to-run matrix, written out apart from the cases."""

from __future__ import annotations

from rocassay.harness.ops import Matrix, expect

ARCHES = ("gfx942", "gfx950")
FP8S = ("e4m3fn", "e4m3fnuz")
EXTRA_BLOCK_SIZE = {64: 2, 256: 64, 2: 64}
"""Block size of the main cache -> of the extra one: never the same (256/4 and 256/128 tokens in DeepSeek V4)."""

EXPECTED_PREFILL = expect(
    Matrix(ops=("sparse_attn_prefill",), arches=("gfx942", "gfx950"), fp8s=("e4m3fn",), block_sizes=(1,))
)
"""The rows are bf16 and not paged: flavour and block size are fixed words."""

EXPECTED_DECODE = expect(
    Matrix(
        ops=("sparse_attn_decode",),
        arches=("gfx942", "gfx950"),
        fp8s=("e4m3fn", "e4m3fnuz"),
        block_sizes=(2, 64, 256),
    )
)
"""Every cell must run; the values are repeated on purpose: an axis lost above shows as a red cell."""
