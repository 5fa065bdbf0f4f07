"""Builds that answer additions in one run after another, and everything around them that a night's job has."""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np

from rocassay.harness.accuracy.errors import AnswererError
from rocassay.harness.accuracy.evaluating import Evaluator, Rules, Subject
from rocassay.harness.accuracy.history import History
from rocassay.harness.accuracy.questions import Answer, Question
from rocassay.harness.accuracy.tasks import Task
from rocassay.harness.results import Evaluation, Fingerprint
from rocassay.suites.accuracy.additions import additions
from rocassay.suites.accuracy.builds import QUESTIONS, Rates, broken, item_rates

TASK = additions(QUESTIONS)
NAMES = tuple(question.id for question in TASK.questions)
SUBJECT = Subject(model="adder", engine="scripted")
CONFIGURATION = "adder scripted"
RATES = item_rates(np.random.default_rng(81))
"""A good build: accuracy .95, two runs disagree on 4 % of the questions."""
WORSE = broken(np.random.default_rng(82), RATES, 0.05)
"""It loses five points."""
OPEN = Rules()
"""Neither floor nor early stop: the baseline alone decides."""


def wrong(rates: Rates, seed: int) -> frozenset[str]:
    """What one run does not solve."""
    drawn = np.random.default_rng(seed).random(len(rates)) >= rates
    return frozenset(name for name, missed in zip(NAMES, drawn.tolist(), strict=True) if missed)


GOOD, BAD, BAD_AGAIN = wrong(RATES, 1), wrong(WORSE, 1), wrong(WORSE, 2)
_SHAKY = [name for name, rate in zip(NAMES, RATES.tolist(), strict=True) if 0.5 < rate < 0.999]
UNLUCKY = GOOD | frozenset(_SHAKY[:17])
"""A run of the good build that fails where it may fail: p = .007 against the baseline of `with_baseline`."""


@dataclass
class Build:
    """Answers a task; its first run does not solve `runs[0]`, and so on, the last one for good."""

    runs: Sequence[frozenset[str]] = (frozenset(),)
    late: frozenset[str] = frozenset()
    """These answers come last."""
    failing: frozenset[str] = frozenset()
    """These get no answer."""
    lost_after: int | None = None
    """Answers, over all runs, after which it is lost."""
    killed_after: int | None = None
    """Answers after which the whole process is killed."""
    prompt_tokens: int | None = None
    name: str = "adder"
    chunk: int = 0
    asked: list[list[str]] = field(default_factory=list)
    given: int = 0

    def describe(self) -> dict[str, str]:
        """Nothing to say."""
        return {}

    def count_tokens(self, text: str) -> int | None:  # noqa: ARG002
        """The same for every prompt."""
        return self.prompt_tokens

    def answer(
        self,
        questions: Sequence[Question],
        *,
        until: Sequence[str],  # noqa: ARG002
        max_tokens: int,  # noqa: ARG002
    ) -> Iterator[tuple[Question, Answer]]:
        """Answer as it was told to."""
        missed = self.runs[min(len(self.asked), len(self.runs) - 1)]
        self.asked.append([question.id for question in questions])
        for question in sorted(questions, key=lambda question: question.id in self.late):
            if self.given == self.lost_after:
                raise AnswererError("lost")
            if self.given == self.killed_after:
                os.kill(os.getpid(), signal.SIGKILL)
            self.given += 1
            if question.id in self.failing:
                yield question, Answer("", "error", "HTTP 500: no [/v1] here")
            else:
                value = int(question.gold) + (question.id in missed)
                yield question, Answer(f" so\n#### {value}", "stop", tokens=9)


def evaluator(path: Path, build: Build, history: History | None = None, **changes: Any) -> Evaluator:
    """Whoever evaluates a build, against what the history has accepted."""

    def baseline(fingerprint: Fingerprint) -> Any:
        assert history is not None
        return history.runs_of_baseline(CONFIGURATION, fingerprint), ()

    facts: dict[str, Any] = {"task": TASK, "subject": SUBJECT, "rules": OPEN, "path": path}
    facts |= {"baseline_of": baseline} if history is not None else {}
    return Evaluator(build, **{**facts, **changes})


def evaluate(path: Path, build: Build, history: History | None = None, **changes: Any) -> list[Evaluation]:
    """Evaluate it; `resume` goes to the evaluator's call."""
    resume = changes.pop("resume", False)
    return evaluator(path, build, history, **changes)(resume=resume)


def with_baseline(place: Path, task: Task = TASK, runs: int = 8) -> History:
    """A history in which so many runs of the good build are accepted."""
    history = History(place)
    done = [
        evaluate(place.with_name(f"good{seed}.jsonl"), Build([wrong(RATES, seed)]), task=task)[0]
        for seed in range(100, 100 + runs)
    ]
    for evaluation in done:
        history.append(evaluation)
    history.accept([evaluation.header.run_id for evaluation in done], "good runs", "somebody")
    return history


def statuses(done: Sequence[Evaluation]) -> list[str]:
    """What the gate said of each."""
    return [evaluation.verdict.status for evaluation in done if evaluation.verdict]


if __name__ == "__main__":
    # Evaluates a build that loses five points and is killed: `... FILE HISTORY ANSWERS`.
    file, place, count = sys.argv[1:]
    evaluate(Path(file), Build([wrong(WORSE, 1), wrong(WORSE, 2)], killed_after=int(count)), History(place))
