"""The embedded model as somebody who answers questions: in this process on a device, in several on the interpreter."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import torch

from rocassay.harness.accuracy.questions import Answer, Question
from rocassay.harness.engines.base import EngineUnavailable, engine
from rocassay.harness.providers import provider
from rocassay.suites.gsm8k.calls import Calls, faults_named
from rocassay.suites.gsm8k.generation import Generator
from rocassay.suites.gsm8k.model import WEIGHTS, SparseModel, load
from rocassay.suites.gsm8k.tokenizer import Tokenizer

ROWS_ON_CPU = 8
"""Prompts that a process decodes together: enough to share launches, few enough to stop a dead run early."""

ROWS_ON_DEVICE = 512
"""Prompts that a device decodes together."""


@dataclass(frozen=True, slots=True)
class Setting:
    """Which chip's decisions, which caches, whose kernels, on what, with which defects."""

    arch: str = "gfx950"
    fp8: str = "e4m3fn"
    block_size: int = 16
    provider: str = "rocassay"
    engine: str = "interpreter"
    faults: tuple[str, ...] = ()
    weights: Path = WEIGHTS


class EmbeddedModel:
    """Answers with the model of this package; see `harness.accuracy.questions.Answerer`."""

    name = "embedded"
    kv_dtype = "fp8"

    def __init__(self, setting: Setting, workers: int = 0) -> None:
        """`workers`: processes on the interpreter, 0 for one a core; a device is driven from this process.

        Raises EngineUnavailable, UnknownProvider, UnknownFault or WeightsError for what cannot be had here.
        """
        self._setting = setting
        self._engine = engine(setting.engine)
        if why := self._engine.unavailable(setting.arch, setting.fp8):
            raise EngineUnavailable(why)
        provider(setting.provider)
        faults_named(setting.faults)
        self.config, _ = load(setting.weights)
        alone = setting.engine != "interpreter" or setting.provider == "torch"
        self._workers = 1 if alone else workers or os.cpu_count() or 1
        self._tokenizer = Tokenizer()
        self._alone: Generator | None = None

    @property
    def chunk(self) -> int:
        """Questions at once."""
        return ROWS_ON_DEVICE if self._workers == 1 and self._setting.engine != "interpreter" else self._rows

    @cached_property
    def _rows(self) -> int:
        return ROWS_ON_CPU * self._workers

    @property
    def topk(self) -> int:
        """Keys that a query token selects."""
        return self.config.topk

    @property
    def device(self) -> str:
        """What executes."""
        return self._engine.describe().get("device", "")

    def describe(self) -> dict[str, str]:
        """Digest of the weights, and what the kernels run on."""
        digest = hashlib.sha256(self._setting.weights.read_bytes()).hexdigest()[:16]
        return {"weights": digest, **self._engine.describe()}

    def count_tokens(self, text: str) -> int:
        """Tokens of a text."""
        return len(self._tokenizer.encode(text))

    def answer(
        self, questions: Sequence[Question], *, until: Sequence[str], max_tokens: int
    ) -> Iterator[tuple[Question, Answer]]:
        """Answers as they finish; on the interpreter as processes finish their share."""
        if self._workers == 1:
            self._alone = self._alone or generator(self._setting)
            yield from _answered(self._alone, questions, until, max_tokens)
        else:
            yield from self._shared_out(questions, until, max_tokens)

    def _shared_out(
        self, questions: Sequence[Question], until: Sequence[str], max_tokens: int
    ) -> Iterator[tuple[Question, Answer]]:
        size = -(-len(questions) // self._workers)
        parts = [questions[start : start + size] for start in range(0, len(questions), size)]
        futures: list[Future[list[tuple[Question, Answer]]]] = [
            self._pool.submit(_work, part, tuple(until), max_tokens) for part in parts
        ]
        try:
            for future in as_completed(futures):
                yield from future.result()
        finally:
            for future in futures:
                future.cancel()

    @cached_property
    def _pool(self) -> ProcessPoolExecutor:
        spawned = multiprocessing.get_context("spawn")
        return ProcessPoolExecutor(self._workers, spawned, _start_worker, (self._setting,))

    def close(self) -> None:
        """End the processes."""
        if "_pool" in self.__dict__:
            self._pool.shutdown(wait=False, cancel_futures=True)


def generator(setting: Setting) -> Generator:
    """The model of a setting in this process."""
    torch.set_grad_enabled(False)
    calls = Calls(
        provider(setting.provider),
        engine(setting.engine),
        setting.arch,
        setting.fp8,
        setting.block_size,
        faults_named(setting.faults),
    )
    return Generator(SparseModel.on(calls, setting.weights))


def _answered(
    model: Generator, questions: Sequence[Question], until: Sequence[str], max_tokens: int
) -> Iterator[tuple[Question, Answer]]:
    began = time.perf_counter()
    for row in model.answers([question.prompt for question in questions], until=until, max_tokens=max_tokens):
        assert row.finish
        yield (
            questions[row.number],
            Answer(
                row.text,
                row.finish,
                tokens=len(row.written),
                prompt_tokens=len(row.prompt),
                seconds=time.perf_counter() - began,
            ),
        )


_WORKER: list[Generator] = []
"""The model of a worker process."""


def _start_worker(setting: Setting) -> None:
    torch.set_num_threads(1)
    _WORKER[:] = [generator(setting)]


def _work(questions: Sequence[Question], until: Sequence[str], max_tokens: int) -> list[tuple[Question, Answer]]:
    return list(_answered(_WORKER[0], questions, until, max_tokens))
