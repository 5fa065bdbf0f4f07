"""An answerer without a server: answers right, and fails exactly as it is told."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from rocassay.harness.accuracy.errors import AnswererError
from rocassay.harness.accuracy.questions import Answer, Question
from rocassay.harness.accuracy.runner import Asked, evaluate
from rocassay.harness.results import AccuracyRecord, QuestionRecord, ResultsWriter
from rocassay.suites.accuracy.additions import additions, extract, header, names, shuffled

TASK = additions(12)


@dataclass
class Scripted:
    """Answers right, in a seeded order within each chunk; can be lost after some answers."""

    chunk: int = 0
    seed: int = 0
    lost_after: int | None = None
    failing: frozenset[str] = frozenset()
    silent_about: frozenset[str] = frozenset()
    doubled: bool = False
    asked: list[list[str]] = field(default_factory=list)
    given: int = 0
    closed: int = 0
    name: str = "scripted"

    def describe(self) -> dict[str, str]:
        """Nothing to say."""
        return {}

    def count_tokens(self, text: str) -> int | None:  # noqa: ARG002
        """It knows no tokens."""
        return None

    def answer(
        self, questions: Sequence[Question], *, until: Sequence[str], max_tokens: int
    ) -> Iterator[tuple[Question, Answer]]:
        """Answer as it was told to."""
        assert (tuple(until), max_tokens) == (TASK.until, TASK.max_tokens)
        self.asked.append([question.id for question in questions])
        mixed: list[Question] = shuffled(questions, self.seed)
        try:
            for question in mixed * (2 if self.doubled else 1):
                if question.id in self.silent_about:
                    continue
                if self.given == self.lost_after:
                    raise AnswererError("lost")
                self.given += 1
                if question.id in self.failing:
                    yield question, Answer("", "error", "HTTP 500: no")
                else:
                    yield question, Answer(f" so\n#### {question.gold}", "stop", tokens=3, attempts=2, seconds=0.5)
        finally:
            self.closed += 1


@dataclass
class Followed:
    """Remembers what it was told."""

    told: list[Any] = field(default_factory=list)

    def begin(self, total: int, done: int) -> None:
        """The beginning."""
        self.told.append((total, done))

    def answered(self, record: QuestionRecord) -> None:
        """An answer."""
        self.told.append(record.id)

    def end(self, reason: str) -> None:
        """The end."""
        self.told.append(reason)


def ask(path: Path, answerer: Any = None, order: Sequence[str] = (), **settings: Any) -> Asked:
    """Evaluate the task; `facts` change the header, everything else goes to `evaluate`."""
    order = order or names(TASK)
    facts = {"planned": len(order), **settings.pop("facts", {})}
    answerer = answerer or Scripted()
    return evaluate(answerer, TASK, header(TASK, **facts), order=order, path=path, extract=extract, **settings)


def lines(path: Path) -> list[str]:
    """Raw lines of the file."""
    return path.read_text().splitlines()


def judge(path: Path, status: Any, run_id: str = "r") -> AccuracyRecord:
    """Write a verdict, as whoever called `evaluate` does."""
    counts: dict[str, Any] = {"asked": 12, "correct": 12, "correct_flexible": 12}
    record = AccuracyRecord(run_id=run_id, finished="", status=status, reason="why", **counts)
    writer = ResultsWriter(path)
    writer.append(record)
    writer.close()
    return record
