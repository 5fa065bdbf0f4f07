"""What a record says in one number or word: use of its limits, rank of its status."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from rocassay.harness.results import NOT_OF_THE_KERNEL, CaseRecord, Coordinate, Status, usage
from rocassay.reports.html.words import number

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


@dataclass(frozen=True, slots=True)
class Use:
    """How much of their limits some records use."""

    share: float | None
    """Largest statistic / limit; None when no gate has a limit above 0."""
    check: str
    """Name of that gate."""
    differs: bool
    """Whether a gate that allows no difference failed."""
    judged: bool
    """Whether any gate was recorded."""

    @property
    def word(self) -> str:
        """The number, `exact`, `differs`, or a dash when nothing was judged."""
        if self.differs and (self.share is None or self.share <= 1):
            return "differs"
        if self.share is None:
            return "exact" if self.judged else "–"
        return f"{self.share:.2f}" if self.share < 10 else number(self.share, 2)


def worst_use(records: Iterable[CaseRecord]) -> Use:
    """The gate that comes closest to its limit, or goes furthest beyond."""
    gates = [check for record in records for check in record.checks if check.kind == "gate"]
    own = [check for check in gates if check.name not in NOT_OF_THE_KERNEL]
    used = [(share, check.name) for check in own if (share := usage(check)) is not None]
    share, name = max(used, key=lambda pair: pair[0], default=(None, ""))
    return Use(share, name, any(not check.passed and usage(check) is None for check in own), bool(own))


def failed_checks(records: Iterable[CaseRecord]) -> dict[str, int]:
    """Records per name of a check that failed in them, most frequent first."""
    counts: dict[str, int] = {}
    for record in records:
        for name in dict.fromkeys(check.name for check in record.checks if not check.passed):
            counts[name] = counts.get(name, 0) + 1
    return dict(sorted(counts.items(), key=lambda item: -item[1]))


def place_of(coordinate: Coordinate | None) -> str:
    """Block, token and byte, or the element of the output where the place is in no cache; empty for None."""
    if coordinate is None:
        return ""
    named = {name: getattr(coordinate, name) for name in ("block", "token", "byte")}
    place = ", ".join(f"{name} {value}" for name, value in named.items() if value is not None)
    return place or f"{coordinate.output}{list(coordinate.index)}"
