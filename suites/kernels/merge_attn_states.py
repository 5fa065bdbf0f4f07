"""Op `merge_attn_states`: merge the attention over a cached prefix with that over the new suffix."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from rocassay.harness.arch import Target
from rocassay.harness.cases import Case, MalformedCase, cross
from rocassay.harness.gates import Whitened
from rocassay.harness.inputs import Operands, Placement, Stream
from rocassay.harness.ops import Op, Tier, register
from rocassay.harness.plan import RoundingPlan
from rocassay.harness.probes import Dispatch, Invariance, Poison, Strides
from rocassay.harness.probes.metamorphic import Transformed
from rocassay.harness.results import Coordinate
from rocassay.kernels.merge.dispatch import DISPATCH, MergeDispatch, MergeVariant, merge_variant
from rocassay.references.merge import merge_attn_states as reference
from rocassay.suites.kernels.attention_inputs import beyond
from rocassay.suites.kernels.merge_axes import ARCHES, BLOCK_SIZES, FP8S
from rocassay.suites.kernels.whitened_rows import whitened_rows

NAME = "merge_attn_states"
DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
RECIPES = ("tagged", "padded", "mixed", "wide", "far")

EDGES = (-np.inf, -1e30, 0.5, np.inf)
"""LSEs that are paired with each other: empty in either convention, masked by a large negative, finite."""

GAPS = (0.0, 2.0**-20, -12.0, 12.0, -60.0, 60.0, -200.0, 200.0, -87.0, 87.0)
"""prefix LSE - suffix LSE of the tokens after the pairs: equal, nearly equal, and beyond every dtype's range."""

MOST_ELEMENTS, MOST_ROWS = 1_200_000, 200
"""Of a fuzzed output: in all, and with a program each."""

PITCH = 192
"""Elements from head to head of an attention output that is a view of values padded to the width of the keys."""

WIDE_PITCH = 2**25 + 2**20
"""Elements from token to token that carry token 64 beyond 2^31 elements."""


def cases(tier: Tier) -> Iterable[Case]:
    """Every dtype and stride recipe, tokens without context, head dims with and without whole packs."""
    axes: dict[str, Any] = {"arches": ARCHES, "fp8s": FP8S, "block_sizes": BLOCK_SIZES}
    shape: dict[str, Any] = {"heads": (2,), "tokens": (65,)}
    plain: dict[str, Any] = {**axes, **shape, "dim": (128,), "lse": ("yes",)}
    dtypes = tuple(DTYPES)
    yield from cross(NAME, **plain, dtype=dtypes, context=("all",), empty=("finite",))
    padded: dict[str, Any] = {**plain, "recipes": ("padded",), "empty": ("nan",)}
    yield from cross(NAME, **padded, dtype=dtypes, context=("all", 50))
    yield from cross(NAME, **plain, recipes=("mixed",), dtype=("bf16",), context=("all",), empty=("nan",))
    yield from cross(NAME, **plain, dtype=("bf16", "fp32"), context=(0, 64), empty=("finite",))
    # LSEs enough for the rounding model of their own.
    many: dict[str, Any] = {**plain, "tokens": (130,), "dim": (64,)}
    yield from cross(NAME, **many, dtype=("bf16",), context=("all",), empty=("nan",))
    yield from cross(NAME, **plain, recipes=("wide",), dtype=("bf16",), context=("all",), empty=("nan",))
    heads: dict[str, Any] = {**plain, "heads": (3,), "tokens": (33,), "dim": (64,)}
    yield from cross(NAME, **heads, recipes=("far",), dtype=("bf16",), context=("all",), empty=("nan",))
    other: dict[str, Any] = {**axes, "lse": ("yes", "no"), "empty": ("nan",), "context": ("all",), "dtype": ("bf16",)}
    yield from cross(NAME, **other, heads=(1,), tokens=(33,), dim=(512, 72))
    # A general row is one program: few of them.
    yield from cross(NAME, **other, heads=(2,), tokens=(5,), dim=(100,))
    if tier != "quick":
        yield from _shapes(axes, dtypes)


def _shapes(axes: dict[str, Any], dtypes: tuple[str, ...]) -> Iterable[Case]:
    more: dict[str, Any] = {**axes, "recipes": ("padded", "mixed"), "lse": ("yes",), "empty": ("nan",)}
    yield from cross(NAME, **more, heads=(16,), tokens=(1, 31, 32, 33, 257), dim=(128,), dtype=dtypes, context=("all",))
    yield from cross(NAME, **more, heads=(1, 3, 8), tokens=(70,), dim=(64, 192, 512), dtype=dtypes, context=(40,))
    yield from cross(NAME, **more, heads=(128,), tokens=(70,), dim=(128,), dtype=("bf16",), context=("all", 69))


