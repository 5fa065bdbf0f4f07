"""What computed a record: versions of packages, the device, the commit of the checkout."""

from __future__ import annotations

import functools
import importlib.metadata
import platform
import resource
import shutil
import subprocess
import sys
from pathlib import Path

PACKAGES = ("rocassay", "torch", "triton", "numpy", "amd-aiter", "vllm")
"""Distributions whose versions a record names when they are installed."""


@functools.cache
def versions() -> dict[str, str]:
    """Versions of Python and of every package that may have computed."""
    found = {"python": platform.python_version()}
    for name in PACKAGES:
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            continue
    return found


@functools.cache
def commit() -> str:
    """Commit of the checkout this package lies in, `+` appended when files changed; empty outside a checkout."""
    git = shutil.which("git")
    root = Path(__file__).resolve().parents[1]
    if git is None or not (root / ".git").exists():
        return ""
    head = _output(git, "-C", str(root), "rev-parse", "--short=12", "HEAD")
    changed = _output(git, "-C", str(root), "status", "--porcelain", "--untracked-files=no")
    return head + ("+" if head and changed else "")


def peak_memory() -> int:
    """Bytes that this process ever had resident.

    The kernel's own high-water mark: `ru_maxrss` would begin with that of the process which started this one.
    """
    try:
        lines = Path("/proc/self/status").read_text().splitlines()
        return next(1024 * int(line.split()[1]) for line in lines if line.startswith("VmHWM:"))
    except (OSError, StopIteration):
        size = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        return size if sys.platform == "darwin" else 1024 * size


def _output(*command: str) -> str:
    done = subprocess.run(command, capture_output=True, text=True, check=False)  # noqa: S603
    return done.stdout.strip() if done.returncode == 0 else ""
