"""Op `build_ragged_indices_from_dense`: dense index rows with holes to one CSR list."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rocassay.harness.arch import Target
from rocassay.harness.cases import Case, cross
from rocassay.harness.gates import ExactBytes
from rocassay.harness.inputs import Operands, Stream
from rocassay.harness.ops import Expectation, Op, Tier, register
from rocassay.harness.plan import RoundingPlan
from rocassay.harness.probes import Dispatch, Invariance, Poison, Strides
from rocassay.harness.probes.metamorphic import Transformed
from rocassay.harness.probes.probe import Outputs
from rocassay.harness.results import Coordinate
from rocassay.kernels.ragged.variants import DISPATCH, RaggedDispatch, RaggedVariant, ragged_variant
from rocassay.references.ragged import build_ragged_indices_from_dense as reference
from rocassay.suites.kernels.ragged_axes import ARCHES, FP8S, NO_PAGES
from rocassay.suites.kernels.ragged_inputs import (
    EDGE_WIDTHS,
    MOST_ENTRIES,
    MOST_FAR,
    DefinedPart,
    Tail,
    integer_type,
    integers,
    locate_entry,
    one_of,
    reversed_list,
    sentinels,
    strided,
)

NAME = "build_ragged_indices_from_dense"

NUM_ROWS = 1000
"""Rows that indices may name where there is a bound."""

NEEDLES = (NUM_ROWS, NUM_ROWS - 1, -1, 0, NUM_ROWS + 1, -(2**31), 2**31 - 1)
WIDE_NEEDLES = (2**32 + 5, 2**32 - 1, 2**31, -(2**32) + 9)
"""What narrows to 5, -1, -2^31 and 9."""


def cases(tier: Tier) -> Iterable[Case]:
    """With and without a bound, every integer type of lengths, more than 1024 columns, more than 1024 tokens."""
    axes: dict[str, Any] = {"arches": ARCHES, "fp8s": FP8S, "block_sizes": NO_PAGES}
    mixed: dict[str, Any] = {**axes, "tokens": (37,), "width": (24,), "bound": ("rows", "none")}
    yield from cross(NAME, **mixed, recipes=("padded",), dtype=("int32", "int64"), lengths=("int32", "int64"))
    yield from cross(NAME, **mixed, dtype=("int32",), lengths=("int32", "int16", "uint8"))
    plain: dict[str, Any] = {**axes, "bound": ("rows",), "dtype": ("int32",), "lengths": ("int32",)}
    yield from cross(NAME, **plain, recipes=("padded",), tokens=(5,), width=(1030,))
    for tokens, width in ((2060, 3), (0, 24), (3, 0), (1, 1)):
        yield from cross(NAME, **plain, tokens=(tokens,), width=(width,))
    yield from cross(NAME, **plain, recipes=("wide",), tokens=(19,), width=(3,))
    if tier != "quick":
        long: dict[str, Any] = {**plain, "bound": ("rows", "none"), "recipes": ("padded",), "dtype": ("int32", "int64")}
        yield from cross(NAME, **long, tokens=(9,), width=EDGE_WIDTHS)


def _lengths(case: Case, tokens: int, width: int) -> NDArray[np.int64]:
    """Every kind of length, harmless ones outside [0, W] included."""
    kinds = [width, width + 5, 1, 0, width // 2, max(0, width - 1)]
    if case["lengths"] != "uint8":
        kinds += [-3, 2**15 - 1]
    return np.resize(np.array(kinds, dtype=np.int64), tokens)


def inputs(case: Case, stream: Stream) -> Operands:
    """Distinct-looking values with a needle in every third column, and just as real ones beyond every length."""
    tokens, width, dtype = case.integer("tokens"), case.integer("width"), integer_type(case)
    values = stream.child("indices").integers(0, NUM_ROWS, (tokens, width))
    needles = NEEDLES + (WIDE_NEEDLES if dtype is torch.int64 else ())
    for token in range(tokens):
        places = np.arange((token + 1) % 3, width, 3)
        values[token, places] = np.resize(np.roll(needles, token), len(places))
    lengths = _lengths(case, tokens, width)
    tensors = {
        "indices": integers(values, dtype),
        "lengths": integers(lengths, integer_type(case, "lengths")),
    }
    bounded = one_of(case, "bound", ("rows", "none")) == "rows"
    return Operands(
        inputs=tensors,
        outputs={"flat": sentinels(tokens * width), "indptr": sentinels(tokens + 1)},
        scalars={"num_rows": NUM_ROWS if bounded else -1},
        workspaces={"counts": sentinels(tokens)},
        placements=strided(case, tensors),
        unread={"indices": torch.arange(width) >= torch.from_numpy(lengths)[:, None]},
    )


def _expected(case: Case, operands: Operands) -> reference.RaggedIndices:
    num_rows = int(operands.scalars["num_rows"])
    return reference.build_ragged_indices_from_dense(
        **operands.inputs, flat=operands.outputs["flat"], num_rows=num_rows
    )


def golden(case: Case, operands: Operands) -> Mapping[str, Expectation]:
    """All bounds, and the entries below the last one."""
    expected = _expected(case, operands)
    return {"flat": DefinedPart(expected.flat, expected.defined), "indptr": ExactBytes(expected.indptr)}


def peer(case: Case, arguments: dict[str, Any]) -> None:
    """Plain torch."""
    given = {name: value for name, value in arguments.items() if name != "counts"}
    reference.peer_build_ragged_indices_from_dense(**given)


def variant(case: Case, target: Target, dispatch: RaggedDispatch) -> RaggedVariant:
    """The dispatcher's decisions."""
    return ragged_variant(target, columns=case.integer("width"), dispatch=dispatch)


