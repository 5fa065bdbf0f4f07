"""Faults: every one is real, reaches a case, changes exactly one thing, and does not outlive its kernel's source."""

from __future__ import annotations

import inspect
import re
import sys
import types

import pytest

from rocassay.harness import ops
from rocassay.harness.cases import Selection
from rocassay.harness.drills import drill_names, select_drills, verdict_of
from rocassay.harness.faults import ChangeSource, Fault, UnknownFault, catalogue, fault_named, register
from rocassay.harness.faults.source import StaleFault, mutated, rewrite
from rocassay.harness.ops import select_cases
from rocassay.harness.options import Options
from rocassay.harness.results import Check, Status
from rocassay.suites.selftest.toys import record, toy_fault

ops.discover()
every_fault = pytest.mark.parametrize("fault", catalogue(), ids=lambda fault: fault.name)

THREAD = r"[\w.-]+/[\w.-]+#[1-9]\d*"
"""An issue or a pull request, as owner/repository#number."""

KEEPERS = ("vLLM", "ROCm/aiter", "DeepSeek-V3.2-Exp", "OCP", "AMD", "FlashMLA", "SGLang", "Triton")
"""Projects and bodies that keep a contract."""

VICTIM = "rocassay_selftest_victim"
SOURCE = "def area(width, height):\n    if width:\n        size = width * height\n        return size\n    return 0\n"


@pytest.fixture
def victim(tmp_path, monkeypatch: pytest.MonkeyPatch) -> types.ModuleType:
    """A module with a line to rewrite."""
    (tmp_path / f"{VICTIM}.py").write_text(SOURCE)
    monkeypatch.syspath_prepend(str(tmp_path))
    mutated.cache_clear()
    monkeypatch.delitem(sys.modules, VICTIM, raising=False)
    return __import__(VICTIM)


def change(line: str = "size = width * height", becomes: str = "size = width + height") -> ChangeSource:
    return ChangeSource(VICTIM, line, becomes)


def test_an_unknown_fault_suggests_the_nearest_names():
    name = catalogue()[0].name
    with pytest.raises(UnknownFault, match=f"no fault is called '{name}x'; did you mean {name}"):
        fault_named(f"{name}x")
    with pytest.raises(UnknownFault, match="rocassay list --faults"):
        fault_named("zzz")


@pytest.mark.usefixtures("registry")
def test_a_second_fault_of_the_same_name_is_refused():
    register(toy_fault())
    with pytest.raises(ValueError, match="fault 'toy-off-by-one' is registered twice"):
        register(toy_fault())


@every_fault
def test_a_fault_names_where_it_happened_and_what_must_see_it(fault: Fault):
    """An incident by its threads, or a contract by the project that keeps it and what it says."""
    incident = re.fullmatch(rf"{THREAD}(, ({THREAD}|#\d+))*", fault.reference)
    project, _, statement = fault.reference.partition(" ")
    assert incident or (project in KEEPERS and statement), fault.reference
    assert fault.summary
    assert fault.caught_by


@every_fault
def test_a_fault_applies_to_some_quick_case_of_each_of_its_ops(fault: Fault):
    assert fault.ops
    for name in fault.ops:
        cases = ops.select_cases("quick", Selection(ops=frozenset({name})))
        assert any(map(fault.applies, cases)), name


@every_fault
def test_a_source_fault_finds_its_line_exactly_once_in_the_shipped_kernel(fault: Fault):
    for op, seam in fault.seams.items():
        if isinstance(seam, ChangeSource):
            module = __import__(seam.module, fromlist=["_"])
            source = inspect.getsource(module)
            assert module.__name__ == ops.op_named(op).launcher.partition(":")[0]
            assert rewrite(fault.name, source, seam) != source


def test_a_mutated_module_differs_and_leaves_the_original_alone(victim: types.ModuleType):
    other = mutated("sum", change())
    assert (other.area(3, 4), victim.area(3, 4)) == (7, 12)
    assert sys.modules[VICTIM] is victim
    assert other.__name__ != VICTIM
    assert "width + height" in inspect.getsource(other.area)
    assert "width * height" in inspect.getsource(victim.area)


def test_two_faults_in_one_module_do_not_share_it(victim: types.ModuleType):
    one, two = mutated("one", change()), mutated("two", change(becomes="size = 0"))
    assert (one.area(3, 4), two.area(3, 4)) == (7, 0)


def test_several_lines_keep_the_indentation_of_the_first(victim: types.ModuleType):
    assert mutated("lines", change(becomes="height = height + 1\nsize = width * height")).area(3, 4) == 15


@pytest.mark.parametrize(("source", "times"), [(SOURCE.replace("*", "/"), 0), (SOURCE + SOURCE, 2)])
def test_a_line_that_is_gone_or_no_longer_unique_makes_the_fault_stale(source: str, times: int):
    with pytest.raises(StaleFault, match=f"fault old: the line .* occurs {times} times in {VICTIM}, not once"):
        rewrite("old", source, change())


