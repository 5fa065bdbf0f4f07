"""Op `indexer_decode_lens`: visible lengths of decode rows, by request or one row a token."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rocassay.harness.arch import Target
from rocassay.harness.cases import Case, MalformedCase, cross
from rocassay.harness.gates import ExactBytes
from rocassay.harness.inputs import Operands, Placement, Stream
from rocassay.harness.ops import Op, Tier, register
from rocassay.harness.plan import RoundingPlan
from rocassay.harness.probes import Dispatch, Strides
from rocassay.harness.results import Coordinate
from rocassay.kernels.prefill.dispatch import DISPATCH, DecodeLensVariant, PrefillDispatch, decode_lens_variant
from rocassay.references.prefill import indexer_decode_lens as reference
from rocassay.suites.kernels.prefill_axes import ARCHES, NO_FP8, NO_PAGES

NAME = "indexer_decode_lens"
WORKED = ((10, 7, 12, 0), (3, 1, 4, 0))
"""Total lengths and query tokens of the builder's own worked example."""

STALE = -77
"""What a persistent buffer holds from an earlier step."""

TAIL = 5
"""Rows of the persistent buffers beyond the step's tokens."""

WIDTH = 70
"""Columns of the block table: more than one program's."""

RATIOS = (1, 2, 4)

WRAP = 2**31
"""Elements from the first to the last row in the recipe `wide`."""

MOST_FAR = 10
"""Most requests whose rows lie far apart, each on pages of its own."""


def cases(tier: Tier) -> Iterable[Case]:
    """Both paths at every compression; full adds request counts around the program's tile."""
    axes: dict[str, Any] = {"arches": ARCHES, "fp8s": NO_FP8, "block_sizes": NO_PAGES}
    both: dict[str, Any] = {"recipes": ("tagged", "padded"), "ratio": RATIOS}
    yield from cross(NAME, **axes, **both, requests=(13,), next_n=(1, 2, 4), adaptive=(0,))
    yield from cross(NAME, **axes, **both, requests=(13,), next_n=(2,), adaptive=(1,))
    worked: dict[str, Any] = {"requests": (len(WORKED[0]),), "next_n": (4,), "adaptive": (0,)}
    yield from cross(NAME, **axes, recipes=("worked",), ratio=(1, 2), **worked)
    # More requests and rows than two programs take, in tables of one program's columns; rows beyond 2^31 elements.
    many: dict[str, Any] = {"requests": (150,), "ratio": (1,), "adaptive": (0,), "width": (9,)}
    yield from cross(NAME, **axes, **many, next_n=(2, 4))
    yield from cross(NAME, **axes, **{**many, "requests": (5,)}, next_n=(2, 4), recipes=("wide",))
    # A table without columns has no first page of which padding rows could be cleared; lengths it has all the same.
    yield from cross(NAME, **axes, **{**many, "requests": (13,), "width": (0,)}, next_n=(4,))
    if tier != "quick":
        counts = (1, 2, 31, 63, 64, 65, 129)
        yield from cross(NAME, **axes, **both, requests=counts, next_n=(1, 2, 3), adaptive=(0,))
        yield from cross(NAME, **axes, **both, requests=counts, next_n=(2,), adaptive=(1,))


def native(case: Case) -> bool:
    """Whether the contract keeps the lengths by request: at most two tokens a step, and a fixed number of them."""
    return case["next_n"] in (1, 2) and not case["adaptive"]


def inputs(case: Case, stream: Stream) -> Operands:
    """Uneven requests, some of them empty or shorter than the step; stale buffers with a tail."""
    totals, counts = _requests(case, stream)
    seq_lens = torch.from_numpy(totals)
    scalars = {"compress_ratio": case["ratio"]}
    if native(case):
        most = max(1, int(counts.max()))
        lens = torch.full((len(totals), most), STALE, dtype=torch.int32)
        return Operands(
            {"seq_lens": seq_lens}, {"lens": lens}, scalars, placements=_padded(case, lens=(len(totals), most))
        )
    rows = int(counts.sum()) + TAIL
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    width = int(dict(case.params).get("width", WIDTH))
    pages = stream.child("pages").permutation(len(totals) * width).astype(np.int32) + 1
    return Operands(
        inputs={
            "seq_lens": seq_lens,
            "query_start_loc": torch.from_numpy(starts),
            "block_table": torch.from_numpy(pages.reshape(len(totals), width)),
        },
        outputs={
            "lens": torch.full((rows,), STALE, dtype=torch.int32),
            "row_table": torch.full((rows, width), STALE, dtype=torch.int32),
        },
        scalars=scalars,
        placements=_padded(case, block_table=(len(totals), width), row_table=(rows, width + 1)),
    )


