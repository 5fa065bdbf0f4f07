"""The word problems: every worked line and every final number recomputed from the text of the question."""

from __future__ import annotations

import re
from collections import Counter

from hypothesis import given, settings
from hypothesis import strategies as st

from rocassay.harness.accuracy.tasks import gold_of
from rocassay.suites.gsm8k.problems import (
    QUESTIONS_SEED,
    SHOTS_SEED,
    TRAINING_SEED,
    Problem,
    problem,
    problems,
)
from rocassay.suites.gsm8k.synthetic import EXAMPLES, QUESTIONS

OPENING = re.compile(r"(?P<who>\w+) (?:has (?P<count>\d+)|buys (?P<boxes>\d+) boxes of (?P<each>\d+)) (?P<thing>\w+)")


def solved(question: str) -> tuple[list[str], int]:
    """(worked lines, final number), read from the story sentence by sentence; no sentence may be left over."""
    first, *story, ask = re.split(r"(?<=[.?]) ", question)
    opening = OPENING.fullmatch(first.removesuffix("."))
    assert opening
    who, thing = opening["who"], opening["thing"]
    assert ask == f"How many {thing} does {who} have now?"
    lines: list[str] = []

    def step(a: int, sign: str, b: int) -> int:
        result = {"+": a + b, "-": a - b, "*": a * b}[sign]
        lines.append(f"{a}{sign}{b}=<<{a}{sign}{b}={result}>>{result} {thing}")
        return result

    held = int(opening["count"] or 0) or step(int(opening["boxes"]), "*", int(opening["each"]))
    for sentence in story:
        if found := re.fullmatch(rf"\w+ gives {who} (\d+) more\.", sentence):
            held = step(held, "+", int(found[1]))
        elif found := re.fullmatch(rf"{who} (?:gives (\d+) to \w+|loses (\d+))\.", sentence):
            held = step(held, "-", int(found[1] or found[2]))
        else:
            other = re.fullmatch(rf"(\w+) has \d+ {thing}\.", sentence)
            assert other, sentence
            assert other[1] != who
    return lines, held


def kind(asked: Problem) -> str:
    """Names the operations, such as `*-`."""
    return "".join(re.findall(r"<<\d+(.)", asked.answer))


@settings(deadline=None, max_examples=300)
@given(st.integers(0, 1000), st.integers(0, 1_000_000))
def test_every_line_and_the_final_number_follow_from_the_question(seed: int, number: int):
    drawn = problem(seed, number)
    lines, last = solved(drawn.question)
    assert drawn.answer.split("\n") == [*lines, f"#### {last}"]
    assert gold_of(drawn.answer) == str(last)
    assert all(0 <= int(word) <= 99 for word in re.findall(r"\d+", drawn.question + drawn.answer))


def test_all_asked_questions_and_worked_examples_are_right():
    asked = [*problems(QUESTIONS_SEED, QUESTIONS), *problems(SHOTS_SEED, EXAMPLES)]
    for drawn in asked:
        lines, last = solved(drawn.question)
        assert drawn.answer.split("\n") == [*lines, f"#### {last}"]


def test_all_kinds_come_equally_often_and_a_third_with_a_number_that_has_no_part():
    asked = list(problems(QUESTIONS_SEED, QUESTIONS))
    kinds = Counter(kind(p) for p in asked)
    assert set(kinds) == {"+", "-", "*", "+-", "*-"}
    assert all(abs(count / QUESTIONS - 1 / 5) < 0.04 for count in kinds.values())
    idle = sum(len(re.findall(r" has \d", p.question)) - (" buys " not in p.question) for p in asked)
    assert abs(idle / QUESTIONS - 1 / 3) < 0.05


def test_a_problem_is_a_function_of_stream_and_number_alone():
    assert list(problems(QUESTIONS_SEED, 5, first=7)) == list(problems(QUESTIONS_SEED, 12))[7:]
    first = "Fay has 45 cups. Fay gives 8 to Amy. How many cups does Fay have now?"
    assert problem(QUESTIONS_SEED, 0) == Problem(first, "45-8=<<45-8=37>>37 cups\n#### 37")


def test_worked_examples_are_no_questions():
    asked = {p.question for p in problems(QUESTIONS_SEED, QUESTIONS)}
    assert asked.isdisjoint(p.question for p in problems(SHOTS_SEED, EXAMPLES))


def test_only_one_step_problems_of_boxes_are_so_few_that_training_meets_some_of_them():
    trained = {p.question for p in problems(TRAINING_SEED, 10_000)}
    met = [p for p in problems(QUESTIONS_SEED, QUESTIONS) if p.question in trained]
    assert {kind(p) for p in met} <= {"*"}
    assert len(met) < QUESTIONS / 50
