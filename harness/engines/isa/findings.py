"""What a launch did that no value shows: accesses outside tensors, races, results used too early; a sentence each."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from typing import TypeAlias

import numpy as np

from rocassay.harness.engines.base import FindingKind as Kind
from rocassay.harness.engines.isa.asm import Instruction
from rocassay.harness.engines.isa.state import Bits, State

LOCAL, PRIVATE = "LDS", "private memory"
"""Subjects that are no tensor."""

SEVERAL = -2
"""In place of a wave or workgroup: more than one of them."""

MOST = 256
"""Different findings that a log holds; those beyond are only counted."""

_SENTENCES: dict[Kind, str] = {
    "out_of_bounds_read": "reads outside every tensor, at byte {offset} of {subject}",
    "out_of_bounds_write": "writes outside every tensor, at byte {offset} of {subject}",
    "suppressed": "is dropped by the descriptor of {subject} at offset {offset}, which is not that of a masked lane",
    "misaligned": "is not aligned at byte {offset} of {subject}",
    "local_race": "races at byte {offset} of {subject}, no barrier between: {detail} of {other}",
    "local_out_of_bounds": "leaves {subject} at byte {offset}",
    "missing_wait": "uses {subject} before it has arrived",
    "write_conflict": "writes byte {offset} of {subject}, where {other} wrote another value, in no order",
    "read_conflict": "meets {other} at byte {offset} of {subject}, one reading and one writing, in no order",
    "uninitialised": "makes byte {offset} of {subject} depend on what was never written",
    "divergent_barrier": "is not reached by all waves of the workgroup",
}

_UNFINISHED = "races at byte {offset} of {subject}, the barrier between did not wait: {detail} of {other}"
"""Of a race with what was begun before the barrier."""


def place_of(instruction: Instruction) -> str:
    """Where in the source an instruction comes from."""
    return instruction.where or f"line {instruction.line}"


@dataclass(frozen=True, slots=True)
class MachineFinding:
    """One thing found; repetitions by the same instruction on the same subject are merged.

    Attributes:
        kind: what it is.
        text: the instruction.
        place: source file and line that it comes from.
        subject: a tensor's name, "LDS", "private memory" or a register.
        offset: of the first byte concerned, from the subject's first; negative is before it.
        wave, group: that did it, numbered through the launch; -1 where it does not apply.
        lanes: how many of that instruction's lanes.
        other: the wave (local_race) or workgroup (write_conflict, read_conflict) on the other side; -2 for several,
            None where there is none.
        detail: more in words: of a race its order, of a missing wait the operation that is under way.
        count: how often it was found; the rest is the first time's.
    """

    kind: Kind
    text: str
    place: str
    subject: str
    offset: int = 0
    wave: int = -1
    group: int = -1
    lanes: int = 0
    other: int | None = None
    detail: str = ""
    count: int = 1

    def __str__(self) -> str:
        """One sentence."""
        side = "wave" if self.kind == "local_race" else "workgroup"
        other = f"several {side}s" if self.other == SEVERAL else f"{side} {self.other}"
        words = _UNFINISHED if "unfinished" in self.detail else _SENTENCES[self.kind]
        sentence = words.format(offset=self.offset, subject=self.subject, other=other, detail=self.detail)
        who = [f"wave {self.wave}"] if self.wave >= 0 else []
        who += [f"workgroup {self.group}"] if self.group >= 0 else []
        who += [f"{self.lanes} lane{'s' if self.lanes != 1 else ''}"] if self.lanes else []
        detail = f"; {self.detail}" if self.detail and "{detail}" not in _SENTENCES[self.kind] else ""
        times = f" ({self.count} times)" if self.count > 1 else ""
        behind = f" ({', '.join(who)})" if who else ""
        return f"{self.kind}: `{self.text.strip()}` at {self.place} {sentence}{detail}{behind}{times}"


_Key: TypeAlias = tuple[str, str, str, str, str]


@dataclass(slots=True)
class FindingLog:
    """Findings in the order of their first occurrence, merged and bounded."""

    most: int = MOST
    beyond: int = 0
    """Findings that were dropped because the log was full."""
    _held: dict[_Key, MachineFinding] = field(default_factory=dict[_Key, MachineFinding])

    def add(self, finding: MachineFinding) -> None:
        """Take note; what this instruction did to this subject before only counts up."""
        order = finding.detail if finding.kind == "local_race" else ""
        key = (finding.kind, finding.text, finding.place, finding.subject, order)
        held = self._held.get(key)
        if held is not None:
            self._held[key] = replace(held, count=held.count + finding.count)
        elif len(self._held) < self.most:
            self._held[key] = finding
        else:
            self.beyond += finding.count

    def clear(self) -> None:
        """Forget everything."""
        self._held.clear()
        self.beyond = 0

    def extend(self, findings: FindingLog) -> None:
        """Take over another log."""
        for finding in findings:
            self.add(finding)
        self.beyond += findings.beyond

    def of(self, *kinds: Kind) -> tuple[MachineFinding, ...]:
        """Those of some kinds."""
        return tuple(finding for finding in self if finding.kind in kinds)

    def __iter__(self) -> Iterator[MachineFinding]:
        """In the order of their first occurrence."""
        return iter(tuple(self._held.values()))

    def __len__(self) -> int:
        """How many different ones."""
        return len(self._held)


@dataclass(frozen=True, slots=True)
class By:
    """Who does something: a batch at an instruction."""

    state: State
    instruction: Instruction

    def finding(
        self, kind: Kind, lanes: Bits, subject: str, offset: int, detail: str = "", other: int | None = None
    ) -> MachineFinding:
        """A finding of some lanes, bool [W, any number], at least one of them; the first one's wave stands for all."""
        row = int(np.flatnonzero(lanes.any(axis=1))[0])
        wave, group = int(self.state.waves[row]), int(self.state.group[row])
        text, place, count = self.instruction.text, place_of(self.instruction), int(np.count_nonzero(lanes))
        return MachineFinding(kind, text, place, subject, offset, wave, group, count, other, detail)


def missing_wait(
    instruction: Instruction, register: str, pending: str, wave: int = -1, group: int = -1
) -> MachineFinding:
    """A register is used before the memory operation `pending` that writes it has been waited for."""
    return MachineFinding(
        "missing_wait",
        instruction.text,
        place_of(instruction),
        register,
        wave=wave,
        group=group,
        detail=f"nothing waited for `{pending.strip()}`",
    )


def divergent_barrier(instruction: Instruction, others: str, wave: int) -> MachineFinding:
    """Waves of one workgroup met at different barriers, or some had ended where others waited; `others` says where."""
    detail = f"the other waves stand {others}"
    return MachineFinding("divergent_barrier", instruction.text, place_of(instruction), LOCAL, wave=wave, detail=detail)
