"""Axes of the prefill family and its expected-to-run matrix, written out apart from the cases."""

from __future__ import annotations

from rocassay.harness.ops import Matrix, expect

ARCHES = ("gfx942", "gfx950")
FP8S = ("e4m3fn", "e4m3fnuz")
NO_FP8 = ("e4m3fn",)
"""For ops that touch no fp8 code: the flavour cannot matter."""
NO_PAGES = (1,)
"""For ops without pages."""

EXPECTED = (
    expect(
        Matrix(
            ops=("fp8_mqa_logits", "per_token_group_quant_fp8"),
            arches=("gfx942", "gfx950"),
            fp8s=("e4m3fn", "e4m3fnuz"),
            block_sizes=(1,),
        )
    ),
    expect(
        Matrix(
            ops=("indexer_weights", "indexer_decode_lens", "indexer_prefill_windows"),
            arches=("gfx942", "gfx950"),
            fp8s=("e4m3fn",),
            block_sizes=(1,),
        )
    ),
)
"""Every cell must run; the values are repeated on purpose: an axis lost above shows as a red cell."""
