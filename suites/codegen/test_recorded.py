"""The record of the shipped kernels' code objects: whole, in its one form, and free of problems itself."""

from __future__ import annotations

from functools import cache
from pathlib import Path

import pytest
import triton

from rocassay.harness.arch import profile
from rocassay.harness.cases import Case
from rocassay.harness.codegen.choosing import chosen
from rocassay.harness.codegen.declared import RECORD, Budget, beside, budgets
from rocassay.harness.codegen.records import Code, read, write
from rocassay.harness.codegen.text import class_of, uses
from rocassay.harness.codegen.verdicts import problems
from rocassay.harness.ops import Op, discover

OPS = discover()
RECORDED = read(beside(RECORD))
AGAIN = "if the kernels or their cases were changed on purpose, run `rocassay codegen --record`"
UNSEEN = {("_score_pages_kernel", "gfx942")}
"""Budgets that only combinations beyond the representatives need: `rocassay codegen --all` sees them."""
ARCH = "gfx950"
"""The chip whose launches are chosen anew here; the choice for the other one takes the same steps."""


@cache
def known(name: str) -> Code:
    """A recorded code object as the command would see it."""
    held, case = RECORDED.codes[name], Case.parse(name.rpartition("#")[0])
    mix = RECORDED.mixes[held.digest]
    return Code(
        id=name, op=case.op, kernel=held.kernel, arch=case.arch, fp8=case.fp8, resources=held.resources,
        digest=held.digest, mix=mix, uses=tuple(uses(mix, profile(case.arch))),
    )  # fmt: skip


def test_the_file_has_the_form_in_which_it_is_written(tmp_path: Path):
    write(tmp_path / "again", RECORDED)
    assert (tmp_path / "again").read_bytes() == beside(RECORD).read_bytes()


@pytest.mark.parametrize("op", OPS, ids=lambda op: op.name)
def test_the_representatives_are_those_on_record(op: Op):
    asked = [case for case in op.cases("quick") if case.arch == ARCH]
    now = {origin.id for origin in chosen(op, asked)}
    held = {name for name in RECORDED.codes if name.startswith(f"{op.name}:{ARCH}:")}
    # Under another release kernels are specialised, and chosen, otherwise.
    assert held == now or triton.__version__ != RECORDED.triton, AGAIN
    assert held


def test_both_chips_have_the_same_kernels_on_record():
    found = {
        arch: {held.kernel for name, held in RECORDED.codes.items() if f":{arch}:" in name}
        for arch in ("gfx942", "gfx950")
    }
    assert found["gfx942"] == found["gfx950"]


def test_no_code_object_on_record_has_a_problem():
    allowed = budgets()
    wrong = {name: list(problems(known(name), allowed, pinned=True)) for name in RECORDED.codes}
    assert {name: said for name, said in wrong.items() if said} == {}


def test_without_its_budget_what_spills_is_red():
    needless = [budget for budget in budgets() if not _spilling(budget)]
    assert {(budget.kernel, budget.arch) for budget in needless} <= UNSEEN


def _spilling(left_out: Budget) -> list[str]:
    """Recorded code objects that are red once the budget is taken away."""
    own = [name for name in RECORDED.codes if _is_of(left_out, known(name))]
    assert own, left_out
    rest = [budget for budget in budgets() if budget != left_out]
    return [name for name in own if any(problems(known(name), rest, pinned=True))]


def _is_of(budget: Budget, code: Code) -> bool:
    return (budget.kernel, budget.arch, budget.fp8 or code.fp8) == (code.kernel, code.arch, code.fp8)


def test_every_mnemonic_on_record_belongs_to_a_class():
    assert [name for mix in RECORDED.mixes.values() for name in mix if class_of(name) == "other"] == []
