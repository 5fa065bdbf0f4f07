"""Runs of kernel cases in a history: kept small, never doubled, lost or mixed with parts; old files are upgraded."""

from __future__ import annotations

import datetime as dt
import sqlite3
import subprocess
import sys
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
import sqlalchemy as sa
from sqlalchemy.dialects import postgresql
from sqlalchemy.schema import CreateTable

from rocassay.harness.accuracy.history import History, HistoryError, Limits, SetAside
from rocassay.harness.accuracy.history.asides import set_aside
from rocassay.harness.accuracy.history.tables import META
from rocassay.harness.results import Check, Shard, Status
from rocassay.suites.accuracy.additions import environment
from rocassay.suites.accuracy.stored import NAMES, evaluation
from rocassay.suites.history.recorded import case, failing, moment, run_of

OLD = Path(__file__).with_name("version1.sql")
"""What version 1 of the tables held: two good evaluations, one with a fault, a baseline."""


@pytest.fixture
def place(tmp_path: Path) -> Path:
    return tmp_path / "history.sqlite"


@pytest.fixture
def history(place: Path) -> History:
    return History(place)


def names(history: History) -> list[str]:
    return [run.run_id for run in history.kernel_runs.runs()]


def test_a_run_keeps_its_verdict_and_a_series_a_group(history: History):
    drill = case(0, fault="f", status=Status.FAILED, t=1e9, seconds=100.0)
    records = [case(0, t=2.0), failing(1), case(2, arch="gfx950", t=None, seconds=2.0), drill]
    history.kernel_runs.append(run_of("a", 3, records, tier="full", commit="abc+"))
    ((run, series, counts),) = [(s.run, s.series, s.counts) for s in history.kernel_runs.stored()]
    assert (run.run_id, run.tier, run.revision, run.started) == ("a", "full", "abc+", moment(3))
    assert (run.status, run.reasons) == ("red", ("1 of 3 cases are not green",))
    assert (run.cases, run.not_passed, run.drills, counts) == (3, 1, 1, ())
    assert [(s.arch, s.cases, s.not_passed, s.worst_t, s.seconds) for s in series] == [
        ("gfx942", 2, 1, 99.0, 1.0),
        ("gfx950", 1, 0, None, 2.0),
    ]


def test_the_digest_of_a_series_is_that_of_its_cases_and_of_nothing_else(history: History):
    for run, records in {
        "a": [case(0), case(1)],
        "b": [case(1, t=5.0, seconds=9.0), failing(0)],
        "c": [case(0)],
    }.items():
        history.kernel_runs.append(run_of(run, records=records))
    a, b, c = (stored.series[0].digest for stored in history.kernel_runs.stored())
    assert a == b != c


def test_a_limit_that_was_missed_without_a_number_is_infinite_and_stays_so(history: History):
    check = Check(name="max-z", kind="gate", passed=False)
    history.kernel_runs.append(run_of("a", records=[case(0, checks=(check,))]))
    assert history.kernel_runs.stored()[0].series[0].worst_z == float("inf")


def test_counts_of_machine_code_are_summed_by_the_kernels_that_a_case_launches(history: History):
    def counted(number: int, *kernels: str, **counts: int) -> Any:
        return case(number, launches=kernels, counts={"programs": 7, "wave_instructions": 10, **counts})

    records = [
        counted(0, "k1", "k2", "k1", barriers=3),
        counted(1, "k1", "k2", bytes_read=5),
        counted(2, "k3"),
        case(3, launches=("k3",), counts={"launches": 1, "programs": 9}),
    ]
    history.kernel_runs.append(run_of("a", records=records))
    found = {one.kernels: one.counts for one in history.kernel_runs.stored()[0].counts}
    assert found == {
        "k1 + k2": {"wave_instructions": 20, "barriers": 3, "bytes_read": 5},
        "k3": {"wave_instructions": 10},
    }


def test_a_run_that_is_added_again_replaces_itself(history: History, place: Path):
    history.kernel_runs.append(run_of("b", 1))
    for records in ([case(0), case(1)], [failing(0)]):
        history.kernel_runs.append(run_of("a", 2, records))
    assert names(history) == ["b", "a"]
    assert [(s.run.run_id, [one.cases for one in s.series]) for s in history.kernel_runs.stored()] == [
        ("b", [2]),
        ("a", [1]),
    ]
    with closing(sqlite3.connect(place)) as raw:
        assert raw.execute("select count(*) from series").fetchone() == (2,), "nothing of the first is left"


