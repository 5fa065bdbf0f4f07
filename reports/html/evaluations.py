"""End-to-end evaluations as rows: one per configuration, task and faults, with what went into its number."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rocassay.harness.results import Assay, Check, Evaluation, latest
from rocassay.reports.html.words import shortened

CUT_SHORT = "cut short"
"""Status of an evaluation without a verdict."""

SENTENCE = 800
"""Most characters of a reason, a detail or a command that the server or a model may have lengthened."""

_MARKS = {"green": "passed", "red": "failed", "blind": "blind", "refused": "invalid", "needs-confirmation": "invalid"}


@dataclass(frozen=True, slots=True)
class Row:
    """One evaluation."""

    run_id: str
    configuration: str
    task: str
    """Task and worked examples, in words."""
    faults: tuple[str, ...]
    part: str
    """`first run` and `repeated` where a suspicious run was asked again, else empty."""
    status: str
    """Of the verdict, or `cut short`."""
    reason: str
    checks: tuple[Check, ...]
    power: str
    """What the gate sees with which probability, and how often it lies."""
    repro: str
    planned: int
    asked: int
    correct: int
    correct_flexible: int
    """Right by the last number of the answer."""
    interval: tuple[float, float] | None
    """Wilson 95 % interval of the verdict; None before there is one."""
    floor: float | None
    """Declared ability, where a check of that name told it."""
    stopped_after: int | None
    """Questions after which the sequential test ended the run."""
    seconds: float | None
    invalid: int
    """Answers without a number in the asked form."""
    truncated: int
    """Answers cut at the token limit."""
    errors: int
    """Questions without an answer."""

    @property
    def label(self) -> str:
        """Faults joined, or `healthy`."""
        return " + ".join(self.faults) or "healthy"

    @property
    def accuracy(self) -> float | None:
        """Share of right answers; None before the first."""
        return self.correct / self.asked if self.asked else None

    @property
    def wanted(self) -> bool:
        """Whether a fault was injected and the verdict is red because of it."""
        return bool(self.faults) and self.status == "red"

    @property
    def mark(self) -> str:
        """Shape of the status."""
        if self.faults and self.status in ("red", "green"):
            return "caught" if self.wanted else "blind"
        return _MARKS.get(self.status, "not run")

    @property
    def words(self) -> str:
        """The status; of a fault also whether that is wanted."""
        if self.faults and self.status in ("red", "green"):
            return "red, as wanted" if self.wanted else "green: not seen"
        return self.status


@dataclass(frozen=True, slots=True)
class Group:
    """Evaluations of one configuration and task, the healthy ones first."""

    configuration: str
    task: str
    rows: tuple[Row, ...]


def groups(assay: Assay) -> list[Group]:
    """Every evaluation that counts, beside the first look of a repeated one; configurations in order of appearance."""
    found: dict[tuple[str, str], list[Row]] = {}
    for row in rows(assay):
        found.setdefault((row.configuration, row.task), []).append(row)
    return [Group(*name, tuple(sorted(members, key=lambda r: bool(r.faults)))) for name, members in found.items()]


def rows(assay: Assay) -> list[Row]:
    """The same, one after another."""
    every = list(assay.evaluations.values())
    found: list[Row] = []
    for evaluation in latest(every):
        before = _first_look(every, evaluation)
        found += [_row(before, "first run"), _row(evaluation, "repeated")] if before else [_row(evaluation, "")]
    return found


def healthy(assay: Assay) -> list[Row]:
    """Rows that decide the verdict: no fault, and not the first look of a repeated run."""
    return [row for row in rows(assay) if not row.faults and row.part != "first run"]


def _first_look(every: Sequence[Evaluation], evaluation: Evaluation) -> Evaluation | None:
    """The suspicious run that this one repeats, if it does."""
    same = [found for found in every if found.subject == evaluation.subject]
    place = next(n for n, found in enumerate(same) if found is evaluation)
    before = same[place - 1] if place else None
    suspicious = before is not None and before.verdict is not None and before.verdict.status == "needs-confirmation"
    return before if suspicious else None


def _row(evaluation: Evaluation, part: str) -> Row:
    header, verdict, answers = evaluation.header, evaluation.verdict, evaluation.judged
    shots = header.fingerprint.shots
    done = f"{len(answers)} of {header.planned} questions are answered; `rocassay gsm8k --resume` completes it"
    return Row(
        run_id=header.run_id,
        configuration=shortened(header.configuration),
        task=f"{shortened(header.fingerprint.task)}, {shots} shots",
        faults=header.faults,
        part=part,
        status=verdict.status if verdict else CUT_SHORT,
        reason=shortened(verdict.reason if verdict else done, SENTENCE),
        checks=tuple(_short(check) for check in verdict.checks) if verdict else (),
        power=shortened(verdict.power, SENTENCE) if verdict else "",
        repro=shortened(verdict.repro, SENTENCE) if verdict else "",
        planned=header.planned,
        asked=verdict.asked if verdict else len(answers),
        correct=verdict.correct if verdict else sum(answer.correct for answer in answers),
        correct_flexible=verdict.correct_flexible if verdict else sum(answer.correct_flexible for answer in answers),
        interval=verdict.interval if verdict and verdict.asked else None,
        floor=next((c.limit for c in verdict.checks if c.name == "floor"), None) if verdict else None,
        stopped_after=verdict.stopped_after if verdict else None,
        seconds=verdict.seconds if verdict else None,
        invalid=sum(answer.invalid for answer in answers),
        truncated=sum(answer.finish_reason == "length" for answer in answers),
        errors=sum(answer.finish_reason == "error" for answer in answers),
    )


def _short(check: Check) -> Check:
    return check.model_copy(update={"detail": shortened(check.detail, SENTENCE)})
