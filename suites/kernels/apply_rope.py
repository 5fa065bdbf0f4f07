"""Op `apply_rope`: rotary position embedding of queries and keys, in place and functional."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from rocassay.harness.arch import Target
from rocassay.harness.cases import Case, cross
from rocassay.harness.inputs import Operands, Stream
from rocassay.harness.ops import Op, Tier, register
from rocassay.harness.plan import RoundingPlan
from rocassay.harness.probes import Dispatch, Invariance, Poison, Strides
from rocassay.kernels.rope.dispatch import DISPATCH, RopeDispatch, RopeVariant, rope_variant
from rocassay.references.rope import apply_rope as reference
from rocassay.references.rope.rotation import Span, Style, rotated_lanes
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

NAME = "apply_rope"
HEAD_DIMS = {"mla": 64, "v32_indexer": 128, "glm_indexer": 128, "v4_attention": 512, "v4_indexer": 128}
"""Model tensor -> lanes of a head."""

ONE_KEPT = "v4_one_kept"
"""No model's tensor: a single lane of a head does not rotate."""

PLAN = RoundingPlan(
    (
        ("products", "float32"),
        ("sum", "float32"),
        ("out bf16", "bfloat16"),
        ("out fp16", "float16"),
    ),
    "two products and a sum in fp32 with the stored fp32 cos and sin, rounded once to the tensor's dtype",
)


def cases(tier: Tier) -> Iterable[Case]:
    """Every model tensor in both modes, every dtype, both index types, views, long caches, offsets beyond 2^31."""
    axes: dict[str, Any] = {"arches": ARCHES, "fp8s": FP8S, "block_sizes": BLOCK_SIZES}
    shape: dict[str, Any] = {"tokens": (33,), "heads": (3,), "keys": (1,)}
    tensors, modes = tuple(HEAD_DIMS), ("inplace", "functional")
    plain: dict[str, Any] = {**axes, **shape, "index": ("int64",)}
    yield from cross(NAME, **plain, tensor=tensors, mode=modes, dtype=("bf16",))
    padded: dict[str, Any] = {**axes, **shape, "index": ("int32",), "recipes": ("padded",)}
    yield from cross(NAME, **padded, tensor=tensors, mode=("inplace",), dtype=("bf16",))
    some = ("mla", "v32_indexer", "v4_indexer")
    yield from cross(NAME, **padded, tensor=some, mode=("functional",), dtype=("fp16", "fp32"))
    yield from cross(NAME, **plain, tensor=("v32_indexer",), mode=("inplace",), dtype=("bf16",), recipes=("wide",))
    yield from cross(NAME, **plain, tensor=("v4_indexer",), mode=("functional",), dtype=("bf16",), recipes=("far",))
    one: dict[str, Any] = {**axes, "tokens": (7,), "index": ("int32",), "dtype": ("bf16",), "mode": ("functional",)}
    yield from cross(NAME, **one, tensor=(ONE_KEPT,), heads=(3,), keys=(1,))
    yield from cross(NAME, **one, tensor=("v4_indexer",), heads=(20,), keys=(2,), recipes=("padded",))
    apart: dict[str, Any] = {**one, "mode": ("inplace",), "recipes": ("apart",)}
    yield from cross(NAME, **apart, tensor=("v32_indexer",), heads=(3,), keys=(1,))
    no_keys: dict[str, Any] = {**plain, "keys": (0,), "tokens": (1,)}
    yield from cross(NAME, **no_keys, tensor=("mla",), mode=modes, dtype=("bf16",))
    if tier != "quick":
        more: dict[str, Any] = {**axes, "recipes": ("padded",), "index": ("int32",), "tensor": tensors, "keys": (1,)}
        yield from cross(NAME, **more, tokens=(1, 17, 65), heads=(16, 20), mode=modes, dtype=("bf16",))
        large: dict[str, Any] = {**axes, "tokens": (7,), "index": ("int64",), "tensor": tensors, "mode": modes}
        yield from cross(NAME, **large, heads=(64, 128), keys=(4,), dtype=tuple(DTYPES))
        yield from cross(NAME, **large, heads=(64,), keys=(1,), dtype=("bf16",), recipes=("far",))


