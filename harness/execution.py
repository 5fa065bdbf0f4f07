"""One execution of an op: operands placed in guarded memory, the provider launched on the engine, again if asked."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import torch

from rocassay.harness.arena import Placed
from rocassay.harness.cases import Case
from rocassay.harness.engines.base import CapturesGraphs, Trace
from rocassay.harness.implementation import Implementation
from rocassay.harness.inputs import Operands
from rocassay.harness.ops import Op
from rocassay.harness.probes.allocations import counted
from rocassay.harness.probes.host_sync import watched
from rocassay.harness.probes.probe import Relaunch


class Execution:
    """One execution of an op with a fault's change applied at its seam."""

    def __init__(self, op: Op, implementation: Implementation) -> None:
        self._op, self._implementation = op, implementation
        self._engine = implementation.engine
        self._case: Case
        self._first: Operands
        self.variant: Any = None
        self.placed: Placed
        self.trace: Trace

    def __call__(self, case: Case, operands: Operands) -> dict[str, torch.Tensor]:
        """Outputs on `operands`, in memory of their own."""
        self._case, self._first = case, operands
        self.variant = self._implementation.variant(self._op, case)
        self.placed = Placed(self._seen(operands), self._engine.device)
        self.trace = self._launch(self._launcher())
        return self.placed.outputs()

    def again(self, operands: Operands) -> Relaunch:
        """The same call once more, on other values at the same addresses."""
        self.placed.refill(self._seen(operands))
        trace = self._launch(self._launcher())
        return Relaunch(self.placed.outputs(), trace)

    def replayed(self, operands: Operands) -> dict[str, torch.Tensor]:
        """Outputs of a graph, captured on the run's own values and replayed on others."""
        assert isinstance(self._engine, CapturesGraphs)
        self.placed.refill(self._seen(self._first))
        with self._engine.session():
            replay = self._engine.captured(self._launcher())
            self.placed.refill(self._seen(operands))
            replay()
        return self.placed.outputs()

    def _seen(self, operands: Operands) -> Operands:
        return self._implementation.seen(self._op, operands)

    def _launcher(self) -> Callable[[], None]:
        return self._implementation.launcher(self._op, self._case, self.placed.arguments(), self.variant)

    def _launch(self, call: Callable[[], None]) -> Trace:
        device = self._engine.device
        with (
            self._engine.session() as trace,
            watched(device, trace.syncs),
            counted(device, trace.allocations),
        ):
            call()
        return trace
