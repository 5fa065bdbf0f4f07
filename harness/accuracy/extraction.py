"""GSM8K: what counts as the answer in a text, and whether it equals the gold.

The rules are those of lm-eval 0.4.13, `tasks/gsm8k/gsm8k.yaml` version 3.0 (filters `regex` with `take_first`, metric
`exact_match`), so that a score here is a score there. Where lm-eval writes "[invalid]" there is None here: an answer
that was not found is never equal to anything.
"""

from __future__ import annotations

import re

EXTRACTION = "gsm8k 3.0 of lm-eval 0.4.13"
"""Name of the rules below; runs that were scored by other rules are not comparable."""

STRICT_PATTERN = r"#### (\-?[0-9\.\,]+)"
"""Filter `strict-match`: the form that the few-shot examples teach."""

FLEXIBLE_PATTERN = r"(-?[$0-9.,]{2,})|(-?[0-9]+)"
"""Filter `flexible-extract`: anything that may be a number."""

IGNORED_PATTERNS = (",", r"\$", r"(?s).*#### ", r"\.$")
"""`regexes_to_ignore`, removed in this order from both sides of a comparison."""

RECORDED_PATTERN = r"A: (\-?[0-9\.\,]+)"
"""The strict pattern with the mark that OpenAI's example_model_solutions.jsonl uses instead of ####."""

_STRICT = re.compile(STRICT_PATTERN)
_FLEXIBLE = re.compile(FLEXIBLE_PATTERN)
_RECORDED = re.compile(RECORDED_PATTERN)
_IGNORED = tuple(re.compile(pattern) for pattern in IGNORED_PATTERNS)


def strict_answer(text: str) -> str | None:
    """The first number behind `#### `, as it is written; None when there is none."""
    match = _STRICT.search(text)
    return match.group(1) if match else None


def flexible_answer(text: str) -> str | None:
    """The last thing in the text that looks like a number, as it is written; None when there is none.

    Two characters out of `$0-9.,` suffice, so that an ellipsis is taken for an answer; lm-eval does the same.
    """
    last = None
    for last in _FLEXIBLE.finditer(text):  # noqa: B007, the last match is what is wanted
        pass
    return last.group() if last else None


def normalised(text: str) -> str:
    """What `exact_match` compares: without commas, dollars, everything up to the last `#### ` and a final full stop."""
    for pattern in _IGNORED:
        text = pattern.sub("", text)
    return text.lower()


def exact_match(answer: str | None, gold: str) -> bool:
    """Whether an extracted answer equals the gold, a number or a whole worked solution that ends in `#### number`."""
    return answer is not None and normalised(answer) == normalised(gold)


def recorded_answer(text: str) -> str | None:
    """The answer in a text of example_model_solutions.jsonl, without commas: the last number behind `A: `, or None.

    The last, because a text may speak of a "job A: 2000" before it answers: with the first one, the rule of OpenAI's
    own grade-school-math dataset.py, one of the 5276 recorded verdicts is not reproduced (175b_verification, line
    332). With the last, all are.
    """
    found = _RECORDED.findall(text)
    return str(found[-1]).replace(",", "") if found else None
