"""From the first question to the verdict: repeated where that is asked for, stopped, refused, resumed."""

from __future__ import annotations

import shutil
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rocassay.harness.accuracy.errors import AccuracyError, AnswererError
from rocassay.harness.accuracy.evaluating import Rules, Subject
from rocassay.harness.accuracy.history import History
from rocassay.harness.accuracy.sequential import Sprt, permutation
from rocassay.harness.accuracy.tasks import Task
from rocassay.harness.results import Evaluation, read
from rocassay.suites.accuracy.additions import environment
from rocassay.suites.accuracy.nightly import (
    BAD,
    BAD_AGAIN,
    CONFIGURATION,
    GOOD,
    NAMES,
    TASK,
    UNLUCKY,
    Build,
    evaluate,
    statuses,
    with_baseline,
)

ORDER = permutation(NAMES)


@pytest.fixture(scope="module")
def accepted(tmp_path_factory: pytest.TempPathFactory) -> Path:
    place = tmp_path_factory.mktemp("accepted") / "history.sqlite"
    with_baseline(place)
    return place


@pytest.fixture
def history(accepted: Path, tmp_path: Path) -> History:
    return History(shutil.copy(accepted, tmp_path / "history.sqlite"))


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


def failed(evaluation: Evaluation) -> list[str]:
    """Names of the checks that do not hold."""
    assert evaluation.verdict is not None
    return [check.name for check in evaluation.verdict.checks if not check.passed]


def p_of(evaluation: Evaluation) -> float:
    """Of the accuracy check."""
    assert evaluation.verdict is not None
    (p,) = [check.statistic for check in evaluation.verdict.checks if check.name == "accuracy"]
    assert p is not None
    return p


def test_a_healthy_run_is_green_against_eight_accepted_runs(path: Path, history: History):
    build = Build([GOOD])
    done = evaluate(path, build, history)
    assert statuses(done) == ["green"]
    assert (failed(done[0]), build.asked) == ([], [list(ORDER)])
    assert read(path).red_reasons() == []
    assert done[0].verdict is not None
    assert (done[0].verdict.correct, done[0].verdict.decided_by) == (1319 - len(GOOD), ())
    assert done[0].verdict.power.startswith("a drop of 2.0 points is seen with probability 0.9")


def test_a_loss_of_five_points_is_repeated_by_itself_and_ends_red(path: Path, history: History):
    build = Build([BAD, BAD_AGAIN])
    first, again = evaluate(path, build, history)
    assert statuses([first, again]) == ["needs-confirmation", "red"]
    assert (first.header.repeats, again.header.repeats) == ("", first.header.run_id)
    assert len(build.asked) == 2
    assert again.verdict is not None
    assert "accuracy" in again.verdict.decided_by
    assert p_of(again) < p_of(first) < 0.03
    assert list(read(path).evaluations) == [first.header.run_id, again.header.run_id]
    (reason,) = read(path).red_reasons()
    assert reason.startswith(f"accuracy of {CONFIGURATION} is red: accuracy: ")


def test_an_unlucky_run_is_cleared_by_its_repetition_and_the_file_is_green(path: Path, history: History):
    first, again = evaluate(path, Build([UNLUCKY, GOOD]), history)
    assert statuses([first, again]) == ["needs-confirmation", "green"]
    assert 0.001 < p_of(first) < 0.03
    assert read(path).red_reasons() == []
    assert statuses(evaluate(path, Build([UNLUCKY, BAD]), history)) == ["needs-confirmation", "red"]


def test_the_baseline_of_all_questions_serves_for_some_of_them(path: Path, history: History):
    (done,) = evaluate(path, Build([GOOD]), history, rules=Rules(limit=400))
    assert done.verdict is not None
    assert (done.verdict.asked, done.header.planned) == (400, 400)
    assert failed(done) == ["power"]
    assert "ask more questions" in done.verdict.reason


@pytest.mark.parametrize("limit", [0, 1319, 5000])
def test_a_limit_beyond_the_task_asks_all(path: Path, history: History, limit: int):
    (done,) = evaluate(path, Build([GOOD]), history, rules=Rules(limit=limit))
    assert (statuses([done]), done.header.planned) == (["green"], 1319)


