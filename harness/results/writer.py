"""The file that holds the records: appended line by line, safe against a kill and a full disk."""

from __future__ import annotations

import os
from datetime import datetime, timezone
from pathlib import Path

from rocassay.harness.results.schema import Model, ResultsError


class ResultsWriter:
    """Appends lines to one file; a line is on the file as soon as `append` returns."""

    def __init__(self, path: Path, resume: str = "rocassay run --resume") -> None:
        """`resume`: the command that continues what was cut short."""
        self.path, self._resume = path, resume
        try:
            path.parent.mkdir(parents=True, exist_ok=True)
            self._fd = os.open(path, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o644)
        except OSError as error:
            raise ResultsError(f"cannot open {path}: {error.strerror}; choose another --out") from error
        self.lines = 0

    def append(self, line: Model) -> None:
        """Write one whole line or, when the disk refuses, nothing of it.

        Raises ResultsError when the file cannot take the line; all earlier lines stay intact.
        """
        data = (line.model_dump_json(exclude_defaults=False) + "\n").encode()
        size = os.fstat(self._fd).st_size
        try:
            _write_all(self._fd, data)
        except OSError as error:
            self._cut_back(size)
            raise ResultsError(
                f"cannot append to {self.path}: {error.strerror}; the {self.lines} records of this run are safe, "
                f"free some space and continue with `{self._resume}`"
            ) from error
        self.lines += 1

    def _cut_back(self, size: int) -> None:
        try:
            os.ftruncate(self._fd, size)
        except OSError:  # a device such as a pipe cannot be cut; the reader reports the torn line
            return

    def close(self) -> None:
        """Close the file; further appends are an error."""
        os.close(self._fd)


def _write_all(fd: int, data: bytes) -> None:
    while data:
        data = data[os.write(fd, data) :]


def move_aside(path: Path) -> None:
    """Give an older results file another name, so that it is never overwritten; ResultsError when that fails."""
    try:
        if not path.exists() or not path.stat().st_size:
            return
        moved = datetime.fromtimestamp(path.stat().st_mtime, timezone.utc).strftime("%Y%m%dT%H%M%S%f")
        path.rename(path.with_name(f"{path.stem}-{moved}.jsonl"))
    except OSError as error:
        raise ResultsError(f"cannot move {path} aside: {error.strerror}; choose another --out") from error


def set_aside_cut_tail(path: Path) -> Path | None:
    """Move a torn last line into `<name>.cut`, so that appending starts on a fresh line; None if there is none."""
    if not path.exists():
        return None
    data = path.read_bytes()
    if not data or data.endswith(b"\n"):
        return None
    keep = data.rfind(b"\n") + 1
    aside = path.with_name(path.name + ".cut")
    with aside.open("ab") as stream:
        stream.write(data[keep:] + b"\n")
    with path.open("rb+") as stream:
        stream.truncate(keep)
    return aside
