"""Axes of the top-k family and its expected-to-run matrix, written out apart from the cases."""

from __future__ import annotations

from rocassay.harness.ops import Matrix, expect

ARCHES = ("gfx942", "gfx950")
FP8S = ("e4m3fn",)
"""Top-k reads fp32 scores: there is no FP8 flavour in it, and one stands for both."""

PACKED_FP8S = ("e4m3fn", "e4m3fnuz")
"""Packed rows may be FP8, and what pads them depends on the flavour."""

BLOCK_SIZES = (1,)
"""None of these ops knows pages."""

TOPKS = (512, 1024, 2048)

SELECTING = expect(
    Matrix(
        ops=("top_k_per_row_prefill", "top_k_per_row_decode"),
        arches=("gfx942", "gfx950"),
        fp8s=("e4m3fn",),
        block_sizes=(1,),
    )
)
"""Every cell must run; the values are repeated on purpose: an axis lost above shows as a red cell."""

PACKING = expect(
    Matrix(
        ops=("pack_seq", "unpack_seq"),
        arches=("gfx942", "gfx950"),
        fp8s=("e4m3fn", "e4m3fnuz"),
        block_sizes=(1,),
    )
)
"""Every cell must run, in both flavours."""
