"""An op on trial: its cases in health, then each mutant against those that execute its line, until one is red."""

from __future__ import annotations

import contextlib
import itertools
import signal
import time
from collections import Counter
from collections.abc import Callable, Generator, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from rocassay.harness.cases import Case
from rocassay.harness.errors import RocassayError
from rocassay.harness.judge import Judge
from rocassay.harness.mutants.injection import injected
from rocassay.harness.mutants.lines import Lines, executed
from rocassay.harness.mutants.machinecode import MachineCode
from rocassay.harness.mutants.mutant import INTERPRETER, Mutant
from rocassay.harness.mutants.reach import reach_of
from rocassay.harness.ops import Op
from rocassay.harness.prepared import remember
from rocassay.harness.results import GREEN, CaseRecord, Status
from rocassay.harness.results.mutants import Fate, MutantRecord

HANG_FACTOR = 20.0
"""Times the healthy seconds of a case that a mutant may compute before it counts as hung."""

HANG_SECONDS = 2.0
"""Seconds on top, for cases that take next to none."""

CRASHES = 8
"""Cases that raise, with none that does not, after which a mutant is taken to raise on all of them."""

EXCEPTION = "exception"
"""What killed a mutant that raises on some cases only."""


class BaselineRed(RocassayError):
    """The unmutated op is not green: its mutants cannot be judged."""


class Hung(BaseException):
    """Time is up. No Exception: nothing between the kernel and the trial may take it for the kernel's own."""


@dataclass(frozen=True, slots=True)
class Healthy:
    """A case on which the unmutated op is green."""

    case: Case
    seconds: float
    """Launch and judgement."""
    lines: Lines | None
    """Lines of kernels that it executes; None where the engine cannot tell."""

    def reaches(self, mutant: Mutant) -> bool:
        """Whether the case may notice the mutant at all."""
        file = mutant.function.file
        return self.lines is None or any((file, line) in self.lines for line in mutant.statement)


@dataclass(frozen=True, slots=True)
class Verdict:
    """What became of a mutant, and why."""

    fate: Fate
    check: str = ""
    case: str = ""
    detail: str = ""
    customary: Mapping[str, float] = field(default_factory=dict[str, float])
    """What other projects' rules say of the outputs."""


def spread(cases: Iterable[Case]) -> list[Case]:
    """The cases in an order in which neighbours differ in chip, flavour and page size."""
    groups: dict[tuple[str, str, int], list[Case]] = {}
    for case in cases:
        groups.setdefault((case.arch, case.fp8, case.block_size), []).append(case)
    rows = itertools.zip_longest(*groups.values())
    return [case for row in rows for case in row if case is not None]


@contextlib.contextmanager
def limited(seconds: float) -> Generator[None, None, None]:
    """While open, this process's main thread gets Hung once the process has computed that long, and every second more.

    Waiting for a core that others use is no hang.
    """

    def stop(_signal: int, _frame: object) -> None:
        raise Hung

    former = signal.signal(signal.SIGPROF, stop)
    signal.setitimer(signal.ITIMER_PROF, seconds, 1.0)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_PROF, 0.0)
        signal.signal(signal.SIGPROF, former)


