"""Op `compute_global_topk_ragged_indices_and_indptr`: top-k positions to one CSR list of cache slots."""

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
from rocassay.harness.ops import Expectation, Op, Tier, register
from rocassay.harness.plan import RoundingPlan
from rocassay.harness.probes import Dispatch, Invariance, Poison, Strides
from rocassay.harness.probes.metamorphic import Transformed
from rocassay.harness.probes.probe import Outputs
from rocassay.harness.results import Coordinate
from rocassay.kernels.ragged.variants import DISPATCH, RaggedDispatch, RaggedVariant, ragged_variant
from rocassay.references.ragged import compute_global_topk_ragged_indices_and_indptr as reference
from rocassay.suites.kernels.ragged_axes import ARCHES, BLOCK_SIZES, FP8S
from rocassay.suites.kernels.ragged_inputs import (
    EDGE_WIDTHS,
    MOST_ENTRIES,
    MOST_FAR,
    SENTINEL,
    DefinedPart,
    Tail,
    integer_type,
    integers,
    locate_entry,
    one_of,
    sentinels,
    strided,
)

NAME = "compute_global_topk_ragged_indices_and_indptr"

REQUESTS = 5
SURPLUS_TOKENS = 3
"""Entries of the per-token arrays beyond the last token: the engine's buffers are longer than a batch."""

SURPLUS_COLUMNS = 2
"""Garbage columns of the block table; strict rows have none, for there the table's width is the bound."""

LEAST_PAGES = 3


def cases(tier: Tier) -> Iterable[Case]:
    """Both contracts on packed rows and on rows with holes, more than 1024 columns, more than 1024 tokens."""
    axes: dict[str, Any] = {"arches": ARCHES, "fp8s": FP8S, "block_sizes": BLOCK_SIZES}
    for dtype, recipe in (("int32", "tagged"), ("int64", "padded")):
        mine: dict[str, Any] = {**axes, "recipes": (recipe,), "dtype": (dtype,)}
        yield from cross(NAME, **mine, tokens=(37,), topk=(12,), mode=("legacy", "strict"), rows=("packed", "holes"))
    long: dict[str, Any] = {**axes, "recipes": ("padded",), "dtype": ("int32",)}
    yield from cross(NAME, **long, tokens=(5,), topk=(1030,), mode=("legacy",), rows=("packed",))
    strict: dict[str, Any] = {**long, "block_sizes": (64,), "mode": ("strict",)}
    yield from cross(NAME, **strict, tokens=(5,), topk=(1030,), rows=("holes",))
    small: dict[str, Any] = {**axes, "block_sizes": (64,), "dtype": ("int32",), "mode": ("legacy",)}
    for tokens, topk in ((2060, 3), (0, 12), (3, 0), (1, 1)):
        yield from cross(NAME, **small, tokens=(tokens,), topk=(topk,), rows=("packed",))
    yield from cross(NAME, **small, recipes=("wide",), tokens=(19,), topk=(3,), rows=("packed",))
    yield from cross(NAME, **small, tokens=(19,), topk=(12,), rows=("beyond",))
    if tier != "quick":
        full: dict[str, Any] = {**long, "block_sizes": (64,), "mode": ("legacy", "strict")}
        yield from cross(NAME, **full, tokens=(9,), topk=EDGE_WIDTHS, rows=("packed", "holes"))


