"""What is left of processes."""

from __future__ import annotations

import time
from pathlib import Path

PATIENCE = 10.0
"""Seconds within which a process that was killed is gone on the busiest machine."""


def ended(pid: int) -> bool:
    """Whether a process is gone, or a zombie, which an init that reaps nothing leaves behind; a kill takes a moment."""
    late = time.monotonic() + PATIENCE
    while _runs(pid):
        if time.monotonic() > late:
            return False
        time.sleep(0.01)
    return True


def _runs(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except (FileNotFoundError, ProcessLookupError):
        return False
