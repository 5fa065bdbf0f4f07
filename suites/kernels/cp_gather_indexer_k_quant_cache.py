"""Op `cp_gather_indexer_k_quant_cache`: gather cached keys of a chunk of requests, byte for byte."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch

from rocassay.harness.arch import Target
from rocassay.harness.cases import Case, cross
from rocassay.harness.codegen_lint import Codegen
from rocassay.harness.gates import ExactBytes
from rocassay.harness.inputs import Operands, Placement, Stream
from rocassay.harness.ops import Op, Tier, register
from rocassay.harness.plan import RoundingPlan
from rocassay.harness.probes import Dispatch, Invariance, Poison, Strides
from rocassay.harness.results import Coordinate
from rocassay.kernels.indexer.dispatch import DISPATCH, GatherVariant, IndexerDispatch, gather_variant
from rocassay.references.indexer import cp_gather_indexer_k_quant_cache as reference
from rocassay.suites.kernels.axes import ARCHES, BLOCK_SIZES, FP8S, WIDE_BLOCK_SIZES
from rocassay.suites.kernels.indexer_inputs import (
    HEAD_DIM,
    RECORD,
    WRAP,
    cache_placement,
    contract_layout,
    edge_lengths,
    layout_name,
    locate_token,
    padded_rows,
    paged,
    permute_pages,
    random_bytes,
)
from rocassay.suites.kernels.missing_pages import MISSING, PAGES, missing_pages, missing_placements
from rocassay.suites.kernels.random_lists import RANDOM, random_lengths

NAME = "cp_gather_indexer_k_quant_cache"
TAIL = (-1, 10**9, 0, 2, 7)
"""What token_to_seq holds beyond the last gathered token: no request, garbage, and requests that end earlier."""

FAR_ROW = WRAP // 128
"""Bytes from row to row of both outputs in the recipe `far`: row 128 starts at byte 2^31, which no int32 counts."""

LENGTHS = (0, 1, 15, 16, 17, 63, 64, 65, 127, 128, 129, 255, 256, 257)


def cases(tier: Tier) -> Iterable[Case]:
    """Quick: lengths around the page's edges; full adds single requests of every edge length."""
    lengths = ("edges",) if tier == "quick" else ("edges", *LENGTHS)
    yield from cross(
        NAME,
        arches=ARCHES,
        fp8s=FP8S,
        block_sizes=BLOCK_SIZES,
        recipes=("tagged", "padded"),
        where=lambda case: case.recipe == "padded" or case["lengths"] == "edges",
        lengths=lengths,
        ratio=(1, 4),
    )
    yield from cross(
        NAME,
        arches=ARCHES,
        fp8s=FP8S,
        block_sizes=WIDE_BLOCK_SIZES,
        recipes=("wide",),
        lengths=("edges",),
        ratio=(1,),
    )
    apart: dict[str, Any] = {"block_sizes": (64,), "recipes": ("far",), "lengths": ("edges",), "ratio": (1,)}
    yield from cross(NAME, arches=ARCHES, fp8s=FP8S, **apart)
    yield from cross(NAME, arches=ARCHES[:1], fp8s=FP8S[:1], block_sizes=(1,), lengths=(MISSING,), ratio=(1,))


def request_lengths(case: Case) -> tuple[int, ...]:
    """Keys of the requests: around every edge, random, or one of that length behind a short one."""
    word = case["lengths"]
    if word == RANDOM:
        return random_lengths(case)
    return edge_lengths(case.block_size) if isinstance(word, str) else (3, word)


def inputs(case: Case, stream: Stream) -> Operands:
    """Pages of random bytes, one missing page, an over-long chunk whose tail belongs to nobody."""
    if case["lengths"] == MISSING:
        return _missing(case, stream)
    lengths = request_lengths(case)
    total = sum(lengths)
    contents = random_bytes(stream.child("records"), (total, RECORD)).numpy()
    pages = paged(case, stream, lengths, contents)
    table = pages.block_table.clone()
    last = len(lengths) - 1
    if lengths[last] > case.block_size:
        table[last, 1] = -1
    starts = torch.from_numpy(np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32))
    owner = np.concatenate([np.repeat(np.arange(len(lengths)), lengths), TAIL]).astype(np.int32)
    rows = total + len(TAIL)
    return Operands(
        inputs={
            "kv_cache": pages.cache,
            "block_table": table,
            "cu_seqlen": starts,
            "token_to_seq": torch.from_numpy(owner),
        },
        outputs={
            "k_fp8": random_bytes(stream.child("k_fp8"), (rows, HEAD_DIM)),
            "k_fp8_scale": random_bytes(stream.child("k_fp8_scale"), (rows, 4)),
        },
        placements={**cache_placement(case), **padded_rows(case, "block_table", table.shape[1], 3), **_far(case)},
        unread={"kv_cache": pages.unread},
    )


