"""The replay probes: green on a launch that reads lengths from memory, red on one that keeps what it saw first."""

# pyright: reportArgumentType=false
# (Triton's constexprs take plain numbers)

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
import torch

from rocassay.harness import ops
from rocassay.harness.cases import Case
from rocassay.harness.engines.base import CapturesGraphs, engine
from rocassay.harness.engines.device import DeviceEngine
from rocassay.harness.engines.interpreter import InterpreterEngine
from rocassay.harness.faults import ChangeVariant, register
from rocassay.harness.inputs import Operands, Stream, mismatch
from rocassay.harness.judge import Judge
from rocassay.harness.probes import Allowance
from rocassay.harness.probes.replay import OutsideGraphs
from rocassay.harness.providers import provider
from rocassay.harness.results import CaseRecord, Check, Status
from rocassay.suites.selftest.test_probes import launch_double
from rocassay.suites.selftest.toys import (
    Implementation,
    double,
    toy_case,
    toy_fault,
    toy_inputs,
    toy_op,
)

IN_TORCH = Allowance(9, "these toys are written in plain torch")

pytestmark = pytest.mark.usefixtures("registry")


class Repeating(InterpreterEngine):
    """An engine whose graphs repeat the call's launches, which on a device repeat without the call's Python."""

    def __init__(self, stale: Callable[[], None] | None = None) -> None:
        super().__init__()
        self._stale = stale

    def captured(self, call: Callable[[], None]) -> Callable[[], None]:
        """The call itself, or what the test puts in its place."""
        return self._stale or call


def judged(toy: Callable[..., None], used: Any = None, tier: ops.Tier = "full", **changes: Any) -> CaseRecord:
    ops.register(toy_op(**{"probes": (), "allocations": IN_TORCH, **changes}))
    return Judge(Implementation(toy), used or engine("interpreter"), tier, "run")(toy_case())


def check(record: CaseRecord, name: str = "replay") -> Check:
    return next(check for check in record.checks if check.name == name)


def red(record: CaseRecord) -> set[str]:
    return {check.name for check in record.checks if not check.passed}


@pytest.mark.parametrize("toy", [double, launch_double], ids=["torch", "triton"])
def test_a_launch_that_is_right_twice_is_green(toy: Callable[..., None]):
    record = judged(toy)
    assert record.status is Status.PASSED, record.reason
    assert check(record).detail == "right again on the values of seed 1"


def test_a_value_kept_from_the_first_launch_is_red_by_the_replay_alone():
    kept: dict[str, torch.Tensor] = {}

    def cached(x: torch.Tensor, out: torch.Tensor) -> None:
        double(kept.setdefault("x", x.clone()), out)

    record = judged(cached)
    assert red(record) == {"replay"}
    assert check(record).detail.startswith("the values of seed 1, then bytes: ")


def test_the_second_launch_has_the_pointers_strides_and_variant_of_the_first():
    calls: list[tuple[int, int, tuple[int, ...]]] = []

    def noting(x: torch.Tensor, out: torch.Tensor) -> None:
        calls.append((x.data_ptr(), out.data_ptr(), x.stride()))
        double(x, out)

    judged(noting)
    assert len(calls) == 2
    assert calls[0] == calls[1]


def test_the_second_launch_finds_other_inputs_and_untouched_outputs():
    seen: list[tuple[torch.Tensor, torch.Tensor]] = []

    def noting(x: torch.Tensor, out: torch.Tensor) -> None:
        seen.append((x.clone(), out.clone()))
        double(x, out)

    judged(noting)
    assert not torch.equal(seen[0][0].nan_to_num(), seen[1][0].nan_to_num())
    assert torch.equal(seen[0][1], seen[1][1])


def test_a_store_beside_the_output_in_the_second_launch_alone_is_red():
    times: list[int] = []

    def overrunning(x: torch.Tensor, out: torch.Tensor) -> None:
        double(x, out)
        times.append(1)
        if len(times) > 1:
            out.as_strided((1,), (1,), out.storage_offset() + out.numel()).fill_(1.0)

    record = judged(overrunning)
    assert red(record) == {"replay"}
    assert "guard bytes overwritten, the first 0 bytes past the end of out" in check(record).detail


def test_the_operands_that_an_op_declares_are_replayed():
    def ones(case: Case, stream: Stream) -> Operands:
        first = toy_inputs(case, stream)
        return replace(first, inputs={"x": torch.ones_like(first.inputs["x"])})

    def second_row_wrong_for_ones(x: torch.Tensor, out: torch.Tensor) -> None:
        double(x, out)
        out[1, :-1] += (x[1, :-1] == 1).all()

    record = judged(second_row_wrong_for_ones, replay=ones)
    assert red(record) == {"replay"}
    assert "shorter requests in the same memory, then bytes" in check(record).detail


