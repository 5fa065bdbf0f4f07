"""Op `combine_topk_swa_indices`: the workspace rows that every token of a prefill chunk reads, as dense rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rocassay.harness.arch import Target
from rocassay.harness.cases import Case
from rocassay.harness.gates import ExactBytes
from rocassay.harness.inputs import Operands, Stream
from rocassay.harness.ops import Op, Tier, register
from rocassay.harness.plan import RoundingPlan
from rocassay.harness.probes import Dispatch, Invariance, Poison, Strides
from rocassay.harness.results import Coordinate
from rocassay.kernels.ragged.variants import DISPATCH, RaggedDispatch, RaggedVariant, ragged_variant
from rocassay.references.ragged import combine_topk_swa_indices as reference
from rocassay.suites.kernels import combine_inputs as chunks
from rocassay.suites.kernels.ragged_inputs import sentinels

NAME = "combine_topk_swa_indices"


def cases(tier: Tier) -> Iterable[Case]:
    """Chunks of both combining ops."""
    return chunks.cases(NAME, tier)


def inputs(case: Case, stream: Stream) -> Operands:
    """A chunk, and rows as long as the contract makes them."""
    chunk = chunks.chunk_of(case, stream)
    outputs = {"combined": sentinels(chunk.tokens, chunk.columns), "lens": sentinels(chunk.tokens)}
    rows = {**chunk.tensors, "combined": outputs["combined"]}
    return Operands(
        inputs=chunk.tensors,
        outputs=outputs,
        scalars=chunks.scalars_of(chunk.shape),
        placements=chunks.placements_of(case, rows),
        unread={"topk_indices": chunk.unread},
    )


def golden(case: Case, operands: Operands) -> Mapping[str, ExactBytes]:
    """Whole rows, the -1 behind them included, and lengths."""
    expected = reference.combine_topk_swa_indices(
        **operands.inputs, shape=chunks.shape_of(operands), columns=operands.outputs["combined"].shape[1]
    )
    return {"combined": ExactBytes(expected.combined), "lens": ExactBytes(expected.lens)}


def peer(case: Case, arguments: dict[str, Any]) -> None:
    """Plain torch."""
    reference.peer_combine_topk_swa_indices(**chunks.peer_arguments(arguments))


def variant(case: Case, target: Target, dispatch: RaggedDispatch) -> RaggedVariant:
    """The dispatcher's decisions."""
    widest = sum(case.integer(name) for name in ("topk", "window", "images"))
    columns = -(-widest // chunks.ROW_ALIGNMENT) * chunks.ROW_ALIGNMENT
    return ragged_variant(target, columns=columns, dispatch=dispatch)


def locate(case: Case, operands: Operands, output: str, index: tuple[int, ...]) -> Coordinate:
    """Row -> token, request of the chunk and position; column of the row."""
    where = chunks.token_of(operands, index[0])
    if output == "combined":
        where["column"] = index[1]
    return Coordinate(output=output, index=index, where=where)


OP = register(
    Op(
        name=NAME,
        contract="list the workspace rows that every token of a prefill chunk reads: chosen compressed ones, a window",
        launcher=f"rocassay.kernels.ragged.{NAME}:{NAME}",
        inputs=inputs,
        golden=golden,
        peer=peer,
        variant=variant,
        dispatch=DISPATCH,
        cases=cases,
        plan=RoundingPlan((), "indices are computed in integers"),
        locate=locate,
        free={"topk": (0, 300), "width": (0, 300), "window": (1, 140), "images": (0, 20)},
        accepts=chunks.accepts,
        faults=(
            "convert-invalid-to-zero",
            "combine-chunk-global-request",
            "combine-query-start-not-rebased",
            "combine-window-off-by-one",
            "combine-visible-exclusive",
            "combine-gather-start-not-clamped",
            "combine-topk-unbounded",
            "combine-first-128-tokens",
        ),
        probes=(
            Dispatch(lambda case: () if case["chunk"] == "idle" else ("_combine_topk_swa_indices_kernel",)),
            Strides(),
            Poison(),
            Invariance("chunk-origin", chunks.move_chunk, "where in its batch a chunk starts does not matter"),
        ),
        probed=lambda case: case.recipe == "padded" and case["chunk"] == "edges",
    )
)
