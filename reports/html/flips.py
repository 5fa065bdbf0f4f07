"""Questions that a fault flipped: right without it and wrong with it, or the other way round."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TypeAlias

from rocassay.harness.results import Evaluation, QuestionRecord

FLIPS = 20
"""Most questions that are told one by one."""

ANSWER = 60
"""Most characters of an answer."""

Pair: TypeAlias = tuple[QuestionRecord, QuestionRecord]
"""Answers of the healthy and of the faulted run to one question."""


@dataclass(frozen=True, slots=True)
class Flip:
    """A question that one run answered rightly and the other did not."""

    id: str
    expected: str
    healthy: str
    faulted: str
    lost: bool
    """Whether the fault made it wrong."""


def counterpart(faulted: Evaluation, sound: Sequence[Evaluation]) -> Evaluation | None:
    """The healthy run of the same configuration and prompts that shares most questions, the later of equals."""
    header = faulted.header
    alike = [
        (len(found.questions.keys() & faulted.questions.keys()), place, found)
        for place, found in enumerate(sound)
        if found.header.configuration == header.configuration and found.header.fingerprint == header.fingerprint
    ]
    shared, _, best = max(alike, key=lambda entry: entry[:2], default=(0, 0, None))
    return best if shared else None


def pairs_of(faulted: Evaluation, sound: Evaluation | None) -> list[Pair]:
    """Answers to the questions that both runs have, in the order of asking."""
    before = sound.questions if sound else {}
    return [(before[after.id], after) for after in faulted.judged if after.id in before]


def flipped(pairs: Sequence[Pair]) -> tuple[list[Pair], list[Pair]]:
    """Pairs whose answer the fault made wrong, and those it made right."""
    lost = [pair for pair in pairs if pair[0].correct and not pair[1].correct]
    return lost, [pair for pair in pairs if pair[1].correct and not pair[0].correct]


def told(lost: Sequence[Pair], gained: Sequence[Pair]) -> tuple[Flip, ...]:
    """The first of them in a few words each, lost ones before gained ones."""
    return tuple(_flip(before, after) for before, after in [*lost, *gained][:FLIPS])


def _flip(before: QuestionRecord, after: QuestionRecord) -> Flip:
    return Flip(_brief(after.id), _brief(after.gold), _answer(before), _answer(after), before.correct)


def _answer(record: QuestionRecord) -> str:
    if record.finish_reason == "error":
        return f"no answer: {_brief(record.error)}"
    if record.strict is None:
        return f"no number in “{_brief(record.text)}”"
    return _brief(record.strict)


def _brief(text: str) -> str:
    """On one line, and no longer than a table bears."""
    line = " ".join(text[: 10 * ANSWER].split())
    whole = len(line) <= ANSWER and len(text) <= 10 * ANSWER
    return line if whole else f"{line[:ANSWER]}… ({len(text):,} characters)"
