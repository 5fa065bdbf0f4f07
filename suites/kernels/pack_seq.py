"""Op `pack_seq`: ragged rows into a padded batch, byte for byte."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import torch

from rocassay.harness.arch import Target
from rocassay.harness.cases import Case, cross
from rocassay.harness.gates import ExactBytes
from rocassay.harness.inputs import Operands, Placement, Stream
from rocassay.harness.ops import Op, Tier, register
from rocassay.harness.plan import RoundingPlan
from rocassay.harness.probes import Dispatch, Poison, Strides
from rocassay.harness.results import Coordinate
from rocassay.kernels.topk.dispatch import DISPATCH, PackVariant, TopKDispatch, pack_variant
from rocassay.references.topk import pack_seq as reference
from rocassay.suites.kernels.packed_inputs import (
    FAR,
    PADS,
    SURPLUS_ROWS,
    WRAP,
    features_of,
    fits,
    longest_of,
    padding,
    random_rows,
    request_rows,
    row_dtype,
    same_bytes,
)
from rocassay.suites.kernels.topk_axes import ARCHES, BLOCK_SIZES, PACKED_FP8S

NAME = "pack_seq"


def _sensible(case: Case) -> bool:
    """Only FP8 rows have a flavour, and not every padding suits every dtype."""
    kind = case.fp8 if case["dtype"] == "fp8" else str(case["dtype"])
    return (kind, str(case["pad"])) in PADS and (case["dtype"] == "fp8" or case.fp8 == PACKED_FP8S[0])


def cases(tier: Tier) -> Iterable[Case]:
    """Every dtype and padding, requests without rows, batches that are longer and shorter than the requests."""
    axes: dict[str, Any] = {"arches": ARCHES, "fp8s": PACKED_FP8S, "block_sizes": BLOCK_SIZES, "where": _sensible}
    small: dict[str, Any] = {**axes, "heads": (3,), "dims": (40,)}
    types = ("fp8", "bf16", "fp32", "uint8")
    pads = ("default", "finite")
    yield from cross(NAME, **small, dtype=types, pad=pads, lengths=("empties",), lmax=("room",))
    padded: dict[str, Any] = {**small, "recipes": ("padded",), "pad": ("finite",)}
    yield from cross(NAME, **padded, dtype=types, lengths=("tiles",), lmax=("max", "cut"))
    yield from cross(NAME, **small, dtype=("bf16",), pad=("default",), lengths=("equal", "none"), lmax=("max",))
    far: dict[str, Any] = {**small, "recipes": ("wide",), "dtype": ("uint8",), "lengths": ("far",)}
    yield from cross(NAME, **far, pad=("finite",), lmax=("max",))
    yield from cross(NAME, **{**far, "lengths": ("farther",)}, pad=("finite",), lmax=("max",))
    large: dict[str, Any] = {**axes, "heads": (3,), "dims": (400,), "lengths": ("long",), "dtype": ("uint8",)}
    yield from cross(NAME, **large, pad=("finite",), lmax=("max",))
    if tier != "quick":
        edges: dict[str, Any] = {**axes, "heads": (1,), "dims": (1, 576, 1025), "pad": pads}
        yield from cross(NAME, **edges, dtype=types, lengths=("empties", "tiles"), lmax=("room", "cut"))
        rows: dict[str, Any] = {**axes, "heads": (64,), "dims": (128,), "pad": ("finite",)}
        yield from cross(NAME, **rows, dtype=types, lengths=("empties",), lmax=("max",))


def inputs(case: Case, stream: Stream) -> Operands:
    """Rows of every bit pattern, a few more than the lengths ask for, and lengths that ask for more than there are."""
    lengths, features, dtype = request_rows(case), features_of(case), row_dtype(case)
    surplus = 0 if case.recipe == "wide" else SURPLUS_ROWS
    # A batch that is cut off also gets lengths that promise rows which do not exist.
    rows = sum(lengths) + (-1 if case["lmax"] == "cut" else surplus)
    x = random_rows(stream.child("x"), (rows, *features), dtype)
    unread = torch.zeros(x.shape, dtype=torch.bool)
    unread[sum(lengths) :] = True
    value, _ = padding(case)
    return Operands(
        inputs={"x": x, "lengths": torch.tensor(lengths, dtype=torch.int32)},
        outputs={"out": random_rows(stream.child("out"), (len(lengths), longest_of(case), *features), dtype)},
        scalars={} if value is None else {"pad_value": int(value)},
        placements=_placements(case, features),
        unread={"x": unread},
    )


def _placements(case: Case, features: tuple[int, int]) -> dict[str, Placement]:
    heads, dims = features
    row = heads * dims
    if case.recipe == "padded":
        pitch = row + 8
        request = longest_of(case) * pitch + 16
        return {"x": Placement((row + 24, dims, 1)), "out": Placement((request, pitch, dims, 1))}
    if case["lengths"] == "farther":
        # Pitches of 2^31 and more would be 64 bits wide by themselves.
        return {"out": Placement((FAR, FAR + 2**16, dims, 1), lead=WRAP)}
    if case.recipe == "wide":
        return {"x": Placement((FAR, dims, 1), lead=WRAP)}
    return {}


def golden(case: Case, operands: Operands) -> Mapping[str, ExactBytes]:
    """The whole batch."""
    _, pad = padding(case)
    out = operands.outputs["out"]
    packed = reference.pack_seq(operands.inputs["x"], operands.inputs["lengths"], out, pad=pad)
    return {"out": ExactBytes(same_bytes(out, packed))}


def peer(case: Case, arguments: dict[str, Any]) -> None:
    """Plain torch."""
    own = {name: value for name, value in arguments.items() if name != "pad_value"}
    reference.peer_pack_seq(**own, pad=padding(case)[1])


def variant(case: Case, target: Target, dispatch: TopKDispatch) -> PackVariant:
    """The tile of a byte move."""
    heads, dims = features_of(case)
    return pack_variant(target, features=heads * dims)


def locate(case: Case, operands: Operands, output: str, index: tuple[int, ...]) -> Coordinate:
    """Element of the batch -> request and position."""
    request, position, head, dim = index
    where = {"request": request, "position": position, "head": head, "dim": dim}
    return Coordinate(output=output, index=index, token=position, where=where)


def accepts(case: Case) -> bool:
    """Paddings and flavours that there are, on rows that there are."""
    return _sensible(case) and fits(case)


OP = register(
    Op(
        name=NAME,
        contract="out[b, i] = x[lengths[:b].sum() + i] for i below lengths[b], padding elsewhere, bit for bit",
        launcher=f"rocassay.kernels.topk.{NAME}:{NAME}",
        inputs=inputs,
        golden=golden,
        peer=peer,
        variant=variant,
        dispatch=DISPATCH,
        cases=cases,
        plan=RoundingPlan((), "bytes are moved, never computed"),
        locate=locate,
        free={"heads": (1, 8), "dims": (1, 200), "lengths": (1, 12)},
        accepts=accepts,
        faults=(
            "pack-empty-request-counted",
            "pack-prefix-inclusive",
            "pack-padding-left-stale",
            "pack-flavour-of-padding",
            "pack-longer-than-the-batch",
            "pack-row-stride-assumed-contiguous",
            "pack-row-offset-int32",
        ),
        probes=(Dispatch(lambda _: ("_pack_kernel",)), Strides(), Poison()),
        probed=lambda case: case.recipe == "padded",
    )
)