def inputs(case: Case, stream: Stream) -> Operands:
    """Random states whose LSEs run through every pair of edges, empty parts and parts not to be read poisoned."""
    heads, tokens, dim = (case.integer(name) for name in ("heads", "tokens", "dim"))
    dtype = DTYPES[str(case["dtype"])]
    prefix_lse, suffix_lse = _lses(stream, heads, tokens)
    limit = _context(case)
    prefix_lse[:, limit:] = np.nan
    parts = {"prefix": prefix_lse, "suffix": suffix_lse}
    inputs: dict[str, torch.Tensor] = {}
    unread: dict[str, torch.Tensor] = {}
    copied = torch.arange(tokens)[:, None] >= limit
    for name, lse in parts.items():
        inputs[f"{name}_lse"] = torch.from_numpy(lse)
        skipped = torch.from_numpy(~np.isfinite(lse)).T
        if name == "suffix":
            skipped = skipped & ~copied
        state = torch.from_numpy(stream.child(f"{name}_output").gaussian((tokens, heads, dim)))
        unread[f"{name}_output"] = skipped[..., None].expand(state.shape)
        # Beyond the context nothing of the prefix is anybody's; before it upstream asks empty parts to be finite.
        poison = torch.where(copied, torch.nan, torch.nan if case["empty"] == "nan" else 3e4)[..., None]
        inputs[f"{name}_output"] = torch.where(skipped[..., None], poison, state).to(dtype)
    unread["prefix_lse"] = inputs["prefix_lse"].isnan()
    outputs = {"output": torch.full((tokens, heads, dim), 77.0, dtype=dtype)}
    if case["lse"] == "yes":
        outputs["output_lse"] = torch.full((heads, tokens), 77.0)
    scalars = {} if case["context"] == "all" else {"prefill_tokens_with_context": limit}
    return Operands(inputs, outputs, scalars, placements=_placements(case, tuple(outputs)), unread=unread)


def _lses(stream: Stream, heads: int, tokens: int) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
    """fp32 [H, T] each: all pairs of edges first, shifted from head to head, then gaps, then ordinary numbers."""
    suffix = (4 + 3 * stream.child("suffix_lse").gaussian((heads, tokens))).astype(np.float32)
    prefix = (suffix + 1.5 * stream.child("gap").gaussian((heads, tokens))).astype(np.float32)
    pairs, gaps = list(itertools.product(EDGES, EDGES)), GAPS
    if tokens < len(pairs) + len(gaps):
        pairs, gaps = [(-np.inf, np.inf), (np.inf, 0.5), (0.5, -np.inf)][: tokens - 1], ()
    for head in range(heads):
        places = (np.arange(len(pairs) + len(gaps)) + 7 * head) % tokens
        edges, rest = places[: len(pairs)], places[len(pairs) :]
        prefix[head, edges], suffix[head, edges] = np.array(pairs, np.float32).reshape(-1, 2).T
        # Every head has LSEs of its own: equal ones would round alike, and the rounding model could not be tested.
        # The exponential ends at -87, which only LSEs of few bits are apart exactly.
        suffix[head, rest[-2:]] = np.rint(8 * suffix[head, rest[-2:]]) / 8
        prefix[head, rest] = suffix[head, rest] + np.array(gaps, np.float32)
    return prefix, suffix


def _context(case: Case) -> int:
    word = case["context"]
    return case.integer("tokens") if isinstance(word, str) else word


def _placements(case: Case, outputs: tuple[str, ...]) -> dict[str, Placement]:
    """Strides of the recipe: `padded` pads all, `mixed` gives prefix and suffix different ones, `wide` the output."""
    if case.recipe not in RECIPES:
        raise MalformedCase(f"recipe {case.recipe!r} of case {case} is unknown; use one of {', '.join(RECIPES)}")
    heads, tokens, dim = (case.integer(name) for name in ("heads", "tokens", "dim"))
    if case.recipe == "tagged":
        return {}
    if case.recipe == "far":
        return {"output": Placement((dim, beyond(heads, 2**20), 1))}
    if case.recipe == "wide":
        return {"output": Placement((WIDE_PITCH, dim, 1))}
    pitch = max(PITCH, dim + 64)
    view = Placement((pitch * heads, pitch, 1))
    if case.recipe == "mixed":
        # The second merge of a chunked context: a contiguous prefix, the suffix still a padded view.
        return {"suffix_output": view, "suffix_lse": Placement((1, heads + 1))}
    placements = {
        "prefix_output": Placement((pitch * heads + 64, pitch, 1)),
        "suffix_output": view,
        "output": Placement(((dim + 8) * heads + 24, dim + 8, 1)),
        # A producer that stores [T, H] hands over its transposed view.
        "prefix_lse": Placement((1, heads + 3)),
        "suffix_lse": Placement((tokens + 5, 1)),
        "output_lse": Placement((2 * tokens + 9, 2)),
    }
    return {name: place for name, place in placements.items() if name in outputs or not name.startswith("output")}


