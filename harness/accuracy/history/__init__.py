"""Evaluations over time: every answer of every run, and the baselines that people accepted; runs of kernel cases, in
the few numbers that trends need.

SQLite in a file by default; any database that SQLAlchemy reaches by its URL, PostgreSQL for a team.
"""

from __future__ import annotations

from rocassay.harness.accuracy.history.accepting import Baseline
from rocassay.harness.accuracy.history.database import HistoryError, SetAside
from rocassay.harness.accuracy.history.retention import Entry, Limits, Pruned
from rocassay.harness.accuracy.history.runs import KernelRuns, StoredRun
from rocassay.harness.accuracy.history.store import History
from rocassay.harness.accuracy.history.summing import KernelCounts, KernelRun, Series

__all__ = [
    "Baseline",
    "Entry",
    "History",
    "HistoryError",
    "KernelCounts",
    "KernelRun",
    "KernelRuns",
    "Limits",
    "Pruned",
    "Series",
    "SetAside",
    "StoredRun",
]
