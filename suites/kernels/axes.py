"""Axes of the indexer cache family and its expected-to-run matrix, written out apart from the cases."""

from __future__ import annotations

from rocassay.harness.ops import Matrix, expect

ARCHES = ("gfx942", "gfx950")
FP8S = ("e4m3fn", "e4m3fnuz")
BLOCK_SIZES = (1, 16, 32, 64, 128, 256)
WIDE_BLOCK_SIZES = (1, 16, 64)

EXPECTED = expect(
    Matrix(
        ops=("indexer_k_quant_and_cache", "cp_gather_indexer_k_quant_cache", "fp8_paged_mqa_logits"),
        arches=("gfx942", "gfx950"),
        fp8s=("e4m3fn", "e4m3fnuz"),
        block_sizes=(1, 16, 32, 64, 128, 256),
    )
)
"""Every cell must run; the values are repeated on purpose: an axis lost above shows as a red cell."""
