"""Inputs of the sparse attention family: ragged index lists, queries, needles, sinks, and how outputs are judged.

Recipes: `tagged` (contiguous; slot 0 belongs to nobody), `padded` (every free stride padded; slot 0 is listed),
`wide` (row or page strides that carry offsets past 2^31), `far` (strides of queries, outputs and partial results that
do), `steep` (logits far from 0), `faint` (the key that is alone in its list holds numbers near fp32's smallest ones),
`random` (as `tagged`, but no needles: keys as tests usually draw them, to compare gates on). Whatever nobody lists is
poison.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from rocassay.harness.cases import Case, MalformedCase
from rocassay.harness.gates import Whitened
from rocassay.harness.inputs import Placement, Stream
from rocassay.harness.results import Coordinate
from rocassay.references.attention.softmax import Attended

RECIPES = ("tagged", "padded", "wide", "far", "steep", "faint", "random")
UNPLANTED = "random"
"""Recipe whose keys hold no needles."""

GARBAGE = 10**9
"""An index beyond every cache: it must be skipped."""

SENTINEL = -7.5
"""What outputs hold before the run: every element must be overwritten."""

TAIL = 5
"""Entries of the index buffers behind the last list."""

GRID = 32
"""Queries and keys are multiples of 1/32, at most 4: exact in bf16, and their products' sums in fp32."""

NEEDLE = 3 / 32
"""Weight of the queries of `NEEDLE_HEADS` heads in a needle: its logit lies near the maximum of the row."""

LAST_NEEDLE = 9 / 64
NEEDLE_HEADS = 8
STEEP_DIM, STEEP_QUERY, STEEP_KEY = 448, 1024.0, 4.0
"""In the recipe `steep` this dim of a query is ±1024 and of every key 4: logits at ±200, beyond fp32's exponentials."""

SINK_OFF, SINK_HUGE = 1, 2
"""Heads whose sink is -inf, and far above every logit."""


def per_head(attended: Attended, *, steep: bool = False) -> Whitened:
    """Expectation of an output: every element is defined, also those of tokens without keys.

    `steep`: fp32 alone rounds the logits by more than the model says of the weights.
    """
    return Whitened(
        attended.value,
        attended.sigma,
        attended.bound,
        torch.ones_like(attended.value, dtype=torch.bool),
        share=attended.share,
        model_holds=not attended.flat and not steep,
    )


