"""The host planner of FP8 prefill with persistent scheduling: clusters of workgroups share heads, not keys.

Source: AITER ``get_ps_metadata_info_v1`` and ``get_ps_metadata_v1``; vllm-project/vllm#42509. Block size 1, one head
a query group; vLLM plans tiles of 256 queries and units of 128 keys (`qlen_granularity`, `kvlen_granularity`).
"""

from __future__ import annotations

from dataclasses import dataclass
from math import gcd

import numpy as np
from numpy.typing import ArrayLike, NDArray

from rocassay.kernels.persistent.buffers import PlanError, Sizes

TILE_Q = 256
"""Query tokens of a tile, and partial rows of a part."""

UNIT_KV = 128
"""Keys of a unit: every cut is a multiple of it."""

UNSPLIT = -1

Part = tuple[int, int, int, int, int, int, int]


@dataclass(frozen=True, slots=True, eq=False)
class PrefillPlan:
    """Arrays of int32; reduce groups are of split tiles only, by query rows."""

    work_indptr: NDArray[np.int32]
    work_info: NDArray[np.int32]
    reduce_indptr: NDArray[np.int32]
    final_map: NDArray[np.int32]
    partial_map: NDArray[np.int32]

    @property
    def num_partial_tiles(self) -> int:
        """reduce_indptr[-1]: parts of split tiles, known on the host without waiting for a device."""
        return len(self.partial_map)


def prefill_sizes(*, batch: int, heads: int, max_qlen: int, workers: int, tile_q: int = TILE_Q) -> Sizes:
    """Sizes of ``get_ps_metadata_info_v1``."""
    group = workers // gcd(heads, workers)
    tiles = -(-max_qlen // tile_q)
    partials = min(batch + group - 1, 2 * (group - 1)) * tiles
    return Sizes(workers, (batch + group - 1) * tiles * heads, batch * tiles, partials)


def partial_tiles_bound(*, max_tokens: int, max_requests: int, workers: int) -> int:
    """Parts that scratch is reserved for at start-up (vLLM rocm_aiter_mla.py)."""
    return -(-max_tokens // TILE_Q) + max_requests - 1 + workers


def plan_prefill(
    qo_indptr: ArrayLike,
    kv_lens: ArrayLike,
    *,
    heads: int,
    workers: int,
    tile_q: int = TILE_Q,
    unit_kv: int = UNIT_KV,
    causal: bool = True,
) -> PrefillPlan:
    """Plan of prefill for rows qo_indptr [B+1] from 0 and keys [B]; raises `PlanError`.

    Causal: a row sees the keys up to its own, rows being the last tokens of their request; else all keys.
    Every workgroup of a cluster repeats its keys for each head of the cluster. A tile has `tile_q` queries, a cut
    falls on a multiple of `unit_kv` keys.
    """
    qo, keys = np.asarray(qo_indptr, np.int64).tolist(), np.asarray(kv_lens, np.int64).tolist()
    if qo[0] != 0 or len(qo) != len(keys) + 1:
        raise PlanError(f"qo_indptr starts at {qo[0]} with {len(qo)} elements; rebase it to 0, one more than kv_lens")
    clusters = gcd(heads, workers)
    group, each = workers // clusters, heads // clusters
    dealt = _deal(_tiles(qo, keys, tile_q, causal), group, tile_q, unit_kv)
    rows: list[tuple[int, ...]] = []
    counts = [0]
    for cluster in range(clusters):
        for parts in dealt:
            for head in range(cluster * each, (cluster + 1) * each):
                rows += [(*part, (head + 1) << 16 | head) for part in parts]
            counts.append(len(rows))
    final, partial, reduce = _groups([part for parts in dealt for part in parts])
    info = np.array(rows, np.int64).reshape(-1, 8)
    return PrefillPlan(*(np.asarray(a).astype(np.int32) for a in (counts, info, reduce, final, partial)))


def _tiles(qo: list[int], keys: list[int], tile_q: int, causal: bool) -> list[tuple[int, int, int, int, int, int]]:
    """(request, start, end, first key, visible keys, all keys), short and long tiles of a request in turn."""
    found: list[tuple[int, int, int, int, int, int]] = []
    begin = 0
    for request, length in enumerate(keys):
        qlen = qo[request + 1] - qo[request]
        count = -(-qlen // tile_q)
        for n in range(count):
            tile = n // 2 if n % 2 == 0 else count - 1 - n // 2
            start, end = tile * tile_q, min((tile + 1) * tile_q, qlen)
            seen = max(min(length - qlen + end, length), 0) if causal else length
            found.append((request, qo[request] + start, qo[request] + end, begin, seen, length))
        begin += length
    return found


def _deal(tiles: list[tuple[int, int, int, int, int, int]], group: int, tile_q: int, unit_kv: int) -> list[list[Part]]:
    """Parts (request, slot, rows, keys, keys behind) of each workgroup of a cluster."""
    average, extra = divmod(sum(-(-tile[4] // unit_kv) for tile in tiles), group)
    dealt: list[list[Part]] = [[] for _ in range(group)]
    slots, worker, left = 0, 0, (average + (extra > 0)) * unit_kv
    for request, start, end, begin, seen, length in tiles:
        done = 0
        while True:
            while left == 0 and worker + 1 < group and seen > done:
                worker += 1
                left = (average + (worker < extra)) * unit_kv
            whole = seen - done <= left
            stop = seen if whole else done + left
            slot = UNSPLIT if whole and done == 0 else tile_q * slots
            slots += slot != UNSPLIT
            behind = 0 if whole else length - stop
            dealt[worker].append((request, slot, start, end, begin + done, begin + stop, behind))
            left -= -(-(stop - done) // unit_kv) * unit_kv
            done = stop
            if whole:
                break
    return dealt


def _groups(parts: list[Part]) -> tuple[NDArray[np.int64], list[int], list[int]]:
    """Final rows, sorted slots and their indptr of the split tiles."""
    slots: dict[tuple[int, int], list[int]] = {}
    for _, slot, start, end, *_ in parts:
        if slot != UNSPLIT:
            slots.setdefault((start, end), []).append(slot)
    order = sorted(slots)
    partial = [slot for rows in order for slot in sorted(slots[rows])]
    indptr = np.cumsum([0, *(len(slots[rows]) for rows in order)]).tolist()
    return np.array(order, np.int64).reshape(-1, 2), partial, indptr
