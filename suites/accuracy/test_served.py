"""A served model, against a real server that misbehaves: every failure is counted and shown as what it is."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from rocassay.harness.accuracy.completions import Failure, Patience, read_completion, read_failure
from rocassay.harness.accuracy.errors import AnswererError
from rocassay.harness.accuracy.questions import Answer
from rocassay.harness.accuracy.runner import Asked, evaluate
from rocassay.harness.accuracy.served import ServedModel, api_key_from
from rocassay.harness.accuracy.vllm_inprocess import VllmModel, engine_arguments
from rocassay.harness.results import read
from rocassay.suites.accuracy.additions import (
    HASTY,
    Served,
    additions,
    answered,
    extract,
    header,
    names,
    seeded,
    shuffled,
)

KEY = "sk-very-secret-0123456789"


def answers(model: ServedModel, count: int) -> dict[str, Answer]:
    task = additions(count)
    return {q.id: a for q, a in model.answer(task.questions, until=task.until, max_tokens=task.max_tokens)}


@pytest.fixture
def start(tmp_path: Path) -> Iterator[Any]:
    with contextlib.ExitStack() as stack:
        yield lambda **plan: stack.enter_context(Served(tmp_path, **plan))


def test_right_answers_come_with_their_tokens_and_greedy_requests(start):
    served = start()
    found = answers(served.model(), 3)
    assert [found[f"add-{n}"].text for n in range(3)] == [f" {n} + 7 = {n + 7}\n#### {n + 7}" for n in range(3)]
    answer = found["add-0"]
    assert (answer.finish_reason, answer.error, answer.attempts) == ("stop", "", 1)
    assert (answer.tokens, answer.prompt_tokens) == (7, 7)
    assert answer.seconds > 0
    assert served.stats()["bodies"]["0"] == {"stop": ["Question:"], "temperature": 0}


INJECTED = {
    "0": ["500", "503"],
    "1": ["429:0", "429"],
    "2": ["reset"],
    "3": ["hang"],
    "4": ["length"],
    "5": ["empty"],
    "6": ["malformed"],
    "7": ["nochoices"],
    "8": ["500", "forever"],
    "9": ["400"],
    "10": ["abort"],
    "11": ["reset", "forever"],
    "12": ["429:0", "forever"],
    "13": ["404"],
}
OUTCOMES = {
    "0": ("stop", 3, ""),
    "1": ("stop", 3, ""),
    "2": ("stop", 2, ""),
    "3": ("stop", 2, ""),
    "4": ("length", 1, ""),
    "5": ("stop", 1, ""),
    "6": ("error", 1, "malformed answer (JSONDecodeError: "),
    "7": ("error", 1, "malformed answer (IndexError: "),
    "8": ("error", 4, "HTTP 500: injected 500 (after 4 requests)"),
    "9": ("error", 1, "HTTP 400: injected 400"),
    "10": ("error", 1, "the server ended it with 'abort'"),
    "11": ("error", 4, "ReadError"),
    "12": ("error", 4, "HTTP 429: injected 429 (after 4 requests)"),
    "13": ("error", 1, "HTTP 404: injected 404"),
}


def test_every_injected_failure_is_counted_and_shown_as_what_it_is(start, tmp_path: Path):
    served, task = start(behaviours=INJECTED), additions(20)
    model = served.model(timeout=1.0, give_up_after=1000)
    path = tmp_path / "results.jsonl"
    found = evaluate(model, task, header(task), order=names(task), path=path, extract=extract)
    seen = served.stats()["seen"]
    for number, (finish, attempts, error) in OUTCOMES.items():
        record = found.questions[f"add-{number}"]
        assert (record.finish_reason, record.attempts) == (finish, attempts), record
        assert record.error.startswith(error), record
        assert bool(record.error) == (finish == "error")
        assert seen[number] == attempts
    assert all(found.questions[f"add-{n}"].correct for n in (0, 1, 2, 3, *range(14, 20)))
    cut, empty, aborted = (found.questions[f"add-{n}"] for n in (4, 5, 10))
    assert (cut.text, cut.correct, cut.invalid) == (" 4 + 7 =", False, True)
    assert (empty.text, empty.correct, empty.invalid) == ("", False, True)
    assert (aborted.text, aborted.invalid) == (" 10 ", False)
    assert sorted(answered(path.read_text().splitlines())) == sorted(names(task))


def test_no_more_requests_are_at_the_server_at_a_time_than_allowed(start):
    served = start(delay=0.05)
    assert len(answers(served.model(concurrency=3), 30)) == 30
    assert served.stats()["most_at_once"] == 3


def test_a_server_that_is_killed_ends_the_run_with_one_error_and_a_resumed_run_asks_the_rest(start, tmp_path: Path):
    served, task, path = start(delay=0.02), additions(40), tmp_path / "results.jsonl"
    order = shuffled(names(task), 1)

    def run(model: ServedModel, **settings: Any) -> Asked:
        return evaluate(model, task, header(task), order=order, path=path, extract=extract, **settings)

    def kill_after(records: Any) -> None:
        if len(records) == 10:
            served.kill()

    with pytest.raises(AnswererError) as caught:
        run(served.model(give_up_after=4), watch=kill_after)
    assert str(caught.value).startswith(f"{served.url} failed 4 requests in a row, the last with: ")
    assert str(caught.value).endswith("restart the server and continue with `rocassay gsm8k --resume`")
    kept = answered(path.read_text().splitlines())
    assert 10 <= len(kept) < 40
    assert not [record for found in read(path).evaluations.values() for record in found.in_order if record.error]
    served.start()
    found = run(served.model(), resume=True)
    assert sorted(answered(path.read_text().splitlines())) == sorted(names(task))
    assert sum(served.stats()["seen"].values()) == 40 - len(kept)
    assert all(record.correct for record in found.in_order)


def test_a_server_that_was_never_there_ends_the_run_after_the_stated_number_of_requests(start):
    served = start()
    served.kill()
    model = ServedModel(served.url, "adder", concurrency=4, patience=HASTY, give_up_after=5)
    with pytest.raises(AnswererError, match=r"failed 5 requests in a row, the last with: ConnectError"):
        answers(model, 10)


def test_failures_between_answers_are_not_taken_for_a_dead_server(start):
    behaviours = {str(n): ["500"] for n in range(0, 40, 2)}
    found = answers(start(behaviours=behaviours).model(concurrency=1, give_up_after=2), 40)
    assert all(answer.finish_reason == "stop" for answer in found.values())


def test_a_server_that_asks_for_patience_is_not_taken_for_dead(start):
    behaviours = {str(n): ["429:0", "429:0"] for n in range(8)}
    found = answers(start(behaviours=behaviours).model(concurrency=8, give_up_after=3), 8)
    assert all(answer.attempts == 3 for answer in found.values())


def test_retry_after_is_waited_for(start):
    found = answers(start(behaviours={"0": ["429:1"]}).model(), 1)
    assert found["add-0"].seconds >= 1.0


def test_a_stop_by_the_watch_cancels_what_is_outstanding_at_once(start, tmp_path: Path):
    served, task = start(behaviours={str(n): ["hang"] for n in range(4, 40)}), additions(40)
    began = time.monotonic()
    found = evaluate(
        served.model(concurrency=8, timeout=30.0),
        task,
        header(task),
        order=names(task),
        path=tmp_path / "results.jsonl",
        extract=extract,
        watch=lambda prefix: "enough" if len(prefix) == 4 else None,
    )
    assert time.monotonic() - began < 10
    assert (found.stopped, sorted(found.questions)) == ("enough", names(task)[:4])
    assert sum(served.stats()["seen"].values()) <= 12
    assert not [thread for thread in threading.enumerate() if thread.name == "rocassay-questions"]


def test_the_model_is_found_where_it_is_not_given(start):
    model = start(models=["org/only"]).model()
    assert model.name == "org/only"
    assert model.describe()["model"] == "org/only"


@pytest.mark.parametrize(
    ("models", "complaint"),
    [(["a", "b"], r"serves 2 models \(a, b\); choose one by --model"), ([], r"serves 0 models"), ([3], r"^$")],
)
def test_a_choice_of_models_is_left_to_the_user(start, models: list[Any], complaint: str):
    model = start(models=models).model()
    if models == [3]:
        assert model.name == "3"
        return
    with pytest.raises(AnswererError, match=complaint):
        _ = model.name


def test_a_server_that_is_not_up_is_one_clear_error(start):
    served = start()
    served.kill()
    with pytest.raises(AnswererError, match=r"/v1/models does not answer \(ConnectError: .*\); is the server up\?"):
        _ = ServedModel(served.url).name


def test_tokens_are_counted_where_the_server_can(start):
    assert start().model().count_tokens("five words are in here") == 5


def test_tokens_are_unknown_where_the_server_has_no_tokenizer(start):
    model = start(tokenizer=False).model()
    assert [model.count_tokens("five words") for _ in range(3)] == [None] * 3


def test_the_key_reaches_the_server_and_nothing_else(start, tmp_path: Path):
    key_file = tmp_path / "key"
    key_file.write_text(f"{KEY}\n")
    model = start(behaviours={"0": ["echo"]}).model(api_key=api_key_from(key_file))
    error = answers(model, 1)["add-0"].error
    assert error == "HTTP 401: bad key Bearer ***"
    assert KEY not in str(model.describe()) + repr(model)


@pytest.mark.parametrize(("content", "complaint"), [("", "holds 0 words"), ("a b", "holds 2 words")])
def test_a_key_file_that_holds_no_single_key_is_refused(tmp_path: Path, content: str, complaint: str):
    (tmp_path / "key").write_text(content)
    with pytest.raises(AnswererError, match=complaint):
        api_key_from(tmp_path / "key")
    with pytest.raises(AnswererError, match="cannot read the key"):
        api_key_from(tmp_path / "none")


@pytest.mark.parametrize("url", ["http://h:1", "http://h:1/", "http://h:1/v1", "http://h:1/v1/"])
def test_an_address_may_end_in_v1(url: str):
    assert ServedModel(url).url == "http://h:1"


@pytest.mark.parametrize("url", ["localhost:8000", "ftp://h", "http://", "http://user:secret@h:1", "http://k@h"])
def test_any_other_address_is_refused_without_repeating_a_password(url: str):
    with pytest.raises(AnswererError) as caught:
        ServedModel(url)
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize("settings", [{"concurrency": 0}, {"timeout": 0.0}])
def test_limits_that_make_no_sense_are_refused(settings: dict[str, Any]):
    with pytest.raises(AnswererError, match="must be positive"):
        ServedModel("http://h", **settings)


def test_no_proxy_of_the_environment_comes_between(start, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:9")
    assert answers(start().model(), 1)["add-0"].finish_reason == "stop"


def test_waiting_grows_to_its_limit_with_jitter_and_the_same_seed_waits_alike():
    patience, failure = Patience(retries=9, base=1.0, longest=8.0), Failure("x", retry=True)
    delays = [patience.delay(n, failure, seeded(5)) for n in range(1, 10)]
    assert delays == [patience.delay(n, failure, seeded(5)) for n in range(1, 10)]
    for delay, step in zip(delays, [1, 2, 4, 8, 8, 8, 8, 8, 8], strict=True):
        assert delay is not None
        assert step / 2 <= delay <= step
    assert len({patience.delay(1, failure, seeded(seed)) for seed in range(20)}) == 20


@pytest.mark.parametrize(
    ("failure", "attempt"),
    [
        (Failure("x", retry=False), 1),
        (Failure("x", retry=True), 4),
        (Failure("x", retry=True, wait=601.0), 1),
    ],
    ids=["no use", "no retry left", "asked for too long"],
)
def test_patience_ends(failure: Failure, attempt: int):
    assert Patience(retries=3).delay(attempt, failure, seeded(0)) is None


@pytest.mark.parametrize(
    ("status", "retry", "alive"),
    [(429, True, True), (500, True, False), (503, True, False), (529, True, False), (408, True, False)]
    + [(status, False, False) for status in (400, 401, 403, 404, 413, 422, 301)],
)
def test_only_what_may_change_is_asked_again(status: int, retry: bool, alive: bool):
    found = read_failure(status, {"retry-after": "2"}, '{"error": {"message": "why"}}')
    assert (found.error, found.retry, found.alive) == (f"HTTP {status}: why", retry, alive)
    assert found.wait == (2.0 if retry else None)


@pytest.mark.parametrize(
    ("header_value", "wait"), [("0", 0.0), ("17", 17.0), ("Wed, 21 Oct 2015 07:28:00 GMT", 0.0), ("soon", None)]
)
def test_retry_after_is_read_as_seconds_or_as_a_date(header_value: str, wait: float | None):
    assert read_failure(429, {"retry-after": header_value}, "").wait == wait


@pytest.mark.parametrize(
    ("body", "words"),
    [
        ('{"error": {"message": "inner"}}', "inner"),
        ('{"message": "outer", "code": 1}', "outer"),
        ('{"error": "plain"}', "plain"),
        ('{"detail": [1]}', "{'detail': [1]}"),
        ("<html>  two\nlines </html>", "<html> two lines </html>"),
        ("x" * 5000, "x" * 297 + "..."),
        ("[1]", "[1]"),
    ],
)
def test_the_servers_words_are_kept_in_one_short_line(body: str, words: str):
    assert read_failure(400, {}, body).error == f"HTTP 400: {words}"


@pytest.mark.parametrize(
    "body",
    ["", "null", "[]", "{}", '{"choices": null}', '{"choices": [{}]}', '{"choices": [{"text": null}]}', "<html>"],
)
def test_a_body_without_a_text_is_an_error_that_quotes_it(body: str):
    found = read_completion(body)
    assert isinstance(found, Failure)
    assert not found.retry
    assert found.error.startswith("malformed answer (")
    assert found.error.endswith(repr(body))


@pytest.mark.parametrize("usage", ["null", "[]", '{"completion_tokens": "3"}', '{"completion_tokens": true}'])
def test_tokens_that_the_server_does_not_state_are_unknown(usage: str):
    found = read_completion(f'{{"choices": [{{"text": "a", "finish_reason": "stop"}}], "usage": {usage}}}')
    assert isinstance(found, Answer)
    assert (found.tokens, found.prompt_tokens) == (None, None)


def test_vllm_that_is_not_installed_is_one_clear_error_with_the_next_step():
    with pytest.raises(AnswererError, match=r"vLLM cannot be imported .*; install the extra `vllm`, or serve"):
        VllmModel("some/model")


def test_vllm_is_given_what_was_chosen_and_left_alone_otherwise():
    found = engine_arguments("m", tensor_parallel_size=8, block_size=1, kv_cache_dtype="fp8", max_model_len=None)
    assert found == {"model": "m", "tensor_parallel_size": 8, "block_size": 1, "kv_cache_dtype": "fp8"}
