"""The planner of persistent decode on the device: the six buffers, byte for byte as the host planner writes them.

One program walks (tile, workgroup) as `planner.plan_decode` does: greedy stream-K with the policies `exact` and `v1.2`.
Nothing waits for the device: sizes are checked against the largest plan of the shapes, which the host knows.
Source of the encoding: AITER csrc/kernels/mla/metadata (v1.2, `get_mla_metadata_v1`).
"""

# pyright: reportArgumentType=false, reportCallIssue=false
from __future__ import annotations

import torch
import triton
import triton.language as tl

from rocassay.kernels.persistent.buffers import WORDS, BufferTooSmall, PlanError, decode_sizes
from rocassay.kernels.persistent.dispatch import MlaPlanVariant


@triton.jit
def _keys(kv_indptr, last_page_lens, request, PAGE_SIZE: tl.constexpr):
    """(first position, keys) of a request."""
    first = tl.load(kv_indptr + request)
    pages = tl.load(kv_indptr + request + 1) - first
    last = tl.load(last_page_lens + request)
    return first, tl.where(pages > 0, (pages - 1) * PAGE_SIZE + last, 0)


@triton.jit
def _tiles_of(q_len, TILE_TOKENS: tl.constexpr, ONE_TILE: tl.constexpr, FULL_ROWS: tl.constexpr, HEADS: tl.constexpr):
    """Tiles of a request of q_len tokens; FULL_ROWS is 0 in the clean plan, whose tiles have TILE_TOKENS tokens."""
    if FULL_ROWS == 0:
        count = tl.cdiv(q_len, TILE_TOKENS)
    elif ONE_TILE:
        count = tl.minimum(q_len, 1)
    elif 2 * HEADS > FULL_ROWS:
        count = q_len
    else:
        count = tl.cdiv(q_len * HEADS, FULL_ROWS)
    return count


@triton.jit
def _reach(keys, q_len, start, end, number, count, EXACT: tl.constexpr, CAUSAL: tl.constexpr, PAGE_SIZE: tl.constexpr,
           MAX_QLEN: tl.constexpr):  # fmt: skip
    """(keys of a tile, first key where no cut may fall) of tokens [start, end), tile `number` of `count`."""
    if EXACT:
        if CAUSAL:
            reach = tl.minimum(tl.maximum(keys - q_len + end, 0), keys)
            barrier = tl.minimum(tl.maximum(keys - q_len + start + 1, 0), keys)
        else:
            reach = keys
            barrier = keys
    else:
        trim = count - 1 - number if CAUSAL and PAGE_SIZE == 1 else number * 0
        reach = tl.maximum(keys - trim, 0)
        # A cut at the barrier itself is allowed here.
        barrier = reach - (MAX_QLEN if PAGE_SIZE == 1 else 0) + 1
    return reach, barrier


@triton.jit
def _total_units(
    qo_indptr,
    kv_indptr,
    last_page_lens,
    requests,
    GRANULARITY: tl.constexpr,
    OVERHEAD: tl.constexpr,
    TILE_TOKENS: tl.constexpr,
    ONE_TILE: tl.constexpr,
    FULL_ROWS: tl.constexpr,
    HEADS: tl.constexpr,
    EXACT: tl.constexpr,
    CAUSAL: tl.constexpr,
    PAGE_SIZE: tl.constexpr,
    MOST_TILES: tl.constexpr,
    LANES: tl.constexpr,
):
    """(units and charges, tiles) of all requests, before heads are folded; LANES requests at a time."""
    units = tl.zeros([LANES], tl.int32)
    tiles = tl.zeros([LANES], tl.int32)
    for first in range(0, requests, LANES):
        request = first + tl.arange(0, LANES)
        there = request < requests
        begin = tl.load(kv_indptr + request, mask=there, other=0)
        pages = tl.load(kv_indptr + request + 1, mask=there, other=0) - begin
        last = tl.load(last_page_lens + request, mask=there, other=0)
        keys = tl.where(pages > 0, (pages - 1) * PAGE_SIZE + last, 0)
        q_begin = tl.load(qo_indptr + request, mask=there, other=0)
        q_len = tl.load(qo_indptr + request + 1, mask=there, other=0) - q_begin
        count = _tiles_of(q_len, TILE_TOKENS, ONE_TILE, FULL_ROWS, HEADS)
        height = tl.cdiv(q_len, tl.maximum(count, 1))
        for number in range(MOST_TILES):
            if EXACT:
                height = tl.full([LANES], TILE_TOKENS, tl.int32)
            start = number * height
            end = tl.minimum(start + height, q_len)
            live = there & (number < count) & (start < end)
            reach, _ = _reach(keys, q_len, start, end, number, count, EXACT, CAUSAL, PAGE_SIZE, 0)
            # AITER counts the whole request for every tile.
            planned = reach if EXACT else keys
            units += tl.where(live, tl.cdiv(planned, GRANULARITY) + OVERHEAD, 0)
            tiles += live.to(tl.int32)
    return tl.sum(units, axis=0), tl.sum(tiles, axis=0)


