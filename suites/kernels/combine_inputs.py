"""Prefill chunks for the two combining ops: requests in the middle of a batch, windows of every kind."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rocassay.harness.cases import Case, MalformedCase, cross
from rocassay.harness.inputs import Operands, Stream
from rocassay.harness.ops import Tier
from rocassay.harness.probes.metamorphic import Transformed
from rocassay.references.ragged.combine_topk_swa_indices import ChunkShape
from rocassay.suites.kernels.ragged_axes import ARCHES, FP8S, NO_PAGES
from rocassay.suites.kernels.ragged_inputs import (
    EDGE_WIDTHS,
    MOST_ENTRIES,
    MOST_FAR,
    SENTINEL,
    integer_type,
    integers,
    strided,
)

FIRST_REQUEST = 2
"""Requests of the batch in front of the chunk."""

FIRST_TOKEN = 10
"""Query tokens of those: the chunk's query_start_loc starts there."""

ROW_ALIGNMENT = 128
SPARE_ROWS = 5
"""Workspace rows of a request beyond what any of its tokens uses."""

CHUNKS: dict[str, tuple[tuple[int, int], ...]] = {
    # (query tokens, prefix): positions around a window of 4 and around groups of 4 and 128, and an empty request.
    "edges": ((3, 9), (2, 7), (1, 0), (0, 5), (4, 0), (3, 2), (5, 125), (2, 40)),
    # More than 128 tokens a request, not only in the first one.
    "long": ((300, 0), (131, 77), (1, 5)),
    # More requests than a step of the search takes, empty ones at both ends.
    "many": tuple((i % 4, 3 * i) for i in range(41)),
    # Requests, but no token to compute: a chunk that the engine padded.
    "idle": ((0, 9), (0, 0)),
    # More tokens than two steps of the prefix sums take.
    "crowd": ((2060, 3), (1, 5)),
    # Fewer raw tokens gathered than there are query tokens: the first ones see none.
    "late": ((6, 3), (5, 0)),
    # More than 1024 compressed tokens at ratio 4.
    "deep": ((3, 4200), (2, 10), (0, 9), (4, 5000)),
}
"""Chunks by name."""


def cases(op: str, tier: Tier) -> Iterable[Case]:
    """Every chunk, ratio and integer type, images, rows of more than 1024 columns, and a top-k row too short."""
    axes: dict[str, Any] = {"arches": ARCHES, "fp8s": FP8S, "block_sizes": NO_PAGES}
    small: dict[str, Any] = {**axes, "topk": (12,), "width": (15,), "window": (4,)}
    for dtype, recipe in (("int32", "tagged"), ("int64", "padded")):
        mine: dict[str, Any] = {**small, "recipes": (recipe,), "dtype": (dtype,)}
        yield from cross(op, **mine, chunk=("edges",), ratio=(4, 128), images=(0, 8))
        yield from cross(op, **mine, chunk=("many",), ratio=(4,), images=(0,))
    plain: dict[str, Any] = {**axes, "recipes": ("padded",), "dtype": ("int32",)}
    none: dict[str, Any] = {**plain, "topk": (0,), "width": (0,), "ratio": (0, 1)}
    yield from cross(op, **none, window=(4,), chunk=("edges",), images=(0,))
    yield from cross(op, **plain, topk=(12,), width=(9,), window=(4,), chunk=("deep",), ratio=(4,), images=(0,))
    yield from cross(op, **plain, topk=(1030,), width=(1030,), window=(128,), chunk=("deep",), ratio=(4,), images=(8,))
    yield from cross(op, **plain, topk=(3,), width=(3,), window=(4,), chunk=("long",), ratio=(4,), images=(0,))
    yield from cross(op, **plain, topk=(12,), width=(15,), window=(4,), chunk=("idle",), ratio=(4,), images=(0,))
    yield from cross(op, **plain, topk=(3,), width=(3,), window=(4,), chunk=("crowd", "late"), ratio=(4,), images=(0,))
    wide_rows: dict[str, Any] = {**small, "recipes": ("wide",), "dtype": ("int32",)}
    yield from cross(op, **wide_rows, chunk=("edges",), ratio=(4,), images=(0,))
    if tier != "quick":
        deep: dict[str, Any] = {**plain, "chunk": ("deep",), "ratio": (4,), "images": (0, 8)}
        for topk in EDGE_WIDTHS:
            yield from cross(op, **deep, topk=(topk,), width=(topk,), window=(128,))
        wide: dict[str, Any] = {**plain, "chunk": ("edges", "many"), "topk": (3,), "width": (3,), "ratio": (4,)}
        yield from cross(op, **wide, window=(1, 2, 3, 5, 8, 127, 128, 129), images=(0, 8))


def accepts(case: Case) -> bool:
    """Only compressed tokens have a top-k; not more entries than an interpreter combines in seconds."""
    tokens = sum(query for query, _ in requests_of(case))
    widest = sum(case.integer(name) for name in ("topk", "window", "images"))
    near = case.recipe != "wide" or tokens <= MOST_FAR
    return (case.integer("ratio") > 1 or case["topk"] == 0) and tokens * widest <= MOST_ENTRIES and near


