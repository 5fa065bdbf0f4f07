"""The store of evaluations and baselines: nothing is lost, doubled, mixed or overwritten, and no password is shown."""

from __future__ import annotations

import getpass
import sqlite3
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from rocassay.harness.accuracy.errors import AccuracyError, UnlikeRuns
from rocassay.harness.accuracy.evaluating import run_of
from rocassay.harness.accuracy.history import History, HistoryError
from rocassay.harness.accuracy.outcomes import Run
from rocassay.harness.accuracy.paired import Pairs
from rocassay.harness.results import Evaluation
from rocassay.suites.accuracy.additions import environment
from rocassay.suites.accuracy.stored import NAMES, TASK, evaluation

PRINT = TASK.fingerprint("test-1")
ADDER = "adder served"


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "history.sqlite"


@pytest.fixture
def history(place: Path) -> History:
    return History(place)


def stored(history: History, *evaluations: Evaluation) -> list[str]:
    """Store them; returns their ids."""
    for one in evaluations:
        history.append(one)
    return [one.header.run_id for one in evaluations]


def test_an_evaluation_comes_back_with_every_answer(history: History, place: Path):
    first = evaluation("a", NAMES[:3], errors=NAMES[5:7])
    odd = first.questions["add-0"].model_copy(update={"text": "nul \x00, emoji \U0001f600, quote ', 日本"})
    first.questions["add-0"] = odd
    stored(history, first, evaluation("b"))
    found = History(place, make=False).evaluation("a")
    assert (found.header, found.questions, found.verdict) == (first.header, first.questions, first.verdict)
    assert list(found.questions) == list(NAMES)


def test_an_evaluation_that_is_stored_again_replaces_itself(history: History):
    stored(history, evaluation("a", NAMES[:9]), evaluation("b"), evaluation("a", NAMES[:2], names=NAMES[:30]))
    assert {e.header.run_id: e.verdict.correct for e in history.summaries() if e.verdict} == {"a": 28, "b": 40}
    assert len(history.evaluation("a").questions) == 30


def test_an_unfinished_evaluation_is_not_stored(history: History):
    with pytest.raises(HistoryError, match="evaluation a has no verdict yet; finish it with"):
        history.append(replace(evaluation("a"), verdict=None))
    assert history.summaries() == []


def test_outcomes_are_those_of_the_answers_and_need_none_of_their_texts(history: History, place: Path):
    first = evaluation("a", NAMES[:3], errors=NAMES[5:7])
    cut = first.questions["add-9"].model_copy(update={"strict": None, "correct": False, "finish_reason": "length"})
    first.questions["add-9"] = cut
    stored(history, first, evaluation("b"))
    with sqlite3.connect(place) as raw:
        raw.execute("update answers set answer = 'no JSON'")
    raw.close()
    assert history.outcomes(["b", "a"]) == {"b": run_of(evaluation("b")), "a": run_of(first)}
    assert [e.header.run_id for e in history.summaries(ADDER)] == ["a", "b"]


def test_the_latest_green_runs_are_healthy_comparable_and_the_newest(history: History):
    def at(day: int, wrong: int, **facts: Any) -> Evaluation:
        return evaluation(f"r{day}", NAMES[:wrong], started=f"2025-01-{day:02}T00:00:00+00:00", **facts)

    other = TASK.fingerprint("test-2")
    stored(
        history, at(1, 1), at(4, 4), at(2, 2), at(3, 3), at(9, 9, status="red"), at(8, 8, faults=("f",)),
        at(7, 7, fingerprint=other), at(6, 6, model="other"),
    )  # fmt: skip
    found = history.latest_green(ADDER, PRINT, 3)
    assert [sum(not outcome.correct for outcome in run.values()) for run in found] == [4, 3, 2]
    assert len(history.latest_green(ADDER, PRINT, 9)) == 4


def accepted(history: History, *runs: str, why: str = "they are good") -> Any:
    return history.accept(runs, why, "me")


def test_only_accepting_moves_a_baseline(history: History):
    assert history.runs_of_baseline(ADDER, PRINT) == []
    first = stored(history, evaluation("a", NAMES[:1]), evaluation("b", NAMES[1:3]))
    one = accepted(history, *first)
    kept = history.runs_of_baseline(ADDER, PRINT)
    assert kept == [run_of(evaluation("a", NAMES[:1])), run_of(evaluation("b", NAMES[1:3]))]
    stored(history, *(evaluation(f"drift{n}", NAMES[:n]) for n in range(1, 12)))
    assert history.runs_of_baseline(ADDER, PRINT) == kept, "a slow drift does not carry its baseline along"
    two = accepted(history, "drift3")
    assert history.runs_of_baseline(ADDER, PRINT) == [run_of(evaluation("drift3", NAMES[:3]))]
    assert [baseline.number for baseline in history.baselines(ADDER)] == [one.number, two.number]


