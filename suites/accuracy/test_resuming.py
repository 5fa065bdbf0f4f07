"""Resuming: what was answered is kept, the rest is asked, and nothing is lost, doubled or mixed."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

import pytest

from rocassay.harness.accuracy.errors import AccuracyError, AnswererError
from rocassay.harness.results import QuestionRecord, ResultsError, read
from rocassay.suites.accuracy.additions import Served, additions, answered, environment, names
from rocassay.suites.accuracy.scripted import TASK, Followed, Scripted, ask, judge, lines


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


def test_a_stopped_run_that_is_resumed_stops_again_without_asking(path: Path):
    def watch(prefix: Sequence[QuestionRecord]) -> str | None:
        return "enough" if len(prefix) == 4 else None

    first, again = ask(path, watch=watch), Scripted()
    found = ask(path, again, watch=watch, resume=True)
    assert (found.stopped_after, found.questions, again.asked) == (4, first.questions, [])


@pytest.mark.parametrize("lost_after", [0, 1, 7, 11])
def test_a_lost_answerer_keeps_every_answer_and_the_rest_is_asked_on_resuming(path: Path, lost_after: int):
    with pytest.raises(AnswererError, match="lost"):
        ask(path, Scripted(lost_after=lost_after))
    kept = answered(lines(path))
    assert len(kept) == lost_after
    again = Scripted()
    found = ask(path, again, facts={"run_id": "other", "started": "later"}, resume=True)
    assert again.asked == [[name for name in names(TASK) if name not in kept]]
    assert sorted(answered(lines(path))) == sorted(names(TASK))
    assert list(read(path).evaluations) == ["r"]
    assert (found.header.run_id, found.header.resumed, len(found.questions)) == ("r", True, 12)


def test_questions_without_an_answer_are_asked_again_on_resuming_and_the_answer_replaces_the_error(path: Path):
    failing = frozenset({"add-3", "add-8"})
    first = ask(path, Scripted(failing=failing))
    assert {record.id for record in first.in_order if record.finish_reason == "error"} == failing
    again = Scripted()
    found = ask(path, again, resume=True)
    assert again.asked == [["add-3", "add-8"]]
    assert all(record.correct for record in found.in_order)
    (stored,) = read(path).evaluations.values()
    assert stored.questions == found.questions


def test_the_watch_of_a_resumed_run_waits_for_the_answer_that_replaces_an_error(path: Path):
    ask(path, Scripted(failing=frozenset({"add-1"})))
    seen: list[list[bool]] = []
    ask(path, watch=lambda prefix: seen.append([record.correct for record in prefix]), resume=True)
    assert seen == [[True] * length for length in range(1, 13)]


@pytest.mark.parametrize("status", ["green", "red", "needs-confirmation", "blind", "refused"])
def test_a_finished_evaluation_is_returned_as_it_is_and_nothing_is_written(path: Path, status: str):
    first, verdict = ask(path), judge(path, status)
    before, again = path.read_bytes(), Scripted()
    found = ask(path, again, resume=True)
    assert (found.questions, found.verdict, again.asked) == (first.questions, verdict, [])
    assert path.read_bytes() == before


def test_an_undecided_evaluation_is_continued(path: Path):
    with pytest.raises(AnswererError):
        ask(path, Scripted(lost_after=5))
    judge(path, "undecided")
    found = ask(path, resume=True)
    assert (len(found.questions), found.verdict) == (12, None)


def test_without_resume_a_new_run_stands_beside_the_old_one(path: Path):
    ask(path, Scripted(chunk=3))
    ask(path, facts={"run_id": "second"})
    assert {name: len(found.questions) for name, found in read(path).evaluations.items()} == {"r": 12, "second": 12}


@pytest.mark.parametrize("content", [None, b"", b'{"kind": "ev'])
def test_resuming_where_nothing_was_begun_begins(path: Path, content: bytes | None):
    if content is not None:
        path.write_bytes(content)
    assert len(ask(path, resume=True).questions) == 12
    assert read(path).problems == []


def test_resuming_what_is_no_results_file_is_refused_and_leaves_it_alone(path: Path):
    path.write_text("shopping list\n")
    with pytest.raises(ResultsError, match="holds no record"):
        ask(path, resume=True)
    assert path.read_text() == "shopping list\n"


@pytest.mark.parametrize("cut", [1, 40])
def test_a_torn_last_line_is_set_aside_and_its_question_asked_again(path: Path, cut: int):
    with pytest.raises(AnswererError):
        ask(path, Scripted(lost_after=6))
    torn = answered(lines(path))[-1]
    path.write_bytes(path.read_bytes()[:-cut])
    again = Scripted()
    ask(path, again, resume=True)
    assert torn in again.asked[0]
    assert sorted(answered(lines(path))) == sorted(names(TASK))
    assert read(path).problems == []


OTHER = {
    "another model": ({"model": "other"}, "configuration: 'other served' here, 'adder served' there"),
    "a fault": ({"faults": ("f",)}, "faults: ('f',) here, () there"),
    "another seed": ({"order_seed": 1}, "order_seed: 1 here, 0 there"),
    "another build": ({"versions": {"triton": "4"}}, "versions: {'triton': '4'} here, {} there"),
    "another top-k": ({"topk": 7}, "topk: 7 here, None there"),
    "other rules": ({"fingerprint": TASK.fingerprint("test-2")}, "extraction: 'test-2' here, 'test-1' there"),
}


@pytest.mark.parametrize("kind", OTHER)
def test_an_unfinished_evaluation_is_not_continued_with(path: Path, kind: str):
    changes, difference = OTHER[kind]
    with pytest.raises(AnswererError):
        ask(path, Scripted(lost_after=5))
    before = path.read_bytes()
    with pytest.raises(AccuracyError) as caught:
        ask(path, facts=changes, resume=True)
    assert difference in str(caught.value)
    assert str(caught.value).endswith("use the same settings or another --out")
    assert path.read_bytes() == before


def test_every_difference_is_named_at_once(path: Path):
    with pytest.raises(AnswererError):
        ask(path, Scripted(lost_after=5))
    with pytest.raises(AccuracyError, match=r"order_seed: 1 here.*extraction: 'test-2' here, 'test-1' there"):
        ask(path, facts={"order_seed": 1, "fingerprint": TASK.fingerprint("test-2")}, resume=True)


def test_an_answer_at_another_place_of_the_order_is_refused(path: Path):
    with pytest.raises(AnswererError):
        ask(path, Scripted(lost_after=5))
    with pytest.raises(AccuracyError, match=r"records \d answers, such as 'add-\d+' at place \d, that the order"):
        ask(path, order=names(TASK)[::-1], resume=True)


def test_of_several_evaluations_in_one_file_each_is_continued_by_its_own(path: Path):
    judge(path, "green", ask(path, facts={"run_id": "a", "model": "a"}).header.run_id)
    with pytest.raises(AnswererError):
        ask(path, Scripted(lost_after=5), facts={"run_id": "b", "model": "b"})
    for model in ("a", "b", "c"):
        judge(path, "green", ask(path, facts={"run_id": f"{model}2", "model": model}, resume=True).header.run_id)
    found = read(path).evaluations
    assert {name: len(one.questions) for name, one in found.items()} == {"a": 12, "b": 12, "c2": 12}
    assert all(one.verdict for one in found.values())


def test_who_follows_the_progress_hears_of_what_is_done_of_every_answer_and_of_the_end(path: Path):
    first, lost, stopped = Followed(), Followed(), Followed()
    with pytest.raises(AnswererError):
        ask(path, Scripted(lost_after=2), progress=lost)
    ask(path, Scripted(chunk=1), progress=stopped, watch=lambda p: "enough" if len(p) == 5 else None, resume=True)
    ask(path, progress=first, resume=True)
    assert (lost.told[0], lost.told[-1], len(lost.told)) == ((12, 0), "lost", 4)
    assert (stopped.told[0], stopped.told[-1]) == ((12, 2), "enough")
    assert (first.told[0][0], first.told[-1]) == (12, "")
    assert len(set(lost.told[1:-1] + stopped.told[1:-1] + first.told[1:-1])) == 12


def test_kill_9_of_the_evaluating_process_loses_and_doubles_no_record(tmp_path: Path, path: Path):
    task = additions(60)
    with Served(tmp_path, delay=0.05) as served:
        command = [sys.executable, "-m", "rocassay.suites.accuracy.evaluator", served.url, str(path), "60"]
        with subprocess.Popen(command, cwd=tmp_path, env=environment()) as child:
            while not path.exists() or path.read_bytes().count(b"\n") < 12:
                assert child.poll() is None
                time.sleep(0.005)
            child.kill()
        kept = {record.id: record for found in read(path).evaluations.values() for record in found.in_order}
        assert 10 < len(kept) < 60
        subprocess.run([*command, "--resume"], cwd=tmp_path, env=environment(), check=True)
        seen = served.stats()["seen"]
    (found,) = read(path).evaluations.values()
    assert read(path).problems == []
    assert sorted(answered(lines(path))) == sorted(names(task))
    assert {name: found.questions[name] for name in kept} == kept
    assert all(record.correct for record in found.in_order)
    assert all(seen[name.removeprefix("add-")] == 1 for name in kept), "what was recorded is not asked again"
