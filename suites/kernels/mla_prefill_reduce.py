"""Op `mla_prefill_reduce`: merge the partial results of split query tiles. No pages, no FP8."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rocassay.harness.arch import Target
from rocassay.harness.cases import Case, cross
from rocassay.harness.gates import Whitened
from rocassay.harness.inputs import Operands, Placement, Stream
from rocassay.harness.ops import Op, Tier, register
from rocassay.harness.plan import RoundingPlan
from rocassay.harness.probes import Dispatch, Poison, Strides
from rocassay.harness.results import Coordinate
from rocassay.kernels.dispatch.mla_prefill import MLA_PREFILL, MlaPrefillTable
from rocassay.kernels.fp8_prefill.dispatch import ReduceVariant, reduce_variant
from rocassay.references.fp8_prefill import mla_prefill_reduce as reference
from rocassay.suites.kernels.fp8_prefill_axes import ARCHES, NO_PAGES
from rocassay.suites.kernels.fp8_prefill_canvas import Canvas
from rocassay.suites.kernels.fp8_prefill_inputs import SENTINEL, known_recipe, padded

NAME = "mla_prefill_reduce"
GROUPS: Mapping[str, tuple[int, ...]] = {"few": (2, 3, 1, 4, 0, 5, 2), "many": (65, 2), "pair": (3, 2), "none": ()}
"""Parts of each group; fewer than two are no reduction."""

FAR_HEAD_PITCH = 2**30
FAR_ROW_PITCH = 5_300_000
"""Elements from head to head of the output, and from row to row of the parts' LSEs, in the recipe `far`: head 2 and
row 406 start beyond element 2^31, which no int32 counts. What a wrapped offset reaches lies in the lead."""

FAR_TOKEN_PITCH = 23_000_000
"""Elements from token to token of the final LSEs in the recipe `far`: token 94 starts beyond element 2^31."""

FAR_HEADS = 3
"""Heads in the recipe `far`."""

SHORT_BLOCKS = 64
"""Rows of a tile that two programs share, whatever runs them."""

MOST_ELEMENTS = 12_000_000
"""Elements of the fuzzed parts."""

EDGES = (-np.inf, -1e30, -90.0, 0.0, 90.0)
"""LSEs that meet each other in the rows of a group: nothing seen, masked by a large negative, far apart."""


def cases(tier: Tier) -> Iterable[Case]:
    """Group sizes on both sides of AITER's algorithm switches; then widths, heads and parts; nightly real ones."""
    axes: dict[str, Any] = {"arches": ARCHES, "fp8s": ("e4m3fn",), "block_sizes": NO_PAGES}
    shape: dict[str, Any] = {"heads": (2,), "tile": (32,), "width": (128,)}
    yield from cross(NAME, **axes, **shape, groups=("few", "many", "none"), lse=("yes",))
    yield from cross(NAME, **axes, recipes=("padded",), **shape, groups=("few",), lse=("yes", "no"))
    far: dict[str, Any] = {"heads": (FAR_HEADS,), "tile": (SHORT_BLOCKS,), "width": (128,)}
    yield from cross(NAME, **axes, recipes=("far",), **far, groups=("pair",), lse=("yes",))
    if tier == "quick":
        return
    more: dict[str, Any] = {**axes, "recipes": ("padded",), "lse": ("yes",)}
    yield from cross(NAME, **more, tile=(256,), heads=(3,), width=(128,), groups=("few",))
    yield from cross(NAME, **more, tile=(256,), heads=(2,), width=(64, 512), groups=("few",))
    yield from cross(NAME, **more, tile=(32,), heads=(16, 128), width=(128,), groups=("few",))
    yield from cross(NAME, **more, tile=(8,), heads=(2,), width=(128,), groups=(2, 3, 4, 64, 65, 256, 257))
    if tier == "nightly":
        yield from cross(NAME, **more, tile=(256,), heads=(16, 128), width=(128,), groups=("few",))


def _counts(case: Case) -> tuple[int, ...]:
    word = case["groups"]
    return GROUPS[word] if isinstance(word, str) else (word, 2)


