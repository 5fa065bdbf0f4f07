"""The guard of a process that judges: holds every case to its limits of time and memory."""

from __future__ import annotations

import contextlib
import faulthandler
import os
import sys
from collections.abc import Generator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn

from rocassay.harness.isolation.clocks import can_interrupt, ended_after, interrupted_after
from rocassay.harness.isolation.memory import GIB, can_limit, default_share, limited, out_of_memory
from rocassay.harness.isolation.stacks import of_traceback, place

if TYPE_CHECKING:
    import torch

PREPARING_SECONDS = 600.0
"""What inputs and golden of a case, which others share, may take beside the limit of a case."""

GRACE_SECONDS = 10.0
"""How long an interrupted case may take to come back to Python before the process is ended."""

LAST_WORDS = "rocassay: "
"""Begins the line in which a process says why it leaves."""

LEFT = 70
"""Its exit code (sysexits.h: EX_SOFTWARE)."""


@dataclass(frozen=True, slots=True)
class Guard:
    """Limits of the cases that this process judges; without arguments there are none."""

    seconds: float = 0.0
    """Most seconds that running and judging a case may take; 0 is no limit."""
    gib: float | None = 0.0
    """Most GiB that it may take; 0 is no limit, None this worker's share of the memory."""
    workers: int = 1
    """How many processes share the memory."""
    trace: int | None = None
    """Open file that gets the stacks, or the last words, before the process ends."""
    replaceable: bool = False
    """Whether another process goes on when this one ends: then a case that is late ends it, else it is interrupted."""

    @contextlib.contextmanager
    def preparing(self) -> Generator[None, None, None]:
        """While open, inputs and golden are made; they have time of their own, as no other case pays for them."""
        with self._clock(PREPARING_SECONDS + self.seconds):
            yield

    @contextlib.contextmanager
    def judging(self, device: torch.device) -> Generator[None, None, None]:
        """While open, a case runs on `device` and is judged. Raises CaseTimedOut where this process has to go on."""
        with self._clock(self.seconds), limited(device, self._bytes(device)):
            yield

    def settling(self) -> contextlib.AbstractContextManager[None]:
        """While open, what a case left behind is cleared away; its verdict stands, so nothing is raised."""
        return self._watchdog(self.seconds)

    @contextlib.contextmanager
    def _clock(self, seconds: float) -> Generator[None, None, None]:
        interrupts = self.seconds and not self.replaceable and can_interrupt()
        with self._watchdog(seconds), interrupted_after(seconds) if interrupts else contextlib.nullcontext():
            yield

    def _watchdog(self, seconds: float) -> contextlib.AbstractContextManager[None]:
        if not self.seconds or self.trace is None:
            return contextlib.nullcontext()
        return ended_after(seconds + (0.0 if self.replaceable else GRACE_SECONDS), self.trace)

    def _bytes(self, device: torch.device) -> int:
        return default_share(device, self.workers) if self.gib is None else int(self.gib * GIB)

    def explain(self, error: Exception, device: torch.device) -> str:
        """Why a case crashed, in one sentence; of an allocation that was refused also the limit and the place."""
        if not out_of_memory(error):
            return f"{type(error).__name__}: {error}"
        size = self._bytes(device)
        limit = f"a case may take {size / GIB:.3g} GiB (--case-memory), " if size else ""
        said = str(error).partition("\n")[0] or type(error).__name__
        return f"out of memory: {limit}{place(of_traceback(error.__traceback__))}: {said}"

    def leave(self, why: str) -> NoReturn:
        """End this process, in which nothing can run any more, without its verdict on the case at hand."""
        os.write(2 if self.trace is None else self.trace, f"{LAST_WORDS}{why}\n".encode())
        os._exit(LEFT)


def guard_of_worker(seconds: float, gib: float | None, workers: int, trace: Path) -> Guard:
    """The guard of one of several workers; `trace` gets the stacks of what ends this process, crashes included."""
    trace.parent.mkdir(parents=True, exist_ok=True)
    stream = os.open(trace, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o644)
    faulthandler.enable(stream)
    return Guard(seconds, gib, workers, stream, replaceable=True)


def unkept(seconds: float, gib: float | None, device: torch.device, *, alone: bool) -> Iterator[str]:
    """Limits that cannot be kept on this platform, each in one sentence; `alone`: no worker is there to be replaced."""
    if seconds and alone and not can_interrupt():
        yield (
            "--case-timeout cannot interrupt a case here (no SIGALRM, or not in the main thread): one that is late "
            "ends the run; give it workers with -n"
        )
    if gib != 0 and not can_limit(device):
        yield f"--case-memory is not kept on {sys.platform}: only Linux refuses a process its memory"
