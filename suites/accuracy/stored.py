"""Small evaluations to be stored, put together by hand, and a process that stores some: `... HISTORY NAME COUNT`."""

from __future__ import annotations

import sys
from collections.abc import Collection, Sequence
from typing import Any

from rocassay.harness.accuracy.history import History
from rocassay.harness.results import AccuracyRecord, Check, Evaluation, QuestionRecord
from rocassay.suites.accuracy.additions import additions, header

TASK = additions(40)
NAMES = tuple(question.id for question in TASK.questions)


def evaluation(
    run: str, wrong: Collection[str] = (), *, names: Sequence[str] = NAMES, errors: Collection[str] = (), **facts: Any
) -> Evaluation:
    """A finished evaluation of these questions; `facts` change the header, those of the verdict are named below."""
    verdict_facts = {key: facts.pop(key) for key in ("status", "checks", "decided_by", "stopped_after") if key in facts}
    records = [_record(run, place, name, name not in wrong, name in errors) for place, name in enumerate(names)]
    right = sum(record.correct for record in records)
    counts: dict[str, Any] = {"asked": len(records), "correct": right, "correct_flexible": right}
    verdict = {"finished": "later", "status": "green", "reason": "every check holds", **counts, **verdict_facts}
    head = header(TASK, **{"run_id": run, "planned": len(names), **facts})
    return Evaluation(head, {record.id: record for record in records}, AccuracyRecord(run_id=run, **verdict))


def _record(run: str, place: int, name: str, right: bool, error: bool) -> QuestionRecord:
    question = TASK.by_id[name]
    value = None if error else question.gold if right else "0"
    return QuestionRecord(
        run_id=run,
        id=name,
        place=place,
        prompt_hash=question.prompt_hash,
        gold=question.gold,
        text="" if error else f" 7 → {value}\n#### {value}",
        strict=value,
        flexible=value,
        correct=right and not error,
        correct_flexible=right and not error,
        finish_reason="error" if error else "stop",
        tokens=None if error else 5,
    )


def accuracy_check(p: float, *, passed: bool) -> Check:
    """The check of the accuracy as the gate records it."""
    return Check(name="accuracy", kind="gate", passed=passed, statistic=p, limit=0.001)


if __name__ == "__main__":
    place, name, count = sys.argv[1:]
    for number in range(int(count)):
        History(place).append(evaluation(f"{name}-{number}", NAMES[:number]))
