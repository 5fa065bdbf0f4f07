"""Inputs of the FP8 prefill family: segments around the edges of tiles and units, needles, poison, and the plan.

Recipes: `tagged` (contiguous), `padded` (every free stride padded, queries and keys wider than values), `wide` (key
rows so far apart that offsets pass 2^31), `far` (so are others), `whole` (every row sees all keys, which lie in order),
`steep` (logits that run far apart from part to part and lie far from 0, and weights that only just count).
Whatever belongs to nobody is NaN: keys that no table lists, queries behind the last request, scratch.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import numpy as np
import torch
from numpy.typing import NDArray

from rocassay.harness.cases import Case, MalformedCase
from rocassay.harness.fp8 import encode, format_of
from rocassay.harness.inputs import Placement, Stream
from rocassay.kernels.persistent.prefill_planner import PrefillPlan, plan_prefill, prefill_sizes

RECIPES = ("tagged", "padded", "wide", "far", "whole", "steep")
TIGHT = ("far", "steep")
"""Recipes whose queries end with the last request."""

QK_DIM, V_DIM = 192, 128
SENTINEL = -7.5
"""What outputs hold before the run."""

IDLE_ROWS = 3
"""Query rows behind the last request, as graph padding leaves them."""

SPARE_KEYS = 9
"""Physical key rows that no table lists."""

SPREAD = 1.0
"""Standard deviation of the logits, as the models scale them; AITER's default would be that of the value's width."""

SCALES: Mapping[str, float] = MappingProxyType({"q_scale": 0.021, "k_scale": 0.0307, "v_scale": 0.0413})
"""Three different ones, none a power of two; states of magnitude 4 then use the range of either flavour."""

EDGE_NEEDLE, LATE_NEEDLE = 0.22, 0.12
"""Weight of a query in a key: of the last row in keys at edges, of every row in the first key it must not see."""

STEEP_SCALES: Mapping[str, float] = MappingProxyType({"q_scale": 0.25, "k_scale": 1.0, "v_scale": 0.0413})
"""Of the recipe `steep`: queries to 56 and keys to 224 in either flavour."""

STEEP_SHIFT, STEEP_KEY, STEEP_SLOPE, STEEP_UNIT = 52.0, 56.0, 52.0, 28.0
"""Queries' first two dims in the recipe `steep`, with either sign, the second also 0; they meet keys of STEEP_KEY, and
of STEEP_UNIT times the unit's number. So a head's logits lie at ±210 and run up or down by 105 a unit, which is beyond
what exp holds."""

FAINT_QUERY, FAINT_KEY = 48.0, 3.5
"""First dim of a request's only query in the recipe `steep`, and of its first key; all others are 0. So each other key
weighs 2^-17.5 of the first: e4m3 rounds that up to its smallest weight where the first is 2^8 (2^7 in e4m3fnuz)."""

WIDE_KEY_STRIDE = 2**27 + 2**20
"""Elements from key to key in the recipe `wide`: key 16 starts beyond 2^31 elements."""

Segments = tuple[tuple[int, int], ...]


def segments_of(word: str, tile: int) -> Segments:
    """(query tokens, keys) of each request, around tiles of `tile` queries and units of half as many keys."""
    unit = tile // 2
    tables: dict[str, Segments] = {
        "edges": tuple((n, n) for n in (1, unit - 1, unit, unit + 1, tile + 1, 2 * tile + unit + 1)),
        "tiles": tuple((n, n) for n in (tile - 1, tile, tile + 1)),
        "chunked": (
            (1, unit + 3),
            (tile + 1, 2 * tile + unit + 6),
            (unit, 3 * tile),
            (3, 3 * unit),
            (unit + 1, unit + 1),
        ),
        "empty": ((0, 0), (5, 5), (0, unit + 7), (7, 0), (unit + 3, 4), (tile + 5, tile - 3), (0, 0)),
        "one": ((3 * tile + unit - 1, 3 * tile + unit - 1),),
        "short": ((unit + 1, unit + 1), (2, 2)),
        "deep": ((unit + 1, 4 * unit + 1), (2, 2)),
    }
    if word not in tables:
        raise MalformedCase(f"segments {word!r} are unknown; use one of {', '.join(tables)}, or lengths joined by '-'")
    return tables[word]


def segments(case: Case) -> Segments:
    """Requests of a case: a named table, or one request of so many tokens."""
    word = case["segments"]
    return segments_of(word, case.integer("tile")) if isinstance(word, str) else ((word, word), (1, word // 2 + 1))


@dataclass(frozen=True, slots=True)
class Batch:
    """Ragged requests over a pool of physical keys."""

    lengths: Segments

    @property
    def qo_indptr(self) -> NDArray[np.int32]:
        """First row of each request, and the end."""
        return np.cumsum([0, *(rows for rows, _ in self.lengths)]).astype(np.int32)

    @property
    def kv_indptr(self) -> NDArray[np.int32]:
        """First key position of each request, and the end."""
        return np.cumsum([0, *(keys for _, keys in self.lengths)]).astype(np.int32)

    @property
    def rows(self) -> int:
        """Query rows in all."""
        return int(self.qo_indptr[-1])

    @property
    def keys(self) -> int:
        """Key positions in all."""
        return int(self.kv_indptr[-1])

    @property
    def longest(self) -> int:
        """Query tokens of the longest request."""
        return max(rows for rows, _ in self.lengths)

    def plan(self, heads: int, workers: int, tile: int, *, causal: bool = True) -> PrefillPlan:
        """The host planner's plan; units are half a tile."""
        keys, unit = [keys for _, keys in self.lengths], tile // 2
        return plan_prefill(
            self.qo_indptr, keys, heads=heads, workers=workers, tile_q=tile, unit_kv=unit, causal=causal
        )