def locate(case: Case, operands: object, output: str, index: tuple[int, ...]) -> Coordinate:
    """Element of [tokens, heads, dims]; the group is that of 64 dims with a scale of their own."""
    token, head, dim = index
    return Coordinate(output=output, index=index, where={"query": token, "head": head, "dim": dim, "group": dim // 64})


def known_recipe(case: Case) -> str:
    """The case's recipe; MalformedCase for one that is none."""
    if case.recipe not in RECIPES:
        raise MalformedCase(f"recipe {case.recipe!r} of case {case} is unknown; use one of {', '.join(RECIPES)}")
    return case.recipe


@dataclass(frozen=True, slots=True)
class Lists:
    """One index list per token over a pool of rows."""

    rows: tuple[tuple[int, ...], ...]
    """Entries of each token, holes and garbage included."""

    capacity: int
    """Rows of the pool; larger entries must be skipped."""

    def valid(self, token: int) -> list[int]:
        """Distinct rows that a token attends to, in the order in which they are first listed."""
        return [row for row in dict.fromkeys(self.rows[token]) if 0 <= row < self.capacity]

    @property
    def used(self) -> NDArray[np.int64]:
        """Every row that some token attends to, ascending."""
        return np.unique([row for token in range(len(self.rows)) for row in self.valid(token)]).astype(np.int64)

    def indptr(self) -> torch.Tensor:
        """int32 [T + 1]."""
        return torch.tensor(np.cumsum([0, *map(len, self.rows)]), dtype=torch.int32)

    def indices(self) -> torch.Tensor:
        """int32 [nnz + TAIL]; the tail holds row 0, which nobody may look up from there."""
        flat = [row for rows in self.rows for row in rows]
        return torch.tensor([*flat, *[0] * TAIL], dtype=torch.int32)

    def tail(self) -> torch.Tensor:
        """bool like `indices`: entries behind the last list."""
        mask = torch.zeros(sum(map(len, self.rows)) + TAIL, dtype=torch.bool)
        mask[-TAIL:] = True
        return mask

    def needles(self, tile: int = 16) -> dict[int, tuple[int, float]]:
        """Row -> (token, weight): the first row of every list, both sides of every tile edge, and the last row.

        The last weighs more, so that the running maximum of some head rises in the last tile.
        """
        found: dict[int, tuple[int, float]] = {}
        for token, rows in enumerate(self.rows):
            edges = {e for step in range(0, len(rows), tile) for e in (step - 1, step)} | {len(rows) - 1}
            inside = self.valid(token)
            marked = [rows[e] for e in sorted(edges) if 0 <= e < len(rows) and 0 <= rows[e] < self.capacity]
            found |= {row: (token, LAST_NEEDLE) for row in inside[-1:] if row not in found}
            for row in (*inside[:1], *marked):
                found.setdefault(row, (token, NEEDLE))
        return found


def draw_lists(stream: Stream, shapes: Sequence[Sequence[int | str]], capacity: int, *, first: bool) -> Lists:
    """Lists of distinct rows in random order; a word in a shape stands for what lists must tolerate.

    An integer n draws n fresh rows; "hole" is -1, "far" is beyond every cache, "past" the first row that does not
    exist, "again" repeats the list's first row, "theirs" a row of an earlier list, "last" is the pool's last row
    and "zero" row 0. Row 0 belongs to nobody unless `first`.
    """
    order = stream.child("rows").permutation(capacity)
    fresh = iter(int(row) for row in order if row not in (0, capacity - 1))
    words = {"hole": -1, "far": GARBAGE, "past": capacity, "last": capacity - 1, "zero": 0 if first else -1}
    rows: list[tuple[int, ...]] = []
    for shape in shapes:
        entries: list[int] = []
        for item in shape:
            if isinstance(item, int):
                entries += [next(fresh) for _ in range(item)]
            elif item == "again":
                entries.append(next(row for row in entries if row >= 0))
            elif item == "theirs":
                entries.append(next(row for earlier in rows for row in earlier[3:] if 0 <= row < capacity))
            else:
                entries.append(words[item])
        rows.append(tuple(entries))
    return Lists(tuple(rows), capacity)


def queries(stream: Stream, shape: tuple[int, int, int]) -> NDArray[np.float64]:
    """[T, H, D] nearly normal multiples of 1/GRID, at most 4 in magnitude."""
    return on_grid(stream.child("q").gaussian(shape))


def on_grid(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """Rounded to multiples of 1/GRID and clipped to 4: exact in bf16."""
    return np.clip(np.rint(values * GRID), -4 * GRID, 4 * GRID) / GRID


def directions(
    q: NDArray[np.float64], needles: Iterable[tuple[int, tuple[int, float]]], rows: int
) -> NDArray[np.float64]:
    """[rows, D] what is added to each row of `needles`: weighted queries of eight heads of its token."""
    heads = q.shape[1]
    added = np.zeros((rows, q.shape[2]))
    for number, (row, (token, weight)) in enumerate(needles):
        chosen = (number * NEEDLE_HEADS + np.arange(min(NEEDLE_HEADS, heads))) % heads
        added[row] = q[token, chosen].sum(axis=0) * weight
    return added


def sinks(stream: Stream, heads: int) -> tuple[torch.Tensor, torch.Tensor]:
    """fp32 [heads + 3] and the mask of its unread end: around the logits, one absent, one that takes everything."""
    values = stream.child("attn_sink").integers(-64, 128, heads + 3) / GRID
    values[SINK_OFF], values[SINK_HUGE] = -np.inf, 30.0
    values[heads:] = np.nan
    tensor = torch.from_numpy(values.astype(np.float32))
    return tensor, torch.arange(heads + 3) >= heads


def beyond(count: int, apart: int) -> int:
    """A stride that carries the last of `count` rows past 2^31; rows of two dims at such strides are `apart`."""
    return 2**31 // max(1, count - 1) + apart


def headed(case: Case, name: str, shape: tuple[int, ...], extra: int) -> dict[str, Placement]:
    """Padded strides of a tensor [T, H, D] in the recipe `padded`, past 2^31 in `far`."""
    _, heads, dims = shape
    pitch = dims + extra
    if case.recipe == "far":
        return {name: Placement((beyond(shape[0], 2**20), beyond(heads, 2**12), 1))}
    return {name: Placement((pitch * heads + 8 * extra, pitch, 1))} if case.recipe == "padded" else {}


def steepened(case: Case, stream: Stream, q: NDArray[np.float64]) -> NDArray[np.float64]:
    """Queries whose logits on keys of STEEP_KEY are shifted in the recipe `steep`; else as they are."""
    if case.recipe != "steep":
        return q
    signs = 2 * stream.child("shift").integers(0, 2, q.shape[:2]) - 1
    steep = q.copy()
    steep[..., STEEP_DIM] = STEEP_QUERY * signs
    return steep


def permuted(stream: Stream, indices: torch.Tensor, indptr: torch.Tensor) -> torch.Tensor:
    """The same lists, each in another order."""
    bounds, moved = indptr.tolist(), indices.clone()
    for token, (begin, end) in enumerate(itertools.pairwise(bounds)):
        order = torch.from_numpy(stream.child(str(token)).permutation(end - begin))
        moved[begin:end] = indices[begin:end][order]
    return moved