def inputs(case: Case, stream: Stream) -> Operands:
    """Groups of whole and short tiles on shuffled slots; parts that saw nothing, and slots of nobody, are NaN."""
    known_recipe(case)
    heads, tile, width = (case.integer(name) for name in ("heads", "tile", "width"))
    counts = _counts(case)
    parts = sum(counts)
    slots = stream.child("slots").permutation(parts + 2)[:parts] * tile
    rows = [tile if group % 2 == 0 else tile // 2 + 1 for group in range(len(counts))]
    ends = np.cumsum(rows).astype(np.int64)
    final = np.stack([ends - rows, ends], axis=1) if counts else np.zeros((0, 2), np.int64)
    lse = np.full(((parts + 2) * tile, heads), np.nan, np.float32)
    for group, count in enumerate(counts):
        begin = sum(counts[:group])
        drawn = _lses(stream.child(f"lse{group}"), count, rows[group], heads)
        if case.recipe == "far":  # each head meets other edges, so that none will do with another's largest
            drawn[:, :-1, 1:] = np.roll(drawn[:, :-1, 1:], 1, axis=1)
        for part in range(count):
            slot = slots[begin + part]
            lse[slot : slot + rows[group]] = drawn[part]
    data = torch.from_numpy(stream.child("data").gaussian((len(lse), heads, width)).astype(np.float32))
    unseen = torch.from_numpy(~np.isfinite(lse))
    data = torch.where(unseen[..., None], torch.nan, data)
    tokens = int(ends[-1]) + 3 if counts else 3
    outputs = {"final_output": torch.full((tokens, heads, width), SENTINEL, dtype=torch.bfloat16)}
    if case["lse"] == "yes":
        outputs["final_lse"] = torch.full((tokens, heads), SENTINEL)
    return Operands(
        inputs={
            "partial_output": data,
            "partial_lse": torch.from_numpy(lse),
            **_maps(counts, final, slots),
        },
        outputs=outputs,
        placements=_placements(case, tuple(data.shape), outputs),
        unread={"partial_output": unseen[..., None].expand_as(data), "partial_lse": torch.from_numpy(np.isnan(lse))},
    )


def _lses(stream: Stream, count: int, rows: int, heads: int) -> NDArray[np.float32]:
    """[parts, rows, heads]: the first rows run through the edges, one row is of nobody, the rest are ordinary."""
    drawn = (4 + 2 * stream.gaussian((count, rows, heads))).astype(np.float32)
    for row in range(min(rows, 4 * len(EDGES))):
        for part in range(min(count, 2)):
            drawn[part, row] = EDGES[(row if part == 0 else row // len(EDGES) + row) % len(EDGES)]
        drawn[2:, row] = -np.inf
    drawn[:, rows - 1] = -np.inf
    return drawn


def _maps(counts: tuple[int, ...], final: NDArray[np.int64], slots: NDArray[np.int64]) -> dict[str, torch.Tensor]:
    """The three maps with the tails of larger buffers: the last bound repeated, entries of nobody far away."""
    indptr = np.cumsum([0, *counts])
    indptr = np.append(indptr, [indptr[-1]] * 3)
    far = np.full((2, 2), 1 << 28)
    arrays = {
        "reduce_indptr": indptr,
        "reduce_final_map": np.concatenate([final, far]),
        "reduce_partial_map": np.append(slots, far[0]),
    }
    return {name: torch.from_numpy(array.astype(np.int32)) for name, array in arrays.items()}


def _placements(case: Case, data: tuple[int, ...], outputs: Mapping[str, torch.Tensor]) -> dict[str, Placement]:
    if case.recipe == "far":
        width = outputs["final_output"].shape[2]
        return {
            "partial_lse": Placement((FAR_ROW_PITCH, 1), lead=2**33),
            "final_output": Placement((width, FAR_HEAD_PITCH, 1), lead=2**32),
            "final_lse": Placement((FAR_TOKEN_PITCH, 1), lead=2**33),
        }
    if case.recipe != "padded":
        return {}
    places = {
        "partial_output": padded(data, 8, 40),
        "partial_lse": Placement((data[1] + 3, 1)),
        "final_output": padded(tuple(outputs["final_output"].shape), 64, 24),
    }
    if "final_lse" in outputs:
        places["final_lse"] = Placement((1, len(outputs["final_lse"]) + 5))
    return places


def golden(case: Case, operands: Operands) -> Mapping[str, Whitened]:
    """float64 merge of every group; rows of no group stay untouched."""
    canvas = Canvas(operands, "final_output", "final_lse", SENTINEL)
    tensors = operands.inputs
    for start, end, parts in _groups(tensors):
        place = parts[:, None] + torch.arange(end - start)
        merged = reference.merge(tensors["partial_output"][place], tensors["partial_lse"][place], torch.bfloat16)
        canvas.paint_merged(torch.arange(start, end), *merged)
    return canvas.expectations()


def _groups(tensors: Mapping[str, torch.Tensor]) -> Iterable[tuple[int, int, torch.Tensor]]:
    names = ("reduce_indptr", "reduce_final_map", "reduce_partial_map")
    return reference.groups(*(tensors[name] for name in names))


def peer(case: Case, arguments: dict[str, Any]) -> None:
    """Plain torch."""
    for start, end, parts in _groups(arguments):
        place = parts[:, None] + torch.arange(end - start)
        merged, lse = reference.peer_merge(arguments["partial_output"][place], arguments["partial_lse"][place])
        arguments["final_output"][start:end] = merged.to(arguments["final_output"].dtype)
        if "final_lse" in arguments:
            arguments["final_lse"][start:end] = lse


def variant(case: Case, target: Target, dispatch: MlaPrefillTable) -> ReduceVariant:
    """Tiles of the reduction; the table has no say in them."""
    found = reduce_variant(target, tile_q=case.integer("tile"))
    return replace(found, rows_per_program=32) if case.integer("tile") == SHORT_BLOCKS else found


def locate(case: Case, operands: Operands, output: str, index: tuple[int, ...]) -> Coordinate:
    """Element -> token, head and dim, and the group of its row."""
    where = dict(zip(("token", "head", "dim"), index, strict=False))
    bounds = operands.inputs["reduce_final_map"].tolist()
    group = next((g for g, (start, end) in enumerate(bounds) if start <= index[0] < end), None)
    return Coordinate(output=output, index=index, where=where | ({} if group is None else {"group": group}))


def _expected_kernels(case: Case) -> tuple[str, ...]:
    return ("_mla_prefill_reduce_kernel",)


def accepts(case: Case) -> bool:
    """All mixtures that fit into memory; what lies far apart must be as few as its strides are made for."""
    if case.recipe == "far":
        made_for = ("pair", SHORT_BLOCKS, 128, "yes")
        same = tuple(case[name] for name in ("groups", "tile", "width", "lse")) == made_for
        return same and case.integer("heads") <= FAR_HEADS
    sizes = [case.integer(name) for name in ("tile", "heads", "width")]
    return math.prod([sum(_counts(case)), *sizes]) <= MOST_ELEMENTS


OP = register(
    Op(
        name=NAME,
        contract="out = sum_p e^lse_p part_p / sum_p e^lse_p over the parts of a group of two or more, with its LSE",
        launcher="rocassay.kernels.fp8_prefill.mla_prefill_reduce:mla_prefill_reduce",
        inputs=inputs,
        golden=golden,
        peer=peer,
        variant=variant,
        dispatch=MLA_PREFILL,
        cases=cases,
        plan=RoundingPlan((("out", "bfloat16"),), "exponentials and sums are fp32, rounded once to the output's type"),
        locate=locate,
        free={"heads": (1, 8), "groups": (0, 70)},
        accepts=accepts,
        faults=("merge-both-neg-inf", "lse-base2-vs-natural", "empty-kv-split", "prefill-to-cpu-and-item"),
        probes=(Dispatch(_expected_kernels), Strides(), Poison()),
        probed=lambda case: case.recipe == "padded" and case.integer("heads") <= 16,
    )
)
