"""What a line of `mutants.jsonl` says of one mutant, and what a score is made of."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, TypeAlias

from pydantic import Field, ValidationError

from rocassay.harness.results.schema import SCHEMA_VERSION, Model, ResultsError

Fate: TypeAlias = Literal["killed", "hung", "crashed", "died", "survived", "equivalent", "error"]
"""What became of a mutant.

killed: a case judged its results wrong; hung: it ran far longer than the healthy kernel, which every run sees;
crashed: every case that reaches it raises, so that its author sees it at once; died: it took its process along;
survived: every case that reaches it is green; equivalent: it survived, and computes the same; error: the harness
could not judge it.
"""

FATES: tuple[Fate, ...] = ("killed", "hung", "crashed", "died", "survived", "equivalent", "error")

SEEN: frozenset[Fate] = frozenset({"killed", "hung"})
"""Fates of mutants that the cases have found."""


class MutantRecord(Model):
    """One mutant of one op, judged."""

    kind: Literal["mutant"] = "mutant"
    """Discriminator of the line."""
    schema_version: int = SCHEMA_VERSION
    """Version of this schema."""
    op: str
    """Operation whose cases judged it."""
    id: str
    """The mutant: module, function, hash of the line, operator."""
    module: str
    """Import path of the module that holds the line."""
    function: str
    """Device function that holds it."""
    line: int
    """Line in the module's file when it was judged."""
    operator: str
    """Kind of mistake."""
    old: str
    """The line."""
    new: str
    """What became of it."""
    engine: str
    """What executed it."""
    tier: str
    """Whose cases judged it."""
    source: str
    """Digest of the op's kernels and of what was asked: a record of other ones says nothing of these."""
    suite: str = ""
    """Digest of the cases: one that survived others may be seen by these."""
    fate: Fate
    """What became of the mutant."""
    check: str = ""
    """Gate or probe that turned red first, or `exception`; empty unless it was killed."""
    case: str = ""
    """The case that decided."""
    detail: str = ""
    """What was seen, in words."""
    customary: dict[str, float] = Field(default_factory=dict)
    """Of a killed mutant: the most that other projects' rules say of its floating-point outputs in any case, in units
    of their limits; empty where they were not asked."""
    reached: int | None = None
    """Cases that execute the line; None where the engine cannot tell."""
    cases: int = 0
    """Cases that were judged."""
    seconds: float = 0.0
    """Time that it took."""

    @property
    def key(self) -> tuple[str, str]:
        """Identity of the work: op and mutant."""
        return self.op, self.id

    @property
    def place(self) -> str:
        """`file:line`, below the distribution's package."""
        return f"{self.module.partition('.')[2].replace('.', '/')}.py:{self.line}"


def read_mutants(path: Path) -> list[MutantRecord]:
    """The last record of each mutant in a file; none if there is no file. ResultsError for a line that is no record."""
    if not path.exists():
        return []
    found: dict[tuple[str, str], MutantRecord] = {}
    for number, line in enumerate(path.read_text(encoding="utf-8").splitlines(), start=1):
        try:
            record = MutantRecord.model_validate_json(line)
        except ValidationError as error:
            raise ResultsError(f"line {number} of {path} is no record of a mutant; choose another --out") from error
        found[record.key] = record
    return list(found.values())


@dataclass(slots=True)
class Score:
    """What the cases of an op are worth against its mutants."""

    op: str
    fates: Counter[Fate] = field(default_factory=Counter[Fate])
    seconds: float = 0.0

    @property
    def mutants(self) -> int:
        """All of them."""
        return self.fates.total()

    @property
    def share(self) -> float:
        """Mutants found, of those that compute something else without raising; 1 where there is none."""
        found = sum(self.fates[fate] for fate in SEEN)
        return found / total if (total := found + self.fates["survived"]) else 1.0


def scores(records: Iterable[MutantRecord]) -> Iterator[Score]:
    """The score of each op, in the order of the records."""
    found: dict[str, Score] = {}
    for record in records:
        score = found.setdefault(record.op, Score(record.op))
        score.fates[record.fate] += 1
        score.seconds += record.seconds
    yield from found.values()
