"""One evaluation from the first question to the verdict: asked, watched, repeated where that is asked for, judged."""

from __future__ import annotations

import datetime as dt
import secrets
import sys
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from rocassay.harness.accuracy.baseline import ItemBaseline
from rocassay.harness.accuracy.errors import AccuracyError, UnlikeRuns
from rocassay.harness.accuracy.extraction import EXTRACTION, flexible_answer, normalised, strict_answer
from rocassay.harness.accuracy.gate import judge
from rocassay.harness.accuracy.intervals import Interval, wilson
from rocassay.harness.accuracy.outcomes import Outcome, Protocol, Run
from rocassay.harness.accuracy.questions import Answerer
from rocassay.harness.accuracy.redaction import redacted
from rocassay.harness.accuracy.runner import Asked, Extract, Progress, evaluate
from rocassay.harness.accuracy.sequential import Sprt, permutation
from rocassay.harness.accuracy.served_suites import blindness
from rocassay.harness.accuracy.tasks import Task
from rocassay.harness.accuracy.verdict import AccuracyCheck, AccuracyVerdict, Policy
from rocassay.harness.environment import commit, versions
from rocassay.harness.results import (
    AccuracyRecord,
    Check,
    EvalHeader,
    Evaluation,
    Fingerprint,
    QuestionRecord,
    ResultsWriter,
)


@dataclass(frozen=True, slots=True)
class Subject:
    """What is judged, as records name it."""

    model: str
    arch: str = ""
    fp8: str = ""
    block_size: int = 0
    kv_dtype: str = ""
    provider: str = ""
    engine: str = ""
    faults: tuple[str, ...] = ()
    topk: int | None = None
    device: str = ""
    facts: dict[str, str] = field(default_factory=dict[str, str])
    """Versions and settings of whoever answers."""


@dataclass(frozen=True, slots=True)
class Rules:
    """How it is judged."""

    floor: float | None = None
    """Declared ability: share of right answers that a good build certainly has."""
    stop: Sprt | None = None
    """Sequential test that ends a dead run."""
    policy: Policy = field(default_factory=Policy)
    """What must be seen, and how often the gate may be wrong."""
    order_seed: int = 0
    """Seed of the permutation."""
    limit: int = 0
    """Questions to ask, the first of the permutation; 0, or more than there are, for all."""

    def __post_init__(self) -> None:
        if self.limit < 0:
            raise AccuracyError(f"a limit of {self.limit} questions asks nothing; give a positive one, or 0 for all")
        if self.floor is not None and not 0 < self.floor < 1:
            raise AccuracyError(f"a floor of {self.floor} is no share of right answers; declare one between 0 and 1")


BaselineOf = Callable[[Fingerprint], "tuple[Sequence[Run], Sequence[Run]]"]
"""Runs of the baseline in force, and the latest good runs; both may be empty. UnlikeRuns when nothing is comparable."""


def no_baseline(_: Fingerprint) -> tuple[Sequence[Run], Sequence[Run]]:
    """There is none."""
    return (), ()


