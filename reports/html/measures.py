"""What a record says in one number or word: use of its limits, rank of its status."""

from __future__ import annotations

import math
from collections.abc import Iterable

from rocassay.harness.results import CaseRecord, Check, Status

NOT_OF_THE_KERNEL = frozenset({"peer", "inputs-digest"})
"""Gates on the harness itself: their statistic says nothing about the implementation that is judged."""

SEVERITY = (
    Status.FAILED,
    Status.CRASHED,
    Status.TIMED_OUT,
    Status.INVALID,
    Status.BLIND,
    Status.NOT_RUN,
    Status.KNOWN,
    Status.PASSED,
)
"""Worst news first."""

BROKEN = frozenset({Status.FAILED, Status.CRASHED, Status.TIMED_OUT})
"""The implementation is at fault."""

DOUBTFUL = frozenset({Status.BLIND, Status.INVALID})
"""The case says nothing about the implementation."""


def usage(check: Check) -> float | None:
    """Statistic / limit of a gate with a positive limit, else None.

    A failed gate without a finite statistic (JSON has no infinity) counts as infinite.
    """
    if check.kind != "gate" or check.name in NOT_OF_THE_KERNEL or not check.limit or check.limit < 0:
        return None
    if check.statistic is None:
        return None if check.passed else math.inf
    share = check.statistic / check.limit
    return math.inf if math.isnan(share) else share


def worst_check(records: Iterable[CaseRecord]) -> tuple[float, Check] | None:
    """The check that uses most of its limit, with that use; None when every gate is exact."""
    used = ((share, check) for record in records for check in record.checks if (share := usage(check)) is not None)
    return max(used, key=lambda pair: pair[0], default=None)


def failed_checks(records: Iterable[CaseRecord]) -> dict[str, int]:
    """Records per name of a check that failed in them, most frequent first."""
    counts: dict[str, int] = {}
    for record in records:
        for name in dict.fromkeys(check.name for check in record.checks if not check.passed):
            counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))
