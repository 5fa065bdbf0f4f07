"""`rocassay gsm8k`, `history` and `baseline` from their command lines: exit codes, words, JSON, and one clear error."""

from __future__ import annotations

import datetime as dt
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest

from rocassay.harness.accuracy.history import History
from rocassay.harness.cli import evaluating
from rocassay.harness.results import CaseRecord, Evaluation, ResultsWriter, RunEnd, RunHeader, Status, read
from rocassay.suites.accuracy import toybuild
from rocassay.suites.accuracy.additions import Served
from rocassay.suites.accuracy.nightly import BAD, BAD_AGAIN, GOOD, NAMES, RATES, UNLUCKY, Build, wrong
from rocassay.suites.accuracy.stored import NAMES as FORTY
from rocassay.suites.accuracy.stored import TASK, accuracy_check, evaluation
from rocassay.suites.selftest.commandline import Rocassay


@pytest.fixture
def builds(monkeypatch: pytest.MonkeyPatch) -> list[Build]:
    """What the embedded model of `rocassay gsm8k` answers, one build an evaluation."""
    monkeypatch.setattr(evaluating, "EMBEDDED", toybuild.__name__)
    monkeypatch.setattr(toybuild, "BUILDS", found := [])
    return found


def stored(place: Path, *evaluations: Evaluation) -> Path:
    history = History(place)
    for one in evaluations:
        history.append(one)
    return place


HOUR_AGO = (dt.datetime.now(dt.timezone.utc) - dt.timedelta(hours=1)).isoformat()
LONG_AGO = "2025-01-01T00:00:00+00:00"


def test_a_run_of_a_real_model_is_green_stored_listed_accepted_and_then_compared_with(rocassay: Rocassay):
    first = rocassay("gsm8k", "--provider", "torch", "--limit", 32, "--json")
    assert (first.code, [(row["status"], row["asked"]) for row in first.json]) == (0, [("green", 32)])
    (listed,) = rocassay("history", "list", "--json").json
    assert (listed["run"], listed["correct"], listed["faults"]) == (first.json[0]["run_id"], 32, [])
    assert rocassay("baseline", "accept", listed["run"], "--why", "a good model").code == 0
    again = rocassay("gsm8k", "--provider", "torch", "--limit", 4)
    assert (again.code, "BLIND" in again.out) == (1, True), "four questions would not show a loss"
    assert "100.00 % in 1 baseline runs" in again.out, "the accepted run stands before the shipped ones"


def test_the_exit_code_is_that_of_the_repetition(rocassay: Rocassay, builds: list[Build]):
    builds += [Build([wrong(RATES, seed)]) for seed in range(100, 108)]
    for _ in range(8):
        assert rocassay("gsm8k", "--limit", 0).code == 1, "without a baseline it is blind"
    rows = rocassay("history", "list", "--json").json
    assert {row["status"] for row in rows} == {"blind"}
    assert rocassay("baseline", "accept", *(row["run"] for row in rows), "--why", "eight").code == 0
    builds += [Build([GOOD]), Build([BAD, BAD_AGAIN])]
    assert rocassay("gsm8k", "--limit", 0).code == 0
    lost = rocassay("gsm8k", "--limit", 0, "--json")
    assert (lost.code, [row["status"] for row in lost.json]) == (1, ["needs-confirmation", "red"])
    assert lost.json[1]["repeats"] == lost.json[0]["run_id"]
    builds += [Build([UNLUCKY, GOOD])]
    cleared = rocassay("gsm8k", "--limit", 5000, "--json")
    assert (cleared.code, [row["status"] for row in cleared.json]) == (0, ["needs-confirmation", "green"])
    night = rocassay("history", "night", "--json")
    (line,) = night.json["configurations"]
    assert (night.code, line["run"], line["evaluations"]) == (0, cleared.json[1]["run_id"], 11)
    assert read(Path("rocassay-out/results.jsonl")).problems == []


