"""Axes of the FP8 prefill family and its expected-to-run matrix, written out apart from the cases."""

from __future__ import annotations

from rocassay.harness.ops import Matrix, expect

ARCHES = ("gfx942", "gfx950")
FP8S = ("e4m3fn", "e4m3fnuz")
NO_PAGES = (1,)
"""Keys are looked up one by one: pages of one token."""

EXPECTED = expect(
    Matrix(ops=("mla_prefill_ps",), arches=("gfx942", "gfx950"), fp8s=("e4m3fn", "e4m3fnuz"), block_sizes=(1,))
)
EXPECTED_FLAVOURLESS = expect(
    Matrix(
        ops=("mla_prefill_reduce", "mla_prefill_ps_metadata"),
        arches=("gfx942", "gfx950"),
        fp8s=("e4m3fn",),
        block_sizes=(1,),
    )
)
"""Partial results are fp32 and plans integers: the flavour is a fixed word."""
