"""Op `fp8_mqa_logits`: prefill indexer scores, every row against its own window of gathered FP8 keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rocassay.harness.arch import Target
from rocassay.harness.cases import Case, MalformedCase, cross
from rocassay.harness.fp8 import format_of
from rocassay.harness.gates import Whitened
from rocassay.harness.inputs import Operands, Placement, Stream
from rocassay.harness.ops import Op, Tier, register
from rocassay.harness.plan import RoundingPlan
from rocassay.harness.probes import BatchInvariance, Dispatch, Invariance, Observation, Poison, Strides
from rocassay.harness.probes.metamorphic import Transformed
from rocassay.harness.results import Coordinate
from rocassay.kernels.prefill.dispatch import DISPATCH, LogitsVariant, PrefillDispatch, logits_variant
from rocassay.kernels.prefill.fp8_mqa_logits import logits_pitch
from rocassay.references.prefill import fp8_mqa_logits as reference
from rocassay.suites.kernels.batches import one_more
from rocassay.suites.kernels.caches_inputs import finite_codes
from rocassay.suites.kernels.indexer_inputs import POISON, WRAP, codes, token_scales
from rocassay.suites.kernels.prefill_axes import ARCHES, FP8S, NO_PAGES

NAME = "fp8_mqa_logits"
RECIPES = ("tagged", "padded", "wide", "tall", "far", "codes")
UNALIGNED = 37
"""Start of a window that no key tile divides."""

LEAST_CAUSAL = 24
"""Keys that three requests and three keys of nobody need."""

WIDE_KEY_PITCH = WRAP // 64
WIDE_ROW_PITCH = WRAP // 4
"""Bytes from key to key and from query row to query row in the recipe `wide`: key 64 and row 4 start at 2^31."""

TALL_PITCH = WRAP // 16
"""Floats from row to row of the logits in the recipe `tall`: row 4 starts 2^31 bytes into the output."""

FAR_KEY_PITCH = WRAP // 64
FAR_HEAD_PITCH = WRAP // 32
FAR_ROW_PITCH = WRAP // 4
"""Elements from a column's scale to scale, from query head to head, and from row to row of weights and logits, in the
recipe `far`: key 64, head 32 and row 4 start at element 2^31, which no int32 counts. What a wrapped offset reaches lies
in the lead."""

HEADS = (8, 12, 16, 24, 32, 40, 64, 96, 128)
KEYS = (1, 15, 16, 17, 63, 64, 65, 100, 127, 128, 129, 255, 256, 257, 513)


def cases(tier: Tier) -> Iterable[Case]:
    """Windows at tile edges and of causal chunks, cleaned and not, every kind of head count and pitch."""
    axes: dict[str, Any] = {"arches": ARCHES, "fp8s": FP8S, "block_sizes": NO_PAGES}

    def shape(
        heads: int, rows: int, keys: int, windows: str, clean: int, scales: str, recipe: str, **more: Any
    ) -> list[Case]:
        numbers: dict[str, Any] = {"heads": (heads,), "dims": (128,), "rows": (rows,), "keys": (keys,)}
        words: dict[str, Any] = {"windows": (windows,), "clean": (clean,), "scales": (scales,)}
        return cross(NAME, **{**axes, "recipes": (recipe,), **numbers, **words, **more})

    yield from shape(64, 7, 200, "edges", 0, "general", "tagged")
    yield from shape(64, 7, 200, "edges", 1, "pow2", "padded")
    yield from shape(64, 5, 167, "causal", 0, "pow2", "padded")
    yield from shape(64, 5, 167, "causal", 1, "general", "tagged")
    yield from shape(8, 64, 64, "causal", 0, "column", "padded")
    yield from shape(12, 9, 300, "edges", 1, "general", "padded")
    yield from shape(128, 3, 100, "edges", 0, "column", "padded")
    yield from shape(8, 4, 1100, "causal", 1, "general", "tagged")
    yield from shape(64, 6, 140, "edges", 0, "pow2", "wide")
    yield from shape(64, 6, 140, "edges", 0, "general", "tall")
    yield from shape(64, 9, 1, "edges", 1, "general", "padded")
    yield from shape(12, 5, 70, "edges", 1, "pow2", "codes")
    # Offsets and the splits of long rows are no business of the flavour.
    yield from shape(64, 5, 70, "edges", 0, "pow2", "far", fp8s=("e4m3fn",))
    yield from shape(128, 4, 1100, "edges", 1, "general", "padded", fp8s=("e4m3fn",))
    yield from shape(64, 5, 70, "edges", 0, "column", "far", fp8s=("e4m3fn",), decided=("cuda",))
    if tier != "quick":
        for heads in HEADS:
            yield from shape(heads, 11, 300, "edges", 0, "general", "padded")
            yield from shape(heads, 11, 300, "causal", 1, "column", "padded")
        for keys in KEYS:
            yield from shape(64, 9, keys, "edges", 0, "pow2", "padded")
            if keys != 1:
                yield from shape(64, 9, keys, "edges", 1, "general", "padded")
        for dims in (32, 64):
            yield from shape(16, 9, 200, "edges", 1, "general", "padded", dims=(dims,))


def inputs(case: Case, stream: Stream) -> Operands:
    """Random queries and keys, needles at both ends of every window, poison in whatever no window needs."""
    heads, rows, count = case.integer("heads"), case.integer("rows"), case.integer("keys")
    ks, ke = windows(str(case["windows"]), rows, count)
    seen = (np.arange(count) >= ks[:, None]) & (np.arange(count) < ke[:, None])
    q = codes(stream.child("q"), (rows, heads, case.integer("dims")), case.fp8)
    weights = stream.child("weights").gaussian((rows, heads)).astype(np.float32)
    k = _keys(case, stream, q, weights, seen)
    scales = token_scales(stream.child("scales"), count, "pow2" if case["scales"] == "pow2" else "general")
    empty, nobody = ~seen.any(axis=1), ~seen.any(axis=0)
    nan = format_of(case.fp8).nan_code
    q[empty], weights[empty], k[nobody], scales[nobody] = nan, np.nan, nan, np.nan
    column = case["scales"] == "column"
    unread = {"q_fp8": (q, empty), "weights": (weights, empty), "k_fp8": (k, nobody), "k_scale": (scales, nobody)}
    masks = {name: _mask(array, rows) for name, (array, rows) in unread.items()}
    return Operands(
        inputs={
            "q_fp8": torch.from_numpy(q),
            "k_fp8": torch.from_numpy(k),
            "k_scale": torch.from_numpy(scales.reshape(-1, 1) if column else scales),
            "weights": torch.from_numpy(weights),
            "ks": torch.from_numpy(ks),
            "ke": torch.from_numpy(ke),
        },
        outputs={"logits": torch.full((rows, count), POISON)},
        scalars={"clean_logits": case["clean"]},
        placements=_placements(case),
        unread={**masks, "k_scale": masks["k_scale"].reshape(-1, 1) if column else masks["k_scale"]},
    )


def _mask(array: NDArray[Any], rows: NDArray[np.bool_]) -> torch.Tensor:
    """bool like `array`, True in the given rows."""
    return torch.from_numpy(np.broadcast_to(rows.reshape(-1, *(1,) * (array.ndim - 1)), array.shape).copy())


def windows(kind: str, rows: int, count: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """(ks, ke) of every row, int32, not clamped: `edges` around tile edges and both ends, `causal` of three requests.

    No window of `edges` but the first covers key 20 to 36, and none the last but one: some keys belong to nobody.
    """
    if kind == "causal":
        return _causal(rows, count)
    if kind != "edges":
        raise MalformedCase(f"windows={kind} is unknown; use edges or causal")
    edges = [
        (UNALIGNED, UNALIGNED + 129),
        (5, 3),
        (-200, 20),
        (count - 1, count + 50),
        (63, 64),
        (count // 2, count // 2),
        (40, 104),
        (64, 65),
        (0, 1),
        (count, count + 9),
        (-9, 0),
    ]
    start, end = np.array([edges[row % len(edges)] for row in range(rows)], dtype=np.int32).T
    return start.copy(), end.copy()


def _causal(rows: int, count: int) -> tuple[NDArray[np.int32], NDArray[np.int32]]:
    """Three requests one after the other: a row sees its request's keys up to itself; 3 keys at the end are nobody's.

    The last request has fewer keys than rows where rows are many, so that some of its rows are empty.
    """
    lengths = (count // 3, count // 3 + 5, count - 2 * (count // 3) - 8)
    steps = (rows // 3, rows // 3, rows - 2 * (rows // 3))
    ks: list[int] = []
    ke: list[int] = []
    base = 0
    for length, queries in zip(lengths, steps, strict=True):
        ks += [base] * queries
        ke += [base + max(0, length - queries + 1 + step) for step in range(queries)]
        base += length
    return np.array(ks, dtype=np.int32), np.array(ke, dtype=np.int32)


def _keys(
    case: Case, stream: Stream, q: NDArray[np.uint8], weights: NDArray[np.float32], seen: NDArray[np.bool_]
) -> NDArray[np.uint8]:
    """Keys; at both ends of a window, and just outside it, lies the row's heaviest query: its score stands out."""
    k = codes(stream.child("keys"), (seen.shape[1], q.shape[2]), case.fp8)
    if case.recipe == "codes":
        k = finite_codes(stream.child("codes"), k.shape, case.fp8)
    for row, visible in enumerate(seen):
        inside = np.flatnonzero(visible)
        if inside.size:
            ends = np.array([inside[0] - 1, inside[0], inside[-1], inside[-1] + 1])
            k[ends[(ends >= 0) & (ends < len(k))]] = q[row, weights[row].argmax()]
    return k


