"""The runner: order, records, the watch on the completed prefix, resuming, and nothing lost or doubled."""

from __future__ import annotations

import json
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from rocassay.harness.accuracy.errors import AccuracyError, AnswererError
from rocassay.harness.accuracy.questions import Answer, Question
from rocassay.harness.accuracy.runner import evaluate
from rocassay.harness.results import AccuracyRecord, QuestionRecord, ResultsError, ResultsWriter, read
from rocassay.suites.accuracy.additions import (
    Served,
    additions,
    answered,
    environment,
    extract,
    header,
    names,
    shuffled,
)

TASK = additions(12)


@dataclass
class Scripted:
    """Answers right, in a seeded order within each chunk; can be lost after some answers."""

    chunk: int = 0
    seed: int = 0
    lost_after: int | None = None
    failing: frozenset[str] = frozenset()
    silent_about: frozenset[str] = frozenset()
    doubled: bool = False
    asked: list[list[str]] = field(default_factory=list)
    given: int = 0
    closed: int = 0
    name: str = "scripted"

    def describe(self) -> dict[str, str]:
        """Nothing to say."""
        return {}

    def count_tokens(self, text: str) -> int | None:  # noqa: ARG002
        """It knows no tokens."""
        return None

    def answer(
        self, questions: Sequence[Question], *, until: Sequence[str], max_tokens: int
    ) -> Iterator[tuple[Question, Answer]]:
        """Answer as it was told to."""
        assert (tuple(until), max_tokens) == (TASK.until, TASK.max_tokens)
        self.asked.append([question.id for question in questions])
        mixed: list[Question] = shuffled(questions, self.seed)
        try:
            for question in mixed * (2 if self.doubled else 1):
                if question.id in self.silent_about:
                    continue
                if self.given == self.lost_after:
                    raise AnswererError("lost")
                self.given += 1
                if question.id in self.failing:
                    yield question, Answer("", "error", "HTTP 500: no")
                else:
                    yield question, Answer(f" so\n#### {question.gold}", "stop", tokens=3, attempts=2, seconds=0.5)
        finally:
            self.closed += 1


@dataclass
class Followed:
    """Remembers what it was told."""

    told: list[Any] = field(default_factory=list)

    def begin(self, total: int, done: int) -> None:
        """The beginning."""
        self.told.append((total, done))

    def answered(self, record: QuestionRecord) -> None:
        """An answer."""
        self.told.append(record.id)

    def end(self, reason: str) -> None:
        """The end."""
        self.told.append(reason)


def ask(path: Path, answerer: Any = None, order: Sequence[str] = (), **settings: Any):
    order = order or names(TASK)
    facts = {"planned": len(order), **settings.pop("facts", {})}
    answerer = answerer or Scripted()
    return evaluate(answerer, TASK, header(TASK, **facts), order=order, path=path, extract=extract, **settings)


def lines(path: Path) -> list[str]:
    return path.read_text().splitlines()


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "results.jsonl"


def test_every_question_is_asked_in_the_given_order_and_recorded_with_its_place(path: Path):
    order = shuffled(names(TASK), 3)
    scripted = Scripted(seed=1)
    found = ask(path, scripted, order)
    assert scripted.asked == [order]
    assert [record.id for record in found.in_order] == order
    assert [record.place for record in found.in_order] == list(range(12))
    (record,) = [record for record in found.in_order if record.id == "add-5"]
    question = TASK.by_id["add-5"]
    assert (record.gold, record.text) == ("12", " so\n#### 12")
    assert (record.strict, record.flexible, record.correct, record.correct_flexible) == ("12", "12", True, True)
    assert (record.prompt_hash, record.tokens, record.attempts, record.seconds) == (question.prompt_hash, 3, 2, 0.5)


def test_the_file_says_what_is_returned_header_first(path: Path):
    found = ask(path)
    (stored,) = read(path).evaluations.values()
    assert json.loads(lines(path)[0])["kind"] == "eval"
    assert (stored.header, stored.questions, stored.verdict) == (found.header, found.questions, None)
    assert len(lines(path)) == 13


@pytest.mark.parametrize(("chunk", "sizes"), [(0, [12]), (5, [5, 5, 2]), (12, [12]), (100, [12])])
def test_questions_come_in_chunks_of_the_size_that_the_answerer_likes(path: Path, chunk: int, sizes: list[int]):
    scripted = Scripted(chunk)
    ask(path, scripted)
    assert [len(chunk) for chunk in scripted.asked] == sizes
    assert [name for chunk in scripted.asked for name in chunk] == names(TASK)


def test_each_record_is_on_the_file_before_the_next_answer_is_taken(path: Path):
    seen: list[int] = []

    class Looking(Scripted):
        def answer(self, questions: Any, **rules: Any) -> Any:
            for item in super().answer(questions, **rules):
                seen.append(len(answered(lines(path))))
                yield item

    ask(path, Looking())
    assert seen == list(range(12))


def test_a_question_about_which_the_answerer_is_silent_is_an_error_and_no_empty_answer(path: Path):
    found = ask(path, Scripted(silent_about=frozenset({"add-2"})))
    record = found.questions["add-2"]
    assert (record.finish_reason, record.error, record.correct, record.invalid) == (
        "error", "scripted gave no answer", False, False
    )  # fmt: skip
    assert len(found.questions) == 12


