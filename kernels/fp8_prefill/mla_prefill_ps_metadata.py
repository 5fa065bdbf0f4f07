"""The plan of the persistent FP8 prefill, made on the device: nothing is fetched, nothing is staged.

Contract: AITER `get_ps_metadata_v1` (a host planner; vllm-project/vllm#42509). Its greedy dealing has a closed form:
every worker of a cluster but the last ones holds the same number of units, so the units of a tile say which workers
share it, and running sums over the tiles say where their parts lie. num_partial_tiles is reduce_indptr[-1].
"""

# pyright: reportArgumentType=false, reportCallIssue=false, reportGeneralTypeIssues=false
from __future__ import annotations

from math import gcd

import torch
import triton
import triton.language as tl

from rocassay.harness.layouts import LayoutError
from rocassay.kernels.common.tensors import require_unit_stride
from rocassay.kernels.fp8_prefill.dispatch import MetadataVariant
from rocassay.kernels.prefill.request_search import bisection_steps, owner_of

_TABLES = 4
"""Running sums by tile: units, parts, slots, and the first worker."""


def metadata_workspace(*, requests: int, tiles: int) -> int:
    """int32 elements of scratch for so many requests and query tiles."""
    return requests + 1 + _TABLES * (tiles + 1)


@triton.jit
def _worker_of(unit, average, extra):
    """Worker of a cluster that holds a unit: the first `extra` workers hold one more than `average`."""
    wide = extra * (average + 1)
    behind = extra + (unit - wide) // tl.maximum(average, 1)
    return tl.where(unit < wide, unit // (average + 1), behind)


@triton.jit
def _tile_bounds(
    qo_indptr,
    kv_indptr,
    tile_begin,
    index,
    known,
    requests,
    STEPS: tl.constexpr,
    TILE_Q: tl.constexpr,
    VISIT: tl.constexpr,
):
    """Request, first and last row, first key, visible keys and keys of tiles; VISIT: short and long ones in turn."""
    request = owner_of(tile_begin, index, requests, known, STEPS)
    first = tl.load(tile_begin + request, mask=known, other=0)
    count = tl.load(tile_begin + request + 1, mask=known, other=0) - first
    place = index - first
    tile = place
    if VISIT:
        tile = tl.where(place % 2 == 0, place // 2, count - 1 - place // 2)
    q_begin = tl.load(qo_indptr + request, mask=known, other=0)
    rows = tl.load(qo_indptr + request + 1, mask=known, other=0) - q_begin
    kv_begin = tl.load(kv_indptr + request, mask=known, other=0)
    length = tl.load(kv_indptr + request + 1, mask=known, other=0) - kv_begin
    start = tile * TILE_Q
    end = tl.minimum(start + TILE_Q, rows)
    seen = tl.minimum(tl.maximum(length - rows + end, 0), length)
    return request, q_begin + start, q_begin + end, kv_begin, seen, length


@triton.jit
def _prefill_tiles_kernel(qo_indptr, tile_begin, requests, TILE_Q: tl.constexpr, STEP: tl.constexpr):
    """One program: running sum of the requests' tiles."""
    tl.store(tile_begin, 0)
    base = tl.load(qo_indptr) * 0
    for first in range(0, requests, STEP):
        request = first + tl.arange(0, STEP)
        known = request < requests
        begin = tl.load(qo_indptr + request, mask=known, other=0)
        end = tl.load(qo_indptr + request + 1, mask=known, other=0)
        tiles = tl.where(known, (end - begin + TILE_Q - 1) // TILE_Q, 0)
        tl.store(tile_begin + request + 1, base + tl.cumsum(tiles, axis=0), mask=known)
        base += tl.sum(tiles, axis=0)


@triton.jit
def _prefill_units_kernel(
    qo_indptr,
    kv_indptr,
    tile_begin,
    unit_begin,
    part_begin,
    slot_begin,
    tile_worker,
    requests,
    tiles,
    group,
    STEPS: tl.constexpr,
    TILE_Q: tl.constexpr,
    UNIT_KV: tl.constexpr,
    STEP: tl.constexpr,
):
    """One program: units of all tiles, then in the order of visits their running sums, parts and slots."""
    count = tl.minimum(tl.load(tile_begin + requests), tiles)
    total = count * 0
    for first in range(0, count, STEP):
        index = first + tl.arange(0, STEP)
        known = index < count
        _, _, _, _, seen, _ = _tile_bounds(
            qo_indptr, kv_indptr, tile_begin, index, known, requests, STEPS, TILE_Q, True
        )  # fmt: skip
        total += tl.sum(tl.where(known, (seen + UNIT_KV - 1) // UNIT_KV, 0), axis=0)
    average = total // group
    extra = total % group
    unit_base = count * 0
    part_base = count * 0
    slot_base = count * 0
    for first in range(0, count, STEP):
        index = first + tl.arange(0, STEP)
        known = index < count
        _, _, _, _, seen, _ = _tile_bounds(
            qo_indptr, kv_indptr, tile_begin, index, known, requests, STEPS, TILE_Q, True
        )  # fmt: skip
        units = tl.where(known, (seen + UNIT_KV - 1) // UNIT_KV, 0)
        begin = unit_base + tl.cumsum(units, axis=0) - units
        # A tile without keys stays with the worker of the last unit before it.
        holder = _worker_of(tl.where(units > 0, begin, tl.maximum(begin - 1, 0)), average, extra)
        last = tl.where(units > 0, _worker_of(begin + units - 1, average, extra), holder)
        parts = tl.where(known, last - holder + 1, 0)
        slots = tl.where(parts > 1, parts, 0)
        tl.store(unit_begin + index, begin, mask=known)
        tl.store(part_begin + index, part_base + tl.cumsum(parts, axis=0) - parts, mask=known)
        tl.store(slot_begin + index, slot_base + tl.cumsum(slots, axis=0) - slots, mask=known)
        tl.store(tile_worker + index, holder, mask=known)
        unit_base += tl.sum(units, axis=0)
        part_base += tl.sum(parts, axis=0)
        slot_base += tl.sum(slots, axis=0)
    tl.store(unit_begin + count, unit_base)
    tl.store(part_begin + count, part_base)


@triton.jit
def _prefill_groups_kernel(
    qo_indptr,
    kv_indptr,
    tile_begin,
    part_begin,
    slot_begin,
    reduce_indptr,
    reduce_final_map,
    reduce_partial_map,
    requests,
    tiles,
    bounds,
    STEPS: tl.constexpr,
    TILE_Q: tl.constexpr,
    STEP: tl.constexpr,
):
    """One program: the split tiles in the order of their rows, with their parts' slots."""
    count = tl.minimum(tl.load(tile_begin + requests), tiles)
    tl.store(reduce_indptr, 0)
    groups = count * 0
    filled = count * 0
    for first in range(0, count, STEP):
        index = first + tl.arange(0, STEP)
        known = index < count
        request, start, end, _, _, _ = _tile_bounds(
            qo_indptr, kv_indptr, tile_begin, index, known, requests, STEPS, TILE_Q, False
        )  # fmt: skip
        begin = tl.load(tile_begin + request, mask=known, other=0)
        own = tl.load(tile_begin + request + 1, mask=known, other=0) - begin
        tile = index - begin
        visit = begin + tl.where(tile <= (own - 1) // 2, 2 * tile, 2 * (own - 1 - tile) + 1)
        part = tl.load(part_begin + visit, mask=known, other=0)
        parts = tl.load(part_begin + visit + 1, mask=known, other=0) - part
        split = parts > 1
        one = split.to(tl.int32)
        place = groups + tl.cumsum(one, axis=0) - one
        listed = tl.where(split, parts, 0)
        head = filled + tl.cumsum(listed, axis=0) - listed
        tl.store(reduce_indptr + place + 1, head + parts, mask=split)
        tl.store(reduce_final_map + place * 2, start, mask=split)
        tl.store(reduce_final_map + place * 2 + 1, end, mask=split)
        slot = tl.load(slot_begin + visit, mask=split, other=0)
        for number in range(tl.max(listed, axis=0)):
            tl.store(reduce_partial_map + head + number, (slot + number) * TILE_Q, mask=number < listed)
        groups += tl.sum(one, axis=0)
        filled += tl.sum(listed, axis=0)
    for first in range(groups + 1, bounds, STEP):
        behind = first + tl.arange(0, STEP)
        tl.store(reduce_indptr + behind, filled + behind * 0, mask=behind < bounds)


@triton.jit
def _first_part(part_begin, tile_worker, worker, tiles, STEPS: tl.constexpr):
    """Parts of all workers before `worker`, a tile of numbers."""
    low = worker * 0
    high = low + tiles
    for _ in tl.static_range(STEPS):
        middle = (low + high) // 2
        searching = low < high
        before = tl.load(tile_worker + middle, mask=searching, other=0) < worker
        low = tl.where(searching & before, middle + 1, low)
        high = tl.where(searching & ~before, middle, high)
    some = low > 0
    tile = tl.maximum(low - 1, 0)
    begin = tl.load(part_begin + tile, mask=some, other=0)
    parts = tl.load(part_begin + tile + 1, mask=some, other=0) - begin
    reached = worker - tl.load(tile_worker + tile, mask=some, other=0)
    return tl.where(some, begin + tl.minimum(parts, reached), 0)


@triton.jit
def _prefill_works_kernel(
    qo_indptr,
    kv_indptr,
    tile_begin,
    unit_begin,
    part_begin,
    slot_begin,
    tile_worker,
    work_indptr,
    work_info_set,
    requests,
    tiles,
    group,
    each,
    STEPS: tl.constexpr,
    TILE_STEPS: tl.constexpr,
    TILE_Q: tl.constexpr,
    UNIT_KV: tl.constexpr,
    STEP: tl.constexpr,
):
    """Program (b, c) writes STEP parts, and workers, of cluster c: each part once for every head of the cluster."""
    cluster = tl.program_id(1)
    index = tl.program_id(0) * STEP + tl.arange(0, STEP)
    count = tl.minimum(tl.load(tile_begin + requests), tiles)
    total = tl.load(part_begin + count)
    units = tl.load(unit_begin + count)
    average = units // group
    extra = units % group
    # As workers: where the work of each begins.
    cluster_base = cluster * each * total
    begins = cluster_base + each * _first_part(part_begin, tile_worker, index, count, TILE_STEPS)
    last_cluster = cluster == tl.num_programs(1) - 1
    tl.store(work_indptr + cluster * group + index, begins, mask=(index < group) | (last_cluster & (index == group)))
    # As parts: what each is made of.
    known = index < total
    tile = owner_of(part_begin, index, count, known, TILE_STEPS)
    request, start, end, kv_begin, seen, length = _tile_bounds(
        qo_indptr, kv_indptr, tile_begin, tile, known, requests, STEPS, TILE_Q, True
    )  # fmt: skip
    part = tl.load(part_begin + tile, mask=known, other=0)
    parts = tl.load(part_begin + tile + 1, mask=known, other=0) - part
    unit = tl.load(unit_begin + tile, mask=known, other=0)
    number = index - part
    worker = tl.load(tile_worker + tile, mask=known, other=0) + number
    from_unit = tl.maximum(average * worker + tl.minimum(worker, extra) - unit, 0)
    to_unit = average * (worker + 1) + tl.minimum(worker + 1, extra) - unit
    final = number == parts - 1
    done = tl.where(number == 0, 0, from_unit * UNIT_KV)
    stop = tl.where(final, seen, to_unit * UNIT_KV)
    slot = tl.load(slot_begin + tile, mask=known, other=0) + number
    slot = tl.where(parts > 1, slot * TILE_Q, -1)
    ahead = _first_part(part_begin, tile_worker, worker, count, TILE_STEPS)
    mine = _first_part(part_begin, tile_worker, worker + 1, count, TILE_STEPS) - ahead
    for local in range(each):
        head = cluster * each + local
        row = cluster_base + each * ahead + local * mine + (index - ahead)
        info = work_info_set + row.to(tl.int64) * 8
        tl.store(info, request, mask=known)
        tl.store(info + 1, slot, mask=known)
        tl.store(info + 2, start, mask=known)
        tl.store(info + 3, end, mask=known)
        tl.store(info + 4, kv_begin + done, mask=known)
        tl.store(info + 5, kv_begin + stop, mask=known)
        tl.store(info + 6, tl.where(final, 0, length - stop), mask=known)
        tl.store(info + 7, (head + 1) << 16 | head + index * 0, mask=known)


def mla_prefill_ps_metadata(
    qo_indptr: torch.Tensor,
    kv_indptr: torch.Tensor,
    work_indptr: torch.Tensor,
    work_info_set: torch.Tensor,
    reduce_indptr: torch.Tensor,
    reduce_final_map: torch.Tensor,
    reduce_partial_map: torch.Tensor,
    workspace: torch.Tensor,
    *,
    num_heads: int,
    variant: MetadataVariant,
) -> None:
    """The plan of `plan_prefill`, element for element, for rows qo_indptr [B + 1] and keys kv_indptr [B + 1] from 0.

    All tensors are int32. Written, with capacities as ``get_ps_metadata_info_v1`` gives them (`prefill_sizes`):
    work_indptr [W + 1] for W workgroups; work_info_set [works, 8]; reduce_indptr [groups + 1], whose tail repeats its
    last bound, so that reduce_indptr[-1] is the number of partial tiles; reduce_final_map [groups, 2];
    reduce_partial_map [parts]. What lies behind the plan keeps what it held. groups must be at least the number of
    query tiles. workspace: [>= metadata_workspace(requests=B, tiles=groups)], contents ignored.
    Raises LayoutError for shapes that do not fit.
    """
    requests, tiles = qo_indptr.shape[0] - 1, reduce_final_map.shape[0]
    needed = metadata_workspace(requests=requests, tiles=tiles)
    if kv_indptr.shape[0] != requests + 1 or workspace.shape[0] < needed or reduce_indptr.shape[0] < tiles + 1:
        raise LayoutError(
            f"kv_indptr {tuple(kv_indptr.shape)}, workspace {tuple(workspace.shape)} or reduce_indptr "
            f"{tuple(reduce_indptr.shape)} does not fit {requests} requests and {tiles} tiles; {needed} elements of "
            "scratch are needed"
        )
    for name, tensor in (("work_info_set", work_info_set), ("reduce_final_map", reduce_final_map)):
        require_unit_stride(name, tensor)
    workers = work_indptr.shape[0] - 1
    clusters = gcd(num_heads, workers)
    group, each = workers // clusters, num_heads // clusters
    tile_begin, *tables = workspace[:needed].split([requests + 1, *[tiles + 1] * _TABLES])
    unit_begin, part_begin, slot_begin, tile_worker = tables
    steps = bisection_steps(requests)
    same = {"TILE_Q": variant.tile_q, "STEP": variant.step, "num_warps": variant.num_warps}
    _prefill_tiles_kernel[(1,)](qo_indptr, tile_begin, requests, **same)
    _prefill_units_kernel[(1,)](
        qo_indptr,
        kv_indptr,
        tile_begin,
        *tables,
        requests,
        tiles,
        group,
        STEPS=steps,
        UNIT_KV=variant.unit_kv,
        **same,
    )
    _prefill_groups_kernel[(1,)](
        qo_indptr,
        kv_indptr,
        tile_begin,
        part_begin,
        slot_begin,
        reduce_indptr,
        reduce_final_map,
        reduce_partial_map,
        requests,
        tiles,
        reduce_indptr.shape[0],
        STEPS=steps,
        **same,
    )
    most = max(tiles + group - 1, group + 1)
    _prefill_works_kernel[(triton.cdiv(most, variant.step), clusters)](
        qo_indptr,
        kv_indptr,
        tile_begin,
        unit_begin,
        part_begin,
        slot_begin,
        tile_worker,
        work_indptr,
        work_info_set,
        requests,
        tiles,
        group,
        each,
        STEPS=steps,
        TILE_STEPS=max(1, tiles).bit_length() + 1,
        UNIT_KV=variant.unit_kv,
        **same,
    )
