"""Op `indexer_prefill_windows`: key windows of prefill tokens and owners of gathered keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rocassay.harness.arch import Target
from rocassay.harness.cases import Case, cross
from rocassay.harness.gates import ExactBytes
from rocassay.harness.inputs import Operands, Stream
from rocassay.harness.ops import Op, Tier, register
from rocassay.harness.plan import RoundingPlan
from rocassay.harness.probes import Dispatch
from rocassay.harness.results import Coordinate
from rocassay.kernels.prefill.dispatch import DISPATCH, PrefillDispatch, RowsVariant, rows_variant
from rocassay.references.prefill import indexer_prefill_windows as reference
from rocassay.suites.kernels.prefill_axes import ARCHES, NO_FP8, NO_PAGES

NAME = "indexer_prefill_windows"
STALE = -77
"""What buffers hold that are larger than the chunk."""
TAIL = 7
"""Tokens and keys that the buffers hold beyond the chunk."""
KERNELS = ("_gathered_bases_kernel", "_prefill_windows_kernel", "_token_to_seq_kernel")
EDGES = ((3, 3), (40, 9), (0, 0), (17, 5), (6, 0), (5, 1), (64, 64))
"""(total length, query tokens): fresh, continued, empty, cached, without a query, one token, a whole tile."""


def cases(tier: Tier) -> Iterable[Case]:
    """Every compression; full adds request counts around the program's tile."""
    axes: dict[str, Any] = {"arches": ARCHES, "fp8s": NO_FP8, "block_sizes": NO_PAGES}
    counts = (1, 2, 7, 70) if tier == "quick" else (1, 2, 3, 7, 31, 63, 64, 65, 70, 129)
    yield from cross(NAME, **axes, requests=counts, ratio=(1, 2, 4, 128))
    # A power of two of them: the search for an owner has no step to spare.
    yield from cross(NAME, **axes, requests=(8,), ratio=(2,))


def inputs(case: Case, stream: Stream) -> Operands:
    """Requests of which some are continued, empty or without a query; stale buffers that exceed the chunk."""
    totals, counts = _requests(case, stream)
    starts = np.concatenate([[0], np.cumsum(counts)]).astype(np.int32)
    tokens, keys = int(counts.sum()), int((totals // case.integer("ratio")).sum())

    def buffer(length: int) -> torch.Tensor:
        return torch.full((length,), STALE, dtype=torch.int32)

    return Operands(
        inputs={"query_start_loc": torch.from_numpy(starts), "seq_lens": torch.from_numpy(totals)},
        outputs={
            "ks": buffer(tokens + TAIL),
            "ke": buffer(tokens + TAIL),
            "cu_seqlen": buffer(len(totals) + 1),
            "token_to_seq": buffer(keys + TAIL),
        },
        scalars={"compress_ratio": case["ratio"]},
    )


def _requests(case: Case, stream: Stream) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Total lengths and query tokens: the edges, the fresh ones first, then random ones."""
    requests = case.integer("requests")
    counts = stream.child("query_lens").integers(0, 6, requests)
    totals = counts + stream.child("seq_lens").integers(0, 20, requests)
    for request, (total, count) in enumerate(EDGES[1 : 1 + requests] if requests < len(EDGES) else EDGES):
        totals[request], counts[request] = total, count
    return totals.astype(np.int32), counts.astype(np.int32)


def golden(case: Case, operands: Operands) -> Mapping[str, ExactBytes]:
    """All four buffers whole, their tails included."""
    expected = reference.indexer_prefill_windows(
        **operands.inputs, **operands.outputs, compress_ratio=case.integer("ratio")
    )
    return {name: ExactBytes(tensor) for name, tensor in expected.items()}


def peer(case: Case, arguments: dict[str, Any]) -> None:
    """Plain torch."""
    reference.peer_indexer_prefill_windows(**arguments)


def variant(case: Case, target: Target, dispatch: PrefillDispatch) -> RowsVariant:
    """Neither target nor table matters."""
    return rows_variant()


def locate(case: Case, operands: Operands, output: str, index: tuple[int, ...]) -> Coordinate:
    """Element -> request and token, key, or request."""
    (place,) = index
    if output == "cu_seqlen":
        return Coordinate(output=output, index=index, where={"request": place - 1})
    name = "key" if output == "token_to_seq" else "token"
    starts = operands.inputs["query_start_loc"]
    if output == "token_to_seq":
        starts = torch.cat([starts[:1] * 0, (operands.inputs["seq_lens"] // case.integer("ratio")).cumsum(0)])
    request = int((starts <= place).sum()) - 1
    where = {name: place} | ({"request": request} if request < len(operands.inputs["seq_lens"]) else {})
    return Coordinate(output=output, index=index, where=where)


def shorter(case: Case, stream: Stream) -> Operands:
    """The same requests with half as many query tokens."""
    first = inputs(case, Stream.of(case))
    counts = first.inputs["query_start_loc"].diff()
    starts = torch.cat([torch.zeros(1, dtype=torch.int32), (counts // 2).cumsum(0, dtype=torch.int32)])
    totals = first.inputs["seq_lens"] - (counts - counts // 2)
    return replace(first, inputs={"query_start_loc": starts, "seq_lens": totals})


OP = register(
    Op(
        name=NAME,
        contract="ks = g and ke = g + (p + 1) // ratio of every prefill token, g the running sum of compressed lengths",
        launcher="rocassay.kernels.prefill.indexer_prefill_windows:indexer_prefill_windows",
        inputs=inputs,
        golden=golden,
        peer=peer,
        variant=variant,
        dispatch=DISPATCH,
        cases=cases,
        plan=RoundingPlan((), "integers only"),
        locate=locate,
        free={"requests": (1, 150), "ratio": (1, 130)},
        faults=(
            "prefill-window-misses-own-key",
            "prefill-bases-not-compressed",
            "prefill-context-ignored",
            "prefill-bases-carry-lost",
            "prefill-key-of-next-request",
        ),
        probes=(Dispatch(lambda _: KERNELS),),
        replay=shorter,
    )
)
