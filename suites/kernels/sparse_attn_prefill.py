"""Op `sparse_attn_prefill`: ragged sparse attention over unquantised rows. No pages (block size 1), no FP8.

The word `dtype` of some cases is the type of queries, rows and outputs; the others' is bf16.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from rocassay.harness.arch import Target
from rocassay.harness.cases import Case, cross
from rocassay.harness.gates import Whitened
from rocassay.harness.inputs import Operands, Placement, Stream
from rocassay.harness.ops import Op, Tier, register
from rocassay.harness.plan import RoundingPlan
from rocassay.harness.probes import BatchInvariance, Dispatch, Invariance, Observation, Poison, Strides, Traffic
from rocassay.harness.probes.metamorphic import Transformed
from rocassay.kernels.attention.dispatch import DISPATCH, AttentionDispatch, PrefillVariant, prefill_variant
from rocassay.references.attention import sparse_attn_prefill as reference
from rocassay.suites.kernels.attention_axes import ARCHES
from rocassay.suites.kernels.attention_inputs import (
    SENTINEL,
    STEEP_DIM,
    STEEP_KEY,
    UNPLANTED,
    Lists,
    directions,
    draw_lists,
    headed,
    known_recipe,
    locate,
    on_grid,
    per_head,
    permuted,
    queries,
    sinks,
    steepened,
)
from rocassay.suites.kernels.batches import one_more
from rocassay.suites.kernels.random_lists import RANDOM, random_shapes

NAME = "sparse_attn_prefill"
HEADS = (8, 12, 16, 24, 32, 64, 128)
LENGTHS = (1, 15, 16, 17, 63, 64, 65, 127, 128, 129, 255, 256, 257, 2047, 2048, 2049)
SHAPES = ((512, 512), (512, 448), (576, 512), (576, 576), (560, 544))
"""(D, DV): DeepSeek V4 with and without the RoPE dims in its values, V3.2 likewise; a tail of no power of 2."""

EDGES: tuple[tuple[int | str, ...], ...] = (
    (3, "hole", 7, "past", 9, "again", 10, "far", 8),
    (),
    (*["hole"] * 40, 8, "theirs", "last", "far"),
    ("hole", "far", "past"),
    ("zero", 1),
    (5,),
)
"""Several tiles with holes, nothing, a first tile without a valid row, no valid row, one key, a key with NaN."""

NAN_TOKEN, NAN_DIM = 5, 5
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16}
SPREAD = 1.25
"""Standard deviation of the logits."""

WIDE_ROW_STRIDE = 21_053_504
"""Elements from row to row in the recipe `wide`: row 103 of the 120 starts beyond 2^31 elements."""


def cases(tier: Tier) -> Iterable[Case]:
    """Quick: widths, head counts and sinks on lists with every edge; full adds lengths and heads."""
    return dict.fromkeys(_cases(tier))


def _cases(tier: Tier) -> Iterable[Case]:
    axes: dict[str, Any] = {"arches": ARCHES, "fp8s": ("e4m3fn",), "block_sizes": (1,)}
    shape: dict[str, Any] = {"where": _known_shape, "dim": (512, 576), "width": (448, 512, 576)}
    yield from cross(NAME, **axes, **shape, heads=(16,), lists=("edges",), sink=("none", "mixed"))
    padded: dict[str, Any] = {**axes, **shape, "recipes": ("padded",), "lists": ("edges",)}
    yield from cross(NAME, **padded, heads=(8, 17), sink=("mixed",))
    yield from cross(NAME, **padded, heads=(24,), sink=("none",))
    wide: dict[str, Any] = {**axes, "recipes": ("wide",), "dim": (512,), "width": (512,)}
    yield from cross(NAME, **wide, heads=(16,), lists=("edges",), sink=("mixed",))
    alone: dict[str, Any] = {**axes, "recipes": ("padded",), "dim": (512,), "width": (512,)}
    yield from cross(NAME, **alone, heads=(16,), lists=(1,), sink=("mixed",))
    hard: dict[str, Any] = {**axes, "lists": ("edges",)}
    yield from cross(NAME, **hard, recipes=("far",), dim=(512,), width=(512,), heads=(33,), sink=("mixed",))
    yield from cross(NAME, **hard, recipes=("steep",), dim=(512,), width=(512,), heads=(16,), sink=("none",))
    half: dict[str, Any] = {**hard, "recipes": ("steep",), "dtype": ("fp16",)}
    yield from cross(NAME, **half, dim=(512,), width=(512,), heads=(16,), sink=("none",))
    yield from cross(NAME, **hard, recipes=("padded",), dim=(560,), width=(544,), heads=(16,), sink=("mixed",))
    yield from cross(NAME, **hard, dim=(560,), width=(544,), heads=(16,), sink=("none",))
    if tier != "quick":
        long: dict[str, Any] = {**axes, **shape, "recipes": ("padded",), "sink": ("mixed",)}
        yield from cross(NAME, **long, heads=(16,), lists=LENGTHS)
        yield from cross(NAME, **long, heads=HEADS, lists=(129,))


def _known_shape(case: Case) -> bool:
    return (case["dim"], case["width"]) in SHAPES


def _lists(case: Case, stream: Stream) -> Lists:
    word = case["lists"]
    if isinstance(word, str):
        shapes = random_shapes(case, "lists", len(EDGES)) if word == RANDOM else EDGES
    else:
        shapes = ((word, "again"), (3,), (word // 2, "hole", 1))
    named = sum(item if isinstance(item, int) else 1 for shape in shapes for item in shape)
    return draw_lists(stream, shapes, named + 20, first=case.recipe == "padded")


def inputs(case: Case, stream: Stream) -> Operands:
    """Random rows in random order, needles at every edge, NaN in every row that nobody lists."""
    known_recipe(case)
    dim, width, heads = (case.integer(name) for name in ("dim", "width", "heads"))
    lists = _lists(case, stream)
    tokens = len(lists.rows)
    plain = queries(stream, (tokens, heads, dim))
    q = steepened(case, stream, plain)
    rows = stream.child("kv").gaussian((lists.capacity, dim))
    needles = {} if case.recipe == UNPLANTED else lists.needles()
    rows = on_grid(rows + directions(plain, needles.items(), lists.capacity))
    if case.recipe == "steep":
        rows[:, STEEP_DIM] = STEEP_KEY
    unlisted = np.ones(lists.capacity, dtype=bool)
    unlisted[lists.used] = False
    rows[unlisted] = np.nan
    if case["lists"] == "edges":
        rows[lists.valid(NAN_TOKEN)[2], NAN_DIM] = np.nan
    dtype = DTYPES[str(dict(case.params).get("dtype", "bf16"))]
    kv = torch.from_numpy(rows).to(dtype)[:, None]
    tensors = {
        "q": torch.from_numpy(q).to(dtype),
        "kv": kv,
        "ragged_indices": lists.indices(),
        "ragged_indptr": lists.indptr(),
    }
    unread = {"kv": torch.from_numpy(unlisted)[:, None, None].expand_as(kv), "ragged_indices": lists.tail()}
    if case["sink"] == "mixed":
        tensors["attn_sink"], unread["attn_sink"] = sinks(stream, heads)
    output = torch.full((tokens, heads, width), SENTINEL, dtype=dtype)
    scale = float(np.float32(SPREAD / np.sqrt(dim)))
    return Operands(
        inputs=tensors,
        outputs={"output": output},
        # The records hold no scalar, so a floating-point one is as good as any.
        scalars={"scale": scale},
        placements=_placements(case, tuple(tensors["q"].shape), tuple(output.shape)),
        unread=unread,
    )


def _placements(case: Case, q: tuple[int, ...], output: tuple[int, ...]) -> dict[str, Placement]:
    dim = q[2]
    if case.recipe == "wide":
        return {"kv": Placement((WIDE_ROW_STRIDE, dim, 1))}
    rows = {"kv": Placement((dim + 24, dim, 1), lead=4096)} if case.recipe == "padded" else {}
    return {**rows, **headed(case, "q", q, 40), **headed(case, "output", output, 8)}


def golden(case: Case, operands: Operands) -> Mapping[str, Whitened]:
    """float64 softmax over the listed rows, with the rounding model."""
    output = operands.outputs["output"]
    attended = reference.sparse_attn_prefill(
        **operands.inputs, scale=_scale(operands), width=output.shape[-1], dtype=output.dtype
    )
    return {"output": per_head(attended, steep=case.recipe == "steep")}


def _scale(operands: Operands) -> float:
    return float(operands.scalars["scale"])


def peer(case: Case, arguments: dict[str, Any]) -> None:
    """Plain torch."""
    reference.peer_sparse_attn_prefill(**arguments)


def variant(case: Case, target: Target, dispatch: AttentionDispatch) -> PrefillVariant:
    """The dispatcher's decisions."""
    return prefill_variant(target, heads=case.integer("heads"), head_dim=case.integer("dim"))


