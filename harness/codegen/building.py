"""Builds code objects, each in a process of its own, and looks at them.

What LLVM emits depends on what the process has compiled before (seen with Triton 3.9 in 4 of 758 code objects: other
registers, another order, a mask in place of a shift); as the first compilation of a process it is always the same.
For the same reason there is a cache of their own: Triton's holds what any process has compiled.
"""

from __future__ import annotations

import multiprocessing
import os
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Sequence
from multiprocessing.connection import Connection, wait
from multiprocessing.process import BaseProcess
from pathlib import Path
from typing import Any, TypeAlias, TypeVar

from rocassay.harness.arch import profile
from rocassay.harness.cases import Case
from rocassay.harness.codegen.barriers import unawaited
from rocassay.harness.codegen.choosing import Origin, chosen, launches_of
from rocassay.harness.codegen.compiling import CodeObject, compile_launch, prepare
from rocassay.harness.codegen.coverage import unknown_to_engine
from rocassay.harness.codegen.records import SHORT, Code, Resources
from rocassay.harness.codegen.text import listing, uses
from rocassay.harness.ops import op_named

CACHE = "rocassay-codegen"
"""Folder within Triton's cache."""

MESSAGE_LINES = 30
"""Lines of a compiler's message that are kept, from its end: there it says what is wrong."""

_Asked = TypeVar("_Asked")
_Answer = TypeVar("_Answer")


def code_of(origin: Origin, built: CodeObject) -> Code:
    """What is known of a code object."""
    code = listing(built.asm)
    mix = dict(sorted(code.mix.items()))
    return _blank(origin).model_copy(
        update={
            "resources": Resources(
                vgprs=built.vgprs, sgprs=built.sgprs, lds=built.lds_bytes, scratch=built.scratch_bytes,
                vgpr_spills=built.spills, sgpr_spills=built.scalar_spills,
            ),
            "digest": code.digest[:SHORT],
            "mix": mix,
            "uses": tuple(sorted(uses(mix, profile(built.arch)))),
            "unknown": unknown_to_engine(code, built.arch),
            "unawaited": unawaited(built.asm, built.kernel),
        }
    )  # fmt: skip


def failed(origin: Origin, message: str) -> Code:
    """A launch that gave no code object."""
    kept = "\n".join(message.strip().splitlines()[-MESSAGE_LINES:])
    return _blank(origin).model_copy(update={"error": kept or "it ended without a word"})


def _blank(origin: Origin) -> Code:
    case = origin.case
    return Code(id=origin.id, op=case.op, kernel=origin.kernel, arch=case.arch, fp8=case.fp8)


def build(origin: Origin) -> Code:
    """Compile a launch and look at its code; whatever the compiler raises becomes the record's error."""
    if origin.error:
        return failed(origin, origin.error)
    try:
        launches, _ = launches_of(origin.case)
        return code_of(origin, compile_launch(launches[origin.launch], origin.case.arch))
    except Exception as error:
        return failed(origin, f"{type(error).__name__}: {error}")


Choice: TypeAlias = "tuple[tuple[Case, ...], bool]"
"""(cases of one op, every specialisation)."""


def choose(asked: Choice) -> list[Origin]:
    """`chosen` for the cases of one op."""
    cases, every = asked
    return chosen(op_named(cases[0].op), cases, every=every)


class Killed(Exception):
    """A process ended without an answer."""


class Builders:
    """Runs a job a process, several at a time: what kills one is that job's answer, not the end of the run.

    The processes are forked from this one, which has imported everything and compiled nothing, and has no threads.
    """

    def __init__(self, workers: int) -> None:
        self._workers = workers

    def chosen(self, asked: Sequence[Choice]) -> Iterator[list[Origin]]:
        """The launches to compile, op by op, as they are found; an op that kills is an origin with an error."""
        for (cases, _), answer in self._answers(choose, asked):
            if isinstance(answer, BaseException):
                yield [Origin(cases[0], 0, cases[0].op, "", f"a launcher took its process along ({answer})")]
            else:
                yield answer

    def built(self, origins: Sequence[Origin]) -> Iterator[Code]:
        """The code objects as they are finished; one whose compiler takes its process along is a failed one."""
        for origin, answer in self._answers(build, origins):
            killed = isinstance(answer, BaseException)
            yield failed(origin, f"the compiler took its process along ({answer})") if killed else answer

    def _answers(
        self, work: Callable[[_Asked], _Answer], asked: Sequence[_Asked]
    ) -> Iterator[tuple[_Asked, _Answer | BaseException]]:
        prepare()
        left, running = deque(asked), dict[Connection, tuple[_Asked, BaseProcess]]()
        try:
            while left or running:
                while left and len(running) < self._workers:
                    item = left.popleft()
                    connection, process = _started(work, item)
                    running[connection] = item, process
                for connection in wait(list(running)):
                    assert isinstance(connection, Connection)
                    item, process = running.pop(connection)
                    yield item, _received(connection, process)
        finally:
            for connection, (_, process) in running.items():
                process.terminate()
                process.join()
                connection.close()


def _started(work: Callable[[_Asked], object], item: _Asked) -> tuple[Connection, BaseProcess]:
    here, there = multiprocessing.Pipe(duplex=False)
    process = multiprocessing.get_context("fork").Process(target=_work, args=(there, work, item), daemon=True)
    process.start()
    # Only the child's end is left open: it closes with the child, however that ends.
    there.close()
    return here, process


def _work(answers: Connection, work: Callable[[_Asked], object], item: _Asked) -> None:
    cache = os.environ.get("TRITON_CACHE_DIR") or str(Path.home() / ".triton" / "cache")
    os.environ["TRITON_CACHE_DIR"] = str(Path(cache) / CACHE)
    try:
        answers.send(work(item))
    except Exception as error:
        answers.send(Killed(f"{type(error).__name__}: {error}"))


def _received(connection: Connection, process: BaseProcess) -> Any:
    try:
        answer = connection.recv()
    except EOFError:
        process.join()
        answer = Killed(f"exit code {process.exitcode}")
    process.join()
    connection.close()
    return answer


def in_order(codes: Iterable[Code], origins: Sequence[Origin]) -> list[Code]:
    """Code objects in the order in which they were asked for."""
    place = {origin.id: number for number, origin in enumerate(origins)}
    return sorted(codes, key=lambda code: place[code.id])
