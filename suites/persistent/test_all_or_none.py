"""A plan's buffers are handed over together: every launcher refuses a part of them, and names what is missing."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from itertools import combinations
from typing import Any

import pytest
import torch

from rocassay.harness.arena import Placed
from rocassay.harness.cases import Case
from rocassay.harness.engines.base import engine
from rocassay.harness.inputs import Stream
from rocassay.harness.judge import Judge
from rocassay.harness.layouts import LayoutError
from rocassay.harness.ops import Op
from rocassay.harness.providers import provider
from rocassay.harness.results import Status
from rocassay.kernels.fp8_prefill import mla_prefill_ps as prefill
from rocassay.kernels.persistent import mla_decode_fwd as decode
from rocassay.kernels.persistent.buffers import NAMES, PartialMetadata, PlanError, all_or_none
from rocassay.suites.kernels import mla_decode_fwd as decode_suite
from rocassay.suites.kernels import mla_prefill_ps as prefill_suite

DECODE = "mla_decode_fwd:gfx942:e4m3fn:bs1:chip=gfx942,path={},dtype=bf16,heads=16,qlen=1,keys=few,workers=4,causal=1"
PREFILL = "mla_prefill_ps:gfx950:e4m3fn:bs1:tile=32,heads=2,workers=4,kind=fp8,segments=short,path={},lse=yes"


@dataclass(frozen=True, slots=True)
class Launcher:
    """A launcher of two paths, and what its plan consists of."""

    op: Op
    call: Callable[..., None]
    case: str
    planned: str
    without: str
    plan: tuple[str, ...]


DECODING = Launcher(decode_suite.OP, decode.mla_decode_fwd, DECODE, "exact", "plain", decode.PLAN)
PREFILLING = Launcher(prefill_suite.OP, prefill.mla_prefill_ps, PREFILL, "persistent", "fallback", prefill.PLAN)
LAUNCHERS = pytest.mark.parametrize("launcher", [DECODING, PREFILLING], ids=["decode", "prefill"])


def subsets(names: tuple[str, ...]) -> Iterator[tuple[str, ...]]:
    """Every proper non-empty subset."""
    for count in range(1, len(names)):
        yield from combinations(names, count)


def wording(given: tuple[str, ...], names: tuple[str, ...]) -> str:
    missing = ", ".join(name for name in names if name not in given)
    return f"^{missing} is None, the others are given; pass all {len(names)} buffers or none$"


def case_of(launcher: Launcher, path: str) -> Case:
    return Case.parse(launcher.case.format(path) + ":tagged:s0")


def call_of(launcher: Launcher, path: str) -> tuple[Any, dict[str, Any]]:
    """Decisions and arguments of the launcher's case on a path."""
    case = case_of(launcher, path)
    op = launcher.op
    placed = Placed(op.inputs(case, Stream.of(case)), torch.device("cpu"))
    return op.variant(case, engine("interpreter").target(case.arch), op.dispatch), placed.arguments()


def test_there_are_62_parts_of_six_buffers_and_126_of_a_prefills_seven():
    assert len(NAMES) == len(decode.PLAN) == 6
    assert (len(list(subsets(decode.PLAN))), len(list(subsets(prefill.PLAN)))) == (62, 126)


@LAUNCHERS
@pytest.mark.parametrize("planned", [True, False], ids=["persistent", "without"])
def test_every_part_of_a_plan_is_refused_by_name_on_either_path_and_nothing_is_written(
    launcher: Launcher, planned: bool
):
    _, whole = call_of(launcher, launcher.planned)
    variant, arguments = call_of(launcher, launcher.planned if planned else launcher.without)
    outputs = {name: arguments[name].clone() for name in ("o", "output", "final_lse") if name in arguments}
    rest = {name: value for name, value in arguments.items() if name not in launcher.plan}
    with engine("interpreter").session() as trace:
        for given in subsets(launcher.plan):
            with pytest.raises(PartialMetadata, match=wording(given, launcher.plan)):
                launcher.call(**rest, **{name: whole[name] for name in given}, variant=variant)
    assert trace.launches == []
    assert all(torch.equal(arguments[name], before) for name, before in outputs.items())


@LAUNCHERS
@pytest.mark.parametrize("planned", [True, False], ids=["all", "none"])
def test_all_buffers_and_none_are_right(launcher: Launcher, planned: bool):
    case = case_of(launcher, launcher.planned if planned else launcher.without)
    given = call_of(launcher, launcher.planned if planned else launcher.without)[1].keys() & set(launcher.plan)
    assert given == (set(launcher.plan) if planned else set())
    record = Judge(provider("rocassay"), engine("interpreter"), "quick", "")(case)
    assert record.status is Status.PASSED, record.reason


@LAUNCHERS
def test_the_persistent_path_without_any_plan_is_refused(launcher: Launcher):
    variant, arguments = call_of(launcher, launcher.planned)
    rest = {name: value for name, value in arguments.items() if name not in launcher.plan}
    with pytest.raises((PlanError, LayoutError), match="path 'persistent' is chosen"):
        launcher.call(**rest, variant=variant)


def test_buffers_in_another_number_than_their_names_are_refused():
    with pytest.raises(
        PartialMetadata, match="5 buffers are given; pass the 6 in the order work_metadata, work_indptr"
    ):
        all_or_none((0,) * 5)