def permute_lists(case: Case, operands: Operands) -> Transformed:
    """Every token's list in another order."""
    tensors = operands.inputs
    moved = permuted(Stream(str(case), "permute"), tensors["ragged_indices"], tensors["ragged_indptr"])
    return case, replace(operands, inputs={**tensors, "ragged_indices": moved}), lambda outputs: outputs


def one_pass(seen: Observation) -> Mapping[str, int]:
    """Every valid entry of a list loads its row once for each block of heads."""
    indices, row = seen.operands.inputs["ragged_indices"], seen.operands.inputs["kv"][0]
    listed = indices[: int(seen.operands.inputs["ragged_indptr"][-1])]
    entries = int(((listed >= 0) & (listed < len(seen.operands.inputs["kv"]))).sum())
    return {"kv": entries * -(-seen.case.integer("heads") // seen.variant.block_h) * row.numel() * row.element_size()}


def accepts(case: Case) -> bool:
    """Widths that the cases have; lists of rows far apart must be short."""
    near = case.recipe not in ("wide", "far", "steep") or (case["lists"], case["dim"]) == ("edges", 512)
    return _known_shape(case) and near


OP = register(
    Op(
        name=NAME,
        contract="out[t,h] = softmax over the rows that token t lists, and the sink, applied to the rows themselves",
        launcher="rocassay.kernels.attention.sparse_attn_prefill:sparse_attn_prefill",
        inputs=inputs,
        golden=golden,
        peer=peer,
        variant=variant,
        dispatch=DISPATCH,
        cases=cases,
        plan=RoundingPlan(
            (("p bf16", "bfloat16"), ("out bf16", "bfloat16"), ("p fp16", "float16"), ("out fp16", "float16")),
            "weights meet the values as operands of the rows' type; logits, sums and the result accumulate in fp32",
        ),
        locate=locate,
        free={"lists": (1, 300), "heads": (1, 40)},
        words={"lists": (RANDOM,)},
        accepts=accepts,
        faults=(
            "unfilled-last-page-nan",
            "zero-len-pad-nan-poisons-batch",
            "sparse-attn-missed-rescale",
            "sparse-attn-sink-forgotten",
            "sparse-attn-hole-attends-to-row-zero",
            "sparse-attn-tile-follows-batch",
            "sparse-attn-scale-applied-twice",
            "sparse-attn-tail-dims-left-out",
            "sparse-attn-last-key-dropped",
            "sparse-attn-offset-int32",
            "two-pass-decode",
        ),
        probes=(
            Dispatch(lambda _: ("_sparse_attn_prefill_kernel",)),
            Strides(),
            Poison(),
            Traffic(one_pass),
            Invariance("list-permutation", permute_lists, "attention is a sum over a multiset: order is free"),
            BatchInvariance(one_more(("q", "output"), (("ragged_indices", "ragged_indptr"),))),
        ),
        probed=lambda case: case.recipe == "padded" and case["heads"] == 17,
    )
)
