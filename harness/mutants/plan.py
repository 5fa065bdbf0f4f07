"""Which mutants a run judges, with which cases, and what is known of them from before."""

from __future__ import annotations

import functools
import hashlib
import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rocassay.harness.cases import Case
from rocassay.harness.errors import RocassayError
from rocassay.harness.mutants.ledger import shipped_ledger
from rocassay.harness.mutants.mutant import INTERPRETER, Mutant, UnknownMutant, mutants_of, sampled
from rocassay.harness.mutants.reach import reach_of
from rocassay.harness.ops import Op, op_named, select_cases
from rocassay.harness.options import Options
from rocassay.harness.results.mutants import SEEN, MutantRecord

ENGINES = (INTERPRETER, "isa")
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
    """Engine that judges mutants that survive on the first; none: nothing does."""
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


@dataclass(frozen=True)
class OpPlan:
    """The mutants of one op, and what judges them."""

    op: Op
    cases: tuple[Case, ...]
    mutants: tuple[Mutant, ...]
    """Those to judge."""
    known: frozenset[str]
    """Ids of all of its mutants."""
    source: str
    """Digest of its kernels, of the engine and of what is asked."""
    suite: str
    """Digest of its cases."""
    settled: frozenset[str] = frozenset()
    """Ids that the ledger lists as equivalent: one engine is enough to see that none of its cases tells them apart."""

    def holds(self, record: MutantRecord, wanted: Wanted) -> bool:
        """Whether a record says what a run would find.

        A case that has seen a mutant sees it whatever is beside it, and what raises on the first eight cases stays out
        of the score.
        """
        if record.source != self.source:
            return False
        if record.fate == "crashed":
            return True
        if record.fate in SEEN:
            return record.suite == self.suite or record.case in self._names
        elsewhere = wanted.then not in ("", record.engine) and record.fate == "survived"
        elsewhere = elsewhere and record.id not in self.settled
        return record.suite == self.suite and not elsewhere

    @functools.cached_property
    def _names(self) -> frozenset[str]:
        return frozenset(map(str, self.cases))


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
        # The ledger serves every engine, and the interpreter has no mutants of Gluon kernels.
        known=frozenset(mutant.id for mutant in mutants_of(op, "isa")),
        source=_digest([wanted.engine, str(wanted.rules), *itertools.chain(*reach_of(op.launcher).sources)]),
        suite=_digest([str(wanted.codegen), *map(str, cases)]),
        settled=frozenset(mutant for name, mutant in shipped_ledger() if name == op.name),
    )


def _digest(texts: Iterable[str]) -> str:
    return hashlib.sha256("\n".join(texts).encode()).hexdigest()[:16]


def of_plans(plans: Iterable[OpPlan], records: Iterable[MutantRecord], wanted: Wanted) -> list[MutantRecord]:
    """The records of the planned mutants, in the plan's order, without those that do not hold any more."""
    held = {record.key: record for record in records}
    keys = ((plan, (plan.op.name, mutant.id)) for plan in plans for mutant in plan.mutants)
    return [held[key] for plan, key in keys if key in held and plan.holds(held[key], wanted)]


def unjudged(plans: Iterable[OpPlan], records: Iterable[MutantRecord]) -> dict[str, list[Mutant]]:
    """By op, the mutants without a record; one that the harness could not judge is tried again."""
    done = {record.key for record in records if record.fate != "error"}
    left = {plan.op.name: [m for m in plan.mutants if (plan.op.name, m.id) not in done] for plan in plans}
    return {op: mutants for op, mutants in left.items() if mutants}
