"""Op `per_token_group_quant_fp8`: the indexer's query quantiser, one scale a group."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from rocassay.harness.arch import Target
from rocassay.harness.cases import Case, MalformedCase, cross
from rocassay.harness.gates import ExactBytes
from rocassay.harness.inputs import Operands, Placement, Stream
from rocassay.harness.ops import Op, Tier, register
from rocassay.harness.plan import RoundingPlan
from rocassay.harness.probes import Dispatch, Strides
from rocassay.harness.results import Coordinate
from rocassay.kernels.prefill.dispatch import DISPATCH, PrefillDispatch, QuantVariant, quant_variant
from rocassay.references.prefill import per_token_group_quant_fp8 as reference
from rocassay.suites.kernels.indexer_inputs import POISON, WRAP, random_bytes
from rocassay.suites.kernels.midpoints import groups_at_midpoints
from rocassay.suites.kernels.prefill_axes import ARCHES, FP8S, NO_PAGES

NAME = "per_token_group_quant_fp8"
RECIPES = ("tagged", "ordinary", "padded", "wide", "single", "midpoints")
WIDE_PITCH = WRAP // 4
"""Codes from row to row in the recipe `wide`: row 4 starts 2^31 elements into x_q."""

DTYPES = {"bf16": torch.bfloat16, "fp16": torch.float16, "fp32": torch.float32}
BOUNDARY = 1.75
"""Mantissa of 448 and 224: amax = 1.75 * 2^k gives a scale that is exactly a power of two."""
JUST_ABOVE = BOUNDARY + 2.0**-7
"""The next bf16: the scale is the next power of two."""
EXPONENTS = (-30, -20, -8, -1, 0, 3, 8)


def cases(tier: Tier) -> Iterable[Case]:
    """Production groups of bf16 queries; full adds every dtype, group size and row count around the program's tile."""
    axes: dict[str, Any] = {"arches": ARCHES, "fp8s": FP8S, "block_sizes": NO_PAGES}
    formats: dict[str, Any] = {"scale_fmt": ("ue8m0", "float")}
    one: dict[str, Any] = {"dtype": ("bf16",), "group": (128,)}
    yield from cross(NAME, **axes, recipes=("tagged", "padded"), rows=(9,), groups=(8,), **one, **formats)
    yield from cross(NAME, **axes, recipes=("padded",), rows=(33,), groups=(1,), **one, **formats)
    yield from cross(
        NAME, **axes, recipes=("padded",), rows=(9,), groups=(8,), dtype=("fp32",), group=(128,), scale_fmt=("ue8m0",)
    )
    yield from cross(NAME, **axes, recipes=("ordinary",), rows=(9,), groups=(1,), **one, scale_fmt=("ue8m0",))
    few: dict[str, Any] = {**axes, "arches": ARCHES[:1], "fp8s": FP8S[:1], "dtype": ("fp32",), "group": (128,)}
    yield from cross(NAME, **few, recipes=("single",), rows=(1,), groups=(2,), scale_fmt=("ue8m0",))
    yield from cross(NAME, **axes, recipes=("wide",), rows=(6,), groups=(4,), **one, scale_fmt=("ue8m0",))
    codes: dict[str, Any] = {"recipes": ("midpoints",), "dtype": ("fp32",), "group": (128,), "scale_fmt": ("ue8m0",)}
    yield from cross(NAME, **axes, **codes, rows=(5,), groups=(2,))
    if tier != "quick":
        padded: dict[str, Any] = {**axes, "recipes": ("padded",), **formats}
        yield from cross(NAME, **padded, rows=(11,), groups=(7,), dtype=tuple(DTYPES), group=(32, 64, 256))
        yield from cross(NAME, **padded, rows=(1, 31, 32, 65), groups=(3,), dtype=tuple(DTYPES), group=(128,))


def inputs(case: Case, stream: Stream) -> Operands:
    """Groups of distinct magnitude, among them zeros, denormals and scales exactly at a power of two."""
    rows, groups, size = case.integer("rows"), case.integer("groups"), case.integer("group")
    dtype = DTYPES[str(case["dtype"])]
    x = _groups(stream.child("x"), rows * groups, size, edged=case.recipe != "ordinary")
    if case.recipe == "single":  # the fp32 above 1.75, whose scale is the next power of two
        peak = np.abs(x).max()
        x = np.where(np.abs(x) == peak, np.sign(x) * (BOUNDARY + 2.0**-23), x / peak)
    elif case.recipe == "midpoints":
        x = groups_at_midpoints(case.fp8, dtype, rows * groups, size)
    return Operands(
        inputs={"x": torch.from_numpy(x.reshape(rows, groups * size)).to(dtype)},
        outputs={
            "x_q": random_bytes(stream.child("x_q"), (rows, groups * size)),
            "x_s": torch.full((rows, groups), POISON),
        },
        scalars={"group_size": size, "scale_fmt": case["scale_fmt"]},
        placements=_placements(case),
    )


