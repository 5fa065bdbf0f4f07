"""AITER's own planners, judged where they run; everywhere else, the way their buffers are filled and read."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace

import numpy as np
import pytest
import torch

from rocassay.kernels.persistent.planner import Schedule
from rocassay.kernels.persistent.shapes import DecodeShape
from rocassay.references.fp8_prefill.plan_invariants import PrefillRules
from rocassay.suites.persistent import aiter_plans
from rocassay.suites.persistent.own_planners import OwnPlanners
from rocassay.suites.persistent.plans import Draw, Problem, problem_of, random_problem

LIVE_PLANS = 400
WORKERS = 8
H16 = DecodeShape("gfx942", 16)
PROBLEM = problem_of([1, 1, 1], [1000, 10, 300], Schedule.v1_2(H16, workers=WORKERS))
OF_600 = PrefillRules((0, 600), (0, 600), heads=2, workers=4)

Six = tuple[torch.Tensor, ...]
Corrupt = Callable[[Six], None]


def recorded() -> Six:
    """AITER's decode plan of `PROBLEM` (granularity 16), each buffer with stale rows behind what it used."""
    stale = [-7] * 8
    work_indptr = torch.tensor([0, 1, 2, 3, 4, 5, 6, 7, 7], dtype=torch.int32)
    work_info_set = torch.tensor(
        [
            [0, 0, 0, 1, 0, 272, 728, 0],
            [0, 1, 0, 1, 272, 544, 456, 0],
            [0, 2, 0, 1, 544, 816, 184, 0],
            [0, 3, 0, 1, 816, 1000, 0, 0],
            [1, -1, 1, 2, 1000, 1010, 0, 0],
            [2, 4, 2, 3, 1010, 1282, 28, 0],
            [2, 5, 2, 3, 1282, 1310, 0, 0],
            *[stale] * 3,
        ],
        dtype=torch.int32,
    )
    pointers = torch.tensor([work_indptr.data_ptr(), work_info_set.data_ptr()], dtype=torch.int64).view(torch.uint64)
    reduce_indptr = torch.tensor([0, 4, 4, 6], dtype=torch.int32)
    # The row of the whole tile in the middle is never written.
    reduce_final_map = torch.tensor([[0, 1], [-7, -7], [2, 3]], dtype=torch.int32)
    reduce_partial_map = torch.tensor([0, 1, 2, 3, 4, 5, *stale[:4]], dtype=torch.int32)
    return pointers, work_indptr, work_info_set, reduce_indptr, reduce_final_map, reduce_partial_map


def recorded_prefill() -> Six:
    """AITER's prefill plan of 600 tokens, two heads and four workgroups; the pointers stay unwritten."""
    of_a_head = [
        [0, -1, 0, 256, 0, 256, 0],
        [0, 0, 512, 600, 0, 512, 88],
        [0, 256, 512, 600, 512, 600, 0],
        [0, -1, 256, 512, 0, 512, 0],
    ]
    info = [[*part, (head + 1) << 16 | head] for head in range(2) for part in of_a_head]
    rows = ([0, 2, 4, 6, 8], [*info, *[[-7] * 8] * 8], [0, 2, 2, 2], [[512, 600], [-7, -7], [-7, -7]], [0, 256, -7, -7])
    return torch.zeros(2, dtype=torch.uint64), *(torch.tensor(row, dtype=torch.int32) for row in rows)


def put(buffer: int, place: int | tuple[int, int], value: int) -> Corrupt:
    def corrupt(six: Six) -> None:
        six[buffer].view(torch.int64 if buffer == 0 else torch.int32)[place] = value

    return corrupt


def swap_addresses(six: Six) -> None:
    six[0].view(torch.int64).copy_(six[0].view(torch.int64).flip(0))


CORRUPT: dict[str, tuple[Corrupt, str]] = {
    "the addresses in the other order": (swap_addresses, "I15"),
    "the address of a copy": (put(0, 1, 4096), "I15"),
    "an item too many": (put(1, 8, 8), "I2"),
    "no first item": (put(1, 0, 1), "I1"),
    "another request's number": (put(2, (4, 0), 2), "I2"),
    "a slot that is another's": (put(2, (1, 1), 0), "I8"),
    "the end of the rows": (put(2, (6, 3), 2), "I2"),
    "a gap between parts": (put(2, (1, 4), 288), "I3"),
    "an end that is not told by the tokens behind it": (put(2, (3, 5), 999), "I4"),
    "no tokens behind a part": (put(2, (0, 6), 0), "I4"),
    "a group of the next tile": (put(3, 2, 3), "I12"),
    "the rows of a group": (put(4, (2, 0), 1), "I11"),
    "a slot that no item has": (put(5, 5, 6), "I9"),
}
CORRUPT_PREFILL: dict[str, tuple[Corrupt, str]] = {
    "a key twice": (put(2, (2, 4), 500), "P4"),
    "the head's range swapped": (put(2, (0, 7), 1), "P3"),
    "a slot for a whole tile": (put(2, (0, 1), 512), "P6"),
    "another group": (put(4, (0, 1), 599), "P10"),
    "parts in another order": (put(5, 0, 256), "P11"),
}


