"""Tables of a history: evaluations, their answers, accepted baselines."""

from __future__ import annotations

import sqlalchemy as sa

VERSION = 1
"""Raised whenever these tables change; a history of another version is refused, not misread."""

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
