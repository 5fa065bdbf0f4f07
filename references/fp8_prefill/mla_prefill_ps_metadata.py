"""The plan of the persistent FP8 prefill, dealt unit by unit.

Contract: AITER `get_ps_metadata_v1` (vllm-project/vllm#42509): every unit of keys goes to the first worker of a cluster
that has room for it; what one worker gets of a tile is one part.
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

import numpy as np
from numpy.typing import NDArray

Ints = NDArray[np.int32]


@dataclass(frozen=True, slots=True)
class Tile:
    """Query tile of a request: rows [start, end) and the keys [first, first + seen) of `length`."""

    request: int
    start: int
    end: int
    first: int
    seen: int
    length: int


@dataclass(slots=True)
class Part:
    """What one worker does of a tile, for every head of its cluster."""

    tile: Tile
    begin: int
    end: int
    slot: int = -1
    """Number of the part among those of split tiles; -1 for a whole tile."""


def plan_tiles(qo_indptr: list[int], kv_indptr: list[int], tile_q: int) -> list[Tile]:
    """Tiles in the order of visits: of each request the first, the last, the second, the last but one..."""
    found: list[Tile] = []
    for request in range(len(qo_indptr) - 1):
        rows, length = (indptr[request + 1] - indptr[request] for indptr in (qo_indptr, kv_indptr))
        starts = list(range(0, rows, tile_q))
        while starts:
            for side in (0, -1)[: len(starts)]:
                start = starts.pop(side)
                end = min(start + tile_q, rows)
                seen = min(max(length - rows + end, 0), length)
                begin = qo_indptr[request]
                found.append(Tile(request, begin + start, begin + end, kv_indptr[request], seen, length))
    return found


def deal(tiles: list[Tile], workers: int, unit_kv: int) -> list[list[Part]]:
    """Parts of each worker of a cluster."""
    total = sum(-(-tile.seen // unit_kv) for tile in tiles)
    room = [total // workers + (worker < total % workers) for worker in range(workers)]
    dealt: list[list[Part]] = [[] for _ in range(workers)]
    worker = slots = 0
    for tile in tiles:
        parts: list[Part] = []
        for begin in range(0, tile.seen, unit_kv):
            while not room[worker]:
                worker += 1
            room[worker] -= 1
            end = min(begin + unit_kv, tile.seen)
            if parts and dealt[worker] and dealt[worker][-1] is parts[-1]:
                parts[-1].end = end
            else:
                parts.append(Part(tile, begin, end))
                dealt[worker].append(parts[-1])
        if not parts:
            dealt[worker].append(Part(tile, 0, 0))
        if len(parts) > 1:
            for part in parts:
                part.slot = slots
                slots += 1
    return dealt


def mla_prefill_ps_metadata(
    qo_indptr: list[int], kv_indptr: list[int], *, heads: int, workers: int, tile_q: int, unit_kv: int
) -> dict[str, Ints]:
    """The five buffers of a plan, exactly as long as they are filled; reduce_indptr ends with the number of parts."""
    clusters = gcd(heads, workers)
    group, each = workers // clusters, heads // clusters
    tiles = plan_tiles(qo_indptr, kv_indptr, tile_q)
    dealt = deal(tiles, group, unit_kv)
    rows: list[list[int]] = []
    indptr = [0]
    for cluster in range(clusters):
        for parts in dealt:
            for head in range(cluster * each, (cluster + 1) * each):
                rows += [_words(part, head, tile_q) for part in parts]
            indptr.append(len(rows))
    split: dict[tuple[int, int], list[int]] = {}
    for part in (part for parts in dealt for part in parts if part.slot >= 0):
        split.setdefault((part.tile.start, part.tile.end), []).append(part.slot * tile_q)
    bounds = np.cumsum([0, *(len(split[key]) for key in sorted(split))])
    return {
        "work_indptr": np.array(indptr, np.int32),
        "work_info_set": np.array(rows, np.int32).reshape(-1, 8),
        "reduce_indptr": bounds.astype(np.int32),
        "reduce_final_map": np.array(sorted(split), np.int32).reshape(-1, 2),
        "reduce_partial_map": np.array([s for key in sorted(split) for s in sorted(split[key])], np.int32),
    }


def _words(part: Part, head: int, tile_q: int) -> list[int]:
    tile = part.tile
    behind = 0 if part.end == tile.seen else tile.length - part.end
    slot = -1 if part.slot < 0 else part.slot * tile_q
    keys = (tile.first + part.begin, tile.first + part.end)
    return [tile.request, slot, tile.start, tile.end, *keys, behind, (head + 1) << 16 | head]
