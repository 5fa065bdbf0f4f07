"""Axes of the persistent MLA decode family and its expected-to-run matrix, written out apart from the cases."""

from __future__ import annotations

from rocassay.harness.ops import Matrix, expect

ARCHES = ("gfx942", "gfx950")
FP8S = ("e4m3fn", "e4m3fnuz")
PAGE_SIZES = (1, 16, 64)
"""Tokens a page of the latent cache."""

EXPECTED = expect(
    Matrix(
        ops=("mla_decode_fwd",),
        arches=("gfx942", "gfx950"),
        fp8s=("e4m3fn", "e4m3fnuz"),
        block_sizes=(1, 16, 64),
    )
)
"""Every cell must run; the values are repeated on purpose: an axis lost above shows as a red cell."""

EXPECTED_REDUCE = expect(Matrix(ops=("mla_reduce",), arches=("gfx942", "gfx950"), fp8s=("e4m3fn",), block_sizes=(1,)))
"""Parts are fp32 and not paged: flavour and block size are fixed words."""

EXPECTED_PLAN = expect(
    Matrix(ops=("mla_plan",), arches=("gfx942", "gfx950"), fp8s=("e4m3fn",), block_sizes=(1, 16, 64))
)
"""A plan holds no FP8 code: the flavour is a fixed word."""
