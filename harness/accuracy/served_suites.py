"""Suites for served models: how to serve each, what it has scored, and from which prompt length its indexer selects.

The data lies beside this file, each fact with its source; what nobody has published is absent, not guessed.
"""

from __future__ import annotations

import functools
import shlex
from pathlib import Path
from typing import Literal

from pydantic import Field, TypeAdapter

from rocassay.harness.accuracy.errors import TaskError
from rocassay.harness.results import Model

DATA = Path(__file__).with_name("served_suites.json")


class Published(Model):
    """An accuracy on GSM8K that somebody else measured and published."""

    model: str
    """The checkpoint it belongs to; a figure of a sister model is context, no baseline."""
    shots: int | None
    """Worked examples; None where the source does not say."""
    accuracy: float = Field(ge=0, le=1)
    """Part of the questions answered right."""
    filter: Literal["strict", "flexible"] | None
    """Which extraction it counts; None where the source does not say."""
    questions: int = Field(ge=1, le=1319)
    """Of how many questions."""
    setting: str
    """Hardware and server, in words."""
    source: str
    """Pull request, issue or file that states it."""


class ServedSuite(Model):
    """One model and the configurations in which it is served and judged."""

    name: str
    """What the command line calls it."""
    model: str
    """Id on the hub."""
    archs: tuple[str, ...]
    """gfx architectures on which it is supported."""
    block_sizes: tuple[int, ...]
    """Tokens per cache page, the usual one first."""
    kv_dtypes: tuple[str, ...]
    """Types of the attention cache, the usual one first."""
    tensor_parallel: int = Field(ge=1)
    """GPUs of one node that share the model."""
    environment: dict[str, str]
    """Environment of the server."""
    arguments: tuple[str, ...]
    """Further arguments of the server."""
    serve_source: str
    """Where this way to serve it comes from."""
    topk: int | None
    """Keys that a query selects (`index_topk`); None where unknown."""
    compress_ratio: int = Field(ge=1)
    """Prompt tokens per key of the indexer."""
    topk_source: str
    """Where `topk` comes from."""
    shots: tuple[int, ...]
    """Numbers of worked examples that are run, ascending."""
    selecting_shots: int | None
    """Fewest shots with which every GSM8K prompt exceeds `reach`; None where it is not measured."""
    selecting_source: str
    """How `selecting_shots` was measured."""
    published: tuple[Published, ...]
    """What others scored."""

    @property
    def reach(self) -> int | None:
        """Prompt tokens up to which every key is selected, so that selection decides nothing."""
        return None if self.topk is None else self.topk * self.compress_ratio

    def command(self, *, block_size: int | None = None, kv_dtype: str = "") -> str:
        """Shell command that serves the model by vLLM; without arguments in its usual configuration.

        Raises TaskError for a block size or cache type that the suite does not list.
        """
        size, dtype = block_size or self.block_sizes[0], kv_dtype or self.kv_dtypes[0]
        for what, value, known in (("block size", size, self.block_sizes), ("cache type", dtype, self.kv_dtypes)):
            if value not in known:
                raise TaskError(
                    f"{self.name} is not served with {what} {value}; choose of {', '.join(map(str, known))}"
                )
        words = ["vllm", "serve", self.model, "--tensor-parallel-size", str(self.tensor_parallel)]
        words += ["--block-size", str(size), "--kv-cache-dtype", dtype, *self.arguments]
        return " ".join([*(f"{name}={value}" for name, value in self.environment.items()), shlex.join(words)])

    def baseline(self, shots: int) -> Published | None:
        """The first published figure of this very model with so many shots over all questions; None: there is none."""
        fit = (one for one in self.published if one.model == self.model and one.shots == shots)
        return next((one for one in fit if one.questions == 1319), None)

    def baseline_words(self, shots: int) -> str:
        """What is known of the accuracy to expect, with its source."""
        found = self.baseline(shots)
        if found is None:
            return "no published figure"
        return f"{found.accuracy:.4f} ({found.filter or 'unknown extraction'}; {found.setting}; {found.source})"


@functools.cache
def served_suites() -> dict[str, ServedSuite]:
    """All suites by name, in the order of the data."""
    return {suite.name: suite for suite in TypeAdapter(list[ServedSuite]).validate_json(DATA.read_bytes())}


def served_suite(name: str) -> ServedSuite:
    """The suite of that name. Raises TaskError, listing all, for an unknown one."""
    try:
        return served_suites()[name]
    except KeyError:
        raise TaskError(f"there is no suite {name!r}; choose one of {', '.join(served_suites())}") from None


def blindness(shortest_prompt_tokens: int | None, topk: int | None) -> str | None:
    """Why an evaluation cannot see a defect of the selection; None when it can, or when the model selects nothing.

    shortest_prompt_tokens: of the shortest prompt; None where they cannot be counted. topk: prompt tokens up to
    which a query selects everything (`ServedSuite.reach`); None where that is unknown or nothing is selected.
    """
    if topk is None:
        return None
    if shortest_prompt_tokens is None:
        return (
            f"the server cannot count tokens, so nothing shows that prompts exceed the {topk} tokens of which every "
            "key is selected"
        )
    if shortest_prompt_tokens > topk:
        return None
    return (
        f"the shortest prompt has {shortest_prompt_tokens} tokens and up to {topk} every key is selected, so a broken "
        "selection changes nothing; ask with more shots, or use the retrieval sweep"
    )