def _placements(case: Case) -> dict[str, Placement]:
    heads, dims, count = case.integer("heads"), case.integer("dims"), case.integer("keys")
    pitch = logits_pitch(count)
    if case.recipe in ("tagged", "codes"):
        return {"logits": Placement((pitch, 1))}
    if case.recipe == "tall":
        return {"logits": Placement((TALL_PITCH, 1))}
    if case.recipe == "wide":
        return {
            "logits": Placement((pitch, 1)),
            "k_fp8": Placement((WIDE_KEY_PITCH, 1), lead=WRAP),
            "q_fp8": Placement((WIDE_ROW_PITCH, dims, 1), lead=WRAP),
        }
    if case.recipe == "far":
        column = {"k_scale": Placement((FAR_KEY_PITCH, 1))} if case["scales"] == "column" else {}
        return column | {
            "logits": Placement((FAR_ROW_PITCH, 1), lead=4 * WRAP),
            "weights": Placement((FAR_ROW_PITCH, 1), lead=4 * WRAP),
            "q_fp8": Placement((dims, FAR_HEAD_PITCH, 1), lead=WRAP),
        }
    if case.recipe != "padded":
        raise MalformedCase(f"recipe {case.recipe!r} of case {case} is unknown; use one of {', '.join(RECIPES)}")
    head_pitch = dims + 64
    scale = {"k_scale": Placement((3, 1))} if case["scales"] == "column" else {}
    return scale | {
        "logits": Placement((pitch + 256, 1)),
        "k_fp8": Placement((dims + 32, 1)),
        "q_fp8": Placement((head_pitch * heads + 256, head_pitch, 1)),
        "weights": Placement((heads + 5, 1)),
    }


