"""The same cases in two runs: which of them can be compared, what became of their verdicts, whose errors moved."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import TypeAlias

from rocassay.harness.results import GREEN, RAN, Assay, CaseRecord, Status, WorstUse, worst_usage
from rocassay.reports.diff.codes import CodeWord, word_of

Key: TypeAlias = "tuple[str, str, str, str | None]"
"""`CaseRecord.key`."""

MISSING = "missing"
"""Status of a case without a record."""

NEGLIGIBLE = 1e-3
"""Share of its limit below which an error counts as this share: from 1e-9 to 1e-8 nothing has moved."""


@dataclass(frozen=True, slots=True)
class CasePair:
    """One case of one provider on one engine, with one fault or none, in both runs; a record is None where it lacks."""

    base: CaseRecord | None
    head: CaseRecord | None
    incomparable: str = ""
    """Why the numbers of the two cannot be compared, in words; empty where they can, or where a record lacks."""

    @property
    def record(self) -> CaseRecord:
        """The head's record, or the base's where the head has none."""
        record = self.head or self.base
        assert record is not None
        return record

    @property
    def key(self) -> Key:
        """Case, provider, engine, fault."""
        return self.record.key

    @property
    def statuses(self) -> tuple[str, str]:
        """Statuses in base and head; `missing` where there is no record."""
        before, after = (record.status.value if record else MISSING for record in (self.base, self.head))
        return before, after

    @property
    def code(self) -> CodeWord:
        """Whether the case ran other machine code."""
        return word_of(self.base.codes if self.base else {}, self.head.codes if self.head else {})

    @property
    def failed(self) -> bool:
        """Red in the head and not in the base."""
        return _is_red(self.head) and not _is_red(self.base)

    @property
    def fixed(self) -> bool:
        """Red in the base and green in the head."""
        return _is_red(self.base) and self.head is not None and self.head.status in GREEN

    @property
    def still_red(self) -> bool:
        """Red in both."""
        return _is_red(self.base) and _is_red(self.head)

    @property
    def skipped(self) -> bool:
        """Ran to its end in the base, not run or missing in the head."""
        return _ran(self.base) and (self.head is None or self.head.status is Status.NOT_RUN)

    @property
    def newly_run(self) -> bool:
        """Not run or missing in the base, ran to its end in the head."""
        return _ran(self.head) and (self.base is None or self.base.status is Status.NOT_RUN)

    @property
    def comparable(self) -> bool:
        """Whether both runs tried the case in the same way."""
        return _tried(self.base) and _tried(self.head) and not self.incomparable

    @property
    def unseen(self) -> bool:
        """Of a drill: the head injected the fault and did not see it; the base saw it, or did not inject it."""
        return _tried(self.head) and not _saw(self.head) and (_saw(self.base) or not _tried(self.base))

    @property
    def newly_seen(self) -> bool:
        """Of a drill: the head saw the fault; the base injected it and did not."""
        return _saw(self.head) and _tried(self.base) and not _saw(self.base)


@dataclass(frozen=True, slots=True)
class Moved:
    """A case whose worst error, as a share of its limit, is another one."""

    pair: CasePair
    base: WorstUse
    head: WorstUse

    @property
    def log2(self) -> float:
        """log2(head / base), 1 for an error that doubled; what is below `NEGLIGIBLE` counts as that."""
        before, after = (max(use.share, NEGLIGIBLE) for use in (self.base, self.head))
        return 0.0 if before == after else math.log2(after) - math.log2(before)


def _is_red(record: CaseRecord | None) -> bool:
    return record is not None and record.status not in GREEN and record.status is not Status.NOT_RUN


def _tried(record: CaseRecord | None) -> bool:
    return record is not None and record.status is not Status.NOT_RUN


def _saw(record: CaseRecord | None) -> bool:
    return record is not None and record.status is Status.FAILED


def _ran(record: CaseRecord | None) -> bool:
    return record is not None and record.status in RAN


def pairs_of(base: Assay, head: Assay) -> list[CasePair]:
    """Every case of either run, in the order of the head; those that only the base has follow."""
    before = {record.key: record for record in base.records}
    after = {record.key: record for record in head.records}
    judges_before, judges_after = _judges(base.records), _judges(head.records)
    tiers = tuple(" and ".join(_tiers(assay)) for assay in (base, head))
    found: list[CasePair] = []
    for key in {**after, **before}:
        one, other = before.get(key), after.get(key)
        if one and other:
            why = _unlike(one, other)
        elif one:
            why = _elsewhere("base", one, judges_after) or _other_tiers(tiers)
        else:
            why = _elsewhere("head", after[key], judges_before) or _other_tiers(tiers)
        found.append(CasePair(one, other, why))
    return found


def _unlike(base: CaseRecord, head: CaseRecord) -> str:
    if base.tier != head.tier:
        return f"tier {base.tier} in the base, {head.tier} in the head"
    if base.digest and head.digest and base.digest != head.digest:
        return f"other inputs: digest {base.digest} in the base, {head.digest} in the head"
    return ""


def _judges(records: Iterable[CaseRecord]) -> dict[tuple[str, str | None], list[str]]:
    """Who judged a case with a fault on what."""
    found: dict[tuple[str, str | None], list[str]] = {}
    for record in records:
        found.setdefault((record.case, record.fault), []).append(f"{record.provider} on {record.engine}")
    return found


def _elsewhere(where: str, record: CaseRecord, others: Mapping[tuple[str, str | None], Sequence[str]]) -> str:
    """That the other run has the case of another provider or engine; empty where it does not have it at all."""
    found = others.get((record.case, record.fault))
    other = "head" if where == "base" else "base"
    mine = f"{record.provider} on {record.engine}"
    return f"{mine} in the {where}, {' and '.join(found)} in the {other}" if found else ""


def _tiers(assay: Assay) -> list[str]:
    return sorted({line.tier for line in assay.headers} or {record.tier for record in assay.records})


def _other_tiers(tiers: tuple[str, ...]) -> str:
    before, after = tiers
    return f"tier {before} in the base, {after} in the head" if before and after and before != after else ""


def moved(pairs: Iterable[CasePair]) -> tuple[Moved, ...]:
    """Comparable cases without a fault whose worst error moved, the most moved first, of equals the larger error."""
    found: list[Moved] = []
    for pair in pairs:
        if pair.base is None or pair.head is None or not pair.comparable or pair.head.fault is not None:
            continue
        before, after = worst_usage(pair.base), worst_usage(pair.head)
        if before and after and (move := Moved(pair, before, after)).log2:
            found.append(move)
    return tuple(sorted(found, key=lambda move: (-abs(move.log2), -move.head.share, move.pair.record.case)))
