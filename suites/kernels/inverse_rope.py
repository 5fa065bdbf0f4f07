"""Op `inverse_rope`: turn the rotated lanes of attention outputs back."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from rocassay.harness.arch import Target
from rocassay.harness.cases import Case, cross
from rocassay.harness.inputs import Operands, Stream
from rocassay.harness.ops import Op, Tier, register
from rocassay.harness.probes import Dispatch, Invariance, Poison, Strides
from rocassay.kernels.rope.dispatch import DISPATCH, RopeDispatch, RopeVariant, rope_variant
from rocassay.references.rope import inverse_rope as reference
from rocassay.references.rope.rotation import rotated_lanes
from rocassay.suites.kernels.apply_rope import PLAN
from rocassay.suites.kernels.rope_axes import ARCHES, BLOCK_SIZES, FP8S
from rocassay.suites.kernels.rope_inputs import (
    DTYPES,
    ROT,
    SENTINEL,
    RotatedRows,
    cos_sin_inputs,
    fits,
    heads,
    locate,
    permute_tokens,
    placements,
    rotated_rows,
)

NAME = "inverse_rope"


def cases(tier: Tier) -> Iterable[Case]:
    """In place and into another tensor, DeepSeek V4's head dim and a small one, views, offsets beyond 2^31."""
    axes: dict[str, Any] = {"arches": ARCHES, "fp8s": FP8S, "block_sizes": BLOCK_SIZES}
    shape: dict[str, Any] = {"tokens": (33,), "heads": (3,)}
    modes = ("inplace", "functional")
    plain: dict[str, Any] = {**axes, **shape, "index": ("int64",), "dtype": ("bf16",)}
    yield from cross(NAME, **plain, dim=(512, 128), mode=modes)
    yield from cross(NAME, **plain, dim=(128,), mode=("inplace",), recipes=("wide",))
    yield from cross(NAME, **plain, dim=(128,), mode=("functional",), recipes=("far",))
    padded: dict[str, Any] = {**axes, **shape, "index": ("int32",), "recipes": ("padded",), "mode": modes}
    yield from cross(NAME, **padded, dim=(512,), dtype=("bf16",))
    yield from cross(NAME, **padded, dim=(128,), dtype=("fp16", "fp32"))
    few: dict[str, Any] = {**axes, "tokens": (7,), "index": ("int32",), "dtype": ("bf16",)}
    yield from cross(NAME, **few, dim=(ROT + 1,), heads=(3,), mode=("functional",))
    yield from cross(NAME, **few, dim=(128,), heads=(20,), mode=("functional",), recipes=("padded",))
    yield from cross(NAME, **few, dim=(128,), heads=(3,), mode=("inplace",), recipes=("apart",))
    if tier != "quick":
        more: dict[str, Any] = {**axes, "recipes": ("padded",), "index": ("int32", "int64"), "mode": modes}
        yield from cross(NAME, **more, tokens=(1, 17, 65), heads=(1, 16, 20), dim=(512,), dtype=("bf16",))
        yield from cross(NAME, **more, tokens=(7,), heads=(64, 128), dim=(128, 512), dtype=tuple(DTYPES))


def inputs(case: Case, stream: Stream) -> Operands:
    """In place, o is the output; functional, the output holds a sentinel."""
    tokens, dim = case.integer("tokens"), case.integer("dim")
    shape, dtype = (tokens, case.integer("heads"), dim), DTYPES[str(case["dtype"])]
    o = heads(stream.child("o"), shape, dtype, rotated_lanes(dim, ROT, "last"))
    given, unread = cos_sin_inputs(case, stream, tokens)
    outputs = {"o": o}
    if case["mode"] == "functional":
        given |= {"o": o}
        outputs = {"out": torch.full_like(o, SENTINEL)}
    places = placements(case, {**given, **outputs}, wide="o")
    return Operands(given, outputs, placements=places, unread=unread)


def golden(case: Case, operands: Operands) -> Mapping[str, RotatedRows]:
    """float64 multiplication by the conjugate; unrotated lanes byte by byte."""
    tensors = {**operands.outputs, **operands.inputs}
    o, where, cache = (tensors[name] for name in ("o", "positions", "cos_sin_cache"))
    return {next(iter(operands.outputs)): rotated_rows(reference.inverse_rope(o, where, cache), o, "last")}


def peer(case: Case, arguments: dict[str, Any]) -> None:
    """Plain torch."""
    reference.peer_inverse_rope(**arguments)


def variant(case: Case, target: Target, dispatch: RopeDispatch) -> RopeVariant:
    """The dispatcher's decisions."""
    shape = {"tokens": case.integer("tokens"), "heads": case.integer("heads")}
    return rope_variant(target, tensor="v4", **shape, dispatch=dispatch)


def accepts(case: Case) -> bool:
    """All mixtures; tokens far apart must be few and small, or they need more addresses than there are."""
    return fits(case)


OP = register(
    Op(
        name=NAME,
        contract="the trailing lanes of attention outputs turn back by their token's angle; the others keep their bits",
        launcher="rocassay.kernels.rope.inverse_rope:inverse_rope",
        inputs=inputs,
        golden=golden,
        peer=peer,
        variant=variant,
        dispatch=DISPATCH,
        cases=cases,
        plan=PLAN,
        locate=locate,
        free={"tokens": (1, 80), "heads": (1, 20)},
        accepts=accepts,
        faults=(
            "inverse-rope-turns-forward",
            "rope-neox-hardcoded",
            "rope-first-instead-of-last",
            "rope-yarn-missing",
            "rope-token-offset-int32",
        ),
        probes=(
            Dispatch(lambda _: ("_inverse_rope_kernel",)),
            Strides(),
            Poison(),
            Invariance("token-order", permute_tokens, "a row turns by its own position, wherever it stands"),
        ),
        probed=lambda case: case.recipe == "padded" and case["dtype"] == "bf16",
    )
)
