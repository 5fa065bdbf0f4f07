"""Our gates beside those of other projects: of the defects that changed an output, what would each have missed?"""

from __future__ import annotations

import json
from collections.abc import Callable, Iterable, Sequence
from dataclasses import asdict, dataclass

from rocassay.harness.results import NOT_OF_THE_KERNEL, Assay, CaseRecord, Status
from rocassay.harness.results.mutants import MutantRecord

OURS = "rocassay"
"""Name of this harness's row."""


@dataclass(frozen=True, slots=True)
class GateRow:
    """What one rule says of outputs that an injected defect changed, and of healthy ones."""

    rule: str
    seen: int
    """Changed outputs that it fails."""
    changed: int
    """Cases in which the defect changed a bit of an output with floating-point numbers, and the rule has a say."""
    missed: tuple[str, ...]
    """Defects that it fails in none of their cases."""
    defects: int
    """Defects with a changed output."""
    false_reds: int
    """Healthy cases that it fails."""
    healthy: int
    """Healthy cases on which it has a say."""


def gate_table(assay: Assay) -> list[GateRow]:
    """Our row, then one a rule in the order of the records; empty when no defect changed such an output."""
    healthy = {record.case: record for record in assay.cases if record.customary}
    changed = [record for record in assay.drills if _changed(record, healthy.get(record.case))]
    rules = dict.fromkeys(rule for record in [*changed, *healthy.values()] for rule in record.customary)
    if not changed:
        return []
    ours = _row(OURS, changed, healthy.values(), _our_gates_fail)
    return [ours, *(_row(rule, changed, healthy.values(), _fails(rule)) for rule in rules)]


def mutant_table(records: Iterable[MutantRecord]) -> list[GateRow]:
    """A row a rule that was asked about killed mutants; our own row would be empty by definition: it killed them."""
    asked = [record for record in records if record.customary]
    rules = dict.fromkeys(rule for record in asked for rule in record.customary)
    return [_mutant_row(rule, asked) for rule in rules]


def _mutant_row(rule: str, asked: Iterable[MutantRecord]) -> GateRow:
    uses = {record.id: use for record in asked if (use := record.customary.get(rule)) is not None}
    missed = tuple(name for name, use in uses.items() if use <= 1)
    seen = len(uses) - len(missed)
    return GateRow(rule, seen=seen, changed=len(uses), missed=missed, defects=len(uses), false_reds=0, healthy=0)


def _changed(record: CaseRecord, healthy: CaseRecord | None) -> bool:
    """Whether the defect changed bits of the output; without a healthy run of the case, whether anything saw it."""
    if not record.customary:
        return False
    if healthy is None:
        return record.status is Status.FAILED or any(use > 1 for use in record.customary.values())
    return record.produced != healthy.produced


def _our_gates_fail(record: CaseRecord) -> bool:
    """Whether a gate is red; probes are left out, as the other rules judge values alone."""
    gates = (check for check in record.checks if check.kind == "gate" and check.name not in NOT_OF_THE_KERNEL)
    return any(not check.passed for check in gates)


def _fails(rule: str) -> Callable[[CaseRecord], bool | None]:
    def fails(record: CaseRecord) -> bool | None:
        use = record.customary.get(rule)
        return None if use is None else not use <= 1

    return fails


def _row(
    rule: str,
    changed: Iterable[CaseRecord],
    healthy: Iterable[CaseRecord],
    fails: Callable[[CaseRecord], bool | None],
) -> GateRow:
    verdicts = [(record.fault or "", verdict) for record in changed if (verdict := fails(record)) is not None]
    defects = dict.fromkeys(fault for fault, _ in verdicts)
    seen = {fault for fault, verdict in verdicts if verdict}
    quiet = [verdict for record in healthy if (verdict := fails(record)) is not None]
    return GateRow(
        rule=rule,
        seen=sum(verdict for _, verdict in verdicts),
        changed=len(verdicts),
        missed=tuple(fault for fault in defects if fault not in seen),
        defects=len(defects),
        false_reds=sum(quiet),
        healthy=len(quiet),
    )


HEADINGS = ("rule", "wrong outputs missed", "of", "defects never seen", "of", "healthy cases failed", "of")


def cells(row: GateRow) -> tuple[str, ...]:
    """The row as texts, in the order of HEADINGS."""
    return (
        row.rule,
        *(str(row.changed - row.seen), str(row.changed)),
        *(str(len(row.missed)), str(row.defects)),
        *(str(row.false_reds), str(row.healthy)),
    )


def markdown(rows: Sequence[GateRow]) -> str:
    """The table for a README or a step summary."""
    lines = (HEADINGS, ("---", *["--:"] * (len(HEADINGS) - 1)), *map(cells, rows))
    return "".join(f"| {' | '.join(line)} |\n" for line in lines)


def as_json(rows: Sequence[GateRow]) -> str:
    """The rows for programs."""
    return json.dumps([asdict(row) for row in rows], indent=1) + "\n"
