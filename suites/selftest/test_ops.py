"""The registry: nothing incomplete gets in, and an axis that is lost shows as a red cell."""

from __future__ import annotations

import itertools
from pathlib import Path

import pytest

from rocassay.harness import ops
from rocassay.harness.cases import Case, MalformedCase, Selection
from rocassay.harness.faults import catalogue, register
from rocassay.harness.results import ResultsWriter, read
from rocassay.suites.selftest.toys import end, header, record, toy_case, toy_cases, toy_fault, toy_op

shipped = pytest.mark.parametrize("op", ops.discover(), ids=lambda op: op.name)


@pytest.mark.parametrize("part", ["golden", "peer", "inputs", "variant", "cases", "locate", "plan"])
def test_an_op_is_refused_without(part: str):
    with pytest.raises(ops.IncompleteOp, match=f"op 'toy' is refused: it declares no {part}$"):
        toy_op(**{part: None})


@pytest.mark.parametrize("part", ["contract", "launcher", "faults"])
def test_an_op_is_refused_with_an_empty(part: str):
    with pytest.raises(ops.IncompleteOp, match=f"op 'toy' is refused: it declares no {part}$"):
        toy_op(**{part: ()})


def test_everything_that_is_missing_is_named_at_once():
    with pytest.raises(ops.IncompleteOp, match="no faults, no golden, no plan"):
        toy_op(faults=(), golden=None, plan=None)


def test_an_op_without_a_quick_case_is_refused():
    full_only = toy_op(cases=lambda tier: () if tier == "quick" else toy_cases(tier))
    with pytest.raises(ops.IncompleteOp, match="declares no case in the quick tier"):
        ops.register(full_only)


@pytest.mark.usefixtures("registry")
def test_a_second_op_of_the_same_name_is_refused():
    ops.register(toy_op())
    with pytest.raises(ops.IncompleteOp, match="op 'toy' is registered twice"):
        ops.register(toy_op())


@pytest.mark.usefixtures("registry")
def test_an_op_that_names_an_undeclared_fault_stops_discovery():
    ops.register(toy_op(faults=("toy-off-by-one", next(iter(catalogue())).name)))
    with pytest.raises(ops.IncompleteOp, match=r"op 'toy' names faults that no drill declares: toy-off-by-one$"):
        ops.discover()


@pytest.mark.usefixtures("registry")
def test_an_unknown_op_suggests_the_nearest_name():
    ops.register(toy_op("toy_with_a_long_name"))
    with pytest.raises(ops.UnknownOp, match=r"no op is called 'toy_with_a_name'; did you mean toy_with_a_long_name"):
        ops.op_named("toy_with_a_name")


@shipped
def test_every_fault_of_an_op_has_a_seam_for_it_and_every_seam_is_named_by_its_op(op: ops.Op):
    assert set(op.faults) == {fault.name for fault in catalogue() if op.name in fault.ops}


@shipped
@pytest.mark.parametrize("tier", ops.TIERS)
def test_an_op_declares_only_cases_of_its_own(op: ops.Op, tier: ops.Tier):
    assert {case.op for case in op.cases(tier)} == {op.name}


@shipped
def test_the_full_tier_holds_every_quick_case(op: ops.Op):
    assert set(op.cases("quick")) <= set(op.cases("full"))


@shipped
def test_every_expected_cell_of_an_op_has_a_quick_case(op: ops.Op):
    cells = ops.expected_cells("interpreter", Selection(ops=frozenset({op.name})))
    cases = {(case.arch, case.fp8, case.block_size) for case in op.cases("quick")}
    assert cells
    assert {(cell.arch, cell.fp8, cell.block_size) for cell in cells} == cases


@shipped
def test_some_quick_case_of_every_op_is_probed_by_running_it_again(op: ops.Op):
    assert any(map(op.probed, op.cases("quick")))


def test_a_matrix_expects_every_combination_once_within_the_selection():
    matrix = ops.Matrix(("a", "b"), ("gfx942", "gfx950"), ("e4m3fn",), (1, 64))
    cells = matrix.cells("isa", Selection())
    assert len(set(cells)) == len(cells) == 8
    assert {cell.engine for cell in cells} == {"isa"}
    assert len(matrix.cells("isa", Selection(block_sizes=frozenset({64})))) == 4
    assert {cell.arch for cell in matrix.cells("isa", Selection(), arches=("gfx950",))} == {"gfx950"}


@pytest.mark.usefixtures("registry")
def test_a_case_list_that_lost_a_block_size_turns_the_verdict_red(tmp_path: Path):
    register(toy_fault())
    ops.register(toy_op(cases=lambda tier: [case for case in toy_cases(tier) if case.block_size != 16]))
    ops.expect(ops.Matrix(("toy",), ("gfx942",), ("e4m3fn",), (1, 16)))
    mine = Selection(ops=frozenset({"toy"}))
    writer = ResultsWriter(tmp_path / "r")
    cases = ops.select_cases("quick", mine)
    writer.append(header(expected=tuple(ops.expected_cells("interpreter", mine)), planned=len(cases)))
    for case in cases:
        writer.append(record(case))
    writer.append(end())
    writer.close()
    assay = read(tmp_path / "r")
    assert [cell.block_size for cell in assay.missing_cells()] == [16]
    assert assay.red_reasons() == ["1 cells of the expected-to-run matrix did not run"]


@pytest.mark.usefixtures("registry")
def test_selected_cases_keep_equal_inputs_together():
    found = ops.select_cases("quick", Selection())
    without_arch = [(case.op, case.block_size, case.fp8, case.params, case.recipe, case.seed) for case in found]
    runs = 1 + sum(one != other for one, other in itertools.pairwise(without_arch))
    assert runs == len(set(without_arch))


def test_seeds_replace_the_seed_of_every_selected_case():
    some = Selection(block_sizes=frozenset({1}))
    own, seeded = ops.select_cases("quick", some), ops.select_cases("quick", some, range(5, 8))
    assert len(set(seeded)) == len(seeded) == 3 * len(own)
    assert {case.seed for case in seeded} == {5, 6, 7}
    assert {case.with_seed(0) for case in seeded} == {case.with_seed(0) for case in own}


@pytest.mark.usefixtures("registry")
def test_a_named_case_need_not_belong_to_the_tier_but_must_be_a_case_of_some_op():
    ops.register(toy_op(faults=(next(iter(catalogue())).name,)))
    case = toy_case(number=999)
    assert ops.select_cases("quick", Selection(cases=frozenset({str(case)}))) == [case]
    with pytest.raises(ops.UnknownOp):
        ops.select_cases("quick", Selection(cases=frozenset({str(Case("nope", "gfx942", "e4m3fn", 1))})))
    with pytest.raises(MalformedCase):
        ops.select_cases("quick", Selection(cases=frozenset({"nope"})))
