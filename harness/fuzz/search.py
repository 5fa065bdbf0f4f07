"""The search of one op: hypothesis draws cases, the judge judges them, and what is red is shrunk.

Every case is judged once, and what was seen of it answers when hypothesis asks again. So a search ends in time with
the smallest case that it has seen, and an interrupted one goes on where it was.
"""

from __future__ import annotations

import functools
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Protocol

import hypothesis
from hypothesis import HealthCheck
from hypothesis.configuration import set_hypothesis_home_dir
from hypothesis.database import DirectoryBasedExampleDatabase
from hypothesis.errors import Unsatisfiable

from rocassay.harness.cases import Case
from rocassay.harness.fuzz.strategy import cases_of
from rocassay.harness.ops import Op
from rocassay.harness.results import GREEN, CaseRecord, Status

EXAMPLES = "examples"
"""Folder beside the records where hypothesis keeps what was red, op by op."""


@dataclass(frozen=True, slots=True)
class Budget:
    """How long an op is searched; whichever ends first."""

    examples: int
    """Cases that are drawn, besides those that shrinking tries."""
    seconds: float = float("inf")
    """Wall time after which no further case is judged."""


@dataclass(frozen=True, slots=True)
class Mistake:
    """A case that the op declares and that cannot be made: the declaration is wrong, not the implementation."""

    case: str
    reason: str
    """Error of the op's inputs or golden."""


@dataclass(slots=True)
class Searched:
    """What the search of one op found, each symptom at the smallest case that has it."""

    op: str
    cases: int = 0
    """Different cases that were judged."""
    findings: list[CaseRecord] = field(default_factory=list[CaseRecord])
    mistakes: list[Mistake] = field(default_factory=list[Mistake])


class Watcher(Protocol):
    """Is told what happens, as it happens."""

    def begins(self, case: Case) -> None:
        """The case is being judged: if nothing more is heard, it took the process with it."""
        ...

    def judged(self, seen: CaseRecord | Mistake) -> None:
        """What became of it."""
        ...


class _Red(Exception):
    """What hypothesis shrinks; every symptom has a subclass of its own, so that none is taken for another."""


@functools.cache
def _red(symptom: str) -> type[_Red]:
    return type(symptom, (_Red,), {})


def symptom_of(record: CaseRecord) -> str:
    """What is red about a record: its status and first failed check, or the error; empty for a green one."""
    if record.status in GREEN:
        return ""
    if record.status is Status.TIMED_OUT:
        return record.status.value
    failed = next((check.name for check in record.checks if not check.passed), record.reason.partition(":")[0])
    return f"{record.status.value}: {failed}"


class Search:
    """Searches the cases of one op."""

    def __init__(
        self,
        op: Op,
        judge: Callable[[Case], CaseRecord],
        watcher: Watcher,
        known: Iterable[CaseRecord] = (),
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """`known`: records of cases that need not be judged again; `clock`: seconds from any moment on."""
        self._op, self._judge, self._watcher, self._clock = op, judge, watcher, clock
        self._seen: dict[str, CaseRecord | Mistake] = {record.case: record for record in known}
        self._asked: set[str] = set()
        self._smallest: dict[str, CaseRecord | Mistake] = {}
        self._deadline = float("inf")

    def __call__(self, budget: Budget, seed: int, out: Path) -> Searched:
        """Search within the budget; the same seed draws the same cases, after those that `out` remembers as red."""
        self._deadline = self._clock() + budget.seconds
        declared = list(self._op.cases("full"))
        self._run(hypothesis.given(cases_of(self._op, declared))(self._look), budget, seed, out / EXAMPLES)
        last = self._smallest.values()
        return Searched(
            self._op.name,
            len(self._asked),
            [seen for seen in last if isinstance(seen, CaseRecord)],
            [seen for seen in last if isinstance(seen, Mistake)],
        )

    def _run(self, test: Callable[[], None], budget: Budget, seed: int, examples: Path) -> None:
        # Hypothesis does not shrink what it remembers as red: a search that goes on draws it again.
        first = () if self._seen else (hypothesis.Phase.reuse,)
        # It would make a folder for itself where the user happens to be.
        set_hypothesis_home_dir(examples)
        settings = hypothesis.settings(
            max_examples=budget.examples,
            database=DirectoryBasedExampleDatabase(examples / self._op.name),
            deadline=None,
            suppress_health_check=(HealthCheck.too_slow, HealthCheck.filter_too_much, HealthCheck.data_too_large),
            phases=(*first, hypothesis.Phase.generate, hypothesis.Phase.shrink),
            verbosity=hypothesis.Verbosity.quiet,
            print_blob=False,
        )
        try:
            # In this order: a seed takes the database away.
            settings(hypothesis.seed(seed)(test))()
        except Unsatisfiable:
            return  # no case is accepted, or none runs on this engine: `cases` says how few were judged
        except Exception as error:
            several: Iterable[BaseException] = getattr(error, "exceptions", (error,))
            if not all(isinstance(one, _Red) for one in several):
                raise

    def _look(self, case: Case) -> None:
        """Raise what is red about a case; a case that comes too late has nothing to say."""
        name = str(case)
        if name not in self._seen and self._clock() > self._deadline:
            return
        seen = self._seen.get(name) or self._judged(case)
        self._seen[name] = seen
        if isinstance(seen, CaseRecord) and seen.status is Status.NOT_RUN:
            hypothesis.reject()
        self._asked.add(name)
        symptom = symptom_of(seen) if isinstance(seen, CaseRecord) else seen.reason.partition(":")[0]
        if symptom:
            # Hypothesis runs the smallest case of each symptom last.
            self._smallest[symptom] = seen
            raise _red(symptom)(name)

    def _judged(self, case: Case) -> CaseRecord | Mistake:
        """The record; the judge itself fails only where inputs or golden cannot be made."""
        self._watcher.begins(case)
        try:
            seen = self._judge(case)
        except Exception as error:
            seen = Mistake(str(case), f"{type(error).__name__}: {error}")
        self._watcher.judged(seen)
        return seen
