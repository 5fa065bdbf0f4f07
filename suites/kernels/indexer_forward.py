"""Op `indexer_forward`: RoPE, query codes, head weights and cached keys of the V3.2 Indexer, fused or one by one."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from rocassay.harness.arch import Target
from rocassay.harness.cases import Case, MalformedCase, cross
from rocassay.harness.codegen_lint import Codegen
from rocassay.harness.gates import ExactBytes, Whitened
from rocassay.harness.inputs import Operands, Placement, Stream
from rocassay.harness.ops import Expectation, Matrix, Op, Tier, expect, register
from rocassay.harness.plan import RoundingPlan
from rocassay.harness.probes import Allowance, Dispatch, Invariance, Strides
from rocassay.harness.probes.metamorphic import Transformed
from rocassay.harness.results import Coordinate
from rocassay.kernels.indexer.forward_variant import DISPATCH, ForwardDispatch, ForwardVariant, forward_variant
from rocassay.kernels.rope.implementations import ROPES
from rocassay.references.indexer import indexer_forward as reference
from rocassay.references.rope.rotation import Style
from rocassay.suites.kernels.indexer_inputs import (
    HEAD_DIM,
    POISON,
    RECORD,
    WIDE_PAGES,
    WRAP,
    cache_placement,
    contract_layout,
    layout_name,
    random_bytes,
)
from rocassay.suites.kernels.midpoints import groups_at_midpoints
from rocassay.suites.kernels.rope_inputs import DTYPES, ROT, STYLES, cos_sin_inputs, rotated_rows

NAME = "indexer_forward"
ARCHES = ("gfx942", "gfx950")
FP8S = ("e4m3fn", "e4m3fnuz")
BLOCK_SIZES = (1, 16, 64)
RECIPES = ("tagged", "padded", "wide", "far", "apart", "midpoints")
HEADS = 6
"""Heads of the quick tier: no power of two, so that a program's tile of heads reaches beyond the last."""

PROJECTION = 192
"""Columns of the fused projection [k | weights] of which both are slices (vLLM wk_weights_proj)."""

MUTATING = ("custom_op",)
"""Implementations that rotate the tensors they are given, by the contract and not by the table under test."""

_FAR_PITCH = 2**25
"""Elements from token to token in the recipe `far`: token 64 starts at element 2^31, which no int32 counts. What a
wrapped offset reaches lies in the lead."""

_APART = 2**29
"""Elements from head to head in the recipe `apart`: head 4 starts at element 2^31."""

_LARGE = 2.0**20
"""Factor of activations and weights in the recipe `far`: bf16 holds them, fp16 does not."""

EXPONENTS = (-20, -8, 0, 3)
BOUNDARY = 1.75
"""Mantissa of 448 and 224: amax = 1.75 * 2^k gives a scale that is exactly a power of two."""
JUST_ABOVE = BOUNDARY + 2.0**-7
"""The next bf16: the scale is the next power of two."""
HAIR_ABOVE = BOUNDARY + 2.0**-23
"""So it is for the next fp32, whose quotient by 448 or 224 is one ulp above a power of two."""

EXPECTED = expect(
    Matrix(
        ops=("indexer_forward",),
        arches=("gfx942", "gfx950"),
        fp8s=("e4m3fn", "e4m3fnuz"),
        block_sizes=(1, 16, 64),
    )
)
"""Every cell must run; the values are repeated on purpose: an axis lost above shows as a red cell."""


