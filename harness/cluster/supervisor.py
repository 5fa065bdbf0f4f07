"""A worker on a node: has a process that judges, tells what it says, and replaces it when a case takes it along.

It judges nothing itself and imports neither torch nor Ray: a case that ends its process costs only itself, and whatever
ends this one is a matter of the machine.
"""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import tempfile
from collections import deque
from collections.abc import Iterator, Sequence
from multiprocessing.connection import Connection
from pathlib import Path
from typing import IO

from rocassay.harness.cluster.messages import Died, Greeting, Job, Judged, Told
from rocassay.harness.errors import RocassayError
from rocassay.harness.isolation.deaths import told
from rocassay.harness.sharding import Item

HEARTBEAT_SECONDS = 10.0
"""A call that has nothing to tell returns after this long."""

PROGRAM = "import sys; from rocassay.harness.cluster.judging import judge_what_comes as go; go(int(sys.argv[1]))"

THREADS = {f"{library}_NUM_THREADS": "1" for library in ("OPENBLAS", "OMP", "MKL")}
"""The matrices are small, and the workers of a machine share its cores."""


class CannotJudge(RocassayError, RuntimeError):
    """A machine cannot run the judging process at all."""


class Supervisor:
    """One worker."""

    def __init__(self, name: str, job: Job, share: int) -> None:
        """`share`: how many workers divide the machine's memory."""
        self._name, self._job, self._share = name, job, share
        # Without names: whatever ends this process, nothing is left behind on its machine.
        self._trace, self._stderr = tempfile.TemporaryFile(buffering=0), tempfile.TemporaryFile(buffering=0)  # noqa: SIM115
        self._open: deque[Item] = deque()
        self._start()

    def _start(self) -> None:
        ours, theirs = socket.socketpair()
        environment = THREADS | dict(os.environ) | {"PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        with theirs:
            self._process = subprocess.Popen(  # noqa: S603  our own program
                [sys.executable, "-c", PROGRAM, str(theirs.fileno())],
                cwd=tempfile.gettempdir(),
                env=environment,
                stdin=subprocess.DEVNULL,
                stdout=self._stderr,
                stderr=self._stderr,
                pass_fds=[theirs.fileno(), self._trace.fileno()],
            )
        self._connection = Connection(ours.detach())
        self._connection.send((self._job, self._share, Path(f"/dev/fd/{self._trace.fileno()}")))
        self._ready = False

    def work(self, more: Sequence[Item]) -> list[Told]:
        """Take more work on, wait for something to tell, and tell it all: work is answered in the order it was given.

        Raises CannotJudge when the process ends before it has taken up any work.
        """
        self._open.extend(more)
        for item in more:
            self._send(item)
        return list(self._heard()) if self._connection.poll(HEARTBEAT_SECONDS) else []

    def _heard(self) -> Iterator[Told]:
        while self._connection.poll():
            try:
                message: Greeting | Judged = self._connection.recv()
            except (EOFError, ConnectionResetError):
                yield self._died()
                return
            if isinstance(message, Greeting):
                self._ready = True
            else:
                self._open.remove(message.item)
            yield message

    def _send(self, item: Item) -> None:
        """Of a process that has ended the connection tells when it is read."""
        try:
            self._connection.send(item)
        except (BrokenPipeError, ConnectionResetError):
            return

    def _died(self) -> Died:
        """The process has ended: the first of its open work did that. Another process takes up what is left."""
        self._connection.close()
        code = self._process.wait()
        if not self._ready or not self._open:
            said = _text(self._stderr).strip().splitlines()
            raise CannotJudge(f"exit code {code}: {said[-1] if said else 'without a word'}")
        death = told(self._name, code, _text(self._trace))
        item = self._open.popleft()
        self._start()
        for left in self._open:
            self._send(left)
        return Died(item, death.status, death.reason)


def _text(file: IO[bytes]) -> str:
    file.seek(0)
    return file.read().decode(errors="replace")
