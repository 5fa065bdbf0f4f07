"""Searches side by side, one process an op: what a case takes with it is that process.

A search that lost its process starts again, told of every case judged so far and that the last one crashed; the same
seed draws the same cases, so that even a crash is shrunk.
"""

from __future__ import annotations

import multiprocessing as mp
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from rocassay.harness.cases import Case
from rocassay.harness.choice import chosen_engine, ledger_for, make_judge, provider_of
from rocassay.harness.errors import RocassayError
from rocassay.harness.fuzz.search import Budget, Mistake, Search, Searched, Watcher
from rocassay.harness.isolation.deaths import sweep, told, trace_of
from rocassay.harness.isolation.guard import Guard, guard_of_worker
from rocassay.harness.judge import Judge, blank_record
from rocassay.harness.ops import discover, op_named
from rocassay.harness.options import Options
from rocassay.harness.results import CaseRecord

MOST_DEATHS = 25
"""Processes that the search of one op may lose: each costs the seconds of a start."""


@dataclass(frozen=True, slots=True)
class Job:
    """The search of one op."""

    op: str
    options: Options
    """Provider, engine and tier of the judge."""
    budget: Budget
    seed: int
    out: Path
    workers: int = 1
    """Processes that share the memory."""
    known: tuple[CaseRecord, ...] = ()
    """Records of cases that need not be judged again."""


@dataclass(frozen=True, slots=True)
class _Begins:
    """Message: a case is being judged."""

    case: str


def search_here(job: Job, watcher: Watcher) -> Searched:
    """The search in this process."""
    guard = Guard(job.options.case_timeout, job.options.case_memory)
    return _search(job, make_judge(job.options, guard=guard), watcher)


def _search(job: Job, judge: Judge, watcher: Watcher) -> Searched:
    ledger = ledger_for(job.options)
    search = Search(op_named(job.op), lambda case: ledger.applied(judge(case)), watcher, job.known)
    return search(job.budget, job.seed, job.out)


class _Teller:
    """Tells the parent what happens."""

    def __init__(self, pipe: Connection, judge: Judge) -> None:
        self._pipe, self._judge = pipe, judge

    def begins(self, case: Case) -> None:
        self._pipe.send(_Begins(str(case)))

    def judged(self, seen: CaseRecord | Mistake) -> None:
        if why := self._judge.lost():
            self._judge.guard.leave(why)
        self._pipe.send(seen)


def _child(pipe: Connection, job: Job) -> None:
    discover()
    limits = (job.options.case_timeout, job.options.case_memory)
    judge = make_judge(job.options, guard=guard_of_worker(*limits, job.workers, trace_of(job.out, job.op)))
    pipe.send(_search(job, judge, _Teller(pipe, judge)))


@dataclass(slots=True)
class _Running:
    """A search in a process of its own."""

    job: Job
    process: BaseProcess
    deaths: int
    started: float = field(default_factory=time.monotonic)
    at: str = ""
    """Case that is being judged; empty between cases."""
    records: list[CaseRecord] = field(default_factory=list[CaseRecord])


class Searches:
    """Runs jobs, at most so many at a time."""

    def __init__(self, jobs: Sequence[Job], workers: int, watcher: Watcher) -> None:
        self._waiting = deque((replace(job, workers=workers), 0) for job in jobs)
        self._folders = {job.out for job in jobs}
        self._workers, self._watcher = workers, watcher
        self._running: dict[Connection, _Running] = {}
        # Processes are forked from one that has imported everything and touched no device.
        self._context = mp.get_context("forkserver")
        self._context.set_forkserver_preload([__name__, *(op.inputs.__module__ for op in discover())])

    def __iter__(self) -> Iterator[Searched]:
        """What each search found, as they end."""
        try:
            while self._waiting or self._running:
                while self._waiting and len(self._running) < self._workers:
                    self._start(*self._waiting.popleft())
                for pipe in wait(list(self._running)):
                    assert isinstance(pipe, Connection)
                    yield from self._heard(pipe)
        finally:
            for running in self._running.values():
                running.process.kill()
            for folder in self._folders:
                sweep(folder, all_of_them=False)

    def _start(self, job: Job, deaths: int) -> None:
        ours, theirs = self._context.Pipe(duplex=False)
        process = self._context.Process(target=_child, args=(theirs, job), daemon=True)
        process.start()
        theirs.close()
        self._running[ours] = _Running(job, process, deaths)

    def _heard(self, pipe: Connection) -> Iterator[Searched]:
        running = self._running[pipe]
        try:
            message: object = pipe.recv()
        except EOFError:
            yield from self._died(self._running.pop(pipe))
            return
        if isinstance(message, _Begins):
            running.at = message.case
            self._watcher.begins(Case.parse(message.case))
        elif isinstance(message, CaseRecord | Mistake):
            running.at = ""
            running.records += [message] if isinstance(message, CaseRecord) else []
            self._watcher.judged(message)
        elif isinstance(message, Searched):
            del self._running[pipe]
            running.process.join()
            yield message

    def _died(self, running: _Running) -> Iterator[Searched]:
        """Begin again with what is known, the case that was being judged as a crashed one."""
        running.process.join()
        if not running.at:
            code = running.process.exitcode
            raise RocassayError(f"the search of {running.job.op} ended with exit code {code} before it was through")
        job, crashed = running.job, _crashed(running)
        self._watcher.judged(crashed)
        known = (*job.known, *running.records, crashed)
        left = replace(job.budget, seconds=job.budget.seconds - (time.monotonic() - running.started))
        if running.deaths < MOST_DEATHS and left.seconds > 0:
            self._waiting.appendleft((replace(job, known=known, budget=left), running.deaths + 1))
        else:
            yield Searched(job.op, len(known), [crashed])


def _crashed(running: _Running) -> CaseRecord:
    """The record of the case that took its process with it."""
    job, options = running.job, running.job.options
    trace = trace_of(job.out, job.op)
    death = told(job.op, running.process.exitcode, trace.read_text(errors="replace") if trace.exists() else "")
    engine = chosen_engine(options.engine)
    case = Case.parse(running.at)
    record = blank_record(case, None, "", provider_of(options), engine, options.tier, death.status, death.reason)
    return ledger_for(options).applied(record)
