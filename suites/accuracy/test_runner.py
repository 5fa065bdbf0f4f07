"""The runner: order, records, progress, and the watch on the completed prefix."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from rocassay.harness.accuracy.errors import AccuracyError
from rocassay.harness.accuracy.questions import Answer
from rocassay.harness.results import QuestionRecord, read
from rocassay.suites.accuracy.additions import additions, answered, names, shuffled
from rocassay.suites.accuracy.scripted import TASK, Followed, Scripted, ask, lines


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


def test_an_interruption_cancels_what_is_outstanding_before_it_is_reported(path: Path):
    class Interrupting(Followed):
        def answered(self, record: QuestionRecord) -> None:  # noqa: ARG002
            raise KeyboardInterrupt

    scripted = Scripted()
    with pytest.raises(KeyboardInterrupt) as caught:
        ask(path, scripted, progress=Interrupting())
    assert (scripted.closed, caught.type, len(answered(lines(path)))) == (1, KeyboardInterrupt, 1)


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
