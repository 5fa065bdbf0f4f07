"""Op `mla_prefill_ps`: causal FP8 prefill attention, planned and persistent or plain, on the same inputs.

Pages of one token. The axis `path` forces the branch; `auto` leaves it to the dispatcher.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, cast

import numpy as np
import torch

from rocassay.harness.arch import Target
from rocassay.harness.cases import Case, Value, cross
from rocassay.harness.gates import Whitened
from rocassay.harness.inputs import Operands, Placement, Stream
from rocassay.harness.ops import Op, Tier, register
from rocassay.harness.plan import RoundingPlan
from rocassay.harness.probes import Dispatch, Poison, Strides
from rocassay.harness.results import Coordinate
from rocassay.kernels.dispatch.mla_prefill import MLA_PREFILL, MlaPrefillTable
from rocassay.kernels.fp8_prefill.dispatch import PrefillPath, PrefillVariant, prefill_variant
from rocassay.references.fp8_prefill import mla_prefill_ps as reference
from rocassay.references.fp8_prefill import mla_prefill_reduce as reduction
from rocassay.suites.kernels.attention_inputs import beyond
from rocassay.suites.kernels.caches_inputs import finite_codes
from rocassay.suites.kernels.fp8_prefill_axes import ARCHES, FP8S, NO_PAGES
from rocassay.suites.kernels.fp8_prefill_canvas import Canvas
from rocassay.suites.kernels.fp8_prefill_inputs import (
    IDLE_ROWS,
    QK_DIM,
    SCALES,
    SENTINEL,
    SPARE_KEYS,
    SPREAD,
    STEEP_SCALES,
    TIGHT,
    V_DIM,
    WIDE_KEY_STRIDE,
    Batch,
    draw_pages,
    draw_states,
    known_recipe,
    padded,
    plan_tails,
    plan_tensors,
    poison,
    quantised,
    segments,
    steepen,
)

NAME = "mla_prefill_ps"
PLANNED = ("_mla_prefill_ps_kernel", "_mla_prefill_reduce_kernel")
PLAIN = ("_mla_prefill_fallback_kernel",)
PERSISTENT_ARCHES = ("gfx950",)
"""Where AITER's kernel exists (vllm-project/vllm#42509)."""


def cases(tier: Tier) -> Iterable[Case]:
    """Both paths on segments around every edge; full adds heads, workers, real tiles; nightly many heads in those."""
    axes: dict[str, Any] = {"arches": ARCHES, "fp8s": FP8S, "block_sizes": NO_PAGES}
    small: dict[str, Any] = {"tile": (32,), "heads": (2,), "workers": (4,), "kind": ("fp8",)}
    both: dict[str, Any] = {"path": ("persistent", "fallback"), "lse": ("yes",)}
    yield from cross(NAME, **axes, **small, segments=("edges", "chunked", "empty"), **both)
    odd: dict[str, Any] = {**small, "heads": (3,), "workers": (8,)}
    yield from cross(NAME, **axes, recipes=("padded",), **odd, segments=("chunked",), **both)
    one: dict[str, Any] = {"arches": ARCHES, "fp8s": ("e4m3fn",), "block_sizes": NO_PAGES}
    yield from cross(NAME, **one, **small, segments=("short",), path=("auto",), lse=("no",))
    plain: dict[str, Any] = {**small, "kind": ("bf16",)}
    yield from cross(NAME, **one, **plain, segments=("chunked",), path=("fallback",), lse=("yes",))
    real: dict[str, Any] = {**small, "tile": (256,), "heads": (2,)}
    yield from cross(NAME, **one, **real, segments=("short",), **both)
    yield from cross(NAME, **one, recipes=("wide",), **small, segments=("short",), **both)
    yield from cross(NAME, **one, recipes=("whole",), **small, segments=("chunked",), **both)
    yield from cross(NAME, **axes, recipes=("codes",), **small, segments=("short",), path=("fallback",), lse=("yes",))
    # A part that begins a whole product's rows behind the first ones, which see none of it.
    split: dict[str, Any] = {**real, "workers": (8,)}
    yield from cross(NAME, **one, **split, segments=("short",), path=("persistent",), lse=("yes",))
    yield from _hard(axes, one, small)
    if tier != "quick":
        yield from _long(axes, both)
    if tier == "nightly":
        yield from _nightly(axes, both)


