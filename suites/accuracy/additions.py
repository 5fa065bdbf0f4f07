"""Additions as a task, the server that answers them as a child process, and the pieces that tests put together."""

from __future__ import annotations

import json
import os
import random
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any
from urllib.request import urlopen

from rocassay.harness.accuracy.completions import Patience
from rocassay.harness.accuracy.questions import Question
from rocassay.harness.accuracy.served import ServedModel
from rocassay.harness.accuracy.tasks import Task
from rocassay.harness.results import EvalHeader
from rocassay.suites.selftest.children import ROOT

RULES = "test-1"
"""Version of the extraction below."""
HASTY = Patience(retries=3, base=0.01, longest=0.05)
"""Retries at once: tests wait for no one."""


def additions(count: int, first: int = 0) -> Task:
    """`What is n plus 7?` for n from `first`."""
    numbers = range(first, first + count)
    questions = tuple(Question(f"add-{n}", f"Question: What is {n} plus 7?\nAnswer:", str(n + 7)) for n in numbers)
    return Task("additions", questions, 0, ("Question:",), 32)


def extract(text: str) -> tuple[str | None, str | None]:
    """Number after `####`, and the last number."""
    strict, numbers = re.search(r"#### (-?\d+)", text), re.findall(r"-?\d+", text)
    return (strict.group(1) if strict else None), (numbers[-1] if numbers else None)


def header(task: Task, **changes: Any) -> EvalHeader:
    """First line of an evaluation of all of the task."""
    facts: dict[str, Any] = {
        "run_id": "r",
        "started": "2025-01-01T00:00:00+00:00",
        "command": "test",
        "model": "adder",
        "engine": "served",
        "fingerprint": task.fingerprint(RULES),
        "planned": len(task.questions),
    }
    return EvalHeader(**{**facts, **changes})


def names(task: Task) -> list[str]:
    """Questions in the task's own order."""
    return [question.id for question in task.questions]


def seeded(seed: int) -> random.Random:
    """A generator of its own; nothing here is secret."""
    return random.Random(seed)  # noqa: S311


def shuffled(items: Sequence[Any], seed: int) -> list[Any]:
    """A permutation."""
    return seeded(seed).sample(list(items), len(items))


class Served:
    """A server as a child process; a context manager that kills it."""

    def __init__(self, folder: Path, **plan: Any) -> None:
        self._folder = folder
        self._starts = 0
        self.start(**plan)

    def start(self, **plan: Any) -> None:
        """Start it, on a port of its own."""
        self._starts += 1
        ready = self._folder / f"port{self._starts}"
        command = [sys.executable, "-m", "rocassay.suites.accuracy.server", str(ready), json.dumps(plan)]
        self.process = subprocess.Popen(command, cwd=self._folder, env=environment())
        while not ready.exists():
            assert self.process.poll() is None
            time.sleep(0.01)
        self.url = f"http://127.0.0.1:{ready.read_text()}"

    def kill(self) -> None:
        """SIGKILL."""
        self.process.kill()
        self.process.wait()

    def stats(self) -> dict[str, Any]:
        """What it counted."""
        with urlopen(f"{self.url}/stats") as response:  # noqa: S310
            return json.loads(response.read())

    def model(self, **settings: Any) -> ServedModel:
        """A client of it that is in a hurry."""
        return ServedModel(self.url, **{"concurrency": 4, "timeout": 5.0, "patience": HASTY, **settings})

    def __enter__(self) -> Served:
        return self

    def __exit__(self, *_: object) -> None:
        self.kill()


def environment() -> dict[str, str]:
    """Of children: this process's packages, nothing else; they start in another folder."""
    return {"PYTHONPATH": os.pathsep.join([str(ROOT / "src"), *filter(None, sys.path)])}


def answered(lines: Sequence[str]) -> list[str]:
    """Names of the questions in these raw lines, one per record."""
    return [line["id"] for line in map(json.loads, lines) if line["kind"] == "question"]
