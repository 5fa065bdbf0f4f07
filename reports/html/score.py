"""The fault score: of the defects that were injected, how many were caught, per op and per check."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from rocassay.harness.results import Assay, CaseRecord, Status
from rocassay.reports.html.drills import Drill
from rocassay.reports.html.measures import failed_checks
from rocassay.reports.html.words import plain


@dataclass(frozen=True, slots=True)
class Score:
    """Faults of one class."""

    name: str
    caught: int
    """Faults with a red case, where all cases of them are red."""
    injected: int
    query: str = ""
    """Filter of the case table."""


@dataclass(frozen=True, slots=True)
class Sight:
    """What one check saw."""

    check: str
    faults: int
    alone: int
    """Faults that no other check saw: what would be missed without it."""


@dataclass(frozen=True, slots=True)
class FaultScore:
    """The score of a run."""

    caught: int
    injected: int
    red: int
    run: int
    """Drill cases that went red, of all."""
    survivors: tuple[str, ...]
    by_op: tuple[Score, ...]
    by_check: tuple[Sight, ...]

    @property
    def share(self) -> int:
        """Percent caught, rounded down: only all is 100."""
        return 100 * self.caught // self.injected if self.injected else 0


def fault_score(assay: Assay, drills: Sequence[Drill]) -> FaultScore:
    """The score of every fault that was asked for or injected."""
    caught = [drill.fault for drill in drills if drill.state == "caught"]
    survivors = tuple(drill.fault for drill in drills if drill.state != "caught")
    red = sum(record.status is Status.FAILED for record in assay.drills)
    by_op = tuple(_by_op(assay.drills))
    return FaultScore(len(caught), len(drills), red, len(assay.drills), survivors, by_op, tuple(_sights(assay.drills)))


def _by_op(records: Iterable[CaseRecord]) -> list[Score]:
    faults: dict[str, dict[str, bool]] = {}
    for record in records:
        seen, name = faults.setdefault(record.op, {}), record.fault or ""
        seen[name] = seen.get(name, True) and record.status is Status.FAILED
    found = [Score(op, sum(seen.values()), len(seen), plain(f"^{op}:")) for op, seen in faults.items()]
    return sorted(found, key=lambda score: (score.caught == score.injected, score.name))


def _sights(records: Iterable[CaseRecord]) -> list[Sight]:
    seen: dict[str, set[str]] = {}
    for record in records:
        if record.status is Status.FAILED:
            seen.setdefault(record.fault or "", set()).update(failed_checks([record]))
    names = dict.fromkeys(name for checks in seen.values() for name in sorted(checks))
    found = [
        Sight(name, sum(name in checks for checks in seen.values()), sum(checks == {name} for checks in seen.values()))
        for name in names
    ]
    return sorted(found, key=lambda sight: (-sight.faults, sight.check))
