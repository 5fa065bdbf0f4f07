"""Op `combine_topk_swa_indices_ragged`: the same rows of the workspace as one CSR list without holes."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

from rocassay.harness.arch import Target
from rocassay.harness.cases import Case
from rocassay.harness.gates import ExactBytes
from rocassay.harness.inputs import Operands, Stream
from rocassay.harness.ops import Expectation, Op, Tier, register
from rocassay.harness.plan import RoundingPlan
from rocassay.harness.probes import Dispatch, Invariance, Poison, Strides
from rocassay.harness.results import Coordinate
from rocassay.kernels.ragged.variants import DISPATCH, RaggedDispatch, RaggedVariant, ragged_variant
from rocassay.references.ragged import combine_topk_swa_indices_ragged as reference
from rocassay.references.ragged.build_ragged_indices_from_dense import RaggedIndices
from rocassay.suites.kernels import combine_inputs as chunks
from rocassay.suites.kernels.ragged_inputs import DefinedPart, Tail, locate_entry, sentinels

NAME = "combine_topk_swa_indices_ragged"


def cases(tier: Tier) -> Iterable[Case]:
    """Chunks of both combining ops."""
    return chunks.cases(NAME, tier)


def inputs(case: Case, stream: Stream) -> Operands:
    """A chunk, and room for the longest rows."""
    chunk = chunks.chunk_of(case, stream)
    return Operands(
        inputs=chunk.tensors,
        outputs={"ragged": sentinels(chunk.tokens * chunk.widest), "indptr": sentinels(chunk.tokens + 1)},
        scalars=chunks.scalars_of(chunk.shape),
        workspaces={"counts": sentinels(chunk.tokens)},
        placements=chunks.placements_of(case, chunk.tensors),
        unread={"topk_indices": chunk.unread},
    )


def _expected(operands: Operands) -> RaggedIndices:
    return reference.combine_topk_swa_indices_ragged(
        **operands.inputs, ragged=operands.outputs["ragged"], shape=chunks.shape_of(operands)
    )


def golden(case: Case, operands: Operands) -> Mapping[str, Expectation]:
    """All bounds, and the entries below the last one."""
    expected = _expected(operands)
    return {"ragged": DefinedPart(expected.flat, expected.defined), "indptr": ExactBytes(expected.indptr)}


def peer(case: Case, arguments: dict[str, Any]) -> None:
    """Plain torch."""
    reference.peer_combine_topk_swa_indices_ragged(**chunks.peer_arguments(arguments))


def variant(case: Case, target: Target, dispatch: RaggedDispatch) -> RaggedVariant:
    """The dispatcher's decisions."""
    widest = sum(case.integer(name) for name in ("topk", "window", "images"))
    return ragged_variant(target, columns=widest, dispatch=dispatch)


def locate(case: Case, operands: Operands, output: str, index: tuple[int, ...]) -> Coordinate:
    """Entry -> token, its rank there, request of the chunk and position."""
    place = locate_entry(output, index, _expected(operands).indptr)
    token = min(place.where["token"], len(operands.inputs["topk_indices"]) - 1)
    return place.model_copy(update={"where": {**place.where, **chunks.token_of(operands, token)}})


def expected_kernels(case: Case) -> tuple[str, ...]:
    """Lengths, bounds and entries; without a token the bounds alone, which are a single 0."""
    if case["chunk"] == "idle":
        return ("_build_indptr_kernel",)
    return ("_combined_lens_kernel", "_build_indptr_kernel", "_combine_topk_swa_indices_ragged_kernel")


OP = register(
    Op(
        name=NAME,
        contract="list the workspace rows that every token of a prefill chunk reads as one CSR list without holes",
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
            "ragged-indptr-item",
            "ragged-indptr-without-leading-zero",
            "ragged-indptr-exclusive",
            "combine-chunk-global-request",
            "ragged-holes-verbatim",
            "ragged-rank-forgets-earlier-columns",
        ),
        probes=(
            Dispatch(expected_kernels),
            Strides(),
            Poison(),
            Tail(),
            Invariance("chunk-origin", chunks.move_chunk, "where in its batch a chunk starts does not matter"),
        ),
        probed=lambda case: case.recipe == "padded" and case["chunk"] == "edges",
    )
)