def test_a_baseline_says_who_accepted_what_and_why(history: History, place: Path):
    accepted(history, *stored(history, evaluation("a", NAMES[:4])), why=" the weights of May ")
    (found,) = History(place, make=False).baselines()
    assert (found.configuration, found.task, found.runs) == (ADDER, "additions", ("a",))
    assert (found.who, found.why, found.evidence["previous"]) == ("me", "the weights of May", None)
    assert found.evidence["correct_of_asked"] == {"a": [36, 40]}
    assert history.accept(["a"], "again").who == getpass.getuser()


def right(run: Run) -> dict[str, bool]:
    return {name: outcome.correct for name, outcome in run.items()}


def test_a_baseline_records_the_exact_test_against_the_one_before(history: History):
    old, new = evaluation("old", NAMES[:2]), evaluation("new", NAMES[1:9])
    stored(history, old, new, evaluation("same", NAMES[:2]))
    first = accepted(history, "old")
    found = accepted(history, "new", "same").evidence
    pairs = Pairs.of(right(run_of(old)), right(run_of(new)))
    assert (found["previous"], pairs.lost, pairs.gained) == (first.number, 7, 1)
    assert found["p_worse"] == {"new": pytest.approx(pairs.p_worse()), "same": 1.0}
    assert found["difference"] == pytest.approx(-3 / 40)
    assert pairs.p_worse() < found["p_worse_together"] < 1


def test_a_run_that_is_named_twice_counts_once(history: History):
    names = stored(history, evaluation("a", NAMES[:1]), evaluation("b"))
    assert accepted(history, *names, *names, "a").runs == ("a", "b")