def golden(case: Case, operands: Operands) -> Mapping[str, Whitened]:
    """float64 scores from the stored bytes; outside the windows -inf if cleaned, else untouched or -inf."""
    scores = reference.fp8_mqa_logits(**operands.inputs, fp8=case.fp8)
    value, visible = scores.value, scores.visible
    if case["clean"]:
        value, visible = torch.where(visible, value, -torch.inf), torch.ones_like(visible)
    return {
        "logits": Whitened(
            value,
            scores.sigma,
            scores.bound,
            visible,
            outside=(-torch.inf,),
            initial=operands.outputs["logits"],
            peer_sigma=scores.peer_sigma,
        )
    }


def peer(case: Case, arguments: dict[str, Any]) -> None:
    """Plain torch."""
    reference.peer_fp8_mqa_logits(**arguments, fp8=case.fp8)


def variant(case: Case, target: Target, dispatch: PrefillDispatch) -> LogitsVariant:
    """The dispatcher's decisions, or those for CUDA whatever executes them."""
    cuda = dict(case.params).get("decided") == "cuda"
    return logits_variant(replace(target, backend="cuda") if cuda else target, fp8=case.fp8, dispatch=dispatch)


def locate(case: Case, operands: Operands, output: str, index: tuple[int, ...]) -> Coordinate:
    """Row and column of the logits -> the key that was scored, and the row's window."""
    row, column = index
    ks, ke = (int(operands.inputs[name][row]) for name in ("ks", "ke"))
    return Coordinate(output=output, index=index, where={"row": row, "key": column, "ks": ks, "ke": ke})


