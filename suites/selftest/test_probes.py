"""Probes: green on the right toy, red on a toy that is wrong in exactly the way the probe is for."""

# pyright: reportArgumentType=false
# (Triton's constexprs take plain numbers)

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch
import triton
import triton.language as tl

from rocassay.harness import ops, prepared
from rocassay.harness.cases import Case
from rocassay.harness.engines.base import engine
from rocassay.harness.engines.interpreter import InterpreterEngine
from rocassay.harness.inputs import Operands, Stream
from rocassay.harness.judge import Judge
from rocassay.harness.probes import Allowance, BatchInvariance, Dispatch, Strides
from rocassay.harness.probes.metamorphic import Transformed
from rocassay.harness.providers import provider
from rocassay.harness.results import CaseRecord, Status
from rocassay.suites.kernels.batches import one_more
from rocassay.suites.selftest.toys import (
    COLUMNS,
    ROWS,
    Implementation,
    double,
    toy_case,
    toy_cases,
    toy_fault,
    toy_inputs,
    toy_op,
)

Toy = Callable[[torch.Tensor, torch.Tensor], None]
IN_TORCH = Allowance(9, "toys that are wrong in some way are written in plain torch")


@triton.jit
def double_kernel(x, out, x_pitch, out_pitch, last, SHIFT: tl.constexpr, BLOCK: tl.constexpr):
    row = tl.program_id(0)
    column = tl.arange(0, BLOCK)
    value = tl.load(x + row * x_pitch + column + SHIFT, column < last)
    tl.store(out + row * out_pitch + column, 2 * value, column < last)


def launch_double(x: torch.Tensor, out: torch.Tensor, shift: int = 0) -> None:
    double_kernel[(ROWS,)](x, out, x.stride(0), out.stride(0), COLUMNS - 1, SHIFT=shift, BLOCK=128)


pytestmark = pytest.mark.usefixtures("registry")


def judged(toy: Toy, *, tier: ops.Tier = "full", **changes: Any) -> CaseRecord:
    """The record of the toy op with the given implementation, which may allocate unless the test says otherwise."""
    ops.register(toy_op(**{"allocations": IN_TORCH, **changes}))
    return Judge(Implementation(toy), engine("interpreter"), tier, "run")(toy_case())


def red(record: CaseRecord) -> set[str]:
    return {check.name for check in record.checks if not check.passed}


def detail(record: CaseRecord, name: str) -> str:
    return next(check.detail for check in record.checks if check.name == name)


@pytest.mark.parametrize("toy", [double, launch_double], ids=["torch", "triton"])
def test_the_right_toy_is_green_under_every_probe(toy: Toy):
    record = judged(toy)
    assert record.status is Status.PASSED, record.reason
    assert {check.name for check in record.checks} == {
        *("bytes", "bounds", "canary", "inputs", "host-sync", "allocations", "order", "strides", "poison", "row-order"),
        *("determinism", "replay", "graph-replay"),
    }


def beyond_the_end(x: torch.Tensor, out: torch.Tensor) -> None:
    double(x, out)
    out.as_strided((1,), (1,), out.storage_offset() + ROWS * COLUMNS).fill_(1.0)


def before_the_start(x: torch.Tensor, out: torch.Tensor) -> None:
    double(x, out)
    out.as_strided((1,), (1,), out.storage_offset() - 1).fill_(1.0)


def into_a_gap(x: torch.Tensor, out: torch.Tensor) -> None:
    double(x, out)
    x.as_strided((1,), (1,), x.storage_offset() + COLUMNS + 1).fill_(1.0)


@pytest.mark.parametrize(
    ("toy", "place"),
    [
        (beyond_the_end, "0 bytes past the end of out"),
        (before_the_start, "4 bytes before out"),
        (into_a_gap, f"in a stride gap of x, {4 * COLUMNS + 4} bytes from its start"),
    ],
)
def test_the_canary_sees_a_write_outside_the_elements(toy: Toy, place: str):
    record = judged(toy)
    assert "canary" in red(record)
    assert "bytes" not in red(record)
    assert place in detail(record, "canary")


