"""Commands of the user: started in a process group of their own, written to a log, ended with all their children."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import subprocess
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

from rocassay.harness.bisect.errors import BisectError
from rocassay.harness.bisect.points import Point

GRACE = 5.0
"""Seconds between asking a process to end and ending it."""
TAIL = 300
"""Characters of a log that fit into an error."""


@dataclass(frozen=True, slots=True)
class Finished:
    """A command that ended, or was ended."""

    code: int | None
    """Exit code, negative for a signal; None: its time was over."""
    log: Path
    """What it printed."""
    how: str
    """The end in words."""


@dataclass(frozen=True, slots=True)
class Run:
    """Runs commands for points, one after the other.

    Attributes:
        logs: folder of what they print.
        timeout: seconds that each may take; None for no limit.
    """

    logs: Path = Path("logs")
    timeout: float | None = None

    def __call__(self, command: str | Sequence[str], point: Point, where: Path, **extra: str) -> Finished:
        """Run a shell line or an argument list in the folder `where`, with `extra` environment variables."""
        log = self.log_of(point)
        with log.open("ab") as stream:
            child = self.start(command, where, stream, stream, extra)
            try:
                code: int | None = child.wait(self.timeout)
            except subprocess.TimeoutExpired:
                code = None
            finally:
                end(child)
        return Finished(code, log, _how(code, self.timeout))

    def log_of(self, point: Point, ending: str = "log") -> Path:
        """File of a point in the folder of logs, which is made."""
        name = re.sub(r"[^\w.+-]+", "_", point.name)[-80:]
        try:
            self.logs.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise BisectError(f"cannot make the folder {self.logs}: {error.strerror}; choose another --out") from error
        return (self.logs / f"{name}.{ending}").resolve()

    def start(
        self,
        command: str | Sequence[str],
        where: Path,
        out: IO[bytes],
        err: IO[bytes],
        extra: Mapping[str, str] | None = None,
    ) -> subprocess.Popen[bytes]:
        """Start it in a process group of its own; BisectError when there is no such program."""
        words = ["/bin/sh", "-c", command] if isinstance(command, str) else list(command)
        environment = {**outside_git(), **(extra or {})}
        try:
            return subprocess.Popen(  # noqa: S603
                words,
                cwd=where,
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=out,
                stderr=err,
                start_new_session=True,
            )
        except OSError as error:
            raise BisectError(f"cannot run {words[0]} in {where}: {error.strerror}; mend the command") from error


def outside_git() -> dict[str, str]:
    """The environment without what git tells its hooks, which would lead every git command to another tree."""
    told = ("GIT_DIR", "GIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_PREFIX", "GIT_OBJECT_DIRECTORY", "GIT_COMMON_DIR")
    return {name: value for name, value in os.environ.items() if name not in told}


def end(child: subprocess.Popen[bytes]) -> None:
    """End a process and everything that it started in its group."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        with contextlib.suppress(ProcessLookupError, PermissionError):
            os.killpg(child.pid, number)
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(GRACE)
            if number == signal.SIGKILL:
                return


def filled(template: str, **values: object) -> str:
    """A shell line with `{name}` replaced by its value, quoted; other braces stay as they are."""
    for name, value in values.items():
        template = template.replace(f"{{{name}}}", shlex.quote(str(value)))
    return template


def tail_of(log: Path) -> str:
    """The last words of a log, in one line."""
    try:
        text = log.read_bytes()[-4 * TAIL :].decode(errors="replace")
    except OSError:
        return f"see {log}"
    words = " ".join(text.split())
    return words[-TAIL:] if words else f"it printed nothing, see {log}"


def _how(code: int | None, timeout: float | None) -> str:
    if code is None:
        return f"was not done after {timeout:g} s (--timeout)"
    return f"was ended by signal {-code}" if code < 0 else f"ended with exit code {code}"
