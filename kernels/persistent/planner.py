"""The host planner of persistent decode: greedy stream-K over (request, q tile, key units).

Two policies share one walk. `exact` is the clean plan: tiles end at the last visible key, and no cut leaves a row
without a key. `v1.2` is AITER's (csrc/kernels/mla/metadata, fast mode): granularity in pages, tiles trimmed at page
size 1 only, tails shorter than the query length absorbed, buffers written only where a consumer needs them.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rocassay.kernels.persistent.buffers import NAMES, Buffers, BufferTooSmall, PlanError, Sizes, decode_sizes
from rocassay.kernels.persistent.shapes import DecodeShape

Policy: TypeAlias = Literal["exact", "v1.2"]
Ints: TypeAlias = NDArray[np.int64]

UNSPLIT = -1
"""Slot of an item that is its whole tile, and both ends of an unsplit row of reduce_final_map."""

_CHARGED_TOKENS = 16


@dataclass(frozen=True, slots=True, eq=False)
class Lengths:
    """Requests as the planner walks them, int64 [N]: label, first row, tokens, first position, keys."""

    label: Ints
    q_begin: Ints
    q_len: Ints
    kv_begin: Ints
    length: Ints

    @classmethod
    def dense(
        cls, qo_indptr: ArrayLike, kv_indptr: ArrayLike, last_page_len: ArrayLike, *, page_size: int = 1, fold: int = 1
    ) -> Lengths:
        """From int32 [B+1], [B+1] (pages) and [B]; a fold needs page_size 1 and one query length: else `PlanError`."""
        qo, kv, last = (np.asarray(values, np.int64) for values in (qo_indptr, kv_indptr, last_page_len))
        q_len, pages = np.diff(qo), np.diff(kv)
        if fold > 1 and (page_size > 1 or len(set(q_len.tolist())) > 1):
            raise PlanError(f"heads folded {fold} times need page_size 1 (is {page_size}) and equal query lengths")
        keys = np.where(pages > 0, (pages - 1) * page_size + last, 0).repeat(fold)
        rows = q_len.repeat(fold)
        begin = qo[:-1] if fold == 1 else np.cumsum(rows) - rows
        return cls(np.arange(len(rows)), begin, rows, kv[:-1].repeat(fold), keys)

    @classmethod
    def sparse(cls, qo_indptr: ArrayLike, kv_indptr: ArrayLike, *, topk: int) -> Lengths:
        """Every token a request of min(keys, topk) keys at position token·topk; page_size 1."""
        qo, kv = (np.asarray(values, np.int64) for values in (qo_indptr, kv_indptr))
        label = np.arange(len(qo) - 1).repeat(np.diff(qo))
        token = np.arange(qo[0], qo[-1])
        return cls(label, token, np.ones_like(token), token * topk, np.minimum(np.diff(kv)[label], topk))


@dataclass(frozen=True, slots=True)
class Schedule:
    """Decisions of a plan: who walks (workers), in what units (tokens), at what charge (units), over which tiles."""

    workers: int
    granularity: int
    overhead: int
    tile_tokens: int
    page_size: int = 1
    causal: bool = True
    max_splits: int | None = None
    policy: Policy = "exact"
    shape: DecodeShape | None = None
    """Tiling of policy `v1.2`; the exact policy cuts tiles of `tile_tokens`."""

    @classmethod
    def exact(
        cls, *, workers: int, heads: int, tile_rows: int, granularity: int, overhead: int, page_size: int = 1,
        causal: bool = True, max_splits: int | None = None,
    ) -> Schedule:  # fmt: skip
        """The clean plan with tiles of at most `tile_rows` rows (tokens·heads); granularity in tokens."""
        if granularity % page_size:
            raise PlanError(
                f"granularity {granularity} is no multiple of page_size {page_size}; cuts must fall on pages"
            )
        tokens = max(1, tile_rows // heads)
        return cls(workers, granularity, overhead, tokens, page_size, causal, max_splits)

    @classmethod
    def v1_2(
        cls, shape: DecodeShape, *, workers: int, kv_granularity: int = 16, page_size: int = 1, causal: bool = True,
        max_splits: int | None = None,
    ) -> Schedule:  # fmt: skip
        """AITER's plan; `kv_granularity` is in pages, a power of two."""
        overhead = max(1, -(-_CHARGED_TOKENS // page_size))
        granularity = kv_granularity * page_size
        tokens = shape.tile_tokens
        return cls(workers, granularity, overhead, tokens, page_size, causal, max_splits, "v1.2", shape)


@dataclass(frozen=True, slots=True)
class Tile:
    """Rows [start, end) of one request, the keys they read, and the first key position where no cut may fall."""

    request: int
    start: int
    end: int
    keys: int
    no_cut_from: int


@dataclass(frozen=True, slots=True, eq=False)
class Plan:
    """Work items and reduce groups; sizes are host integers, so that nothing has to wait for a device."""

    work_indptr: NDArray[np.int32]
    work_info: NDArray[np.int32]
    reduce_indptr: NDArray[np.int32]
    final_map: NDArray[np.int32]
    partial_map: NDArray[np.int32]
    quota: int
    used_workers: int
    partial_rows: int
    """Rows that the partial buffers must hold."""

    @property
    def num_partial_tiles(self) -> int:
        """Parts of split tiles: reduce_indptr[-1], known before anything is copied to a device."""
        return len(self.partial_map)


def tiles(lengths: Lengths, schedule: Schedule) -> list[Tile]:
    """All q tiles in the order in which they are planned."""
    found: list[Tile] = []
    columns = zip(lengths.q_begin.tolist(), lengths.q_len.tolist(), lengths.length.tolist(), strict=True)
    for request, (begin, qlen, keys) in enumerate(columns):
        if schedule.policy == "exact":
            found += _exact_tiles(request, begin, qlen, keys, schedule)
        else:
            found += _v1_2_tiles(request, begin, qlen, keys, schedule)
    return found


def _exact_tiles(request: int, begin: int, qlen: int, keys: int, schedule: Schedule) -> list[Tile]:
    found: list[Tile] = []
    hidden = keys - qlen
    for start in range(0, qlen, schedule.tile_tokens):
        end = min(start + schedule.tile_tokens, qlen)
        need, least = keys, keys
        if schedule.causal:
            need, least = (min(max(hidden + row, 0), keys) for row in (end, start + 1))
        found.append(Tile(request, begin + start, begin + end, need, least))
    return found


def _v1_2_tiles(request: int, begin: int, qlen: int, keys: int, schedule: Schedule) -> list[Tile]:
    assert schedule.shape is not None
    count = schedule.shape.tiles_of(qlen)
    height = -(-qlen // max(count, 1))
    found: list[Tile] = []
    for k in range(count):
        start, end = k * height, min((k + 1) * height, qlen)
        trim = count - 1 - k if schedule.page_size == 1 and schedule.causal else 0
        reach = max(keys - trim, 0)
        tail = schedule.shape.max_qlen if schedule.page_size == 1 else 0
        if start < end:
            found.append(Tile(request, begin + start, begin + end, reach, reach - tail))
    return found


def plan_decode(lengths: Lengths, schedule: Schedule) -> Plan:
    """Deals tiles to workgroups: each takes the rest of a tile if it fits its quota, else cuts, else passes on."""
    todo = tiles(lengths, schedule)
    used = _used_workers(lengths, schedule, len(todo))
    quota = _quota(lengths, schedule, todo, used)
    parts: list[tuple[int, int, int, int]] = []
    worker, left = 0, quota
    for index, tile in enumerate(todo):
        done, units = 0, -(-tile.keys // schedule.granularity)
        while True:
            take = _take(left, units - done, done, schedule, tile)
            if take is not None:
                start = done * schedule.granularity
                end = min((done + take) * schedule.granularity, tile.keys)
                parts.append((index, worker, start, end))
                left -= take + schedule.overhead
                done += take
                if done == units:
                    break
            worker, left = worker + 1, quota
            if worker >= used:
                raise PlanError(
                    f"{used} workgroups of quota {quota} do not hold the plan; this is a defect of the planner"
                )
    return _assemble(lengths, schedule, todo, parts, quota, used)


def _take(left: int, rest: int, done: int, schedule: Schedule, tile: Tile) -> int | None:
    """Units that a workgroup with `left` of its quota takes; None when it takes nothing."""
    if left >= rest + schedule.overhead:
        return rest
    room = left - schedule.overhead
    if room <= 0:
        return None
    cut = (done + room) * schedule.granularity
    blind = cut >= tile.no_cut_from if schedule.policy == "exact" else cut > tile.no_cut_from
    return rest if blind else room


def _used_workers(lengths: Lengths, schedule: Schedule, count: int) -> int:
    if schedule.max_splits is None:
        return schedule.workers
    unit = count if schedule.policy == "exact" else len(lengths.label)
    return max(1, min(schedule.workers, schedule.max_splits * unit))


def _quota(lengths: Lengths, schedule: Schedule, todo: list[Tile], used: int) -> int:
    """⌈Σ(units + overhead) / workgroups⌉ + overhead; AITER counts the whole request for every tile."""
    exact = schedule.policy == "exact"
    keys = (tile.keys if exact else int(lengths.length[tile.request]) for tile in todo)
    total = sum(-(-count // schedule.granularity) + schedule.overhead for count in keys)
    return -(-total // used) + schedule.overhead


def _assemble(
    lengths: Lengths,
    schedule: Schedule,
    todo: list[Tile],
    parts: list[tuple[int, int, int, int]],
    quota: int,
    used: int,
) -> Plan:
    table = np.array(parts, np.int64).reshape(-1, 4)
    index, worker, start, end = table.T
    count = np.bincount(index, minlength=len(todo))
    split = count[index] > 1
    slot = np.where(split, (np.cumsum(split) - 1) * schedule.tile_tokens, UNSPLIT)
    rows = np.array([(tile.request, tile.start, tile.end) for tile in todo], np.int64).reshape(-1, 3)
    request, q_start, q_end = rows[index].T
    page, begin = schedule.page_size, lengths.kv_begin[request]
    tail = lengths.length[request] - end
    columns = (lengths.label[request], slot, q_start, q_end, begin + start // page, begin - (-end // page), tail)
    info = np.stack([*columns, np.zeros_like(tail)], axis=1)
    groups = np.where(count > 1, count, 0)
    final = np.where((count > 1)[:, None], rows[:, 1:], UNSPLIT)
    work = np.append(0, np.cumsum(np.bincount(worker, minlength=schedule.workers)))
    reduce = np.append(0, np.cumsum(groups))
    return Plan(
        *(values.astype(np.int32) for values in (work, info, reduce, final, slot[split])),
        quota=quota,
        used_workers=used,
        partial_rows=int(split.sum()) * schedule.tile_tokens,
    )


def sizes(shape: DecodeShape, *, batch: int, workers: int, max_splits: int | None = None) -> Sizes:
    """Sizes of ``get_mla_metadata_info_v1`` in fast mode for unfolded `batch` requests of `shape`."""
    return decode_sizes(batch=batch, tiles=shape.sized_tiles, workers=workers, max_splits=max_splits)


def write(plan: Plan, buffers: Buffers, *, policy: Policy = "exact") -> None:
    """Writes a plan into buffers of any content; raises `BufferTooSmall` before the first byte.

    Unused tails get the last indptr value and −1 in the maps; policy `v1.2` leaves map rows that no consumer reads.
    work_info_set behind the last item stays as it was. work_metadata gets the addresses of work_indptr and
    work_info_set.
    """
    _require_room(plan, buffers)
    buffers.work_metadata[:] = (buffers.work_indptr.ctypes.data, buffers.work_info_set.ctypes.data)
    buffers.work_indptr[:] = plan.work_indptr
    buffers.work_info_set[: len(plan.work_info)] = plan.work_info
    buffers.reduce_indptr[: len(plan.reduce_indptr)] = plan.reduce_indptr
    buffers.reduce_indptr[len(plan.reduce_indptr) :] = plan.reduce_indptr[-1]
    buffers.reduce_partial_map[: len(plan.partial_map)] = plan.partial_map
    split = plan.final_map[:, 0] != UNSPLIT
    if policy == "exact":
        buffers.reduce_partial_map[len(plan.partial_map) :] = UNSPLIT
        buffers.reduce_final_map[:] = UNSPLIT
    buffers.reduce_final_map[: len(split)][split] = plan.final_map[split]


def _require_room(plan: Plan, buffers: Buffers) -> None:
    if len(buffers.work_indptr) != len(plan.work_indptr):
        have, due = len(buffers.work_indptr) - 1, len(plan.work_indptr) - 1
        raise BufferTooSmall(f"work_indptr is for {have} workgroups, the plan for {due}; size both by one CU count")
    needs = (2, len(plan.work_indptr), len(plan.work_info), len(plan.reduce_indptr), len(plan.final_map))
    for name, due in zip(NAMES, (*needs, len(plan.partial_map)), strict=True):
        have = len(getattr(buffers, name))
        if have < due:
            raise BufferTooSmall(f"{name} has room for {have}, the plan needs {due}; size it for the largest batch")