@pytest.mark.parametrize(
    ("rules", "words"), [({"limit": -1}, "limit of -1"), ({"floor": 0.0}, "floor of 0.0"), ({"floor": 95.0}, "95.0")]
)
def test_rules_that_mean_nothing_are_refused(rules: dict[str, float], words: str):
    with pytest.raises(AccuracyError, match=words):
        Rules(**rules)  # pyright: ignore[reportArgumentType]


COLLAPSE = frozenset(name for name in NAMES if int(name.removeprefix("add-")) % 5)


def expected_stop(missed: frozenset[str]) -> int:
    found = Sprt().along(ORDER, {name: name not in missed for name in NAMES})
    assert found.decision == "fail"
    return found.questions


@pytest.mark.parametrize("late", [frozenset[str](), COLLAPSE], ids=["in order", "wrong answers last"])
def test_a_dead_run_stops_at_the_same_question_of_the_order_however_late_its_wrong_answers_come(
    path: Path, history: History, late: frozenset[str]
):
    (done,) = evaluate(path, Build([COLLAPSE], late=late), history, rules=Rules(stop=Sprt()))
    assert done.verdict is not None
    assert (done.verdict.status, done.verdict.decided_by) == ("red", ("sequential",))
    assert done.verdict.stopped_after == expected_stop(COLLAPSE) < 30
    assert set(ORDER[: expected_stop(COLLAPSE)]) <= set(done.questions)
    assert len(done.questions) < 1319


def test_wrong_answers_that_come_first_do_not_stop_a_healthy_run(path: Path, history: History):
    assert len(GOOD) > 40
    (done,) = evaluate(path, Build([GOOD], late=frozenset(NAMES) - GOOD), history, rules=Rules(stop=Sprt(0.92, 0.87)))
    assert statuses([done]) == ["green"]


def unlike(**changes: object) -> Task:
    facts = {"name": TASK.name, "questions": TASK.questions, "shots": 0, "until": TASK.until, "max_tokens": 32}
    return Task(**{**facts, **changes})  # pyright: ignore[reportArgumentType]


def test_a_run_unlike_the_baseline_is_refused_with_every_difference_and_may_become_the_next_baseline(
    path: Path, history: History
):
    task = unlike(shots=3, until=("X",), max_tokens=64)
    (done,) = evaluate(path, Build([GOOD]), history, task=task)
    assert done.verdict is not None
    assert (done.verdict.status, done.verdict.asked) == ("refused", 1319)
    for words in (
        "baseline 1 of adder",
        "shots: 3 here, 0 there",
        "until: ('X',) here",
        "max_tokens: 64 here, 32 there",
    ):
        assert words in done.verdict.reason
    history.append(done)
    accepted = history.accept([done.header.run_id], "three shots from now on", "me")
    assert "shots: 3 here, 0 there" in accepted.evidence["not_compared"]
    assert statuses(evaluate(path, Build([GOOD]), history, task=task)) == ["blind"]
    assert statuses(evaluate(path, Build([GOOD]), history)) == ["refused"]


def test_a_run_of_questions_that_the_baseline_has_not_answered_is_refused(path: Path, tmp_path: Path):
    some = History(tmp_path / "some.sqlite")
    (few,) = evaluate(path, Build([GOOD]), rules=Rules(limit=300))
    some.append(few)
    some.accept([few.header.run_id], "a few questions", "me")
    (done,) = evaluate(path, Build([GOOD]), some)
    assert done.verdict is not None
    assert done.verdict.status == "refused"
    assert "no answer to 1019 of the 1319 questions" in done.verdict.reason
    assert statuses(evaluate(path, Build([GOOD]), some, rules=Rules(limit=200))) == ["blind"]


def test_questions_without_an_answer_leave_it_undecided_and_are_asked_again_on_resuming(path: Path, history: History):
    failing = frozenset(ORDER[10:70])
    (first,) = evaluate(path, Build([GOOD], failing=failing), history, rules=Rules(floor=0.92, stop=Sprt(0.92, 0.87)))
    assert first.verdict is not None
    assert (first.verdict.status, first.verdict.stopped_after) == ("undecided", None)
    assert first.verdict.decided_by == ("errors",)
    assert f"60 of 1319 questions got no answer, the first {ORDER[10]}: HTTP 500" in first.verdict.reason
    again = Build([GOOD])
    (done,) = evaluate(path, again, history, rules=Rules(floor=0.92, stop=Sprt(0.92, 0.87)), resume=True)
    assert again.asked == [list(ORDER[10:70])]
    assert (statuses([done]), done.header.run_id) == (["green"], first.header.run_id)
    assert read(path).red_reasons() == []


