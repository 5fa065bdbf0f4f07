"""The retrieval sweep: lengths, depths, needles and what counts as right."""

from __future__ import annotations

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from rocassay.harness.accuracy.errors import TaskError
from rocassay.harness.accuracy.questions import Answer
from rocassay.harness.accuracy.retrieval import (
    CHARACTERS_PER_TOKEN,
    DEPTHS,
    LENGTHS,
    NEEDLES,
    depth_of,
    exact_by_depth,
    extract_code,
    retrieval,
)
from rocassay.harness.accuracy.runner import evaluate
from rocassay.harness.accuracy.served_suites import served_suites
from rocassay.suites.accuracy.additions import header, names

NEEDLE = re.compile(r"The access code of the (\w+ \w+) is (\d{4})\.")
ASKED = re.compile(r"What is the access code of the (\w+ \w+)\?\nAnswer: The access code of the (\w+ \w+) is$")
ENOUGH = 0.96
"""Least part of the asked length that a prompt has where tokens can be counted."""

COUNTERS: dict[str, Callable[[str], int]] = {
    "words": lambda text: len(text.split()),
    "words and marks": lambda text: len(re.findall(r"\w+|[^\w\s]", text)),
    "pieces of three": lambda text: len(text) // 3 + 1,
}


@pytest.mark.parametrize("counter", COUNTERS)
@pytest.mark.parametrize("length", [1024, 4096, 32768])
def test_no_prompt_exceeds_its_length_and_each_comes_near_to_it(length: int, counter: str):
    count = COUNTERS[counter]
    counts = [count(question.prompt) for question in retrieval(length, count, per_depth=2).questions]
    assert ENOUGH * length <= min(counts)
    assert max(counts) <= length


@pytest.mark.parametrize("unknown", [None, lambda _: None], ids=["no counter", "a counter that does not know"])
def test_without_a_tokenizer_the_length_is_that_of_the_stated_characters(unknown: Any):
    sizes = [len(question.prompt) for question in retrieval(8192, unknown, per_depth=1).questions]
    assert min(sizes) / CHARACTERS_PER_TOKEN >= ENOUGH * 8192
    assert max(sizes) / CHARACTERS_PER_TOKEN <= 8192


@pytest.mark.parametrize("depth", DEPTHS)
def test_the_asked_needle_stands_at_its_depth_among_distractors_of_its_form(depth: int):
    for question in retrieval(4096, depths=[depth], per_depth=5).questions:
        needles, asked = NEEDLE.findall(question.prompt), ASKED.search(question.prompt)
        assert asked is not None
        assert asked.group(1) == asked.group(2)
        assert (len(dict(needles)), len({code for _, code in needles})) == (NEEDLES, NEEDLES)
        assert dict(needles)[asked.group(1)] == question.gold
        sentences = question.prompt.partition("\n\n")[0].split(". ")
        (place,) = [n for n, sentence in enumerate(sentences) if f"the {asked.group(1)} is" in sentence]
        assert abs(100 * place / (len(sentences) - 1) - depth) < 0.5


def test_the_filler_holds_no_number_and_no_code_is_left_to_guess():
    for question in retrieval(4096, per_depth=3).questions:
        assert len(re.findall(r"\d+", question.prompt)) == NEEDLES
        assert question.prompt.count(question.gold) == 1


def test_the_same_seed_asks_the_same_and_another_asks_something_else():
    first, again, other = (retrieval(2048, per_depth=2, seed=seed) for seed in (1, 1, 2))
    assert first.questions == again.questions
    assert not {q.prompt_hash for q in first.questions} & {q.prompt_hash for q in other.questions}


def test_questions_of_one_depth_ask_for_different_needles():
    questions = retrieval(2048, depths=[50], per_depth=10).questions
    assert len({question.gold for question in questions}) == 10
    assert len({question.prompt for question in questions}) == 10


def test_every_length_of_the_sweep_exceeds_what_the_uncompressed_models_select():
    reaches = [suite.reach for suite in served_suites().values() if suite.compress_ratio == 1]
    assert all(reach is not None and reach < min(LENGTHS) for reach in reaches)
    assert (min(LENGTHS), max(LENGTHS)) == (4096, 131072)


@pytest.mark.parametrize(
    ("text", "code"),
    [(" 4821.", "4821"), ("the code is 4821, not 17", "4821"), (" unknown", None), ("", None), (" 48210", "48210")],
)
def test_the_answer_is_the_first_number_of_the_text(text: str, code: str | None):
    assert extract_code(text) == (code, code)


@pytest.mark.parametrize(
    ("settings", "complaint"),
    [
        ({"length": 60}, "a prompt of 60 tokens has no room for 8 needles"),
        ({"depths": []}, r"depths \(\) with 10 questions each"),
        ({"depths": [101]}, r"depths \(101,\)"),
        ({"per_depth": 0}, "at least one each"),
    ],
)
def test_a_sweep_that_makes_no_sense_is_refused(settings: dict[str, Any], complaint: str):
    with pytest.raises(TaskError, match=complaint):
        retrieval(**{"length": 4096, **settings})


def test_a_name_tells_its_depth_and_a_foreign_one_is_refused():
    assert [depth_of(name) for name in names(retrieval(2048, per_depth=1))] == list(DEPTHS)
    with pytest.raises(TaskError, match="'gsm8k-0001' is no question of the retrieval sweep"):
        depth_of("gsm8k-0001")


class Forgetful:
    """Finds needles only in the second half of the prompt, as a broken selection may."""

    name, chunk = "forgetful", 0

    def describe(self) -> dict[str, str]:
        """Nothing to say."""
        return {}

    def count_tokens(self, text: str) -> int:
        """Words."""
        return len(text.split())

    def answer(self, questions: Any, **_: Any) -> Any:
        """Look for the needle where it still sees."""
        for question in questions:
            seen = dict(NEEDLE.findall(question.prompt[len(question.prompt) // 2 :]))
            asked = ASKED.search(question.prompt)
            assert asked is not None
            yield question, Answer(f" {seen.get(asked.group(1), 'unknown')}.", "stop")


def test_a_model_that_forgets_the_first_half_is_seen_by_depth_through_the_common_runner(tmp_path: Path):
    model, depths = Forgetful(), (0, 25, 75, 100)
    task = replace(retrieval(2048, model.count_tokens, depths=depths, per_depth=4))
    found = evaluate(model, task, header(task), order=names(task)[::-1], path=tmp_path / "r", extract=extract_code)
    assert exact_by_depth(found.in_order) == {0: (0, 4), 25: (0, 4), 75: (4, 4), 100: (4, 4)}
    assert list(exact_by_depth(found.in_order)) == [0, 25, 75, 100]
