"""What a worker died of: told by the trace that it left and by how its process ended."""

from __future__ import annotations

import contextlib
import re
import signal
import subprocess
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rocassay.harness.isolation.clocks import too_late
from rocassay.harness.isolation.guard import LAST_WORDS
from rocassay.harness.isolation.stacks import of_dump, place
from rocassay.harness.results import Status

TRACES = "traces"
"""Folder in the output folder: per worker that died in a case, the stacks of all its threads."""

_PATIENCE = 5.0
"""Seconds in which a process whose pipe is closed has ended."""

_LATE = re.compile(r"^Timeout \((\d+):(\d+):(\d+(?:\.\d+)?)\)!$", re.MULTILINE)
_SAID = re.compile(rf"^{LAST_WORDS}(.*)$", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Death:
    """Why the case at hand has no other verdict."""

    status: Status
    """CRASHED or TIMED_OUT."""
    reason: str
    """One sentence."""


def trace_of(folder: Path, worker: str) -> Path:
    """The file for the last words of a worker, in the output folder of the run."""
    return folder / TRACES / f"{worker}.txt"


def sweep(folder: Path, *, all_of_them: bool) -> None:
    """Remove the traces below an output folder, or only those of workers that had nothing to say."""
    for trace in (folder / TRACES).glob("*.txt"):
        if all_of_them or not trace.stat().st_size:
            trace.unlink()
    with contextlib.suppress(OSError):
        (folder / TRACES).rmdir()


def death_of(node: Any, folder: Path) -> Death:
    """Why an xdist worker died that wrote its trace below the output folder."""
    worker = str(node.gateway.id)
    with contextlib.suppress(OSError):
        return told(worker, _exit_code(node), trace_of(folder, worker).read_text(errors="replace"))
    return told(worker, _exit_code(node), "")


def told(worker: str, code: int | None, trace: str) -> Death:
    """The death of a worker from its exit code (negative: the signal; None: unknown) and its trace."""
    where = place(of_dump(trace))
    if late := _LATE.search(trace):
        hours, minutes, seconds = map(float, late.groups())
        return Death(Status.TIMED_OUT, too_late(3600 * hours + 60 * minutes + seconds, where))
    if said := _SAID.search(trace):
        return Death(Status.CRASHED, f"worker {worker} left: {said[1]}")
    return Death(Status.CRASHED, f"worker {worker} {_ended(code)}" + (f": {where}" if where else ""))


def _ended(code: int | None) -> str:
    if code is None:
        return "died, and nothing says of what"
    if code >= 0:
        return f"ended with exit code {code}"
    name = signal.Signals(-code).name if -code in set(signal.Signals) else f"signal {-code}"
    hint = ", as by the system when the machine is out of memory" if -code == signal.SIGKILL else ""
    return f"was killed by {name}{hint}"


def _exit_code(node: Any) -> int | None:
    """How the worker's process ended, from execnet's private handle of it."""
    process: Any = getattr(getattr(node.gateway, "_io", None), "popen", None)
    if not isinstance(process, subprocess.Popen):
        return None
    with contextlib.suppress(subprocess.TimeoutExpired):
        return process.wait(_PATIENCE)
    return None
