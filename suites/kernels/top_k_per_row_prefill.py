"""Op `top_k_per_row_prefill`: local places of the k largest scores of every row's window."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from rocassay.harness.arch import Target
from rocassay.harness.cases import Case, cross
from rocassay.harness.gates.selection import Selection
from rocassay.harness.inputs import Operands, Stream
from rocassay.harness.ops import Op, Tier, register
from rocassay.harness.plan import RoundingPlan
from rocassay.harness.probes import Dispatch, Invariance, Poison, Strides
from rocassay.harness.probes.metamorphic import Transformed
from rocassay.harness.results import Coordinate
from rocassay.kernels.topk.dispatch import DISPATCH, SelectVariant, TopKDispatch, select_variant
from rocassay.references.topk import top_k_per_row_prefill as reference
from rocassay.suites.kernels.topk_axes import ARCHES, BLOCK_SIZES, FP8S, TOPKS
from rocassay.suites.kernels.topk_inputs import (
    DATA,
    MOST_TALL,
    TILE_EDGE,
    TieRule,
    empty_slots,
    placements,
    poisoned,
    score_row,
    selection,
    whole_vectors,
)

NAME = "top_k_per_row_prefill"
SURPLUS_COLUMNS = 29
"""Columns beyond the last window."""

TAIL_START = 3
"""Where a window starts that shares its first vector, and whose last score has a tile of its own."""

LENGTHS = (4097, 8192, 12287, 12288, 12289, 65537)
"""Around the sizes at which implementations switch (vLLM csrc/sampler.cu) or a row outgrows its tile."""


def cases(tier: Tier) -> Iterable[Case]:
    """Every kind of scores at every k, rows of several tiles, padded and far pitches; full adds long rows."""
    axes: dict[str, Any] = {"arches": ARCHES, "fp8s": FP8S, "block_sizes": BLOCK_SIZES}
    edges: dict[str, Any] = {**axes, "lengths": ("edges",)}
    yield from cross(NAME, **edges, data=tuple(DATA), k=TOPKS, path=("auto",))
    yield from cross(NAME, **edges, data=("gaussian", "lowbits", "ties"), k=(512,), path=("tiled",))
    padded = {**edges, "recipes": ("padded",)}
    yield from cross(NAME, **padded, data=("gaussian", "ties"), k=(512, 2048), path=("auto",))
    short: dict[str, Any] = {**axes, "lengths": ("short",), "path": ("auto",)}
    yield from cross(NAME, **short, data=("gaussian",), k=(512, 600))
    tails: dict[str, Any] = {**axes, "lengths": ("tails",), "path": ("tiled",)}
    yield from cross(NAME, **tails, data=("gaussian",), k=(512,))
    apart = {**edges, "recipes": ("strided", "wide")}
    yield from cross(NAME, **apart, data=("gaussian",), k=(512,), path=("auto",))
    tall: dict[str, Any] = {**axes, "recipes": ("tall",), "lengths": (540,), "path": ("auto",)}
    yield from cross(NAME, **tall, data=("gaussian",), k=(512,))
    if tier != "quick":
        long = {**axes, "recipes": ("padded",), "data": ("gaussian", "lowbits", "ties")}
        yield from cross(NAME, **long, lengths=LENGTHS, k=(512, 2048), path=("auto",))


def row_lengths(case: Case) -> tuple[int, ...]:
    """Lengths of the windows: negative, empty, one, around k, and longer ones that come last.

    Of the `short` ones nothing is discarded: whatever the scores are, only order and unused slots can be wrong.
    """
    word, topk = case["lengths"], case.integer("k")
    if not isinstance(word, str):
        return (word - 1, word)
    if word == "short":
        return (0, 1, topk // 2, topk - 1, topk)
    if word == "tails":
        return (2 * TILE_EDGE + 1 - TAIL_START, 2 * TILE_EDGE + 1)
    if case["path"] == "tiled":
        return (-3, 0, topk, topk + 1, 2 * TILE_EDGE, 2 * TILE_EDGE + 555)
    return (-3, 0, 1, topk - 1, topk, topk + 1, topk + topk // 2 + 37, 2 * topk - 3)


def inputs(case: Case, stream: Stream) -> Operands:
    """Windows at distinct starts; with ties, the two longest rows come again at the other parity."""
    lengths = row_lengths(case)
    last = len(lengths) - 1
    order = (*range(len(lengths)), *((last, last - 1) if case["data"] == "ties" else ()))
    drawn = [score_row(stream.child(f"row{row}"), str(case["data"]), max(0, n)) for row, n in enumerate(lengths)]
    # One window starts at column 0; elsewhere a local place is no column.
    starts = [0 if place == last or case["lengths"] == "short" else 100 + 13 * place for place in range(len(order))]
    if case["lengths"] == "tails":
        starts[0] = TAIL_START
    longest = max(start + lengths[row] for start, row in zip(starts, order, strict=True))
    columns = whole_vectors(longest + (0 if case["lengths"] == "tails" else SURPLUS_COLUMNS))
    logits, unread = poisoned(len(order), columns), np.ones((len(order), columns), dtype=np.bool_)
    for place, (start, row) in enumerate(zip(starts, order, strict=True)):
        window = slice(start, start + max(0, lengths[row]))
        logits[place, window], unread[place, window] = drawn[row], False
    ends = [start + lengths[row] for start, row in zip(starts, order, strict=True)]
    topk = case.integer("k")
    return Operands(
        inputs={
            "logits": torch.from_numpy(logits),
            "row_starts": torch.tensor(starts, dtype=torch.int32),
            "row_ends": torch.tensor(ends, dtype=torch.int32),
        },
        outputs={"indices": empty_slots(len(order), topk)},
        placements=placements(case, len(order), columns, topk),
        unread={"logits": torch.from_numpy(unread)},
    )


def golden(case: Case, operands: Operands) -> Mapping[str, Selection]:
    """What each row's slots must name."""
    return selection(reference.top_k_per_row_prefill(**operands.inputs))


