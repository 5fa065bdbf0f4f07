"""The host planner against AITER's tables, its buffer sizes, and the rules of handing the buffers over."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from rocassay.kernels.persistent.buffers import (
    NAMES,
    Buffers,
    BufferTooSmall,
    PlanError,
    decode_sizes,
    planned_batch,
)
from rocassay.kernels.persistent.planner import Lengths, Schedule, plan_decode, sizes, write
from rocassay.kernels.persistent.shapes import DecodeShape
from rocassay.references.persistent.plan_invariants import check_plan
from rocassay.references.persistent.plan_records import PlanBuffers, Requests
from rocassay.suites.persistent.plans import Problem, built, problem_of

H16 = DecodeShape("gfx942", 16)
WORKS = [
    [0, 0, 0, 1, 0, 272, 728, 0],
    [0, 1, 0, 1, 272, 544, 456, 0],
    [0, 2, 0, 1, 544, 816, 184, 0],
    [0, 3, 0, 1, 816, 1000, 0, 0],
    [1, -1, 1, 2, 1000, 1010, 0, 0],
    [2, 4, 2, 3, 1010, 1282, 28, 0],
    [2, 5, 2, 3, 1282, 1310, 0, 0],
]
"""AITER's plan of 1000, 10 and 300 keys on 8 workgroups at granularity 16."""


def decode(keys: list[int], workers: int) -> Problem:
    return problem_of([1] * len(keys), keys, Schedule.v1_2(H16, workers=workers))


def test_the_plan_of_three_requests_is_aiters():
    plan, buffers, _ = built(decode([1000, 10, 300], 8))
    assert plan.quota == 33
    assert buffers.work_info_set[:7].tolist() == WORKS
    assert buffers.work_indptr.tolist() == [0, 1, 2, 3, 4, 5, 6, 7, 7]
    assert buffers.reduce_indptr.tolist() == [0, 4, 4, 6]
    assert buffers.reduce_final_map[[0, 2]].tolist() == [[0, 1], [2, 3]]
    assert buffers.reduce_partial_map[:6].tolist() == [0, 1, 2, 3, 4, 5]
    assert plan.num_partial_tiles == buffers.reduce_indptr[-1]


def test_one_long_request_is_cut_in_units_of_the_quota_less_the_charge():
    plan, buffers, _ = built(decode([4096], 4))
    assert plan.quota == 84
    assert (buffers.work_info_set[:4, 5] - buffers.work_info_set[:4, 4]).tolist() == [1088, 1088, 1088, 832]


def test_aiter_leaves_the_final_rows_of_unsplit_tiles_and_the_clean_plan_marks_them():
    problem = decode([1000, 10, 300], 8)
    _, left, _ = built(problem, poison=-7)
    assert left.reduce_final_map[1].tolist() == [-7, -7]
    schedule = Schedule.exact(workers=8, heads=16, tile_rows=16, granularity=16, overhead=16)
    _, clean, _ = built(problem_of([1] * 3, [1000, 10, 300], schedule))
    assert clean.reduce_final_map[1].tolist() == [-1, -1]
    assert clean.work_info_set[:7].tolist() == WORKS


def test_work_metadata_holds_the_addresses_of_the_work_buffers():
    plan = plan_decode(decode([9], 2).lengths, Schedule.v1_2(H16, workers=2))
    buffers = Buffers.allocate(sizes(H16, batch=1, workers=2))
    write(plan, buffers)
    assert buffers.work_metadata.tolist() == [buffers.work_indptr.ctypes.data, buffers.work_info_set.ctypes.data]


@settings(max_examples=60, deadline=None)
@given(
    requests=st.lists(st.tuples(st.integers(0, 9), st.integers(0, 300)), min_size=1, max_size=8),
    workers=st.integers(1, 9),
    heads=st.sampled_from([8, 24, 64, 128]),
    overhead=st.integers(0, 3),
    causal=st.booleans(),
)
def test_any_small_plan_keeps_every_invariant(requests, workers, heads, overhead, causal):
    schedule = Schedule.exact(
        workers=workers, heads=heads, tile_rows=128, granularity=8, overhead=overhead, page_size=4, causal=causal
    )
    problem = problem_of([r[0] for r in requests], [r[1] for r in requests], schedule, heads=heads)
    plan, buffers, rules = built(problem)
    assert check_plan(problem.requests, buffers, rules, items=len(plan.work_info)) == []


