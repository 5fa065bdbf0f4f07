"""Which lines of kernels a run executes, on an engine that runs them as Python."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Generator, Iterable
from types import FrameType
from typing import Any

Lines = set[tuple[str, int]]
"""(file, line)."""


@contextlib.contextmanager
def executed(files: Iterable[str]) -> Generator[Lines, None, None]:
    """While open, lines of these files that this thread executes are added to what it yields."""
    found: Lines = set()
    wanted = frozenset(files)

    def within(frame: FrameType, event: str, _: Any) -> Any:
        if event == "line":
            found.add((frame.f_code.co_filename, frame.f_lineno))
        return within

    def entered(frame: FrameType, _event: str, _: Any) -> Any:
        return within if frame.f_code.co_filename in wanted else None

    former = sys.gettrace()
    sys.settrace(entered)
    try:
        yield found
    finally:
        sys.settrace(former)
