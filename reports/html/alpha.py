"""The alpha budget: how many false alarms a run of this size is expected to raise, gate by gate."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rocassay.harness.results import CaseRecord
from rocassay.reports.html.words import number

ROWS_A_CASE = 64
"""Rows that the tail of the worst-row gate is derived for."""

ROW_TAIL_AT_5, ROW_TAIL_FACTOR = 1.9e-4, 6.0
"""Share of rows of sound kernels with t above 5, and by how much it falls for each unit above."""

EXACT = ("bytes", "bound", "nonfinite", "selection")
"""Gates that no implementation of the contract can fail: the limit is a worst case, not a tail."""


@dataclass(frozen=True, slots=True)
class Share:
    """What one gate contributes."""

    gate: str
    judged: str
    """How much it judged, in words."""
    each: str
    """Probability that it lies, each time."""
    expected: float
    """False alarms to be expected in this run."""


@dataclass(frozen=True, slots=True)
class Budget:
    """All gates together."""

    shares: tuple[Share, ...]
    total: float

    @property
    def every(self) -> str:
        """`one false alarm in about 700 such runs`; empty when no gate can lie."""
        if not self.total:
            return ""
        runs = 1 / self.total
        return (
            f"one false alarm in about {number(runs, 2)} such runs" if runs >= 2 else f"{number(self.total, 2)} a run"
        )


def budget(records: Sequence[CaseRecord]) -> Budget:
    """From the limits and counts that the records hold; elements are all of a case's outputs, so at most this many."""
    shares = [*_largest(records), *_rows(records)]
    exact = sum(check.name in EXACT for record in records for check in record.checks)
    if exact:
        shares.append(Share(" · ".join(_present(records)), f"{exact:,} verdicts", "0: a worst case, not a tail", 0.0))
    return Budget(tuple(shares), sum(share.expected for share in shares))


def _present(records: Sequence[CaseRecord]) -> list[str]:
    names = {check.name for record in records for check in record.checks}
    return [name for name in EXACT if name in names]


def _judged(records: Sequence[CaseRecord], gate: str) -> dict[float, list[CaseRecord]]:
    """Records with a verdict of the gate, by its limit."""
    found: dict[float, list[CaseRecord]] = {}
    for record in records:
        limits = {check.limit for check in record.checks if check.name == gate and check.limit}
        for limit in limits:
            found.setdefault(limit, []).append(record)
    return found


def _largest(records: Sequence[CaseRecord]) -> list[Share]:
    found: list[Share] = []
    for limit, judged in _judged(records, "max-z").items():
        tail, count = math.erfc(limit / math.sqrt(2)), sum(record.counts.get("elements", 0) for record in judged)
        words = f"{count:,} elements of {len(judged):,} cases"
        found.append(Share(f"max-z {limit:g}", words, f"{number(tail, 2)} an element", tail * count))
    return found


def _rows(records: Sequence[CaseRecord]) -> list[Share]:
    found: list[Share] = []
    for limit, judged in _judged(records, "worst-row").items():
        tail = ROW_TAIL_AT_5 * ROW_TAIL_FACTOR ** (5 - limit)
        words = f"{len(judged):,} cases, {ROWS_A_CASE} rows each"
        expected = tail * ROWS_A_CASE * len(judged)
        found.append(Share(f"worst-row {limit:g}", words, f"{number(tail, 2)} a row", expected))
    return found
