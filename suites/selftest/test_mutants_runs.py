"""Runs over mutants: the command line, records, resuming, the ledger, the score."""

from __future__ import annotations

from pathlib import Path

import pytest

from rocassay.harness import faults, ops
from rocassay.harness.mutants import trial
from rocassay.harness.mutants.ledger import BadLedger, applied, parsed, shipped_ledger, stale
from rocassay.harness.mutants.mutant import mutants_of, sampled
from rocassay.harness.results.mutants import MutantRecord, read_mutants, scores
from rocassay.suites.selftest.children import Children
from rocassay.suites.selftest.commandline import Rocassay
from rocassay.suites.selftest.mutant_toys import CASES, FAULT, NAME, OP, mutant
from rocassay.suites.selftest.toysuite.names import MUTATED

DRILL = ("drill", "--mutants", "--op", NAME, "-n", 0, "--out", "out")
RECORDS = Path("out", "mutants.jsonl")


@pytest.fixture
def toy(registry: None, monkeypatch: pytest.MonkeyPatch) -> None:
    """The toy among the ops; hanging costs little."""
    monkeypatch.setattr(trial, "HANG_SECONDS", 0.2)
    faults.register(FAULT)
    ops.register(OP)


def keys(path: Path) -> list[str]:
    """Ids of the records, line by line."""
    return [MutantRecord.model_validate_json(line).id for line in path.read_text().splitlines()]


@pytest.mark.usefixtures("toy")
def test_every_mutant_is_judged_once_and_a_low_score_is_red(rocassay: Rocassay):
    done = rocassay(*DRILL, "--limit", 16, "--json")
    assert done.code == 1
    assert keys(RECORDS) == [one.id for one in sampled(mutants_of(OP, "interpreter"), 16)]
    (op,) = done.json["ops"]
    assert op["mutants"] == 16 == sum(op[fate] for fate in ("killed", "hung", "crashed", "survived"))
    assert op["score"] == (op["killed"] + op["hung"]) / (op["killed"] + op["hung"] + op["survived"])
    assert len(done.json["survivors"]) == op["survived"]
    assert any("0.98 is asked" in problem for problem in done.json["problems"])


@pytest.mark.usefixtures("toy")
def test_a_run_says_which_lines_survive_and_is_green_where_that_is_allowed(rocassay: Rocassay):
    survivor = mutant("other-changed", "tl.load")
    done = rocassay(*DRILL, "--mutant", survivor.id, "--least", 0)
    assert (done.code, keys(RECORDS)) == (0, [survivor.id])
    assert f"suites/selftest/mutant_kernels.py:{survivor.line} {survivor.old}  ->  {survivor.new}" in done.out
    assert f"{survivor.id}: green in {len(CASES)} cases" in done.out
    assert "GREEN" in done.out


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize("cut", ["between lines", "within a line"])
def test_a_resumed_run_loses_no_record_and_doubles_none(rocassay: Rocassay, cut: str):
    limited = (*DRILL, "--limit", 5)
    rocassay(*limited)
    lines = RECORDS.read_text().splitlines(keepends=True)
    RECORDS.write_text("".join(lines[:3]) + (lines[3][:50] if cut == "within a line" else ""))
    done = rocassay(*limited, "--resume")
    assert "were not judged" not in done.out
    assert keys(RECORDS) == [MutantRecord.model_validate_json(line).id for line in lines]


@pytest.mark.usefixtures("toy")
def test_a_record_of_other_sources_is_made_again(rocassay: Rocassay):
    one = (*DRILL, "--mutant", mutant("mask-dropped", "tl.store").id)
    rocassay(*one)
    (record,) = read_mutants(RECORDS)
    RECORDS.write_text(record.model_copy(update={"source": "other", "fate": "survived"}).model_dump_json() + "\n")
    assert rocassay(*one, "--resume").code == 0
    assert [found.fate for found in read_mutants(RECORDS)] == ["killed"]


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize(
    ("changed", "again"),
    [
        ({}, False),
        ({"suite": "other"}, False),
        ({"suite": "other", "case": "no such case"}, True),
        ({"suite": "other", "fate": "survived"}, True),
        ({"suite": "other", "fate": "crashed"}, False),
        ({"source": "other", "fate": "crashed"}, True),
        ({"fate": "survived"}, False),
    ],
    ids=str,
)
def test_other_cases_make_again_what_none_of_these_has_seen(rocassay: Rocassay, changed: dict[str, str], again: bool):
    one = (*DRILL, "--mutant", mutant("mask-dropped", "tl.store").id, "--least", 0)
    rocassay(*one)
    (record,) = read_mutants(RECORDS)
    RECORDS.write_text(record.model_copy(update=changed).model_dump_json() + "\n")
    assert rocassay(*one, "--resume").code == 0
    assert len(keys(RECORDS)) == 1 + again


@pytest.mark.usefixtures("toy")
def test_survivors_of_one_engine_are_made_again_where_another_is_to_judge_them(rocassay: Rocassay):
    survivor, seen = mutant("infinity-turned", "tl.where").id, mutant("mask-dropped", "tl.store").id
    both = (*DRILL, *(word for name in (survivor, seen) for word in ("--mutant", name)), "--least", 0)
    for words in ((), ("--resume", "--then", "isa"), ("--resume", "--then", "isa")):
        assert rocassay(*both, *words).code == 0
    assert keys(RECORDS) == [survivor, seen, survivor]
    fates = {found.id: (found.engine, found.fate) for found in read_mutants(RECORDS)}
    assert fates == {survivor: ("isa", "survived"), seen: ("interpreter", "killed")}