def test_many_errors_are_no_proof_against_the_model_but_enough_wrong_answers_are(path: Path, history: History):
    rules, failing = Rules(floor=0.92), frozenset(NAMES[::4])
    assert statuses(evaluate(path, Build([GOOD], failing=failing), history, rules=rules)) == ["undecided"]
    dead = Build([COLLAPSE], failing=failing)
    assert statuses(evaluate(path, dead, history, rules=rules)) == ["red"]


SPARSE = Subject(model="adder", engine="scripted", topk=48)


@pytest.mark.parametrize(("tokens", "status"), [(40, "blind"), (48, "blind"), (49, "green"), (None, "blind")])
def test_a_run_whose_prompts_do_not_exceed_top_k_is_blind(
    path: Path, history: History, tokens: int | None, status: str
):
    (done,) = evaluate(path, Build([GOOD], prompt_tokens=tokens), history, subject=SPARSE)
    assert statuses([done]) == [status]
    assert ("selection" in failed(done)) == (status == "blind")


def test_short_prompts_do_not_hide_a_loss(path: Path, history: History):
    done = evaluate(path, Build([BAD, BAD_AGAIN], prompt_tokens=40), history, subject=SPARSE)
    assert statuses(done) == ["needs-confirmation", "red"]


def test_an_accuracy_below_the_floor_is_red_at_once(path: Path, history: History):
    missed = frozenset(NAMES[::5])
    (done,) = evaluate(path, Build([missed]), history, rules=Rules(floor=0.92))
    assert done.verdict is not None
    assert (done.verdict.status, done.verdict.decided_by) == ("red", ("floor",))
    (alone,) = evaluate(path, Build([missed]), rules=Rules(floor=0.92))
    assert statuses([alone]) == ["red"], "the floor needs no baseline"


def cuts(path: Path) -> Iterator[tuple[str, bytes]]:
    """What a kill at some moment of the repetition leaves of the file."""
    lines = path.read_bytes().splitlines(keepends=True)
    second = 1 + 1319 + 1  # header, answers, verdict
    yield "before the repetition", b"".join(lines[:second])
    yield "within its header", b"".join(lines[:second]) + lines[second][:50]
    yield "after its header", b"".join(lines[: second + 1])
    yield "after some answers", b"".join(lines[: second + 1 + 500])
    yield "within an answer", b"".join(lines[: second + 1 + 500]) + lines[second + 501][:-9]
    yield "before its verdict", b"".join(lines[:-1])
    yield "after its verdict", b"".join(lines)


def test_a_repetition_that_was_killed_is_completed_and_both_runs_are_judged_as_if_nothing_had_happened(
    path: Path, history: History
):
    first, again = evaluate(path, Build([BAD, BAD_AGAIN]), history)
    for moment, left in list(cuts(path)):
        path.write_bytes(left)
        rest = Build([BAD_AGAIN])
        done = evaluate(path, rest, history, resume=True)
        assert statuses(done) == ["needs-confirmation", "red"], moment
        assert done[0].questions == first.questions, moment
        assert {n: q.correct for n, q in done[1].questions.items()} == {n: n not in BAD_AGAIN for n in NAMES}, moment
        assert p_of(done[1]) == p_of(again), moment
        found = read(path)
        assert (found.problems, [e.header.repeats for e in found.evaluations.values()]) == (
            [], ["", first.header.run_id]
        ), moment  # fmt: skip
        texts = path.read_text().splitlines()
        assert sum('"kind":"question"' in text for text in texts) == 2 * 1319, moment
        kept = {record.id for record in list(read(path).evaluations.values())[1].in_order}
        assert len(kept) == 1319
        assert sum(map(len, rest.asked)) == 1319 - min(1319, max(0, left.count(b"\n") - 1322)), moment


def test_kill_9_within_the_repetition_loses_and_doubles_nothing(path: Path, history: History, tmp_path: Path):
    command = [sys.executable, "-m", "rocassay.suites.accuracy.nightly", path, tmp_path / "history.sqlite", "1700"]
    killed = subprocess.run(list(map(str, command)), env=environment(), cwd=tmp_path, check=False)
    assert killed.returncode == -signal.SIGKILL
    kept = [set(found.questions) for found in read(path).evaluations.values()]
    assert [len(names) for names in kept] == [1319, 1700 - 1319]
    rest = Build([BAD_AGAIN])
    done = evaluate(path, rest, history, resume=True)
    assert statuses(done) == ["needs-confirmation", "red"]
    assert rest.asked == [[name for name in ORDER if name not in kept[1]]]


