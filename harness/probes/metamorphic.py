"""Metamorphic probes: change what must not matter, run again, and nothing visible may change."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace

import torch

from rocassay.harness.cases import Case
from rocassay.harness.gates.verdict import Verdict
from rocassay.harness.inputs import Operands
from rocassay.harness.probes.probe import Observation, Outputs, first_difference


def _compared(name: str, seen: Observation, other: Outputs, same: str, changed: str, reason: str) -> Verdict:
    difference = first_difference(seen, other)
    if difference is None:
        return Verdict(name, True, same, 0.0, 0.0, reason)
    output, index = difference
    return Verdict(name, False, f"{changed}: {output}{list(index)} differs", 1.0, 0.0, reason, output, index)


@dataclass(frozen=True, slots=True)
class Poison:
    """Bytes that must not be read hold other bytes: zeros instead of NaN."""

    name: str = "poison"
    reruns: bool = True

    def check(self, seen: Observation) -> Verdict:
        """Red when a visible result depends on an unread byte."""
        inputs = dict(seen.operands.inputs)
        for name, mask in seen.operands.unread.items():
            inputs[name] = torch.where(mask, torch.zeros_like(inputs[name]), inputs[name])
        other = seen.rerun(seen.case, replace(seen.operands, inputs=inputs))
        count = sum(int(mask.sum()) for mask in seen.operands.unread.values())
        same = f"no result depends on the {count} elements that must not be read"
        reason = "unused pages, table columns and tails belong to others"
        return _compared(self.name, seen, other, same, "a result depends on an element nobody may read", reason)


@dataclass(frozen=True, slots=True)
class Strides:
    """The same values at contiguous strides."""

    name: str = "strides"
    reruns: bool = True

    def check(self, seen: Observation) -> Verdict:
        """Red when padded strides give other bits than contiguous ones."""
        padded = [name for name, place in seen.operands.placements.items() if place.strides is not None]
        other = seen.rerun(seen.case, replace(seen.operands, placements={}))
        same = f"bit-equal with {', '.join(padded) or 'nothing'} padded and contiguous"
        reason = "strides say where a value lies, not what it is"
        return _compared(self.name, seen, other, same, "padded strides change a result", reason)


Transformed = tuple[Case, Operands, Callable[[Outputs], Outputs]]
"""Case and operands to run instead, and how to bring the outputs back into the original's terms."""


@dataclass(frozen=True, slots=True)
class Invariance:
    """An equivalence that the op's contract implies, e.g. under permutation of pages or another page size."""

    name: str
    transform: Callable[[Case, Operands], Transformed]
    reason: str
    reruns: bool = True

    def check(self, seen: Observation) -> Verdict:
        """Red when the transformed run, brought back, violates the original's expectation."""
        case, operands, back = self.transform(seen.case, seen.operands)
        other = back(seen.rerun(case, operands))
        for name, expectation in seen.expectations.items():
            for verdict in expectation.judge(name, other[name]):
                if not verdict.passed:
                    return replace(verdict, name=self.name, reason=self.reason, detail=f"{case}: {verdict.detail}")
        return Verdict(self.name, True, f"same result as {case}", 0.0, 0.0, self.reason)


@dataclass(frozen=True, slots=True)
class BatchInvariance:
    """A request's bits do not depend on who shares its batch: sizes and splits must not follow the batch's size.

    Where a plan or a dispatcher may split otherwise, `Invariance` judges the other split by the op's own expectation.
    """

    transform: Callable[[Case, Operands], Transformed]
    excused: Callable[[Observation], str] = lambda _: ""
    """Why a run's bits may follow the batch, or an empty text."""
    name: str = "batch"
    reruns: bool = True

    def check(self, seen: Observation) -> Verdict:
        """Red when a request's visible bits differ in the larger batch."""
        reason = "who else is served at the time is nobody's business: evaluations and training have to repeat"
        if why := self.excused(seen):
            return Verdict.not_applicable(self.name, why, reason)
        case, operands, back = self.transform(seen.case, seen.operands)
        other = back(seen.rerun(case, operands))
        same, changed = "bit-equal with one request more in front", "one request more in front changes a result"
        return _compared(self.name, seen, other, same, changed, reason)
