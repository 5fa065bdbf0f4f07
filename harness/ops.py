"""The registry of ops: an op without golden, peer, cases, rounding plan or faults is refused."""

from __future__ import annotations

import difflib
import importlib
import importlib.metadata
import pkgutil
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal, Protocol

import torch

from rocassay.harness.arch import Target
from rocassay.harness.cases import Case, Selection
from rocassay.harness.corpus import past_failures
from rocassay.harness.errors import RocassayError
from rocassay.harness.faults.fault import catalogue
from rocassay.harness.gates.verdict import Verdict
from rocassay.harness.inputs import Operands, Stream
from rocassay.harness.layouts import Layout
from rocassay.harness.plan import RoundingPlan
from rocassay.harness.probes.probe import NO_ALLOCATION, Allowance, Probe
from rocassay.harness.results import Cell, Coordinate

Tier = Literal["quick", "full", "nightly"]
TIERS: tuple[Tier, ...] = ("quick", "full", "nightly")

SUITES = "rocassay.suites.kernels"
"""Package whose modules declare the shipped ops."""

DRILLS = "rocassay.suites.drills"
"""Package whose modules declare the shipped faults."""

ENTRY_POINTS = "rocassay.suites"
"""Entry-point group under which other distributions name packages that declare ops."""


class IncompleteOp(RocassayError):
    """An op that lacks a part without which its verdict would mean nothing."""


class UnknownOp(RocassayError, KeyError):
    """No op of that name is registered."""

    def __str__(self) -> str:
        return str(self.args[0])


class Expectation(Protocol):
    """What a golden says of one output."""

    def judge(self, output: str, actual: torch.Tensor) -> list[Verdict]:
        """Judge the output a run produced."""
        ...


@dataclass(frozen=True, slots=True)
class Op:
    """A named operation with its contract and everything needed to judge an implementation of it."""

    name: str
    """Same name as the kernel's, the golden's and the suite's file."""
    contract: str
    """What it does, in one sentence."""
    launcher: str
    """Shipped implementation, as `module:function`; called with the operands' names and `variant`."""
    inputs: Callable[[Case, Stream], Operands]
    """Case -> operands on the CPU."""
    golden: Callable[[Case, Operands], Mapping[str, Expectation]]
    """float64 reference: output name -> expectation."""
    peer: Callable[[Case, dict[str, Any]], None]
    """Plain torch implementation with the same rounding points; writes the outputs in place."""
    variant: Callable[[Case, Target, Any], Any]
    """Decisions for a case on a target, taken from a dispatch table."""
    dispatch: Any
    """The shipped dispatch table."""
    cases: Callable[[Tier], Iterable[Case]]
    """Cases of a tier."""
    plan: RoundingPlan
    """Where implementations round."""
    locate: Callable[[Case, Operands, str, tuple[int, ...]], Coordinate]
    """Index of an output element -> storage coordinate."""
    faults: tuple[str, ...]
    """Names of the faults that break it."""
    probes: tuple[Probe, ...] = ()
    """Properties checked around a run, besides those of every op."""
    probed: Callable[[Case], bool] = lambda _: True
    """Cases on which the probes that run the op again are worth their time; the nightly tier probes all."""
    replay: Callable[[Case, Stream], Operands] | None = None
    """Operands of the same shapes and scalars for a second launch in the same memory: shorter requests, >= 2 rows.

    None: the operands of the case with another seed. The golden must take everything from them, lengths included.
    """
    allocations: Allowance = NO_ALLOCATION
    """Allocations and copies that the launcher may make."""
    layout: Callable[[Case], Layout] | None = None
    """Index map of the pages of a cache that is an output [blocks, block size, record], to draw it by token."""
    free: Mapping[str, tuple[int, int]] = field(default_factory=dict[str, tuple[int, int]])
    """Parameter -> (lowest, highest) integer: inputs can be made with any in between, which a fuzzed case then has."""
    words: Mapping[str, tuple[str, ...]] = field(default_factory=dict[str, tuple[str, ...]])
    """Parameter -> words that no tier has and that a fuzzed case may have, such as one for random lists."""
    accepts: Callable[[Case], bool] = lambda _: True
    """Which mixtures of declared values and of free integers inputs and golden can be made of."""

    def __post_init__(self) -> None:
        missing = [name for name in ("contract", "launcher", "faults") if not getattr(self, name)]
        for name in ("golden", "peer", "inputs", "variant", "cases", "locate"):
            if not callable(getattr(self, name)):
                missing.append(name)
        # Declarations come from people's files: the annotation alone does not keep None out.
        if not isinstance(self.plan, RoundingPlan):  # pyright: ignore[reportUnnecessaryIsInstance]
            missing.append("plan")
        if self.allocations.count and not self.allocations.reason:
            missing.append("reason for its allocations")
        if missing:
            raise IncompleteOp(f"op {self.name!r} is refused: it declares no {', no '.join(missing)}")
        if empty := [name for name, (low, high) in self.free.items() if low > high]:
            raise IncompleteOp(f"op {self.name!r} is refused: the range of its free parameter {empty[0]!r} is empty")


