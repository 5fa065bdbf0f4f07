"""How much of its limits a record uses: the one number by which two runs of a case are compared, and by which a drill
says how plainly it saw its fault."""

from __future__ import annotations

import math
from collections.abc import Set
from dataclasses import dataclass

from rocassay.harness.results.schema import CaseRecord, Check

NOT_OF_THE_KERNEL = frozenset({"peer", "inputs-digest"})
"""Gates on the harness itself: their statistic says nothing about the implementation that is judged."""


NOT_A_PRIORI = frozenset({"calibration"})
"""Gates whose limit another run need not have: by these no two runs are compared."""


@dataclass(frozen=True, slots=True)
class WorstUse:
    """The gate of a record that comes closest to its limit, or goes furthest beyond."""

    share: float
    """Statistic / limit; infinite where a gate failed without a number."""
    check: str
    """Name of that gate."""


def usage(check: Check) -> float | None:
    """Statistic / limit of a gate with a positive limit, else None.

    A failed gate without a finite statistic (JSON has no infinity) counts as infinite.
    """
    left_out = check.name in NOT_OF_THE_KERNEL or check.name in NOT_A_PRIORI
    if check.kind != "gate" or left_out or not check.limit or check.limit < 0:
        return None
    if check.statistic is None:
        return None if check.passed else math.inf
    share = check.statistic / check.limit
    return math.inf if math.isnan(share) else share


def worst_usage(record: CaseRecord) -> WorstUse | None:
    """The worst of a record's gates; None when none of them has a limit above 0."""
    used = [WorstUse(share, check.name) for check in record.checks if (share := usage(check)) is not None]
    return max(used, key=lambda use: use.share, default=None)


def strongest(record: CaseRecord, names: Set[str]) -> WorstUse | None:
    """The failed check of those named that goes furthest beyond its limit; None when none of them failed.

    A check that is exact, a probe or a gate that allows nothing, has no noise to stand out from: its share is infinite.
    """
    seen = [_beyond(check) for check in record.checks if not check.passed and check.name in names]
    return max(seen, key=lambda use: use.share, default=None)


def _beyond(check: Check) -> WorstUse:
    share = usage(check)
    return WorstUse(math.inf if share is None else share, check.name)