class Trial:
    """Judges mutants of one op in this process."""

    def __init__(
        self,
        op: Op,
        cases: Sequence[Case],
        judge: Judge,
        *,
        source: str,
        suite: str = "",
        codegen: bool = False,
        rules: bool = False,
        then: Callable[[], Trial] | None = None,
        settled: frozenset[str] = frozenset(),
    ) -> None:
        """Runs every case in health first; BaselineRed unless all that this engine can run are green.

        `source`, `suite`: digests of what is judged and by what, for the records.
        `codegen`: compare the machine code of survivors.
        `rules`: show a killed mutant's outputs to other projects' rules, too, on every case until each has failed one.
        `then`: begins the trial on another engine, of mutants that survive on this one and are not among the `settled`.
        """
        self.op, self.spoiled = op, False
        self._then, self._rules, self._settled = then, rules, settled
        self._second: Trial | None = None
        self._judge, self._source, self._suite = judge, source, suite
        self._functions = reach_of(op.launcher).functions
        self._compiled = judge.engine.name != INTERPRETER
        self._codegen = codegen and not self._compiled
        self._code = MachineCode()
        self._kills = Counter[Case]()
        remember(len(cases))
        self.healthy = tuple(self._baseline(spread(cases)))
        if not self.healthy:
            raise BaselineRed(f"no case of {op.name} runs on engine {judge.engine.name}; choose another --engine")

    def _baseline(self, cases: Sequence[Case]) -> Iterator[Healthy]:
        # What a process does once, at its first launch, is no part of a case's seconds.
        self._judge(cases[0])
        for case in cases:
            record = self._judge(case)
            if record.status in GREEN:
                if self._compiled or self._codegen:
                    self._code.keep(case)
                yield Healthy(case, record.timings["run"] + record.timings["judge"], self._lines(case))
            elif record.status is not Status.NOT_RUN:
                raise BaselineRed(f"{case} is {record.status.value} without any mutant: {record.reason}")

    def _lines(self, case: Case) -> Lines | None:
        """Lines that the case executes. A run of its own: being watched takes several times as long."""
        if self._compiled:
            return None
        with executed({function.file for function in self._functions}) as lines:
            self._judge(case)
        return lines

    def __call__(self, mutant: Mutant) -> MutantRecord:
        """The mutant's record. Afterwards `spoiled` tells whether this process can judge no more."""
        record = self._here(mutant)
        if self._then and record.fate == "survived" and mutant.id not in self._settled:
            other = self._elsewhere(mutant, self._then)
            return other.model_copy(update={"seconds": round(record.seconds + other.seconds, 4)})
        return record

    def _here(self, mutant: Mutant) -> MutantRecord:
        """The record of this engine."""
        start = time.perf_counter()
        reached = [healthy for healthy in self.healthy if healthy.reaches(mutant)]
        reached.sort(key=lambda healthy: -self._kills[healthy.case])
        with injected(mutant, self._functions):
            noticing = filter(self._notices, reached)
            verdicts = list(self._verdicts(noticing))
            customary = self._customary(verdicts, noticing) if self._rules else {}
            verdict = self._decided(verdicts, reached)
        if verdict.fate == "hung":
            self.spoiled = not self._sound()
        return MutantRecord(
            **self._identity(mutant),
            fate=verdict.fate,
            check=verdict.check,
            case=verdict.case,
            detail=verdict.detail,
            customary=customary,
            reached=None if self.healthy[0].lines is None else len(reached),
            cases=len(verdicts),
            seconds=round(time.perf_counter() - start, 4),
        )

    def _elsewhere(self, mutant: Mutant, then: Callable[[], Trial]) -> MutantRecord:
        """The record of another engine, which is begun when it is first needed."""
        try:
            self._second = self._second or then()
        except BaselineRed as error:
            return MutantRecord(**self._identity(mutant), fate="error", detail=str(error))
        record = self._second(mutant)
        self.spoiled = self._second.spoiled
        return record

    def _notices(self, healthy: Healthy) -> bool:
        """Whether the injected mutant may change what a case computes."""
        return not self._compiled or self._code.differs(healthy.case)

    def _verdicts(self, reached: Iterable[Healthy]) -> Iterator[Verdict]:
        """What the cases say, one by one, until the mutant's fate is known."""
        fates: set[Fate] = set()
        for count, healthy in enumerate(reached, start=1):
            verdict = self._verdict(healthy)
            yield verdict
            fates.add(verdict.fate)
            if fates - {"crashed", "survived"} or len(fates) > 1:
                self._kills[healthy.case] += 1
                return
            if count >= CRASHES and fates == {"crashed"}:
                return

    def _customary(self, verdicts: Sequence[Verdict], rest: Iterable[Healthy]) -> dict[str, float]:
        """The most that each rule says of a killed mutant, in units of its limit."""
        found: dict[str, float] = {}
        if not verdicts or verdicts[-1].fate != "killed":
            return found
        for verdict in itertools.chain(verdicts, map(self._verdict, rest)):
            for rule, use in verdict.customary.items():
                found[rule] = max(use, found.get(rule, 0.0))
            if not found or min(found.values()) > 1:
                break
        return found

    def _verdict(self, healthy: Healthy) -> Verdict:
        case = str(healthy.case)
        limit = HANG_FACTOR * healthy.seconds + HANG_SECONDS
        try:
            with limited(limit):
                record = self._judge(healthy.case)
        except Hung:
            return Verdict(
                "hung", case=case, detail=f"computed longer than {limit:.1f} s, {healthy.seconds:.3f} s in health"
            )
        if record.status is Status.FAILED:
            return Verdict("killed", _first_red(record), case, record.reason, record.customary)
        if record.status is Status.CRASHED:
            return Verdict("crashed", case=case, detail=record.reason)
        if record.status in GREEN:
            return Verdict("survived", customary=record.customary)
        return Verdict("error", case=case, detail=f"{record.status.value}: {record.reason}")

    def _identity(self, mutant: Mutant) -> dict[str, Any]:
        engine, tier = self._judge.engine.name, self._judge.tier
        return identity(mutant, self.op.name, engine, tier, source=self._source, suite=self._suite)

    def _decided(self, verdicts: Sequence[Verdict], reached: Sequence[Healthy]) -> Verdict:
        """The fate that the verdicts of the cases make; the mutant is still injected."""
        if not reached:
            return Verdict("survived", detail="no case executes the line")
        fates = {verdict.fate for verdict in verdicts}
        if fates == {"crashed", "survived"}:
            # What raises on some cases and not on others has been seen by a run.
            crash = next(verdict for verdict in verdicts if verdict.fate == "crashed")
            return replace(crash, fate="killed", check=EXCEPTION)
        unseen = fates == {"survived"} and self._codegen
        if not verdicts or (unseen and not any(self._code.differs(healthy.case) for healthy in reached)):
            return Verdict("equivalent", detail="every launch compiles to the same machine code")
        return verdicts[-1]

    def _sound(self) -> bool:
        """Whether a healthy case is still green; a mutant that is stopped may leave Triton half patched."""
        quickest = min(self.healthy, key=lambda healthy: healthy.seconds)
        return self._judge(quickest.case).status in GREEN


def _first_red(record: CaseRecord) -> str:
    return next((check.name for check in record.checks if not check.passed), "")


def identity(mutant: Mutant, op: str, engine: str, tier: str, *, source: str, suite: str) -> dict[str, Any]:
    """What a record says of a mutant before it is judged."""
    return {
        "op": op,
        "id": mutant.id,
        "module": mutant.function.module,
        "function": mutant.function.name,
        "line": mutant.line,
        "operator": mutant.operator,
        "old": mutant.old,
        "new": mutant.new,
        "engine": engine,
        "tier": tier,
        "source": source,
        "suite": suite,
    }
