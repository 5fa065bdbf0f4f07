"""A retrieval sweep from 4k to 128k tokens: what GSM8K cannot see, since its prompts hardly reach a model's top-k.

Each prompt is filler, several needles ("The access code of the amber heron is 4821.") and a question for one of
them, which stands at a chosen depth. Everything follows from length, depth, number and seed; an answer is right
when the first number of its text is the code.
"""

from __future__ import annotations

import random
import re
from collections.abc import Callable, Iterable, Sequence

from rocassay.harness.accuracy.errors import TaskError
from rocassay.harness.accuracy.questions import Question
from rocassay.harness.accuracy.tasks import Task
from rocassay.harness.results import QuestionRecord

LENGTHS = (4096, 8192, 16384, 32768, 65536, 131072)
"""Tokens of a prompt; every one exceeds the reach of the selection of DeepSeek-V3.2 and GLM-5 (2048)."""
DEPTHS = (0, 10, 25, 50, 75, 90, 100)
"""Where the needle stands, in percent of the filler before it."""
NEEDLES = 8
"""Needles per prompt; all but one are distractors of the same form."""
CHARACTERS_PER_TOKEN = 5.0
"""Where tokens cannot be counted; prompts of this sweep have 4.96 (4k) to 5.18 (128k) with DeepSeek's tokenizer."""
FILL = 0.99
"""Part of the asked length that is aimed at: prompts of one length differ by the tokens of their needles."""
UNTIL = ("\n",)
"""What ends an answer."""
MAX_TOKENS = 16
"""Most tokens of an answer: a code and a period."""

_WORDS = """
amber, azure, bronze, coral, crimson, golden, indigo, ivory, jade, olive, scarlet, silver, teal, violet
badger, beaver, falcon, ferret, gecko, heron, jackal, lynx, marten, otter, puffin, raven, stoat, turtle
The gardener, A traveller, The baker, My neighbour, An old sailor, The librarian, A painter, The miller
remembered, described, often mentioned, looked after, walked towards, drew, returned to, spoke about
the narrow bridge, a quiet orchard, the stone well, an empty harbour, the long road, a wooden gate
before sunrise, in early spring, after the rain, on market day, during the harvest, late in autumn
"""
_COLOURS, _ANIMALS, *_SENTENCE = (line.split(", ") for line in _WORDS.strip().splitlines())


def retrieval(
    length: int,
    count_tokens: Callable[[str], int | None] | None = None,
    *,
    depths: Sequence[int] = DEPTHS,
    per_depth: int = 10,
    seed: int = 0,
) -> Task:
    """The task of one prompt length: `per_depth` questions at each depth (percent, 0 to 100).

    length: tokens that no prompt exceeds, and that each comes near to; estimated from characters where
    `count_tokens` is missing or does not know. Raises TaskError for a length without room for the needles.
    """
    if not depths or per_depth < 1 or not all(0 <= depth <= 100 for depth in depths):
        raise TaskError(f"depths {tuple(depths)} with {per_depth} questions each: 0 to 100 percent, at least one each")
    filler = _filler(_fit(length, count_tokens, seed), seed)
    questions = tuple(
        _question(f"retrieval-{length}-d{depth:03d}-{number:02d}", filler, depth, seed)
        for depth in depths
        for number in range(per_depth)
    )
    return Task(f"retrieval-{length}", questions, 0, UNTIL, MAX_TOKENS)


def _fit(length: int, count_tokens: Callable[[str], int | None] | None, seed: int) -> int:
    """Sentences of filler with which a prompt comes to just below `length` tokens."""

    def tokens(sentences: int) -> float:
        prompt = _question("fit", _filler(sentences, seed), 50, seed).prompt
        counted = count_tokens(prompt) if count_tokens is not None else None
        return counted if counted is not None else len(prompt) / CHARACTERS_PER_TOKEN

    few, many = 100, 300
    at_few = tokens(few)
    each = (tokens(many) - at_few) / (many - few)
    sentences = int((length * FILL - at_few) / each) + few
    if sentences < NEEDLES:
        raise TaskError(f"a prompt of {length} tokens has no room for {NEEDLES} needles; choose at least 512")
    while tokens(sentences) > length:
        sentences -= max(1, sentences // 100)
    return sentences


def _question(name: str, filler: Sequence[str], depth: int, seed: int) -> Question:
    rng = random.Random(f"{seed} {name}")  # noqa: S311 (a reproducible text is the point)
    pairs = rng.sample([f"{colour} {animal}" for colour in _COLOURS for animal in _ANIMALS], NEEDLES)
    codes = [str(code) for code in rng.sample(range(1000, 10000), NEEDLES)]
    needles = [f"The access code of the {pair} is {code}." for pair, code in zip(pairs, codes, strict=True)]
    text = list(filler)
    for needle in needles[1:]:
        text.insert(rng.randrange(len(text) + 1), needle)
    text.insert(round(depth / 100 * len(text)), needles[0])
    ask = f"Question: What is the access code of the {pairs[0]}?\nAnswer: The access code of the {pairs[0]} is"
    return Question(name, f"{' '.join(text)}\n\n{ask}", codes[0])


def _filler(sentences: int, seed: int) -> list[str]:
    """Sentences without a number or anything that a needle is made of; a longer filler begins with the shorter."""
    rng = random.Random(f"{seed} filler")  # noqa: S311 (a reproducible text is the point)
    return [" ".join(rng.choice(part) for part in _SENTENCE) + "." for _ in range(sentences)]


def extract_code(text: str) -> tuple[str | None, str | None]:
    """The first number of an answer, as its strict and its flexible reading."""
    found = re.search(r"\d+", text)
    code = found.group() if found else None
    return code, code


def depth_of(name: str) -> int:
    """Depth in percent that the name of a retrieval question tells. Raises TaskError for another name."""
    found = re.fullmatch(r"retrieval-\d+-d(\d{3})-\d+", name)
    if found is None:
        raise TaskError(f"{name!r} is no question of the retrieval sweep")
    return int(found.group(1))


def exact_by_depth(records: Iterable[QuestionRecord]) -> dict[int, tuple[int, int]]:
    """Right answers and answers, by depth in percent, the shallowest first."""
    counts: dict[int, tuple[int, int]] = {}
    for record in records:
        right, asked = counts.get(depth_of(record.id), (0, 0))
        counts[depth_of(record.id)] = (right + record.correct, asked + 1)
    return dict(sorted(counts.items()))
