"""Inputs of packing and unpacking: ragged rows of random bytes, and what pads them, byte by byte.

Recipes: `tagged` (contiguous), `padded` (strides between rows, positions and requests are padded), `wide` (rows or
requests 2^30 elements apart, so that the third lies beyond 2^31; with lengths `farther` those of the batch). FP8 rows
have the case's flavour; other dtypes have none and run under e4m3fn alone.
"""

from __future__ import annotations

import torch

from rocassay.harness.cases import Case, MalformedCase
from rocassay.harness.fp8 import format_of, torch_dtype
from rocassay.harness.inputs import Operands, Stream

RECIPES = ("tagged", "padded", "wide")
WRAP = 2**31
FAR = 2**30 + 256
"""Elements from row to row in the recipe `wide`."""

SURPLUS_ROWS = 2
"""Rows of x or out that belong to no request."""

DTYPES = {"fp32": torch.float32, "bf16": torch.bfloat16, "uint8": torch.uint8, "int32": torch.int32}

MOST_ELEMENTS = 8192
"""Elements of a fuzzed row."""

MOST_ROWS = 40
"""Rows that a random request stays below."""

LENGTHS = {
    "empties": (0, 3, 0, 0, 5, 1, 0),
    "tiles": (33, 0, 32, 31, 1),
    "equal": (4, 4, 4),
    "far": (1, 0, 2),
    "farther": (1, 0, 3),
    "long": (11, 0, 1),
    "none": (0, 0),
}
"""Rows of the requests: empty ones at both ends and in between, around a program's 32 rows, and none at all; `long` are
more than two programs' where a row has 1024 elements."""

PADS: dict[tuple[str, str], tuple[float | None, bytes]] = {
    ("fp32", "default"): (None, b"\x00\x00\x80\xff"),
    ("fp32", "finite"): (-3, b"\x00\x00\x40\xc0"),
    ("bf16", "default"): (None, b"\x80\xff"),
    ("bf16", "finite"): (-3, b"\x40\xc0"),
    ("e4m3fn", "default"): (None, b"\x7f"),
    ("e4m3fn", "finite"): (-3, b"\xc4"),
    ("e4m3fnuz", "default"): (None, b"\x80"),
    ("e4m3fnuz", "finite"): (-3, b"\xcc"),
    ("uint8", "finite"): (200, b"\xc8"),
}
"""(dtype, padding) -> value handed over (None: the default, -inf) and the bytes of one element of padding."""


def row_dtype(case: Case) -> torch.dtype:
    """The torch dtype of the rows; MalformedCase for a word that names none."""
    word = str(case["dtype"])
    if word == "fp8":
        return torch_dtype(format_of(case.fp8))
    if word not in DTYPES:
        raise MalformedCase(f"dtype {word!r} of case {case} is unknown; use fp8 or one of {', '.join(DTYPES)}")
    return DTYPES[word]


def padding(case: Case) -> tuple[float | None, bytes]:
    """Value and bytes of the case's padding."""
    kind = case.fp8 if case["dtype"] == "fp8" else str(case["dtype"])
    return PADS[kind, str(case["pad"])]


def request_rows(case: Case) -> tuple[int, ...]:
    """Rows of every request, a number standing for so many random requests; MalformedCase for an unknown word."""
    word = case["lengths"]
    if isinstance(word, int):
        return tuple(Stream.of(case).child("lengths").integers(0, MOST_ROWS, word).tolist())
    if word not in LENGTHS or case.recipe not in RECIPES:
        raise MalformedCase(f"case {case} has lengths {word!r} and recipe {case.recipe!r}; one of them is unknown")
    return LENGTHS[word]


def fits(case: Case) -> bool:
    """Whether there are rows to cut off, short enough for an interpreter, and few where they are far apart."""
    heads, dims = features_of(case)
    far = case["lengths"] in ("far", "farther") and case["dtype"] == "uint8"
    near = heads * dims <= MOST_ELEMENTS and (case.recipe != "wide" or far)
    return near and (case["lmax"] != "cut" or sum(request_rows(case)) > 0)


def longest_of(case: Case) -> int:
    """Positions of the padded batch: as many as the longest request has rows, more, or fewer."""
    rows = max(request_rows(case))
    return {"max": max(rows, 1), "room": rows + 3, "cut": max(rows - 2, 1)}[str(case["lmax"])]


def features_of(case: Case) -> tuple[int, int]:
    """Heads and dimensions of a row."""
    return case.integer("heads"), case.integer("dims")


def random_rows(stream: Stream, shape: tuple[int, ...], dtype: torch.dtype) -> torch.Tensor:
    """Elements of every bit pattern, NaNs with payloads among them: a byte move keeps each."""
    size = torch.empty((), dtype=dtype).element_size()
    count = size
    for extent in shape:
        count *= extent
    words = stream.words(-(-count // 8)).tobytes()[:count]
    return torch.frombuffer(bytearray(words), dtype=torch.uint8).view(dtype).reshape(shape)


def same_bytes(tensor: torch.Tensor, golden: torch.Tensor) -> torch.Tensor:
    """Golden bytes [..., row bytes] in the shape and dtype of an output."""
    return golden.contiguous().view(tensor.dtype).reshape(tensor.shape)


def request_of(operands: Operands, row: int) -> tuple[int, int]:
    """(request, position) of a ragged row; the number of requests for a row of none."""
    first = 0
    lengths: list[int] = operands.inputs["lengths"].tolist()
    for request, length in enumerate(lengths):
        if row < first + length:
            return request, row - first
        first += length
    return len(lengths), row - first