def draw_states(stream: Stream, batch: Batch, heads: int) -> tuple[NDArray[np.float64], ...]:
    """Queries [rows, H, 192], keys [keys, H, 192] by position and values [keys, H, 128]; needles at every edge."""
    q = stream.child("q").gaussian((batch.rows, heads, QK_DIM))
    k = stream.child("k").gaussian((batch.keys, heads, QK_DIM))
    v = stream.child("v").gaussian((batch.keys, heads, V_DIM))
    for request, (rows, keys) in enumerate(batch.lengths):
        first_row, first_key = batch.qo_indptr[request], batch.kv_indptr[request]
        if not rows or not keys:
            continue
        last = q[first_row + rows - 1]
        for place in {0, keys - 1, *(p + d for p in range(16, keys, 16) for d in (-1, 0))}:
            k[first_key + place] += EDGE_NEEDLE * last
        # The key behind a row's own one looks most like what that row searches, and must stay unseen.
        for row in range(max(0, rows - keys), rows - 1):
            k[first_key + keys - rows + row + 1] += LATE_NEEDLE * q[first_row + row]
    return q, k, v


def steepen(
    stream: Stream, batch: Batch, unit: int, q: NDArray[np.float64], k: NDArray[np.float64], v: NDArray[np.float64]
) -> None:
    """Gives every head of a row a shift of its logits, and a slope along the units of `unit` keys.

    A request with one row gets a first key of next to all weight and no value, and values of one sign behind it.
    """
    shape = q.shape[:2]
    q[..., 0] = STEEP_SHIFT * (2 * stream.child("shift").integers(0, 2, shape) - 1)
    q[..., 1] = STEEP_SLOPE * stream.child("slope").integers(-1, 2, shape)
    k[..., 0] = STEEP_KEY
    for request, (rows, keys) in enumerate(batch.lengths):
        row, key = batch.qo_indptr[request], batch.kv_indptr[request]
        own = slice(key, key + keys)
        k[own, :, 1] = STEEP_UNIT * (np.arange(keys) // unit)[:, None]
        if rows == 1:
            q[row], k[own] = 0, 0
            q[row, :, 0], k[key, :, 0] = FAINT_QUERY, FAINT_KEY
            v[own] = np.abs(v[own])
            v[key] = 0


def draw_pages(stream: Stream, batch: Batch) -> NDArray[np.int64]:
    """Physical row of every key position, in random order; row 0, where masked lanes look, is nobody's."""
    return stream.child("pages").permutation(batch.keys + SPARE_KEYS - 1)[: batch.keys] + 1


def quantised(x: NDArray[np.float64], scale: float, fp8: str) -> torch.Tensor:
    """fp8 codes, or bf16 for the format of that name."""
    if fp8 == "bf16":
        return torch.from_numpy(x).to(torch.bfloat16)
    limit = format_of(fp8).scaling_max
    codes = encode(np.clip(x / scale, -limit, limit), format_of(fp8))
    return torch.from_numpy(codes)


def poison(shape: tuple[int, ...], fp8: str) -> torch.Tensor:
    """NaNs of a format."""
    if fp8 == "bf16":
        return torch.full(shape, torch.nan, dtype=torch.bfloat16)
    return torch.full(shape, format_of(fp8).nan_code, dtype=torch.uint8)


def plan_tensors(plan: PrefillPlan, batch: Batch, heads: int, workers: int, tile: int) -> dict[str, torch.Tensor]:
    """The plan in buffers of the sizes that were promised for it; what is behind its end belongs to nobody."""
    room = prefill_sizes(
        batch=len(batch.lengths), heads=heads, max_qlen=max(1, batch.longest), workers=workers, tile_q=tile
    )
    info = np.full((room.work, 8), 1 << 28, np.int32)
    info[: len(plan.work_info)] = plan.work_info
    indptr = np.full(room.groups + 1, plan.reduce_indptr[-1], np.int32)
    indptr[: len(plan.reduce_indptr)] = plan.reduce_indptr
    # As an earlier plan leaves them: rows that exist, and are no longer split.
    final = np.tile(np.array([0, 2], np.int32), (room.groups, 1))
    final[: len(plan.final_map)] = plan.final_map
    partial = np.full(room.partials, 1 << 28, np.int32)
    partial[: len(plan.partial_map)] = plan.partial_map
    arrays = {
        "work_indptr": plan.work_indptr,
        "work_info_set": info,
        "reduce_indptr": indptr,
        "reduce_final_map": final,
        "reduce_partial_map": partial,
    }
    return {name: torch.from_numpy(array) for name, array in arrays.items()}


def plan_tails(tensors: Mapping[str, torch.Tensor], plan: PrefillPlan) -> dict[str, torch.Tensor]:
    """Masks of the plan's entries that nobody may read."""
    ends = {
        "work_info_set": len(plan.work_info),
        "reduce_final_map": len(plan.final_map),
        "reduce_partial_map": len(plan.partial_map),
    }
    masks = {name: torch.zeros_like(tensors[name], dtype=torch.bool) for name in ends}
    for name, end in ends.items():
        masks[name][end:] = True
    return masks


def known_recipe(case: Case) -> str:
    """The case's recipe; MalformedCase for one that is none."""
    if case.recipe not in RECIPES:
        raise MalformedCase(f"recipe {case.recipe!r} of case {case} is unknown; use one of {', '.join(RECIPES)}")
    return case.recipe


def padded(shape: tuple[int, ...], head_gap: int, row_gap: int) -> Placement:
    """Padded strides of a tensor [T, H, D]."""
    _, heads, dims = shape
    pitch = dims + head_gap
    return Placement((pitch * heads + row_gap, pitch, 1), lead=4096)