def test_drills_that_were_interrupted_are_resumed_where_they_stopped(
    rocassay: Rocassay, builds: list[Build], tmp_path: Path
):
    _write_kernel_drills(tmp_path / "rocassay-out")
    dead = frozenset(NAMES)
    builds += [Build(), Build([dead]), Build([dead], lost_after=300)]
    assert rocassay("gsm8k", "--drills", "--resume", "--limit", 400).code == 2
    rest = [Build(), Build([dead]), Build([dead])]
    builds += rest
    done = rocassay("gsm8k", "--drills", "--resume", "--limit", 400, "--json")
    assert [sum(map(len, build.asked)) for build in rest] == [0, 0, 100]
    assert [(row["faults"], row["status"]) for row in done.json] == [
        ([], "blind"), (["idx-shuffle-at-bs1"], "red"), (["rope-not-inplace-fast-path"], "red")
    ]  # fmt: skip
    found = read(tmp_path / "rocassay-out" / "results.jsonl")
    assert ([len(e.questions) for e in found.evaluations.values()], found.problems) == ([400] * 3, [])
    assert (len(found.headers), len(found.drills), len(found.ends)) == (1, 2, 1), "the kernels' drills stand there once"
    assert [row["asked"] for row in rocassay("history", "list", "--json").json] == [400, 400, 400]


def _write_kernel_drills(out: Path) -> None:
    """What the kernels' own drills leave when they are finished."""
    who: dict[str, Any] = {"run_id": "k", "provider": "rocassay", "engine": "interpreter"}
    chip: dict[str, Any] = {"arch": "gfx942", "fp8": "e4m3fn", "block_size": 1, "tier": "quick"}
    writer = ResultsWriter(out / "kernel-drills" / "results.jsonl")
    faults = [drill.faults[0] for drill in toybuild.DRILLS]
    writer.append(
        RunHeader(**who, tier="quick", started="2025-01-01T00:00:00+00:00", command="c", drills=tuple(faults))
    )
    for fault in faults:
        case: dict[str, Any] = {"case": f"toy:{fault}", "op": "toy", "params": {}, "recipe": "none", "seed": 0}
        writer.append(CaseRecord(**who, **chip, **case, fault=fault, status=Status.FAILED))
    writer.append(RunEnd(run_id="k", finished="2025-01-01T00:01:00+00:00", seconds=60))
    writer.close()


def test_of_several_evaluations_each_healthy_one_counts():
    other = TASK.fingerprint("test-1").model_copy(update={"task": "retrieval-4096"})
    bad = evaluation("a", status="red", fingerprint=other)
    assert evaluating.exit_code([bad, evaluation("b")]) == 1, "one length of a sweep is not hidden by the next"
    assert evaluating.exit_code([evaluation("b"), evaluation("c", status="red", faults=("f",))]) == 0
    waits = evaluation("d", status="needs-confirmation")
    assert evaluating.exit_code([waits, evaluation("e", repeats="d")]) == 0
    assert evaluating.exit_code([waits]) == 1


BAD_INPUT = {
    "negative limit": ("--limit -1", "a limit of -1 questions asks nothing"),
    "unknown task": ("--task nope", "there is no task 'nope'; choose problems, gsm8k or retrieval"),
    "drills of a server": ("--drills --url http://127.0.0.1:1", "--drills injects defects into the embedded model"),
    "faults of a server": ("--fault f --url http://127.0.0.1:1", "--fault injects defects into the embedded model"),
    "faults without kernels": ("--fault idx-shuffle-at-bs1", "torch has no kernels, so no defect would be injected"),
    "missing data": ("--task gsm8k --data nowhere", "cannot read nowhere: No such file or directory; --data names"),
    "data of another task": ("--data nowhere", "--data names the questions of GSM8K, not of problems"),
    "two models": ("--url http://127.0.0.1:1 --in-process m", "--url and --in-process name two models"),
    "retrieval without a server": ("--task retrieval", "too long for the embedded model; name a served one by --url"),
    "floor": ("--floor 95", "a floor of 95.0 is no share of right answers"),
    "drop": ("--drop 2", "policy drop = 2.0 is no probability or share"),
    "architecture": ("--arch gfx1", "architecture 'gfx1' is unknown"),
    "flavour": ("--fp8 e3m4", "FP8 format 'e3m4' is unknown"),
    "block size": ("--block-size -3", "block size -3 is not a positive number of tokens"),
    "processes": ("-n -1", "-1 processes cannot work"),
    "no server": ("--url http://127.0.0.1:1", "http://127.0.0.1:1/v1/models does not answer"),
    "unknown database": ("--history foo://me:geheim@host/db", "cannot open the history at foo://me:***@host/db"),
}