def test_a_repetition_with_errors_is_continued_as_a_repetition(path: Path, history: History):
    class Failing(Build):
        def answer(self, questions: Any, **rules: Any) -> Any:
            self.failing = frozenset(NAMES[:3]) if self.asked else frozenset()
            return super().answer(questions, **rules)

    assert statuses(evaluate(path, Failing([UNLUCKY, GOOD]), history)) == ["needs-confirmation", "undecided"]
    rest = Build([GOOD])
    done = evaluate(path, rest, history, resume=True)
    assert (statuses(done), [sorted(names) for names in rest.asked]) == (
        ["needs-confirmation", "green"], [sorted(NAMES[:3])]
    )  # fmt: skip


def test_a_lost_server_in_the_repetition_leaves_the_first_verdict_on_file(path: Path, history: History):
    with pytest.raises(AnswererError):
        evaluate(path, Build([BAD, BAD_AGAIN], lost_after=1319 + 100), history)
    found = list(read(path).evaluations.values())
    assert statuses(found) == ["needs-confirmation"]
    assert "was cut short: 100 of 1319" in read(path).red_reasons()[0]
    assert statuses(evaluate(path, Build([BAD_AGAIN]), history, resume=True)) == ["needs-confirmation", "red"]


def test_of_healthy_and_faulted_evaluations_in_one_file_resuming_skips_the_finished_ones(path: Path, history: History):
    subjects = [
        SPARSE,
        *(Subject(model="adder", engine="scripted", topk=48, faults=(name,)) for name in ("a", "b", "c")),
    ]

    def drills(lost_after: int | None = None, *, resume: bool) -> list[int]:
        counts: list[int] = []
        for subject in subjects:
            build = Build([COLLAPSE if subject.faults else GOOD], prompt_tokens=60)
            build.lost_after = lost_after if subject.faults == ("b",) else None
            evaluate(path, build, history, subject=subject, rules=Rules(floor=0.92), resume=resume)
            counts.append(sum(map(len, build.asked)))
        return counts

    with pytest.raises(AnswererError):
        drills(lost_after=700, resume=False)
    assert drills(resume=True) == [0, 0, 1319 - 700, 1319]
    assert drills(resume=True) == [0, 0, 0, 0]
    found = read(path)
    assert [(e.header.faults, len(e.questions)) for e in found.evaluations.values()] == [
        ((), 1319), (("a",), 1319), (("b",), 1319), (("c",), 1319)
    ]  # fmt: skip
    assert (found.problems, found.red_reasons()) == ([], [])


def test_an_undecided_evaluation_does_not_keep_resuming_from_the_next_of_a_series(path: Path, history: History):
    few = Rules(limit=10, floor=0.9)
    assert statuses(evaluate(path, Build([GOOD], prompt_tokens=60), history, subject=SPARSE, rules=few)) == [
        "undecided"
    ]
    faulted = Subject(model="adder", engine="scripted", topk=48, faults=("a",))
    for subject, asked in ((SPARSE, 0), (faulted, 10), (faulted, 0)):
        build = Build([GOOD], prompt_tokens=60)
        evaluate(path, build, history, subject=subject, rules=few, resume=True)
        assert sum(map(len, build.asked)) == asked
    assert [len(found.questions) for found in read(path).evaluations.values()] == [10, 10]


def test_a_run_after_one_that_was_killed_within_a_line_keeps_its_header(path: Path, history: History):
    with pytest.raises(AnswererError):
        evaluate(path, Build([GOOD], lost_after=20), history)
    path.write_bytes(path.read_bytes()[:-30])
    (done,) = evaluate(path, Build([GOOD]), history)
    found = read(path)
    assert found.problems == []
    assert len(found.evaluations[done.header.run_id].questions) == 1319


def test_the_command_on_record_holds_no_password(path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(
        sys, "argv", ["rocassay", "gsm8k", "--history", "postgresql://me:ge@he/im@host/db", "--limit", "5"]
    )
    evaluate(path, Build(), rules=Rules(limit=5))
    assert "--history postgresql://me:***@host/db --limit 5" in path.read_text()
    assert "he/im" not in path.read_text()