def found(six: Six, problem: Problem = PROBLEM) -> list[str]:
    return sorted({finding.invariant for finding in aiter_plans.decode_findings(problem, six)})


def test_a_recorded_plan_is_read_as_what_it_is():
    assert found(recorded()) == []
    held = aiter_plans.read(recorded())
    assert (held.work_metadata.dtype, held.work_info_set.shape) == (np.uint64, (10, 8))
    rules = aiter_plans.rules_of(PROBLEM, recorded())
    assert (rules.workers, rules.used_workers, rules.partial_rows, rules.exact) == (WORKERS, WORKERS, 10, False)


@pytest.mark.parametrize("name", CORRUPT)
def test_a_recorded_plan_is_red_with(name: str):
    corrupt, invariant = CORRUPT[name]
    six = recorded()
    corrupt(six)
    assert invariant in found(six)


def test_a_recorded_prefill_plan_is_read_as_what_it_is():
    assert aiter_plans.prefill_findings(OF_600, recorded_prefill()) == []


@pytest.mark.parametrize("name", CORRUPT_PREFILL)
def test_a_recorded_prefill_plan_is_red_with(name: str):
    corrupt, invariant = CORRUPT_PREFILL[name]
    six = recorded_prefill()
    corrupt(six)
    assert invariant in {finding.invariant for finding in aiter_plans.prefill_findings(OF_600, six)}


@pytest.mark.parametrize("seed", range(1, 121, 2))
def test_a_planner_of_aiters_signature_is_given_every_decision_in_its_place(seed: int):
    problem = random_problem(seed, "v1.2", Draw(workers=(80, 304), arches=("gfx942",), large=40))
    workers = problem.schedule.workers
    six = aiter_plans.planned_decode(OwnPlanners(workers), problem, device="cpu")
    assert aiter_plans.decode_findings(problem, six) == []
    assert six[1].numel() == workers + 1


@pytest.mark.parametrize("workers", [4, 80, 256])
def test_a_prefill_planner_of_aiters_signature_is_given_every_decision_in_its_place(workers: int):
    rules = PrefillRules((0, 300, 300, 601), (0, 900, 900, 1201), heads=4, workers=workers)
    six = aiter_plans.planned_prefill(OwnPlanners(workers), rules, device="cpu")
    assert aiter_plans.prefill_findings(rules, six) == []


def test_a_planner_that_is_not_told_the_types_is_refused():
    class Old(OwnPlanners):
        def get_mla_metadata_v1(self, *lists: torch.Tensor, page_size: int = 1) -> None:
            raise AssertionError(lists, page_size)

    with pytest.raises(aiter_plans.NotAitersPlanner, match="takes lists, page_size; install an amd-aiter"):
        aiter_plans.planned_decode(Old(WORKERS), PROBLEM, device="cpu")


@pytest.fixture
def planners() -> aiter_plans.Planners:
    """AITER's planners; where there are none, the summary of the run names the reason."""
    if reason := aiter_plans.unavailable():
        pytest.skip(reason)
    return aiter_plans.installed()


def test_aiters_decode_plans_keep_every_invariant(planners: aiter_plans.Planners):
    units = torch.cuda.get_device_properties(0).multi_processor_count
    draw = Draw(workers=(units,), arches=(aiter_plans.arch(),), large=40)
    wrong: dict[int, list[str]] = {}
    for seed in range(LIVE_PLANS):
        problem = random_problem(seed, "v1.2", draw)
        six = aiter_plans.planned_decode(planners, problem)
        problem = replace(problem, schedule=replace(problem.schedule, workers=six[1].numel() - 1))
        if findings := aiter_plans.decode_findings(problem, six):
            wrong[seed] = [str(finding) for finding in findings]
    assert wrong == {}


@pytest.mark.parametrize("heads", [8, 16, 128])
def test_aiters_prefill_plans_keep_every_invariant(planners: aiter_plans.Planners, heads: int):
    workers = torch.cuda.get_device_properties(0).multi_processor_count
    for lengths in ((256,), (257,), (1,), (4096,), (5, 0, 300), (8175,), (6992, 6896, 2495)):
        bounds = tuple(np.cumsum([0, *lengths]).tolist())
        rules = PrefillRules(bounds, bounds, heads=heads, workers=workers)
        six = aiter_plans.planned_prefill(planners, rules)
        assert aiter_plans.prefill_findings(rules, six) == [], lengths
