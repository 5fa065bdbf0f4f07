"""What a probe is: a property checked around a run."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol

import torch

from rocassay.harness.arch import Target
from rocassay.harness.cases import Case
from rocassay.harness.gates.verdict import Verdict
from rocassay.harness.inputs import Operands

if TYPE_CHECKING:
    from rocassay.harness.arena import Placed
    from rocassay.harness.engines.base import Trace
    from rocassay.harness.ops import Expectation

Outputs = Mapping[str, torch.Tensor]


@dataclass(frozen=True, slots=True)
class Allowance:
    """How many allocations and copies a launcher may make, and why it cannot do without."""

    count: int = 0
    """Of one call."""
    reason: str = ""
    """Never empty when any is allowed."""


NO_ALLOCATION = Allowance()
"""The rule: a launcher works in the memory it is given."""


@dataclass(frozen=True, slots=True)
class Second:
    """What the same launch is repeated on: operands that differ from the first in values only."""

    what: str
    """In words."""
    operands: Operands
    expectations: Mapping[str, Expectation]


@dataclass(frozen=True, slots=True)
class Relaunch:
    """A launch in the memory of an earlier one."""

    outputs: Outputs
    trace: Trace


@dataclass(frozen=True, slots=True)
class Observation:
    """One finished run, with the means to run again."""

    case: Case
    provider: str
    target: Target
    variant: Any
    operands: Operands
    outputs: Outputs
    expectations: Mapping[str, Expectation]
    placed: Placed
    trace: Trace
    rerun: Callable[[Case, Operands], Outputs]
    """Runs the same implementation, with the same fault, on other operands."""
    second: Callable[[], Second | str]
    """Operands for a replay with their golden, or why the op has none."""
    relaunch: Callable[[Operands], Relaunch]
    """Refills the memory of this run and launches again with the same variant, pointers and scalars."""
    replayed: Callable[[Operands], Outputs] | None = None
    """Captures the launch into a graph, refills, replays; None on an engine without graphs."""
    allowance: Allowance = NO_ALLOCATION
    """Allocations that the op declares."""


class Probe(Protocol):
    """A named property; `reruns` tells that checking it runs the op again."""

    @property
    def name(self) -> str:
        """Name in records."""
        ...

    @property
    def reruns(self) -> bool:
        """Whether checking costs further runs."""
        ...

    def check(self, seen: Observation) -> Verdict:
        """Check the property."""
        ...


def first_difference(seen: Observation, other: Outputs) -> tuple[str, tuple[int, ...]] | None:
    """Output name and index of the first visible element whose bits differ from the run's, if any."""
    return first_difference_between(seen.outputs, other, seen.expectations)


def first_difference_between(
    one: Outputs, other: Outputs, expectations: Mapping[str, Expectation]
) -> tuple[str, tuple[int, ...]] | None:
    """Output name and index of the first visible element whose bits differ, if any."""
    for name, mine in one.items():
        differs = _bits(mine) != _bits(other[name])
        visible = getattr(expectations[name], "visible", None)
        if visible is not None:
            differs &= visible
        if bool(differs.any()):
            return name, tuple(int(i) for i in differs.nonzero()[0])
    return None


def _bits(tensor: torch.Tensor) -> torch.Tensor:
    integers = {1: torch.uint8, 2: torch.int16, 4: torch.int32, 8: torch.int64}
    if not tensor.numel():
        return torch.empty(tensor.shape, dtype=torch.uint8)
    return tensor.contiguous().view(integers[tensor.element_size()])
