"""A shell line as the evaluation of a point: it prints answers as JSON lines, or appends them to a results file.

A line is an object with `id` and `correct`. With `place`, the question's number in the order from 0, answers may come
in any order and are taken in that one; without, they are taken as they come. Other lines are ignored, as are answers
that are an error of the server. As soon as enough is known the command is ended.
"""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path
from typing import Any, BinaryIO, cast

from rocassay.harness.bisect.answers import Question
from rocassay.harness.bisect.commands import SKIP
from rocassay.harness.bisect.errors import BisectError, CannotJudge
from rocassay.harness.bisect.points import History, Point
from rocassay.harness.bisect.running import Run, end, filled, tail_of

LOOK = 0.05
"""Seconds between looks at a file that has not grown."""
ENDED = (0, 1)
"""Exit codes of an evaluation that came to its end; 1 is a red verdict of its own, which does not count here."""


class CommandEvaluator:
    """Evaluates points by a shell line."""

    def __init__(self, template: str, history: History, run: Run, results: str = "") -> None:
        """template: shell line; {point} is what stands for the point, {name} its hash or version, {out} its folder.

        results: file that the answers are appended to, with the same placeholders; empty for what the command prints.
        """
        self._template, self._history, self._run, self._results = template, history, run, results

    def ask(self, point: Point) -> CommandAsking:
        """Start the command in the point's folder, where it has one."""
        source = self._history.at(point)
        where = source if isinstance(source, Path) else Path.cwd()
        out = self._run.log_of(point, "out")
        out.mkdir(exist_ok=True)
        values = {"point": source, "name": point.name, "out": out}
        printed = self._run.log_of(point, "jsonl")
        file = where / _path(self._results, values) if self._results else printed
        return CommandAsking(filled(self._template, **values), point, where, self._run, printed, file)

    def command(self, place: str) -> str:
        """The shell line itself."""
        return self._template.replace("{point}", place)


class CommandAsking:
    """A command that is running, and the file in which its answers appear."""

    def __init__(self, command: str, point: Point, where: Path, run: Run, printed: Path, file: Path) -> None:
        self._command, self._point, self._timeout, self._log = command, point, run.timeout, run.log_of(point)
        with printed.open("wb") as out, self._log.open("ab") as errors:
            self._child: subprocess.Popen[bytes] = run.start(command, where, out, errors)
        self._file, self._answers = file, _Ordered()
        self._stream: BinaryIO | None = None
        self._rest = b""
        self._came = time.monotonic()

    def next(self) -> Question | None:
        """Wait for the next answer; CannotJudge when the command says that there is none, or the time is over."""
        while (question := self._answers.next()) is None:
            over = self._child.poll() is not None
            if self._read():
                self._came = time.monotonic()
            elif over:
                self._check()
                return None
            elif self._timeout is not None and time.monotonic() - self._came > self._timeout:
                raise CannotJudge(f"{self._point} gave no answer within {self._timeout:g} s (--timeout)")
            else:
                time.sleep(LOOK)
        return question

    def close(self) -> list[Question]:
        """End the command; the answers that it had given."""
        end(self._child)
        self._read()
        if self._stream is not None:
            self._stream.close()
        return list(iter(self._answers.next, None))

    def _read(self) -> bool:
        """Take the lines that have come; whether there were any."""
        if self._stream is None:
            if not self._file.exists():
                return False
            self._stream = self._file.open("rb")
        *lines, self._rest = (self._rest + self._stream.read()).split(b"\n")
        for line in lines:
            self._answers.take(line)
        return bool(lines)

    def _check(self) -> None:
        code = self._child.returncode
        if code == SKIP:
            raise CannotJudge(f"{self._point}: the command ended with exit code {SKIP}")
        if code not in ENDED:
            raise BisectError(
                f"`{self._command}` ended with exit code {code} at {self._point}: {tail_of(self._log)}; mend it, or "
                f"let it end with {SKIP} where there are no answers, and continue with --resume"
            )


class _Ordered:
    """Answers by their place in the order."""

    def __init__(self) -> None:
        self._waiting: dict[int, Question] = {}
        self._given = self._arrived = 0

    def take(self, line: bytes) -> None:
        """Take what a line says, if it is an answer."""
        record = _parsed(line)
        if record is not None:
            place = record.get("place", self._arrived)
            self._arrived += 1
            self._waiting.setdefault(place, Question(str(record["id"]), record["correct"]))

    def next(self) -> Question | None:
        """The next one of the order, if it is there."""
        question = self._waiting.get(self._given)
        self._given += question is not None
        return question


def _parsed(line: bytes) -> dict[str, Any] | None:
    try:
        record: object = json.loads(line)
    except ValueError:
        return None
    if not isinstance(record, dict):
        return None
    answer = cast("dict[str, Any]", record)
    whole = "id" in answer and isinstance(answer.get("correct"), bool) and answer.get("finish_reason") != "error"
    return answer if whole else None


def _path(template: str, values: dict[str, Any]) -> str:
    for name, value in values.items():
        template = template.replace(f"{{{name}}}", str(value))
    return template
