"""A toy op that is judged in milliseconds: out = 2 * x, with a last column that nobody may read or write."""

from __future__ import annotations

import ctypes
import os
import signal
import time
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import torch

from rocassay.harness.arch import Target
from rocassay.harness.cases import Case, cross
from rocassay.harness.faults import ChangeVariant, Fault
from rocassay.harness.gates import ExactBytes
from rocassay.harness.inputs import Operands, Placement, Stream
from rocassay.harness.ops import Op, Tier
from rocassay.harness.plan import RoundingPlan
from rocassay.harness.probes import Invariance, Poison, Strides
from rocassay.harness.probes.metamorphic import Transformed
from rocassay.harness.providers import Provider
from rocassay.harness.results import CaseRecord, Cell, Coordinate, RunEnd, RunHeader, Status

ROWS, COLUMNS = 4, 96
UNTOUCHED = -7.0
PR_SET_NAME = 15
"""Names the process, as others see it (Linux, prctl(2))."""
ENDLESS = 60
"""Seconds that what hangs would take: a run that fails to end it is red and not endless itself."""
NAP = 0.05
"""Seconds that the mode `slow` takes."""

MODES = ("fine", "slow", "dies", "raises")


def toy_case(mode: str = "fine", *, block_size: int = 1, arch: str = "gfx942", number: int = 0) -> Case:
    return Case("toy", arch, "e4m3fn", block_size, (("mode", mode), ("number", number)))


def toy_cases(tier: Tier, op: str = "toy") -> Iterable[Case]:
    return cross(op, arches=("gfx942",), fp8s=("e4m3fn",), block_sizes=(1, 16), mode=("fine",), number=range(2))


def toy_inputs(case: Case, stream: Stream) -> Operands:
    x = torch.from_numpy(stream.child("x").gaussian((ROWS, COLUMNS))).float()
    x[:, -1] = torch.nan
    unread = torch.zeros(x.shape, dtype=torch.bool)
    unread[:, -1] = True
    return Operands(
        inputs={"x": x},
        outputs={"out": torch.full((ROWS, COLUMNS), UNTOUCHED)},
        placements={"x": Placement((COLUMNS + 3, 1))},
        unread={"x": unread},
    )


def toy_golden(case: Case, operands: Operands) -> Mapping[str, ExactBytes]:
    expected = 2 * operands.inputs["x"]
    expected[:, -1] = UNTOUCHED
    return {"out": ExactBytes(expected)}


def double(x: torch.Tensor, out: torch.Tensor) -> None:
    torch.mul(x[:, :-1], 2, out=out[:, :-1])


def segfaults() -> None:
    ctypes.string_at(0)


def hangs() -> None:
    end = time.monotonic() + ENDLESS
    while time.monotonic() < end:
        time.sleep(0.01)


def hangs_in_c() -> None:
    # PyDLL keeps the interpreter's lock, and no signal ends the wait for a mutex that this thread holds.
    mutex, library = ctypes.create_string_buffer(256), ctypes.PyDLL(None)
    library.prctl(PR_SET_NAME, b"hangs_in_c")
    library.pthread_mutex_lock(mutex)
    library.pthread_mutex_timedlock(mutex, (ctypes.c_long * 2)(int(time.time()) + ENDLESS, 0))


def takes_all_memory() -> None:
    torch.ones(2**40)


def takes_all_memory_in_numpy() -> None:
    np.ones(2**40)


def fells_its_node() -> None:
    """Take a node of a Ray cluster along, as a case does that hangs the machine; without a node, fail."""
    worker = os.getppid()
    raylet = int(Path(f"/proc/{worker}/stat").read_text().rpartition(")")[2].split()[1])
    if Path(f"/proc/{raylet}/comm").read_text().strip() != "raylet":
        raise ZeroDivisionError("the toy fells nodes of a cluster only, and this is none")
    os.kill(raylet, signal.SIGKILL)
    time.sleep(ENDLESS)


HOSTILE: Mapping[str, Callable[[], None]] = {
    "segfaults": segfaults,
    "hangs": hangs,
    "hangs_in_c": hangs_in_c,
    "takes_all_memory": takes_all_memory,
    "takes_all_memory_in_numpy": takes_all_memory_in_numpy,
}
"""Modes that would take a process along, with what they do."""