def test_the_inputs_probe_sees_a_written_input():
    def scaling_in_place(x: torch.Tensor, out: torch.Tensor) -> None:
        x *= 2
        out[:, :-1] = x[:, :-1]

    record = judged(scaling_in_place)
    assert red(record) == {"inputs"}
    assert detail(record, "inputs") == "changed: x"


def test_the_bounds_probe_sees_an_access_outside_every_tensor_and_names_kernel_and_byte():
    record = judged(lambda x, out: launch_double(x, out, shift=-COLUMNS), probes=())
    assert "bounds" in red(record)
    assert "out of bounds read in double_kernel" in detail(record, "bounds")
    assert f"program (0, 0, 0): byte {-4 * COLUMNS} relative to x" in detail(record, "bounds")


def test_the_poison_probe_sees_a_result_that_depends_on_an_unread_element():
    def peeking(x: torch.Tensor, out: torch.Tensor) -> None:
        double(x, out)
        out[1, 0] += x[1, -1].isfinite()

    record = judged(peeking)
    assert red(record) == {"poison"}
    assert "out[1, 0] differs" in detail(record, "poison")
    assert record.first_wrong is not None
    assert record.first_wrong.where == {"row": 1, "column": 0}


def test_the_strides_probe_sees_a_result_that_depends_on_the_row_pitch():
    def contiguous_only_rounding(x: torch.Tensor, out: torch.Tensor) -> None:
        double(x, out)
        out[3, 7] += x.is_contiguous()

    record = judged(contiguous_only_rounding)
    assert red(record) == {"strides"}
    assert "out[3, 7] differs" in detail(record, "strides")


def test_an_invariance_sees_a_result_that_depends_on_the_order_of_rows():
    first_row_seen: list[torch.Tensor] = []

    def order_dependent(x: torch.Tensor, out: torch.Tensor) -> None:
        double(x, out)
        first_row_seen.append(x[0, 0].clone())
        out[0, 0] += first_row_seen[0] != first_row_seen[-1]

    record = judged(order_dependent)
    assert red(record) == {"row-order", "replay"}
    assert "bytes of out differ" in detail(record, "row-order")


def in_company(case: Case, operands: Operands) -> Transformed:
    return one_more(("x", "out"))(case, operands)


def follows_the_batch(x: torch.Tensor, out: torch.Tensor) -> None:
    double(x, out)
    out[-1, 5] += len(x) > ROWS


def test_the_batch_probe_sees_a_result_that_depends_on_how_many_rows_there_are():
    record = judged(follows_the_batch, probes=(BatchInvariance(in_company),))
    assert red(record) == {"batch"}
    assert "one request more in front changes a result: out[3, 5] differs" in detail(record, "batch")


def test_the_batch_probe_is_green_where_rows_are_on_their_own():
    assert judged(double, probes=(BatchInvariance(in_company),)).status is Status.PASSED


def test_a_run_whose_bits_may_follow_the_batch_says_why():
    record = judged(follows_the_batch, probes=(BatchInvariance(in_company, excused=lambda _: "it is planned"),))
    assert record.status is Status.PASSED
    assert detail(record, "batch") == "not applicable: it is planned"


def expecting(*names: str) -> tuple[Dispatch, ...]:
    return (Dispatch(lambda _: names),)


def test_the_dispatch_probe_wants_exactly_the_named_kernels():
    assert judged(launch_double, probes=expecting("double_kernel")).status is Status.PASSED


@pytest.mark.parametrize("names", [(), ("other",), ("double_kernel", "double_kernel"), ("double_kernel", "sum")])
def test_the_dispatch_probe_sees_other_kernels_and_another_number_of_them(names: tuple[str, ...]):
    record = judged(launch_double, probes=expecting(*names))
    assert red(record) == {"dispatch"}
    assert "launched double_kernel, expected" in detail(record, "dispatch")


