"""Inputs of persistent MLA decode: requests, their plan in poisoned buffers, latent caches, queries with padding heads.

Recipes: `tagged` (contiguous), `padded` (every free stride padded), `wide` (page strides that carry offsets past
2^31), `far` (strides of everything else that do), `steep` (logits that run far apart from part to part, and lie far
from 0), `random` (contiguous, and no needles in the keys). Whatever nobody may read is poison: padding heads, pages of
nobody, tails of pages, tails of the plan's buffers.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from rocassay.harness.cases import Case, MalformedCase
from rocassay.harness.fp8 import clamping_encode, format_of, round_to_bfloat16
from rocassay.harness.inputs import Placement, Stream
from rocassay.kernels.persistent.buffers import Buffers, Sizes
from rocassay.kernels.persistent.planner import Lengths, Plan, Policy, Schedule, plan_decode, write
from rocassay.kernels.persistent.shapes import DecodeShape, Element
from rocassay.suites.kernels.attention_inputs import UNPLANTED, directions, on_grid

KEY_DIM, VALUE_DIM = 576, 512
RECIPES = ("tagged", "padded", "wide", "far", "steep", UNPLANTED)
STALE = -7
"""What the plan's buffers hold where the planner wrote nothing: read as a position, it lies before the buffer."""

WIDE_PAGE = 143_596_800
"""Elements from page to page in the recipe `wide`: page 15 starts beyond 2^31."""

WIDE_PAGES = 17

ROWS_OF_NOBODY = 1
"""Partial rows that belong to no part: in front of tight slots, else behind all slots."""

NEAR_TOKEN = 2**17
"""Elements from token to token of partial results whose splits are far apart in the recipe `far`."""

STEEP_SHIFT, STEEP_SLOPE, STEEP_KEYS = 1024, 2048, 32
"""Queries' first two dims in the recipe `steep`. They meet keys of 4, and of the key's number over STEEP_KEYS, so that
at a scale of 0.05 a head's logits lie at ±213 and run up or down by 106 at every STEEP_KEYS: beyond what exp holds."""

SCALES = {"e4m3fn": (0.0137, 0.0241), "e4m3fnuz": (0.0274, 0.0482)}
"""q_scale and kv_scale: no powers of two, never equal; twice as large for codes that mean half as much."""


