"""Mutants judged: each gets the fate that reasoning gives it, and leaves the kernels as they were."""

from __future__ import annotations

import functools
from collections.abc import Iterator
from dataclasses import replace

import pytest

from rocassay.harness import ops
from rocassay.harness.cases import Case
from rocassay.harness.engines.base import engine
from rocassay.harness.judge import Judge
from rocassay.harness.mutants import trial
from rocassay.harness.mutants.injection import StaleSource, injected
from rocassay.harness.mutants.machinecode import MachineCode
from rocassay.harness.mutants.reach import reach_of
from rocassay.harness.mutants.trial import BaselineRed, Trial, spread
from rocassay.harness.providers import provider
from rocassay.harness.results.mutants import MutantRecord
from rocassay.suites.selftest.mutant_kernels import _double_kernel
from rocassay.suites.selftest.mutant_toys import CASES, LAUNCHER, NAME, OP, ZEROS, mutant


def judge(name: str = "interpreter") -> Judge:
    return Judge(provider("rocassay"), engine(name), "quick", "", thorough=False)


@pytest.fixture(scope="module")
def toy() -> Iterator[Trial]:
    """The toy on trial; hanging costs little."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(trial, "HANG_SECONDS", 0.2)
        patch.setitem(ops._REGISTRY, NAME, OP)
        yield Trial(OP, CASES, judge(), source="digest")


@pytest.mark.parametrize(
    ("operator", "old", "new", "fate", "check"),
    [
        ("mask-dropped", "tl.store", "", "killed", "bytes"),
        ("mask-dropped", "tl.load", "", "killed", "bounds"),
        ("addend-dropped", "value + value", "", "killed", "bytes"),
        ("other-changed", "tl.load", "", "survived", ""),
        ("infinity-turned", "tl.where", "", "survived", ""),
        ("addend-dropped", "step += 1", "", "hung", ""),
        ("addend-dropped", "tl.load(x +", "tl.load((row", "crashed", ""),
        ("factor-dropped", "value * 3.0", "", "survived", ""),
    ],
)
def test_a_mutant_gets_the_fate_that_reasoning_gives_it(
    toy: Trial, operator: str, old: str, new: str, fate: str, check: str
):
    record = toy(mutant(operator, old, new))
    assert (record.fate, record.check) == (fate, check), record
    assert (record.source, record.op, record.engine) == ("digest", NAME, "interpreter")
    assert not toy.spoiled


def test_a_survivor_that_compiles_to_the_same_code_is_equivalent_where_that_is_asked():
    other = Trial(OP, CASES[:1], judge(), source="digest", codegen=True)
    fates = [other(mutant(*words)).fate for words in (("other-changed", "tl.load"), ("infinity-turned", "tl.where"))]
    assert fates == ["equivalent", "survived"]


def test_a_red_case_ends_the_trial_and_a_survivor_has_passed_all(toy: Trial):
    assert toy(mutant("mask-dropped", "tl.store")).cases == 1
    assert toy(mutant("other-changed", "tl.load")).cases == len(CASES)


def test_a_judge_that_is_not_thorough_spares_a_red_case_its_probes(toy: Trial):
    with injected(mutant("store-dropped", "tl.store"), reach_of(LAUNCHER).functions):
        hasty, thorough = judge()(CASES[0]), replace(judge(), thorough=True)(CASES[0])
    assert {check.name for check in hasty.checks} == {"bytes"}
    assert {check.name for check in thorough.checks} > {"bytes", "bounds", "canary"}


def test_a_line_that_no_case_executes_is_told_without_a_run(toy: Trial):
    record = toy(mutant("factor-dropped", "value * 3.0"))
    assert (record.reached, record.cases, record.detail) == (0, 0, "no case executes the line")


@pytest.fixture(scope="module")
def both(toy: Trial) -> Trial:
    """The toy on trial on the interpreter, and what survives there on the machine-code engine."""
    other = functools.partial(Trial, OP, CASES[:1], judge("isa"), source="digest")
    return Trial(OP, CASES[:1], judge(), source="digest", then=other)


def test_a_line_that_no_case_executes_is_judged_on_the_other_engine(both: Trial):
    elsewhere = both(mutant("factor-dropped", "value * 3.0"))
    assert (elsewhere.engine, elsewhere.fate, elsewhere.cases, elsewhere.reached) == ("isa", "equivalent", 0, None)


def test_what_one_engine_has_killed_is_not_judged_on_the_other(both: Trial):
    record = both(mutant("mask-dropped", "tl.store"))
    assert (record.engine, record.fate) == ("interpreter", "killed")


def test_what_survives_on_both_engines_has_the_record_of_the_second(both: Trial):
    record = both(mutant("infinity-turned", "tl.where"))
    assert (record.engine, record.fate, record.cases) == ("isa", "survived", 1)


def test_what_survives_on_one_engine_may_be_killed_on_the_other(toy: Trial):
    other = functools.partial(Trial, OP, CASES[:1], judge("isa"), source="digest")
    record = Trial(OP, (ZEROS,), judge(), source="digest", then=other)(mutant("addend-dropped", "value + value"))
    assert (record.engine, record.fate, record.check) == ("isa", "killed", "bytes")


def test_what_the_ledger_settles_is_not_judged_on_the_other_engine(toy: Trial):
    survivor = mutant("other-changed", "tl.load")

    def never() -> Trial:
        raise AssertionError("the other engine was begun")

    settled = Trial(OP, CASES[:1], judge(), source="digest", then=never, settled=frozenset({survivor.id}))
    assert (settled(survivor).engine, settled(survivor).fate) == ("interpreter", "survived")


def test_what_raises_on_some_cases_and_not_on_others_is_killed(toy: Trial):
    known = mutant("mask-dropped", "tl.store")
    record = toy(replace(known, source=known.function.source.replace("BLOCK > 1", "BLOCK == 128")))
    assert (record.fate, record.check) == ("killed", "exception")
    assert "more than one column" in record.detail


def test_a_mutant_that_raises_everywhere_is_not_run_everywhere(toy: Trial, monkeypatch: pytest.MonkeyPatch):
    raising = mutant("addend-dropped", "tl.load(x +", "tl.load((row")
    assert toy(raising).cases == min(len(CASES), trial.CRASHES)
    monkeypatch.setattr(trial, "CRASHES", 2)
    assert (toy(raising).cases, toy(mutant("other-changed", "tl.load")).cases) == (2, len(CASES))


def test_the_kernel_is_as_it_was_after_every_mutant(toy: Trial):
    before = _double_kernel.src
    record: MutantRecord = toy(mutant("mask-dropped", "tl.store"))
    assert record.fate == "killed"
    assert _double_kernel.src == before
    assert toy(mutant("other-changed", "tl.load")).fate == "survived"


def test_compiled_code_of_a_caller_is_not_taken_for_that_of_its_mutated_helper():
    functions = reach_of(LAUNCHER).functions
    healthy = _double_kernel.cache_key
    with injected(mutant("addend-dropped", "value + value"), functions):
        assert _double_kernel.cache_key != healthy
    assert _double_kernel.cache_key == healthy


def test_a_kernel_that_is_not_the_one_in_its_file_is_refused():
    other = mutant("addend-dropped", "value + value")
    other = replace(other, function=replace(other.function, source="def twice(value):\n    return value\n"))
    with pytest.raises(StaleSource, match="twice is not imported as its file has it"), injected(other, ()):
        pass


def test_an_op_that_is_red_in_health_is_not_tried(toy: Trial):
    bad = replace(CASES[0], params=(("mode", "4"), ("number", 0)))
    with pytest.raises(BaselineRed, match="is failed without any mutant"):
        Trial(OP, (bad,), judge(), source="")


def test_the_order_of_cases_spreads_chips_and_flavours():
    cases = [replace(CASES[0], arch=arch, seed=seed) for arch in ("gfx942", "gfx950") for seed in (1, 2)]
    assert [case.arch for case in spread(cases)] == ["gfx942", "gfx950", "gfx942", "gfx950"]


def test_only_a_mutant_that_changes_no_instruction_compiles_to_the_same_code(toy: Trial):
    cases: list[Case] = [replace(CASES[0], arch=arch) for arch in ("gfx942", "gfx950")]
    functions, code = reach_of(LAUNCHER).functions, MachineCode()
    for case in cases:
        code.keep(case)
    for (operator, *words), differs in {
        ("factor-dropped", "value * 3.0"): False,
        ("addend-dropped", "value + value"): True,
        ("addend-dropped", "tl.load(x +", "tl.load((row"): True,
    }.items():
        with injected(mutant(operator, *words), functions):
            assert {code.differs(case) for case in cases} == {differs}
