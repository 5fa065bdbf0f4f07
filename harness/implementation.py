"""What stands between an op's name and a launch: a provider, an engine, and the faults that are injected on the way."""

from __future__ import annotations

import functools
from collections.abc import Callable
from dataclasses import dataclass
from types import ModuleType
from typing import Any

from rocassay.harness.cases import Case
from rocassay.harness.engines.base import Engine
from rocassay.harness.errors import RocassayError
from rocassay.harness.faults.fault import ChangeDispatch, ChangeInputs, ChangeSource, ChangeVariant, Fault, Seam
from rocassay.harness.faults.source import mutated
from rocassay.harness.inputs import Operands
from rocassay.harness.ops import Op
from rocassay.harness.providers import Provider


class FaultsCollide(RocassayError, ValueError):
    """Two faults rewrite the source of one op."""


@dataclass(frozen=True, slots=True)
class Implementation:
    """Whose ops run on what, with which defects."""

    provider: Provider
    """Whose implementation."""
    engine: Engine
    """What executes it."""
    faults: tuple[Fault, ...] = ()
    """Injected defects; each changes its one thing, in this order."""

    def seams(self, op: Op) -> tuple[Seam, ...]:
        """What the faults change in this op."""
        return tuple(fault.seams[op.name] for fault in self.faults if op.name in fault.seams)

    def variant(self, op: Op, case: Case) -> Any:
        """The dispatcher's decisions for the case on this engine."""
        dispatch = op.dispatch
        for seam in self.seams(op):
            if isinstance(seam, ChangeDispatch):
                dispatch = seam.change(dispatch)
        variant = op.variant(case, self.engine.target(case.arch), dispatch)
        for seam in self.seams(op):
            if isinstance(seam, ChangeVariant):
                variant = seam.change(variant)
        return variant

    def seen(self, op: Op, operands: Operands) -> Operands:
        """The operands that the op gets to see."""
        for seam in self.seams(op):
            if isinstance(seam, ChangeInputs):
                operands = seam.change(operands)
        return operands

    def launcher(self, op: Op, case: Case, arguments: dict[str, Any], variant: Any) -> Callable[[], None]:
        """The call on tensors where the engine wants them; outputs are written in place."""
        return functools.partial(self.provider.call, op, case, arguments, variant, self._module(op))

    def _module(self, op: Op) -> ModuleType | None:
        """The op's module with a line rewritten; FaultsCollide when two faults want to."""
        rewritten = [
            (fault, seam) for fault in self.faults if isinstance(seam := fault.seams.get(op.name), ChangeSource)
        ]
        if len(rewritten) > 1:
            names = " and ".join(fault.name for fault, _ in rewritten)
            raise FaultsCollide(f"{names} both rewrite the source of {op.name}; inject one at a time")
        return mutated(rewritten[0][0].name, rewritten[0][1]) if rewritten else None
