"""The synthetic task: word problems that the embedded model can solve, asked as GSM8K is."""

from __future__ import annotations

from rocassay.harness.accuracy.tasks import GSM8K_UNTIL, Doc, Task, gsm8k
from rocassay.suites.gsm8k.problems import QUESTIONS_SEED, SHOTS_SEED, problems

NAME = "rocassay_problems"
QUESTIONS = 1319
"""As many as GSM8K's test split."""
EXAMPLES = 32
"""Worked examples there are."""
MAX_TOKENS = 48
"""The longest worked answer to a question has 27 tokens of the embedded tokenizer."""


def splits(questions: int = QUESTIONS) -> tuple[list[Doc], list[Doc]]:
    """(worked examples, questions), each in a fixed order."""
    examples, asked = problems(SHOTS_SEED, EXAMPLES), problems(QUESTIONS_SEED, questions)
    return [Doc(p.question, p.answer) for p in examples], [Doc(p.question, p.answer) for p in asked]


def synthetic(shots: int = 5, questions: int = QUESTIONS) -> Task:
    """The task with its first `shots` worked examples before every question; TaskError for more than there are."""
    task = gsm8k(*splits(questions), shots=shots, max_tokens=MAX_TOKENS)
    renamed = tuple(type(q)(f"{NAME}-{q.id.rpartition('-')[2]}", q.prompt, q.gold) for q in task.questions)
    return Task(NAME, renamed, shots, GSM8K_UNTIL, MAX_TOKENS)
