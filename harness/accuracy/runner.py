"""Asks the questions of a task in a fixed order and writes down every answer as it comes.

A record is on the file before the next one is looked at, so that a kill costs the answers in flight and nothing
else. What has been answered is judged along the fixed order only: with many requests at a time the answers that
come first are the short ones, no random sample.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol, TypeAlias

from rocassay.harness.accuracy.errors import AccuracyError
from rocassay.harness.accuracy.questions import Answer, Answerer, Question
from rocassay.harness.accuracy.resuming import earlier_part
from rocassay.harness.accuracy.tasks import Task
from rocassay.harness.results import EvalHeader, Evaluation, QuestionRecord, ResultsWriter, set_aside_cut_tail

Extract: TypeAlias = Callable[[str], "tuple[str | None, str | None]"]
"""Takes the answer out of a text: strictly (the asked form) and flexibly (last number anywhere), both normalised."""

Watch: TypeAlias = Callable[[Sequence[QuestionRecord]], "str | None"]
"""Looks at the first n answers of the order, complete, for each n in turn; a reason stops the run."""


class Progress(Protocol):
    """Is told how far an evaluation is."""

    def begin(self, total: int, done: int) -> None:
        """`total` questions are planned, `done` of them were answered by an earlier part."""
        ...

    def answered(self, record: QuestionRecord) -> None:
        """One more answer is on the file."""
        ...

    def end(self, reason: str) -> None:
        """No further question is asked; `reason` is empty when all were."""
        ...


class NoProgress:
    """Tells nobody."""

    def begin(self, total: int, done: int) -> None:
        """Nothing."""

    def answered(self, record: QuestionRecord) -> None:
        """Nothing."""

    def end(self, reason: str) -> None:
        """Nothing."""


@dataclass(slots=True)
class Asked(Evaluation):
    """An evaluation after its questions were asked, without a verdict unless an earlier run already wrote one."""

    stopped: str | None = None
    """Why the watch stopped it; None: it did not."""
    stopped_after: int | None = None
    """Answers, along the order, on which the watch decided to stop."""
    seconds: float = 0.0
    """Wall time of this part."""


def evaluate(
    answerer: Answerer,
    task: Task,
    header: EvalHeader,
    *,
    order: Sequence[str],
    path: Path,
    extract: Extract,
    watch: Watch | None = None,
    progress: Progress | None = None,
    resume: bool = False,
) -> Asked:
    """Ask the questions named in `order`, in that order, and append header and answers to the file at `path`.

    With `resume`, an unfinished evaluation of the same configuration, faults and fingerprint in that file is
    continued: answered questions are kept, those without an answer are asked again; a finished one is returned as
    it is. Raises AccuracyError when it cannot be continued or `order` does not fit the task, and AnswererError when
    whoever answers is lost; every answer so far is then on the file.
    """
    _check(task, header, order)
    set_aside_cut_tail(path)  # a header behind the torn line of a killed run would be lost
    earlier = earlier_part(path, header, [task.by_id[name] for name in order]) if resume else None
    if earlier is not None and earlier.finished:
        return Asked(earlier.header, earlier.questions, earlier.verdict)
    if earlier is not None:
        header = header.model_copy(update={"run_id": earlier.header.run_id, "resumed": True})
    asked = Asked(header, dict(earlier.questions) if earlier else {})
    began = time.monotonic()
    writer = ResultsWriter(path)
    try:
        writer.append(header)
        _Asking(answerer, task, order, extract, asked, writer, watch, progress or NoProgress()).run()
    finally:
        writer.close()
        asked.seconds = time.monotonic() - began
    return asked


def _check(task: Task, header: EvalHeader, order: Sequence[str]) -> None:
    unknown = [name for name in order if name not in task.by_id]
    if unknown or len(set(order)) != len(order):
        what = f"has no question {unknown[0]!r}" if unknown else "is asked for a question twice"
        raise AccuracyError(f"task {task.name} {what}; the order is a permutation of some of its {len(task.by_id)}")
    expected = task.fingerprint(header.fingerprint.extraction, header.fingerprint.chat_template)
    found = expected.differences(header.fingerprint)
    if found or header.planned != len(order):
        reason = "; ".join(found) or f"{len(order)} questions are ordered, the header plans {header.planned}"
        raise AccuracyError(f"the header does not describe task {task.name}: {reason}")


class _Asking:
    """State of one run: which answers are in, and how far they are complete along the order."""

    def __init__(
        self,
        answerer: Answerer,
        task: Task,
        order: Sequence[str],
        extract: Extract,
        asked: Asked,
        writer: ResultsWriter,
        watch: Watch | None,
        progress: Progress,
    ) -> None:
        self._answerer = answerer
        self._task = task
        self._order = order
        self._place = {name: place for place, name in enumerate(order)}
        self._extract = extract
        self._asked = asked
        self._writer = writer
        self._watch = watch
        self._progress = progress
        self._prefix: list[QuestionRecord] = []
        self._pending = {name for name in order if not _is_answered(asked.questions.get(name))}

    def run(self) -> None:
        """Ask until all are answered or the watch stops it; whoever follows the progress hears of every end."""
        self._progress.begin(len(self._order), len(self._order) - len(self._pending))
        try:
            self._ask_chunks()
        except BaseException as error:
            self._progress.end(str(error) or type(error).__name__)
            raise
        self._progress.end(self._asked.stopped or "")

    def _ask_chunks(self) -> None:
        self._look()
        left = [self._task.by_id[name] for name in self._order if name in self._pending]
        size = self._answerer.chunk or max(1, len(left))
        for start in range(0, len(left), size):
            if self._asked.stopped is None:
                self._ask(left[start : start + size])

    def _ask(self, questions: Sequence[Question]) -> None:
        """Ask one chunk; what is outstanding is cancelled as soon as the watch stops the run."""
        waiting = {question.id for question in questions}
        answers = self._answerer.answer(questions, until=self._task.until, max_tokens=self._task.max_tokens)
        try:
            for question, answer in answers:
                if question.id not in waiting:
                    raise AccuracyError(f"{self._answerer.name} answered {question.id!r} twice or unasked")
                waiting.discard(question.id)
                self._take(question, answer)
                if self._asked.stopped is not None:
                    return
        finally:
            _close(answers)
        for question in questions:
            if question.id in waiting:
                self._take(question, Answer("", "error", f"{self._answerer.name} gave no answer"))

    def _take(self, question: Question, answer: Answer) -> None:
        record = self._record(question, answer)
        self._writer.append(record)
        self._asked.questions[question.id] = record
        self._pending.discard(question.id)
        self._progress.answered(record)
        self._look()

    def _record(self, question: Question, answer: Answer) -> QuestionRecord:
        failed = answer.finish_reason == "error"
        strict, flexible = (None, None) if failed else self._extract(answer.text)
        return QuestionRecord(
            run_id=self._asked.header.run_id,
            id=question.id,
            place=self._place[question.id],
            prompt_hash=question.prompt_hash,
            gold=question.gold,
            text=answer.text,
            strict=strict,
            flexible=flexible,
            correct=strict == question.gold,
            correct_flexible=flexible == question.gold,
            finish_reason=answer.finish_reason,
            error=answer.error,
            tokens=answer.tokens,
            prompt_tokens=answer.prompt_tokens,
            attempts=answer.attempts,
            seconds=answer.seconds,
        )

    def _look(self) -> None:
        """Show the watch every prefix that has become complete, one answer longer at a time."""
        while self._asked.stopped is None and len(self._prefix) < len(self._order):
            name = self._order[len(self._prefix)]
            if name in self._pending:
                return
            self._prefix.append(self._asked.questions[name])
            reason = self._watch(self._prefix) if self._watch is not None else None
            if reason is not None:
                self._asked.stopped, self._asked.stopped_after = reason, len(self._prefix)


def _is_answered(record: QuestionRecord | None) -> bool:
    return record is not None and record.finish_reason != "error"


def _close(answers: Iterator[tuple[Question, Answer]]) -> None:
    close = getattr(answers, "close", None)
    if close is not None:
        close()
