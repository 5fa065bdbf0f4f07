"""Op `top_k_per_row_decode`: places of the k largest scores that every decode row sees."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from rocassay.harness.arch import Target
from rocassay.harness.cases import Case, cross
from rocassay.harness.gates.selection import Selection
from rocassay.harness.inputs import Operands, Placement, Stream
from rocassay.harness.ops import Op, Tier, register
from rocassay.harness.plan import RoundingPlan
from rocassay.harness.probes import Dispatch, Invariance, Poison, Strides
from rocassay.harness.probes.metamorphic import Transformed
from rocassay.harness.results import Coordinate
from rocassay.kernels.topk.dispatch import DISPATCH, SelectVariant, TopKDispatch, select_variant
from rocassay.references.topk import top_k_per_row_decode as reference
from rocassay.suites.kernels.topk_axes import ARCHES, BLOCK_SIZES, FP8S
from rocassay.suites.kernels.topk_inputs import (
    DATA,
    MOST_TALL,
    SENTINEL,
    TILE_EDGE,
    TieRule,
    empty_slots,
    placements,
    poisoned,
    score_row,
    selection,
    whole_vectors,
    wide,
)

NAME = "top_k_per_row_decode"
SURPLUS_COLUMNS = 13
"""Columns beyond the longest row."""

SPLITS = 3
"""Parts of a row where the split path is asked for; no length of the cases is a multiple."""

MOST_SPLITS = 10
"""Parts of a row of 200 000 columns and more (vLLM csrc/sampler.cu)."""

LENGTHS = (4097, 12287, 12288, 65537, 199_999, 200_000)
"""Around the sizes at which implementations switch (vLLM csrc/sampler.cu); the columns are a few more."""


def cases(tier: Tier) -> Iterable[Case]:
    """Every kind of scores, lengths a request and a row, rows in tiles and in parts; full adds long rows."""
    axes: dict[str, Any] = {"arches": ARCHES, "fp8s": FP8S, "block_sizes": BLOCK_SIZES}
    edges: dict[str, Any] = {**axes, "lengths": ("edges",)}
    auto: dict[str, Any] = {**edges, "path": ("auto",)}
    yield from cross(NAME, **auto, data=("gaussian", "ties"), k=(512,), next_n=(1, 2, 4), lens=("request",))
    yield from cross(NAME, **auto, data=tuple(DATA), k=(1024,), next_n=(2,), lens=("row",))
    yield from cross(NAME, **auto, data=("gaussian",), k=(512, 2048), next_n=(2,), lens=("row",), recipes=("padded",))
    short: dict[str, Any] = {**axes, "lengths": ("short",), "path": ("auto",)}
    yield from cross(NAME, **short, data=("gaussian",), k=(512, 600), next_n=(1,), lens=("request",))
    tails: dict[str, Any] = {**axes, "lengths": ("tails",), "path": ("tiled",)}
    yield from cross(NAME, **tails, data=("gaussian",), k=(512,), next_n=(1,), lens=("request",))
    tall: dict[str, Any] = {**axes, "lengths": (540,), "path": ("auto",), "recipes": ("tall",)}
    yield from cross(NAME, **tall, data=("gaussian",), k=(512,), next_n=(1,), lens=("request",))
    apart: dict[str, Any] = {**auto, "recipes": ("strided", "wide")}
    yield from cross(NAME, **apart, data=("gaussian",), k=(512,), next_n=(1,), lens=("request",))
    parts: dict[str, Any] = {**edges, "path": ("tiled", "split"), "recipes": ("padded",)}
    yield from cross(NAME, **parts, data=("gaussian", "lowbits", "ties"), k=(512,), next_n=(2,), lens=("request",))
    split: dict[str, Any] = {**edges, "path": ("split",), "k": (512,)}
    yield from cross(NAME, **split, data=("ties",), next_n=(2,), lens=("row",), recipes=("strided",))
    yield from cross(NAME, **split, data=("gaussian",), next_n=(1,), lens=("request",), recipes=("wide",))
    if tier != "quick":
        long: dict[str, Any] = {**axes, "recipes": ("padded",), "next_n": (1,), "lens": ("request",)}
        data = ("gaussian", "lowbits", "ties")
        yield from cross(NAME, **long, lengths=LENGTHS, path=("auto",), data=data, k=(512, 2048))


def request_lengths(case: Case) -> tuple[int, ...]:
    """Lengths of the requests; the last two are equal, so that their rows are replicas.

    Of the `short` ones nothing is discarded: whatever the scores are, only order and unused slots can be wrong.
    """
    word, topk = case["lengths"], case.integer("k")
    if not isinstance(word, str):
        return (word, word)
    if word == "short":
        return (0, 1, topk - 1, topk, topk)
    if word == "tails":
        return (2 * TILE_EDGE + 1, 2 * TILE_EDGE + 1)
    # Parts must be longer than k themselves, or they have nothing to discard.
    longest = {"split": SPLITS * topk + 200, "tiled": 2 * TILE_EDGE + 555}.get(str(case["path"]), 2 * topk + 5)
    return (0, 1, topk, topk + 1, topk + topk // 2 + 37, longest, longest)


def inputs(case: Case, stream: Stream) -> Operands:
    """Scores of every row up to its length, the last two requests alike; lengths as `lens` wants them."""
    requests, next_n, topk = request_lengths(case), case.integer("next_n"), case.integer("k")
    seq_lens = _seq_lens(case, requests)
    lengths = reference.row_lengths(seq_lens, next_n).tolist()
    columns = whole_vectors(max(lengths) + (0 if case["lengths"] == "tails" else SURPLUS_COLUMNS))
    rows = len(lengths)
    logits, unread = poisoned(rows, columns), np.ones((rows, columns), dtype=np.bool_)
    for row, length in enumerate(lengths):
        original = row - next_n if row >= rows - next_n else row
        drawn = score_row(stream.child(f"row{original}"), str(case["data"]), length)
        logits[row, :length], unread[row, :length] = drawn, False
    parts = MOST_SPLITS * topk
    # Stale candidates are places that exist, or they would give themselves away.
    scratch = 0 if case.recipe == "strided" else SENTINEL
    return Operands(
        inputs={"logits": torch.from_numpy(logits), "seq_lens": seq_lens},
        outputs={"indices": empty_slots(rows, topk)},
        scalars={"next_n": next_n},
        workspaces={"candidates": torch.full((rows, parts), scratch, dtype=torch.int32)},
        placements={**placements(case, rows, columns, topk), **_scratch_placements(case, seq_lens, rows, parts)},
        unread={"logits": torch.from_numpy(unread)},
    )


def _scratch_placements(case: Case, seq_lens: torch.Tensor, rows: int, parts: int) -> dict[str, Placement]:
    """Where lengths and candidates lie, whose strides are as free as the scores'."""
    if case.recipe == "padded":
        lens = {"seq_lens": Placement((seq_lens.shape[1] + 3, 1))} if seq_lens.dim() == 2 else {}
        return {"candidates": Placement((parts + 8, 1)), **lens}
    if case.recipe == "strided":
        return {"seq_lens": Placement((3 * seq_lens.shape[1] + 2, 3) if seq_lens.dim() == 2 else (3,))}
    return {"candidates": wide(rows)} if case.recipe == "wide" and case["path"] == "split" else {}