@pytest.mark.parametrize("kind", BAD_INPUT)
def test_bad_input_is_one_sentence_and_leaves_no_record(rocassay: Rocassay, tmp_path: Path, kind: str):
    words, complaint = BAD_INPUT[kind]
    done = rocassay("gsm8k", "--provider", "torch", *words.split())
    assert complaint in done.complaint
    assert "geheim" not in done.complaint
    assert not list(tmp_path.rglob("results.jsonl"))


def test_a_served_model_without_a_declared_floor_is_not_stopped_early(rocassay: Rocassay, tmp_path: Path):
    for name in ("train", "test"):
        lines = [{"question": f"What is {n} plus 7?", "answer": f"#### {n + 7}"} for n in range(60)]
        (tmp_path / f"{name}.jsonl").write_text("\n".join(map(json.dumps, lines)))
    plan = {str(n): ["empty", "forever"] for n in range(0, 60, 2)}
    with Served(tmp_path, behaviours=plan) as served:
        command = ("gsm8k", "--url", served.url, "--data", tmp_path, "--shots", 0, "--json")
        whole, dead = rocassay(*command).json, rocassay(*command, "--floor", 0.9, "--out", "other")
    assert [(row["asked"], row["correct"], row["status"]) for row in whole] == [(60, 30, "blind")]
    assert (dead.code, dead.json[0]["status"], dead.json[0]["decided_by"]) == (1, "red", ["sequential"])


def night(place: Path, *evaluations: Evaluation, quiet: int = 4) -> Path:
    others = [judged(f"quiet{number}", 0.5) for number in range(quiet)]
    return stored(place, *evaluations, *others)


def judged(name: str, p: float, started: str = HOUR_AGO, **facts: Any) -> Evaluation:
    status = "red" if p < 0.001 else "green"
    decided = ("accuracy",) if status == "red" else ()
    checks = (accuracy_check(p, passed=status == "green"),)
    facts = {"run": name, "model": name, "status": status, "decided_by": decided, **facts}
    return evaluation(checks=checks, started=started, **facts)


@pytest.mark.parametrize(("quiet", "code"), [(4, 1), (19, 0)])
def test_the_night_is_red_iff_something_is_red_after_holm(rocassay: Rocassay, tmp_path: Path, quiet: int, code: int):
    place = night(tmp_path / "h.sqlite", judged("m", 0.0006), judged("old", 1e-9, LONG_AGO), quiet=quiet)
    done = rocassay("history", "night", "--history", place)
    assert done.code == code
    line = next(line for line in done.out.splitlines() if line.strip().startswith("m served"))
    assert line.split()[:7] == ["m", "served", "additions", "m", "1", "0.0006", f"{0.0006 * (quiet + 1):.2g}"]
    assert line.strip().endswith("red" if code else "red alone, not in this night")
    assert "old served" not in done.out
    assert f"false alarms expected of {quiet + 1} compared configurations, all good, at most: " in done.out
    assert f"{0.001 * (quiet + 1):.3g} a night and {0.365 * (quiet + 1):.3g} a year" in done.out
    data = rocassay("history", "night", "--history", place, "--json")
    assert (data.code, data.json["red"], len(data.json["configurations"])) == (code, bool(code), quiet + 1)
    assert data.json["expected_false_alarms"]["year"]["alone"] == pytest.approx(0.365 * (quiet + 1))


def test_since_and_alpha_say_what_the_night_is(rocassay: Rocassay, tmp_path: Path):
    place = night(tmp_path / "h.sqlite", judged("m", 0.0006), judged("old", 1e-9, LONG_AGO))
    assert rocassay("history", "night", "--history", place, "--alpha", 0.002).code == 0
    assert rocassay("history", "night", "--history", place, "--alpha", 0.002, "--since", LONG_AGO).code == 1
    silent = rocassay("history", "night", "--history", place, "--since", "5m").complaint
    assert "has no healthy evaluation begun since" in silent
    assert "'soon' is no time" in rocassay("history", "night", "--history", place, "--since", "soon").complaint
    assert "alpha = 2.0 is no" in rocassay("history", "night", "--history", place, "--alpha", 2).complaint


