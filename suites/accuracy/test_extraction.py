"""What counts as the answer in a text, judged beside lm-eval's own filters and metric."""

from __future__ import annotations

from pathlib import Path

import lm_eval
import pytest
import yaml
from hypothesis import example, given, settings
from hypothesis import strategies as st
from lm_eval.api.metrics import exact_match_fn
from lm_eval.filters.extraction import RegexFilter
from lm_eval.filters.selection import TakeFirstFilter

from rocassay.harness.accuracy import extraction
from rocassay.harness.accuracy.extraction import exact_match, flexible_answer, recorded_answer, strict_answer

TASK = yaml.safe_load((Path(lm_eval.__file__).parent / "tasks" / "gsm8k" / "gsm8k.yaml").read_text())
METRIC = next(metric for metric in TASK["metric_list"] if metric["metric"] == "exact_match")
FILTERS = {entry["name"]: entry["filter"] for entry in TASK["filter_list"]}
OURS = {"strict-match": strict_answer, "flexible-extract": flexible_answer}

TEXTS = (
    "",
    "#### ",
    "####18",
    "#### 18",
    "#### -18.",
    "#### $18",
    "#### 1,234,567.00",
    "so 9 * 2 = 18\n#### 18\n#### 19",
    "A #### B #### 7",
    "#### .",
    "#### ,",
    "#### -",
    "####  18",
    "#### 18\nQuestion: and then 5?",
    "The answer is 18.",
    "The answer is $18.50.",
    "wait... no answer here",
    "a $ alone, or a - alone",
    "minus -5 and 7",
    "3-4",
    "--12",
    "It costs $1,000, that is $1000.",
    "it is 50% of 10",
    "1/2",
    "x = 5\x00",
    "٣ is no ASCII digit, nor is ３",
    "#### ٣",
    "12 \u2212 7",
    "18\n",
    "18 .",
    "[invalid]",
)
GOLDS = (
    "16 - 3 - 4 = <<16-3-4=9>>9 eggs\n#### 18",
    "#### 1,234,567",
    "#### -5",
    "#### 0",
    "no mark, 18.",
    "x #### y #### 19",
    "#### 18.50",
)
pieces = st.sampled_from(["#### ", "####", "-", "$", ",", ".", "1", "20", "0.5", " ", "\n", "A: ", "é", "[invalid]"])
texts = st.lists(pieces, max_size=12).map("".join) | st.text(st.characters(exclude_characters="\0"), max_size=20)
"""NUL is left out: numpy, in which lm-eval compares, drops it at the end of a string."""


def theirs(name: str, text: str) -> str:
    """What the filter of this name in lm-eval's task file makes of one response."""
    regex, first = FILTERS[name]
    assert (regex["function"], first["function"]) == ("regex", "take_first")
    options = {key: value for key, value in regex.items() if key != "function"}
    (answer,) = TakeFirstFilter().apply(RegexFilter(**options).apply([[text]], [{}]), [{}])
    return answer


def their_match(answer: str, gold: str) -> bool:
    """What lm-eval's metric with the options of its task file says of an extracted answer."""
    options = {key: METRIC[key] for key in ("regexes_to_ignore", "ignore_case", "ignore_punctuation")}
    return bool(exact_match_fn(predictions=[answer], references=[gold], **options)["exact_match"])


def assert_same(text: str, gold: str) -> None:
    for name, extract in OURS.items():
        ours, other = extract(text), theirs(name, text)
        assert (other if ours is None else ours) == other, (name, text)
        assert ours is not None or other == RegexFilter().fallback, (name, text)
        if ours is not None:
            assert exact_match(ours, gold) == their_match(other, gold), (name, text, gold)


def test_the_patterns_are_those_of_the_task_file():
    assert FILTERS["strict-match"][0]["regex_pattern"] == extraction.STRICT_PATTERN
    assert FILTERS["flexible-extract"][0]["regex_pattern"] == extraction.FLEXIBLE_PATTERN
    assert FILTERS["flexible-extract"][0]["group_select"] == -1
    assert tuple(METRIC["regexes_to_ignore"]) == extraction.IGNORED_PATTERNS
    assert extraction.EXTRACTION.startswith(f"{TASK['task']} {TASK['metadata']['version']} ")


@pytest.mark.parametrize("gold", GOLDS)
@pytest.mark.parametrize("text", TEXTS)
def test_an_adversarial_text_is_scored_as_lm_eval_scores_it(text: str, gold: str):
    assert_same(text, gold)


@settings(deadline=None)
@given(texts, texts)
def test_any_text_is_scored_as_lm_eval_scores_it(text: str, gold: str):
    assert_same(text, gold)


@settings(deadline=None)
@given(texts, texts)
@example("ABC.", "x #### $a,bc")
@example("18.\n", "#### 18")
def test_any_two_texts_match_as_lm_evals_metric_has_it(answer: str, gold: str):
    assert exact_match(answer, gold) == their_match(answer, gold)


def test_strict_takes_the_first_answer_and_flexible_the_last():
    text = "so 9 * 2\n#### 18\n#### 19 or 20"
    assert strict_answer(text) == "18"
    assert flexible_answer(text) == "20"
    assert strict_answer("the answer is 18") is None
    assert flexible_answer("no number") is None


def test_an_answer_that_was_not_found_equals_nothing():
    assert not exact_match(None, "#### 18")
    assert not exact_match(None, "[invalid]")
    assert exact_match("$1,234.", "text 9 #### 1,234")


@pytest.mark.parametrize(
    ("text", "answer"),
    [
        ("9 * 2 = 18\nA: 18", "18"),
        ("He earns 2000 at job A: 2000\nA: 8,400", "8400"),
        ("A: -3.5 billion", "-3.5"),
        ("25", None),
        ("A:18", None),
    ],
)
def test_a_recorded_answer_is_the_last_number_behind_its_mark(text: str, answer: str | None):
    assert recorded_answer(text) == answer