@triton.jit
def _mla_plan_kernel(
    qo_indptr,
    kv_indptr,
    last_page_lens,
    work_metadata,
    work_indptr,
    work_info_set,
    reduce_indptr,
    reduce_final_map,
    reduce_partial_map,
    requests,
    workers,
    groups,
    partials,
    split_limit,
    GRANULARITY: tl.constexpr,
    OVERHEAD: tl.constexpr,
    TILE_TOKENS: tl.constexpr,
    ONE_TILE: tl.constexpr,
    FULL_ROWS: tl.constexpr,
    HEADS: tl.constexpr,
    EXACT: tl.constexpr,
    CAUSAL: tl.constexpr,
    PAGE_SIZE: tl.constexpr,
    MAX_QLEN: tl.constexpr,
    FOLD: tl.constexpr,
    MOST_TILES: tl.constexpr,
    HAS_SPLIT_LIMIT: tl.constexpr,
    LANES: tl.constexpr,
):
    """One program deals every tile to workgroups in order and writes what consumers read."""
    lane = tl.arange(0, LANES)
    units_once, tiles_once = _total_units(
        qo_indptr, kv_indptr, last_page_lens, requests, GRANULARITY, OVERHEAD, TILE_TOKENS, ONE_TILE, FULL_ROWS, HEADS,
        EXACT, CAUSAL, PAGE_SIZE, MOST_TILES, LANES,
    )  # fmt: skip
    total = units_once * FOLD
    tiles = tiles_once * FOLD
    used = workers
    if HAS_SPLIT_LIMIT:
        counted = tiles if EXACT else requests * FOLD
        used = tl.maximum(1, tl.minimum(workers, split_limit * counted))
    quota = tl.cdiv(total, used) + OVERHEAD
    word = tl.arange(0, 8)
    worker = 0
    left = quota
    items = 0
    parts = 0
    group = 0
    rows = 0
    tl.store(work_indptr, 0)
    tl.store(reduce_indptr, 0)
    for virtual in range(requests * FOLD):
        request = virtual // FOLD
        kv_first, keys = _keys(kv_indptr, last_page_lens, request, PAGE_SIZE)
        q_begin = tl.load(qo_indptr + request)
        q_len = tl.load(qo_indptr + request + 1) - q_begin
        row_first = q_begin if FOLD == 1 else rows
        rows += q_len
        count = _tiles_of(q_len, TILE_TOKENS, ONE_TILE, FULL_ROWS, HEADS)
        height = TILE_TOKENS if EXACT else tl.cdiv(q_len, tl.maximum(count, 1))
        for number in range(count):
            start = number * height
            end = tl.minimum(start + height, q_len)
            if start < end:
                reach, barrier = _reach(
                    keys, q_len, start, end, number, count, EXACT, CAUSAL, PAGE_SIZE, MAX_QLEN
                )  # fmt: skip
                units = tl.cdiv(reach, GRANULARITY)
                done = 0
                pieces = 0
                # One iteration a piece or a workgroup that is passed on; -1 ends the tile.
                while done >= 0:
                    rest = units - done
                    room = left - OVERHEAD
                    cut = (done + room) * GRANULARITY
                    whole = (left >= rest + OVERHEAD) | ((room > 0) & (cut >= barrier))
                    if whole | (room > 0):
                        take = tl.where(whole, rest, room)
                        first_key = done * GRANULARITY
                        last_key = tl.minimum((done + take) * GRANULARITY, reach)
                        alone = whole & (done == 0)
                        slot = tl.where(alone, -1, parts * TILE_TOKENS)
                        kv_start = kv_first + first_key // PAGE_SIZE
                        kv_end = kv_first + tl.cdiv(last_key, PAGE_SIZE)
                        info = tl.where(word == 0, virtual, 0)
                        info = tl.where(word == 1, slot, info)
                        info = tl.where(word == 2, row_first + start, info)
                        info = tl.where(word == 3, row_first + end, info)
                        info = tl.where(word == 4, kv_start, info)
                        info = tl.where(word == 5, kv_end, info)
                        behind = keys - last_key
                        info = tl.where(word == 6, behind, info)
                        tl.store(work_info_set + items * 8 + word, info)
                        if slot >= 0:
                            tl.store(reduce_partial_map + parts, slot)
                            parts += 1
                            pieces += 1
                        items += 1
                        left = left - take - OVERHEAD
                        done = tl.where(whole, -1, done + take)
                    if done >= 0:
                        # A workgroup that has cut, or has no room, is through.
                        worker += 1
                        tl.store(work_indptr + worker, items)
                        left = quota
                if pieces > 0:
                    tl.store(reduce_final_map + group * 2, row_first + start)
                    tl.store(reduce_final_map + group * 2 + 1, row_first + end)
                elif EXACT:
                    tl.store(reduce_final_map + group * 2, -1)
                    tl.store(reduce_final_map + group * 2 + 1, -1)
                group += 1
                tl.store(reduce_indptr + group, parts)
    for first in range(worker + 1, workers + 1, LANES):
        tl.store(work_indptr + first + lane, tl.zeros([LANES], tl.int32) + items, mask=first + lane <= workers)
    for first in range(group + 1, groups + 1, LANES):
        tl.store(reduce_indptr + first + lane, tl.zeros([LANES], tl.int32) + parts, mask=first + lane <= groups)
    if EXACT:
        for first in range(parts, partials, LANES):
            tl.store(reduce_partial_map + first + lane, tl.full([LANES], -1, tl.int32), mask=first + lane < partials)
        for first in range(group * 2, groups * 2, LANES):
            tl.store(reduce_final_map + first + lane, tl.full([LANES], -1, tl.int32), mask=first + lane < groups * 2)
    tl.store(work_metadata, work_indptr.to(tl.int64))
    tl.store(work_metadata + 1, work_info_set.to(tl.int64))


