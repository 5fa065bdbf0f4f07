"""`history add`, `runs`, `trend` and `prune` from their command lines: words, JSON, exit codes, one clear error."""

from __future__ import annotations

import shutil
import sqlite3
from contextlib import closing
from pathlib import Path

import pytest

from rocassay.harness.accuracy.history import History
from rocassay.harness.cli.trending import trend_rows
from rocassay.harness.results import Assay, ResultsWriter, Shard
from rocassay.suites.accuracy.stored import NAMES, evaluation
from rocassay.suites.history.conftest import Rocassay
from rocassay.suites.history.recorded import case, failing, moment, run_of

PLACE = Path("rocassay-out/history.sqlite")


def written(folder: str, assay: Assay) -> Path:
    path = Path(folder) / "results.jsonl"
    writer = ResultsWriter(path)
    for line in (*assay.headers, *assay.records, *assay.ends):
        writer.append(line)
    for found in assay.evaluations.values():
        for line in (found.header, *found.in_order, found.verdict):
            assert line
            writer.append(line)
    writer.close()
    return path.parent


def with_evaluation(assay: Assay) -> Assay:
    assay.evaluations["e"] = evaluation("e", NAMES[:1])
    return assay


def test_a_results_file_gives_its_run_and_its_evaluations_and_twice_is_once(rocassay: Rocassay):
    folder = written("out", with_evaluation(run_of("k", 3, [case(0), failing(1)])))
    for _ in range(2):
        done = rocassay("history", "add", folder)
        assert done.code == 0
        assert "added k: tier quick, rocassay on interpreter, 1 of 2 cases passed, red" in done.out
        assert "added e: adder served, additions, green" in done.out
    (listed,) = rocassay("history", "runs", "--json").json
    assert (listed["run_id"], listed["revision"], listed["not_passed"], listed["status"]) == ("k", "c3", 1, "red")
    assert "k" in (shown := rocassay("history", "runs").out)
    assert "quick rocassay interpreter, cpu" in shown
    assert len(rocassay("history", "list", "--json").json) == 1


def test_a_shard_is_left_out_beside_evaluations_and_is_an_error_alone(rocassay: Rocassay):
    shard = Shard(number=1, count=2, plan="p", selected=4)
    both = rocassay("history", "add", written("both", with_evaluation(run_of("k", shard=shard))))
    assert (both.code, "left out the run: " in both.out, "added e: " in both.out) == (0, True, True)
    alone = rocassay("history", "add", written("alone", run_of("k", shard=shard)))
    assert (alone.code, alone.out) == (2, "")
    assert "join all with `rocassay report merge` and add the whole" in alone.err
    assert History(PLACE).kernel_runs.runs() == []


def test_a_corrupt_history_is_set_aside_and_the_run_goes_into_a_new_one(rocassay: Rocassay):
    PLACE.parent.mkdir()
    PLACE.write_bytes(b"shopping list\n" * 100)
    done = rocassay("history", "add", written("out", run_of("k")))
    assert done.code == 0
    assert done.err.count("\n") == 1
    assert "it was set aside as history.sqlite.corrupt" in done.err
    assert "a new history is begun" in done.err
    assert PLACE.with_name("history.sqlite.corrupt").read_bytes() == b"shopping list\n" * 100
    assert [run.run_id for run in History(PLACE, make=False).kernel_runs.runs()] == ["k"]


