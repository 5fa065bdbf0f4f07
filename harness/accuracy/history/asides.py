"""A file that is no SQLite database gets another name: nothing of it is overwritten, and a new history can begin."""

from __future__ import annotations

import fcntl
import os
import sqlite3
from collections.abc import Generator
from contextlib import closing, contextmanager
from pathlib import Path

COMPANIONS = ("-journal", "-wal", "-shm")
"""Suffixes of SQLite's further files; left behind, they would be played back into the new file."""


def set_aside(file: Path) -> Path | None:
    """Rename a damaged file to a free name; None when it is whole, since another process was first and began anew."""
    with _alone(file.parent):
        if not file.exists() or _whole(file):
            return None
        names = (file.with_name(f"{file.name}.corrupt{number or ''}") for number in range(1000))
        aside = next(name for name in names if not name.exists())
        file.replace(aside)
        for suffix in COMPANIONS:
            companion = file.with_name(file.name + suffix)
            if companion.exists():
                companion.replace(aside.with_name(aside.name + suffix))
        return aside


@contextmanager
def _alone(folder: Path) -> Generator[None, None, None]:
    """Among processes of this machine only one at a time; the folder itself is the lock, so that no file is left."""
    handle = os.open(folder, os.O_RDONLY)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _whole(file: Path) -> bool:
    """Whether SQLite finds nothing wrong with the file; one that is locked is in use, and so no rubbish."""
    try:
        with closing(sqlite3.connect(file)) as connection:
            return connection.execute("pragma integrity_check(1)").fetchone()[0] == "ok"
    except sqlite3.OperationalError:
        return True
    except sqlite3.DatabaseError:
        return False