def launch(x: torch.Tensor, out: torch.Tensor, variant: str) -> None:
    """The launcher: right in the modes `fine` and `slow`, and in the others as bad as it can be."""
    if variant == "slow":
        time.sleep(NAP)
    if variant == "dies":
        os.kill(os.getpid(), signal.SIGKILL)
    if variant == "raises":
        raise ZeroDivisionError("the toy broke")
    if variant == "fells":
        fells_its_node()
    if variant in HOSTILE:
        HOSTILE[variant]()
    double(x, out)
    if variant == "wrong":
        out[2, 5] += 1


def toy_peer(case: Case, arguments: dict[str, Any]) -> None:
    double(**arguments)


def toy_variant(case: Case, target: Target, dispatch: Any) -> str:
    return str(case["mode"])


def toy_locate(case: Case, operands: Operands, output: str, index: tuple[int, ...]) -> Coordinate:
    return Coordinate(output=output, index=index, where={"row": index[0], "column": index[1]})


def reversed_rows(case: Case, operands: Operands) -> Transformed:
    inputs = {"x": operands.inputs["x"].flip(0)}
    unread = {"x": operands.unread["x"].flip(0)}
    return case, replace(operands, inputs=inputs, unread=unread), lambda outputs: {"out": outputs["out"].flip(0)}


def toy_op(name: str = "toy", /, **changes: Any) -> Op:
    parts: dict[str, Any] = {
        "name": name,
        "contract": "out = 2 * x except in the last column",
        "launcher": "rocassay.suites.selftest.toys:launch",
        "inputs": toy_inputs,
        "golden": toy_golden,
        "peer": toy_peer,
        "variant": toy_variant,
        "dispatch": None,
        "cases": lambda tier: toy_cases(tier, name),
        "plan": RoundingPlan((), "doubling is exact"),
        "locate": toy_locate,
        "faults": (f"{name}-off-by-one",),
        "probes": (Strides(), Poison(), Invariance("row-order", reversed_rows, "rows are independent")),
    }
    parts.update(changes)
    return Op(**parts)


def toy_fault(op: str = "toy", **changes: Any) -> Fault:
    parts: dict[str, Any] = {
        "name": f"{op}-off-by-one",
        "reference": "rocassay selftest",
        "summary": "one element is one too large",
        "seams": {op: ChangeVariant(lambda _: "wrong")},
        "applies": lambda case: case["mode"] == "fine",
        "caught_by": frozenset({"bytes"}),
    }
    parts.update(changes)
    return Fault(**parts)


class Implementation(Provider):
    """A provider whose toy is the given function of (x, out)."""

    name = "rocassay"

    def __init__(self, function: Callable[..., None]) -> None:
        self._function = function

    def call(self, op: Op, case: Case, arguments: dict[str, Any], variant: Any, module: ModuleType | None) -> None:  # noqa: ARG002
        """Hand the tensors to the function."""
        self._function(**arguments)


def record(case: Case | None = None, status: Status = Status.PASSED, **changes: Any) -> CaseRecord:
    """A record as a run writes it, without having run anything."""
    case = case or toy_case()
    parts: dict[str, Any] = {
        "run_id": "r",
        "case": str(case),
        "op": case.op,
        "arch": case.arch,
        "fp8": case.fp8,
        "block_size": case.block_size,
        "params": dict(case.params),
        "recipe": case.recipe,
        "seed": case.seed,
        "provider": "rocassay",
        "engine": "interpreter",
        "tier": "quick",
        "status": status,
    }
    return CaseRecord(**{**parts, **changes})


def header(*expected: Case, **changes: Any) -> RunHeader:
    """The first line of a run that expects the cells of the given cases."""
    cells = tuple(
        Cell(op=c.op, arch=c.arch, fp8=c.fp8, block_size=c.block_size, engine="interpreter") for c in expected
    )
    parts: dict[str, Any] = {"run_id": "r", "started": "2025-01-01T00:00:00+00:00", "command": "rocassay run"}
    parts |= {"tier": "quick", "provider": "rocassay", "engine": "interpreter", "expected": cells}
    return RunHeader(**{**parts, **changes})


def end(**changes: Any) -> RunEnd:
    """The last line of that run."""
    return RunEnd(**{"run_id": "r", "finished": "2025-01-01T00:00:09+00:00", "seconds": 9.0, **changes})
