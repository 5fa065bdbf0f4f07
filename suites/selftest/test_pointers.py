"""The pointers probe: an address that a kernel stores is where its tensor lies, on every engine."""
# pyright: reportArgumentType=false

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace

import pytest
import torch
import triton
import triton.language as tl

from rocassay.harness.arch import Target
from rocassay.harness.cases import Case
from rocassay.harness.choice import make_judge
from rocassay.harness.gates import ExactBytes
from rocassay.harness.inputs import Operands, Stream
from rocassay.harness.ops import register as register_op
from rocassay.harness.options import Options
from rocassay.harness.probes import Pointers
from rocassay.harness.results import CaseRecord, Check, Status
from rocassay.suites.selftest.toys import toy_case, toy_inputs, toy_op

ENGINES = ("interpreter", "isa")


@triton.jit
def tell_addresses(x, out, addresses, SHIFT: tl.constexpr):
    tl.store(addresses, x.to(tl.int64))
    tl.store(addresses + 1, out.to(tl.int64) + SHIFT)


def launch(x: torch.Tensor, out: torch.Tensor, addresses: torch.Tensor, variant: int) -> None:
    """Stores where x is, and where out is, `variant` bytes off."""
    tell_addresses[(1,)](x, out, addresses, SHIFT=variant)


def operands(case: Case, stream: Stream) -> Operands:
    return replace(toy_inputs(case, stream), workspaces={"addresses": torch.zeros(2, dtype=torch.int64)})


def untouched(case: Case, given: Operands) -> Mapping[str, ExactBytes]:
    return {"out": ExactBytes(given.outputs["out"])}


def judged(shift: int, engine: str) -> CaseRecord:
    def variant(case: Case, target: Target, dispatch: object) -> int:
        return shift

    probes = (Pointers("addresses", ("x", "out")),)
    op = toy_op(launcher=f"{__name__}:launch", variant=variant, probes=probes, faults=("toy-off-by-one",))
    register_op(replace(op, inputs=operands, golden=untouched))
    return make_judge(Options(engine=engine))(toy_case())


def pointers(record: CaseRecord) -> Check:
    return next(check for check in record.checks if check.name == "pointers")


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("engine", ENGINES)
def test_addresses_as_the_kernel_saw_them_are_right(engine: str):
    record = judged(0, engine)
    assert record.status is Status.PASSED, record.reason
    assert pointers(record).passed


@pytest.mark.usefixtures("registry")
@pytest.mark.parametrize("engine", ENGINES)
def test_an_address_that_is_off_is_red_and_its_place_is_named(engine: str):
    record = judged(4, engine)
    assert record.status is Status.FAILED
    assert [check.name for check in record.checks if not check.passed] == ["pointers"]
    assert "addresses[1] is" in pointers(record).detail
    assert "out lies at" in pointers(record).detail