def cases(tier: Tier) -> Iterable[Case]:
    """Each kind of RoPE on the path that suits it, both indexers, and the fused kernel, whatever RoPE there is."""
    axes: dict[str, Any] = {"arches": ARCHES, "fp8s": FP8S, "block_sizes": BLOCK_SIZES}
    plain: dict[str, Any] = {"tokens": (19,), "heads": (HEADS,), "dtype": ("bf16",), "index": ("int64",), "ratio": (1,)}

    def paths(tensor: str, rope: str, path: str, out: str, recipe: str, **more: Any) -> list[Case]:
        one: dict[str, Any] = {**axes, **plain, "recipes": (recipe,), **more}
        return cross(NAME, **one, tensor=(tensor,), rope=(rope,), path=(path,), out=(out,))

    yield from paths("v32_indexer", "custom_op", "unfused", "self", "tagged")
    yield from paths("glm_indexer", "yarn", "unfused", "new", "padded")
    yield from paths("v32_indexer", "yarn", "fused", "new", "padded")
    yield from paths("glm_indexer", "custom_op", "fused", "new", "tagged")
    yield from paths("v32_indexer", "custom_op", "fused", "new", "wide", block_sizes=(16,), index=("int32",))
    yield from paths("v32_indexer", "native", "unfused", "self", "tagged", block_sizes=(64,))
    # More tokens and heads than one program takes, on both paths, and whatever 16 bits of another kind cannot hold.
    far: dict[str, Any] = {"fp8s": ("e4m3fn",), "block_sizes": (16,), "tokens": (70,), "heads": (40,)}
    yield from paths("v32_indexer", "custom_op", "unfused", "self", "far", **far)
    yield from paths("glm_indexer", "yarn", "fused", "new", "far", **far)
    yield from paths("glm_indexer", "yarn", "fused", "new", "midpoints", block_sizes=(16,), dtype=("fp32",))
    # So many tokens that keys, too, have the quantiser's edges above its floor.
    exact: dict[str, Any] = {"block_sizes": (16,), "dtype": ("fp32",), "tokens": (28,)}
    yield from paths("v32_indexer", "custom_op", "unfused", "self", "tagged", **exact)
    yield from paths("v32_indexer", "custom_op", "fused", "new", "apart", **exact)
    if tier == "quick":
        return
    shapes: dict[str, Any] = {"tokens": (1, 33, 65), "heads": (16, 64), "dtype": ("bf16", "fp16"), "block_sizes": (64,)}
    for tensor in ("v32_indexer", "glm_indexer"):
        for rope in ROPES:
            yield from paths(tensor, rope, "unfused", "self", "tagged", block_sizes=(32, 128))
            yield from paths(tensor, rope, "unfused", "new", "padded", block_sizes=(256,))
        yield from paths(tensor, "yarn", "fused", "new", "padded", **shapes)


def style_of(case: Case) -> Style:
    """How lanes pair up, by the contract."""
    return STYLES[str(case["tensor"])][0]


def inputs(case: Case, stream: Stream) -> Operands:
    """Rows of distinct magnitude, the quantisers' edges among them; q and k are outputs where they change in place."""
    tokens, heads, dtype = case.integer("tokens"), case.integer("heads"), DTYPES[str(case["dtype"])]
    given, unread = cos_sin_inputs(case, stream, tokens)
    above = HAIR_ABOVE if dtype is torch.float32 else JUST_ABOVE
    q = _rows(stream.child("q"), tokens * heads, above).reshape(tokens, heads, HEAD_DIM)
    k = _rows(stream.child("k"), tokens, above)
    if case.recipe == "midpoints":
        q[..., ROT:] = _kept_at_midpoints(case.fp8, dtype, tokens * heads).reshape(tokens, heads, -1)
        k[:, ROT:] = _kept_at_midpoints(case.fp8, dtype, tokens)
        q[..., :ROT], k[:, :ROT] = 0.0, 0.0
    if case.recipe == "far":
        q, k = q * _LARGE, k * _LARGE
    activations = {"q": torch.from_numpy(q).to(dtype), "k": torch.from_numpy(k).to(dtype)}
    drawn = stream.child("weights").gaussian((tokens, heads)) * (_LARGE if case.recipe == "far" else 1.0)
    weights = torch.from_numpy(drawn).to(dtype)
    slots, cache = _cache(case, stream, tokens)
    written = {
        "q_fp8": random_bytes(stream.child("q_fp8"), (tokens, heads, HEAD_DIM)),
        "weights_out": torch.full((tokens, heads), POISON),
        "kv_cache": cache,
    }
    fixed = {**given, "weights": weights, "slot_mapping": slots}
    own = case["out"] == "self"
    rotated = {} if own else {f"{n}_rotated": torch.full_like(t, torch.nan) for n, t in activations.items()}
    return Operands(
        inputs=fixed if own else fixed | activations,
        outputs=written | activations if own else written,
        workspaces={"q_scale": torch.full((tokens, heads), torch.nan), **rotated},
        placements=_placements(case),
        unread=unread,
    )