def _hard(axes: dict[str, Any], one: dict[str, Any], small: dict[str, Any]) -> Iterable[Case]:
    """Offsets past 2^31, and parts whose LSEs are beyond each other's exponentials, merged by several programs."""
    far: dict[str, Any] = {**small, "heads": (3,), "workers": (16,), "lse": ("yes",), "recipes": ("far",)}
    yield from cross(NAME, **one, **far, segments=("deep",), path=("persistent", "fallback"))
    steep: dict[str, Any] = {**small, "workers": (16,), "lse": ("no",), "recipes": ("steep",)}
    yield from cross(NAME, **axes, **steep, segments=("chunked",), path=("persistent",))


def _nightly(axes: dict[str, Any], both: dict[str, Any]) -> Iterable[Case]:
    real: dict[str, Any] = {"tile": (256,), "kind": ("fp8",)}
    yield from cross(NAME, **axes, **real, heads=(32, 64, 128), workers=(256,), segments=(129,), **both)
    yield from cross(NAME, **axes, **real, heads=(2,), workers=(304,), segments=(4096,), **both)


def _long(axes: dict[str, Any], both: dict[str, Any]) -> Iterable[Case]:
    real: dict[str, Any] = {"tile": (256,), "kind": ("fp8",)}
    words = ("edges", "tiles", "chunked", "empty", "one")
    yield from cross(NAME, **axes, recipes=("padded",), **real, heads=(4,), workers=(16,), segments=words, **both)
    lengths = (1, 127, 128, 129, 255, 256, 257)
    yield from cross(NAME, **axes, **real, heads=(2,), workers=(304,), segments=lengths, **both)
    heads: dict[str, Any] = {"workers": (256,), "kind": ("fp8",)}
    # The number of heads is the plan's business: one flavour will do.
    alone = {**axes, "fp8s": ("e4m3fn",)}
    yield from cross(NAME, **alone, **heads, tile=(256,), heads=(8, 12), segments=(129,), **both)
    yield from cross(NAME, **alone, **heads, tile=(32,), heads=(16, 24, 32, 64, 128), segments=(63,), **both)
    yield from cross(
        NAME, **alone, **real, heads=(2,), workers=(304,), segments=(2049,), path=("persistent",), lse=("yes",)
    )
    # As AITER's kernel has it: real tiles, and no LSE.
    bare: dict[str, Any] = {**real, "heads": (4,), "workers": (16,), "lse": ("no",)}
    yield from cross(NAME, **alone, **bare, segments=("chunked",), path=("persistent",))
    bf16: dict[str, Any] = {**real, "kind": ("bf16",), "heads": (4,), "workers": (16,)}
    yield from cross(NAME, **alone, **bf16, segments=words, path=("fallback",), lse=("yes", "no"))


def _plan_of(case: Case) -> str:
    """Type that the softmax weights are rounded to: the path's promise, whatever an engine multiplies in."""
    if case["kind"] == "bf16":
        return "bf16"
    return "fp16" if case["path"] == "fallback" else "fp8"


def _format(case: Case) -> str:
    return "bf16" if case["kind"] == "bf16" else case.fp8


def _batch(case: Case) -> Batch:
    return Batch(segments(case))


