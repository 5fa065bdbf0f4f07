"""Time limits: an alarm that interrupts Python, and a watchdog that ends a process whatever it is doing."""

from __future__ import annotations

import contextlib
import faulthandler
import signal
import threading
from collections.abc import Generator
from types import FrameType

from rocassay.harness.isolation.stacks import of_frame, place


class CaseTimedOut(BaseException):
    """The time of a case is up. Not an Exception: what is judged must not be able to swallow it."""


def too_late(seconds: float, where: str) -> str:
    """The verdict in words."""
    return f"not done after {seconds:g} s (--case-timeout)" + (f": {where}" if where else "")


def can_interrupt() -> bool:
    """Whether Python code of this thread can be interrupted: on POSIX, in the main thread."""
    return hasattr(signal, "SIGALRM") and threading.current_thread() is threading.main_thread()


@contextlib.contextmanager
def interrupted_after(seconds: float) -> Generator[None, None, None]:
    """Raise CaseTimedOut inside when the time is up; code outside of Python is interrupted when it comes back.

    An alarm that was set before is set again afterwards, with as many seconds as it had.
    """

    def interrupt(_signal: int, frame: FrameType | None) -> None:
        raise CaseTimedOut(too_late(seconds, place(of_frame(frame))))

    handler = signal.signal(signal.SIGALRM, interrupt)
    timer = signal.setitimer(signal.ITIMER_REAL, seconds)
    try:
        yield
    finally:
        signal.setitimer(signal.ITIMER_REAL, 0)
        signal.signal(signal.SIGALRM, handler or signal.SIG_DFL)
        signal.setitimer(signal.ITIMER_REAL, *timer)


@contextlib.contextmanager
def ended_after(seconds: float, trace: int) -> Generator[None, None, None]:
    """End the process with code 1 when the time is up, with every thread's stack in the open file `trace`.

    It needs no lock of the interpreter: code in C that holds it is ended, too.
    """
    faulthandler.dump_traceback_later(seconds, exit=True, file=trace)
    try:
        yield
    finally:
        faulthandler.cancel_dump_traceback_later()


def stop() -> None:
    """Forget the limit of the case at hand, as when a person looks at it in a debugger."""
    faulthandler.cancel_dump_traceback_later()
    if can_interrupt():
        signal.setitimer(signal.ITIMER_REAL, 0)
