"""What changed between two runs: every change is told once, in its place, and what is worse is never hidden."""

from __future__ import annotations

import math
from dataclasses import FrozenInstanceError, fields
from pathlib import Path
from typing import Any

import pytest

from rocassay.harness.results import Assay, CaseRecord, Status, read
from rocassay.reports.diff import Changes, compare
from rocassay.suites.reports.runs import case, drill, gate, run
from rocassay.suites.selftest.evaluations import evaluation, written

P, F, N, C = Status.PASSED, Status.FAILED, Status.NOT_RUN, Status.CRASHED
LISTS = ("new_failures", "fixed", "still_red", "newly_skipped", "newly_run", "unseen", "newly_seen", "incomparable")


def told(changes: Changes) -> dict[str, list[str]]:
    """Number of the case in every list that names it."""
    found = {name: [str(pair.record.params["number"]) for pair in getattr(changes, name)] for name in LISTS}
    return {name: numbers for name, numbers in found.items() if numbers}


def test_a_run_compared_with_itself_has_no_change():
    same = run(case(0), case(1, F), case(2, N), drill(0), evaluations=(evaluation("+-"),), commit="abc")
    changes = compare(same, same)
    assert told(changes) == {"still_red": ["1"]}
    assert (changes.moved, changes.codes, changes.versions, changes.worse()) == ((), (), (), ())
    assert changes.compared == 3
    assert changes.commits == ("abc", "abc")


@pytest.mark.parametrize(
    ("base", "head", "places", "worse"),
    [
        (P, F, {"new_failures"}, True),
        (P, Status.CRASHED, {"new_failures"}, True),
        (P, Status.TIMED_OUT, {"new_failures"}, True),
        (P, Status.INVALID, {"new_failures"}, True),
        (P, Status.KNOWN, set(), False),
        (N, F, {"new_failures", "newly_run"}, True),
        (None, F, {"new_failures", "newly_run"}, True),
        (None, C, {"new_failures"}, True),
        (F, P, {"fixed"}, False),
        (Status.CRASHED, Status.KNOWN, {"fixed"}, False),
        (F, Status.CRASHED, {"still_red"}, False),
        (P, N, {"newly_skipped"}, True),
        (P, None, {"newly_skipped"}, True),
        (F, None, {"newly_skipped"}, True),
        (N, P, {"newly_run"}, False),
        (None, P, {"newly_run"}, False),
        (N, None, set(), False),
        (None, N, set(), False),
        (N, N, set(), False),
        (C, N, set(), False),
    ],
)
def test_every_pair_of_statuses_has_its_place(base: Any, head: Any, places: set[str], worse: bool):
    changes = compare(*(run(case(9), *([case(1, status)] if status else [])) for status in (base, head)))
    assert told(changes) == {name: ["1"] for name in LISTS if name in places}
    assert bool(changes.worse()) == worse


@pytest.mark.parametrize(
    ("base", "head", "places", "worse"),
    [
        (F, Status.BLIND, {"unseen"}, True),
        (F, Status.CRASHED, {"unseen"}, True),
        (None, Status.BLIND, {"unseen", "newly_run"}, True),
        (Status.BLIND, Status.BLIND, set(), False),
        (Status.BLIND, F, {"newly_seen"}, False),
        (F, F, set(), False),
        (F, None, {"newly_skipped"}, True),
        (F, N, {"newly_skipped"}, True),
        (None, F, {"newly_run"}, False),
    ],
)
def test_a_red_drill_is_good_news_and_a_blind_one_is_bad(base: Any, head: Any, places: set[str], worse: bool):
    changes = compare(*(run(case(9), *([drill(1, status)] if status else [])) for status in (base, head)))
    assert told(changes) == {name: ["1"] for name in LISTS if name in places}
    assert bool(changes.worse()) == worse


def test_a_fault_on_a_case_is_not_the_case():
    changes = compare(run(case(1), drill(1)), run(case(1, F), drill(1, Status.BLIND)))
    assert told(changes) == {"new_failures": ["1"], "unseen": ["1"]}
    assert changes.worse() == ("1 new failure", "1 drill did not see its fault")


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"digest": "ff"}, "other inputs: digest 0000000000000001 in the base, ff in the head"),
        ({"tier": "nightly"}, "tier quick in the base, nightly in the head"),
        ({"engine": "isa"}, "rocassay on isa in the head, rocassay on interpreter in the base"),
        ({"provider": "torch"}, "torch on interpreter in the head, rocassay on interpreter in the base"),
    ],
)
def test_what_cannot_be_compared_is_said_and_neither_skipped_nor_moved(changed: dict[str, str], words: str):
    changes = compare(run(case(0), case(1)), run(case(0), case(1, P, gate(1.9), **changed)))
    assert {pair.incomparable for pair in changes.incomparable if pair.head} == {words}
    assert set(told(changes)) == {"incomparable"}
    assert (changes.compared, changes.moved, changes.worse()) == (1, (), ())
    red = compare(run(case(0), case(1)), run(case(0), case(1, F, **changed)))
    assert told(red)["new_failures"] == ["1"], "a red head is never excused"
    assert red.worse() == ("1 new failure",)


