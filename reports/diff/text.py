"""Changes for programs."""

from __future__ import annotations

import json
import math
from dataclasses import asdict
from typing import Any

from rocassay.reports.diff.accuracy import EvaluationChange
from rocassay.reports.diff.cases import CasePair, Moved
from rocassay.reports.diff.changes import Changes

CASES = ("new_failures", "fixed", "still_red", "newly_skipped", "newly_run", "unseen", "newly_seen", "incomparable")
"""Members of `Changes` that hold cases."""


def as_json(changes: Changes, *, limit: int | None = None, max_ratio: float | None = None) -> str:
    """Everything as one JSON object; an infinite number is the word `inf`.

    limit: most entries of each list, `counts` holds all of them; None: no limit.
    """
    lists: dict[str, list[Any]] = {name: [_case(pair) for pair in getattr(changes, name)] for name in CASES}
    lists["moved"] = [_moved(move) for move in changes.moved]
    lists["codes"] = [asdict(code) for code in changes.codes]
    lists["evaluations"] = [_evaluation(change) for change in changes.evaluations]
    lists["versions"] = [asdict(version) for version in changes.versions]
    told = {
        "worse": changes.worse(max_ratio),
        "compared": changes.compared,
        "code_known": changes.code_known,
        "counts": {name: len(items) for name, items in lists.items()},
        "commits": {"base": changes.commits[0], "head": changes.commits[1]},
        "seconds": {"base": changes.wall[0], "head": changes.wall[1]},
        **{name: items[:limit] for name, items in lists.items()},
    }
    return json.dumps(told, indent=1) + "\n"


def _case(pair: CasePair) -> dict[str, Any]:
    case, provider, engine, fault = pair.key
    before, after = pair.statuses
    record = pair.record
    return {
        "case": case, "provider": provider, "engine": engine, "fault": fault, "base": before, "head": after,
        "reason": record.reason, "first_wrong": str(record.first_wrong) if record.first_wrong else "",
        "code": pair.code, "incomparable": pair.incomparable, "repro": record.repro,
    }  # fmt: skip


def _moved(move: Moved) -> dict[str, Any]:
    shares = {
        "base": {"share": _finite(move.base.share), "check": move.base.check},
        "head": {"share": _finite(move.head.share), "check": move.head.check},
    }
    return {"case": move.pair.record.case, "code": move.pair.code, "log2": _finite(move.log2), **shares}


def _evaluation(change: EvaluationChange) -> dict[str, Any]:
    configuration, task, shots, faults = change.subject
    sides = zip(("base", "head"), change.statuses, change.counts, strict=True)
    told = {
        side: {"status": status, "correct": counts[0] if counts else None, "asked": counts[1] if counts else None}
        for side, status, counts in sides
    }
    return {
        "configuration": configuration, "task": task, "shots": shots, "faults": faults, **told,
        "shared": change.shared, "lost": change.lost, "gained": change.gained, "difference": change.difference,
        "incomparable": change.incomparable,
    }  # fmt: skip


def _finite(value: float) -> float | str:
    return value if math.isfinite(value) else str(value)
