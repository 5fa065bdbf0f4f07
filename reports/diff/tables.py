"""Changes as tables of texts: what a terminal, Markdown and a page show in the same words and order."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass

from rocassay.harness.results import CaseRecord
from rocassay.reports.diff.accuracy import EvaluationChange
from rocassay.reports.diff.cases import CasePair, Moved
from rocassay.reports.diff.changes import Changes
from rocassay.reports.diff.codes import CodeChange
from rocassay.reports.diff.versions import VersionChange
from rocassay.reports.html.words import counted, duration, number, plain, points, share, shortened

CELL = 400
"""Most characters of a text in a table."""

Row = tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Table:
    """Rows of one kind of change; a kind that did not occur has no table."""

    title: str
    headings: Row
    texts: int
    """Columns from the left that hold words; the others hold numbers."""
    rows: tuple[Row, ...]
    worse: bool = False
    """Whether each of its rows makes the head worse."""


def tables(changes: Changes) -> list[Table]:
    """Every kind of change that occurred, the bad news first."""
    status, drill = (*_CASE, "base", "head", "code", "why"), ("fault", *_CASE, "base", "head", "why")
    made = [
        _table("New failures", status, changes.new_failures, _verdict_row, worse=True),
        _table("Ran in the base, not in the head", drill, changes.newly_skipped, _drill_row, worse=True),
        _table("Faults that were not seen", drill, changes.unseen, _drill_row, worse=True),
        _table("Accuracy", _ACCURACY, changes.evaluations, accuracy_row, texts=4),
        _table("Fixed", status, changes.fixed, _verdict_row),
        _table("Still red", status, changes.still_red, _verdict_row),
        _table("Errors that moved, as shares of their limits", _MOVED, changes.moved, moved_row, texts=3),
        _table("Changed machine code", _CODE, changes.codes, _code_row, texts=6),
        _table("Versions", ("what", "base", "head"), changes.versions, _version_row),
        _table("Faults seen that the base did not see", drill, changes.newly_seen, _drill_row),
        _table("Ran in the head, not in the base", drill, changes.newly_run, _drill_row),
        _table("Not comparable", ("why", "first case", "cases"), _reasons(changes.incomparable), _reason_row, texts=2),
    ]
    return [table for table in made if table.rows]


def _table(
    title: str,
    headings: Row,
    items: Iterable[object],
    row: Callable[..., Row],
    *,
    texts: int | None = None,
    worse: bool = False,
) -> Table:
    rows = tuple(tuple(plain(shortened(text, CELL)) for text in row(item)) for item in items)
    return Table(title, headings, len(headings) if texts is None else texts, rows, worse)


_CASE = ("case", "by")
_ACCURACY = ("evaluation", "base", "head", "verdict", "right in base", "right in head", "lost", "gained", "difference")
_MOVED = ("case", "gate", "code", "base", "head", "log2")
_CODE = ("op", "arch", "fp8", "kernel", "base", "head", "cases")

MOVED_HEADINGS = _MOVED
"""Of `moved_row`."""


def _verdict_row(pair: CasePair) -> Row:
    return (*_who(pair), *pair.statuses, pair.code, _why(pair))


def _drill_row(pair: CasePair) -> Row:
    return (pair.record.fault or "–", *_who(pair), *pair.statuses, _why(pair))


def _who(pair: CasePair) -> tuple[str, str]:
    return pair.record.case, f"{pair.record.provider} on {pair.record.engine}"


def _why(pair: CasePair) -> str:
    """What went wrong, in the head where it did; beside it, why numbers of the base do not count."""
    told = pair.head.reason if pair.head else ""
    if not told and pair.fixed and pair.base:
        told = f"was: {pair.base.reason}"
    return "; ".join(filter(None, (told, pair.incomparable))) or "–"


def moved_row(move: Moved) -> Row:
    """An error that moved: case, gate, whether its code changed, both shares, log2 of their quotient."""
    gates = dict.fromkeys((move.base.check, move.head.check))
    shares = (number(use.share) for use in (move.base, move.head))
    return (move.pair.record.case, " → ".join(gates), move.pair.code, *shares, signed(move.log2))


def signed(value: float) -> str:
    """A logarithm with its sign."""
    if math.isinf(value):
        return "+∞" if value > 0 else "−∞"
    return f"{value:+.2f}".replace("-", "−")


def accuracy_row(change: EvaluationChange) -> Row:
    """An evaluation in both runs; a dash where a run lacks it."""
    configuration, task, shots, faults = change.subject
    name = f"{configuration}, {task}, {shots} shots" + "".join(f" + {fault}" for fault in faults)
    before, after = (
        f"{share(counts[0] / counts[1] if counts[1] else None)} ({counts[0]} of {counts[1]})" if counts else "–"
        for counts in change.counts
    )
    paired = (str(change.lost), str(change.gained)) if change.shared else ("–", "–")
    difference = "–" if change.difference is None else f"{points(change.difference)} of {change.shared}"
    return (name, *change.statuses, _accuracy_word(change), before, after, *paired, difference)


def _accuracy_word(change: EvaluationChange) -> str:
    words = {"worse": change.lost_accuracy, "not measured": change.skipped, "fault not seen": change.unseen}
    found = [word for word, holds in words.items() if holds] or (["recovered"] if change.recovered else [])
    return "; ".join([*found, *([f"not comparable: {change.incomparable}"] if change.incomparable else [])]) or "–"


def _code_row(change: CodeChange) -> Row:
    place = (change.op, change.arch, change.fp8, change.kernel)
    return (*place, change.base or "not launched", change.head or "not launched", f"{change.cases} of {change.of}")


def _version_row(change: VersionChange) -> Row:
    return (change.name, *(" and ".join(values) or "–" for values in (change.base, change.head)))


def _reasons(pairs: Sequence[CasePair]) -> list[tuple[str, CaseRecord, int]]:
    """Reasons with their first case and how many cases they concern; digests of single cases are one reason."""
    found: dict[str, tuple[CaseRecord, int]] = {}
    for pair in pairs:
        why = pair.incomparable.partition(": digest")[0]
        first, count = found.get(why, (pair.record, 0))
        found[why] = first, count + 1
    return [(why, first, count) for why, (first, count) in found.items()]


def _reason_row(reason: tuple[str, CaseRecord, int]) -> Row:
    why, first, count = reason
    return why, first.case, str(count)


def remarks(changes: Changes) -> list[str]:
    """What the tables do not say: how much was compared, of how many cases the code is known, wall times."""
    said = [f"{counted(changes.compared, 'case')} compared, {len(changes.moved):,} with another worst error"]
    unknown = changes.compared - changes.code_known
    if unknown:
        said.append(f"whether the machine code changed is unknown for {counted(unknown, 'case')}: no digests on record")
    elif changes.compared and not changes.codes:
        said.append("the machine code is the same everywhere")
    before, after = ("unknown" if seconds is None else duration(seconds) for seconds in changes.wall)
    return [*said, f"wall time: {before} in the base, {after} in the head"]
