"""What is left of processes."""

from __future__ import annotations

from pathlib import Path


def running(pid: int) -> bool:
    """Whether a process is there and no zombie, which an init that reaps nothing leaves behind."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False
