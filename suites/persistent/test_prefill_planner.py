"""The prefill planner against tables of AITER's own."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import ArrayLike

from rocassay.kernels.persistent.buffers import PlanError
from rocassay.kernels.persistent.prefill_planner import (
    TILE_Q,
    UNIT_KV,
    partial_tiles_bound,
    plan_prefill,
    prefill_sizes,
)

LENGTHS = {
    (256,): (2, 2),
    (257,): (5, 5),
    (1,): (1, 0),
    (129,): (2, 2),
    (4096,): (24, 16),
    (5, 0, 300): (6, 5),
}
"""Lengths -> works of a head and partial tiles, for 16 heads on 256 workgroups."""


def rows(lengths: ArrayLike) -> np.ndarray:
    return np.append(0, np.cumsum(lengths))


def test_the_plan_of_600_tokens_is_aiters():
    plan = plan_prefill([0, 600], [600], heads=2, workers=4)
    of_a_head = [
        [0, -1, 0, 256, 0, 256, 0],
        [0, 0, 512, 600, 0, 512, 88],
        [0, 256, 512, 600, 512, 600, 0],
        [0, -1, 256, 512, 0, 512, 0],
    ]
    assert plan.work_info[:, :7].tolist() == of_a_head * 2
    assert plan.work_info[:, 7].tolist() == [1 << 16] * 4 + [2 << 16 | 1] * 4
    assert plan.work_indptr.tolist() == [0, 2, 4, 6, 8]
    assert plan.reduce_indptr.tolist() == [0, 2]
    assert plan.final_map.tolist() == [[512, 600]]
    assert plan.partial_map.tolist() == [0, 256]


@pytest.mark.parametrize("lengths", LENGTHS)
def test_works_and_partial_tiles_are_aiters(lengths: tuple[int, ...]):
    plan = plan_prefill(rows(lengths), lengths, heads=16, workers=256)
    assert (len(plan.work_info) // 16, plan.num_partial_tiles) == LENGTHS[lengths]


@pytest.mark.parametrize("seed", range(60))
def test_every_head_reads_every_visible_key_of_every_tile_once(seed: int):
    random = np.random.default_rng(seed)
    lengths = random.integers(0, 1500, random.integers(1, 9))
    prefix = random.choice([0, 0, 100], len(lengths))
    heads, workers = int(random.choice([2, 16, 48])), int(random.choice([4, 80, 256, 304]))
    plan = plan_prefill(rows(lengths), lengths + prefix, heads=heads, workers=workers)
    starts, begins = rows(lengths), rows(lengths + prefix)
    covered: dict[tuple[int, int, int], list[tuple[int, int]]] = {}
    for request, _, q0, q1, k0, k1, _, head in plan.work_info.tolist():
        covered.setdefault((head & 0xFFFF, q0, q1), []).append((k0 - int(begins[request]), k1 - int(begins[request])))
    tiles = [
        (int(s) + t, int(s) + min(t + TILE_Q, int(n)), min(t + TILE_Q, int(n)) + int(p))
        for s, n, p in zip(starts, lengths, prefix, strict=False)
        for t in range(0, int(n), TILE_Q)
    ]
    assert set(covered) == {(head, q0, q1) for head in range(heads) for q0, q1, _ in tiles}
    for head in range(heads):
        for q0, q1, need in tiles:
            parts = sorted(covered[head, q0, q1])
            assert [part[0] for part in parts] == [0, *(part[1] for part in parts[:-1])]
            assert parts[-1][1] == need
            assert all(part[1] % UNIT_KV == 0 for part in parts[:-1])
    assert plan.work_indptr[-1] == len(plan.work_info)
    assert len(plan.work_indptr) == workers + 1


@pytest.mark.parametrize("seed", range(40))
def test_slots_are_distinct_grouped_and_within_the_sizes(seed: int):
    random = np.random.default_rng(seed)
    lengths = random.integers(0, 1500, random.integers(1, 9))
    heads, workers = int(random.choice([2, 16])), int(random.choice([4, 80, 256]))
    plan = plan_prefill(rows(lengths), lengths, heads=heads, workers=workers)
    first_head = plan.work_info[(plan.work_info[:, 7] & 0xFFFF) == 0]
    slots = first_head[first_head[:, 1] >= 0, 1]
    assert sorted(slots.tolist()) == sorted(plan.partial_map.tolist()) == [TILE_Q * k for k in range(len(slots))]
    assert (np.diff(plan.reduce_indptr) >= 2).all()
    assert plan.num_partial_tiles == plan.reduce_indptr[-1]
    longest = max(int(lengths.max()), 1)
    room = prefill_sizes(batch=len(lengths), heads=heads, max_qlen=longest, workers=workers)
    have = (len(plan.work_info), len(plan.final_map), len(plan.partial_map))
    assert all(a <= b for a, b in zip(have, (room.work, room.groups, room.partials), strict=True))
    bound = partial_tiles_bound(max_tokens=int(lengths.sum()), max_requests=len(lengths), workers=workers)
    assert plan.num_partial_tiles <= bound


def test_rows_that_are_not_rebased_behind_decodes_are_refused():
    with pytest.raises(PlanError, match="rebase it to 0"):
        plan_prefill([2, 10], [8], heads=16, workers=256)
