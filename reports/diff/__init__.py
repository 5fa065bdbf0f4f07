"""What changed between two runs: a pure function of two results files, base and head."""

from __future__ import annotations

from rocassay.reports.diff.accuracy import EvaluationChange
from rocassay.reports.diff.cases import CasePair, Moved
from rocassay.reports.diff.changes import Changes, compare
from rocassay.reports.diff.codes import CodeChange, CodeWord
from rocassay.reports.diff.versions import VersionChange

__all__ = [
    "CasePair",
    "Changes",
    "CodeChange",
    "CodeWord",
    "EvaluationChange",
    "Moved",
    "VersionChange",
    "compare",
]
