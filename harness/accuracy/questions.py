"""A question, an answer, and the contract of whoever answers: an embedded model, a server, vLLM in this process."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from typing import Protocol

from rocassay.harness.results import Fingerprint, Finish

HASH_DIGITS = 16
"""Hexadecimal digits of a prompt hash: 64 bits, so that two of a million prompts collide with 3e-8."""


@dataclass(frozen=True)
class Question:
    """One prompt and the answer that counts as right."""

    id: str
    """Name within the task; a record of the answer carries it."""
    prompt: str
    """Everything that the model reads, worked examples included."""
    gold: str
    """The right answer, normalised as the extraction normalises."""

    @cached_property
    def prompt_hash(self) -> str:
        """SHA-256 of the prompt, the first 16 hexadecimal digits."""
        return hashlib.sha256(self.prompt.encode()).hexdigest()[:HASH_DIGITS]


@dataclass(frozen=True, slots=True)
class Answer:
    """What came back for one question; a failure is an answer too, never an empty text in silence."""

    text: str
    """The continuation as it came, without the stop string."""
    finish_reason: Finish
    """Why it ended; `error` when there is no usable answer."""
    error: str = ""
    """What went wrong, in words; empty unless `finish_reason` is `error`."""
    tokens: int | None = None
    """Tokens of the answer, where known."""
    prompt_tokens: int | None = None
    """Tokens of the prompt, where known."""
    attempts: int = 1
    """Requests that were made for it."""
    seconds: float = 0.0
    """From the first request to the answer."""


class Answerer(Protocol):
    """Whoever answers questions, greedily (temperature 0)."""

    @property
    def name(self) -> str:
        """The model, as records and reports name it."""
        ...

    @property
    def chunk(self) -> int:
        """How many questions it likes at once; 0 for all."""
        ...

    def describe(self) -> dict[str, str]:
        """Settings worth recording, in words; never a secret."""
        ...

    def answer(
        self, questions: Sequence[Question], *, until: Sequence[str], max_tokens: int
    ) -> Iterator[tuple[Question, Answer]]:
        """Yield each question once with its answer, in any order, as they finish.

        Closing the iterator (where it is a generator) cancels what is outstanding. Raises AnswererError when no
        further answer is to be expected; answers yielded before remain valid.
        """
        ...

    def count_tokens(self, text: str) -> int | None:
        """Tokens of a prompt, special tokens included; None where it cannot be known."""
        ...


def fingerprint(
    task: str,
    questions: Sequence[Question],
    *,
    shots: int,
    until: Sequence[str],
    max_tokens: int,
    extraction: str,
    temperature: float = 0.0,
    chat_template: str = "",
) -> Fingerprint:
    """What answers to these questions are comparable with; `extraction` is the version of the extraction rules."""
    digest = hashlib.sha256("\n".join(question.prompt_hash for question in questions).encode())
    return Fingerprint(
        task=task,
        shots=shots,
        until=tuple(until),
        max_tokens=max_tokens,
        temperature=temperature,
        chat_template=chat_template,
        extraction=extraction,
        questions=len(questions),
        prompts=digest.hexdigest()[:HASH_DIGITS],
    )
