"""Runs command lines in children forked from one warm process: true exit codes and streams, imports paid once."""

from __future__ import annotations

import json
import os
import re
import resource
import signal
import subprocess
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[2]
ENTRY_POINTS = """
[rocassay.suites]
toy = rocassay.suites.selftest.toysuite

[rocassay.providers]
absent = rocassay.suites.selftest.toysuite.declared:Absent
part = rocassay.suites.selftest.toysuite.declared:PART
"""


_PROGRESS = re.compile(r"\d+ of (\d+|\?) done, \d+ failed")
"""What `Progress` prints now and then where there is no terminal."""


@dataclass(frozen=True, slots=True)
class Done:
    """A command that ended; `code` is negative for a signal."""

    code: int
    out: str
    err: str

    @property
    def complaint(self) -> str:
        """The one line on stderr; AssertionError if there is another number of them, or a traceback anywhere.

        On a busy machine a run says every ten seconds how far it is: that is no complaint.
        """
        lines = [line for line in self.err.splitlines() if line.strip() and not _PROGRESS.fullmatch(line)]
        assert len(lines) == 1, self
        assert "Traceback" not in self.out + self.err, self
        assert self.code > 0, self
        return lines[0]


class Children:
    """Starts `rocassay ...` and `pytest ...` with the toy suite installed by entry point."""

    def __init__(self, folder: Path) -> None:
        info = folder / "toy-1.dist-info"
        info.mkdir()
        (info / "METADATA").write_text("Metadata-Version: 2.1\nName: toy\nVersion: 1\n")
        (info / "entry_points.txt").write_text(ENTRY_POINTS)
        path = os.pathsep.join([str(ROOT / "src"), str(folder), *filter(None, [os.environ.get("PYTHONPATH")])])
        self._server = subprocess.Popen(
            [sys.executable, "-c", f"from {__name__} import serve; serve()"],
            cwd=folder,
            env={**os.environ, "PYTHONPATH": path, "COLUMNS": "200"},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def _ask(self, **request: Any) -> Any:
        assert self._server.stdin is not None
        assert self._server.stdout is not None
        self._server.stdin.write(json.dumps(request) + "\n")
        self._server.stdin.flush()
        return json.loads(self._server.stdout.readline())

    def start(self, *argv: object, file_limit: int | None = None) -> int:
        """Start a command in a process group of its own; returns its process id."""
        return int(self._ask(argv=[str(word) for word in argv], file_limit=file_limit))

    def running(self, pid: int) -> bool:
        """Whether a started command has not ended yet."""
        return bool(self._ask(running=pid))

    def wait(self, pid: int) -> Done:
        """Wait for a started command."""
        return Done(**self._ask(wait=pid))

    def __call__(self, *argv: object, file_limit: int | None = None) -> Done:
        """Run a command to its end; `file_limit` is the largest size in bytes that any file may reach."""
        return self.wait(self.start(*argv, file_limit=file_limit))

    def rocassay(self, *argv: object, file_limit: int | None = None) -> Done:
        """Run the command line."""
        return self("rocassay", *argv, file_limit=file_limit)

    def close(self) -> None:
        """End the warm process."""
        self._server.communicate()


def serve() -> None:
    """The warm process: answers one request a line until its input ends."""
    from triton.runtime.cache import triton_key

    import rocassay.harness.cli.running
    import rocassay.harness.cli.showing
    import rocassay.harness.controller
    import rocassay.harness.engines.interpreter
    import rocassay.reports.html  # noqa: F401
    from rocassay.harness.ops import discover

    discover()
    # Half a second of reading the compiler's libraries, which every child that compiles would pay.
    triton_key()
    folders: dict[int, str] = {}
    for line in sys.stdin:
        request = json.loads(line)
        if "wait" in request:
            answer: Any = _collect(request["wait"], folders.pop(request["wait"]))
        elif "running" in request:
            answer = os.waitid(os.P_PID, request["running"], os.WEXITED | os.WNOHANG | os.WNOWAIT) is None
        else:
            folder = tempfile.mkdtemp(dir=Path.cwd())
            answer = _fork(request, folder)
            folders[answer] = folder
        sys.stdout.write(json.dumps(answer) + "\n")
        sys.stdout.flush()


def _collect(pid: int, folder: str) -> Mapping[str, object]:
    code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return {"code": code, **{name: (Path(folder) / name).read_text() for name in ("out", "err")}}


def _fork(request: Mapping[str, Any], folder: str) -> int:
    pid = os.fork()
    if pid:
        return pid
    os.setsid()
    signal.signal(signal.SIGINT, signal.default_int_handler)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    for number, name in ((1, "out"), (2, "err")):
        os.dup2(os.open(Path(folder) / name, os.O_WRONLY | os.O_CREAT), number)
    if request["file_limit"] is not None:
        resource.setrlimit(resource.RLIMIT_FSIZE, (request["file_limit"], resource.RLIM_INFINITY))
    sys.argv = request["argv"]
    code = 1
    try:
        code = _program()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


def _program() -> int:
    import traceback

    import pytest

    from rocassay.harness.cli.app import main

    try:
        if sys.argv[0] == "pytest":
            return int(pytest.main(sys.argv[1:]))
        main()
    except SystemExit as end:
        return end.code if isinstance(end.code, int) else int(bool(end.code))
    except BaseException:
        traceback.print_exc()
        return 1
    return 0
