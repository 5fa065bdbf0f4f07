"""Op `indexer_weights`: head weights that carry the query's scale and both normalisations."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from rocassay.harness.arch import Target
from rocassay.harness.cases import Case, MalformedCase, cross
from rocassay.harness.gates import Whitened
from rocassay.harness.inputs import Operands, Placement, Stream
from rocassay.harness.ops import Op, Tier, register
from rocassay.harness.plan import RoundingPlan
from rocassay.harness.probes import Dispatch, Strides
from rocassay.harness.results import Coordinate
from rocassay.kernels.prefill.dispatch import DISPATCH, PrefillDispatch, RowsVariant, rows_variant
from rocassay.references.prefill import indexer_weights as reference
from rocassay.suites.kernels.indexer_inputs import HEAD_DIM, POISON, token_scales
from rocassay.suites.kernels.prefill_axes import ARCHES, NO_FP8, NO_PAGES

NAME = "indexer_weights"
DTYPES = {"bf16": torch.bfloat16, "fp32": torch.float32}
KEY_COLUMNS = 128
"""Columns of the fused projection in front of the weights: they are a slice of [k | weights] rows."""

WIDE_PITCH = 2**28 + 2**6
"""Weights from row to row in the recipe `wide`: row 8 starts beyond 2^31 elements."""


def cases(tier: Tier) -> Iterable[Case]:
    """Head counts of every tensor-parallel degree, bf16 and fp32 projections, both kinds of scale."""
    axes: dict[str, Any] = {"arches": ARCHES, "fp8s": NO_FP8, "block_sizes": NO_PAGES}
    heads, rows = ((12, 64), (9, 67)) if tier == "quick" else ((8, 12, 16, 24, 32, 64, 128), (1, 9, 63, 64, 65, 67))
    both: dict[str, Any] = {"heads": heads, "rows": rows, "dtype": tuple(DTYPES)}
    yield from cross(NAME, **axes, recipes=("padded",), **both, scales=("pow2", "general"))
    yield from cross(NAME, **axes, recipes=("tagged",), heads=(64,), rows=(9,), dtype=("bf16",), scales=("pow2",))
    yield from cross(NAME, **axes, recipes=("wide",), heads=(12,), rows=(9,), dtype=("bf16",), scales=("pow2",))
    yield from cross(NAME, **axes, recipes=("padded",), heads=(64,), rows=(0,), dtype=("bf16",), scales=("pow2",))


def inputs(case: Case, stream: Stream) -> Operands:
    """Gaussian weights of both signs and a scale of its own for every (row, head)."""
    shape = (case.integer("rows"), case.integer("heads"))
    weights = torch.from_numpy(stream.child("weights").gaussian(shape).astype(np.float32))
    scales = token_scales(stream.child("scales"), shape[0] * shape[1], str(case["scales"])).reshape(shape)
    if case.recipe not in ("tagged", "padded", "wide"):
        raise MalformedCase(f"recipe {case.recipe!r} of case {case} is unknown; use tagged, padded or wide")
    extra = {"weights": KEY_COLUMNS, "q_scale": 3, "out": 5}
    padded = {name: Placement((shape[1] + columns, 1)) for name, columns in extra.items()}
    return Operands(
        inputs={"weights": weights.to(DTYPES[str(case["dtype"])]), "q_scale": torch.from_numpy(scales)},
        outputs={"out": torch.full(shape, POISON)},
        scalars={"head_dim": HEAD_DIM},
        placements={"tagged": {}, "padded": padded, "wide": {"weights": Placement((WIDE_PITCH, 1))}}[case.recipe],
    )


def golden(case: Case, operands: Operands) -> Mapping[str, Whitened]:
    """float64 products; all elements share the roundings of the constants, so the hard bound alone is gated."""
    product = reference.indexer_weights(**operands.inputs, head_dim=HEAD_DIM)
    everywhere = torch.ones_like(product.value, dtype=torch.bool)
    return {"out": Whitened(product.value, product.sigma, product.bound, everywhere, model_holds=False)}


def peer(case: Case, arguments: dict[str, Any]) -> None:
    """Plain torch."""
    reference.peer_indexer_weights(**arguments)


def variant(case: Case, target: Target, dispatch: PrefillDispatch) -> RowsVariant:
    """Neither target nor table matters."""
    return rows_variant()


def locate(case: Case, operands: Operands, output: str, index: tuple[int, ...]) -> Coordinate:
    """Row and head."""
    return Coordinate(output=output, index=index, where={"row": index[0], "head": index[1]})


OP = register(
    Op(
        name=NAME,
        contract="out[t,h] = weights[t,h] * q_scale[t,h] * D^-1/2 * H^-1/2",
        launcher="rocassay.kernels.prefill.indexer_weights:indexer_weights",
        inputs=inputs,
        golden=golden,
        peer=peer,
        variant=variant,
        dispatch=DISPATCH,
        cases=cases,
        plan=RoundingPlan(
            (
                ("scale product", "float32"),
                ("head dimension factor", "float32"),
                ("head dimension product", "float32"),
                ("head count factor", "float32"),
                ("head count product", "float32"),
            ),
            "three products and two irrational constants, each rounded once at most",
        ),
        locate=locate,
        free={"heads": (1, 130), "rows": (0, 80)},
        accepts=lambda case: case.recipe != "wide" or case.integer("rows") <= 9,
        faults=(
            "indexer-weights-without-query-scale",
            "indexer-weights-without-head-count",
            "indexer-weights-without-head-dim",
            "indexer-weights-slice-taken-for-contiguous",
        ),
        probes=(Dispatch(lambda case: ("_indexer_weights_kernel",) if case["rows"] else ()), Strides()),
        probed=lambda case: case.recipe == "padded",
    )
)