@pytest.mark.usefixtures("toy")
def test_without_resume_an_older_file_is_moved_aside(rocassay: Rocassay):
    one = (*DRILL, "--mutant", mutant("mask-dropped", "tl.store").id)
    rocassay(*one)
    rocassay(*one)
    assert len(list(RECORDS.parent.glob("mutants-*.jsonl"))) == 1
    assert len(keys(RECORDS)) == 1


@pytest.mark.usefixtures("toy")
@pytest.mark.parametrize(
    ("words", "complaint"),
    [
        (("--mutant", "kernels:none"), "no selected op has a mutant 'kernels:none'"),
        (("--engine", "device"), "mutants run on interpreter or isa, not on device"),
        (("-n", "some"), "'some' is no number of worker processes"),
        (("toy-off-by-one",), "--mutants takes no fault such as 'toy-off-by-one'"),
    ],
)
def test_what_cannot_be_run_is_said_in_one_sentence(rocassay: Rocassay, words: tuple[str, ...], complaint: str):
    assert complaint in rocassay(*DRILL, *words).complaint


def test_a_mutant_that_ends_its_process_costs_itself_only(children: Children, tmp_path: Path):
    fatal, harmless = mutant("choice-fixed", "tl.where", "False"), mutant("store-dropped", "tl.store")
    options = [word for one in (fatal, harmless) for word in ("--mutant", one.id)]
    done = children.rocassay("drill", "--op", MUTATED, "--out", tmp_path, "-n", 1, *options)
    assert done.code == 0, done
    died, killed = read_mutants(tmp_path / "mutants.jsonl")
    assert (died.id, died.fate, died.detail) == (fatal.id, "died", "the process ended with exit code -9")
    assert (killed.id, killed.fate) == (harmless.id, "killed")


def record(fate: str = "survived", name: str = "kernels:a", engine: str = "isa") -> MutantRecord:
    known = {"module": "m.kernels", "function": "f", "line": 1, "operator": "o", "old": "", "new": ""}
    return MutantRecord.model_validate(
        {"op": "toy", "id": name, "engine": engine, "tier": "quick", "source": "", "fate": fate, **known}
    )


LEDGER = parsed('[{"op": "toy", "mutants": ["kernels:a"], "reason": "masked lanes are not stored"}]')


def test_a_survivor_of_the_ledger_is_equivalent_for_the_reason_that_it_gives():
    (found,) = applied(LEDGER, [record()])
    assert (found.fate, found.detail) == ("equivalent", "masked lanes are not stored")
    assert [one.fate for one in applied(LEDGER, [record("killed"), record(name="kernels:b")])] == ["killed", "survived"]


def test_an_entry_whose_mutant_is_gone_or_seen_is_stale():
    known = {"toy": frozenset({"kernels:a"})}
    assert list(stale(LEDGER, known, [record()])) == []
    assert list(stale(LEDGER, known, [record("killed")])) == [
        "the ledger's kernels:a of toy is killed, not equivalent; remove it"
    ]
    gone = "the ledger's kernels:a of toy does not exist any more; remove it"
    assert list(stale(LEDGER, {"toy": frozenset()}, [])) == [gone]
    assert list(stale(LEDGER, {"other": frozenset()}, [])) == []


def test_an_entry_may_crash_a_compiler_but_not_the_interpreter():
    known = {"toy": frozenset({"kernels:a"})}
    assert list(stale(LEDGER, known, [record("crashed")])) == []
    (problem,) = stale(LEDGER, known, [record("crashed", engine="interpreter")])
    assert problem == "the ledger's kernels:a of toy is crashed, not equivalent; remove it"


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("[1]", "is no ledger"),
        ('[{"op": "toy", "mutants": ["a"], "reason": " "}]', "gives no reason for a of toy"),
        ('[{"op": "toy", "mutants": ["a", "a"], "reason": "r"}]', "names a of toy twice"),
    ],
)
def test_a_ledger_that_says_nothing_is_refused(text: str, complaint: str):
    with pytest.raises(BadLedger, match=complaint):
        parsed(text)


def test_every_entry_of_the_shipped_ledger_names_a_mutant_that_exists():
    ops.discover()
    ledger = shipped_ledger()
    known = {op: frozenset(one.id for one in mutants_of(ops.op_named(op), "isa")) for op, _ in ledger}
    assert list(stale(ledger, known, [])) == []


def test_what_crashes_dies_or_is_equivalent_does_not_count():
    fates = ["killed", "hung", "survived", "crashed", "died", "equivalent"]
    (score,) = scores(map(record, fates))
    assert (score.mutants, score.share) == (6, 2 / 3)
    (none,) = scores([record("crashed")])
    assert none.share == 1.0


def test_the_cases_of_a_shipped_op_see_a_store_that_is_missing_and_one_too_many(rocassay: Rocassay):
    """`indexer_weights` on one chip and flavour: the whole way, on a real kernel."""
    op = ops.op_named("indexer_weights")
    chosen = [one for one in mutants_of(op, "interpreter") if one.old.startswith("tl.store")]
    wanted = [one.id for one in chosen if one.operator in ("mask-dropped", "store-dropped")]
    assert len(wanted) == 2
    options = [word for name in wanted for word in ("--mutant", name)]
    part = ("--op", op.name, "--arch", "gfx950", "--fp8", "e4m3fn")
    done = rocassay("drill", *part, "-n", 0, "--out", "out", *options)
    assert done.code == 0, done
    assert [found.fate for found in read_mutants(RECORDS)] == ["killed", "killed"]
