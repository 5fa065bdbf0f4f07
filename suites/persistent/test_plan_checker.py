"""The plan checker: right plans pass, and for every invariant a corrupted plan is caught by it."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from rocassay.kernels.persistent.planner import Schedule
from rocassay.references.persistent.plan_invariants import check_plan
from rocassay.references.persistent.plan_records import PlanBuffers, Requests, Rules
from rocassay.references.persistent.plan_runs import check_builder, check_numbers, check_same
from rocassay.suites.persistent.plans import Problem, built, problem_of

Corrupt = Callable[[PlanBuffers], None]

PAGE = 4
SCHEDULE = Schedule.exact(workers=8, heads=32, tile_rows=128, granularity=16, overhead=1, page_size=PAGE)
PROBLEM = problem_of([4, 1, 0, 2, 4, 2], [400, 10, 64, 0, 203, 1], SCHEDULE, heads=32)
"""Two split tiles and three whole ones; a request without queries, one without keys, one with a single key."""


def plan_of(problem: Problem = PROBLEM) -> tuple[PlanBuffers, Rules]:
    _, buffers, rules = built(problem)
    return buffers, rules


def found(plan: PlanBuffers, rules: Rules, requests: Requests | None = None, items: int | None = None) -> set[str]:
    requests = PROBLEM.requests if requests is None else requests
    return {finding.invariant for finding in check_plan(requests, plan, rules, items=items)}


def item(plan: PlanBuffers, tile: int, part: int) -> int:
    """Work item of a part of the tile of a request (each has one tile here)."""
    info = plan.work_info_set[: plan.work_indptr[-1]]
    return int(np.flatnonzero(info[:, 0] == tile)[part])


def set_word(tile: int, part: int, word: int, change: int) -> Corrupt:
    def corrupt(plan: PlanBuffers) -> None:
        plan.work_info_set[item(plan, tile, part), word] += change

    return corrupt


def first_worker_starts_late(plan: PlanBuffers) -> None:
    plan.work_indptr[0] = 1


def indptr_falls(plan: PlanBuffers) -> None:
    plan.work_indptr[1], plan.work_indptr[2] = plan.work_indptr[2], plan.work_indptr[1]


def key_unit_moves(unit: int) -> Corrupt:
    """The cut between the first two parts of request 0 moves by `unit` tokens, in every word that tells it."""

    def corrupt(plan: PlanBuffers) -> None:
        first, second = item(plan, 0, 0), item(plan, 0, 1)
        plan.work_info_set[first, 5] += unit // PAGE
        plan.work_info_set[first, 6] -= unit
        plan.work_info_set[second, 4] += unit // PAGE

    return corrupt


def part_gets_no_key(plan: PlanBuffers) -> None:
    first, second = item(plan, 0, 0), item(plan, 0, 1)
    plan.work_info_set[first, 5] = plan.work_info_set[first, 4]
    plan.work_info_set[first, 6] = 400
    plan.work_info_set[second, 4] = plan.work_info_set[first, 4]


def whole_tile_gets_a_slot(plan: PlanBuffers) -> None:
    plan.work_info_set[item(plan, 1, 0), 1] = 400


def slot_is_shared(plan: PlanBuffers) -> None:
    first, second = item(plan, 0, 0), item(plan, 0, 1)
    old, new = plan.work_info_set[second, 1], plan.work_info_set[first, 1]
    plan.work_info_set[second, 1] = new
    plan.reduce_partial_map[plan.reduce_partial_map == old] = new


def slot_is_unaligned(plan: PlanBuffers) -> None:
    last = int(plan.work_info_set[: plan.work_indptr[-1], 1].max())
    plan.work_info_set[plan.work_info_set[:, 1] == last, 1] = last + 1
    plan.reduce_partial_map[plan.reduce_partial_map == last] = last + 1


def partial_map_names_nobody(plan: PlanBuffers) -> None:
    plan.reduce_partial_map[0] = 100


def reduce_starts_late(plan: PlanBuffers) -> None:
    plan.reduce_indptr[0] = 1


def group_of_one(plan: PlanBuffers) -> None:
    plan.reduce_indptr[1] = 1


def slots_swap_groups(plan: PlanBuffers) -> None:
    last = plan.reduce_indptr[-1] - 1
    plan.reduce_partial_map[[0, last]] = plan.reduce_partial_map[[last, 0]]


def unsplit_row_is_unmarked(plan: PlanBuffers) -> None:
    plan.reduce_final_map[1] = (4, 5)


def groups_shift(plan: PlanBuffers) -> None:
    plan.reduce_indptr[1:-1] = plan.reduce_indptr[:-2].copy()
    plan.reduce_final_map[1:] = plan.reduce_final_map[:-1].copy()


MUTANTS: dict[str, tuple[Corrupt, set[str]]] = {
    "the first workgroup skips an item": (first_worker_starts_late, {"I1"}),
    "work_indptr falls": (indptr_falls, {"I1"}),
    "an item carries another batch": (set_word(1, 0, 0, 3), {"I2"}),
    "a tile is one row longer": (set_word(1, 0, 3, 1), {"I2"}),
    "a gap between parts": (set_word(0, 1, 4, 4), {"I3"}),
    "the last visible key is left out": (set_word(1, 0, 6, 1), {"I3"}),
    "the tokens behind disagree with the page": (set_word(1, 0, 5, -1), {"I4"}),
    "the padding word is used": (set_word(1, 0, 7, 1), {"I4"}),
    "a part without keys": (part_gets_no_key, {"I5", "I14"}),
    "a cut inside a unit": (key_unit_moves(-PAGE), {"I6"}),
    "an unsplit tile in the partial buffer": (whole_tile_gets_a_slot, {"I7", "I8", "I9"}),
    "two parts in one slot": (slot_is_shared, {"I8"}),
    "a slot off its tile": (slot_is_unaligned, {"I8"}),
    "the partial map names nobody": (partial_map_names_nobody, {"I9"}),
    "reduce_indptr starts late": (reduce_starts_late, {"I10", "I11"}),
    "a group of one": (group_of_one, {"I10", "I11", "I12"}),
    "slots in each other's group": (slots_swap_groups, {"I11"}),
    "an unsplit tile with rows to reduce": (unsplit_row_is_unmarked, {"I12"}),
    "every group one tile late": (groups_shift, {"I12"}),
}


@pytest.mark.parametrize("name", MUTANTS)
def test_a_corrupted_plan_is_caught_by_its_own_invariants_only(name: str):
    corrupt, wanted = MUTANTS[name]
    plan, rules = plan_of()
    assert found(plan, rules) == set()
    corrupt(plan)
    assert found(plan, rules) <= wanted
    assert min(wanted, key=lambda i: int(i[1:])) in found(plan, rules)


def test_a_finding_names_the_work_item_and_the_numbers():
    plan, rules = plan_of()
    key_unit_moves(-PAGE)(plan)
    (finding,) = check_plan(PROBLEM.requests, plan, rules)
    cut = PROBLEM.requests.length[0] - plan.work_info_set[0, 6]
    assert str(finding) == f"I6 at work item 0 (q rows 0:4): is cut at key {cut}, no multiple of 16"


def test_i1_knows_a_forgotten_item_when_the_builder_tells_their_number():
    plan, rules = plan_of()
    assert found(plan, rules, items=int(plan.work_indptr[-1]) + 1) == {"I1"}


def test_i1_refuses_a_plan_for_another_number_of_workgroups():
    plan, rules = plan_of()
    assert found(plan, rules.but(workers=9)) == {"I1"}


def test_i13_catches_a_part_that_the_first_row_does_not_see():
    schedule = Schedule.exact(workers=2, heads=16, tile_rows=128, granularity=16, overhead=0)
    problem = problem_of([8], [34], schedule)
    plan, rules = plan_of(problem)
    assert found(plan, rules, problem.requests) == set()
    cut = 32
    plan.work_indptr[:] = (0, 1, 2)
    plan.work_info_set[:2] = [[0, 0, 0, 8, 0, cut, 2, 0], [0, 8, 0, 8, cut, 34, 0, 0]]
    plan.reduce_indptr[:] = (0, 2)
    plan.reduce_final_map[0] = (0, 8)
    plan.reduce_partial_map[:2] = (0, 8)
    assert found(plan, rules, problem.requests) == {"I13"}


def test_i14_catches_one_workgroup_that_does_everything():
    plan, rules = plan_of()
    plan.work_indptr[1:] = plan.work_indptr[-1]
    assert found(plan, rules) == {"I14"}


def test_i14_catches_work_on_a_workgroup_that_the_cap_leaves_idle():
    plan, rules = plan_of()
    assert "I14" in found(plan, rules.but(used_workers=3))


@pytest.mark.parametrize("name", ["work_info_set", "reduce_partial_map"])
def test_i15_catches_a_plan_that_is_larger_than(name: str):
    plan, rules = plan_of()
    short = {n: getattr(plan, n)[:3] if n == name else getattr(plan, n) for n in PlanBuffers.__slots__}
    assert "I15" in found(PlanBuffers(**short), rules)


def test_i15_refuses_int64_buffers():
    plan, rules = plan_of()
    wide = {n: getattr(plan, n) for n in PlanBuffers.__slots__} | {"work_indptr": plan.work_indptr.astype(np.int64)}
    assert found(PlanBuffers(**wide), rules) == {"I15"}


def copied(plan: PlanBuffers) -> Callable[[PlanBuffers], None]:
    def build(given: PlanBuffers) -> None:
        used = int(plan.work_indptr[-1])
        for name in ("work_indptr", "reduce_indptr", "reduce_final_map", "reduce_partial_map"):
            getattr(given, name)[:] = getattr(plan, name)
        given.work_info_set[:used] = plan.work_info_set[:used]

    return build


def builder_findings(spoil: Corrupt) -> set[str]:
    plan, rules = plan_of()

    def build(given: PlanBuffers) -> None:
        copied(plan)(given)
        spoil(given)

    return {finding.invariant for finding in check_builder(build, PROBLEM.sizes.shapes, rules)}


def test_a_builder_that_writes_its_plan_and_nothing_else_is_right():
    assert builder_findings(lambda _: None) == set()


def test_i15_catches_one_element_behind_a_buffer():
    def spoil(given: PlanBuffers) -> None:
        beyond = np.lib.stride_tricks.as_strided(given.work_indptr, (given.work_indptr.size + 1,), (4,))
        beyond[-1] = 0

    assert builder_findings(spoil) == {"I15"}


def test_i15_catches_an_item_behind_the_last():
    assert builder_findings(lambda given: given.work_info_set[-1].fill(0)) == {"I15"}


def test_i16_catches_a_word_that_is_left_as_it_was():
    stale = iter((3, 4))
    assert builder_findings(lambda given: given.work_info_set[0].fill(next(stale))) == {"I16"}


def test_i17_catches_work_for_a_request_without_queries():
    plan, rules = plan_of()
    plan.work_info_set[item(plan, 1, 0), 0] = 2
    assert found(plan, rules) == {"I2", "I17"}


def test_i17_catches_keys_of_a_request_without_keys():
    plan, rules = plan_of()
    plan.work_info_set[item(plan, 3, 0), 6] = -1
    assert "I17" in found(plan, rules)


def test_i18_catches_partial_offsets_past_int32():
    plan, rules = plan_of()
    assert found(plan, rules.but(row_elements=2**28)) == {"I18"}
    assert found(plan, rules.but(row_elements=2**28, wide_addressing=True)) == set()


def test_i19_names_the_first_difference_of_two_builders():
    plan, rules = plan_of()
    other = plan.copy()
    assert check_same(plan, other, rules) == []
    other.work_info_set[1, 1] += 1
    (finding,) = check_same(plan, other, rules)
    assert (finding.invariant, finding.where) == ("I19", "work_info_set[1, 1]")


@pytest.mark.parametrize("name", ["a gap between parts", "two parts in one slot", "slots in each other's group"])
def test_i20_sees_in_the_numbers_what_the_structure_shows(name: str):
    plan, rules = plan_of()
    assert check_numbers(PROBLEM.requests, plan, rules, np.random.default_rng(1)) == []
    MUTANTS[name][0](plan)
    assert [f.invariant for f in check_numbers(PROBLEM.requests, plan, rules, np.random.default_rng(1))] == ["I20"]