def test_a_newer_history_is_one_clear_error(rocassay: Rocassay):
    History(PLACE)
    with closing(sqlite3.connect(PLACE)) as raw:
        raw.execute("update rocassay_history set version = 3")
        raw.commit()
    for verb in (("add", written("out", run_of("k"))), ("runs",), ("trend",), ("prune", "--keep-runs", 3)):
        done = rocassay("history", *verb)
        assert (done.code, done.out, done.err.count("\n")) == (2, "", 1)
        assert "has version 3, which a newer rocassay wrote" in done.err


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A history of 24 nights, of which the last six are slower; and of two evaluations."""
    place = tmp_path_factory.mktemp("nights") / PLACE.name
    history = History(place)
    for day in range(24):
        seconds = (2.0 if day >= 18 else 1.0) + 0.01 * (7 * day % 5)
        history.kernel_runs.append(run_of(f"r{day}", day, [case(0, "slow", seconds=seconds), case(0, "same")]))
    for day in range(2):
        history.append(evaluation(f"e{day}", NAMES[:day], started=moment(day)))
    return place


@pytest.fixture
def nights(rocassay: Rocassay, made: Path) -> Rocassay:
    """Command lines beside a copy of it."""
    PLACE.parent.mkdir()
    shutil.copy(made, PLACE)
    return rocassay


def test_trends_show_a_line_the_last_value_and_the_step(nights: Rocassay):
    done = nights("history", "trend")
    (line,) = [line for line in done.out.splitlines() if "→" in line]
    words = " ".join(line.split())
    assert words.startswith("slow interpreter quick total seconds ▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁▁|██████ 2.01 s ")
    assert "1.02 s → 2.015 s since 2024-01-19 00:00 (c18), p = " in words
    assert "adder served, additions accuracy" in " ".join(done.out.split())
    assert "2 series that vary were tested for a step" in done.out
    assert "false alarms would be expected (0.001 each)" in done.out


def test_trends_for_programs(nights: Rocassay):
    rows = {row["name"]: row for row in nights("history", "trend", "--json").json}
    found = rows["slow interpreter quick: total seconds"]
    assert (found["step"]["index"], found["step"]["commit"], found["unit"]) == (18, "c18", "s")
    assert found["points"][0] == [moment(0), 1.0, "c0"]
    assert rows["same interpreter quick: total seconds"]["step"] is None
    assert {row["measure"] for row in nights("history", "trend", "--eval", "--json").json} == {"accuracy"}
    detailed = nights("history", "trend", "slow", "--json").json
    assert {row["subject"] for row in detailed} == {"slow gfx942 e4m3fn interpreter quick"}
    strict = nights("history", "trend", "--alpha", "1e-9", "--json").json
    assert [row for row in strict if row["step"]] == []


def test_a_report_is_handed_plain_rows(nights: Rocassay):
    rows = {row.name: row for row in trend_rows(str(PLACE))}
    _, points, step, unit = rows["slow interpreter quick: total seconds"]
    assert (step, unit, points[18]) == (18, "s", (moment(18), pytest.approx(2.01), "c18"))


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("nothing",), "has nothing of nothing; `rocassay history add` stores runs"),
        (("--alpha", "2"), "--alpha 2 is no probability"),
    ],
)
def test_a_trend_of_nothing_is_an_error(nights: Rocassay, words: tuple[str, ...], complaint: str):
    done = nights("history", "trend", *words)
    assert (done.code, done.out) == (2, "")
    assert complaint in done.err


def test_pruning_says_what_it_would_do_and_does_what_it_said(nights: Rocassay):
    History(PLACE).accept(["e0"], "good", "me")
    dry = nights("history", "prune", "--keep-runs", 1, "--dry-run")
    assert "would remove r0, 2024-01-01 00:00, rocassay interpreter quick cpu" in dry.out
    assert (
        "kept e0, 2024-01-01 00:00, adder served, additions: a baseline, or a run that stays, refers to it" in dry.out
    )
    assert f"would remove 23 runs and 0 evaluations from {PLACE}" in dry.out
    assert len(nights("history", "runs", "--json").json) == 24
    assert nights("history", "prune", "--keep-runs", 1).out == dry.out.replace("would remove", "removed")
    assert [run["run_id"] for run in nights("history", "runs", "--json").json] == ["r23"]
    days = nights("history", "prune", "--keep-days", 30, "--json").json
    assert [entry["run_id"] for entry in days["runs"]] == ["r23"]
    assert [entry["run_id"] for entry in days["evaluations"]] == ["e1"]


@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        ((), "nothing says what to keep; pass --keep-days N"),
        (("--keep-days", "-1"), "--keep-days -1 is no span of time"),
    ],
)
def test_pruning_needs_a_limit(nights: Rocassay, words: tuple[str, ...], complaint: str):
    done = nights("history", "prune", *words)
    assert (done.code, done.out) == (2, "")
    assert complaint in done.err
    assert len(nights("history", "runs", "--json").json) == 24