def _groups(stream: Stream, count: int, size: int, *, edged: bool) -> NDArray[np.float64]:
    """[count, size]: group g has magnitude 2^(g mod 7 - 3), but if `edged` every other one is of `_edges`."""
    noise = np.clip(np.rint(stream.gaussian((count, size)) * 32), -120, 120) / 128
    group = np.arange(count)
    noise[group, (5 * group + 3) % size] = np.where(group % 2, -1.0, 1.0)
    values = noise * np.exp2(group % 7 - 3.0)[:, None]
    if edged:
        edges = _edges(noise[0] / noise[0].max())[: (count + 1) // 2]
        values[0 : 2 * len(edges) : 2] = edges
    return values


def _edges(shape: NDArray[np.float64]) -> list[NDArray[np.float64]]:
    """Groups at the quantiser's edges; `shape` has largest magnitude 1."""
    negatives = np.full_like(shape, -(2.0**-14))
    negatives[7] = 1.0
    one_hot = np.zeros_like(shape)
    one_hot[-1] = -3.0
    small = [np.zeros_like(shape), np.full_like(shape, 2.0**-100), shape * 2.0**-34, shape * 2.0**-20]
    bounds = [shape * (mantissa * 2.0**k) for k in EXPONENTS for mantissa in (JUST_ABOVE, BOUNDARY)]
    return [small[0], bounds[8], negatives, one_hot, *small[1:], *bounds]


def _placements(case: Case) -> dict[str, Placement]:
    rows, groups = case.integer("rows"), case.integer("groups")
    columns = groups * case.integer("group")
    if case.recipe == "wide":
        return {"x_q": Placement((WIDE_PITCH, 1), lead=WRAP)}
    if case.recipe == "padded":  # scales of several groups column-major, as block-scaled matrix products take them
        return {
            "x": Placement((columns + 64, 1)),
            "x_q": Placement((columns + 32, 1)),
            "x_s": Placement((1, rows + 3) if groups > 1 else (3, 1)),
        }
    if case.recipe not in ("tagged", "ordinary", "single", "midpoints"):
        raise MalformedCase(f"recipe {case.recipe!r} of case {case} is unknown; use one of {', '.join(RECIPES)}")
    return {}


def scale_format(case: Case) -> Literal["ue8m0", "float"]:
    """The case's kind of scale."""
    return "ue8m0" if case["scale_fmt"] == "ue8m0" else "float"


def golden(case: Case, operands: Operands) -> Mapping[str, ExactBytes]:
    """Every code and every scale; float scales may be one ulp off, and codes at a midpoint on either side of it."""
    size = case.integer("group")
    x = operands.inputs["x"]
    done = reference.per_token_group_quant_fp8(x, fp8=case.fp8, scale_fmt=scale_format(case), group_size=size)
    bits = done.scales.view(torch.int32)
    near = tuple((bits + step).view(torch.float32) for step in (-done.scale_ulp, done.scale_ulp))
    return {
        "x_q": ExactBytes(done.codes, (done.other_codes,)),
        "x_s": ExactBytes(done.scales, near if done.scale_ulp else ()),
    }


def peer(case: Case, arguments: dict[str, Any]) -> None:
    """Plain torch."""
    reference.peer_per_token_group_quant_fp8(**arguments, fp8=case.fp8)


def variant(case: Case, target: Target, dispatch: PrefillDispatch) -> QuantVariant:
    """The dispatcher's decisions."""
    return quant_variant(target, fp8=case.fp8, dispatch=dispatch)


def locate(case: Case, operands: Operands, output: str, index: tuple[int, ...]) -> Coordinate:
    """Element of a row -> group and dimension within it."""
    row, column = index
    group, dim = divmod(column, case.integer("group")) if output == "x_q" else (column, 0)
    return Coordinate(output=output, index=index, where={"row": row, "group": group, "dim": dim})


def accepts(case: Case) -> bool:
    """All mixtures; rows far apart must be few, or they need more addresses than there are."""
    return case.recipe != "wide" or case.integer("rows") <= 6


OP = register(
    Op(
        name=NAME,
        contract="x_q = fp8(x / s) with one scale s = max(amax, 1e-10) / Fmax a group, rounded up to 2^k if ue8m0",
        launcher="rocassay.kernels.prefill.per_token_group_quant_fp8:per_token_group_quant_fp8",
        inputs=inputs,
        golden=golden,
        peer=peer,
        variant=variant,
        dispatch=DISPATCH,
        cases=cases,
        plan=RoundingPlan((), "scale and codes are each one correctly rounded fp32 operation: every byte is defined"),
        locate=locate,
        free={"rows": (1, 40), "groups": (1, 9)},
        accepts=accepts,
        faults=(
            "q-ue8m0-rounding-missing",
            "ue8m0-rounded-after-quantising",
            "e8m0-zero-amax-block",
            "q-quant-floor-of-the-key-writer",
            "q-quant-fnuz-scaled-to-240",
            "q-quant-flavour-ignored",
            "q-quant-row-offset-int32",
        ),
        probes=(Dispatch(lambda _: ("_per_token_group_quant_fp8_kernel",)), Strides()),
        probed=lambda case: case.recipe == "padded",
    )
)