REFUSED: dict[str, tuple[Evaluation, str]] = {
    "faults": (evaluation("x", faults=("f", "g")), r"run x has injected faults \(f, g\); it is no baseline"),
    "unfinished": (evaluation("x", names=NAMES[:30], planned=40), "run x asked 30 of 40 questions"),
    "stopped": (evaluation("x", stopped_after=40), "run x asked 40 of 40 questions; a baseline asks all"),
    "errors": (evaluation("x", errors=NAMES[:2]), "run x has 2 of 40 questions without an answer"),
    "another model": (evaluation("x", model="other"), "a and x are unlike .'other served' against 'adder served'"),
    "other rules": (
        evaluation("x", fingerprint=PRINT.model_copy(update={"shots": 5, "max_tokens": 9})),
        "unlike .shots: 5 here, 0 there; max_tokens: 9 here, 32 there.; accept runs of one kind",
    ),
    "other questions": (evaluation("x", names=NAMES[1:]), "lacks 1 of 40 questions"),
    "another build": (evaluation("x", NAMES[:20]), "differ more than their questions flip"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_baseline_beside_a_good_run(history: History, kind: str):
    bad, words = REFUSED[kind]
    names = stored(history, evaluation("a"), bad)
    with pytest.raises(AccuracyError, match=words):
        accepted(history, *names)
    assert history.baselines() == []


@pytest.mark.parametrize(
    ("runs", "why", "words"),
    [(("a",), " ", "needs a reason"), (("a", "z"), "x", "has no run z;"), ((), "x", "nothing of no run at all")],
)
def test_a_baseline_needs_runs_and_a_reason(history: History, runs: tuple[str, ...], why: str, words: str):
    stored(history, evaluation("a"))
    with pytest.raises(HistoryError, match=words):
        history.accept(runs, why, "me")


def test_a_fingerprint_unlike_the_baseline_is_refused_with_every_difference(history: History):
    accepted(history, *stored(history, evaluation("a")))
    mine = PRINT.model_copy(update={"until": ("X",), "extraction": "test-2", "prompts": "f00"})
    with pytest.raises(UnlikeRuns) as caught:
        history.runs_of_baseline(ADDER, mine)
    for words in (
        "baseline 1 of adder served",
        "until: ('X',) here",
        "extraction: 'test-2' here",
        "prompts: 'f00' here",
    ):
        assert words in str(caught.value)


def test_each_task_of_a_configuration_has_a_baseline_of_its_own(history: History):
    other = PRINT.model_copy(update={"task": "retrieval-4096"})
    accepted(history, *stored(history, evaluation("a", NAMES[:1])))
    assert history.runs_of_baseline(ADDER, other) == []
    second = accepted(history, *stored(history, evaluation("b", NAMES[:2], fingerprint=other)))
    assert second.evidence["previous"] is None
    assert len(history.runs_of_baseline(ADDER, PRINT)) == len(history.runs_of_baseline(ADDER, other)) == 1


def test_processes_that_store_at_once_in_a_history_that_nobody_made_lose_nothing(place: Path, tmp_path: Path):
    command = [sys.executable, "-m", "rocassay.suites.accuracy.stored", str(place)]
    children = [
        subprocess.Popen([*command, name, "8"], cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True)
        for name in ("a", "b", "c")
    ]
    assert [(child.communicate()[1], child.returncode) for child in children] == [("", 0)] * 3
    found = History(place, make=False)
    names = [f"{name}-{number}" for name in "abc" for number in range(8)]
    assert sorted(e.header.run_id for e in found.summaries()) == names
    for name, run in found.outcomes(names).items():
        assert (len(run), sum(not o.correct for o in run.values())) == (40, int(name[2:])), name


def test_a_file_that_is_no_history_is_set_aside_and_the_next_call_starts_anew(place: Path):
    for number, aside in enumerate(("history.sqlite.corrupt", "history.sqlite.corrupt1")):
        place.write_bytes(content := f"shopping list {number}\n".encode() * 100)
        with pytest.raises(HistoryError) as caught:
            History(place)
        assert f"{place} is no history (file is not a database); it was set aside as {aside}" in str(caught.value)
        assert place.with_name(aside).read_bytes() == content, "an earlier one is not overwritten"
        assert not place.exists()
    assert stored(History(place), evaluation("a")) == ["a"]


def test_a_history_that_lost_its_middle_is_set_aside_when_that_is_found(history: History, place: Path):
    stored(history, *(evaluation(f"r{n}") for n in range(20)))
    data = bytearray(place.read_bytes())
    data[8192:] = np.random.default_rng(1).bytes(len(data) - 8192)
    place.write_bytes(data)
    with pytest.raises(HistoryError, match=r"malformed\); it was set aside as history.sqlite.corrupt, run again"):
        History(place).outcomes([f"r{n}" for n in range(20)])
    assert place.with_name("history.sqlite.corrupt").read_bytes() == bytes(data)
    assert History(place).summaries() == []


def test_tables_of_something_else_and_of_another_version_are_left_alone(place: Path, tmp_path: Path):
    other = tmp_path / "other.sqlite"
    with sqlite3.connect(other) as raw:
        raw.execute("create table answers (life int)")
    raw.close()
    with pytest.raises(HistoryError, match="holds tables of something else; choose another --history"):
        History(other)
    History(place)
    with sqlite3.connect(place) as raw:
        raw.execute("update rocassay_history set version = 99")
    raw.close()
    with pytest.raises(HistoryError, match="has version 99, which a newer rocassay wrote; this one uses 2: update it"):
        History(place)


def test_reading_makes_no_history(place: Path):
    with pytest.raises(HistoryError, match="there is no history at"):
        History(place, make=False)
    assert not place.exists()


BAD_PLACES = {
    "unknown database": ("foo://me:ge%40heim@host/db", "cannot open the history at foo://me:***@host/db: Can't load"),
    "no driver": ("mssql+pymssql://me:ge%40heim@host/db", "its driver is not installed (No module named 'pymssql')"),
    "no port": ("postgresql://me:geheim@host:port/db", "the postgresql:// address of the history cannot be read"),
    "unescaped": ("postgresql://me:ge@heim@host/db", "address of the history cannot be read; write it like"),
    "unescaped slash": ("postgresql://me:gehe/im@heim@host/db", "@, : and / in a password as %40, %3A and %2F"),
    "no file": ("sqlite://", "sqlite:// names no file, so nothing would be kept"),
    "in a parameter": ("foo://me@host/db?password=geheim", "cannot open the history at foo://me@host/db?password=***"),
    "a folder": ("sqlite:///.", "cannot open the history at .: unable to open database file"),
}


@pytest.mark.parametrize("kind", BAD_PLACES)
def test_what_cannot_be_opened_is_one_sentence_without_the_password(kind: str):
    url, words = BAD_PLACES[kind]
    with pytest.raises(HistoryError) as caught:
        History(url)
    text = str(caught.value)
    assert words in text
    assert "\n" not in text
    assert not any(part in text for part in ("heim", "ge@", "sqlalche.me"))


def test_a_folder_that_cannot_be_made_is_one_sentence(tmp_path: Path):
    (tmp_path / "file").write_text("")
    with pytest.raises(HistoryError, match=r"cannot make the folder .*/file/x: Not a directory; choose another file"):
        History(tmp_path / "file" / "x" / "history.sqlite")


def test_a_file_name_with_the_marks_of_a_url_is_a_file_name(tmp_path: Path):
    place = tmp_path / "50%25 of? #1.sqlite"
    stored(History(place), evaluation("a"))
    assert place.is_file()
    assert len(History(place, make=False).summaries()) == 1
