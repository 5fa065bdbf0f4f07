"""Synthetic word problems in GSM8K's own form: a question, a worked answer with calculator marks, `#### N`.

Every problem is a function of (seed, number) alone, on every machine. All numbers lie in 0..99. A third of the problems
mention a second person's number that has no part in the answer.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import TypeAlias

from rocassay.harness.inputs import Stream

NAMES = (
    "Tom", "Ann", "Ben", "Eva", "Sam", "Mia", "Leo", "Zoe", "Max", "Ida", "Jim", "Amy", "Dan", "Kim", "Roy", "Liz",
    "Ian", "Joy", "Ned", "Fay", "Gus", "Ivy", "Hal", "Pam",
)  # fmt: skip
THINGS = (
    "apples", "books", "cards", "coins", "cups", "eggs", "figs", "games", "hats", "jars", "keys", "kites", "lamps",
    "maps", "nuts", "pens", "plums", "rings", "shells", "stamps",
)  # fmt: skip

TRAINING_SEED, SHOTS_SEED, QUESTIONS_SEED = 1, 2, 3
"""Problems that the model is trained on, that serve as worked examples, and that are asked; never the same stream.

One-step problems of boxes have 30 720 texts in all: of the 1319 questions, 120 of that kind, and no others, are word
for word among the 200 000 problems of training. What is measured is whether kernels keep an ability, not whether it
reaches beyond its training.
"""


@dataclass(frozen=True, slots=True)
class Problem:
    """One problem; the fields are those of a GSM8K record."""

    question: str
    """What is asked."""
    answer: str
    """The worked answer, its last line `#### N`."""


Draw: TypeAlias = Callable[[int, int], int]
"""(low, high) -> an integer in low..high."""


def problem(seed: int, number: int) -> Problem:
    """Problem `number` of the stream that `seed` names."""
    draws = iter(Stream("word problem", f"{seed}:{number}").integers(0, 1 << 30, (16,)).tolist())

    def draw(low: int, high: int) -> int:
        return low + next(draws) % (high - low + 1)

    who, thing = draw(0, len(NAMES) - 1), THINGS[draw(0, len(THINGS) - 1)]
    other = (who + draw(1, len(NAMES) - 1)) % len(NAMES)
    build = _KINDS[draw(0, len(_KINDS) - 1)]
    aside = f" {NAMES[other]} has {draw(2, 99)} {thing}." if draw(0, 2) == 0 else ""
    return build(draw, NAMES[who], NAMES[other], thing, aside)


def problems(seed: int, count: int, first: int = 0) -> Iterator[Problem]:
    """Problems `first` to `first + count - 1` of a stream."""
    return (problem(seed, number) for number in range(first, first + count))


def _step(a: int, sign: str, b: int, result: int, thing: str) -> str:
    return f"{a}{sign}{b}=<<{a}{sign}{b}={result}>>{result} {thing}"


def _receives(draw: Draw, who: str, other: str, thing: str, aside: str) -> Problem:
    a, b = draw(2, 60), draw(2, 39)
    text = f"{who} has {a} {thing}.{aside} {other} gives {who} {b} more. How many {thing} does {who} have now?"
    return Problem(text, f"{_step(a, '+', b, a + b, thing)}\n#### {a + b}")


def _gives(draw: Draw, who: str, other: str, thing: str, aside: str) -> Problem:
    a = draw(10, 99)
    b = draw(2, a - 1)
    text = f"{who} has {a} {thing}.{aside} {who} gives {b} to {other}. How many {thing} does {who} have now?"
    return Problem(text, f"{_step(a, '-', b, a - b, thing)}\n#### {a - b}")


def _boxes(draw: Draw, who: str, other: str, thing: str, aside: str) -> Problem:
    a, b = draw(2, 9), draw(2, 9)
    text = f"{who} buys {a} boxes of {b} {thing}.{aside} How many {thing} does {who} have now?"
    return Problem(text, f"{_step(a, '*', b, a * b, thing)}\n#### {a * b}")


def _receives_then_gives(draw: Draw, who: str, other: str, thing: str, aside: str) -> Problem:
    a, b = draw(2, 60), draw(2, 39)
    c = draw(2, a + b - 1)
    text = (
        f"{who} has {a} {thing}.{aside} {other} gives {who} {b} more. {who} loses {c}. "
        f"How many {thing} does {who} have now?"
    )
    work = f"{_step(a, '+', b, a + b, thing)}\n{_step(a + b, '-', c, a + b - c, thing)}"
    return Problem(text, f"{work}\n#### {a + b - c}")


def _boxes_then_gives(draw: Draw, who: str, other: str, thing: str, aside: str) -> Problem:
    a, b = draw(2, 9), draw(2, 9)
    c = draw(2, a * b - 1)
    text = (
        f"{who} buys {a} boxes of {b} {thing}.{aside} {who} gives {c} to {other}. How many {thing} does {who} have now?"
    )
    work = f"{_step(a, '*', b, a * b, thing)}\n{_step(a * b, '-', c, a * b - c, thing)}"
    return Problem(text, f"{work}\n#### {a * b - c}")


_KINDS: tuple[Callable[[Draw, str, str, str, str], Problem], ...] = (
    _receives,
    _gives,
    _boxes,
    _receives_then_gives,
    _boxes_then_gives,
)