@dataclass(slots=True)
class Evaluator:
    """Asks a task of whoever answers and judges what comes back; every line is on the file as it comes."""

    answerer: Answerer
    task: Task
    subject: Subject
    rules: Rules
    path: Path
    """Results file that lines are appended to."""
    baseline_of: BaselineOf = no_baseline
    progress: Progress | None = None
    extract: Extract | None = None
    """Takes the answer out of a text; None: as GSM8K does."""
    repro: str = ""
    """Command that runs this again."""

    def __call__(self, *, resume: bool = False) -> list[Evaluation]:
        """The evaluation with its verdict, preceded by the first one where a suspicious run was repeated."""
        first = self._asked(resume)
        verdict = first.verdict or self._closed(first, self._judged(first, None))
        done = [Evaluation(first.header, first.questions, verdict)]
        if verdict.status == "needs-confirmation":
            again = self._asked(resume, repeats=first.header.run_id)
            both = again.verdict or self._closed(again, self._judged(first, again))
            done.append(Evaluation(again.header, again.questions, both))
        return done

    @property
    def order(self) -> tuple[str, ...]:
        """Questions in the order in which they are asked and judged."""
        names = permutation(self.task.by_id, self.rules.order_seed)
        return names[: self.rules.limit] if self.rules.limit else names

    def _header(self, repeats: str) -> EvalHeader:
        subject = self.subject
        return EvalHeader(
            run_id=secrets.token_hex(6),
            started=_now(),
            command=redacted(" ".join([Path(sys.argv[0]).name, *sys.argv[1:]])),
            model=subject.model,
            arch=subject.arch,
            fp8=subject.fp8,
            block_size=subject.block_size,
            kv_dtype=subject.kv_dtype,
            provider=subject.provider,
            engine=subject.engine,
            faults=subject.faults,
            fingerprint=self.task.fingerprint(EXTRACTION),
            order_seed=self.rules.order_seed,
            planned=len(self.order),
            repeats=repeats,
            topk=subject.topk,
            shortest_prompt=self.task.shortest_prompt(self.answerer.count_tokens),
            versions={**versions(), **subject.facts},
            device=subject.device,
            commit=commit(),
        )

    def _asked(self, resume: bool, repeats: str = "") -> Asked:
        return evaluate(
            self.answerer,
            self.task,
            self._header(repeats),
            order=self.order,
            path=self.path,
            extract=self.extract or extracted,
            watch=self._watch if self.rules.stop else None,
            progress=self.progress,
            resume=resume,
        )

    def _watch(self, prefix: Sequence[QuestionRecord]) -> str | None:
        """Why the run may as well stop, seen along the permutation; a question without an answer says nothing."""
        assert self.rules.stop
        answers = [record for record in prefix if record.finish_reason != "error"]
        wrong = sum(not record.correct for record in answers)
        if self.rules.stop.decide(len(answers), wrong) != "fail":
            return None
        return (
            f"{wrong} of the first {len(answers)} answers are wrong: with accuracy {self.rules.stop.p0:.2f} "
            f"that happens in fewer than {self.rules.stop.alpha:.0e} of runs"
        )

    def _judged(self, first: Asked, again: Asked | None) -> AccuracyVerdict:
        latest = again or first
        if latest.stopped:
            check = AccuracyCheck(
                "sequential",
                "red",
                float(latest.stopped_after or 0),
                None,
                "questions along the fixed permutation until Wald's test decided; a healthy run is never stopped",
                latest.stopped,
            )
            return AccuracyVerdict("red", latest.stopped, (check,))
        protocol = _protocol(first.header.fingerprint)
        try:
            runs, recent = self.baseline_of(first.header.fingerprint)
            baseline = self._baseline(runs, protocol)
        except UnlikeRuns as unlike:
            return _with_errors(AccuracyVerdict("refused", str(unlike)), latest)
        verdict = judge(
            _supposed(first),
            baseline,
            floor=self.rules.floor,
            rerun=_supposed(again) if again else None,
            recent=recent,
            protocol=protocol,
            policy=self.rules.policy,
        )
        return _with_errors(_with_blindness(verdict, latest.header), latest)

    def _baseline(self, runs: Sequence[Run], protocol: Protocol) -> ItemBaseline | None:
        """What the good runs did with the questions that were asked; UnlikeRuns unless they answered all of these."""
        asked = set(self.order)
        for run in runs:
            if missing := asked - run.keys():
                raise UnlikeRuns(
                    f"the baseline has no answer to {len(missing)} of the {len(asked)} questions, such as "
                    f"{min(missing)!r}; ask what it asked (--limit, --order-seed), or accept a new one"
                )
        kept = [{name: outcome for name, outcome in run.items() if name in asked} for run in runs]
        return ItemBaseline.of(kept, protocol) if kept else None

    def _closed(self, asked: Asked, verdict: AccuracyVerdict) -> AccuracyRecord:
        """The verdict, on the file."""
        # Of a run that was stopped only the beginning of the permutation is a fair sample: short answers end first.
        records = asked.in_order[: asked.stopped_after]
        right = sum(record.correct for record in records)
        interval = wilson(right, len(records)) if records else Interval(0.0, 1.0)
        line = AccuracyRecord(
            run_id=asked.header.run_id,
            finished=_now(),
            status=verdict.status,
            reason=verdict.reason,
            checks=tuple(_check(check) for check in verdict.checks),
            decided_by=tuple(c.name for c in verdict.checks if c.status == verdict.status != "green"),
            asked=len(records),
            correct=right,
            correct_flexible=sum(record.correct_flexible for record in records),
            interval=(interval.low, interval.high),
            stopped_after=asked.stopped_after,
            power=verdict.promise,
            seconds=asked.seconds,
            repro=self.repro,
        )
        writer = ResultsWriter(self.path)
        try:
            writer.append(line)
        finally:
            writer.close()
        return line


