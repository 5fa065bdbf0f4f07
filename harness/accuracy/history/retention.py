"""Which runs may go: those beyond the limits, never those that a baseline refers to."""

from __future__ import annotations

import datetime as dt
from collections.abc import Collection, Sequence
from dataclasses import dataclass, field

import sqlalchemy as sa

from rocassay.harness.accuracy.history.database import Database, HistoryError
from rocassay.harness.accuracy.history.runs import drop_runs
from rocassay.harness.accuracy.history.tables import ANSWERS, BASELINES, EVALUATIONS, RUNS
from rocassay.harness.results import EvalHeader


@dataclass(frozen=True, slots=True)
class Entry:
    """A run as retention sees it."""

    run_id: str
    started: str
    """UTC, ISO 8601."""
    kind: str
    """Runs of one kind are counted together: what was judged, by what, with which faults."""
    repeats: str = field(default="", compare=False)
    """The run that this one repeats and judges anew."""


@dataclass(frozen=True, slots=True)
class Pruned:
    """What was, or would be, removed; and what the limits would have taken but a baseline keeps."""

    runs: tuple[Entry, ...]
    """Runs of kernel cases, oldest first."""
    evaluations: tuple[Entry, ...]
    """Evaluations, oldest first."""
    held: tuple[Entry, ...]
    """Evaluations that stay because a baseline, or a run that stays, refers to them."""


@dataclass(frozen=True, slots=True)
class Limits:
    """What is kept. A run goes only when every limit that is given lets it go."""

    since: dt.datetime | None = None
    """Keep what began then or later."""
    newest: int | None = None
    """Keep so many of each kind."""

    def __post_init__(self) -> None:
        if self.since is None and self.newest is None:
            raise HistoryError("nothing says what to keep; pass --keep-days N, --keep-runs N, or both")
        if self.newest is not None and self.newest < 1:
            raise HistoryError(f"--keep-runs {self.newest} would keep nothing; keep at least 1 of each kind")

    def beyond(self, entries: Sequence[Entry]) -> list[Entry]:
        """Those that may go, oldest first."""
        groups: dict[str, list[Entry]] = {}
        for entry in sorted(entries, key=lambda one: (one.started, one.run_id)):
            groups.setdefault(entry.kind, []).append(entry)
        counted = [e for group in groups.values() for e in (group[: -self.newest] if self.newest else group)]
        begin = "" if self.since is None else self.since.astimezone(dt.timezone.utc).isoformat()
        return sorted(
            (entry for entry in counted if self.since is None or entry.started < begin), key=lambda one: one.started
        )


def prune(database: Database, limits: Limits, *, dry: bool) -> Pruned:
    """Remove what is beyond the limits in one transaction; `dry`: only say it.

    Of a repeated evaluation both runs stay as long as the later one does.
    """
    with database.reading() if dry else database.writing() as connection:
        runs = limits.beyond(_kernel_entries(connection))
        entries = _evaluation_entries(connection)
        beyond = limits.beyond(entries)
        held = _held(entries, beyond, _in_baselines(connection))
        gone = [entry for entry in beyond if entry.run_id not in held]
        if not dry:
            drop_runs(connection, [entry.run_id for entry in runs])
            names = [entry.run_id for entry in gone]
            for table in (ANSWERS, EVALUATIONS):
                connection.execute(table.delete().where(table.c.run_id.in_(names)))
    return Pruned(tuple(runs), tuple(gone), tuple(entry for entry in beyond if entry.run_id in held))


def _held(entries: Sequence[Entry], beyond: Sequence[Entry], accepted: Collection[str]) -> set[str]:
    """Ids that must stay: the accepted ones, and whatever a run that stays repeats."""
    leaving = {entry.run_id for entry in beyond} - set(accepted)
    repeated = {entry.run_id: entry.repeats for entry in entries}
    todo = [run for run in repeated if run not in leaving]
    while todo:
        other = repeated.get(todo.pop(), "")
        if other in leaving:
            leaving.remove(other)
            todo.append(other)
    return set(repeated) - leaving


def _in_baselines(connection: sa.Connection) -> set[str]:
    """Runs of every baseline, in force or not: an old one can be looked at still."""
    return {run for runs in connection.execute(sa.select(BASELINES.c.runs)).scalars() for run in runs}


def _kernel_entries(connection: sa.Connection) -> list[Entry]:
    table = RUNS.c
    query = sa.select(table.run_id, table.started, table.provider, table.engine, table.tier, table.device)
    return [Entry(row[0], row[1], " ".join(row[2:])) for row in connection.execute(query)]


def _evaluation_entries(connection: sa.Connection) -> list[Entry]:
    table = EVALUATIONS.c
    query = sa.select(table.run_id, table.started, table.configuration, table.task, table.header)
    return [
        Entry(run, started, f"{configuration}, {task}{_faults(header)}", str(header.get("repeats", "")))
        for run, started, configuration, task, header in connection.execute(query)
    ]


def _faults(header: dict[str, object]) -> str:
    faults = EvalHeader.model_validate(header).faults
    return f" with {' + '.join(faults)}" if faults else ""