def _seq_lens(case: Case, requests: tuple[int, ...]) -> torch.Tensor:
    """[B], or [B, next_n] whose rows are not consecutive, the earlier ones of an empty request below zero."""
    lengths = torch.tensor(requests, dtype=torch.int32)
    if case["lens"] == "request":
        return lengths
    steps = 2 * torch.arange(case.integer("next_n"), dtype=torch.int32).flip(0)
    return lengths[:, None] - steps


def golden(case: Case, operands: Operands) -> Mapping[str, Selection]:
    """What each row's slots must name."""
    return selection(reference.top_k_per_row_decode(**operands.inputs, next_n=case.integer("next_n")))


def peer(case: Case, arguments: dict[str, Any]) -> None:
    """Plain torch; it needs no candidates."""
    own = {name: value for name, value in arguments.items() if name != "candidates"}
    reference.peer_top_k_per_row_decode(**own)


def variant(case: Case, target: Target, dispatch: TopKDispatch) -> SelectVariant:
    """The dispatcher's decisions, or the tiles or parts that only longer rows would have."""
    columns = whole_vectors(max(request_lengths(case)) + SURPLUS_COLUMNS)
    tile = TILE_EDGE if case["path"] == "tiled" else None
    splits = SPLITS if case["path"] == "split" else None
    return select_variant(target, columns=columns, tile=tile, splits=splits, dispatch=dispatch)