def test_the_list_has_a_line_an_evaluation_oldest_first(rocassay: Rocassay, tmp_path: Path):
    first = evaluation("aa", FORTY[:3], started=LONG_AGO, faults=("f", "g"), status="red")
    place = stored(tmp_path / "h.sqlite", evaluation("bb", model="other", started=HOUR_AGO), first)
    text = rocassay("history", "list", "--history", place)
    lines = [line.split() for line in text.out.splitlines() if line.strip()][2:]
    assert lines == [
        ["aa", "2025-01-01", "00:00", "adder", "served", "additions", "f", "+", "g", "37", "of", "40", "red"],
        ["bb", *HOUR_AGO[:16].split("T"), "other", "served", "additions", "none", "40", "of", "40", "green"],
    ]
    rows = rocassay("history", "list", "--history", place, "--json", "--configuration", "adder served").json
    assert [(row["run"], row["correct"], row["asked"], row["faults"]) for row in rows] == [("aa", 37, 40, ["f", "g"])]
    empty = rocassay("history", "list", "--history", place, "--configuration", "none")
    assert (empty.code, empty.out) == (0, "no evaluations of none\n")


def test_show_names_what_was_not_solved(rocassay: Rocassay, tmp_path: Path):
    place = stored(tmp_path / "h.sqlite", evaluation("aa", FORTY[:2], errors=FORTY[5:6], repeats="zz"))
    shown = rocassay("history", "show", "aa", "--history", place).out
    for words in ("37 of 40 right", "repeats zz", "add-1: 0, right is 8", "add-5: no answer: "):
        assert words in shown
    data = rocassay("history", "show", "aa", "--history", place, "--json").json
    assert (data["header"]["run_id"], data["verdict"]["correct"], len(data["answers"])) == ("aa", 37, 40)
    assert "has no run bb; `rocassay history list`" in rocassay("history", "show", "bb", "--history", place).complaint


def write(folder: Path, *evaluations: Evaluation) -> Path:
    writer = ResultsWriter(folder / "results.jsonl")
    for one in evaluations:
        for line in (one.header, *one.in_order, *([one.verdict] if one.verdict else [])):
            writer.append(line)
    writer.close()
    return folder


def test_add_stores_what_is_finished_and_says_what_is_not(rocassay: Rocassay, tmp_path: Path):
    unfinished = evaluation("cc")
    unfinished.verdict = None
    folder = write(tmp_path / "out", evaluation("aa"), evaluation("bb", FORTY[:2]), unfinished)
    for _ in range(2):
        done = rocassay("history", "add", folder, "--history", "h.sqlite")
        assert done.code == 0
        assert "added bb: adder served, additions, green" in done.out
        assert "left out cc: it has no verdict yet" in done.out
    data = rocassay("history", "add", folder / "results.jsonl", "--history", "h.sqlite", "--json").json
    assert data == {"run": None, "added": ["aa", "bb"], "unfinished": ["cc"], "problems": []}
    assert [row["run"] for row in rocassay("history", "list", "--history", "h.sqlite", "--json").json] == ["aa", "bb"]


def test_add_refuses_a_file_without_a_finished_evaluation(rocassay: Rocassay, tmp_path: Path):
    unfinished = evaluation("cc")
    unfinished.verdict = None
    folder = write(tmp_path / "out", unfinished)
    assert "holds only 1 unfinished evaluations" in rocassay("history", "add", folder).complaint
    assert "cannot read missing.jsonl" in rocassay("history", "add", "missing.jsonl").complaint
    assert not Path("rocassay-out").exists()


def test_a_baseline_is_accepted_listed_and_shown_with_who_why_and_p(rocassay: Rocassay, tmp_path: Path):
    place = stored(tmp_path / "h.sqlite", *(evaluation(name, FORTY[:n]) for n, name in enumerate("abcd", start=1)))
    where = ("--history", place)
    first = rocassay("baseline", "accept", "a", "b", "--why", "[both] good", "--who", "ann", *where)
    assert (first.code, "there was no baseline before" in first.out) == (0, True)
    second = rocassay("baseline", "accept", "c", "d", "--why", "slower", "--who", "bob", *where, "--json").json
    assert (second["number"], second["in_force"], second["evidence"]["previous"]) == (2, True, 1)
    assert set(second["evidence"]["p_worse"]) == {"c", "d"}
    rows = rocassay("baseline", "list", *where, "--json").json
    assert [(row["number"], row["in_force"], row["who"], row["runs"]) for row in rows] == [
        (1, False, "ann", ["a", "b"]), (2, True, "bob", ["c", "d"])
    ]  # fmt: skip
    listed = rocassay("baseline", "list", *where).out
    assert "[both] good" in listed, "brackets are words, no markup"
    shown = rocassay("baseline", "show", *where).out
    assert "baseline 2 of adder served, additions: in force" in shown
    assert f"p = {second['evidence']['p_worse']['d']:.2g} of being worse than baseline 1" in shown
    assert "all together against baseline 1: -5.00 points" in shown
    assert "no longer in force" in rocassay("baseline", "show", 1, *where).out
    assert [row["number"] for row in rocassay("baseline", "show", *where, "--json").json] == [2]
    assert "there is no baseline 7" in rocassay("baseline", "show", 7, *where).complaint