def peer(case: Case, arguments: dict[str, Any]) -> None:
    """Plain torch."""
    reference.peer_top_k_per_row_prefill(**arguments)


def variant(case: Case, target: Target, dispatch: TopKDispatch) -> SelectVariant:
    """One program a row; `tiled` cuts rows into tiles that only long rows would have."""
    longest = max(row_lengths(case))
    tile = TILE_EDGE if case["path"] == "tiled" else None
    return select_variant(target, columns=longest, tile=tile, splits=1, dispatch=dispatch)


def locate(case: Case, operands: Operands, output: str, index: tuple[int, ...]) -> Coordinate:
    """Row and slot -> the row's window."""
    row, slot = index
    start, end = (int(operands.inputs[name][row]) for name in ("row_starts", "row_ends"))
    return Coordinate(
        output=output, index=index, token=row, where={"row": row, "slot": slot, "start": start, "end": end}
    )


def reversed_rows(case: Case, operands: Operands) -> Transformed:
    """The same windows in rows of the opposite order."""
    inputs = {name: tensor.flip(0) for name, tensor in operands.inputs.items()}
    unread = {name: mask.flip(0) for name, mask in operands.unread.items()}
    changed = replace(operands, inputs=inputs, unread=unread)
    return case, changed, lambda outputs: {"indices": outputs["indices"].flip(0)}


def accepts(case: Case) -> bool:
    """All mixtures; rows far apart must be few, or they need more addresses than there are."""
    if case.recipe == "tall":
        return not isinstance(case["lengths"], str) and case.integer("lengths") <= MOST_TALL
    return case.recipe != "wide" or case["data"] != "ties"


OP = register(
    Op(
        name=NAME,
        contract="local places of the k largest of logits[r, start:end), all of them and then -1 where k do not exist",
        launcher=f"rocassay.kernels.topk.{NAME}:{NAME}",
        inputs=inputs,
        golden=golden,
        peer=peer,
        variant=variant,
        dispatch=DISPATCH,
        cases=cases,
        plan=RoundingPlan((), "scores are compared, never computed"),
        locate=locate,
        free={"lengths": (0, 5000)},
        accepts=accepts,
        faults=(
            "topk-ties-cross-rank",
            "topk-absolute-indices",
            "topk-localised-padding",
            "topk-duplicate-emission",
            "topk-window-end-ignored",
            "topk-low-bits-ignored",
            "topk-fp16-histogram",
            "topk-negative-order",
            "topk-pitch-assumed-contiguous",
            "topk-slots-pitch-assumed-k",
            "topk-row-offset-32bit",
            "stage1-logits-wrong-past-k",
        ),
        probes=(
            Dispatch(lambda _: ("_top_k_prefill_kernel",)),
            TieRule(),
            Strides(),
            Poison(),
            Invariance("row-order", reversed_rows, "a row is selected from alone"),
        ),
        probed=lambda case: case.recipe == "padded" and case["k"] == 512,
    )
)