def test_cases_that_another_tier_does_not_have_are_not_skipped():
    base = run(case(0, tier="full"), case(1, tier="full"), tier="full")
    changes = compare(base, run(case(0)))
    assert told(changes) == {"incomparable": ["0", "1"]}
    assert changes.worse() == ("nothing of the base could be compared",)


def test_two_runs_of_nothing_in_common_are_not_green():
    changes = compare(run(case(0, engine="isa")), run(case(0)))
    assert changes.compared == 0
    assert changes.worse() == ("nothing of the base could be compared",)
    assert compare(run(case(0, N)), run(case(0, N))).worse(), "two skips are no comparison"


def moves(*shares: tuple[float | None, float | None]) -> Changes:
    """Cases whose worst gate has these statistics of a limit of 2 in base and head."""
    sides = [[case(n, P, gate(pair[side])) for n, pair in enumerate(shares)] for side in (0, 1)]
    return compare(run(*sides[0]), run(*sides[1]))


def test_errors_that_moved_come_most_moved_first_and_those_that_did_not_are_left_out():
    changes = moves((1.0, 1.0), (1.0, 2.0), (1.0, 0.125), (0.5, 1.9), (None, 1.0))
    assert [(m.pair.record.params["number"], m.log2) for m in changes.moved] == [
        (2, -3.0), (3, pytest.approx(math.log2(3.8))), (1, 1.0),
    ]  # fmt: skip
    assert (changes.moved[0].base.share, changes.moved[0].head.share) == (0.5, 0.0625)


def test_only_a_ratio_that_grew_beyond_the_limit_asked_for_is_red():
    changes = moves((1.0, 2.0), (0.2, 1.0), (2.0, 0.1))
    assert changes.worse() == ()
    assert changes.worse(max_ratio=2.0) == ("1 error grew by more than 2",)
    assert changes.worse(max_ratio=1.9) == ("2 errors grew by more than 1.9",)
    assert changes.worse(max_ratio=5.0) == ()


def test_errors_far_below_their_limits_have_not_moved_and_an_infinite_one_has_moved_most():
    assert moves((1e-9, 1e-5), (0.0, 1e-4)).moved == ()
    assert moves((0.0, 0.008)).moved[0].log2 == pytest.approx(2.0)
    broken = case(0, F, gate(None, passed=False))
    changes = compare(run(case(0), case(1)), run(broken, case(1, P, gate(1.99))))
    assert [move.log2 for move in changes.moved] == [math.inf, pytest.approx(math.log2(1.99))]
    assert compare(run(broken), run(broken)).moved == ()


def test_the_worst_gate_counts_and_not_the_first_nor_a_check_of_the_harness():
    base = case(0, P, gate(1.0, name="bound"), gate(1.2), gate(1.9, name="peer"))
    head = case(0, P, gate(1.6, name="bound"), gate(1.0), gate(0.1, name="peer"))
    (move,) = compare(run(base), run(head)).moved
    assert ((move.base.check, move.base.share), (move.head.check, move.head.share)) == (("max-z", 0.6), ("bound", 0.8))


def test_a_fault_moves_no_error():
    assert compare(run(drill(0)), run(drill(0, checks=(gate(99.0, passed=False),)))).moved == ()


def coded(number: int, **codes: str) -> CaseRecord:
    return case(number, codes=codes)


def test_changed_machine_code_is_told_per_kernel_and_unknown_code_is_not_called_the_same():
    base = run(coded(0, a="1", b="2"), coded(1, a="1"), coded(2), coded(3, a="1"), coded(4, old="7"))
    head = run(coded(0, a="1", b="3"), coded(1, a="1"), coded(2, a="1"), coded(3), coded(4, new="8"))
    changes = compare(base, head)
    assert [(c.kernel, c.cases, c.of, c.base, c.head) for c in changes.codes] == [
        ("b", 1, 1, "2", "3"), ("new", 1, 1, "", "8"), ("old", 1, 1, "7", ""),
    ]  # fmt: skip
    assert changes.code_known == 3
    words = compare(base, run(*(case(n, F, codes=r.codes) for n, r in enumerate(head.records)))).new_failures
    assert [pair.code for pair in words] == ["changed", "same", "unknown", "unknown", "changed"]


def test_accuracy_is_compared_question_by_question_on_the_questions_of_both():
    base = run(evaluations=(evaluation("++++--", run_id="b"),))
    head = run(evaluations=(evaluation("+-+-+", run_id="h"),))
    (change,) = compare(base, head).evaluations
    assert (change.shared, change.lost, change.gained, change.difference) == (5, 2, 1, pytest.approx(-1 / 5))
    assert change.counts == ((4, 6), (3, 5))
    assert not change.lost_accuracy, "the gate in the record judges, not the difference"


