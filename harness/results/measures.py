"""What a group of records measured: how many passed, how near the limits the worst of them came, what they cost."""

from __future__ import annotations

import math
import statistics
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rocassay.harness.results.schema import CaseRecord, Check, Status

COSTS = (
    "launches",
    "wave_instructions",
    "mfma_operations",
    "bytes_read",
    "bytes_written",
    "lds_bytes_read",
    "lds_bytes_written",
    "lds_conflicts",
    "scratch_bytes",
    "barriers",
)
"""Counts of machine code of which more is worse."""


@dataclass(frozen=True, slots=True)
class Measures:
    """Numbers of a group of records; None where nothing was measured."""

    cases: int
    not_passed: int
    """Cases with any status but `passed`."""
    worst_t: float | None
    """Largest worst-row t; the gate is one-sided, so a row that is better than planned is no news."""
    worst_z: float | None
    """Largest |z| of an element."""
    mean_z: float | None
    """Largest |mean z| of a case: a bias, such as truncation instead of rounding."""
    peer_rms_z: float | None
    """rms z of the torch peer where it is furthest from 1, of cases with elements enough to judge it."""
    bound_use: float | None
    """Largest share of the hard bound that an error used."""
    seconds: float
    """All phases of all cases; inputs and golden that two architectures share count in both."""
    median_seconds: float
    """Of a case."""


def measured(records: Sequence[CaseRecord]) -> Measures:
    """The measures of a group of at least one record."""
    checks = [check for record in records for check in record.checks]
    peers = [z for check in checks if check.name == "peer" and (z := check.statistic) is not None]
    spent = [seconds_of(record) for record in records]
    return Measures(
        cases=len(records),
        not_passed=sum(record.status is not Status.PASSED for record in records),
        worst_t=_largest(_statistics(checks, "worst-row")),
        worst_z=_largest(_statistics(checks, "max-z")),
        mean_z=_largest(abs(z) for check in checks if (z := check.metrics.get("mean_z")) is not None),
        peer_rms_z=max(peers, key=lambda z: abs(z - 1), default=None),
        bound_use=_largest(_statistics(checks, "bound")),
        seconds=sum(spent),
        median_seconds=statistics.median(spent),
    )


def seconds_of(record: CaseRecord) -> float:
    """What the case took, all phases together."""
    return sum(record.timings.values())


def _statistics(checks: Iterable[Check], name: str) -> Iterable[float]:
    """Statistics of a gate; one that failed without a number counts as infinite."""
    for check in checks:
        if check.name == name and (check.statistic is not None or not check.passed):
            yield math.inf if check.statistic is None or math.isnan(check.statistic) else check.statistic


def _largest(values: Iterable[float]) -> float | None:
    return max(values, default=None)
