"""The same end-to-end evaluations in two runs: right answers, and question by question what was lost and gained."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from rocassay.harness.results import Assay, Evaluation, latest

Subject: TypeAlias = "tuple[str, str, int, tuple[str, ...]]"
"""`Evaluation.subject`."""


@dataclass(frozen=True, slots=True)
class EvaluationChange:
    """One configuration, task and set of faults in both runs; an evaluation is None where a run lacks it."""

    base: Evaluation | None
    head: Evaluation | None
    incomparable: str
    """Why the answers cannot be compared, in words; empty where they can, or where a run lacks the evaluation."""
    shared: int = 0
    """Questions that both runs were judged by."""
    lost: int = 0
    """Of these: right in the base only."""
    gained: int = 0
    """Right in the head only."""

    @property
    def evaluation(self) -> Evaluation:
        """The head's, or the base's where the head has none."""
        found = self.head or self.base
        assert found is not None
        return found

    @property
    def subject(self) -> Subject:
        """Configuration, task, shots, faults."""
        return self.evaluation.subject

    @property
    def counts(self) -> tuple[tuple[int, int] | None, tuple[int, int] | None]:
        """(right, asked) in base and head; None where a run lacks it."""
        before, after = (_counts(found) if found else None for found in (self.base, self.head))
        return before, after

    @property
    def statuses(self) -> tuple[str, str]:
        """Verdicts in base and head; `missing`, or `cut short` where an evaluation has none."""
        before, after = map(_status, (self.base, self.head))
        return before, after

    @property
    def difference(self) -> float | None:
        """Accuracy of the head minus that of the base on the questions of both; None without such questions."""
        return (self.gained - self.lost) / self.shared if self.shared else None

    @property
    def lost_accuracy(self) -> bool:
        """Of a healthy evaluation: the head's verdict is not green, and the base's was, or there was none."""
        before, after = self.statuses
        return not self.subject[3] and after not in _SILENT and after != "green" and before in ("green", *_SILENT)

    @property
    def recovered(self) -> bool:
        """Of a healthy evaluation: green again."""
        before, after = self.statuses
        return not self.subject[3] and after == "green" and before not in ("green", *_SILENT)

    @property
    def skipped(self) -> bool:
        """The base has a verdict and the head has none."""
        before, after = self.statuses
        return not self.incomparable and after in _SILENT and before not in _SILENT

    @property
    def unseen(self) -> bool:
        """Of injected faults: the base's verdict is red, and the head has another one."""
        before, after = self.statuses
        return bool(self.subject[3]) and before == "red" and after not in (*_SILENT, "red")


_SILENT = ("missing", "cut short")


def _status(found: Evaluation | None) -> str:
    if found is None:
        return "missing"
    return found.verdict.status if found.verdict else "cut short"


def _counts(found: Evaluation) -> tuple[int, int]:
    judged = found.judged
    if found.verdict:
        return found.verdict.correct, found.verdict.asked
    return sum(answer.correct for answer in judged), len(judged)


def evaluation_changes(base: Assay, head: Assay) -> tuple[EvaluationChange, ...]:
    """Every evaluation that counts in either run, in the order of the head; those that only the base has follow."""
    before, after = _that_count(base), _that_count(head)
    return tuple(_change(subject, before, after) for subject in {**after, **before})


def _that_count(assay: Assay) -> dict[Subject, Evaluation]:
    every = list(assay.evaluations.values())
    repeated = {found.header.repeats for found in every}
    return {found.subject: found for found in latest(e for e in every if e.header.run_id not in repeated)}


def _change(subject: Subject, before: dict[Subject, Evaluation], after: dict[Subject, Evaluation]) -> EvaluationChange:
    base, head = before.get(subject), after.get(subject)
    if base is None or head is None:
        mine, others = (base, after) if base else (head, before)
        assert mine is not None
        return EvaluationChange(base, head, _elsewhere(mine, list(others.values()), "head" if base else "base"))
    if unlike := base.header.fingerprint.differences(head.header.fingerprint):
        # `differences` calls the one that it is asked of "here", and that is the base.
        return EvaluationChange(base, head, f"asked otherwise (here: base, there: head): {'; '.join(unlike)}")
    right = {answer.id: answer.correct for answer in base.judged}
    pairs = [(right[answer.id], answer.correct) for answer in head.judged if answer.id in right]
    lost, gained = pairs.count((True, False)), pairs.count((False, True))
    return EvaluationChange(base, head, "", len(pairs), lost, gained)


def _elsewhere(mine: Evaluation, others: Sequence[Evaluation], where: str) -> str:
    """That the other run asked the same of another provider or engine; empty where it did not."""
    found = [other.header.configuration for other in others if _asked(other) == _asked(mine)]
    return f"the {where} has it of {' and '.join(dict.fromkeys(found))}" if found else ""


def _asked(found: Evaluation) -> tuple[object, ...]:
    header = found.header
    chip = (header.model, header.arch, header.fp8, header.block_size, header.kv_dtype)
    return (*chip, *found.subject[1:])