def style_of(case: Case) -> tuple[Style, Span]:
    """Style and rotated lanes by the contract."""
    return STYLES["v4" if str(case["tensor"]).startswith("v4") else str(case["tensor"])]


def inputs(case: Case, stream: Stream) -> Operands:
    """In place, q and k are the outputs, holding what is to be rotated; functional, outputs hold a sentinel."""
    tokens, dim = case.integer("tokens"), {**HEAD_DIMS, ONE_KEPT: ROT + 1}[str(case["tensor"])]
    lanes, dtype = rotated_lanes(dim, ROT, style_of(case)[1]), DTYPES[str(case["dtype"])]
    counts = {"q": case.integer("heads"), "k": case.integer("keys")}
    parts = {
        name: heads(stream.child(name), (tokens, count, dim), dtype, lanes) for name, count in counts.items() if count
    }
    given, unread = cos_sin_inputs(case, stream, tokens)
    outputs = dict(parts)
    if case["mode"] == "functional":
        given |= parts
        outputs = {f"{name}_out": torch.full_like(part, SENTINEL) for name, part in parts.items()}
    places = placements(case, {**given, **outputs}, wide="q")
    return Operands(given, outputs, placements=places, unread=unread)


def golden(case: Case, operands: Operands) -> Mapping[str, RotatedRows]:
    """float64 rotation of complex numbers; unrotated lanes byte by byte."""
    style, span = style_of(case)
    tensors = {**operands.outputs, **operands.inputs}
    q, k = tensors["q"], tensors.get("k")
    where, cache = operands.inputs["positions"], operands.inputs["cos_sin_cache"]
    turned_q, turned_k = reference.apply_rope(where, q, k, cache, style=style, span=span)
    suffix = "_out" if case["mode"] == "functional" else ""
    expected = {f"q{suffix}": rotated_rows(turned_q, q, span)}
    if k is not None and turned_k is not None:
        expected[f"k{suffix}"] = rotated_rows(turned_k, k, span)
    return expected


def peer(case: Case, arguments: dict[str, Any]) -> None:
    """Plain torch."""
    style, span = style_of(case)
    reference.peer_apply_rope(**{"k": None, **arguments}, style=style, span=span)


def variant(case: Case, target: Target, dispatch: RopeDispatch) -> RopeVariant:
    """The dispatcher's decisions."""
    tensor = "v4" if str(case["tensor"]).startswith("v4") else str(case["tensor"])
    shape = {"tokens": case.integer("tokens"), "heads": case.integer("heads")}
    return rope_variant(target, tensor=tensor, **shape, dispatch=dispatch)


def accepts(case: Case) -> bool:
    """All mixtures; tokens far apart must be few and small, or they need more addresses than there are."""
    return fits(case)


OP = register(
    Op(
        name=NAME,
        contract="pairs of lanes turn by position times frequency, neox or gptj, first or last lanes; others stay",
        launcher="rocassay.kernels.rope.apply_rope:apply_rope",
        inputs=inputs,
        golden=golden,
        peer=peer,
        variant=variant,
        dispatch=DISPATCH,
        cases=cases,
        plan=PLAN,
        locate=locate,
        free={"tokens": (1, 80), "heads": (1, 20), "keys": (0, 4)},
        accepts=accepts,
        faults=(
            "indexer-rope-neox-vs-gptj",
            "double-rope",
            "rope-neox-hardcoded",
            "rope-first-instead-of-last",
            "rope-query-assumed-contiguous",
            "rope-yarn-missing",
            "rope-token-offset-int32",
        ),
        probes=(
            Dispatch(lambda _: ("_apply_rope_kernel",)),
            Strides(),
            Poison(),
            Invariance("token-order", permute_tokens, "a row turns by its own position, wherever it stands"),
        ),
        probed=lambda case: case.recipe == "padded" and case["dtype"] == "bf16",
    )
)
