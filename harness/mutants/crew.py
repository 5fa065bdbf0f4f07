"""The processes that judge mutants: each keeps one op's cases at hand, and one that dies costs its mutant only."""

from __future__ import annotations

import contextlib
import faulthandler
import functools
import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from typing import TypeAlias

from rocassay.harness.errors import RocassayError
from rocassay.harness.mutants.cache import OwnCache
from rocassay.harness.mutants.mutant import Mutant
from rocassay.harness.mutants.plan import OpPlan, Wanted, planned
from rocassay.harness.mutants.trial import Trial, identity
from rocassay.harness.results.mutants import MutantRecord

STUCK_SECONDS = 900
"""A process that Python cannot interrupt any more, within a library's code, is ended after this long."""


@dataclass(frozen=True, slots=True)
class Broken:
    """An op whose mutants cannot be judged."""

    op: str
    reason: str


@dataclass(frozen=True, slots=True)
class Judged:
    """A mutant's record, and whether the process that made it can make no more."""

    record: MutantRecord
    leaves: bool


@dataclass(frozen=True, slots=True)
class Ready:
    """An op's cases are green in a process; its mutants may come."""

    op: str


Answer: TypeAlias = MutantRecord | Broken
Jobs: TypeAlias = Mapping[str, Sequence[Mutant]]
"""Op -> its mutants that are left to judge."""


def trial_of(plan: OpPlan, wanted: Wanted) -> Trial:
    """The op on trial in this process. Raises BaselineRed."""
    from rocassay.harness.engines.base import engine
    from rocassay.harness.judge import Judge
    from rocassay.harness.providers import provider

    def begun(on: str, then: Callable[[], Trial] | None) -> Trial:
        judge = Judge(provider("rocassay"), engine(on), wanted.options.tier_name, "", thorough=False)
        return Trial(
            plan.op,
            plan.cases,
            judge,
            source=plan.source,
            suite=plan.suite,
            codegen=wanted.codegen,
            rules=wanted.rules,
            then=then,
            settled=plan.settled,
        )

    return begun(wanted.engine, functools.partial(begun, wanted.then, None) if wanted.then else None)


def judged_here(plans: Sequence[OpPlan], jobs: Jobs, wanted: Wanted) -> Iterator[Answer]:
    """The records of the mutants, made in this process. Raises RocassayError when a mutant spoils it."""
    for plan in plans:
        if plan.op.name not in jobs:
            continue
        try:
            trial = trial_of(plan, wanted)
        except RocassayError as error:
            yield Broken(plan.op.name, str(error))
            continue
        for mutant in jobs[plan.op.name]:
            yield trial(mutant)
            if trial.spoiled:
                raise RocassayError(f"{mutant.id} left this process unable to judge; continue with --resume and -n 1")


def judged_by_crew(plans: Sequence[OpPlan], jobs: Jobs, wanted: Wanted) -> Iterator[Answer]:
    """The records of the mutants, as processes make them."""
    crew = _Crew(plans, jobs, wanted)
    try:
        yield from crew.answers()
    finally:
        crew.end()


class _Worker:
    """One process, seen from outside."""

    def __init__(self, wanted: Wanted) -> None:
        # Not forked: a bar's thread may hold a lock, and torch's own threads would be missing.
        context = multiprocessing.get_context("spawn")
        self.connection, there = context.Pipe()
        self.process: BaseProcess = context.Process(target=work, args=(there, wanted), daemon=True)
        self.process.start()
        # Only the child's end is left open: it closes with the child, however that ends.
        there.close()
        self.op, self.ready = "", False
        self.mutant: Mutant | None = None

    def give(self, op: str, mutant: Mutant) -> None:
        """Send a mutant to judge."""
        self.ready = self.ready and op == self.op
        self.op, self.mutant = op, mutant
        # Of a process that has ended the connection itself tells.
        with contextlib.suppress(BrokenPipeError):
            self.connection.send((op, mutant.id))


