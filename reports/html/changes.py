"""What changed against the base run, as the page shows it."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from rocassay.harness.results import CaseRecord
from rocassay.reports.diff import CasePair, Changes, EvaluationChange, Moved
from rocassay.reports.html.words import counted, joined, number, plain

FEW = 10
"""Moved cases and reasons that are told one by one."""

SEVERAL = 6
"""Cases of each kind that are told one by one."""

FAILED_BY = 3
"""Ops that a sentence names."""


@dataclass(frozen=True, slots=True)
class Told:
    """One case whose verdict changed."""

    case: str
    fault: str
    before: str
    after: str
    reason: str
    query: str
    kind: str
    """`case` or `drill`."""


@dataclass(frozen=True, slots=True)
class Kind:
    """Cases whose verdicts changed in one way."""

    name: str
    mark: str
    count: int
    told: tuple[Told, ...]
    loud: bool
    """Whether it is worse."""


@dataclass(frozen=True, slots=True)
class Move:
    """One of the cases whose error moved most."""

    case: str
    query: str
    check: str
    base: str
    head: str
    log2: str
    bar: int
    """Percent of half the scale."""
    grew: bool
    beyond: bool
    """Whether the head is beyond its limit."""
    code: str
    """Machine code: `changed`, `same` or `unknown`."""


@dataclass(frozen=True, slots=True)
class Answer:
    """An evaluation in both runs."""

    name: str
    before: str
    after: str
    difference: str
    flips: str
    statuses: tuple[str, str]
    worse: bool


@dataclass(frozen=True, slots=True)
class Comparison:
    """The whole part."""

    worse: tuple[str, ...]
    """Every way in which the head is worse; empty: none."""
    sentence: str
    where: str
    """Ops of the new failures; empty without one."""
    kinds: tuple[Kind, ...]
    moved: tuple[Move, ...]
    moves: int
    """How many cases moved at all."""
    grown: int
    answers: tuple[Answer, ...]
    code: str
    """What is known of the machine code, in words."""
    codes: tuple[tuple[str, str, str], ...]
    """Kernels with other code: op and chip, kernel, cases."""
    versions: tuple[tuple[str, str, str], ...]
    incomparable: tuple[tuple[str, int], ...]
    base: str
    """Commit of the base, or its file."""


def comparison(changes: Changes, source: str) -> Comparison:
    """The view of a comparison with the base that lies in the file `source`."""
    worse = changes.worse()
    sentence = f"{counted(changes.compared, 'case')} compared; " + ("; ".join(worse) if worse else "nothing is worse")
    full = max([1.0, *(abs(move.log2) for move in changes.moved if math.isfinite(move.log2))])
    ops = joined(pair.record.op for pair in changes.new_failures[:2000]).split(", ")
    return Comparison(
        worse=worse,
        sentence=sentence,
        where=_where(ops) if changes.new_failures else "",
        kinds=tuple(kind for kind in _kinds(changes) if kind.count),
        moved=tuple(_move(move, full) for move in changes.moved[:FEW]),
        moves=len(changes.moved),
        grown=len(changes.grown(2.0)),
        answers=tuple(_answer(change) for change in changes.evaluations),
        code=_code(changes),
        codes=tuple(
            (f"{code.op} {code.arch} {code.fp8}", code.kernel, f"{code.cases} of {code.of}") for code in changes.codes
        ),
        versions=tuple((v.name, " and ".join(v.base), " and ".join(v.head)) for v in changes.versions),
        incomparable=tuple(_reasons(changes.incomparable)),
        base=" · ".join(filter(None, (changes.commits[0], source))),
    )


def _where(ops: Sequence[str]) -> str:
    more = f" and {counted(len(ops) - FAILED_BY, 'further op')}" if len(ops) > FAILED_BY else ""
    return ", ".join(ops[:FAILED_BY]) + more


def _kinds(changes: Changes) -> list[Kind]:
    return [
        _kind("new failures", "failed", changes.new_failures, loud=True),
        _kind("drills that no longer see their fault", "failed", changes.unseen, loud=True),
        _kind("newly skipped", "not run", changes.newly_skipped, loud=True),
        _kind("red in both", "failed", changes.still_red, loud=False),
        _kind("fixed", "passed", (*changes.fixed, *changes.newly_seen), loud=False),
        _kind("newly run", "passed", changes.newly_run, loud=False),
    ]


def _kind(name: str, mark: str, pairs: Sequence[CasePair], *, loud: bool) -> Kind:
    return Kind(name, mark, len(pairs), tuple(_told(pair) for pair in pairs[:SEVERAL]), loud)


def _told(pair: CasePair) -> Told:
    record, (before, after) = pair.record, pair.statuses
    return Told(record.case, record.fault or "", before, after, record.reason, _query(record), _kind_of(record))


def _query(record: CaseRecord) -> str:
    return plain(f"^{record.case}" + (f" fault={record.fault};" if record.fault else ""))


def _kind_of(record: CaseRecord) -> str:
    return "case" if record.fault is None else "drill"


def _move(move: Moved, full: float) -> Move:
    """full: |log2| at which the bar is full."""
    record, before, after = move.pair.record, move.base.share, move.head.share
    power = "∞" if math.isinf(move.log2) else f"{abs(move.log2):.1f}"
    return Move(
        record.case,
        _query(record),
        move.head.check,
        number(before, 3),
        number(after, 3),
        ("+" if move.log2 > 0 else "−") + power,
        round(100 * min(1.0, abs(move.log2) / full)),
        move.log2 > 0,
        after > 1,
        move.pair.code,
    )


def _answer(change: EvaluationChange) -> Answer:
    configuration, task, shots, faults = change.subject
    before, after = ("–" if found is None else f"{found[0]:,} / {found[1]:,}" for found in change.counts)
    difference = "–" if change.difference is None else f"{100 * change.difference:+.1f}".replace("-", "−")
    flips = f"{change.lost} lost, {change.gained} gained of {change.shared}" if change.shared else change.incomparable
    worse = change.lost_accuracy or change.skipped or change.unseen
    name = " + ".join((f"{configuration}, {task} with {shots} shots", *faults))
    return Answer(name, before, after, difference, flips, change.statuses, worse)


def _code(changes: Changes) -> str:
    """Whether the machine code is another one: a moved error of unchanged code has another cause."""
    if not changes.code_known:
        return "unknown: one of the runs has no digests of machine code (the interpreter runs none)"
    known = f"known of {changes.code_known:,} of {counted(changes.compared, 'case')}"
    if not changes.codes:
        return f"the same ({known})"
    return f"changed in {counted(len(changes.codes), 'kernel')} ({known})"


def _reasons(pairs: Sequence[CasePair]) -> list[tuple[str, int]]:
    found: dict[str, int] = {}
    for pair in pairs:
        found[pair.incomparable] = found.get(pair.incomparable, 0) + 1
    return sorted(found.items(), key=lambda item: -item[1])[:FEW]