def test_an_error_is_never_right_even_when_its_text_is(path: Path):
    class Aborting(Scripted):
        def answer(self, questions: Any, **rules: Any) -> Any:  # noqa: ARG002
            for question in questions:
                yield question, Answer(f"#### {question.gold}", "error", "aborted")

    found = ask(path, Aborting())
    assert not any(record.correct or record.correct_flexible for record in found.in_order)
    assert all(record.text for record in found.in_order)


def test_an_answer_that_comes_twice_is_refused(path: Path):
    with pytest.raises(AccuracyError, match=r"scripted answered 'add-\d+' twice or unasked"):
        ask(path, Scripted(doubled=True))


@pytest.mark.parametrize("seed", range(5))
def test_the_watch_sees_every_prefix_of_the_order_once_whatever_the_order_of_completion(path: Path, seed: int):
    order = shuffled(names(TASK), seed + 10)
    seen: list[list[str]] = []
    ask(path, Scripted(seed=seed), order, watch=lambda prefix: seen.append([record.id for record in prefix]))
    assert seen == [order[:length] for length in range(1, 13)]


@pytest.mark.parametrize("seed", range(5))
def test_the_watch_stops_at_the_same_question_whatever_the_order_of_completion(path: Path, seed: int):
    scripted = Scripted(seed=seed)
    found = ask(path, scripted, watch=lambda prefix: "enough" if len(prefix) == 4 else None)
    assert (found.stopped, found.stopped_after) == ("enough", 4)
    assert scripted.closed == 1
    assert set(names(TASK)[:4]) <= set(found.questions)
    assert scripted.given == len(found.questions) == len(answered(lines(path)))


def test_a_stop_leaves_later_chunks_unasked(path: Path):
    scripted = Scripted(chunk=3)
    ask(path, scripted, watch=lambda prefix: "enough" if len(prefix) == 4 else None)
    assert scripted.asked == [names(TASK)[:3], names(TASK)[3:6]]


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


def test_an_interruption_cancels_what_is_outstanding_before_it_is_reported(path: Path):
    class Interrupting(Followed):
        def answered(self, record: QuestionRecord) -> None:  # noqa: ARG002
            raise KeyboardInterrupt

    scripted = Scripted()
    with pytest.raises(KeyboardInterrupt) as caught:
        ask(path, scripted, progress=Interrupting())
    assert (scripted.closed, caught.type, len(answered(lines(path)))) == (1, KeyboardInterrupt, 1)


def verdict(status: Any) -> AccuracyRecord:
    return AccuracyRecord(
        run_id="r", finished="", status=status, reason="why", asked=12, correct=12, correct_flexible=12
    )


@pytest.mark.parametrize("status", ["green", "red", "needs-confirmation", "blind", "refused"])
def test_a_finished_evaluation_is_returned_as_it_is_and_nothing_is_written(path: Path, status: str):
    first = ask(path)
    writer = ResultsWriter(path)
    writer.append(verdict(status))
    writer.close()
    before, again = path.read_bytes(), Scripted()
    found = ask(path, again, resume=True)
    assert (found.questions, found.verdict, again.asked) == (first.questions, verdict(status), [])
    assert path.read_bytes() == before


def test_an_undecided_evaluation_is_continued(path: Path):
    with pytest.raises(AnswererError):
        ask(path, Scripted(lost_after=5))
    writer = ResultsWriter(path)
    writer.append(verdict("undecided"))
    writer.close()
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
    def judge(run_id: str) -> None:
        writer = ResultsWriter(path)
        writer.append(verdict("green").model_copy(update={"run_id": run_id}))
        writer.close()

    judge(ask(path, facts={"run_id": "a", "model": "a"}).header.run_id)
    with pytest.raises(AnswererError):
        ask(path, Scripted(lost_after=5), facts={"run_id": "b", "model": "b"})
    for model in ("a", "b", "c"):
        judge(ask(path, facts={"run_id": f"{model}2", "model": model}, resume=True).header.run_id)
    found = read(path).evaluations
    assert {name: len(one.questions) for name, one in found.items()} == {"a": 12, "b": 12, "c2": 12}
    assert all(one.verdict for one in found.values())


@pytest.mark.parametrize(
    ("order", "complaint"),
    [
        (["add-0", "add-99"], "has no question 'add-99'"),
        (["add-0", "add-0"], "is asked for a question twice"),
    ],
)
def test_an_order_that_does_not_fit_the_task_is_refused_before_anything_is_written(path: Path, order, complaint):
    with pytest.raises(AccuracyError, match=complaint):
        ask(path, order=order)
    assert not path.exists()


@pytest.mark.parametrize("facts", [{"planned": 3}, {"fingerprint": additions(11).fingerprint("test-1")}], ids=str)
def test_a_header_that_describes_something_else_is_refused(path: Path, facts: dict[str, Any]):
    with pytest.raises(AccuracyError, match="the header does not describe task additions: "):
        ask(path, facts=facts)


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