@dataclass(frozen=True, slots=True)
class Chunk:
    """What both ops are called with."""

    tensors: dict[str, torch.Tensor]
    """Inputs by name."""
    shape: ChunkShape
    """Scalar arguments."""
    unread: torch.Tensor
    """bool [T, Kw]: top-k columns that a token's position does not reach."""

    @property
    def tokens(self) -> int:
        """Query tokens of the chunk."""
        return len(self.tensors["topk_indices"])

    @property
    def widest(self) -> int:
        """Most entries of a row."""
        return self.shape.topk + self.shape.window_size + self.shape.max_image_tokens

    @property
    def columns(self) -> int:
        """Row length A of the dense form."""
        return -(-self.widest // ROW_ALIGNMENT) * ROW_ALIGNMENT


def requests_of(case: Case) -> tuple[tuple[int, int], ...]:
    """(query tokens, prefix) of every request; MalformedCase for a chunk that has no name here."""
    if case["chunk"] not in CHUNKS:
        raise MalformedCase(f"chunk={case['chunk']} of case {case} is unknown; use one of {', '.join(CHUNKS)}")
    return CHUNKS[str(case["chunk"])]


def _gathered(number: int, query: int, prefix: int, window: int) -> int:
    """Raw tokens that were gathered: as many as windows reach, one too few and two more, in turn."""
    surplus = (0, -1, 2)[number % 3]
    return query + min(max(0, min(prefix, window - 1) + surplus), prefix)


def chunk_of(case: Case, stream: Stream) -> Chunk:
    """A chunk that starts in the middle of its batch, its top-k rows with holes and beyond their range."""
    requests, window = requests_of(case), case.integer("window")
    queries = np.array([query for query, _ in requests])
    seq_lens = np.array([query + prefix for query, prefix in requests])
    late = case["chunk"] == "late"
    gathered = np.array(
        [1 if late else _gathered(i, query, prefix, window) for i, (query, prefix) in enumerate(requests)]
    )
    compressed = int(seq_lens.max()) // max(1, case.integer("ratio")) + 2
    shape = ChunkShape(
        window,
        case.integer("ratio"),
        case.integer("topk"),
        compressed + int(gathered.max()) + SPARE_ROWS,
        compressed,
        case.integer("images"),
    )
    position = np.concatenate([prefix + np.arange(query) for query, prefix in requests])
    reached = np.minimum((position + 1) // max(1, shape.compress_ratio), shape.topk)
    dtype = integer_type(case)
    tensors = {
        "topk_indices": integers(_topk(stream, case, len(position), compressed), dtype),
        "query_start_loc": integers(FIRST_TOKEN + np.concatenate([[0], np.cumsum(queries)]), dtype),
        "seq_lens": integers(seq_lens, dtype),
        "gather_lens": integers(gathered, dtype),
    }
    unread = torch.arange(case.integer("width")) >= torch.from_numpy(reached)[:, None]
    return Chunk(tensors | _images(stream, shape, len(position)), shape, unread)


def _topk(stream: Stream, case: Case, tokens: int, compressed: int) -> NDArray[np.int64]:
    """[T, Kw]: random compressed tokens; first, last, none and beyond the last in every fourth column."""
    width = case.integer("width")
    rows = stream.child("topk").integers(0, compressed, (tokens, width))
    needles = (-1, compressed, compressed - 1, 0, SENTINEL, -(2**31), compressed + 1)
    for token in range(tokens):
        places = np.arange((token + 1) % 4, width, 4)
        rows[token, places] = np.resize(np.roll(needles, token), len(places))
    return rows


def _images(stream: Stream, shape: ChunkShape, tokens: int) -> dict[str, torch.Tensor]:
    """How far an image reaches to either side: not at all, within the window, beyond it, beyond all room."""
    if not shape.max_image_tokens:
        return {}
    reaches = {
        name: stream.child(name).integers(0, shape.max_image_tokens + 3, tokens) * (np.arange(tokens) % 3 != turn)
        for turn, name in enumerate(("image_left", "image_right"))
    }
    return {name: integers(reach) for name, reach in reaches.items()}


def scalars_of(shape: ChunkShape) -> dict[str, int | str]:
    """The scalar arguments by name."""
    names = ("window_size", "compress_ratio", "topk", "M", "N", "max_image_tokens")
    return {name: getattr(shape, name) for name in names}


def shape_of(operands: Operands) -> ChunkShape:
    """The scalar arguments of finished operands."""
    return ChunkShape(**{name: int(value) for name, value in operands.scalars.items()})


def peer_arguments(arguments: dict[str, Any]) -> dict[str, Any]:
    """A launcher's arguments as the peers take them."""
    names = ChunkShape.__dataclass_fields__
    tensors = {name: value for name, value in arguments.items() if name not in names and name != "counts"}
    return {**tensors, "shape": ChunkShape(**{name: arguments[name] for name in names})}


def placements_of(case: Case, tensors: dict[str, torch.Tensor]) -> dict[str, Any]:
    """Padded strides of everything but the image reaches, which must be contiguous."""
    return strided(case, {name: tensor for name, tensor in tensors.items() if not name.startswith("image")})


def move_chunk(case: Case, operands: Operands) -> Transformed:
    """The same chunk further back in its batch."""
    inputs = {**operands.inputs, "query_start_loc": operands.inputs["query_start_loc"] + 1000}
    return case, replace(operands, inputs=inputs), lambda outputs: outputs


def token_of(operands: Operands, token: int) -> dict[str, int]:
    """Token of the chunk, its request in the chunk, and its position in the request."""
    starts = operands.inputs["query_start_loc"] - operands.inputs["query_start_loc"][0]
    request = int(torch.searchsorted(starts, torch.tensor(token, dtype=starts.dtype), right=True)) - 1
    request = min(request, len(operands.inputs["seq_lens"]) - 1)
    position = int(operands.inputs["seq_lens"][request]) - int(starts[request + 1]) + token
    return {"token": token, "request": request, "position": position}
