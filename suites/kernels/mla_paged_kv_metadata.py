"""Op `mla_paged_kv_metadata`: the pages of every request of a dense MLA decode, for any page size of the kernel."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from rocassay.harness.arch import Target
from rocassay.harness.cases import Case, cross
from rocassay.harness.gates import ExactBytes
from rocassay.harness.inputs import Operands, Stream
from rocassay.harness.ops import Expectation, Op, Tier, register
from rocassay.harness.plan import RoundingPlan
from rocassay.harness.probes import Dispatch, Invariance, Observation, Poison, Strides, Traffic
from rocassay.harness.probes.metamorphic import Transformed
from rocassay.harness.probes.probe import Outputs
from rocassay.harness.results import Coordinate
from rocassay.kernels.ragged.variants import DISPATCH, RaggedDispatch, RaggedVariant, ragged_variant
from rocassay.references.ragged import mla_paged_kv_metadata as reference
from rocassay.suites.kernels.ragged_axes import ARCHES, FP8S, PAGED_BLOCK_SIZES
from rocassay.suites.kernels.ragged_inputs import SENTINEL, DefinedPart, Tail, integers, one_of, sentinels, strided
from rocassay.suites.kernels.random_lists import RANDOM, random_lengths

NAME = "mla_paged_kv_metadata"

GARBAGE_COLUMNS = 2
"""Columns of the block table behind the longest request."""

SPARE = 9
"""Elements of kv_indices behind the last page."""

LENGTHS = (1, 15, 16, 17, 63, 64, 65, 127, 128, 129, 1023, 1024, 1025, 4097)


def cases(tier: Tier) -> Iterable[Case]:
    """Every page size that divides a block, requests around page edges, unused rows of a graph, one long request."""
    axes: dict[str, Any] = {"arches": ARCHES, "fp8s": FP8S, "block_sizes": PAGED_BLOCK_SIZES, "where": _divides}
    both: dict[str, Any] = {"recipes": ("tagged", "padded"), "page": (1, 16, 64), "lengths": ("edges",)}
    yield from cross(NAME, **axes, **both, unused=(0, 3))
    long: dict[str, Any] = {**axes, "recipes": ("padded",), "page": (1,), "unused": (3,)}
    yield from cross(NAME, **long, lengths=("long", "none"))
    crowd: dict[str, Any] = {**axes, "page": (16,), "unused": (2060,), "lengths": ("edges",)}
    yield from cross(NAME, **{**crowd, "block_sizes": (16,)})
    # Table rows beyond 2^31 elements; a request whose pages the programs take twice, and more requests than programs.
    yield from cross(NAME, **{**both, **axes, "recipes": ("wide",), "page": (16,), "block_sizes": (64,)}, unused=(0,))
    yield from cross(NAME, **{**long, "block_sizes": (64,)}, lengths=("vast",))
    if tier != "quick":
        yield from cross(NAME, **{**long, "page": (1, 16, 64)}, lengths=LENGTHS)


def _divides(case: Case) -> bool:
    return case.block_size % case.integer("page") == 0


def lengths_of(case: Case) -> tuple[int, ...]:
    """Tokens of every request; MalformedCase for an unknown word."""
    word, size = case["lengths"], case.block_size
    if not isinstance(word, str):
        return (3, word, 0, 1)
    if word == RANDOM:
        return random_lengths(case)
    edges = (2 * size + 3, 0, 1, size, max(1, size - 1), 127, 2 * size, 17, size + 1)
    words = {"edges": edges, "long": (5, 2100, 0, 33), "vast": (*range(17), 16_600), "none": ()}
    return words[one_of(case, "lengths", tuple(words))]


def inputs(case: Case, stream: Stream) -> Operands:
    """Permuted blocks, garbage in every column behind a request's own, lengths of every remainder."""
    lengths, size, page = lengths_of(case), case.block_size, case.integer("page")
    blocks = [-(-length // size) for length in lengths]
    order = iter(stream.child("blocks").permutation(sum(blocks) + 5).tolist())
    table = np.full((len(lengths), max(blocks, default=0) + GARBAGE_COLUMNS), SENTINEL, dtype=np.int64)
    for row, count in enumerate(blocks):
        table[row, :count] = [next(order) for _ in range(count)]
    tensors = {"block_table": integers(table), "seq_lens": integers(np.array(lengths, dtype=np.int64))}
    rows, pages = len(lengths) + case.integer("unused"), sum(-(-length // page) for length in lengths)
    return Operands(
        inputs=tensors,
        outputs={
            "kv_indptr": sentinels(rows + 1),
            "kv_indices": sentinels(pages + SPARE),
            "kv_last_page_lens": sentinels(rows),
        },
        scalars={"block_size": size, "page_size": page},
        workspaces={"counts": sentinels(rows)},
        placements=strided(case, tensors),
        unread={"block_table": tensors["block_table"] == SENTINEL},
    )


def _expected(operands: Operands) -> reference.PagedKv:
    return reference.mla_paged_kv_metadata(
        **operands.inputs,
        kv_indices=operands.outputs["kv_indices"],
        rows=len(operands.outputs["kv_last_page_lens"]),
        block_size=int(operands.scalars["block_size"]),
        page_size=int(operands.scalars["page_size"]),
    )


def golden(case: Case, operands: Operands) -> Mapping[str, Expectation]:
    """All bounds and last page lengths, and the pages below the last bound."""
    expected = _expected(operands)
    return {
        "kv_indptr": ExactBytes(expected.indptr),
        "kv_indices": DefinedPart(expected.indices, expected.defined),
        "kv_last_page_lens": ExactBytes(expected.last_page_lens),
    }


def peer(case: Case, arguments: dict[str, Any]) -> None:
    """Plain torch."""
    reference.peer_mla_paged_kv_metadata(**{name: value for name, value in arguments.items() if name != "counts"})


def variant(case: Case, target: Target, dispatch: RaggedDispatch) -> RaggedVariant:
    """The dispatcher's decisions."""
    pages = max(lengths_of(case), default=0) // case.integer("page")
    return ragged_variant(target, columns=pages, dispatch=dispatch)


def locate(case: Case, operands: Operands, output: str, index: tuple[int, ...]) -> Coordinate:
    """Entry -> request and its page; other outputs have one element a request."""
    place = index[0]
    if output != "kv_indices":
        return Coordinate(output=output, index=index, where={"request": place})
    bounds = _expected(operands).indptr
    request = int(torch.searchsorted(bounds, torch.tensor(place, dtype=torch.int32), right=True)) - 1
    return Coordinate(output=output, index=index, where={"request": request, "page": place - int(bounds[request])})


def kernels(case: Case) -> tuple[str, ...]:
    """Counts, bounds, pages; without a request nothing is listed, and without a row nothing counted."""
    counts, bounds, pages = "_page_counts_kernel", "_build_indptr_kernel", "_list_pages_kernel"
    if case["lengths"] == "none":
        return (counts, bounds) if case["unused"] else (bounds,)
    return (counts, bounds, pages)


def permute_blocks(case: Case, operands: Operands) -> Transformed:
    """The same requests in other blocks."""
    table, a_block = operands.inputs["block_table"], case.block_size // case.integer("page")
    owned = table != SENTINEL
    count = max(table[owned].tolist(), default=0) + 1
    moved = torch.from_numpy(Stream(str(case), "permute").permutation(count)).to(torch.int32)
    new_table = torch.where(owned, moved[torch.where(owned, table, 0).long()], table)
    home = torch.argsort(moved).to(torch.int32)

    def back(outputs: Outputs) -> Outputs:
        pages = outputs["kv_indices"]
        block = (pages // a_block).clamp(0, count - 1).long()
        return {**outputs, "kv_indices": torch.where(pages != SENTINEL, home[block] * a_block + pages % a_block, pages)}

    return case, replace(operands, inputs={**operands.inputs, "block_table": new_table}), back


def one_pass(seen: Observation) -> Mapping[str, int]:
    """Every page of the kernel asks the table once for its block, as machine code in all lanes that hold the page."""
    page, lengths = seen.case.integer("page"), seen.operands.inputs["seq_lens"]
    pages = int((-(-lengths // page)).sum())
    lanes = 1 if seen.target.backend == "interpreter" else 64 * seen.variant.num_warps
    return {"block_table": 4 * pages * max(1, lanes // seen.variant.tile_columns)}


OP = register(
    Op(
        name=NAME,
        contract="bounds, pages and last page lengths of a decode batch, in pages that divide the cache's blocks",
        launcher=f"rocassay.kernels.ragged.{NAME}:{NAME}",
        inputs=inputs,
        golden=golden,
        peer=peer,
        variant=variant,
        dispatch=DISPATCH,
        cases=cases,
        plan=RoundingPlan((), "indices are computed in integers"),
        locate=locate,
        free={"lengths": (0, 300), "unused": (0, 9)},
        words={"lengths": (RANDOM,)},
        accepts=_divides,
        faults=(
            "sgl-page-size-in-kernel-metadata",
            "mla-last-page-len-full-seq",
            "kpool-advertised-block-size",
            "mla-unused-rows-keep-stale-bounds",
            "mla-table-pitch-is-its-width",
        ),
        probes=(
            Dispatch(kernels),
            Strides(),
            Poison(),
            Tail("kv_indices", "kv_indptr"),
            Traffic(one_pass),
            Invariance("block-permutation", permute_blocks, "the block table alone says where a block lies"),
        ),
        probed=lambda case: case.recipe == "padded" and case["lengths"] == "edges" and case["unused"] == 3,
    )
)