REFUSED: dict[str, tuple[Sequence[object], str]] = {
    "faulted": (("a", "faulted", "--why", "x"), "run faulted has injected faults (f)"),
    "unfinished": (("part", "--why", "x"), "run part asked 30 of 40 questions"),
    "unlike": (("a", "other", "--why", "x"), "runs a and other are unlike"),
    "unknown": (("a", "zz", "--why", "x"), "has no run zz"),
    "no reason": (("a", "--why", ""), "a baseline needs a reason"),
}


@pytest.mark.parametrize("kind", REFUSED)
def test_accept_refuses(rocassay: Rocassay, tmp_path: Path, kind: str):
    words, complaint = REFUSED[kind]
    part = evaluation("part", names=FORTY[:30], planned=40)
    place = stored(
        tmp_path / "h.sqlite", evaluation("a"), evaluation("faulted", faults=("f",)), part,
        evaluation("other", model="other"),
    )  # fmt: skip
    assert complaint in rocassay("baseline", "accept", *words, "--history", place).complaint
    assert rocassay("baseline", "list", "--history", place, "--json").json == []


VERBS = (
    "history list", "history show a", "history night", "baseline list", "baseline show", "baseline accept a --why x",
)  # fmt: skip


@pytest.mark.parametrize("verb", VERBS)
def test_no_verb_that_reads_makes_a_history_or_shows_a_password(rocassay: Rocassay, tmp_path: Path, verb: str):
    missing = rocassay(*verb.split(), "--history", "typo.sqlite").complaint
    assert "there is no history at typo.sqlite; name one by --history" in missing
    assert list(tmp_path.iterdir()) == []
    closed = rocassay(*verb.split(), "--history", "foo://me:geheim@host/db").complaint
    assert "foo://me:***@host/db" in closed
    assert "geheim" not in closed


def test_help_says_what_there_is_and_its_defaults(rocassay: Rocassay, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setenv("COLUMNS", "200")
    for words in (["history"], ["baseline"], ["history", "night"], ["baseline", "accept"]):
        done = rocassay(*words, "--help")
        assert done.code == 0
    text = rocassay("history", "night", "--help").out
    assert "exit code 1 iff one is red after that" in text
    assert "[default: the policy's 0.01]" in text, "a default in brackets is no markup"


def test_a_server_that_is_lost_is_one_sentence_and_resuming_finishes_the_run(rocassay: Rocassay, builds: list[Build]):
    builds += [Build(lost_after=100), rest := Build()]
    assert rocassay("gsm8k", "--limit", 300, "--floor", 0.5).code == 2
    assert rocassay("gsm8k", "--limit", 300, "--floor", 0.5, "--resume", "--json").json[0]["asked"] == 300
    assert sum(map(len, rest.asked)) == 200


def test_the_command_on_record_asks_the_same_again(rocassay: Rocassay, builds: list[Build]):
    builds += [Build(), Build()]
    command = ("gsm8k", "--limit", 30, "--order-seed", 3, "--block-size", 64, "--arch", "gfx942", "--json")
    (first,) = rocassay(*command).json
    (again,) = rocassay(*first["repro"].split()[1:], "--json").json
    shown = [rocassay("history", "show", row["run_id"], "--json").json for row in (first, again)]
    assert "--shots" not in first["repro"]
    assert [answer["id"] for answer in shown[0]["answers"]] == [answer["id"] for answer in shown[1]["answers"]]
    assert (first["configuration"], first["asked"]) == (again["configuration"], again["asked"])