@pytest.mark.parametrize("heads", [16, 32])
def test_a_sparse_plan_gives_every_token_its_own_keys(heads: int):
    qo, kv = np.array([0, 2, 5]), np.array([0, 40, 3000])
    schedule = Schedule.exact(workers=16, heads=heads, tile_rows=heads, granularity=16, overhead=1, causal=False)
    plan = plan_decode(Lengths.sparse(qo, kv, topk=2048), schedule)
    buffers = Buffers.allocate(decode_sizes(batch=2, tiles=1, workers=16, max_qlen=3, sparse=True))
    write(plan, buffers)
    held = PlanBuffers.of(*(getattr(buffers, name) for name in NAMES))
    _, _, rules = built(problem_of([2, 3], [40, 2960], schedule, heads=heads))
    rules = rules.but(partial_rows=len(plan.partial_map))
    assert check_plan(Requests.sparse(qo, kv, topk=2048), held, rules) == []
    assert plan.work_info[:2, 4].tolist() == [0, 2048]


@pytest.mark.parametrize(("arch", "heads"), [("gfx942", 64), ("gfx942", 128), ("gfx950", 48), ("gfx950", 96)])
def test_a_plan_for_the_wrong_dtype_does_not_cover_the_rows_of_the_kernel(arch: str, heads: int):
    right, wrong = DecodeShape(arch, heads, 1, "fp8", "fp8"), DecodeShape(arch, heads)
    assert right.fold != wrong.fold
    indptr, kv = np.arange(4), np.array([0, 500, 510, 900])
    schedule = Schedule.v1_2(wrong, workers=8)
    problem = Problem(indptr, kv, np.ones(3, np.int64), heads, schedule, wrong.fold)
    _, buffers, rules = built(problem)
    assert check_plan(problem.requests, buffers, rules) == []
    meant = Requests.dense(indptr, kv, np.ones(3), page_size=1, fold=right.fold)
    assert "I2" in {finding.invariant for finding in check_plan(meant, buffers, rules)}


def test_buffers_for_max_num_seqs_refuse_a_padded_graph_batch_and_keep_their_bytes():
    plan = plan_decode(decode([300] * 32, 4).lengths, Schedule.v1_2(H16, workers=4))
    small = Buffers.allocate(sizes(H16, batch=16, workers=4), -7)
    with pytest.raises(BufferTooSmall, match="work_info_set has room for 19, the plan needs 3"):
        write(plan, small)
    assert (small.work_indptr == -7).all()
    assert planned_batch(16, [1, 8, 32]) == 32
    write(plan, Buffers.allocate(sizes(H16, batch=planned_batch(16, [1, 8, 32]), workers=4)))


def test_buffers_of_another_cu_count_are_refused():
    plan = plan_decode(decode([300], 4).lengths, Schedule.v1_2(H16, workers=4))
    with pytest.raises(BufferTooSmall, match="work_indptr is for 8 workgroups, the plan for 4"):
        write(plan, Buffers.allocate(sizes(H16, batch=1, workers=8)))


def test_sizes_are_those_of_the_info_function():
    assert decode_sizes(batch=3, tiles=2, workers=8).shapes == ((2,), (9,), (20, 8), (7,), (6, 2), (20,))
    assert decode_sizes(batch=3, tiles=1, workers=2).partials == 2
    assert decode_sizes(batch=3, tiles=1, workers=2, max_splits=8).partials == 5


@pytest.mark.parametrize(
    ("shape", "fold", "tiles", "sized"),
    [
        (DecodeShape("gfx942", 64), 4, 1, 4),
        (DecodeShape("gfx942", 128, 4, "fp8", "fp8"), 1, 4, 4),
        (DecodeShape("gfx950", 128, 2), 1, 2, 2),
        (DecodeShape("gfx950", 32, 3), 1, 2, 2),
        (DecodeShape("gfx950", 48, 1, "fp8", "fp8"), 3, 1, 3),
        (DecodeShape("gfx942", 16, 8), 1, 1, 1),
    ],
)
def test_heads_fold_and_tile_as_in_aiter(shape: DecodeShape, fold: int, tiles: int, sized: int):
    assert (shape.fold, shape.tiles_of(shape.max_qlen), shape.sized_tiles) == (fold, tiles, sized)


def test_a_fold_of_ragged_queries_is_refused():
    with pytest.raises(PlanError, match="equal query lengths"):
        Lengths.dense([0, 1, 3], [0, 5, 9], [1, 1], fold=2)


def test_heads_that_no_kernel_takes_are_refused():
    with pytest.raises(PlanError, match="24 heads are not native on gfx942"):
        _ = DecodeShape("gfx942", 24).fold
