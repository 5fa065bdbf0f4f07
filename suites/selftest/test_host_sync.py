"""The host-sync probe: green on an implementation that never waits, red on each way of waiting."""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Callable

import numpy as np
import pytest
import torch

from rocassay.harness import ops
from rocassay.harness.engines.base import engine
from rocassay.harness.judge import Judge
from rocassay.harness.probes import Allowance
from rocassay.harness.probes.callers import place
from rocassay.harness.probes.host_sync import known_on_the_host, watched
from rocassay.harness.probes.watching import Watch
from rocassay.harness.providers import provider
from rocassay.harness.results import CaseRecord, Check, Status
from rocassay.suites.selftest.test_probes import launch_double
from rocassay.suites.selftest.toys import Implementation, double, toy_case, toy_op

Call = Callable[[torch.Tensor], object]

WAITING: dict[str, Call] = {
    "item": lambda x: x[0, 0].item(),
    "bool": lambda x: bool(x[0, 0] > 0),
    "int": lambda x: int(x[0, 0]),
    "float": lambda x: float(x[0, 0]),
    "a comparison in an if": lambda x: 1 if x[0, 0] == 0 else 2,
    "a tensor as an index": lambda x: range(4)[x[0, :3].isnan().sum()],
    "tolist": lambda x: x[0].tolist(),
    "cpu": lambda x: x.cpu(),
    "to a CPU device": lambda x: x.to(torch.device("cpu")),
    "to the CPU by keyword": lambda x: x.to(device="cpu"),
    "numpy": lambda x: x.numpy(),
    "numpy by conversion": lambda x: np.asarray(x),
    "nonzero": lambda x: x.nonzero(),
    "a boolean mask": lambda x: x[x > 0],
    "an assignment through a mask": lambda x: x.clone().index_put_((x > 0,), x[0, 0].expand(int((x > 0).sum()))),
    "masked_select": lambda x: x.masked_select(x > 0),
    "equal": lambda x: torch.equal(x, x),
    "unique": lambda x: x.unique(),
    "repeat_interleave": lambda x: x[0, :2].repeat_interleave(x[0, :2].isnan().long()),
}

FREE: dict[str, Call] = {
    "views, shapes and strides": lambda x: (x.shape, x.stride(), x[1:].view(torch.int32), x.data_ptr()),
    "another dtype": lambda x: x.to(torch.float64),
    "to where another tensor lies": lambda x: x.to(device=x.device, dtype=torch.float64),
    "one value through a mask": lambda x: x.clone().masked_fill_(x > 0, 1.0),
    "one value assigned through a mask": lambda x: x.clone().__setitem__(x > 0, 1.0),
    "an integer index": lambda x: x[torch.tensor([0, 1])],
    "a choice": lambda x: torch.where(x > 0, x, 0.0),
    "a known number of repeats": lambda x: x[0, :2].repeat_interleave(torch.tensor([1, 2]), output_size=3),
    "sums and prefix sums": lambda x: (x.sum(), x.cumsum(0)),
}

pytestmark = pytest.mark.usefixtures("registry")


def judged(toy: Callable[[torch.Tensor, torch.Tensor], None]) -> CaseRecord:
    ops.register(toy_op(probes=(), allocations=Allowance(9, "most ways of waiting make a tensor")))
    return Judge(Implementation(toy), engine("interpreter"), "full", "run")(toy_case())


def host_sync(record: CaseRecord) -> Check:
    return next(check for check in record.checks if check.name == "host-sync")


def after(call: Call) -> Callable[[torch.Tensor, torch.Tensor], None]:
    def toy(x: torch.Tensor, out: torch.Tensor) -> None:
        double(x, out)
        call(x)

    return toy


@pytest.mark.parametrize("toy", [double, launch_double], ids=["torch", "triton"])
def test_an_implementation_that_never_waits_is_green(toy: Callable[[torch.Tensor, torch.Tensor], None]):
    record = judged(toy)
    assert record.status is Status.PASSED, record.reason
    assert host_sync(record).statistic == 0


@pytest.mark.parametrize("way", WAITING)
def test_waiting_is_red_by_this_probe_alone_and_says_where_for(way: str):
    record = judged(after(WAITING[way]))
    assert {check.name for check in record.checks if not check.passed} == {"host-sync"}
    assert f"at {__name__.rpartition('.')[2]}.py:" in host_sync(record).detail


@pytest.mark.parametrize("thing", FREE)
def test_what_needs_no_value_on_the_host_is_green_for(thing: str):
    record = judged(after(FREE[thing]))
    assert record.status is Status.PASSED, record.reason


def test_every_wait_is_counted():
    record = judged(after(lambda x: [x[0, i].item() for i in range(3)]))
    assert host_sync(record).statistic == 3


def test_the_harness_itself_is_not_watched():
    record = judged(double)
    assert host_sync(record).passed, "the outputs are copied back to the CPU after the call"


def test_the_peer_may_wait():
    waiting = after(WAITING["item"])
    ops.register(toy_op(probes=(), peer=lambda _, tensors: waiting(tensors["x"], tensors["out"])))
    record = Judge(provider("torch"), engine("interpreter"), "full", "run")(toy_case())
    assert record.status is Status.PASSED


def test_only_tensors_of_the_watched_device_count():
    syncs: list[str] = []
    with watched(torch.device("meta"), syncs):
        torch.ones(3).sum().item()
    assert syncs == []


def test_a_blocking_copy_between_host_and_device_counts_and_an_asynchronous_one_does_not():
    syncs: list[str] = []
    with watched(torch.device("meta"), syncs):
        torch.empty(3, device="meta").copy_(torch.ones(3), non_blocking=True)
        assert syncs == []
        torch.empty(3, device="meta").copy_(torch.ones(3))
    assert len(syncs) == 1
    assert syncs[0].startswith("aten.copy_.default at ")


def test_a_warning_is_placed_at_the_call_that_raised_it_and_not_in_the_machinery_of_warnings():
    places: list[str] = []
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        warnings.showwarning = lambda *_, **__: places.append(place())
        warnings.warn("called a synchronizing CUDA operation", stacklevel=1)
    assert len(places) == 1
    assert places[0].startswith(f"{__name__.rpartition('.')[2]}.py:")


def test_a_wait_that_is_asked_for_by_name_counts_and_the_name_means_itself_again_afterwards():
    syncs: list[str] = []
    original = torch.cuda.synchronize
    with watched(torch.device("cpu"), syncs):
        torch.cuda.synchronize()
    assert torch.cuda.synchronize is original
    assert len(syncs) == 1
    assert syncs[0].startswith(f"torch.cuda.synchronize at {__name__.rpartition('.')[2]}.py:")


@pytest.mark.parametrize("mode", Watch.__subclasses__(), ids=lambda mode: mode.__name__)
def test_watching_calls_does_not_ask_for_torchs_compiler(mode: type[Watch]):
    # Wrapped by torch, the first call under the mode would import torch._dynamo, for seconds.
    assert inspect.unwrap(mode.__torch_dispatch__) is mode.__torch_dispatch__


def test_what_the_caller_has_on_the_host_is_read_without_waiting_and_nothing_else():
    def toy(x: torch.Tensor, out: torch.Tensor) -> None:
        double(x, out)
        x[1].tolist()
        with known_on_the_host():
            x[0].tolist()
        x.numpy()

    check = host_sync(judged(toy))
    assert not check.passed
    assert check.statistic == 2
    assert (check.detail or "").startswith("2 host synchronisations, the first: Tensor.tolist")
