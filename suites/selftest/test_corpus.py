"""The corpus of past failures: every line names a case, every tier has each of them once, findings are kept once."""

from __future__ import annotations

import sys
from pathlib import Path

import pytest

from rocassay.harness.cases import Case, Selection
from rocassay.harness.corpus import BadCorpus, keep, past_failures
from rocassay.harness.drills import select_drills
from rocassay.harness.ops import discover, op_named, select_cases, suite_packages
from rocassay.harness.options import Options
from rocassay.suites.selftest.toys import toy_case

TOY = str(toy_case())
PACKAGE = "corpus_of_another"


def shipped() -> list[Case]:
    return past_failures(suite_packages(), frozenset(op.name for op in discover()))


@pytest.fixture
def package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest) -> str:
    """A package of another distribution whose corpus the test has given as its parameter."""
    folder = tmp_path / PACKAGE
    folder.mkdir()
    (folder / "__init__.py").touch()
    (folder / "corpus.txt").write_text(request.param)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, PACKAGE, raising=False)
    return PACKAGE


def test_every_line_names_a_case_that_its_op_accepts():
    cases = shipped()
    assert cases
    for case in cases:
        op = op_named(case.op)
        assert op.accepts(case), case
        assert {name for name, _ in case.params} in [{name for name, _ in own.params} for own in op.cases("full")], case


@pytest.mark.parametrize("tier", ["quick", "full"])
def test_every_tier_has_each_of_them_once(tier: str):
    cases = select_cases(Options(tier=tier).tier_name, Selection())
    assert len(set(cases)) == len(cases)
    assert set(shipped()) <= set(cases)
    declared = select_cases("quick", Selection(), corpus=False)
    assert any(case not in declared for case in shipped()), "nothing is kept but what a tier has anyway"


def test_filters_and_seeds_hold_for_them():
    kept = next(case for case in shipped() if case not in select_cases("full", Selection(), corpus=False))
    other = next(op.name for op in discover() if op.name != kept.op)
    assert kept not in select_cases("quick", Selection(ops=frozenset({other})))
    seeded = select_cases("quick", Selection(ops=frozenset({kept.op})), range(3, 5))
    assert kept not in seeded
    assert {kept.with_seed(3), kept.with_seed(4)} <= set(seeded)


def test_drills_leave_them_out():
    extra = set(shipped()) - set(select_cases("quick", Selection(), corpus=False))
    assert extra.isdisjoint(case for _, case in select_drills(Options(engine="interpreter").checked()))


@pytest.mark.parametrize("package", [f"# once\n\n{TOY}  # and why\n{TOY}\n"], indirect=True)
def test_comments_and_doublings_are_no_cases(package: str):
    assert past_failures([package], frozenset({"toy"})) == [toy_case()]


@pytest.mark.parametrize(
    ("package", "op", "why"),
    [
        (f"{TOY}\ntoy:gfx942\n", "toy", r"line 2: case id 'toy:gfx942' has 2 parts"),
        (f"# gone\n{TOY}\n", "other", "line 2 is a case of toy, which no package declares"),
    ],
    indirect=["package"],
    ids=["malformed", "of no op"],
)
def test_a_line_that_names_nothing_is_refused(package: str, op: str, why: str):
    with pytest.raises(BadCorpus, match=rf"{PACKAGE}/corpus\.txt: {why}"):
        past_failures([package], frozenset({op}))


@pytest.mark.parametrize("before", ["", "# once\nx:gfx942:e4m3fn:bs1::tagged:s0\n", "# no newline at its end"])
def test_a_finding_is_kept_once(tmp_path: Path, before: str):
    corpus = tmp_path / "corpus.txt"
    corpus.write_text(before)
    assert keep(corpus, TOY, "failed: bytes\n  of two lines")
    assert not keep(corpus, TOY, "failed: something else")
    text = corpus.read_text()
    assert text.startswith(before)
    assert text.splitlines()[-2:] == ["# failed: bytes of two lines", TOY]
    assert text.count(TOY) == 1