def test_part_of_a_line_does_not_match():
    with pytest.raises(StaleFault, match="occurs 0 times"):
        rewrite("old", SOURCE, change(line="size = width"))


def test_the_quick_tier_drills_one_case_per_fault_op_and_block_size_and_the_full_tier_every_one():
    name = catalogue()[0].name
    quick = select_drills(Options(faults=(name,)))
    full = select_drills(Options(faults=(name,), tier="full"))
    spots = [(fault.name, case.op, case.block_size) for fault, case in quick]
    assert len(spots) == len(set(spots))
    assert {(fault.name, case.op, case.block_size) for fault, case in full} == set(spots)
    assert len(full) > len(quick)


def test_every_fault_is_drilled_unless_some_are_named():
    assert set(drill_names(Options(engine="interpreter"))) == {fault.name for fault in catalogue()}
    last = catalogue()[-1].name
    assert drill_names(Options(faults=(last,))) == (last,)


def test_a_fault_that_an_engine_cannot_see_is_not_drilled_there():
    blind = {fault.name for fault in catalogue() if not fault.visible_on("device")}
    assert blind
    assert set(drill_names(Options(engine="device"))) == {fault.name for fault in catalogue()} - blind


@pytest.mark.usefixtures("registry")
def test_one_name_does_not_stand_for_faults_that_different_engines_see():
    register(toy_fault())
    with pytest.raises(ValueError, match="register it under two names"):
        register(toy_fault(seams={"other": toy_fault().seams["toy"]}, engines=frozenset({"interpreter"})))


def failed(*names: str):
    return record(status=Status.FAILED, checks=tuple(Check(name=n, kind="gate", passed=False) for n in names))


def test_a_drill_that_stays_green_is_blind():
    verdict = verdict_of(toy_fault(), record())
    assert verdict.status is Status.BLIND
    assert "cannot reveal the fault" in verdict.reason


def test_a_drill_that_is_red_for_undeclared_reasons_only_is_blind_and_says_which():
    verdict = verdict_of(toy_fault(), failed("canary"))
    assert verdict.status is Status.BLIND
    assert "red, but only by canary; the fault is declared to be caught by bytes" in verdict.reason


def test_a_drill_that_is_red_for_a_declared_reason_counts():
    assert verdict_of(toy_fault(), failed("canary", "bytes")).status is Status.FAILED


def moved(statistic: float | None, limit: float, name: str = "bytes"):
    check = Check(name=name, kind="gate", passed=False, statistic=statistic, limit=limit)
    return record(status=Status.FAILED, checks=(check,))


@pytest.mark.parametrize(
    ("statistic", "status"), [(119.0, Status.BLIND), (120.0, Status.FAILED), (None, Status.FAILED)]
)
def test_a_gate_must_be_moved_to_ten_times_its_limit(statistic: float | None, status: Status):
    verdict = verdict_of(toy_fault(), moved(statistic, 12.0))
    assert verdict.status is status
    assert ("moves bytes to 9.9 times its limit" in verdict.reason) is (status is Status.BLIND)


def test_an_exact_gate_has_no_noise_to_stand_out_from():
    assert verdict_of(toy_fault(), moved(1.0, 0.0)).status is Status.FAILED


def test_only_declared_checks_show_the_fault():
    weak, strong = moved(20.0, 12.0).checks, moved(1e6, 1.0, "bound").checks
    both = record(status=Status.FAILED, checks=(*weak, *strong))
    assert verdict_of(toy_fault(), both).status is Status.BLIND


def test_measuring_power_drills_every_case_that_applies():
    fault = catalogue()[0]
    every = select_cases("quick", Selection(), corpus=False)
    cases = [case for case in every if case.op in fault.ops and fault.applies(case)]
    assert [case for _, case in select_drills(Options(faults=(fault.name,), power=True))] == cases


def test_a_case_that_is_named_is_drilled_with_every_fault_of_its_op():
    fault, case = next((f, c) for f, c in select_drills(Options()) if any(not g.applies(c) for g in _of(c.op)))
    assert fault in _of(case.op)
    asked = select_drills(Options(cases=(str(case),)))
    assert {found.name for found, _ in asked} == {found.name for found in _of(case.op)}


def _of(op: str) -> list[Fault]:
    return [fault for fault in catalogue() if op in fault.ops and fault.visible_on("interpreter")]


@pytest.mark.parametrize("status", [Status.CRASHED, Status.NOT_RUN, Status.INVALID])
def test_a_drill_that_judged_nothing_keeps_its_status(status: Status):
    assert verdict_of(toy_fault(), record(status=status)).status is status