def span_of(case: Case) -> int:
    """Positions that every request's pages hold."""
    block_size = case.block_size
    return max(LEAST_PAGES, -(-case.integer("topk") // block_size) + 1) * block_size


def _positions(case: Case, stream: Stream) -> NDArray[np.int64]:
    """[T, K]: distinct positions first, then -1; every count from none to all, every page edge among them."""
    tokens, topk, span = case.integer("tokens"), case.integer("topk"), span_of(case)
    edges = np.array([0, span - 1, case.block_size - 1, case.block_size])
    counts = (topk, 0, 1, topk // 2, max(0, topk - 1))
    rows = np.full((tokens, topk), -1, dtype=np.int64)
    for token in range(tokens):
        order = stream.child(f"row{token}").permutation(span)
        order = np.concatenate([np.roll(edges, token), order[~np.isin(order, edges)]])
        count = counts[token % len(counts)]
        rows[token, :count] = order[:count]
    return rows


def _holed(case: Case, rows: NDArray[np.int64]) -> NDArray[np.int64]:
    """Positions replaced by what is none: -1 and other negatives, and beyond the table where that is defined."""
    limit = span_of(case)
    nothing = [-1, -7, -(2**31)] + ([limit, limit + 1, 2**31 - 1] if case["mode"] == "strict" else [])
    for token in range(len(rows)):
        places = np.arange(token % 3, rows.shape[1], 3)
        rows[token, places] = np.resize(np.roll(nothing, token), len(places))
    return rows


def inputs(case: Case, stream: Stream) -> Operands:
    """Padding tokens whose rows look real and whose request is garbage, permuted pages, arrays beyond the batch."""
    one_of(case, "mode", ("legacy", "strict"))
    rows = _positions(case, stream)
    if one_of(case, "rows", ("packed", "holes", "beyond")) == "holes":
        rows = _holed(case, rows)
    if case["rows"] == "beyond":
        rows[:, ::5] = (span_of(case) + SURPLUS_COLUMNS * case.block_size) * (rows[:, ::5] >= 0) - (rows[:, ::5] < 0)
    tokens, total = len(rows), len(rows) + SURPLUS_TOKENS
    valid = np.arange(total) % 7 != 5
    rows[~valid[:tokens]] = case.block_size - 1
    request = stream.child("requests").integers(0, REQUESTS, total)
    request[~valid] = SENTINEL
    request[tokens:] = -7
    pages = span_of(case) // case.block_size
    surplus = 0 if case["mode"] == "strict" else SURPLUS_COLUMNS
    table = np.full((REQUESTS, pages + surplus), SENTINEL, dtype=np.int64)
    table[:, :pages] = stream.child("pages").permutation(REQUESTS * pages + 3)[: REQUESTS * pages].reshape(REQUESTS, -1)
    tensors = {
        "topk_indices": integers(rows, integer_type(case)),
        "token_to_req_indices": integers(request, integer_type(case)),
        "block_table": integers(table),
        "is_valid_token": torch.from_numpy(valid),
    }
    return Operands(
        inputs=tensors,
        outputs={"ragged": sentinels(rows.size), "indptr": sentinels(tokens + 1), "lens": sentinels(tokens)},
        scalars={"block_size": case.block_size},
        placements=strided(case, tensors),
        unread=_unread(tensors, tokens),
    )


def _unread(tensors: Mapping[str, torch.Tensor], tokens: int) -> dict[str, torch.Tensor]:
    valid = tensors["is_valid_token"]
    beyond = torch.arange(len(valid)) >= tokens
    return {
        "topk_indices": (~valid[:tokens, None]).expand(tensors["topk_indices"].shape),
        "token_to_req_indices": beyond | ~valid,
        "block_table": tensors["block_table"] == SENTINEL,
        "is_valid_token": beyond,
    }


def _expected(case: Case, operands: Operands) -> reference.RaggedSlots:
    return reference.compute_global_topk_ragged_indices_and_indptr(
        **operands.inputs,
        ragged=operands.outputs["ragged"],
        block_size=case.block_size,
        strict=case["mode"] == "strict",
    )


def golden(case: Case, operands: Operands) -> Mapping[str, Expectation]:
    """All lengths and bounds, and the entries below the last bound."""
    slots = _expected(case, operands)
    return {
        "ragged": DefinedPart(slots.ragged, slots.defined),
        "indptr": ExactBytes(slots.indptr),
        "lens": ExactBytes(slots.lens),
    }


def peer(case: Case, arguments: dict[str, Any]) -> None:
    """Plain torch."""
    reference.peer_compute_global_topk_ragged_indices_and_indptr(**arguments, strict=case["mode"] == "strict")


def variant(case: Case, target: Target, dispatch: RaggedDispatch) -> RaggedVariant:
    """The dispatcher's decisions."""
    strict = case["mode"] == "strict"
    return ragged_variant(target, columns=case.integer("topk"), strict=strict, dispatch=dispatch)


def locate(case: Case, operands: Operands, output: str, index: tuple[int, ...]) -> Coordinate:
    """Entry -> token and rank in its row, and the page that the golden takes it from."""
    slots = _expected(case, operands)
    place = locate_entry(output, index, slots.indptr)
    if output != "ragged" or index[0] >= int(slots.indptr[-1]) or int(slots.ragged[index]) < 0:
        return place
    block, token = divmod(int(slots.ragged[index]), case.block_size)
    return place.model_copy(update={"block": block, "token": token})


def kernels(case: Case) -> tuple[str, ...]:
    """One launch a stage; an empty batch needs its bounds only, empty rows need no packing."""
    lens, indptr, pack = "_compute_topk_lens_kernel", "_build_indptr_kernel", "_pack_global_topk_ragged_kernel"
    if not case["tokens"]:
        return (indptr,)
    return (lens, indptr, pack) if case["topk"] else (lens, indptr)


def permute_pages(case: Case, operands: Operands) -> Transformed:
    """The same positions with their pages elsewhere."""
    table = operands.inputs["block_table"]
    real = table < SENTINEL
    count = int(table[real].max()) + 1
    moved = torch.from_numpy(Stream(str(case), "permute").permutation(count)).to(table.dtype)
    came_from = torch.argsort(moved).to(table.dtype)
    inputs = {**operands.inputs, "block_table": torch.where(real, moved[torch.where(real, table, 0).long()], table)}

    def back(outputs: Outputs) -> Outputs:
        slot = outputs["ragged"]
        known = (slot >= 0) & (slot < count * case.block_size)
        safe = torch.where(known, slot, 0).long()
        page = came_from[safe // case.block_size]
        return {**outputs, "ragged": torch.where(known, page * case.block_size + safe % case.block_size, slot).int()}

    return case, replace(operands, inputs=inputs), back


def other_contract(case: Case, operands: Operands) -> Transformed:
    """Rows whose survivors come first, under the other contract; vLLM's rule on holes has no equivalent."""
    if case["mode"] == "legacy" and case["rows"] == "holes":
        return case, operands, lambda outputs: outputs
    mode = {"legacy": "strict", "strict": "legacy"}[str(case["mode"])]
    rows = operands.inputs["topk_indices"]
    kept = (rows >= 0) & (rows < span_of(case))
    order = torch.argsort((~kept).to(torch.uint8), dim=1, stable=True)
    packed = torch.where(kept, rows, -1).gather(1, order)
    params = tuple((name, mode if name == "mode" else value) for name, value in case.params)
    inputs = {**operands.inputs, "topk_indices": packed}
    return replace(case, params=params), replace(operands, inputs=inputs), lambda outputs: outputs


def accepts(case: Case) -> bool:
    """All mixtures with not more entries than an interpreter packs in seconds."""
    tokens = case.integer("tokens")
    return tokens * case.integer("topk") <= MOST_ENTRIES and (case.recipe != "wide" or tokens <= MOST_FAR)


OP = register(
    Op(
        name=NAME,
        contract="turn per-token top-k positions into one CSR list of slots of the compressed cache",
        launcher=f"rocassay.kernels.ragged.{NAME}:{NAME}",
        inputs=inputs,
        golden=golden,
        peer=peer,
        variant=variant,
        dispatch=DISPATCH,
        cases=cases,
        plan=RoundingPlan((), "indices are computed in integers"),
        locate=locate,
        free={"tokens": (0, 70), "topk": (0, 300)},
        accepts=accepts,
        faults=(
            "convert-invalid-to-zero",
            "req-id-longer-than-rows",
            "ragged-indptr-item",
            "ragged-indptr-without-leading-zero",
            "ragged-indptr-exclusive",
            "ragged-main-block-size",
            "kpool-advertised-block-size",
            "ragged-padding-tokens-counted",
            "ragged-first-columns-only",
            "ragged-other-contract",
        ),
        probes=(
            Dispatch(kernels),
            Strides(),
            Poison(),
            Tail(),
            Invariance("page-permutation", permute_pages, "where a page lies is the block table's business"),
            Invariance("other-contract", other_contract, "both contracts agree on left-packed rows within the table"),
        ),
        probed=lambda case: case.recipe == "padded" and case["topk"] == 12,
    )
)
