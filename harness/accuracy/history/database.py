"""The database under a history: found, opened, made, and in one sentence why it cannot be used."""

from __future__ import annotations

import importlib.util
import time
from collections.abc import Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import sqlalchemy as sa
from sqlalchemy.exc import DBAPIError, IntegrityError, OperationalError, ProgrammingError, SQLAlchemyError
from sqlalchemy.pool import NullPool

from rocassay.harness.accuracy.errors import AccuracyError
from rocassay.harness.accuracy.history.asides import set_aside
from rocassay.harness.accuracy.history.tables import META, VERSION, VERSIONS
from rocassay.harness.accuracy.redaction import redacted

BUSY_SECONDS = 60
"""How long a writer of a file waits for another one."""

CONNECT_SECONDS = 10
"""How long a server may take to answer."""

MAKERS = 20
"""How often making the tables is tried again while another process makes the same."""

LONGEST_REASON = 300
"""Characters of a driver's own words."""

SAFE = "results.jsonl keeps every record, `rocassay history add` stores them later"


class HistoryError(AccuracyError):
    """The history cannot be read or written, or an entry cannot be what was asked for."""


class SetAside(HistoryError):
    """The file was no history and has another name now: whoever opens it again begins a new one."""


class Database:
    """Connections to one history; none is kept open between uses, since hours of asking lie between them."""

    def __init__(self, where: str | Path, *, make: bool) -> None:
        """`where`: a file for SQLite or a database URL. Without `make` a file that is missing is an error.

        A file that is no database is set aside and HistoryError says so.
        """
        self._url = _url_of(where)
        self.place = redacted(self._url.render_as_string(hide_password=True))
        if self._file is not None:
            self.place = str(self._file)
            self._prepare(self._file, make)
        try:
            arguments: dict[str, Any] = self._waits()
            self._engine = sa.create_engine(self._url, poolclass=NullPool, connect_args=arguments)
        except (SQLAlchemyError, ImportError, ValueError, TypeError) as error:
            raise self._unusable("open", error) from error
        self._open()

    @property
    def _file(self) -> Path | None:
        sqlite = self._url.get_backend_name() == "sqlite"
        return Path(self._url.database) if sqlite and self._url.database else None

    def _prepare(self, file: Path, make: bool) -> None:
        if not make and not file.exists():
            raise HistoryError(f"there is no history at {file}; name one by --history, or make one by `rocassay gsm8k`")
        try:
            file.parent.mkdir(parents=True, exist_ok=True)
        except OSError as error:
            raise HistoryError(
                f"cannot make the folder {file.parent}: {error.strerror}; choose another file"
            ) from error

    def _waits(self) -> dict[str, Any]:
        known = {"sqlite": {"timeout": BUSY_SECONDS}, "postgresql": {"connect_timeout": CONNECT_SECONDS}}
        return known.get(self._url.get_backend_name(), {})

    def _open(self) -> None:
        """Make the tables that are missing, also those that an older version lacks; HistoryError for a newer one."""
        found = self._version()
        if found is None or found < VERSION:
            self._make()
            found = self._version()
        if found != VERSION:
            raise HistoryError(
                f"the history at {self.place} has version {found}, which a newer rocassay wrote; this one uses "
                f"{VERSION}: update it, or choose another --history"
            )

    def _version(self) -> int | None:
        """The version of the tables; None while any of them is missing."""
        with self.reading("open") as connection:
            names = set(sa.inspect(connection).get_table_names())
            if VERSIONS.name not in names and names & set(META.tables):
                raise HistoryError(f"{self.place} holds tables of something else; choose another --history")
            if VERSIONS.name not in names:
                return None
            version = connection.execute(sa.select(VERSIONS.c.version)).scalar()
        return version if version != VERSION or names >= set(META.tables) else None

    def _make(self) -> None:
        """Several processes may make the tables of one history at once: whoever comes second finds them made."""
        older = VERSIONS.c.version < VERSION
        for left in reversed(range(MAKERS)):
            try:
                # First of all, so that nobody takes half of these tables for those of something else.
                VERSIONS.create(self._engine, checkfirst=True)
                META.create_all(self._engine)
                with self._engine.begin() as connection:
                    if connection.execute(sa.select(VERSIONS.c.version)).scalar() is None:
                        connection.execute(VERSIONS.insert().values(version=VERSION))
                    # Last, so that an upgrade that is cut short is begun again. Every version only added tables.
                    connection.execute(VERSIONS.update().where(older).values(version=VERSION))
            except (OperationalError, ProgrammingError, IntegrityError) as error:
                if not left:
                    raise self._unusable("make", error) from error
                time.sleep(0.05)
            except SQLAlchemyError as error:
                raise self._unusable("make", error) from error
            else:
                return

    @contextmanager
    def reading(self, doing: str = "read") -> Generator[sa.Connection, None, None]:
        """A connection; HistoryError for whatever goes wrong."""
        try:
            with self._engine.connect() as connection:
                yield connection
        except (SQLAlchemyError, ImportError, ValueError) as error:
            raise self._unusable(doing, error) from error

    @contextmanager
    def writing(self) -> Generator[sa.Connection, None, None]:
        """A transaction: all of it is stored, or nothing. HistoryError for whatever goes wrong.

        Writers come one after the other, so that what is read before it is written cannot change in between.
        """
        try:
            with self._engine.begin() as connection:
                connection.execute(VERSIONS.update().values(version=VERSIONS.c.version))
                yield connection
        except (SQLAlchemyError, ImportError, ValueError) as error:
            raise self._unusable("write", error) from error

    def _unusable(self, doing: str, error: Exception) -> HistoryError:
        reason = self._reason(error)
        if self._file is not None and ("is not a database" in reason or "is malformed" in reason):
            aside = set_aside(self._file)
            where = f"it was set aside as {aside.name}" if aside else "another process has set it aside"
            return SetAside(f"{self._file} is no history ({reason}); {where}, run again to start anew: {SAFE}")
        return HistoryError(f"cannot {doing} the history at {self.place}: {reason}; check --history: {SAFE}")

    def _reason(self, error: Exception) -> str:
        """The driver's own words in one line, without the password."""
        own = error.orig if isinstance(error, DBAPIError) and error.orig is not None else error
        if isinstance(error, ImportError):
            return f"its driver is not installed ({error})"
        words = redacted(" ".join(str(own).split())).partition(" (Background on this error")[0]
        password = self._url.password
        return (words.replace(str(password), "***") if password else words)[:LONGEST_REASON]


def _url_of(where: str | Path) -> sa.URL:
    """The URL of a file or of a database; HistoryError, without any of its text, for one that cannot be read."""
    text = str(where)
    if "://" not in text:
        return sa.URL.create("sqlite", database=text)
    try:
        url = sa.make_url(text)
        if "@" in f"{url.host}{url.database}":
            raise ValueError  # a part of the password, which would be shown
    except (SQLAlchemyError, ValueError):
        scheme = text.partition("://")[0]
        raise HistoryError(
            f"the {scheme}:// address of the history cannot be read; write it like postgresql://user@host:5432/name, "
            "and @, : and / in a password as %40, %3A and %2F"
        ) from None
    if url.drivername in ("postgres", "postgresql"):
        url = url.set(drivername=f"postgresql+{'psycopg' if importlib.util.find_spec('psycopg') else 'psycopg2'}")
    if url.drivername.startswith("sqlite") and url.database in (None, "", ":memory:"):
        raise HistoryError(
            f"{text} names no file, so nothing would be kept; write it like sqlite:///folder/name.sqlite"
        )
    return url
