"""Command lines in this process: exit code, streams, and the one complaint of what could not be obeyed."""

from __future__ import annotations

import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

from rocassay.harness.cli.app import main


@dataclass(frozen=True, slots=True)
class Done:
    """A command that ended."""

    code: int
    out: str
    err: str

    @property
    def json(self) -> Any:
        """What a program reads."""
        return json.loads(self.out)

    @property
    def complaint(self) -> str:
        """The one sentence on stderr of a command that could not be obeyed."""
        lines = [line for line in self.err.splitlines() if line.strip()]
        assert (self.code, self.out, len(lines)) == (2, "", 1), self
        return lines[0]


Rocassay = Callable[..., Done]


@pytest.fixture
def rocassay(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> Rocassay:
    """Runs a command line in this process, in an empty folder."""
    monkeypatch.chdir(tmp_path)

    def call(*words: object) -> Done:
        monkeypatch.setattr(sys, "argv", ["rocassay", *map(str, words)])
        capsys.readouterr()
        code: Any = 0
        try:
            main()
        except SystemExit as end:
            code = end.code
        said = capsys.readouterr()
        return Done(int(code or 0), said.out, said.err)

    return call
