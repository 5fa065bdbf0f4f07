"""Evaluations over time: every answer of every run, and the baselines that people accepted.

SQLite in a file by default; any database that SQLAlchemy reaches by its URL, PostgreSQL for a team.
"""

from __future__ import annotations

from rocassay.harness.accuracy.history.accepting import Baseline
from rocassay.harness.accuracy.history.database import HistoryError
from rocassay.harness.accuracy.history.store import History

__all__ = ["Baseline", "History", "HistoryError"]