def extracted(text: str) -> tuple[str | None, str | None]:
    """Strict and flexible answer of a text, normalised."""
    strict, flexible = strict_answer(text), flexible_answer(text)
    return (None if strict is None else normalised(strict)), (None if flexible is None else normalised(flexible))


def run_of(evaluation: Evaluation) -> Run:
    """What a run did, question by question."""
    return {
        record.id: Outcome(
            correct=record.correct,
            answered=record.strict is not None,
            finished=record.finish_reason == "stop",
            tokens=record.tokens,
        )
        for record in evaluation.questions.values()
    }


def _supposed(asked: Asked) -> Run:
    """The run as if every question without an answer were solved: what is red then is red whatever they turn out."""
    failed = {record.id: Outcome(correct=True) for record in asked.in_order if record.finish_reason == "error"}
    return {**run_of(asked), **failed}


def _protocol(fingerprint: Fingerprint) -> Protocol:
    return tuple((name, str(value)) for name, value in fingerprint.model_dump().items())


def _with_blindness(verdict: AccuracyVerdict, header: EvalHeader) -> AccuracyVerdict:
    """A run whose prompts never make the selection decide is blind where it would be green; a loss shows anyway."""
    if header.topk is None:
        return verdict
    why = blindness(header.shortest_prompt, header.topk)
    reason = "prompts of no more tokens than top-k are attended to whole: a broken indexer would not show"
    shortest = None if header.shortest_prompt is None else float(header.shortest_prompt)
    status, words = ("blind", why) if why else ("green", "selection decides")
    check = AccuracyCheck("selection", status, shortest, float(header.topk), reason, words)
    checks = (*verdict.checks, check)
    if why and verdict.status == "green":
        return replace(verdict, status="blind", reason=why, checks=checks)
    return replace(verdict, checks=checks)


def _with_errors(verdict: AccuracyVerdict, asked: Asked) -> AccuracyVerdict:
    """Questions without an answer say nothing of the model; a run with one is not finished, unless it is red anyway."""
    errors = [record for record in asked.in_order if record.finish_reason == "error"]
    said = f"{len(errors)} of {len(asked.questions)} questions got no answer"
    if errors:
        first = f"the first {errors[0].id}: {errors[0].error}"
        detail = f"{said}, {first}; the other checks suppose them solved, ask them again with --resume"
    else:
        detail = said
    reason = "a question without an answer is not a wrong answer: it has to be asked again"
    check = AccuracyCheck("errors", "undecided" if errors else "green", float(len(errors)), 0.0, reason, detail)
    status, words = ("undecided", detail) if errors and verdict.status != "red" else (verdict.status, verdict.reason)
    return replace(verdict, status=status, reason=words, checks=(*verdict.checks, check))


def _check(check: AccuracyCheck) -> Check:
    return Check(
        name=check.name,
        kind="gate",
        passed=check.passed,
        applicable=check.status != "not applicable",
        statistic=check.statistic,
        limit=check.limit,
        reason=check.reason,
        detail=check.detail,
    )


def _now() -> str:
    return dt.datetime.now(dt.timezone.utc).isoformat()
