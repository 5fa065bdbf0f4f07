"""Searches side by side, one process an op: what a case takes with it is that process.

A search that lost its process starts again, told of every case judged so far and that the last one crashed; the same
seed draws the same cases, so that even a crash is shrunk.
"""

from __future__ import annotations

import multiprocessing as mp
import os
import time
from collections import deque
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path

from rocassay.harness.cases import Case
from rocassay.harness.controller import chosen_engine, make_judge
from rocassay.harness.errors import RocassayError
from rocassay.harness.fuzz.search import Budget, Mistake, Search, Searched, Watcher
from rocassay.harness.judge import blank_record
from rocassay.harness.ops import discover, op_named
from rocassay.harness.options import Options
from rocassay.harness.results import CaseRecord, Status
from rocassay.harness.waivers import ledger_of

MOST_DEATHS = 25
"""Processes that the search of one op may lose: each costs the seconds of a start."""

LOST = 70
"""Exit code of a process whose device context is gone."""


@dataclass(frozen=True, slots=True)
class Job:
    """The search of one op."""

    op: str
    options: Options
    """Provider, engine and tier of the judge."""
    budget: Budget
    seed: int
    out: Path
    known: tuple[CaseRecord, ...] = ()
    """Records of cases that need not be judged again."""


@dataclass(frozen=True, slots=True)
class _Begins:
    """Message: a case is being judged."""

    case: str


def search_here(job: Job, watcher: Watcher) -> Searched:
    """The search in this process."""
    judge, ledger = make_judge(job.options), ledger_of(job.options.waivers)
    search = Search(op_named(job.op), lambda case: ledger.applied(judge(case)), watcher, job.known)
    return search(job.budget, job.seed, job.out)


class _Teller:
    """Tells the parent what happens."""

    def __init__(self, pipe: Connection, job: Job) -> None:
        self._pipe, self._engine = pipe, chosen_engine(job.options.engine)

    def begins(self, case: Case) -> None:
        self._pipe.send(_Begins(str(case)))

    def judged(self, seen: CaseRecord | Mistake) -> None:
        if self._engine.lost():
            os._exit(LOST)
        self._pipe.send(seen)


def _child(pipe: Connection, job: Job) -> None:
    discover()
    pipe.send(search_here(job, _Teller(pipe, job)))


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
        self._waiting = deque((job, 0) for job in jobs)
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
    code, options = running.process.exitcode or 0, running.job.options
    how = f"signal {-code}" if code < 0 else f"exit code {code}"
    reason = "the device's context is gone" if code == LOST else f"the process ended with {how}"
    engine = chosen_engine(options.engine)
    case = Case.parse(running.at)
    return blank_record(case, None, "", options.provider, engine, options.tier, Status.CRASHED, reason)
