"""The allocation probe: green in the caller's memory, red on each way of taking other memory or copying twice."""

# ruff: noqa: ARG005 (every way takes both tensors)

from __future__ import annotations

from collections.abc import Callable

import pytest
import torch

from rocassay.harness import ops
from rocassay.harness.engines.base import engine
from rocassay.harness.judge import Judge
from rocassay.harness.probes import Allowance
from rocassay.harness.probes.allocations import counted
from rocassay.harness.providers import provider
from rocassay.harness.results import CaseRecord, Check, Status
from rocassay.suites.selftest.test_probes import launch_double
from rocassay.suites.selftest.toys import Implementation, double, toy_case, toy_op

Call = Callable[..., object]
REASON = "the toy returns a new tensor"

TAKING: dict[str, tuple[str, Call]] = {
    "empty": ("aten.empty", lambda x, out: torch.empty(3)),
    "zeros": ("aten.zeros", lambda x, out: torch.zeros(3)),
    "a tensor of host values": ("aten.lift_fresh", lambda x, out: torch.tensor([1, 2])),
    "arithmetic": ("aten.add", lambda x, out: x + 1),
    "a cast": ("aten._to_copy", lambda x, out: x.to(torch.bfloat16)),
    "a clone": ("aten.clone", lambda x, out: x.clone()),
    "contiguous on a padded tensor": ("aten.clone", lambda x, out: x.contiguous()),
    "a reshape that must copy": ("aten", lambda x, out: x.t().reshape(-1)),
    "a concatenation": ("aten.cat", lambda x, out: torch.cat([x, x])),
    "two tensors at once": ("aten.max", lambda x, out: x.max(dim=0)),
    "an integer index": ("aten.lift_fresh", lambda x, out: x[[0, 1]]),
    "a copy into the output": ("redundant-cast-copy", lambda x, out: out.copy_(out.t().t())),
    "an assignment to a slice": ("redundant-cast-copy", lambda x, out: out[:1].__setitem__(0, out[0])),
}

KEEPING: dict[str, Call] = {
    "views, shapes and strides": lambda x, out: (x.shape, x[1:].view(torch.int32), x.t(), out.as_strided((2,), (1,))),
    "contiguous on a contiguous tensor": lambda x, out: out.contiguous(),
    "a cast to the same dtype": lambda x, out: x.to(torch.float32),
    "a flat view": lambda x, out: out.reshape(-1),
    "fills": lambda x, out: out[:, -1].fill_(-7.0),
    "arithmetic in place": lambda x, out: out.mul_(1.0),
    "arithmetic into the output": lambda x, out: torch.mul(x[:, :-1], 2, out=out[:, :-1]),
    "no element": lambda x, out: out.new_empty(0),
}

pytestmark = pytest.mark.usefixtures("registry")


def judged(toy: Callable[..., None], allowed: int = 0) -> CaseRecord:
    ops.register(toy_op(probes=(), allocations=Allowance(allowed, REASON if allowed else "")))
    return Judge(Implementation(toy), engine("interpreter"), "quick", "run")(toy_case())


def allocations(record: CaseRecord) -> Check:
    return next(check for check in record.checks if check.name == "allocations")


def after(call: Call) -> Callable[[torch.Tensor, torch.Tensor], None]:
    def toy(x: torch.Tensor, out: torch.Tensor) -> None:
        double(x, out)
        call(x, out)

    return toy


@pytest.mark.parametrize("toy", [double, launch_double], ids=["torch", "triton"])
def test_an_implementation_that_writes_where_it_is_told_is_green(toy: Callable[..., None]):
    record = judged(toy)
    assert record.status is Status.PASSED, record.reason
    assert allocations(record).statistic == 0


@pytest.mark.parametrize("way", TAKING)
def test_it_is_red_by_this_probe_alone_and_says_what_and_where_for(way: str):
    what, call = TAKING[way]
    record = judged(after(call))
    assert {check.name for check in record.checks if not check.passed} == {"allocations"}
    assert what in allocations(record).detail
    assert f"at {__name__.rpartition('.')[2]}.py:" in allocations(record).detail


@pytest.mark.parametrize("way", KEEPING)
def test_it_is_green_for(way: str):
    record = judged(after(KEEPING[way]))
    assert record.status is Status.PASSED, record.reason


def test_a_result_cast_in_a_temporary_and_copied_counts_as_two():
    record = judged(after(lambda x, out: out.copy_(out.double())))
    assert allocations(record).statistic == 2


@pytest.mark.parametrize(("made", "passed"), [(0, True), (2, True), (3, False)])
def test_the_allowance_of_the_op_is_the_limit(made: int, passed: bool):
    record = judged(after(lambda x, out: [torch.empty(1) for _ in range(made)]), allowed=2)
    check = allocations(record)
    assert (check.passed, check.statistic, check.limit, check.reason) == (passed, made, 2, REASON)


def test_an_allowance_without_a_reason_is_refused():
    with pytest.raises(ops.IncompleteOp, match="declares no reason for its allocations"):
        toy_op(allocations=Allowance(1))


def test_how_another_provider_holds_its_memory_is_recorded_and_not_judged():
    cloning = after(TAKING["a clone"][1])
    ops.register(toy_op(probes=(), peer=lambda _, tensors: cloning(tensors["x"], tensors["out"])))
    record = Judge(provider("torch"), engine("interpreter"), "quick", "run")(toy_case())
    assert record.status is Status.PASSED
    assert allocations(record).detail.startswith("1 allocations and copies; how provider torch")


def test_what_happens_outside_is_not_counted():
    found: list[str] = []
    torch.empty(3)
    with counted(torch.device("cpu"), found):
        pass
    torch.empty(3)
    assert found == []