class _Crew:
    def __init__(self, plans: Sequence[OpPlan], jobs: Jobs, wanted: Wanted) -> None:
        self._plans = {plan.op.name: plan for plan in plans}
        self._left = {op: deque(mutants) for op, mutants in jobs.items()}
        self._wanted = wanted
        self._workers: dict[Connection, _Worker] = {}

    def answers(self) -> Iterator[Answer]:
        """Every answer as it comes, until nothing is left."""
        for _ in range(min(self._wanted.workers, sum(map(len, self._left.values())))):
            self._employ(_Worker(self._wanted))
        while self._workers:
            for connection in wait(list(self._workers)):
                assert isinstance(connection, Connection)
                yield from self._heard(self._workers[connection])

    def _employ(self, worker: _Worker) -> None:
        """Give the worker its next mutant, or let it go."""
        op = self._next_op(worker)
        if op is None:
            self._dismiss(worker)
            return
        self._workers[worker.connection] = worker
        worker.give(op, self._left[op].popleft())

    def _next_op(self, worker: _Worker) -> str | None:
        """The worker's own op while it lasts, then the one with most mutants for each process that is at it."""
        if self._left.get(worker.op):
            return worker.op
        busy = [other.op for other in self._workers.values()]
        open_ops = [op for op, mutants in self._left.items() if mutants]
        return max(open_ops, key=lambda op: len(self._left[op]) / (1 + busy.count(op)), default=None)

    def _heard(self, worker: _Worker) -> Iterator[Answer]:
        try:
            answer: Judged | Broken | Ready = worker.connection.recv()
        except (EOFError, ConnectionResetError):
            yield from self._lost(worker)
            return
        if isinstance(answer, Ready):
            worker.ready = True
        elif isinstance(answer, Broken):
            yield from self._given_up(answer)
            self._employ(worker)
        elif answer.leaves:
            yield answer.record
            self._replace(worker)
        else:
            yield answer.record
            self._employ(worker)

    def _lost(self, worker: _Worker) -> Iterator[Answer]:
        """A process has ended by itself: its mutant took it along, or, before its op was green, the op did."""
        self._replace(worker)
        how = f"the process ended with exit code {worker.process.exitcode}"
        if worker.mutant is not None and worker.ready:
            plan = self._plans[worker.op]
            known = identity(
                worker.mutant,
                plan.op.name,
                self._wanted.engine,
                self._wanted.options.tier,
                source=plan.source,
                suite=plan.suite,
            )
            yield MutantRecord(**known, fate="died", detail=how)
        else:
            yield from self._given_up(Broken(worker.op, f"{how} before the cases of {worker.op} were green"))

    def _replace(self, worker: _Worker) -> None:
        self._dismiss(worker)
        if any(self._left.values()):
            self._employ(_Worker(self._wanted))

    def _given_up(self, broken: Broken) -> Iterator[Answer]:
        """Say it once, and drop what is left of the op."""
        if self._left.pop(broken.op, None) is not None:
            yield broken

    def _dismiss(self, worker: _Worker) -> None:
        self._workers.pop(worker.connection, None)
        worker.connection.close()
        worker.process.join()

    def end(self) -> None:
        """End every process that is left."""
        for worker in self._workers.values():
            worker.process.kill()
        for worker in list(self._workers.values()):
            self._dismiss(worker)


def work(jobs: Connection, wanted: Wanted) -> None:
    """What a process does: judge what comes, until the connection closes or a mutant has spoiled it."""
    # Compilers write of each mutant that does not compile, and of each that takes them along.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 2)
    cache = OwnCache() if wanted.compiles else None
    plans = {plan.op.name: plan for plan in planned(wanted)}
    trial: Trial | None = None
    while trial is None or not trial.spoiled:
        try:
            op, mutant_id = jobs.recv()
        except EOFError:
            return
        if trial is None or trial.op.name != op:
            trial = _begun(jobs, plans[op], wanted, cache)
        if trial is not None:
            mutant = next(mutant for mutant in plans[op].mutants if mutant.id == mutant_id)
            faulthandler.dump_traceback_later(STUCK_SECONDS, exit=True)
            record = trial(mutant)
            faulthandler.cancel_dump_traceback_later()
            jobs.send(Judged(record, leaves=trial.spoiled))
            if cache:
                cache.prune()


def _begun(jobs: Connection, plan: OpPlan, wanted: Wanted, cache: OwnCache | None) -> Trial | None:
    """The op on trial, or nothing where it is broken; said to whoever waits."""
    try:
        trial = trial_of(plan, wanted)
    except RocassayError as error:
        jobs.send(Broken(plan.op.name, str(error)))
        return None
    if cache:
        cache.keep()
    jobs.send(Ready(plan.op.name))
    return trial