def mla_plan(
    qo_indptr: torch.Tensor,
    kv_indptr: torch.Tensor,
    last_page_lens: torch.Tensor,
    work_metadata: torch.Tensor,
    work_indptr: torch.Tensor,
    work_info_set: torch.Tensor,
    reduce_indptr: torch.Tensor,
    reduce_final_map: torch.Tensor,
    reduce_partial_map: torch.Tensor,
    *,
    page_size: int,
    max_qlen: int,
    variant: MlaPlanVariant,
    causal: int = 1,
    max_splits: int | None = None,
) -> None:
    """Plans a decode step on the device that holds its lists; see `planner.plan_decode` for what a plan is.

    qo_indptr, kv_indptr: int32 [B + 1] of tokens and pages; last_page_lens: int32 [B]. The six buffers, contiguous, the
    first int64 or uint64 and the others int32, may hold anything and be larger than the plan; work_indptr has one
    element more than there are workgroups. Requests have at most `max_qlen` tokens; with folded heads every request
    has the same number, the first token is 0, and page_size is 1.
    Raises BufferTooSmall unless the largest plan of B such requests fits, PlanError for a fold of pages.
    """
    requests, workers = last_page_lens.numel(), work_indptr.numel() - 1
    if variant.fold > 1 and page_size > 1:
        raise PlanError(f"heads folded {variant.fold} times need page_size 1, not {page_size}")
    if variant.granularity % page_size:
        raise PlanError(f"granularity {variant.granularity} is no multiple of page_size {page_size}")
    tiles = variant.tiles_of(max_qlen)
    planned = max(1, requests * variant.fold)
    sizes = decode_sizes(batch=planned, tiles=max(1, tiles), workers=workers, max_splits=max_splits)
    have = (work_info_set.shape[0], reduce_indptr.numel() - 1, reduce_final_map.shape[0], reduce_partial_map.numel())
    for name, room, due in zip(
        ("work_info_set", "reduce_indptr", "reduce_final_map", "reduce_partial_map"),
        have,
        (sizes.work, sizes.groups, sizes.groups, sizes.partials),
        strict=True,
    ):
        if room < due:
            raise BufferTooSmall(
                f"{name} has room for {room}, {requests} requests may need {due}; size it for the largest batch"
            )
    if work_info_set.shape[1] != WORDS:
        raise BufferTooSmall(f"work_info_set has rows of {work_info_set.shape[1]} words; they need {WORDS}")
    _mla_plan_kernel[(1,)](
        qo_indptr,
        kv_indptr,
        last_page_lens,
        work_metadata if work_metadata.dtype is torch.int64 else work_metadata.view(torch.int64),
        work_indptr,
        work_info_set,
        reduce_indptr,
        reduce_final_map,
        reduce_partial_map,
        requests,
        workers,
        min(have[1], have[2]),
        have[3],
        0 if max_splits is None else max_splits,
        GRANULARITY=variant.granularity,
        OVERHEAD=variant.overhead,
        TILE_TOKENS=variant.tile_tokens,
        ONE_TILE=variant.one_tile,
        FULL_ROWS=0 if variant.policy == "exact" else variant.rows,
        HEADS=variant.heads,
        EXACT=variant.policy == "exact",
        CAUSAL=bool(causal),
        PAGE_SIZE=page_size,
        MAX_QLEN=max_qlen,
        FOLD=variant.fold,
        MOST_TILES=tiles,
        HAS_SPLIT_LIMIT=max_splits is not None,
        LANES=variant.lanes,
        num_warps=variant.num_warps,
    )
