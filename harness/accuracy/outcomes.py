"""What a run did, question by question."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rocassay.harness.accuracy.errors import AccuracyError


@dataclass(frozen=True, slots=True)
class Outcome:
    """What a run did with one question."""

    correct: bool
    """The extracted answer equals the gold."""
    answered: bool = True
    """An answer could be extracted at all."""
    finished: bool = True
    """The text ended by itself, not at the token limit."""
    tokens: int | None = None
    """Length of the generated text; None when it was not counted."""

    def __post_init__(self) -> None:
        if self.correct and not self.answered:
            raise AccuracyError("an outcome is correct without an answer; take both from the same extraction")
        if self.tokens is not None and self.tokens < 0:
            raise AccuracyError(f"an outcome has {self.tokens} tokens; count the generated ones, at least 0")


Run = Mapping[str, Outcome]
"""Outcomes by question id."""

Protocol = tuple[tuple[str, str], ...]
"""What makes runs comparable, by name: digest of the prompts, few-shot count, stop strings, template, extraction."""


def require_same_questions(expected: Collection[str], found: Collection[str], who: str) -> None:
    """AccuracyError, naming a question, unless both are the same set of ids."""
    missing, unknown = frozenset(expected).difference(found), frozenset(found).difference(expected)
    if missing or unknown:
        raise AccuracyError(
            f"{who} lacks {len(missing)} of {len(expected)} questions and has {len(unknown)} others, the first "
            f"{min(missing or unknown)!r}; other questions are another test: finish the run, or record a new baseline"
        )


def log_lengths(rows: Sequence[Sequence[Outcome]]) -> NDArray[np.float64] | None:
    """ln(1 + tokens) by run and question; None unless every outcome has a count."""
    counts = [[outcome.tokens for outcome in row if outcome.tokens is not None] for row in rows]
    if any(len(counted) < len(row) for counted, row in zip(counts, rows, strict=True)):
        return None
    return np.log1p(np.array(counts, dtype=np.float64))
