"""The traffic probe: loads are counted where they happen, and a second pass over a tensor is red."""
# pyright: reportArgumentType=false

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import pytest
import torch
import triton
import triton.language as tl

from rocassay.harness.arch import Target
from rocassay.harness.cases import Case
from rocassay.harness.choice import make_judge
from rocassay.harness.engines.base import Trace
from rocassay.harness.ops import register as register_op
from rocassay.harness.options import Options
from rocassay.harness.probes import Observation, Traffic
from rocassay.harness.results import CaseRecord, Check, Status
from rocassay.suites.selftest.toys import toy_case, toy_op

NAMES = ("toy-off-by-one",)
Needed = Callable[[Observation], Mapping[str, int]]


@triton.jit
def double_in_passes(x, out, columns, stride, PASSES: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    column = tl.arange(0, BLOCK)
    real = column < columns
    for _ in range(PASSES):
        value = tl.load(x + row * stride + column, mask=real, other=0.0)
    tl.store(out + row * columns + row + column, 2 * value, mask=real)


def launch(x: torch.Tensor, out: torch.Tensor, variant: int) -> None:
    """Doubles all but the last column of every row, loading it `variant` times."""
    rows, columns = x.shape[0], x.shape[1] - 1
    double_in_passes[(rows,)](x, out, columns, x.stride(0), PASSES=variant, BLOCK=128)


def launch_twice(x: torch.Tensor, out: torch.Tensor, variant: int) -> None:
    """The same, launched twice."""
    for _ in range(2):
        launch(x, out, variant)


def one_pass(seen: Observation) -> Mapping[str, int]:
    x = seen.operands.inputs["x"]
    return {"x": x[:, :-1].numel() * x.element_size()}


def judged(passes: int, needed: Needed = one_pass, launcher: str = "launch") -> CaseRecord:
    def variant(case: Case, target: Target, dispatch: object) -> int:
        return passes

    register_op(toy_op(launcher=f"{__name__}:{launcher}", variant=variant, probes=(Traffic(needed),), faults=NAMES))
    return make_judge(Options(engine="interpreter"))(toy_case())


def traffic(record: CaseRecord) -> Check:
    return next(check for check in record.checks if check.name == "traffic")


@pytest.mark.usefixtures("registry")
def test_one_pass_loads_exactly_the_bytes_it_needs_and_masked_lanes_load_none():
    record = judged(1)
    assert record.status is Status.PASSED, record.reason
    assert traffic(record).statistic == 1.0


@pytest.mark.usefixtures("registry")
def test_a_second_pass_is_red_although_every_value_is_right():
    record = judged(2)
    assert record.status is Status.FAILED
    assert [check.name for check in record.checks if not check.passed] == ["traffic"]
    assert traffic(record).statistic == 2.0
    assert "3040 bytes loaded from x, one pass takes 1520" in traffic(record).detail


@pytest.mark.usefixtures("registry")
def test_a_tensor_that_need_not_be_read_must_not_be():
    record = judged(1, lambda _: {"x": 0})
    assert not traffic(record).passed


@pytest.mark.usefixtures("registry")
def test_an_engine_that_does_not_count_is_said_not_to():
    seen: list[Observation] = []

    def noted(observation: Observation) -> Mapping[str, int]:
        seen.append(observation)
        return one_pass(observation)

    judged(2, noted)
    verdict = Traffic(one_pass).check(replace(seen[0], trace=Trace()))
    assert verdict.passed
    assert verdict.statistic is None
    assert "not counted" in verdict.detail


@pytest.mark.usefixtures("registry")
def test_loads_of_several_launches_add_up():
    seen: list[Observation] = []

    def noted(observation: Observation) -> Mapping[str, int]:
        seen.append(observation)
        return one_pass(observation)

    judged(1, noted, launcher="launch_twice")
    assert traffic_of(seen[0]) == 2.0


def traffic_of(seen: Observation) -> float | None:
    return Traffic(one_pass).check(seen).statistic