def expected_kernels(case: Case) -> tuple[str, ...]:
    """One program a row, and from 200 000 columns on ten and a merge."""
    word = case["lengths"]
    long = not isinstance(word, str) and whole_vectors(word + SURPLUS_COLUMNS) >= 200_000
    if case["path"] == "split" or long:
        return ("_top_k_part_kernel", "_top_k_merge_kernel")
    return ("_top_k_decode_kernel",)


def locate(case: Case, operands: Operands, output: str, index: tuple[int, ...]) -> Coordinate:
    """Row and slot -> request and step."""
    row, slot = index
    request, step = divmod(row, case.integer("next_n"))
    where = {"row": row, "slot": slot, "request": request, "next": step}
    return Coordinate(output=output, index=index, token=row, where=where)


def reversed_requests(case: Case, operands: Operands) -> Transformed:
    """The same requests in the opposite order."""
    next_n = case.integer("next_n")

    def turned(tensor: torch.Tensor) -> torch.Tensor:
        return tensor.unflatten(0, (-1, next_n)).flip(0).flatten(0, 1)

    inputs = {"logits": turned(operands.inputs["logits"]), "seq_lens": operands.inputs["seq_lens"].flip(0)}
    changed = replace(operands, inputs=inputs, unread={"logits": turned(operands.unread["logits"])})
    return case, changed, lambda outputs: {"indices": turned(outputs["indices"])}


def shorter(case: Case, stream: Stream) -> Operands:
    """The same scores of which every row sees a fifth fewer."""
    first = inputs(case, Stream.of(case))
    lens = first.inputs["seq_lens"]
    return replace(first, inputs={**first.inputs, "seq_lens": torch.where(lens > 0, lens - lens // 5, lens)})


def accepts(case: Case) -> bool:
    """All mixtures; rows far apart must be few, or they need more addresses than there are."""
    if case.recipe == "tall":
        return not isinstance(case["lengths"], str) and case.integer("lengths") <= MOST_TALL
    return case.recipe != "wide" or case["next_n"] == 1


OP = register(
    Op(
        name=NAME,
        contract="places of the k largest of a row's first scores, all of them and then -1 where k do not exist",
        launcher=f"rocassay.kernels.topk.{NAME}:{NAME}",
        inputs=inputs,
        golden=golden,
        peer=peer,
        variant=variant,
        dispatch=DISPATCH,
        cases=cases,
        plan=RoundingPlan((), "scores are compared, never computed"),
        locate=locate,
        free={"lengths": (0, 5000), "next_n": (1, 4)},
        accepts=accepts,
        faults=(
            "topk-negative-length",
            "topk-next-n-by-modulo",
            "topk-part-local-indices",
            "topk-pitch-assumed-contiguous",
            "topk-slots-pitch-assumed-k",
            "topk-row-offset-32bit",
            "stage1-logits-wrong-past-k",
            "graph-row-stride-baked",
        ),
        probes=(
            Dispatch(expected_kernels),
            TieRule(),
            Strides(),
            Poison(),
            Invariance("request-order", reversed_requests, "a request is selected from alone"),
        ),
        probed=lambda case: case.recipe == "padded" and case["k"] == 512,
        replay=shorter,
    )
)