def _requests(case: Case, stream: Stream) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Total lengths and query tokens. The first ones are longer than the step, just as long, and empty."""
    if case.recipe == "worked":
        return np.array(WORKED[0], dtype=np.int32), np.array(WORKED[1], dtype=np.int32)
    requests, next_n = case.integer("requests"), case.integer("next_n")
    counts = stream.child("decode_lens").integers(0, next_n + 1, requests)
    counts[0] = next_n
    totals = counts + stream.child("seq_lens").integers(0, 300, requests)
    edges = ((next_n, next_n + 5), (next_n, next_n + 1), (0, 0), (next_n, next_n), (1, 1), (0, 0))
    for request, (count, total) in enumerate(edges[:requests]):
        counts[request], totals[request] = count, total
    if requests > len(edges) and "width" in dict(case.params):
        # Tokens that a draft model only promised: fewer exist than the step has rows for.
        counts[len(edges)], totals[len(edges)] = next_n, max(0, next_n - 3)
    return totals.astype(np.int32), counts.astype(np.int32)


def _padded(case: Case, **shapes: tuple[int, int]) -> dict[str, Placement]:
    if case.recipe not in ("tagged", "padded", "wide", "worked"):
        raise MalformedCase(f"recipe {case.recipe!r} of case {case} is unknown; use tagged, padded, wide or worked")
    if case.recipe == "wide":
        return {name: Placement((-(-WRAP // (rows - 1)), 1)) for name, (rows, _) in shapes.items() if rows > 1}
    return {name: Placement((n + 3, 1)) for name, (_, n) in shapes.items()} if case.recipe == "padded" else {}


def golden(case: Case, operands: Operands) -> Mapping[str, ExactBytes]:
    """Both buffers whole, their tails included."""
    ratio = case.integer("ratio")
    expected = reference.indexer_decode_lens(**operands.inputs, **operands.outputs, compress_ratio=ratio)
    return {name: ExactBytes(tensor) for name, tensor in expected.items()}


def peer(case: Case, arguments: dict[str, Any]) -> None:
    """Plain torch."""
    reference.peer_indexer_decode_lens(**arguments)


def variant(case: Case, target: Target, dispatch: PrefillDispatch) -> DecodeLensVariant:
    """The dispatcher's decisions."""
    return decode_lens_variant(next_n=case.integer("next_n"), adaptive=case["adaptive"] == 1, dispatch=dispatch)


def expected_kernels(case: Case) -> tuple[str, ...]:
    """By request, or by row."""
    return ("_native_decode_lens_kernel",) if native(case) else ("_flattened_decode_lens_kernel",)


def locate(case: Case, operands: Operands, output: str, index: tuple[int, ...]) -> Coordinate:
    """Row of a buffer -> request and its token."""
    if native(case):
        return Coordinate(output=output, index=index, where={"request": index[0], "next": index[1]})
    starts = operands.inputs["query_start_loc"]
    request = int(torch.searchsorted(starts, torch.tensor(index[0], dtype=torch.int32), right=True)) - 1
    where = {"row": index[0]}
    if index[0] < int(starts[-1]):
        where |= {"request": request, "next": index[0] - int(starts[request])}
    return Coordinate(output=output, index=index, where=where)


def shorter(case: Case, stream: Stream) -> Operands:
    """The same requests a third shorter; where rows are tokens, of half as many query tokens."""
    first = inputs(case, Stream.of(case))
    totals = first.inputs["seq_lens"]
    if native(case):
        return replace(first, inputs={**first.inputs, "seq_lens": totals - totals // 3})
    counts = first.inputs["query_start_loc"].diff()
    starts = torch.cat([torch.zeros(1, dtype=torch.int32), (counts // 2).cumsum(0, dtype=torch.int32)])
    fewer = {"seq_lens": totals - (counts - counts // 2), "query_start_loc": starts}
    return replace(first, inputs={**first.inputs, **fewer})


def accepts(case: Case) -> bool:
    """All mixtures; the worked example is what it is."""
    shape = (case["requests"], case["next_n"], case["adaptive"])
    if case.recipe == "wide":
        return case.integer("requests") <= MOST_FAR
    return case.recipe != "worked" or shape == (len(WORKED[0]), 4, 0)


OP = register(
    Op(
        name=NAME,
        contract="lens = max(0, S - tokens that come later) // ratio, by request or one row a token, tails cleared",
        launcher="rocassay.kernels.prefill.indexer_decode_lens:indexer_decode_lens",
        inputs=inputs,
        golden=golden,
        peer=peer,
        variant=variant,
        dispatch=DISPATCH,
        cases=cases,
        plan=RoundingPlan((), "integers only"),
        locate=locate,
        free={"requests": (1, 140), "next_n": (1, 6), "ratio": (1, 8)},
        accepts=accepts,
        faults=(
            "decode-lens-compressed-before-offset",
            "decode-lens-by-row-compressed-before-offset",
            "decode-lens-not-clamped",
            "decode-lens-flattened-always",
            "decode-lens-tail-stale",
            "decode-table-padding-page-stale",
            "decode-row-of-next-request",
        ),
        probes=(Dispatch(expected_kernels), Strides()),
        probed=lambda case: case.recipe == "padded",
        replay=shorter,
    )
)
