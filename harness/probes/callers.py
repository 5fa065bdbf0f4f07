"""Where a call was made: the line of an implementation, not of torch, of its warnings or of what watches it."""

from __future__ import annotations

import sys
import warnings
from pathlib import Path

import torch

_FOREIGN = (Path(torch.__file__).parent.as_posix(), Path(__file__).parent.as_posix(), warnings.__file__)


def place() -> str:
    """`file:line` of the innermost frame that belongs to neither torch nor the probes."""
    file, line = origin()
    return f"{Path(file).name}:{line}"


def origin() -> tuple[str, int]:
    """Whole path and line of that frame."""
    frame = sys._getframe(1)  # pyright: ignore[reportPrivateUsage]
    while frame.f_back and frame.f_code.co_filename.startswith(_FOREIGN):
        frame = frame.f_back
    return frame.f_code.co_filename, frame.f_lineno