@dataclass(frozen=True, slots=True)
class Batch:
    """Requests of a decode step."""

    q_lens: tuple[int, ...]
    """Query tokens of each request; 0 is a padded row of a graph without tokens."""
    kv_lens: tuple[int, ...]
    """Keys of each request, those of its query tokens included; fewer than tokens leaves rows without a key."""
    page_size: int

    @property
    def tokens(self) -> int:
        """Query rows."""
        return sum(self.q_lens)

    @property
    def max_qlen(self) -> int:
        """Longest query."""
        return max(self.q_lens)

    @property
    def pages(self) -> tuple[int, ...]:
        """Pages of each request."""
        return tuple(-(-keys // self.page_size) for keys in self.kv_lens)

    def qo_indptr(self) -> torch.Tensor:
        """int32 [B + 1]."""
        return torch.tensor(np.cumsum([0, *self.q_lens]), dtype=torch.int32)

    def kv_indptr(self) -> torch.Tensor:
        """int32 [B + 1], pages."""
        return torch.tensor(np.cumsum([0, *self.pages]), dtype=torch.int32)

    def last_page_lens(self) -> torch.Tensor:
        """int32 [B]; a request without a page says 1, as vLLM's buffers of ones do."""
        pairs = zip(self.kv_lens, self.pages, strict=True)
        lens = [keys - (pages - 1) * self.page_size if pages else 1 for keys, pages in pairs]
        return torch.tensor(lens, dtype=torch.int32)


@dataclass(frozen=True, slots=True)
class Planned:
    """A plan, the six buffers that hold it, and what nobody may read of them."""

    plan: Plan
    shape: DecodeShape
    tensors: dict[str, torch.Tensor]
    unread: dict[str, torch.Tensor]
    tight: bool = False
    """Whether parts have but the partial rows that they fill."""

    def nobodys(self) -> torch.Tensor:
        """bool [rows]: partial rows that no part owns."""
        rows = torch.arange(self.plan.partial_rows + (0 if self.tight else ROWS_OF_NOBODY))
        return rows < ROWS_OF_NOBODY if self.tight else rows >= self.plan.partial_rows


def known_recipe(case: Case) -> str:
    """The case's recipe; MalformedCase for one that is none."""
    if case.recipe not in RECIPES:
        raise MalformedCase(f"recipe {case.recipe!r} of case {case} is unknown; use one of {', '.join(RECIPES)}")
    return case.recipe


def schedule_of(shape: DecodeShape, policy: Policy, *, workers: int, page_size: int, causal: bool) -> Schedule:
    """Cuts at 16 keys, or at pages where they are longer; a charge of one unit in the clean plan."""
    if policy == "exact":
        heads = shape.heads // shape.fold
        unit = max(16, page_size)
        return Schedule.exact(
            workers=workers, heads=heads, tile_rows=shape.rows, granularity=unit, overhead=1,
            page_size=page_size, causal=causal,
        )  # fmt: skip
    granularity = 16 if page_size == 1 else 1
    return Schedule.v1_2(shape, workers=workers, kv_granularity=granularity, page_size=page_size, causal=causal)


def planned(batch: Batch, shape: DecodeShape, schedule: Schedule, *, tight: bool = False) -> Planned:
    """The host planner's plan in buffers with room to spare; `tight`: with none, and slots as `_tightened` has them."""
    lists = (batch.qo_indptr(), batch.kv_indptr(), batch.last_page_lens())
    lengths = Lengths.dense(*(t.numpy() for t in lists), page_size=batch.page_size, fold=shape.fold)
    plan = plan_decode(lengths, schedule)
    plan = _tightened(plan) if tight else plan
    items, groups, parts = len(plan.work_info), len(plan.final_map), len(plan.partial_map)
    more = (0, 0, 0) if tight else (3, 2, 5)
    room = [count + spare for count, spare in zip((items, groups, parts), more, strict=True)]
    buffers = Buffers.allocate(Sizes(schedule.workers, *room), STALE)
    write(plan, buffers, policy=schedule.policy)
    buffers.work_metadata[:] = 0
    tensors = {
        "work_meta_data": torch.from_numpy(buffers.work_metadata),
        "work_indptr": torch.from_numpy(buffers.work_indptr),
        "work_info_set": torch.from_numpy(buffers.work_info_set),
        "reduce_indptr": torch.from_numpy(buffers.reduce_indptr),
        "reduce_final_map": torch.from_numpy(buffers.reduce_final_map),
        "reduce_partial_map": torch.from_numpy(buffers.reduce_partial_map),
    }
    split = torch.zeros(room[1], dtype=torch.bool)
    split[:groups] = torch.from_numpy(np.diff(plan.reduce_indptr) > 0)
    unread = {
        "work_info_set": (torch.arange(room[0]) >= items)[:, None].expand(-1, 8).contiguous(),
        "reduce_final_map": ~split[:, None].expand(-1, 2),
        "reduce_partial_map": torch.arange(room[2]) >= parts,
    }
    return Planned(plan, shape, tensors, unread, tight)


def _tightened(plan: Plan) -> Plan:
    """The plan with other slots: each as high as its part, the last part's first, behind the rows of nobody.

    So whatever a part writes behind its rows falls into those of a part before it, or out of the buffer.
    """
    info = plan.work_info.copy()
    split = info[:, 1] >= 0
    heights = (info[:, 3] - info[:, 2])[split]
    rows = ROWS_OF_NOBODY + int(heights.sum())
    info[split, 1] = rows - np.cumsum(heights)
    return replace(plan, work_info=info, partial_map=info[split, 1], partial_rows=rows)


def real_heads(heads: int, width: int) -> list[int]:
    """Kernel heads that are real ones: vLLM repeats a divisor of the width in place, else it appends copies."""
    return list(range(0, width, width // heads)) if width % heads == 0 else list(range(heads))


@dataclass(frozen=True, slots=True)
class Latents:
    """Queries and a paged cache in a case's element types."""

    q: torch.Tensor
    """[T, W, 576]; NaN in padding heads."""
    kv_buffer: torch.Tensor
    """[NP, PAGE, 1, 576]; NaN in every row of nobody."""
    kv_indices: torch.Tensor
    """int32 [pages + 3]; the tail names a page of nobody."""
    unread: dict[str, torch.Tensor]


def latents(stream: Stream, batch: Batch, case: Case, heads: int, width: int) -> Latents:
    """Random elements in permuted pages; needles at every edge of 16 keys, so that each part dominates some head."""
    q_type, kv_type = element_types(case)
    pages = sum(batch.pages)
    total = max(pages + 3, WIDE_PAGES if case.recipe == "wide" else 0)
    order = stream.child("pages").permutation(total)
    real = on_grid(stream.child("q").gaussian((batch.tokens, heads, KEY_DIM)))
    needles = 0.0 if case.recipe == UNPLANTED else _needles(batch, real)
    keys = on_grid(stream.child("keys").gaussian((sum(batch.kv_lens), KEY_DIM)) + needles)
    if case.recipe == "steep":
        _steepen(stream, batch, real, keys)
    scales = SCALES[case.fp8]
    q = poisoned((batch.tokens, width, KEY_DIM), q_type, case.fp8)
    q[:, real_heads(heads, width)] = stored(real, q_type, case.fp8, scales[0])
    cache = poisoned((total, batch.page_size, 1, KEY_DIM), kv_type, case.fp8)
    unread = torch.ones(cache.shape, dtype=torch.bool)
    rows = stored(keys, kv_type, case.fp8, scales[1])
    place = _places(batch, order)
    cache.view(-1, KEY_DIM)[place], unread.view(-1, KEY_DIM)[place] = rows, False
    indices = torch.from_numpy(np.append(order[:pages], order[-3:]).astype(np.int32))
    padding = torch.ones(width, dtype=torch.bool)
    padding[real_heads(heads, width)] = False
    marks = {
        "kv_buffer": unread,
        "q": padding[None, :, None].expand(q.shape).contiguous(),
        "kv_indices": torch.arange(pages + 3) >= pages,
    }
    return Latents(q, cache, indices, marks)


def element_types(case: Case) -> tuple[Element, Element]:
    """Types of queries and cache: `bf16`, `fp8`, or `mixed`, bf16 queries on an FP8 cache."""
    word = case["dtype"]
    return "fp8" if word == "fp8" else "bf16", "bf16" if word == "bf16" else "fp8"


def stored(values: NDArray[np.float64], kind: Element, fp8: str, scale: float) -> torch.Tensor:
    """bf16 elements, or codes of values over the scale."""
    if kind == "fp8":
        return torch.from_numpy(clamping_encode(values / np.float64(np.float32(scale)), format_of(fp8)))
    return torch.from_numpy(round_to_bfloat16(values.astype(np.float32))).to(torch.bfloat16)


def poisoned(shape: tuple[int, ...], kind: Element, fp8: str) -> torch.Tensor:
    """NaN in every element."""
    if kind == "fp8":
        return torch.full(shape, format_of(fp8).nan_code, dtype=torch.uint8)
    return torch.full(shape, torch.nan, dtype=torch.bfloat16)


def _needles(batch: Batch, q: NDArray[np.float64]) -> NDArray[np.float64]:
    """What is added to the keys at both sides of every edge of 16 keys, at the first and at the last key."""
    marked: dict[int, tuple[int, float]] = {}
    key, token = 0, 0
    for keys, tokens in zip(batch.kv_lens, batch.q_lens, strict=True):
        edges = {edge for step in range(0, keys, 16) for edge in (step - 1, step)} | {keys - 1}
        inside = [edge for edge in sorted(edges) if 0 <= edge < keys] if tokens else []
        for number, edge in enumerate(inside):
            weight = 9 / 64 if edge == keys - 1 else 3 / 32
            marked[key + edge] = token + number % tokens, weight
        key, token = key + keys, token + tokens
    return directions(q, marked.items(), sum(batch.kv_lens))


def _steepen(stream: Stream, batch: Batch, q: NDArray[np.float64], keys: NDArray[np.float64]) -> None:
    """Gives every (token, head) a shift of its logits, and every third none or a slope along the keys."""
    shape = q.shape[:2]
    q[..., 0] = STEEP_SHIFT * (2 * stream.child("shift").integers(0, 2, shape) - 1)
    q[..., 1] = STEEP_SLOPE * stream.child("slope").integers(-1, 2, shape)
    keys[:, 0] = 4
    keys[:, 1] = np.concatenate([1 + np.arange(count) // STEEP_KEYS for count in batch.kv_lens])


def _places(batch: Batch, order: NDArray[np.int64]) -> torch.Tensor:
    """Row of the flattened cache of every key, in the order of requests and keys."""
    first, found = 0, [np.zeros(0, np.int64)]
    for keys, pages in zip(batch.kv_lens, batch.pages, strict=True):
        key = np.arange(keys)
        found.append(order[first + key // batch.page_size] * batch.page_size + key % batch.page_size)
        first += pages
    return torch.from_numpy(np.concatenate(found))


def cache_placement(case: Case, shape: Sequence[int]) -> Placement:
    """Strides of a cache [NP, PAGE, 1, 576]: contiguous, padded between pages and tokens, or 2^31 elements long."""
    page = shape[1]
    if case.recipe == "wide":
        return Placement((WIDE_PAGE, KEY_DIM, KEY_DIM, 1))
    if case.recipe == "padded":
        return Placement((page * (KEY_DIM + 64) + 128, KEY_DIM + 64, KEY_DIM, 1))
    return Placement()