def golden(case: Case, operands: Operands) -> Mapping[str, Whitened]:
    """float64 merge with the rounding model."""
    merged = reference.merge_attn_states(**operands.inputs, **operands.scalars)  # type: ignore[arg-type]
    models = {"output": merged.output, "output_lse": merged.lse}
    return {name: whitened_rows(models[name]) for name in operands.outputs}


def peer(case: Case, arguments: dict[str, Any]) -> None:
    """Plain torch."""
    reference.peer_merge_attn_states(**arguments)


def variant(case: Case, target: Target, dispatch: MergeDispatch) -> MergeVariant:
    """The dispatcher's decisions."""
    dtype = str(DTYPES[str(case["dtype"])]).removeprefix("torch.")
    shape = {"tokens": case.integer("tokens"), "head_dim": case.integer("dim")}
    return merge_variant(target, dtype=dtype, **shape, dispatch=dispatch)


def locate(case: Case, operands: Operands, output: str, index: tuple[int, ...]) -> Coordinate:
    """Token, head and, for the state, its dimension."""
    names = ("token", "head", "dim") if output == "output" else ("head", "token")
    return Coordinate(output=output, index=index, where=dict(zip(names, index, strict=True)))


def swap_parts(case: Case, operands: Operands) -> Transformed:
    """Prefix and suffix exchanged for the tokens that have both."""
    both = torch.arange(case.integer("tokens")) < _context(case)
    inputs, unread = dict(operands.inputs), dict(operands.unread)
    masks = {"output": both[:, None, None], "lse": both[None, :]}
    for kind, mask in masks.items():
        names = (f"prefix_{kind}", f"suffix_{kind}")
        first, second = (operands.inputs[name] for name in names)
        inputs[names[0]], inputs[names[1]] = torch.where(mask, second, first), torch.where(mask, first, second)
    first, second = (operands.unread[name] for name in ("prefix_output", "suffix_output"))
    unread["prefix_output"] = torch.where(masks["output"], second, first)
    unread["suffix_output"] = torch.where(masks["output"], first, second)
    return case, replace(operands, inputs=inputs, unread=unread), lambda outputs: outputs


def accepts(case: Case) -> bool:
    """No more context than tokens, few far apart, and what an interpreter merges in seconds: without packs by rows."""
    tokens, dim = case.integer("tokens"), case.integer("dim")
    rows = tokens * case.integer("heads")
    near = case.recipe != "wide" or (tokens <= 65 and case["dtype"] != "fp32")
    quick = rows * dim <= MOST_ELEMENTS and (dim % 8 == 0 or rows <= MOST_ROWS)
    return _context(case) <= tokens and near and quick


OP = register(
    Op(
        name=NAME,
        contract="out = (e^pl po + e^sl so) / (e^pl + e^sl) with its LSE; empty parts weigh nothing, none leaves zeros",
        launcher="rocassay.kernels.merge.merge_attn_states:merge_attn_states",
        inputs=inputs,
        golden=golden,
        peer=peer,
        variant=variant,
        dispatch=DISPATCH,
        cases=cases,
        plan=RoundingPlan(
            (
                ("lse difference", "float32"),
                ("exponential", "float32"),
                ("total", "float32"),
                ("shares", "float32"),
                ("products", "float32"),
                ("sum", "float32"),
                ("logarithm", "float32"),
                ("out bf16", "bfloat16"),
                ("out fp16", "float16"),
            ),
            "two exponentials and a weighted sum in fp32, rounded once to the output's dtype",
        ),
        locate=locate,
        free={"heads": (1, 16), "tokens": (1, 140), "dim": (1, 200), "context": (0, 140)},
        accepts=accepts,
        faults=(
            "merge-both-neg-inf",
            "merge-pos-inf-whole-weight",
            "lse-base2-vs-natural",
            "lse-th-vs-ht",
            "merge-beyond-context",
            "merge-suffix-at-prefix-strides",
            "merge-empty-part-times-zero",
            "merge-token-offset-int32",
            "redundant-cast-copy",
        ),
        probes=(
            Dispatch(lambda _: ("_merge_attn_states_kernel",)),
            Strides(),
            Poison(),
            Invariance("swap", swap_parts, "the merge is symmetric in its two parts"),
        ),
        probed=lambda case: case.recipe == "padded" and case["dtype"] != "fp16" and case.integer("heads") <= 16,
    )
)
