"""What K good runs of one configuration say about every question."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rocassay.harness.accuracy.errors import AccuracyError
from rocassay.harness.accuracy.intervals import chi_square_above
from rocassay.harness.accuracy.outcomes import Outcome, Protocol, Run, log_lengths, require_same_questions

PLANNING_PSI = 0.04
"""Discordance of two runs of one build where it cannot be measured, as with a baseline of one run.

Public repeats of GSM8K: .032 (61 runs, sglang-jax#1333), .049 (10 runs, sglang#35477), .027 (rocm-aic#166), .078 and
.011 (vllm#54920).
"""


@dataclass(frozen=True, slots=True)
class ItemBaseline:
    """Per-question counts over K runs; plain tuples, so that any format can hold them."""

    questions: tuple[str, ...]
    """Question ids, sorted; the order of every tuple that has one entry a question."""
    runs: int
    """K."""
    correct: tuple[int, ...]
    """By question: runs that solved it."""
    answered: tuple[int, ...]
    """By question: runs that gave an answer."""
    finished: tuple[int, ...]
    """By question: runs whose text ended by itself."""
    run_correct: tuple[int, ...]
    """By run: questions that it solved."""
    log_tokens: tuple[float, ...] | None = None
    """By question: mean over the runs of ln(1 + tokens); None unless every run counted tokens."""
    run_log_tokens: tuple[float, ...] | None = None
    """By run: mean over the questions of ln(1 + tokens)."""
    protocol: Protocol = ()
    """What the runs had in common."""

    @classmethod
    def of(cls, runs: Sequence[Run], protocol: Protocol = ()) -> ItemBaseline:
        """The baseline of these runs; AccuracyError unless there is one and all answered the same questions."""
        if not runs or not runs[0]:
            raise AccuracyError("a baseline without answers says nothing; give at least one whole run")
        for number, run in enumerate(runs, start=1):
            require_same_questions(runs[0].keys(), run.keys(), f"run {number} of the baseline")
        questions = tuple(sorted(runs[0]))
        rows = [[run[question] for question in questions] for run in runs]
        lengths = log_lengths(rows)
        return cls(
            questions=questions,
            runs=len(runs),
            correct=tuple(sum(outcome.correct for outcome in column) for column in zip(*rows, strict=True)),
            answered=tuple(sum(outcome.answered for outcome in column) for column in zip(*rows, strict=True)),
            finished=tuple(sum(outcome.finished for outcome in column) for column in zip(*rows, strict=True)),
            run_correct=tuple(sum(outcome.correct for outcome in row) for row in rows),
            log_tokens=None if lengths is None else tuple(float(x) for x in lengths.mean(axis=0)),
            run_log_tokens=None if lengths is None else tuple(float(x) for x in lengths.mean(axis=1)),
            protocol=protocol,
        )

    @property
    def n(self) -> int:
        """Questions."""
        return len(self.questions)

    @property
    def accuracy(self) -> float:
        """Mean share of right answers."""
        return sum(self.correct) / (self.n * self.runs)

    @property
    def psi(self) -> float | None:
        """Expected discordance of two runs: twice the mean item variance, unbiased; None for a single run."""
        if self.runs < 2:
            return None
        return 2 * sum(s * (self.runs - s) for s in self.correct) / (self.runs * (self.runs - 1) * self.n)

    @property
    def dispersion_p(self) -> float:
        """p of `the runs differ in accuracy no more than their questions flip` (Cochran's Q); 1 for a single run.

        A small value means that the runs are not of one build in one environment: then a run varies by more than its
        questions do, and no error rate of a test against this baseline would be true.
        """
        k, total = self.runs, sum(self.run_correct)
        scale = k * total - sum(s * s for s in self.correct)
        if not scale:
            return 1.0
        spread = k * sum(t * t for t in self.run_correct) - total * total
        return chi_square_above((k - 1) * spread / scale, k - 1)

    def rows(self, *runs: Run) -> list[list[Outcome]]:
        """The outcomes of these runs in the order of `questions`; AccuracyError for other questions."""
        for run in runs:
            require_same_questions(self.questions, run.keys(), "the run")
        return [[run[question] for question in self.questions] for run in runs]
