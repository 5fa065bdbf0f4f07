"""Op `unpack_seq`: a padded batch into ragged rows, byte for byte."""

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
from rocassay.references.topk import unpack_seq as reference
from rocassay.suites.kernels.packed_inputs import (
    FAR,
    SURPLUS_ROWS,
    WRAP,
    features_of,
    fits,
    longest_of,
    random_rows,
    request_of,
    request_rows,
    row_dtype,
    same_bytes,
)
from rocassay.suites.kernels.topk_axes import ARCHES, BLOCK_SIZES, PACKED_FP8S

NAME = "unpack_seq"


def _sensible(case: Case) -> bool:
    """Only FP8 rows have a flavour."""
    return case["dtype"] == "fp8" or case.fp8 == PACKED_FP8S[0]


def cases(tier: Tier) -> Iterable[Case]:
    """Every dtype, requests without rows, batches that are longer and shorter than the requests."""
    axes: dict[str, Any] = {"arches": ARCHES, "fp8s": PACKED_FP8S, "block_sizes": BLOCK_SIZES, "where": _sensible}
    small: dict[str, Any] = {**axes, "heads": (3,), "dims": (40,)}
    types = ("fp8", "bf16", "fp32", "uint8", "int32")
    yield from cross(NAME, **small, dtype=types, lengths=("empties",), lmax=("max", "room"))
    yield from cross(NAME, **small, dtype=types, lengths=("tiles",), lmax=("max", "cut"), recipes=("padded",))
    yield from cross(NAME, **small, dtype=("bf16",), lengths=("equal", "none"), lmax=("max",))
    yield from cross(NAME, **small, dtype=("uint8",), lengths=("far", "farther"), lmax=("max",), recipes=("wide",))
    large: dict[str, Any] = {**axes, "heads": (3,), "dims": (400,), "dtype": ("uint8",)}
    yield from cross(NAME, **large, lengths=("long",), lmax=("max",))
    if tier != "quick":
        edges: dict[str, Any] = {**axes, "heads": (1,), "dims": (1, 576, 1025)}
        yield from cross(NAME, **edges, dtype=types, lengths=("empties", "tiles"), lmax=("room", "cut"))
        rows: dict[str, Any] = {**axes, "heads": (64,), "dims": (128,)}
        yield from cross(NAME, **rows, dtype=types, lengths=("empties",), lmax=("max",))


def inputs(case: Case, stream: Stream) -> Operands:
    """A batch of every bit pattern, padding included, and an output with rows that belong to nobody."""
    lengths, features, dtype = request_rows(case), features_of(case), row_dtype(case)
    longest = longest_of(case)
    packed = random_rows(stream.child("packed"), (len(lengths), longest, *features), dtype)
    unread = torch.arange(longest) >= torch.tensor(lengths)[:, None]
    # A batch that is cut off also gets lengths that promise more rows than there is room for.
    rows = sum(lengths) + (-1 if case["lmax"] == "cut" else SURPLUS_ROWS)
    return Operands(
        inputs={"packed": packed, "lengths": torch.tensor(lengths, dtype=torch.int32)},
        outputs={"out": random_rows(stream.child("out"), (rows, *features), dtype)},
        placements=_placements(case, features),
        unread={"packed": unread[:, :, None, None].expand(packed.shape)},
    )


def _placements(case: Case, features: tuple[int, int]) -> dict[str, Placement]:
    heads, dims = features
    row = heads * dims
    if case.recipe == "padded":
        pitch = row + 8
        request = longest_of(case) * pitch + 16
        return {"packed": Placement((request, pitch, dims, 1)), "out": Placement((row + 24, dims, 1))}
    if case["lengths"] == "farther":
        # Pitches of 2^31 and more would be 64 bits wide by themselves.
        return {"packed": Placement((FAR, FAR + 2**16, dims, 1), lead=WRAP)}
    if case.recipe == "wide":
        return {"packed": Placement((FAR, row, dims, 1), lead=WRAP), "out": Placement((FAR, dims, 1), lead=WRAP)}
    return {}


def golden(case: Case, operands: Operands) -> Mapping[str, ExactBytes]:
    """The whole output, rows of nobody included."""
    out = operands.outputs["out"]
    rows = reference.unpack_seq(operands.inputs["packed"], operands.inputs["lengths"], out)
    return {"out": ExactBytes(same_bytes(out, rows))}


def peer(case: Case, arguments: dict[str, Any]) -> None:
    """Plain torch."""
    reference.peer_unpack_seq(**arguments)


def variant(case: Case, target: Target, dispatch: TopKDispatch) -> PackVariant:
    """The tile of a byte move."""
    heads, dims = features_of(case)
    return pack_variant(target, features=heads * dims)


def locate(case: Case, operands: Operands, output: str, index: tuple[int, ...]) -> Coordinate:
    """Ragged row -> request and position."""
    row, head, dim = index
    request, position = request_of(operands, row)
    where = {"row": row, "request": request, "position": position, "head": head, "dim": dim}
    return Coordinate(output=output, index=index, token=position, where=where)


def accepts(case: Case) -> bool:
    """Flavours that there are, on rows that there are."""
    return _sensible(case) and fits(case)


OP = register(
    Op(
        name=NAME,
        contract="out[lengths[:b].sum() + i] = packed[b, i] for i below lengths[b], bit for bit, nothing else touched",
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
            "unpack-padding-copied",
            "pack-row-stride-assumed-contiguous",
            "pack-row-offset-int32",
        ),
        probes=(Dispatch(lambda _: ("_unpack_kernel",)), Strides(), Poison()),
        probed=lambda case: case.recipe == "padded",
    )
)
