"""Which mutants a run judges, with which cases, and what is known of them from before."""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from rocassay.harness.cases import Case
from rocassay.harness.errors import RocassayError
from rocassay.harness.mutants.mutant import Mutant, UnknownMutant, mutants_of, sampled
from rocassay.harness.mutants.reach import reach_of
from rocassay.harness.ops import Op, op_named, select_cases
from rocassay.harness.options import Options
from rocassay.harness.results.mutants import MutantRecord

ENGINES = ("interpreter", "isa")
"""Engines that a mutant cannot take along: on a device one that writes anywhere ends the context."""


@dataclass(frozen=True, slots=True)
class Wanted:
    """What a run is asked for."""

    options: Options
    """Ops, filters, tier, engine and folder."""
    ids: tuple[str, ...] = ()
    """Only these mutants; none means all."""
    limit: int = 0
    """At most this many of each op, evenly spread; 0: all."""
    codegen: bool = False
    """Whether survivors that compile to the same machine code are equivalent."""
    rules: bool = False
    """Whether other projects' rules are asked, too."""
    then: str = ""
    """Engine that judges mutants of lines which no case executes on the first; none: nothing does."""
    workers: int = 1
    """Processes; 0: none but this one."""

    @property
    def engine(self) -> str:
        """What executes mutants."""
        return self.options.engine or ENGINES[0]

    @property
    def compiles(self) -> bool:
        """Whether mutants reach the compiler."""
        return self.codegen or "isa" in (self.engine, self.then)


@dataclass(frozen=True, slots=True)
class OpPlan:
    """The mutants of one op, and what judges them."""

    op: Op
    cases: tuple[Case, ...]
    mutants: tuple[Mutant, ...]
    """Those to judge."""
    known: frozenset[str]
    """Ids of all of its mutants."""
    source: str
    """Digest of its kernels, cases and engine."""


def planned(wanted: Wanted) -> tuple[OpPlan, ...]:
    """The mutants of every selected op. RocassayError when there is none, UnknownMutant for an id that is none."""
    for engine in filter(None, (wanted.engine, wanted.then)):
        if engine not in ENGINES:
            raise RocassayError(f"mutants run on {' or '.join(ENGINES)}, not on {engine}; choose another engine")
    cases: dict[str, list[Case]] = {}
    for case in select_cases(wanted.options.tier_name, wanted.options.selection()):
        cases.setdefault(case.op, []).append(case)
    plans = tuple(plan for op, own in cases.items() if (plan := _plan(op_named(op), own, wanted)).mutants)
    found = {mutant.id for plan in plans for mutant in plan.mutants}
    if unknown := [name for name in wanted.ids if name not in found]:
        raise UnknownMutant(
            f"no selected op has a mutant {unknown[0]!r}; a run without --mutant names all that survive"
        )
    if not plans:
        raise RocassayError("no op that the filters select has a kernel to mutate; `rocassay list` shows what there is")
    return plans


def _plan(op: Op, cases: Sequence[Case], wanted: Wanted) -> OpPlan:
    every = mutants_of(op, wanted.then or wanted.engine)
    chosen = tuple(mutant for mutant in every if mutant.id in wanted.ids) if wanted.ids else every
    return OpPlan(
        op=op,
        cases=tuple(cases),
        mutants=sampled(chosen, wanted.limit),
        known=frozenset(mutant.id for mutant in every),
        source=_digest(op, cases, wanted),
    )


def _digest(op: Op, cases: Iterable[Case], wanted: Wanted) -> str:
    sha = hashlib.sha256(f"{wanted.engine} {wanted.then} {wanted.codegen} {wanted.rules}".encode())
    for name, source in reach_of(op.launcher).sources:
        sha.update(f"{name}\n{source}\n".encode())
    for case in cases:
        sha.update(f"{case}\n".encode())
    return sha.hexdigest()[:16]


def of_plans(plans: Iterable[OpPlan], records: Iterable[MutantRecord]) -> list[MutantRecord]:
    """The records of the planned mutants, in the plan's order, without those of other kernels, cases or engines."""
    held: Mapping[tuple[str, str, str], MutantRecord] = {(one.op, one.id, one.source): one for one in records}
    keys = ((plan.op.name, mutant.id, plan.source) for plan in plans for mutant in plan.mutants)
    return [held[key] for key in keys if key in held]


def unjudged(plans: Iterable[OpPlan], records: Iterable[MutantRecord]) -> dict[str, list[Mutant]]:
    """By op, the mutants without a record; one that the harness could not judge is tried again."""
    done = {record.key for record in records if record.fate != "error"}
    left = {plan.op.name: [m for m in plan.mutants if (plan.op.name, m.id) not in done] for plan in plans}
    return {op: mutants for op, mutants in left.items() if mutants}