def locate(case: Case, operands: Operands, output: str, index: tuple[int, ...]) -> Coordinate:
    """Entry -> token and rank in its row."""
    return locate_entry(output, index, _expected(case, operands).indptr)


def kernels(case: Case) -> tuple[str, ...]:
    """One launch a stage; an empty batch needs its bounds only, empty rows need no packing."""
    count, indptr, pack = "_count_dense_kernel", "_build_indptr_kernel", "_pack_dense_to_ragged_kernel"
    if not case["tokens"]:
        return (indptr,)
    return (count, indptr, pack) if case["width"] else (count, indptr)


def reverse_rows(case: Case, operands: Operands) -> Transformed:
    """The rows in reverse order."""

    def back(outputs: Outputs) -> Outputs:
        flat, indptr = reversed_list(outputs["flat"], outputs["indptr"])
        return {"flat": flat, "indptr": indptr}

    inputs = {name: tensor.flip(0) for name, tensor in operands.inputs.items()}
    unread = {name: mask.flip(0) for name, mask in operands.unread.items()}
    return case, replace(operands, inputs=inputs, unread=unread), back


def accepts(case: Case) -> bool:
    """What a byte can tell of lengths, and not more entries than an interpreter packs in seconds."""
    tokens, width = case.integer("tokens"), case.integer("width")
    near = case.recipe != "wide" or tokens <= MOST_FAR
    return near and tokens * width <= MOST_ENTRIES and (case["lengths"] != "uint8" or width <= 250)


OP = register(
    Op(
        name=NAME,
        contract="compact dense index rows with holes into one CSR list, order kept",
        launcher=f"rocassay.kernels.ragged.{NAME}:{NAME}",
        inputs=inputs,
        golden=golden,
        peer=peer,
        variant=variant,
        dispatch=DISPATCH,
        cases=cases,
        plan=RoundingPlan((), "indices are moved, never computed"),
        locate=locate,
        free={"tokens": (0, 70), "width": (0, 300)},
        accepts=accepts,
        faults=(
            "ragged-indptr-item",
            "ragged-indptr-without-leading-zero",
            "ragged-indptr-exclusive",
            "ragged-num-rows-inclusive",
            "ragged-length-not-clamped",
            "ragged-holes-verbatim",
            "ragged-length-is-count",
            "ragged-rank-forgets-earlier-columns",
        ),
        probes=(
            Dispatch(kernels),
            Strides(),
            Poison(),
            Tail("flat"),
            Invariance("row-order", reverse_rows, "rows are independent"),
        ),
        probed=lambda case: case.recipe == "padded" and case["width"] == 24,
    )
)