def shift(case: Case, operands: Operands) -> Transformed:
    """The same keys and windows 13 keys further on, behind 13 keys of nobody."""
    gap = 13
    inputs, unread = dict(operands.inputs), dict(operands.unread)
    for name in ("k_fp8", "k_scale"):
        inputs[name] = torch.cat([torch.zeros_like(inputs[name][:1]).repeat_interleave(gap, 0), inputs[name]])
        unread[name] = torch.cat([torch.ones_like(unread[name][:1]).repeat_interleave(gap, 0), unread[name]])
    count = len(operands.inputs["k_fp8"])
    # Clamping happens at the old ends: the keys in front are no part of a window that began below zero.
    inputs["ks"] = operands.inputs["ks"].clamp(min=0) + gap
    inputs["ke"] = operands.inputs["ke"].clamp(max=count) + gap
    logits = operands.outputs["logits"]
    outputs = {"logits": torch.cat([logits.new_full((len(logits), gap), POISON), logits], dim=1)}
    changed = replace(operands, inputs=inputs, outputs=outputs, placements={}, unread=unread)
    return case, changed, lambda results: {"logits": results["logits"][:, gap:].contiguous()}


def accepts(case: Case) -> bool:
    """Three requests need keys; rows and keys far apart must be few, or they need more addresses than there are."""
    enough = case["windows"] != "causal" or case.integer("keys") >= LEAST_CAUSAL
    near = case.recipe not in ("wide", "tall", "far") or (case.integer("rows") <= 6 and case.integer("keys") <= 140)
    return enough and near


def summed_by_place(seen: Observation) -> str:
    """Rows share a tile of keys, in which a row more moves a key to another column."""
    emulated = seen.target.backend == "interpreter"
    return "the CPU's matrix product sums a column by its place, matrix instructions do not" if emulated else ""


OP = register(
    Op(
        name=NAME,
        contract="logits[m,n] = scale[n] * sum_h w[m,h] * relu(q[m,h] . k[n]) for the keys ks[m] <= n < ke[m]",
        launcher="rocassay.kernels.prefill.fp8_mqa_logits:fp8_mqa_logits",
        inputs=inputs,
        golden=golden,
        peer=peer,
        variant=variant,
        dispatch=DISPATCH,
        cases=cases,
        plan=RoundingPlan(
            (
                ("dot", "float32"),
                ("weight product", "float32"),
                ("head sum", "float32"),
                ("scale product", "float32"),
            ),
            "products of two e4m3 numbers are exact in fp32; everything after them accumulates in fp32",
        ),
        locate=locate,
        # Fewer heads have too few weights for a rounding model of random mantissas.
        free={"heads": (8, 72), "rows": (1, 20), "keys": (1, 300)},
        accepts=accepts,
        faults=(
            "prefill-window-leaks-to-tile",
            "prefill-ke-inclusive",
            "prefill-scale-broadcast-along-rows",
            "prefill-weights-of-first-row",
            "prefill-weights-pitch-assumed",
            "prefill-output-pitch-assumed",
            "prefill-ks-not-clamped",
            "prefill-ke-not-clamped",
            "prefill-relu-after-head-sum",
            "prefill-fnuz-read-as-ocp",
            "prefill-key-offset-int32",
            "prefill-logits-row-drop",
        ),
        probes=(
            Dispatch(lambda _: ("_score_windows_kernel",)),
            Strides(),
            Poison(),
            Invariance("key-shift", shift, "where a request's keys begin in the chunk is no part of a score"),
            BatchInvariance(one_more(("q_fp8", "weights", "ks", "ke", "logits")), excused=summed_by_place),
        ),
        probed=lambda case: case.recipe == "padded",
    )
)
