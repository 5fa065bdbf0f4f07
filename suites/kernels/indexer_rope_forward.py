"""Op `indexer_rope_forward`: the RoPE part of the V3.2 Indexer, on slices in place or functional."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from rocassay.harness.arch import Target
from rocassay.harness.cases import Case, cross
from rocassay.harness.inputs import Operands, Stream
from rocassay.harness.ops import Op, Tier, register
from rocassay.harness.probes import Allowance, Dispatch, Invariance, Poison, Strides
from rocassay.kernels.rope.dispatch import DISPATCH, RopeDispatch
from rocassay.kernels.rope.implementations import ROPES
from rocassay.kernels.rope.indexer_rope_forward import IndexerRopeVariant, indexer_rope_variant
from rocassay.references.rope import indexer_rope_forward as reference
from rocassay.references.rope.rotation import Style
from rocassay.suites.kernels.apply_rope import PLAN
from rocassay.suites.kernels.rope_axes import ARCHES, BLOCK_SIZES, FP8S
from rocassay.suites.kernels.rope_inputs import (
    DTYPES,
    ROT,
    SENTINEL,
    STYLES,
    RotatedRows,
    cos_sin_inputs,
    fits,
    heads,
    locate,
    permute_tokens,
    placements,
    rotated_rows,
)

NAME = "indexer_rope_forward"
HEAD_DIM = 128
TENSORS = ("v32_indexer", "glm_indexer")
MUTATING = ("custom_op",)
"""Implementations that rotate the tensors they are given, by the contract and not by the table under test."""


def cases(tier: Tier) -> Iterable[Case]:
    """Every kind of RoPE that the model may hold, both indexers, results in place and apart."""
    axes: dict[str, Any] = {"arches": ARCHES, "fp8s": FP8S, "block_sizes": BLOCK_SIZES}
    ropes, out = tuple(ROPES), ("self", "new")
    plain: dict[str, Any] = {**axes, "tokens": (33,), "heads": (3,), "tensor": TENSORS, "dtype": ("bf16",)}
    yield from cross(NAME, **plain, index=("int64",), rope=ropes, out=out)
    padded: dict[str, Any] = {**plain, "recipes": ("padded",), "index": ("int32",)}
    yield from cross(NAME, **padded, rope=("custom_op", "yarn"), out=out)
    few: dict[str, Any] = {**axes, "tensor": ("v32_indexer",), "dtype": ("bf16",), "index": ("int32",)}
    yield from cross(NAME, **few, tokens=(33,), heads=(3,), rope=("custom_op",), out=("self",), recipes=("wide",))
    yield from cross(NAME, **few, tokens=(7,), heads=(3,), rope=("custom_op",), out=("self",), recipes=("apart",))
    yield from cross(NAME, **few, tokens=(7,), heads=(20,), rope=("yarn",), out=("new",), dim=(96,))
    if tier != "quick":
        more: dict[str, Any] = {**axes, "recipes": ("padded",), "index": ("int64",), "tensor": TENSORS}
        yield from cross(NAME, **more, tokens=(1, 17, 65), heads=(16, 64), dtype=("bf16", "fp16"), rope=ropes, out=out)


def style_of(case: Case) -> Style:
    """How lanes pair up, by the contract."""
    return STYLES[str(case["tensor"])][0]


def inputs(case: Case, stream: Stream) -> Operands:
    """Queries by heads, the key as one row a token; with `out=new` q and k must stay as they are."""
    tokens, dtype = case.integer("tokens"), DTYPES[str(case["dtype"])]
    dim = int(dict(case.params).get("dim", HEAD_DIM))
    shapes = {"q": (tokens, case.integer("heads"), dim), "k": (tokens, dim)}
    parts = {name: heads(stream.child(name), shape, dtype, slice(0, ROT)) for name, shape in shapes.items()}
    given, unread = cos_sin_inputs(case, stream, tokens)
    outputs = dict(parts)
    if case["out"] == "new":
        given |= parts
        outputs = {f"{name}_out": torch.full_like(part, SENTINEL) for name, part in parts.items()}
    places = placements(case, {**given, **outputs}, wide="q")
    return Operands(given, outputs, placements=places, unread=unread)


def golden(case: Case, operands: Operands) -> Mapping[str, RotatedRows]:
    """float64 rotation of complex numbers; unrotated lanes byte by byte."""
    tensors = {**operands.outputs, **operands.inputs}
    where, q, k, cache = (tensors[name] for name in ("positions", "q", "k", "cos_sin_cache"))
    turned = reference.indexer_rope_forward(where, q, k, cache, style=style_of(case))
    pairs = zip(operands.outputs, turned, (q, k), strict=True)
    return {name: rotated_rows(model, kept, "first") for name, model, kept in pairs}


def peer(case: Case, arguments: dict[str, Any]) -> None:
    """Plain torch."""
    reference.peer_indexer_rope_forward(**arguments, style=style_of(case))


def variant(case: Case, target: Target, dispatch: RopeDispatch) -> IndexerRopeVariant:
    """The dispatcher's decisions for the implementation the case's model holds."""
    shape = {"tokens": case.integer("tokens"), "heads": case.integer("heads")}
    rope, tensor = ROPES[str(case["rope"])], str(case["tensor"])
    return indexer_rope_variant(target, rope=rope, tensor=tensor, **shape, dispatch=dispatch)


def expected_kernels(case: Case) -> tuple[str, ...]:
    """In place one launch; functional another two that put q and k together again."""
    rotation = ("_apply_rope_kernel",)
    return rotation if case["rope"] in MUTATING else (*rotation, "_concatenate_kernel", "_concatenate_kernel")


OP = register(
    Op(
        name=NAME,
        contract="the indexer's q and k leave with their first lanes rotated, whichever kind of RoPE the model holds",
        launcher="rocassay.kernels.rope.indexer_rope_forward:indexer_rope_forward",
        inputs=inputs,
        golden=golden,
        peer=peer,
        variant=variant,
        dispatch=DISPATCH,
        cases=cases,
        plan=PLAN,
        locate=locate,
        free={"tokens": (1, 80), "heads": (1, 20)},
        accepts=fits,
        faults=(
            "rope-not-inplace-fast-path",
            "indexer-rope-gate-is-enabled",
            "indexer-rope-neox-vs-gptj",
            "double-rope",
            "rope-yarn-missing",
        ),
        probes=(
            Dispatch(expected_kernels),
            Strides(),
            Poison(),
            Invariance("token-order", permute_tokens, "a row turns by its own position, wherever it stands"),
        ),
        probed=lambda case: case.recipe == "padded" and case["tensor"] == "v32_indexer" and case["dtype"] == "bf16",
        allocations=Allowance(2, "a native RoPE returns new q and k; one that mutates needs copies where these stay"),
    )
)
