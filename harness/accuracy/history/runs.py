"""The store of runs of kernel cases: their verdicts, the few numbers that trends need, the duration of each case."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import asdict, dataclass, fields
from typing import Any

import sqlalchemy as sa

from rocassay.harness.accuracy.history.database import Database
from rocassay.harness.accuracy.history.summing import (
    KernelCounts,
    KernelRun,
    Series,
    Took,
    counts_of,
    durations_of,
    kernel_run_of,
    series_of,
)
from rocassay.harness.accuracy.history.tables import DURATIONS, KERNELS, RUNS, SERIES
from rocassay.harness.results import Assay

_RUN_COLUMNS = tuple(field.name for field in fields(KernelRun))

CHUNK = 500
"""Cases named in one statement."""


@dataclass(frozen=True, slots=True)
class StoredRun:
    """A run with all its series."""

    run: KernelRun
    series: tuple[Series, ...]
    counts: tuple[KernelCounts, ...]


class KernelRuns:
    """Runs of kernel cases in a history."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def append(self, assay: Assay) -> KernelRun:
        """Store the run of a results file, in one transaction; one of the same run id is replaced.

        Raises HistoryError for a shard, for a run that was cut short, and for a file without healthy cases.
        """
        run, series, counts = kernel_run_of(assay), series_of(assay.cases), counts_of(assay.cases)
        took = durations_of(assay.records)
        with self._database.writing() as connection:
            drop_runs(connection, [run.run_id])
            key = connection.execute(RUNS.insert().values(**_run_row(run))).inserted_primary_key
            number = key[0] if key else 0
            connection.execute(SERIES.insert(), [{"number": number, **asdict(one)} for one in series])
            if counts:
                connection.execute(KERNELS.insert(), [{"number": number, **asdict(one)} for one in counts])
            _keep_newest(connection, took, run.started)
        return run

    def runs(self) -> list[KernelRun]:
        """All runs, oldest first."""
        columns: list[sa.Column[Any]] = [RUNS.c[name] for name in _RUN_COLUMNS]
        query: sa.Select[Any] = sa.select(*columns).order_by(RUNS.c.started, RUNS.c.run_id)
        with self._database.reading() as connection:
            return [_run(row) for row in connection.execute(query).mappings()]

    def stored(self, op: str = "") -> list[StoredRun]:
        """All runs with their series, oldest first; `op`: only the series of this one."""
        with self._database.reading() as connection:
            series = _by_run(connection, SERIES, Series, op)
            counts = _by_run(connection, KERNELS, KernelCounts, op)
        return [
            StoredRun(run, tuple(series.get(run.run_id, ())), tuple(counts.get(run.run_id, ()))) for run in self.runs()
        ]

    def durations(self, engine: str, provider: str) -> dict[tuple[str, str], int]:
        """Microseconds that each (case, fault) took when it last ran; the fault is empty for a healthy case."""
        table = DURATIONS.c
        query = sa.select(table.case_id, table.fault, table.microseconds)
        query = query.where(table.engine == engine, table.provider == provider)
        with self._database.reading() as connection:
            return {(row.case_id, row.fault): row.microseconds for row in connection.execute(query)}


def drop_runs(connection: sa.Connection, runs: Sequence[str]) -> None:
    """Remove runs with all that they measured; durations stay, they are of cases and not of runs."""
    numbers = sa.select(RUNS.c.number).where(RUNS.c.run_id.in_(list(runs)))
    for table in (SERIES, KERNELS):
        connection.execute(table.delete().where(table.c.number.in_(numbers)))
    connection.execute(RUNS.delete().where(RUNS.c.run_id.in_(list(runs))))


def _keep_newest(connection: sa.Connection, took: Sequence[Took], started: str) -> None:
    """Note durations, unless a later run noted one: files may be added in any order."""
    groups: dict[tuple[str, str, str], list[Took]] = {}
    for one in took:
        groups.setdefault((one.engine, one.provider, one.fault), []).append(one)
    for (engine, provider, fault), group in groups.items():
        table = DURATIONS.c
        same = sa.and_(table.engine == engine, table.provider == provider, table.fault == fault)
        for at in range(0, len(group), CHUNK):
            part = group[at : at + CHUNK]
            mine = sa.and_(same, table.case_id.in_([one.case_id for one in part]))
            connection.execute(DURATIONS.delete().where(mine, table.started <= started))
            later = set(connection.execute(sa.select(table.case_id).where(mine)).scalars())
            rows = [{**asdict(one), "started": started} for one in part if one.case_id not in later]
            if rows:
                connection.execute(DURATIONS.insert(), rows)


def _run_row(run: KernelRun) -> dict[str, Any]:
    return {**asdict(run), "reasons": list(run.reasons)}


def _run(row: Any) -> KernelRun:
    values: dict[str, Any] = dict(row)
    values["reasons"] = tuple(values["reasons"])
    return KernelRun(**values)


def _by_run(connection: sa.Connection, table: sa.Table, kind: Any, op: str) -> dict[str, list[Any]]:
    columns: list[sa.Column[Any]] = [table.c[name] for name in (field.name for field in fields(kind))]
    query: sa.Select[Any] = sa.select(RUNS.c.run_id, *columns).join(RUNS, RUNS.c.number == table.c.number)
    query = query.order_by(*table.primary_key.columns)
    if op:
        query = query.where(table.c.op == op)
    found: dict[str, list[Any]] = {}
    for run, *values in connection.execute(query):
        found.setdefault(run, []).append(kind(*values))
    return found