def _rows(stream: Stream, count: int, above: float) -> NDArray[np.float64]:
    """[count, 128]: row r has magnitude 2^(r mod 7 - 3); every third one is an edge of a quantiser instead.

    The rotated lanes of an edge are zero, so that its largest lane keeps its value at every position.
    """
    noise = np.clip(np.rint(stream.gaussian((count, HEAD_DIM)) * 32), -120, 120) / 128
    row = np.arange(count)
    noise[row, (5 * row + 3) % HEAD_DIM] = np.where(row % 2, -1.0, 1.0)
    values = noise * np.exp2(row % 7 - 3.0)[:, None]
    edges = _edges(noise[0], above)[: (count + 2) // 3]
    values[0 : 3 * len(edges) : 3] = edges
    return values


def _kept_at_midpoints(fp8: str, dtype: torch.dtype, rows: int) -> NDArray[np.float64]:
    """[rows, 64]: lanes that no position changes."""
    return groups_at_midpoints(fp8, dtype, rows, HEAD_DIM - ROT)


def _edges(noise: NDArray[np.float64], above: float) -> list[NDArray[np.float64]]:
    shape = np.where(np.arange(HEAD_DIM) < ROT, 0.0, noise)
    shape /= np.abs(shape).max()
    one_hot = np.zeros(HEAD_DIM)
    one_hot[-1] = -3.0
    negatives = np.where(np.arange(HEAD_DIM) < ROT, 0.0, -(2.0**-14))
    negatives[ROT + 7] = 1.0
    small = [np.zeros(HEAD_DIM), shape * 2.0**-20, one_hot, negatives, shape * 2.0**-34, shape * 2.0**-100]
    return [*small, *(shape * (mantissa * 2.0**k) for k in EXPONENTS for mantissa in (above, BOUNDARY))]


def _cache(case: Case, stream: Stream, tokens: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Slots in random order, one skipped now and then, and a cache of random bytes."""
    distant = case.recipe in ("wide", "far")
    blocks = WIDE_PAGES if distant else max(2, -(-2 * tokens // case.block_size))
    slots = stream.child("slots").permutation(blocks * case.block_size)
    if distant:
        slots = slots[slots >= blocks * case.block_size * 15 // 16]
    mapping = torch.from_numpy(slots[:tokens].copy())
    mapping[5::11] = -1
    mapping = mapping.to(torch.int32) if case.recipe == "far" else mapping
    return mapping, random_bytes(stream.child("kv_cache"), (blocks, case.block_size, RECORD))


def _placements(case: Case) -> dict[str, Placement]:
    heads = case.integer("heads")
    if case.recipe not in RECIPES:
        raise MalformedCase(f"recipe {case.recipe!r} of case {case} is unknown; use one of {', '.join(RECIPES)}")
    if case.recipe == "apart":
        apart = (HEAD_DIM, _APART, 1)
        return {"q": Placement(apart, lead=4 * WRAP), "q_fp8": Placement(apart, lead=WRAP)}
    if case.recipe == "far":
        return {
            **cache_placement(replace(case, recipe="wide")),
            "q": Placement((_FAR_PITCH, HEAD_DIM, 1), lead=2**32),
            "k": Placement((_FAR_PITCH, 1), lead=2**32),
            "weights": Placement((_FAR_PITCH, 1), lead=2**32),
        }
    if case.recipe != "padded":
        return cache_placement(case)
    head = HEAD_DIM + 64
    return {
        **cache_placement(case),
        "q": Placement((head * heads + 32, head, 1)),
        "k": Placement((PROJECTION, 1)),
        "weights": Placement((PROJECTION, 1)),
        "positions": Placement((2 if case.integer("tokens") > 1 else 1,)),
        "cos_sin_cache": Placement((ROT + 16, 1)),
        "q_fp8": Placement((HEAD_DIM * heads + 48, HEAD_DIM, 1)),
        "weights_out": Placement((heads + 5, 1)),
        "slot_mapping": Placement((3 if case.integer("tokens") > 1 else 1,)),
    }


def golden(case: Case, operands: Operands) -> Mapping[str, Expectation]:
    """Bytes of codes and cache, weights within the hard bound of their shared roundings, and q and k if they change."""
    tensors = {**operands.inputs, **operands.outputs}
    names = ("positions", "q", "k", "weights", "cos_sin_cache", "slot_mapping", "kv_cache")
    done = reference.indexer_forward(
        **{name: tensors[name] for name in names}, style=style_of(case), layout=layout_name(case), fp8=case.fp8
    )
    weights = Whitened(done.weights.value, done.weights.sigma, done.weights.bound, done.weighed, model_holds=False)
    expectations: dict[str, Expectation] = {
        "q_fp8": ExactBytes(done.codes[0], done.codes[1:]),
        "weights_out": weights,
        "kv_cache": ExactBytes(done.cache[0], done.cache[1:]),
    }
    if case["out"] == "self":
        expectations["q"] = rotated_rows(done.q, tensors["q"], "first")
        expectations["k"] = rotated_rows(done.k, tensors["k"], "first")
    return expectations


def peer(case: Case, arguments: dict[str, Any]) -> None:
    """Plain torch."""
    reference.peer_indexer_forward(
        **arguments, style=style_of(case), layout=layout_name(case), fp8=case.fp8, in_place=case["out"] == "self"
    )


def variant(case: Case, target: Target, dispatch: ForwardDispatch) -> ForwardVariant:
    """The dispatcher's decisions for the RoPE that the case's model holds."""
    path: Literal["unfused", "fused"] = "fused" if case["path"] == "fused" else "unfused"
    return forward_variant(
        target,
        rope=ROPES[str(case["rope"])],
        tensor=str(case["tensor"]),
        fp8=case.fp8,
        block_size=case.block_size,
        tokens=case.integer("tokens"),
        heads=case.integer("heads"),
        path=path,
        dispatch=dispatch,
    )


def expected_kernels(case: Case) -> tuple[str, ...]:
    """One kernel, or four; six where the RoPE returns copies that have to be put together."""
    if case["path"] == "fused":
        return ("_indexer_qk_rope_quant_and_cache_kernel",)
    put_together = () if case["rope"] in MUTATING else ("_concatenate_kernel", "_concatenate_kernel")
    quantised = ("_per_token_group_quant_fp8_kernel", "_indexer_weights_kernel", "_indexer_k_quant_and_cache_kernel")
    return ("_apply_rope_kernel", *put_together, *quantised)


def locate(case: Case, operands: Operands, output: str, index: tuple[int, ...]) -> Coordinate:
    """Token, head and dimension, or the cached key and its byte."""
    if output == "kv_cache":
        block, row, byte = index
        offset = row * RECORD + byte
        token, record_byte = contract_layout(case).locate(offset) or (row, byte)
        return Coordinate(output=output, index=index, block=block, token=token, byte=record_byte, offset=offset)
    names = ("token", "dim") if output == "k" else ("token", "head", "dim")
    where = dict(zip(names, index, strict=False))
    return Coordinate(output=output, index=index, where={**where, "position": _position(operands, index[0])})


def _position(operands: Operands, token: int) -> int:
    return int(operands.inputs["positions"][token])


def other_path(case: Case, operands: Operands) -> Transformed:
    """The same tokens through the other path: fused or not; where q and k change in place, copied or not."""
    swapped = {"path": {"fused": "unfused", "unfused": "fused"}}
    if case["out"] == "self":
        swapped = {"rope": {"custom_op": "native", "native": "custom_op", "yarn": "custom_op"}}
    params = tuple((name, swapped[name][str(value)] if name in swapped else value) for name, value in case.params)
    return replace(case, params=params), operands, lambda outputs: outputs


def accepts(case: Case) -> bool:
    """The fused kernel has results of its own; the unfused quantiser needs queries without gaps between heads."""
    if case.recipe == "far" and case["dtype"] != "bf16":
        return False
    if case.recipe == "apart" and (case["path"] == "unfused" or case.integer("heads") > HEADS):
        return False
    return case["out"] == "new" or (case["path"] == "unfused" and case.recipe != "padded")


OP = register(
    Op(
        name=NAME,
        contract="q leaves as rotated fp8 codes, its scales in the head weights; k, rotated and quantised, is cached",
        launcher="rocassay.kernels.indexer.indexer_forward:indexer_forward",
        inputs=inputs,
        golden=golden,
        peer=peer,
        variant=variant,
        dispatch=DISPATCH,
        cases=cases,
        plan=RoundingPlan(
            (("rotation", "bfloat16"), ("head weights", "float32")),
            "one rounding of the rotated lanes; scales are powers of two, so that no division rounds",
        ),
        locate=locate,
        free={"tokens": (1, 70), "heads": (1, 24)},
        accepts=accepts,
        layout=contract_layout,
        faults=(
            "rope-not-inplace-fast-path",
            "rope-inplace-fed-to-concatenation",
            "indexer-rope-gate-is-enabled",
            "indexer-rope-neox-vs-gptj",
            "double-rope",
            "q-ue8m0-rounding-missing",
            "ue8m0-rounded-after-quantising",
            "e8m0-zero-amax-block",
            "indexer-forward-caches-unrotated-key",
            "q-quant-floor-of-the-key-writer",
            "indexer-weights-without-query-scale",
            "dsv4-hardcoded-float8e4nv",
            "idx-shuffle-at-bs1",
            "paged-stride-assumed-contiguous",
            "indexer-block-id-int32",
        ),
        probes=(
            Dispatch(expected_kernels),
            Strides(),
            Codegen(lambda case: case.recipe == "wide" and case.fp8 == "e4m3fn"),
            Invariance("other-path", other_path, "whichever path is taken, the same bytes leave the indexer"),
        ),
        probed=lambda case: case.recipe == "padded" and case["out"] == "new",
        allocations=Allowance(2, "the unfused path's native RoPE returns new q and k"),
    )
)
