"""Axes of the ragged builders and their expected-to-run matrix, written out apart from the cases."""

from __future__ import annotations

from rocassay.harness.ops import Matrix, expect

ARCHES = ("gfx942", "gfx950")
FP8S = ("e4m3fn",)
"""Builders move indices: there is no FP8 flavour in them, and one stands for both."""

BLOCK_SIZES = (2, 64, 256)
"""Rows of a page of the compressed cache: a main page of 256 tokens at ratios 128 and 4, and one uncompressed."""

PAGED_BLOCK_SIZES = (1, 16, 64)
"""Tokens of a block of the dense MLA cache, which the decode kernel takes as pages of any size that divides it."""

NO_PAGES = (1,)
"""Dense rows and gathered workspaces know no pages."""

SLOTS = expect(
    Matrix(
        ops=("compute_global_topk_ragged_indices_and_indptr",),
        arches=("gfx942", "gfx950"),
        fp8s=("e4m3fn",),
        block_sizes=(2, 64, 256),
    )
)
"""Every cell must run; the values are repeated on purpose: an axis lost above shows as a red cell."""

ROWS = expect(
    Matrix(
        ops=(
            "build_ragged_indices_from_dense",
            "combine_topk_swa_indices",
            "combine_topk_swa_indices_ragged",
        ),
        arches=("gfx942", "gfx950"),
        fp8s=("e4m3fn",),
        block_sizes=(1,),
    )
)
"""Every cell must run."""

PAGES = expect(
    Matrix(
        ops=("mla_paged_kv_metadata",),
        arches=("gfx942", "gfx950"),
        fp8s=("e4m3fn",),
        block_sizes=(1, 16, 64),
    )
)
"""Every cell must run."""