_REGISTRY: dict[str, Op] = {}


def register(op: Op) -> Op:
    """Add an op; IncompleteOp when its name is taken or it has no case in the quick tier."""
    if op.name in _REGISTRY:
        raise IncompleteOp(f"op {op.name!r} is registered twice")
    if not any(True for _ in op.cases("quick")):
        raise IncompleteOp(f"op {op.name!r} is refused: it declares no case in the quick tier")
    _REGISTRY[op.name] = op
    return op


def suite_packages() -> tuple[str, ...]:
    """Packages whose modules declare ops, the shipped one first."""
    return (SUITES, *(point.value for point in importlib.metadata.entry_points(group=ENTRY_POINTS)))


def discover() -> tuple[Op, ...]:
    """Import every module that declares ops or faults, shipped and by entry point, and return the registry.

    Raises IncompleteOp when an op names a fault that the catalogue lacks.
    """
    for package in (*suite_packages(), DRILLS):
        found = importlib.import_module(package)
        for module in pkgutil.iter_modules(found.__path__, prefix=f"{package}."):
            if not module.name.rpartition(".")[2].startswith("test_"):
                importlib.import_module(module.name)
    known = {fault.name for fault in catalogue()}
    for op in _REGISTRY.values():
        if unknown := [name for name in op.faults if name not in known]:
            raise IncompleteOp(f"op {op.name!r} names faults that no drill declares: {', '.join(unknown)}")
    return tuple(_REGISTRY.values())


def op_named(name: str) -> Op:
    """The registered op `name`; UnknownOp lists the nearest names."""
    if name in _REGISTRY:
        return _REGISTRY[name]
    near = difflib.get_close_matches(name, _REGISTRY, n=3) or sorted(_REGISTRY)
    raise UnknownOp(f"no op is called {name!r}; did you mean {', '.join(near)}?")


def select_cases(tier: Tier, selection: Selection, seeds: Sequence[int] = (), *, corpus: bool = True) -> list[Case]:
    """Cases of a tier, and past failures, in an order that keeps equal inputs together (the arch varies fastest).

    `seeds` replace each case's own. A selected case id need not belong to the tier: it names itself completely.
    Without `corpus` only what ops declare.
    """
    every = discover()
    if selection.cases:
        named = [Case.parse(text) for text in sorted(selection.cases)]
        return [case for case in named if op_named(case.op) and selection.takes_case(case)]
    own = [case for op in every if not selection.ops or op.name in selection.ops for case in op.cases(tier)]
    if corpus:
        own += past_failures(suite_packages(), frozenset(op.name for op in every))
    cases = [case.with_seed(seed) for case in own for seed in seeds] if seeds else own
    return sorted(dict.fromkeys(filter(selection.takes_case, cases)), key=_sharing_order)


def _sharing_order(case: Case) -> tuple[object, ...]:
    return (case.op, case.block_size, case.fp8, repr(case.params), case.recipe, case.seed, case.arch)


@dataclass(frozen=True, slots=True)
class Matrix:
    """The expected-to-run matrix, declared apart from the cases so that lost cases show."""

    ops: tuple[str, ...]
    arches: tuple[str, ...]
    fp8s: tuple[str, ...]
    block_sizes: tuple[int, ...]

    def cells(self, engine: str, selection: Selection, arches: Iterable[str] | None = None) -> list[Cell]:
        """Cells that the engine has to execute; `arches` narrows to those the engine can stand for."""
        able = set(self.arches if arches is None else arches)
        return [
            Cell(op=op, arch=arch, fp8=fp8, block_size=block_size, engine=engine)
            for op in self.ops
            for arch in self.arches
            for fp8 in self.fp8s
            for block_size in self.block_sizes
            if arch in able and selection.takes(op, arch, fp8, block_size)
        ]


_MATRICES: list[Matrix] = []


def expect(matrix: Matrix) -> Matrix:
    """Declare cells in which at least one case must run."""
    _MATRICES.append(matrix)
    return matrix


def expected_cells(engine: str, selection: Selection, arches: Iterable[str] | None = None) -> list[Cell]:
    """All declared cells for an engine, within a selection."""
    discover()
    able = None if arches is None else tuple(arches)
    return [cell for matrix in _MATRICES for cell in matrix.cells(engine, selection, able)]