def test_the_dispatch_probe_does_not_judge_kernel_names_of_other_providers():
    ops.register(toy_op(probes=expecting("mine")))
    assert Judge(provider("torch"), engine("interpreter"), "full", "run")(toy_case()).status is Status.PASSED


def test_probes_that_run_again_wait_for_the_full_tier_where_the_op_says_so():
    names = {check.name for check in judged(double, tier="quick", probed=lambda _: False).checks}
    assert names == {"bytes", "bounds", "canary", "inputs", "host-sync", "allocations", "order"}


def test_a_run_again_carries_the_same_operands_except_for_what_the_probe_changes():
    seen: list[tuple[int, ...]] = []

    def noting(x: torch.Tensor, out: torch.Tensor) -> None:
        seen.append(x.stride())
        double(x, out)

    judged(noting, probes=(Strides(),))
    assert seen == [(COLUMNS + 3, 1), (COLUMNS, 1), (COLUMNS + 3, 1)], "the last one is the replay's"


def test_an_implementation_that_raises_is_a_crash_with_its_words():
    def raising(x: torch.Tensor, out: torch.Tensor) -> None:
        raise IndexError("row 9")

    record = judged(raising)
    assert (record.status, record.reason) == (Status.CRASHED, "IndexError: row 9")
    assert record.digest


def test_a_wrong_result_names_gate_place_and_the_command_that_shows_it_again():
    def off(x: torch.Tensor, out: torch.Tensor) -> None:
        double(x, out)
        out[2, 5] += 1

    record = judged(off)
    assert record.status is Status.FAILED
    assert record.reason.startswith("bytes: ")
    assert "out[2, 5] (row=2, column=5)" in record.reason
    assert record.repro == f"rocassay repro '{toy_case()}' --engine interpreter"


def test_what_an_engine_cannot_run_is_not_run_with_its_reason():
    ops.register(toy_op())
    record = Judge(Implementation(double), InterpreterEngine("99.0"), "full", "run")(toy_case())
    assert record.status is Status.NOT_RUN
    assert "does not know the internals of Triton 99.0" in record.reason


def test_inputs_that_differ_from_their_pin_make_the_case_invalid(monkeypatch: pytest.MonkeyPatch):
    key = str(replace(toy_case(), arch="any"))
    monkeypatch.setattr("rocassay.harness.judge.pinned_digests", lambda: {key: "0123456789abcdef"})
    record = judged(double)
    assert record.status is Status.INVALID
    assert record.reason.endswith("pinned is 0123456789abcdef")


def test_a_fault_is_injected_and_leaves_the_healthy_run_alone():
    ops.register(toy_op())
    judge = Judge(provider("rocassay"), engine("interpreter"), "full", "run")
    faulty = judge(toy_case(), toy_fault())
    assert (faulty.status, faulty.fault) == (Status.FAILED, "toy-off-by-one")
    assert faulty.repro.endswith("--fault toy-off-by-one")
    assert judge(toy_case()).status is Status.PASSED


def test_a_golden_that_leaves_an_output_out_is_refused():
    def forgetful(case: Case, operands) -> dict[str, object]:
        return {}

    with pytest.raises(ops.IncompleteOp, match="golden of op 'toy' says nothing of output out"):
        judged(double, golden=forgetful, cases=toy_cases)


def test_what_a_process_keeps_is_what_it_judges_until_it_is_forgotten():
    draws: list[Case] = []

    def drawn(case: Case, stream: Stream) -> Operands:
        draws.append(case)
        return toy_inputs(case, stream)

    prepared.remember(40)
    try:
        judged(double, inputs=drawn, probes=())
        judge, once = Judge(Implementation(double), engine("interpreter"), "full", "run"), len(draws)
        judge(toy_case())
        assert len(draws) == once > 0
        prepared.forget()
        judge(toy_case())
        assert len(draws) == 2 * once
    finally:
        prepared.remember(16)