def _far(case: Case) -> dict[str, Placement]:
    far = Placement((FAR_ROW, 1), lead=WRAP)
    return {"k_fp8": far, "k_fp8_scale": far} if case.recipe == "far" else {}


def _missing(case: Case, stream: Stream) -> Operands:
    """Tokens without a page, and rows that name a request which has not begun, has ended or is none."""
    chunk, rows = missing_pages(), len(missing_pages().owner)
    return Operands(
        inputs={
            "kv_cache": random_bytes(stream.child("records"), (PAGES, 1, RECORD)),
            "block_table": chunk.block_table,
            "cu_seqlen": chunk.bounds,
            "token_to_seq": chunk.owner,
        },
        outputs={
            "k_fp8": random_bytes(stream.child("k_fp8"), (rows, HEAD_DIM)),
            "k_fp8_scale": random_bytes(stream.child("k_fp8_scale"), (rows, 4)),
        },
        placements={**cache_placement(case), **missing_placements("cu_seqlen")},
    )


def golden(case: Case, operands: Operands) -> Mapping[str, ExactBytes]:
    """Both output buffers, rows that belong to nobody included."""
    gathered = reference.cp_gather_indexer_k_quant_cache(
        **operands.inputs, **operands.outputs, layout=layout_name(case)
    )
    return {"k_fp8": ExactBytes(gathered.values), "k_fp8_scale": ExactBytes(gathered.scales)}


def peer(case: Case, arguments: dict[str, Any]) -> None:
    """Plain torch."""
    reference.peer_cp_gather_indexer_k_quant_cache(**arguments, layout=layout_name(case))


def variant(case: Case, target: Target, dispatch: IndexerDispatch) -> GatherVariant:
    """The dispatcher's decisions."""
    return gather_variant(target, block_size=case.block_size, ratio=case.integer("ratio"), dispatch=dispatch)


def locate(case: Case, operands: Operands, output: str, index: tuple[int, ...]) -> Coordinate:
    """Row of the chunk -> the cached token it stands for; byte within the record."""
    row, byte = index
    starts = operands.inputs["cu_seqlen"]
    request = int(torch.searchsorted(starts, torch.tensor(row, dtype=torch.int32), right=True)) - 1
    if row >= int(starts[-1]):
        return Coordinate(output=output, index=index, where={"row": row})
    token = locate_token(case, operands, output, index, request, row - int(starts[request]))
    record_byte = byte + (HEAD_DIM if output == "k_fp8_scale" else 0)
    offset = int(contract_layout(case).offset(token.token or 0, record_byte))
    return token.model_copy(update={"byte": record_byte, "offset": offset})


def accepts(case: Case) -> bool:
    """All mixtures; chunks with missing pages have one-token pages and a table of their own pitch, far rows are few."""
    if case.recipe == "far" and case["lengths"] != "edges":
        return False
    return case["lengths"] != MISSING or (case.block_size == 1 and case.recipe == "tagged")


OP = register(
    Op(
        name=NAME,
        contract="gather cached keys of a chunk of requests into contiguous values and scales, a pure byte move",
        launcher="rocassay.kernels.indexer.cp_gather_indexer_k_quant_cache:cp_gather_indexer_k_quant_cache",
        inputs=inputs,
        golden=golden,
        peer=peer,
        variant=variant,
        dispatch=DISPATCH,
        cases=cases,
        plan=RoundingPlan((), "bytes are moved, never computed"),
        locate=locate,
        free={"lengths": (0, 300)},
        words={"lengths": (RANDOM,)},
        accepts=accepts,
        faults=(
            "idx-shuffle-at-bs1",
            "idx-c4a-blockflat-read-as-tiled",
            "idx-cp-gather-132B-alignment",
            "paged-stride-assumed-contiguous",
            "indexer-block-id-int32",
        ),
        probes=(
            Dispatch(lambda _: ("_cp_gather_indexer_k_quant_cache_kernel",)),
            Strides(),
            Codegen(lambda case: case.recipe == "wide" and case.fp8 == "e4m3fn"),
            Poison(),
            Invariance("page-permutation", permute_pages, "where a page lies is the block table's business"),
        ),
        probed=lambda case: case.recipe == "padded" and case["ratio"] == 1,
    )
)
