"""Axes of the MLA cache family and its expected-to-run matrices, written out apart from the cases."""

from __future__ import annotations

from rocassay.harness.ops import Matrix, expect

ARCHES = ("gfx942", "gfx950")
FP8S = ("e4m3fn", "e4m3fnuz")
PLATFORM_FP8 = {"gfx942": "e4m3fnuz", "gfx950": "e4m3fn"}
"""Flavour of each chip's main cache (vLLM platforms/rocm.py), apart from the dispatcher's own table."""

PLANAR_BLOCK_SIZES = (2, 16, 64, 256)
PLANAR_WIDE_BLOCK_SIZES = (16, 64)
TOKEN_BLOCK_SIZES = (1, 64)
TOKEN_WIDE_BLOCK_SIZES = (64,)

EXPECTED = (
    expect(
        Matrix(
            ops=("quantize_and_insert_k_cache", "dequantize_and_gather_k_cache"),
            arches=("gfx942", "gfx950"),
            fp8s=("e4m3fn", "e4m3fnuz"),
            block_sizes=(2, 16, 64, 256),
        )
    ),
    expect(
        Matrix(
            ops=("concat_and_cache_ds_mla", "concat_and_cache_mla", "gather_and_maybe_dequant_cache"),
            arches=("gfx942", "gfx950"),
            fp8s=("e4m3fn", "e4m3fnuz"),
            block_sizes=(1, 64),
        )
    ),
)
"""Every cell must run; the values are repeated on purpose: an axis lost above shows as a red cell."""