def inputs(case: Case, stream: Stream) -> Operands:
    """States of every request on permuted keys, and the plan; both paths draw the same."""
    known_recipe(case)
    # The path is no part of the draw: both are judged on the same bytes.
    drawn = Stream(case.op, case.fp8, repr([p for p in case.params if p[0] != "path"]), case.recipe, case.seed)
    heads, batch, fp8 = case.integer("heads"), _batch(case), _format(case)
    q, k, v = draw_states(drawn, batch, heads)
    if case.recipe == "steep":
        steepen(drawn, batch, case.integer("tile") // 2, q, k, v)
    whole, spare = case.recipe == "whole", 0 if case.recipe in TIGHT else IDLE_ROWS
    pages = np.arange(batch.keys) if whole else draw_pages(drawn, batch)
    scales = _scales(case)
    tensors = {"q": torch.cat([quantised(q, scales["q_scale"], fp8), poison((spare, heads, QK_DIM), fp8)])}
    for name, state, width in (("k", k, QK_DIM), ("v", v, V_DIM)):
        pool = poison((batch.keys + SPARE_KEYS, heads, width), fp8)
        pool[torch.from_numpy(pages)] = quantised(state, scales[f"{name}_scale"], fp8)
        tensors[name] = pool
    if case.recipe == "codes" and fp8 != "bf16":
        tensors["v"][torch.from_numpy(pages)] = torch.from_numpy(finite_codes(drawn.child("codes"), v.shape, fp8))
    unlisted = torch.ones(batch.keys + SPARE_KEYS, dtype=torch.bool)
    unlisted[torch.from_numpy(pages)] = False
    idle = torch.arange(batch.rows + spare) >= batch.rows
    unread = {"q": idle[:, None, None].expand_as(tensors["q"])}
    unread |= {name: unlisted[:, None, None].expand_as(tensors[name]) for name in ("k", "v")}
    tensors |= {"qo_indptr": torch.from_numpy(batch.qo_indptr), "kv_indptr": torch.from_numpy(batch.kv_indptr)}
    if not whole:
        tensors["kv_page_indices"] = torch.from_numpy(pages.astype(np.int32))
    if fp8 != "bf16":
        tensors |= {name: torch.tensor([scale], dtype=torch.float32) for name, scale in scales.items()}
    outputs = {"output": torch.full((batch.rows + spare, heads, V_DIM), SENTINEL, dtype=torch.bfloat16)}
    if case["lse"] == "yes":
        outputs["final_lse"] = torch.full((batch.rows + spare, heads), SENTINEL)
    if case["path"] != "fallback":
        workers, tile = case.integer("workers"), case.integer("tile")
        plan = batch.plan(heads, workers, tile, causal=not whole)
        planned = plan_tensors(plan, batch, heads, workers, tile)
        tensors |= planned
        unread |= plan_tails(planned, plan)
        rows = max(1, plan.num_partial_tiles) * tile
        outputs["split_data"] = torch.full((rows, heads, V_DIM), SENTINEL)
        outputs["split_lse"] = torch.full((rows, heads), SENTINEL)
    scalars = {"softmax_scale": float(np.float32(SPREAD / np.sqrt(QK_DIM))), "max_seqlen_q": batch.longest}
    if whole:
        scalars["is_causal"] = False
    return Operands(
        inputs=tensors,
        outputs=outputs,
        # The records hold no scalar, so a floating-point one is as good as any.
        scalars=cast("Mapping[str, Value]", scalars),
        placements=_placements(case, {**tensors, **outputs}),
        unread=unread,
    )


def _scales(case: Case) -> Mapping[str, float]:
    if case["kind"] == "bf16":
        return dict.fromkeys(SCALES, 1.0)
    return STEEP_SCALES if case.recipe == "steep" else SCALES


def _far(case: Case, tensors: Mapping[str, torch.Tensor]) -> dict[str, Placement]:
    """Tokens, heads and partial rows whose last ones lie past 2^31, the last token of the first request among them."""
    heads, split = case.integer("heads"), segments(case)[0][0]
    token, head = beyond(split, 2**20), beyond(heads, 2**12)
    places = {"q": Placement((token, head, 1)), "output": Placement((token, head, 1))}
    if "final_lse" in tensors:
        places["final_lse"] = Placement((token, 1))
    if "split_lse" in tensors:
        # The last slot's first row is past it already: rows behind may be nobody's.
        row = beyond(len(tensors["split_lse"]) - case.integer("tile") + 1, 2**20)
        places["split_lse"] = Placement((row, 1))
    return places


def _placements(case: Case, tensors: Mapping[str, torch.Tensor]) -> dict[str, Placement]:
    heads = case.integer("heads")
    if case.recipe == "far":
        return _far(case, tensors)
    if case.recipe == "wide":
        wide = (WIDE_KEY_STRIDE, V_DIM, 1)
        return {"k": Placement((WIDE_KEY_STRIDE, QK_DIM, 1)), "v": Placement(wide)}
    if case.recipe != "padded":
        return {}
    gaps = {"q": (16, 48), "k": (128, 32), "v": (192, 64), "output": (64, 24), "split_data": (8, 40)}
    places = {name: padded(tuple(tensors[name].shape), *gap) for name, gap in gaps.items() if name in tensors}
    if "final_lse" in tensors:
        # The merge behind it takes [H, T]: a transposed view.
        places["final_lse"] = Placement((1, len(tensors["final_lse"]) + 5))
    if "split_lse" in tensors:
        places["split_lse"] = Placement((heads + 3, 1))
    return places


def _states(case: Case, arguments: Mapping[str, Any]) -> reference.States:
    names = ("q", "k", "v", "qo_indptr", "kv_indptr", "kv_page_indices", "is_causal", *SCALES)
    return reference.states(
        **{name: arguments[name] for name in names if name in arguments},
        softmax_scale=float(arguments["softmax_scale"]),
        fp8=_format(case),
    )


def golden(case: Case, operands: Operands) -> Mapping[str, Whitened]:
    """float64 attention of every request and, with a plan, of every part of a split tile."""
    source, plan = _states(case, {**operands.inputs, **operands.scalars}), _plan_of(case)
    whole, parts = reference.attend_requests(source, plan), []
    if case["path"] == "persistent":
        items = operands.inputs["work_info_set"][: int(operands.inputs["work_indptr"][-1])]
        parts = [part for part in reference.attend_parts(source, items, plan) if part[0] >= 0]
    # Of steep logits fp32 alone rounds more than the weights' type, which the model is of.
    holds = case.recipe != "steep"
    finals = Canvas(operands, "output", "final_lse", SENTINEL, model_holds=holds)
    for rows, attended in reference.rounded_in_parts(whole, parts):
        finals.paint(rows, slice(None), attended, slice(None))
    found = finals.expectations()
    if "split_data" in operands.outputs:
        partial = Canvas(operands, "split_data", "split_lse", SENTINEL, model_holds=holds)
        for slot, head, rows, attended in parts:
            partial.paint(torch.arange(slot, slot + len(rows)), head, attended, head)
        found |= partial.expectations(anything=case["path"] == "auto")
    return found


def peer(case: Case, arguments: dict[str, Any]) -> None:
    """Plain torch, one request after the other, and with a plan the parts and their merge."""
    source, plan = _states(case, arguments), _plan_of(case)
    for rows in source.requests():
        _store(arguments, ("output", "final_lse"), rows.row, slice(None), reference.peer_rows(source, rows, plan))
    if case["path"] != "persistent":
        return
    items = arguments["work_info_set"][: int(arguments["work_indptr"][-1])]
    for request, slot, q_start, q_end, kv_start, kv_end, _, heads in items.tolist():
        if slot >= 0:
            rows, head = source.rows(request, q_start, q_end, kv_start, kv_end), heads & 0xFFFF
            result, lse = reference.peer_rows(source, rows, plan)
            place = torch.arange(slot, slot + len(rows.row))
            _store(arguments, ("split_data", "split_lse"), place, head, (result[:, head], lse[:, head]))
    maps = [arguments[name] for name in ("reduce_indptr", "reduce_final_map", "reduce_partial_map")]
    for start, end, parts in reduction.groups(*maps):
        place = parts[:, None] + torch.arange(end - start)
        merged = reduction.peer_merge(arguments["split_data"][place], arguments["split_lse"][place])
        _store(arguments, ("output", "final_lse"), torch.arange(start, end), slice(None), merged)


def _store(
    arguments: dict[str, Any],
    names: tuple[str, str],
    rows: torch.Tensor,
    head: int | slice,
    results: tuple[torch.Tensor, torch.Tensor],
) -> None:
    for name, result in zip(names, results, strict=True):
        if name in arguments:
            arguments[name][rows, head] = result.to(arguments[name].dtype)


def variant(case: Case, target: Target, dispatch: MlaPrefillTable) -> PrefillVariant:
    """The dispatcher's decisions, with the path that the case forces; steep parts are merged by several programs."""
    word = str(case["path"])
    found = prefill_variant(
        target,
        fp8=_format(case),
        heads=case.integer("heads"),
        path=None if word == "auto" else cast("PrefillPath", word),
        tile_q=case.integer("tile"),
        dispatch=dispatch,
    )
    short = replace(found.reduce, rows_per_program=case.integer("tile") // 2)
    return replace(found, reduce=short) if case.recipe == "steep" else found


def locate(case: Case, operands: Operands, output: str, index: tuple[int, ...]) -> Coordinate:
    """Element -> token, request, head and dim, or the row of a part."""
    names = ("row" if output.startswith("split") else "token", "head", "dim")
    where: dict[str, int] = dict(zip(names, index, strict=False))
    if "token" in where:
        starts = operands.inputs["qo_indptr"]
        where["request"] = int((starts <= index[0]).sum()) - 1
    return Coordinate(output=output, index=index, where=where)


def _expected_kernels(case: Case) -> tuple[str, ...]:
    planned = case["path"] == "persistent" or (case["path"] == "auto" and case.arch in PERSISTENT_ARCHES)
    # A workgroup that has its heads to itself splits no tile, and nothing is left to reduce.
    alone = case.integer("heads") % case.integer("workers") == 0
    return (PLANNED[:1] if alone else PLANNED) if planned else PLAIN


def accepts(case: Case) -> bool:
    """bf16 has no plan and no flavour, and hard recipes are made for few numbers."""
    plain = case["path"] == "fallback" and case.fp8 == "e4m3fn"
    # Keys far apart must be few, so must be rows and heads; and the units of steep logits, which fp8 keys must hold.
    made_for = {"wide": "short", "far": "deep", "steep": "chunked"}.get(case.recipe)
    made = made_for is None or (case["segments"], case["tile"]) == (made_for, 32)
    alone = case.recipe not in ("far", "steep") or case["kind"] == "fp8"
    apart = case.recipe != "far" or case.integer("heads") == 3
    return (case["kind"] == "fp8" or plain) and made and alone and apart


OP = register(
    Op(
        name=NAME,
        contract="out[i,h] = softmax over the first L - T + i + 1 keys of the row's request, applied to their values",
        launcher="rocassay.kernels.fp8_prefill.mla_prefill_ps:mla_prefill_ps",
        inputs=inputs,
        golden=golden,
        peer=peer,
        variant=variant,
        dispatch=MLA_PREFILL,
        cases=cases,
        plan=RoundingPlan(
            (("p persistent", "e4m3"), ("p fallback", "float16"), ("p bf16", "bfloat16"), ("out", "bfloat16")),
            "weights meet the values in the operands' type, relative to a row's largest; sums and results are fp32",
        ),
        locate=locate,
        free={"heads": (1, 4), "workers": (1, 16), "segments": (1, 130)},
        accepts=accepts,
        faults=(
            "prefill-causal-offset-ignored",
            "prefill-causal-edge-unmasked",
            "fallback-prefill-untested",
            "prefill-persistent-path-lost",
            "multi-segment-prefill",
            "unfilled-last-page-nan",
            "k-scale-vs-v-scale-mla",
            "heads-not-16-or-128",
            "prefill-whole-tile-given-a-slot",
            "prefill-lse-of-whole-tiles-unwritten",
            "prefill-key-offset-int32",
            "prefill-to-cpu-and-item",
            "lse-base2-vs-natural",
        ),
        probes=(Dispatch(_expected_kernels), Strides(), Poison()),
        probed=lambda case: case.recipe == "padded" and case.fp8 == "e4m3fn",
    )
)