def test_of_a_run_that_was_stopped_only_the_judged_beginning_is_paired():
    stopped = evaluation("+---++", run_id="h", status="red", verdict={"stopped_after": 4})
    (change,) = compare(run(evaluations=(evaluation("++++++"),)), run(evaluations=(stopped,))).evaluations
    assert (change.shared, change.lost) == (4, 3)


@pytest.mark.parametrize(
    ("base", "head", "faults", "words"),
    [
        ("green", "red", (), "is red, was green"),
        ("green", "needs-confirmation", (), "is needs-confirmation, was green"),
        ("red", "red", (), ""),
        ("red", "green", (), ""),
        ("", "red", (), "is red, was missing"),
        ("green", "", (), "was not measured: missing"),
        ("green", "none", (), "was not measured: cut short"),
        ("red", "green", ("bug",), "no longer shows the fault: green"),
        ("red", "red", ("bug",), ""),
        ("green", "red", ("bug",), ""),
        ("red", "", ("bug",), "was not measured: missing"),
    ],
)
def test_accuracy_is_worse_as_its_own_gate_says(base: str, head: str, faults: tuple[str, ...], words: str):
    sides = [
        run(case(0), evaluations=(evaluation("+-", *faults, status=status, run_id=side),) if status else ())
        for side, status in (("b", base), ("h", head))
    ]
    worse = compare(*sides).worse()
    assert [sentence for sentence in worse if words and words in sentence] == list(worse)
    assert bool(worse) == bool(words)
    assert all("toy gfx942 e4m3fnuz bs1 rocassay device, toys with 5 shots" in sentence for sentence in worse)


def test_a_repeated_evaluation_counts_once_and_the_later_one():
    first = evaluation("---", run_id="1", status="needs-confirmation")
    again = evaluation("+++", run_id="2", repeats="1")
    (change,) = compare(run(evaluations=(first, again)), run(evaluations=(evaluation("++-", run_id="3"),))).evaluations
    assert (change.statuses, change.lost) == (("green", "green"), 1)


def test_a_first_look_that_was_repeated_does_not_count_even_if_it_asked_more():
    first = evaluation("----", run_id="1", status="needs-confirmation")
    again = evaluation("+++", run_id="2", repeats="1")
    (change,) = compare(run(evaluations=(first, again)), run(evaluations=(evaluation("++-", run_id="3"),))).evaluations
    assert (change.statuses, change.lost, change.shared) == (("green", "green"), 1, 3)


def test_other_prompts_and_another_engine_cannot_be_compared():
    base = run(case(0), evaluations=(evaluation("++", run_id="b"),))
    (other,) = compare(base, run(case(0), evaluations=(evaluation("--", prompts="q"),))).evaluations
    assert "prompts: 'p' here, 'q' there" in other.incomparable
    assert (other.shared, other.difference) == (0, None)
    moved = compare(base, run(case(0), evaluations=(evaluation("++", engine="interpreter"),)))
    assert [change.incomparable for change in moved.evaluations] == [
        "the base has it of toy gfx942 e4m3fnuz bs1 rocassay device",
        "the head has it of toy gfx942 e4m3fnuz bs1 rocassay interpreter",
    ]
    assert moved.worse() == ()


def test_what_computed_is_told_where_it_differs():
    base = run(case(0), versions={"torch": "2.11", "triton": "3.6"}, commit="aaa", seconds=60.0)
    head = run(
        case(0, device="a GPU"), versions={"torch": "2.13", "triton": "3.6", "rocm": "7.0"}, commit="bbb", seconds=90.0
    )
    changes = compare(base, head)
    assert [(v.name, v.base, v.head) for v in changes.versions] == [
        ("commit", ("aaa",), ("bbb",)), ("device", (), ("a GPU",)), ("rocm", (), ("7.0",)),
        ("torch", ("2.11",), ("2.13",)),
    ]  # fmt: skip
    assert (changes.wall, changes.commits) == ((60.0, 90.0), ("aaa", "bbb"))
    assert compare(run(case(0), seconds=None), head).wall == (None, 90.0)


def test_changes_are_those_of_the_files_and_cannot_be_altered(tmp_path: Path):
    base, head = run(case(0), case(1), evaluations=(evaluation("+-"),)), run(case(0, F), case(1, P, gate(1.7)))
    direct = compare(base, head)
    stored = compare(*(read(written(side, tmp_path / f"{n}.jsonl")) for n, side in enumerate((base, head))))
    assert stored == direct
    assert [f.name for f in fields(Changes)] == list(Changes.__slots__)
    with pytest.raises(FrozenInstanceError):
        direct.compared = 3  # pyright: ignore[reportAttributeAccessIssue]


def test_comparing_leaves_the_runs_as_they_were():
    base, head = run(case(0), case(1)), run(case(1), case(0))
    before = [Assay(a.path, list(a.headers), list(a.records), list(a.ends), dict(a.evaluations)) for a in (base, head)]
    assert compare(base, head).compared == 2
    assert [base, head] == before
