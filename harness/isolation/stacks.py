"""Where a case was when it was ended: stacks of Python frames, live or as `faulthandler` wrote them."""

from __future__ import annotations

import itertools
import re
import sys
import sysconfig
import traceback
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from types import FrameType, TracebackType

_HARNESS = Path(__file__).parents[1]

_JUDGE = frozenset(str(_HARNESS / name) for name in ("judge.py", "execution.py"))
"""Frames outside of these files' belong to pytest and to the test that asked for the verdict."""

_MACHINERY = frozenset({"torch", "triton", "numpy"})
"""Installed packages in which a kernel or launcher waits, but which are none."""

_FRAME = re.compile(r'^  File "(?P<file>.*)", line (?P<line>\d+) in (?P<function>.*)$', re.MULTILINE)
_THREAD = re.compile(r"^(?:Current t|T)hread 0x", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Frame:
    """One call on a stack."""

    file: str
    """Path of the source file."""
    line: int
    """Line in it, from 1."""
    function: str
    """Name of the function."""

    def __str__(self) -> str:
        return f"{self.function} ({_importable(self.file)}:{self.line})"

    @property
    def of_machinery(self) -> bool:
        """Whether this is code that runs kernels, such as the harness, torch or Triton, and no kernel or launcher."""
        path = Path(self.file)
        if self.file.startswith("<") or path.is_relative_to(_HARNESS):
            return True
        for folder in ("site-packages", "dist-packages"):
            if folder in path.parts[:-1]:
                return path.parts[path.parts.index(folder) + 1] in _MACHINERY
        return path.is_relative_to(sysconfig.get_path("stdlib"))


def _importable(file: str) -> str:
    """The path below the folder from which it was imported: equal in every environment."""
    roots = [root for root in sys.path if root and Path(file).is_relative_to(root)]
    return str(Path(file).relative_to(max(roots, key=len))) if roots else file


def of_frame(frame: FrameType | None) -> tuple[Frame, ...]:
    """The stack of a live frame, innermost call first."""
    calls = traceback.walk_stack(frame)
    return tuple(Frame(call.f_code.co_filename, line, call.f_code.co_name) for call, line in calls)


def of_traceback(raised: TracebackType | None) -> tuple[Frame, ...]:
    """The stack on which an exception was raised, innermost call first, from where it was caught."""
    calls = [Frame(call.f_code.co_filename, line, call.f_code.co_name) for call, line in traceback.walk_tb(raised)]
    return tuple(reversed(calls))


def of_dump(text: str) -> tuple[Frame, ...]:
    """The stack of the thread that judges, innermost call first, from what `faulthandler` wrote of all threads.

    The first thread's where none is seen to judge; empty where the text holds no frame.
    """
    threads = [_frames(thread) for thread in _THREAD.split(text)[1:]]
    judging = (stack for stack in threads if any(frame.file in _JUDGE for frame in stack))
    return next(judging, threads[0] if threads else ())


def _frames(text: str) -> tuple[Frame, ...]:
    found = _FRAME.finditer(text)
    return tuple(Frame(match["file"], int(match["line"]), match["function"]) for match in found)


def place(stack: Sequence[Frame]) -> str:
    """The innermost call, and the innermost one of a kernel or launcher if that is another; empty without a stack."""
    if not stack:
        return ""
    judged = itertools.takewhile(lambda frame: frame.file not in _JUDGE, stack)
    own = next((frame for frame in judged if not frame.of_machinery), stack[0])
    return f"in {stack[0]}" + ("" if own == stack[0] else f", called from {own}")
