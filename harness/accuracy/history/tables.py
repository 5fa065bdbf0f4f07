"""Tables of a history: evaluations, their answers, accepted baselines; runs of kernel cases and what they measured."""

from __future__ import annotations

from typing import Any

import sqlalchemy as sa

VERSION = 2
"""Raised whenever these tables change. Version 1 had no runs of kernel cases: it is upgraded by adding their tables."""

META = sa.MetaData()

VERSIONS = sa.Table("rocassay_history", META, sa.Column("version", sa.Integer, primary_key=True, autoincrement=False))
"""One row: the version of the other tables."""

EVALUATIONS = sa.Table(
    "evaluations",
    META,
    sa.Column("run_id", sa.String(64), primary_key=True),
    sa.Column("configuration", sa.String(400), index=True),
    sa.Column("task", sa.String(200)),
    sa.Column("healthy", sa.Boolean),
    sa.Column("started", sa.String(40), index=True),
    sa.Column("status", sa.String(40)),
    sa.Column("header", sa.JSON),
    sa.Column("verdict", sa.JSON),
)

ANSWERS = sa.Table(
    "answers",
    META,
    sa.Column("run_id", sa.String(64), sa.ForeignKey("evaluations.run_id"), primary_key=True),
    sa.Column("question", sa.String(200), primary_key=True),
    sa.Column("correct", sa.Boolean),
    sa.Column("answered", sa.Boolean),
    sa.Column("finish", sa.String(10)),
    sa.Column("tokens", sa.Integer),
    sa.Column("answer", sa.JSON),
)
"""What the statistics need has columns of its own: a baseline is read without a single text."""

BASELINES = sa.Table(
    "baselines",
    META,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("configuration", sa.String(400), index=True),
    sa.Column("task", sa.String(200)),
    sa.Column("runs", sa.JSON),
    sa.Column("who", sa.String(200)),
    sa.Column("why", sa.Text),
    sa.Column("accepted", sa.String(40)),
    sa.Column("evidence", sa.JSON),
)

RUNS = sa.Table(
    "runs",
    META,
    sa.Column("number", sa.Integer, primary_key=True, autoincrement=True),
    sa.Column("run_id", sa.String(64), unique=True),
    sa.Column("started", sa.String(40), index=True),
    sa.Column("finished", sa.String(40)),
    sa.Column("seconds", sa.Float(53)),
    sa.Column("tier", sa.String(20)),
    sa.Column("provider", sa.String(100)),
    sa.Column("engine", sa.String(40)),
    sa.Column("device", sa.String(200)),
    sa.Column("revision", sa.String(64)),
    sa.Column("command", sa.Text),
    sa.Column("versions", sa.JSON),
    sa.Column("status", sa.String(10)),
    sa.Column("reasons", sa.JSON),
    sa.Column("cases", sa.Integer),
    sa.Column("not_passed", sa.Integer),
    sa.Column("drills", sa.Integer),
)
"""Runs of kernel cases; the short number stands for the run in the tables below."""


def _group() -> list[sa.Column[Any]]:
    """What a run's records are grouped by."""
    return [
        sa.Column("number", sa.Integer, sa.ForeignKey("runs.number"), primary_key=True, autoincrement=False),
        sa.Column("op", sa.String(100), primary_key=True),
        sa.Column("arch", sa.String(20), primary_key=True),
        sa.Column("fp8", sa.String(20), primary_key=True),
        sa.Column("engine", sa.String(40), primary_key=True),
    ]


SERIES = sa.Table(
    "series",
    META,
    *_group(),
    sa.Column("digest", sa.String(12)),
    sa.Column("cases", sa.Integer),
    sa.Column("not_passed", sa.Integer),
    sa.Column("worst_t", sa.Float(53)),
    sa.Column("worst_z", sa.Float(53)),
    sa.Column("bound_use", sa.Float(53)),
    sa.Column("peer_rms_z", sa.Float(53)),
    sa.Column("seconds", sa.Float(53)),
    sa.Column("median_seconds", sa.Float(53)),
    sqlite_with_rowid=False,
)
"""What each group measured; the digest is that of its case ids, since only equal cases are comparable."""

KERNELS = sa.Table(
    "kernels",
    META,
    *_group(),
    sa.Column("kernels", sa.String(400), primary_key=True),
    sa.Column("counts", sa.JSON),
    sqlite_with_rowid=False,
)
"""What the machine code of each group's kernels cost, where the engine counts it."""

DURATIONS = sa.Table(
    "durations",
    META,
    sa.Column("engine", sa.String(40), primary_key=True),
    sa.Column("provider", sa.String(100), primary_key=True),
    sa.Column("fault", sa.String(100), primary_key=True),
    sa.Column("case_id", sa.String(600), primary_key=True),
    sa.Column("microseconds", sa.BigInteger),
    sa.Column("started", sa.String(40)),
    sqlite_with_rowid=False,
)
"""What each case, or drill, took when it last ran: not a row a run. An integer, so that every machine cuts alike."""
