"""Calls of the project's ops by name, outside a case's run: the same providers, engines and ways in for faults."""

from __future__ import annotations

import importlib
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from rocassay.harness.cases import Case, Value
from rocassay.harness.engines.base import Engine
from rocassay.harness.faults import Fault, fault_named
from rocassay.harness.implementation import Implementation
from rocassay.harness.ops import SUITES, Op, op_named
from rocassay.harness.providers import Provider


@dataclass(slots=True)
class Counts:
    """What the calls cost and what the engine saw of them."""

    launches: int = 0
    """Kernel launches."""
    programs: int = 0
    """Program instances of them."""
    findings: dict[str, int] = field(default_factory=dict[str, int])
    """Accesses outside every tensor, by kernel and kind."""


@dataclass(slots=True)
class Calls:
    """The ops as one chip with one kind of cache runs them."""

    provider: Provider
    """Whose implementation."""
    engine: Engine
    """What executes it."""
    arch: str
    """gfx architecture whose decisions are taken."""
    fp8: str
    """FP8 flavour of the caches."""
    block_size: int
    """Tokens per cache page."""
    faults: tuple[Fault, ...] = ()
    """Injected defects."""
    counts: Counts = field(default_factory=Counts)
    """Of all calls so far."""

    def __call__(
        self, name: str, params: Mapping[str, Value], /, *, page_size: int | None = None, **given: Any
    ) -> None:
        """Run op `name` on tensors of the engine's device; `params` are the case's, from which decisions follow."""
        op = _op(name)
        case = Case(name, self.arch, self.fp8, page_size or self.block_size, tuple(params.items()), "embedded")
        implementation = Implementation(self.provider, self.engine, self.faults)
        call = implementation.launcher(op, case, given, implementation.variant(op, case))
        with self.engine.session() as trace:
            call()
        self.counts.launches += len(trace.launches)
        self.counts.programs += sum(x * y * z for x, y, z in (launch.grid for launch in trace.launches))
        for finding in trace.findings:
            what = f"{finding.kernel}: {finding.kind}"
            self.counts.findings[what] = self.counts.findings.get(what, 0) + finding.lanes


def _op(name: str) -> Op:
    """The op, declared by its own module alone: an evaluation needs a dozen, the catalogue holds many."""
    importlib.import_module(f"{SUITES}.{name}")
    return op_named(name)


def faults_named(names: tuple[str, ...]) -> tuple[Fault, ...]:
    """Faults of the catalogue; UnknownFault suggests the nearest names."""
    if names:
        from rocassay.harness.ops import discover

        discover()
    return tuple(fault_named(name) for name in names)
