"""The embedded model as somebody who answers questions: in this process on a device, in several on the interpreter."""

from __future__ import annotations

import hashlib
import multiprocessing
import os
import time
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor, as_completed
from concurrent.futures.process import BrokenProcessPool
from dataclasses import dataclass
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

ROWS_AT_ONCE = 512
"""Prompts that a device, or plain torch, decodes together."""


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
        self._slow = setting.engine == "interpreter" and setting.provider != "torch"
        self._workers = (workers or os.cpu_count() or 1) if self._slow else 1
        # A defect may destroy a device's context, and with it the process.
        self._apart = self._workers > 1 or (setting.engine == "device" and bool(setting.faults))
        self._tokenizer = Tokenizer()
        self._alone: Generator | None = None
        self._pool: ProcessPoolExecutor | None = None
        self._broken = False
        self._strangers: set[int | None] = set()

    @property
    def chunk(self) -> int:
        """Questions at once."""
        return ROWS_ON_CPU * self._workers if self._slow else ROWS_AT_ONCE

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
        """Answers as they finish, where processes answer as they finish their share; one that dies leaves errors."""
        if not self._apart:
            self._alone = self._alone or generator(self._setting)
            yield from _answered(self._alone, questions, until, max_tokens)
        else:
            yield from self._shared_out(questions, until, max_tokens)

    def _shared_out(
        self, questions: Sequence[Question], until: Sequence[str], max_tokens: int
    ) -> Iterator[tuple[Question, Answer]]:
        size = max(1, -(-len(questions) // self._workers))
        parts = [questions[start : start + size] for start in range(0, len(questions), size)]
        shares: dict[Future[list[tuple[Question, Answer]]], Sequence[Question]] = {
            self._submitted(part, until, max_tokens): part for part in parts
        }
        try:
            for future in as_completed(shares):
                try:
                    yield from future.result()
                except Exception as error:  # whatever a kernel did to its process
                    words = f"{type(error).__name__}: {str(error).partition(chr(10))[0]}"
                    self._broken = True
                    yield from ((question, Answer("", "error", words)) for question in shares[future])
        finally:
            for future in shares:
                future.cancel()

    def _submitted(
        self, part: Sequence[Question], until: Sequence[str], max_tokens: int
    ) -> Future[list[tuple[Question, Answer]]]:
        """A share on its way to a process; new processes where they died while nobody asked or at the share before."""
        try:
            return self._living().submit(_work, part, tuple(until), max_tokens)
        except BrokenProcessPool:
            self._broken = True
            return self._living().submit(_work, part, tuple(until), max_tokens)

    def _living(self) -> ProcessPoolExecutor:
        """Processes that can work: new ones where one has died or lost its device."""
        if self._pool is None or self._broken:
            self.close()
            self._strangers = {child.pid for child in multiprocessing.active_children()}
            spawned = multiprocessing.get_context("spawn")
            self._pool = ProcessPoolExecutor(self._workers, spawned, _start_worker, (self._setting,))
            self._broken = False
        return self._pool

    def close(self) -> None:
        """End the processes."""
        if self._pool is not None:
            # What they still work on nobody wants: waiting for it would undo an early stop.
            for child in multiprocessing.active_children():
                if child.pid not in self._strangers:
                    child.terminate()
            self._pool.shutdown(wait=True, cancel_futures=True)
            self._pool = None


def generator(setting: Setting) -> Generator:
    """The model of a setting in this process."""
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