def test_operands_of_other_shapes_are_said_to_be_not_applicable():
    def one_row_more_a_seed(case: Case, stream: Stream) -> Operands:
        first = toy_inputs(case, stream)
        x = first.inputs["x"].repeat(1 + case.seed, 1)
        return replace(first, inputs={"x": x}, outputs={"out": torch.full(x.shape, -7.0)}, unread={})

    record = judged(double, inputs=one_row_more_a_seed)
    assert record.status is Status.PASSED
    found = check(record)
    assert (found.passed, found.applicable, found.statistic) == (True, False, None)
    assert "x is torch.float32 [4, 96] in one call and torch.float32 [8, 96] in the other" in found.detail


@pytest.mark.parametrize(
    ("changes", "words"),
    [
        ({"scalars": {"n": 2}}, "the scalars are {'n': 1} in one call and {'n': 2} in the other"),
        ({"inputs": {}}, "one call has x and the other has not"),
        ({"inputs": {"x": torch.zeros(2, dtype=torch.int32)}}, "x is torch.float32 [2] in one call"),
        ({"workspaces": {"scratch": torch.zeros(1)}}, "one call has scratch"),
        ({"inputs": {"x": torch.ones(2)}}, None),
    ],
)
def test_what_keeps_two_calls_apart_is_named(changes: dict[str, Any], words: str | None):
    first = Operands({"x": torch.zeros(2)}, {"out": torch.zeros(2)}, {"n": 1})
    found = mismatch(first, replace(first, **changes))
    assert found is None if words is None else found is not None and words in found


@pytest.mark.parametrize("odd", [2, 21])
def test_one_launch_of_twenty_with_another_bit_is_red_and_names_it(odd: int):
    times: list[int] = []

    def wavering(x: torch.Tensor, out: torch.Tensor) -> None:
        double(x, out)
        times.append(1)
        if len(times) == odd:
            out.view(torch.int32)[1, 2] ^= 1

    record = judged(wavering, Repeating())
    assert red(record) == {"determinism"}
    found = check(record, "determinism")
    assert found.detail == f"launch {odd - 1} of 20 gives other bits at out[1, 2]"
    assert record.first_wrong is not None


def test_launches_are_repeated_where_programs_run_beside_each_other():
    assert check(judged(double, Repeating()), "determinism").detail == "bit-equal in 20 launches"


def test_launches_of_programs_that_run_one_after_another_are_not_repeated():
    assert not check(judged(double), "determinism").applicable


def test_a_graph_is_not_applicable_where_there_is_none_and_says_so():
    found = check(judged(double), "graph-replay")
    assert (found.passed, found.applicable) == (True, False)
    assert found.detail == "not applicable: only a device has graphs"


def test_the_device_captures_graphs_and_the_interpreter_does_not():
    assert isinstance(DeviceEngine(), CapturesGraphs)
    assert not isinstance(InterpreterEngine(), CapturesGraphs)


def test_a_graph_that_gives_the_eager_bits_is_green():
    record = judged(double, Repeating())
    assert record.status is Status.PASSED, record.reason
    assert check(record, "graph-replay").detail == "the graph gives the eager bits on the values of seed 1"


def test_a_graph_that_replays_nothing_is_red_and_names_the_first_element():
    record = judged(double, Repeating(stale=lambda: None))
    assert red(record) == {"graph-replay"}
    assert "out[0, 0] of the replay is not the eager launch's" in check(record, "graph-replay").detail


def test_a_launch_that_cannot_be_captured_is_red_and_says_why():
    class Refusing(InterpreterEngine):
        def captured(self, call: Callable[[], None]) -> Callable[[], None]:  # noqa: ARG002
            raise RuntimeError("operation not permitted when stream is capturing\nat some line")

    record = judged(double, Refusing())
    assert red(record) == {"graph-replay"}
    said = check(record, "graph-replay").detail
    assert said == "the launch cannot be captured: operation not permitted when stream is capturing"


def test_what_runs_outside_of_graphs_is_not_applicable_and_says_why():
    class Building(InterpreterEngine):
        def captured(self, call: Callable[[], None]) -> Callable[[], None]:  # noqa: ARG002
            raise OutsideGraphs("its caller knows x on the host")

    record = judged(double, Building())
    assert record.status is Status.PASSED, record.reason
    assert check(record, "graph-replay").detail == "not applicable: its caller knows x on the host"


def test_the_peer_is_never_captured():
    ops.register(toy_op(probes=()))
    record = Judge(provider("torch"), Repeating(stale=lambda: None), "full", "run")(toy_case())
    assert record.status is Status.PASSED
    assert not check(record, "graph-replay").applicable


@pytest.mark.parametrize(("caught_by", "names"), [("replay", {"replay"}), ("bytes", set())])
def test_a_fault_runs_the_replay_only_where_it_is_declared_to_be_caught_by_it(caught_by: str, names: set[str]):
    fault = register(
        toy_fault(name="toy-harmless", seams={"toy": ChangeVariant(lambda v: v)}, caught_by=frozenset({caught_by}))
    )
    ops.register(toy_op())
    record = Judge(provider("rocassay"), engine("interpreter"), "quick", "run")(toy_case(), fault)
    assert {found.name for found in record.checks} & {
        "determinism",
        "replay",
        "graph-replay",
        "strides",
        "poison",
    } == names