def test_a_duration_is_that_of_the_latest_run_in_whatever_order_files_are_added(history: History):
    key = str(case(0).case)
    append = history.kernel_runs.append
    append(run_of("new", 5, [case(0, seconds=2.5), case(0, fault="f", seconds=4.0, status=Status.FAILED)]))
    append(run_of("old", 1, [case(0, seconds=9.0), case(1, seconds=0.25)]))
    append(run_of("other", 9, [case(0, seconds=7.0, engine="device")], engine="device"))
    found = history.kernel_runs.durations("interpreter", "rocassay")
    assert found == {(key, ""): 2_500_000, (key, "f"): 4_000_000, (str(case(1).case), ""): 250_000}
    assert history.kernel_runs.durations("device", "rocassay") == {(key, ""): 7_000_000}


REFUSED: dict[str, tuple[Any, str]] = {
    "a shard": (
        run_of("a", shard=Shard(number=2, count=5, plan="p", selected=9)),
        r"holds shard 2 of 5 \(plan p\) only; join all with `rocassay report merge`",
    ),
    "no end": (run_of("a", started="2099-01-01T00:00:00+00:00"), "run a in .* did not come to its end"),
    "drills alone": (run_of("a", records=[case(0, fault="f")]), "holds no run of healthy cases"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_what_is_no_whole_run_is_refused(history: History, kind: str):
    assay, words = REFUSED[kind]
    with pytest.raises(HistoryError, match=words):
        history.kernel_runs.append(assay)
    assert names(history) == []


def test_a_run_costs_few_bytes_and_does_not_store_its_records(history: History, place: Path):
    ops = [case(number, f"op{op}", arch=arch) for op in range(35) for arch in ("gfx942", "gfx950") for number in (0, 1)]
    sizes: list[int] = []
    for number in range(21):
        history.kernel_runs.append(run_of(f"{number:012}", number, ops))
        sizes.append(place.stat().st_size)
    each = (sizes[-1] - sizes[0]) / 20
    assert each / 70 < 200, f"{each:.0f} bytes a run of 70 series"


def test_processes_that_add_at_once_lose_and_double_nothing(place: Path, tmp_path: Path):
    command = [sys.executable, "-m", "rocassay.suites.history.recorded", str(place)]
    children = [
        subprocess.Popen([*command, name, "6"], cwd=tmp_path, env=environment(), stderr=subprocess.PIPE, text=True)
        for name in ("a", "b")
    ]
    assert [(child.communicate()[1], child.returncode) for child in children] == [("", 0)] * 2
    history = History(place, make=False)
    assert sorted(names(history)) == sorted([*(f"{name}-{n}" for name in "ab" for n in range(6)), "same"])
    assert {len(stored.series) for stored in history.kernel_runs.stored() if stored.run.run_id != "same"} == {2}
    durations = history.kernel_runs.durations("interpreter", "rocassay")
    assert len(durations) == 2 * 6 + 1 + 2
    assert durations[str(case(0, "shared").case), ""] == 6_000_000, "the latest run's"


def old(place: Path, **edits: str) -> Path:
    with closing(sqlite3.connect(place)) as raw:
        raw.executescript(OLD.read_text())
        for statement in edits.values():
            raw.execute(statement)
        raw.commit()
    return place


def test_an_old_history_is_upgraded_in_place_without_loss(place: Path):
    history = History(old(place), make=False)
    assert [(e.header.run_id, e.verdict and e.verdict.correct) for e in history.summaries()] == [
        ("a", 3),
        ("x", 0),
        ("b", 2),
    ]
    assert history.evaluation("a").questions == evaluation("a", NAMES[:1], names=NAMES[:4]).questions
    (baseline,) = history.baselines()
    assert (baseline.runs, baseline.why, baseline.who) == (("a",), "the weights of May", "me")
    history.kernel_runs.append(run_of("k"))
    assert names(History(place, make=False)) == ["k"]
    with closing(sqlite3.connect(place)) as raw:
        assert raw.execute("select version from rocassay_history").fetchall() == [(2,)]


def test_an_upgrade_that_was_cut_short_is_finished(place: Path):
    old(place, half="create table runs (number integer primary key)", drop="drop table runs")
    with closing(sqlite3.connect(place)) as raw:
        raw.execute(str(CreateTable(META.tables["runs"]).compile(dialect=sa.create_engine("sqlite://").dialect)))
        raw.commit()
    history = History(place)
    history.kernel_runs.append(run_of("k"))
    assert len(history.summaries()) == 3


def test_a_newer_history_is_refused_and_not_touched(place: Path):
    old(place, newer="update rocassay_history set version = 7")
    before = place.read_bytes()
    with pytest.raises(HistoryError, match="has version 7, which a newer rocassay wrote; this one uses 2: update it"):
        History(place)
    assert place.read_bytes() == before


def test_of_two_processes_that_find_the_file_corrupt_the_second_does_not_move_the_new_one(place: Path):
    place.write_bytes(b"shopping list\n" * 100)
    place.with_name(place.name + "-journal").write_bytes(b"stale")
    with pytest.raises(SetAside, match=r"it was set aside as history\.sqlite\.corrupt, run again to start anew"):
        History(place)
    assert not place.with_name(place.name + "-journal").exists(), "it must not be played into the new one"
    History(place).kernel_runs.append(run_of("k"))
    assert set_aside(place) is None
    assert names(History(place, make=False)) == ["k"]


def test_every_table_can_be_made_in_postgresql():
    dialect = postgresql.dialect()
    for table in META.sorted_tables:
        text = str(CreateTable(table).compile(dialect=dialect))
        assert f"CREATE TABLE {table.name}" in text
        assert "ROWID" not in text


def at(day: int) -> dt.datetime:
    return dt.datetime.fromisoformat(moment(day))


def filled(history: History) -> History:
    """Ten nights of runs on two engines and of evaluations, of which the second is a baseline."""
    for day in range(10):
        history.kernel_runs.append(run_of(f"i{day}", day))
        history.append(evaluation(f"e{day}", NAMES[:1], started=moment(day)))
    history.kernel_runs.append(run_of("d0", 0, engine="device"))
    history.append(evaluation("f0", NAMES, started=moment(0), faults=("f",), status="red"))
    history.accept(["e1"], "good", "me")
    return history


def left(history: History) -> tuple[list[str], list[str]]:
    return sorted(names(history)), sorted(one.header.run_id for one in history.summaries())


def test_only_the_newest_of_each_kind_are_kept_and_never_less_than_the_baselines(history: History):
    pruned = filled(history).prune(Limits(newest=2))
    assert [entry.run_id for entry in pruned.runs] == [f"i{day}" for day in range(8)]
    assert [entry.run_id for entry in pruned.held] == ["e1"]
    assert left(history) == (["d0", "i8", "i9"], ["e1", "e8", "e9", "f0"])
    assert history.evaluation("e1").questions
    assert history.baselines()[0].runs == ("e1",)


def test_only_what_began_in_time_is_kept(history: History):
    filled(history).prune(Limits(since=at(7)))
    assert left(history) == (["i7", "i8", "i9"], ["e1", "e7", "e8", "e9"])


def test_with_two_limits_either_one_keeps(history: History):
    filled(history).prune(Limits(since=at(9), newest=3))
    assert left(history) == (["d0", "i7", "i8", "i9"], ["e1", "e7", "e8", "e9", "f0"])


def test_a_dry_run_says_the_same_and_removes_nothing(history: History):
    before = left(filled(history))
    said = history.prune(Limits(newest=1), dry=True)
    assert left(history) == before
    assert history.prune(Limits(newest=1)) == said


def test_a_run_that_a_kept_one_repeats_is_kept(history: History):
    for day, facts in enumerate([{}, {"repeats": "e0"}, {"repeats": "e1"}]):
        history.append(evaluation(f"e{day}", started=moment(day), **facts))
    pruned = history.prune(Limits(newest=1))
    assert [entry.run_id for entry in pruned.held] == ["e0", "e1"]
    assert left(history)[1] == ["e0", "e1", "e2"]


def test_nothing_of_a_removed_run_is_left_but_the_durations(history: History, place: Path):
    filled(history).prune(Limits(newest=1))
    with closing(sqlite3.connect(place)) as raw:
        for table, key in {"series": "number", "kernels": "number"}.items():
            query = f"select count(*) from {table} where {key} not in (select number from runs)"  # noqa: S608
            assert raw.execute(query).fetchone() == (0,)
        assert raw.execute("select distinct run_id from answers order by 1").fetchall() == [("e1",), ("e9",), ("f0",)]
    assert len(history.kernel_runs.durations("interpreter", "rocassay")) == 2


@pytest.mark.parametrize(("limits", "words"), [({}, "nothing says what to keep"), ({"newest": 0}, "keep at least 1")])
def test_a_prune_without_a_sane_limit_is_refused(limits: dict[str, Any], words: str):
    with pytest.raises(HistoryError, match=words):
        Limits(**limits)


def test_what_was_pruned_meanwhile_is_not_accepted(history: History, monkeypatch: pytest.MonkeyPatch):
    filled(history)
    evidence = History._evidence

    def slow(self: History, *rest: Any) -> Any:
        found = evidence(self, *rest)
        History(self.place).prune(Limits(newest=1))
        return found

    monkeypatch.setattr(History, "_evidence", slow)
    with pytest.raises(HistoryError, match="of runs e5 some were removed just now; nothing was accepted"):
        history.accept(["e5"], "good", "me")
    assert len(history.baselines()) == 1
