"""The ledger of equivalents: mutants that compute the same as the kernel, each with the reason why."""

from __future__ import annotations

import functools
from collections.abc import Iterable, Iterator, Mapping
from importlib import resources
from typing import TypeAlias

from pydantic import TypeAdapter, ValidationError

from rocassay.harness.errors import RocassayError
from rocassay.harness.mutants.mutant import INTERPRETER
from rocassay.harness.results.mutants import MutantRecord
from rocassay.harness.results.schema import Model

PACKAGE, FILE = "rocassay.suites.mutants", "equivalent.json"
"""Where the ledger of the shipped kernels lies."""

Ledger: TypeAlias = Mapping[tuple[str, str], str]
"""(op, mutant) -> why it is equivalent."""


class BadLedger(RocassayError, ValueError):
    """The ledger cannot be read, or names a mutant twice."""


class Entry(Model):
    """Mutants of one op that are equivalent for one reason."""

    op: str
    """Operation whose cases cannot tell them from the kernel."""
    mutants: tuple[str, ...]
    """Their ids."""
    reason: str
    """Why no input that the contract allows can tell them from the kernel."""


_ENTRIES = TypeAdapter(tuple[Entry, ...])


@functools.cache
def shipped_ledger() -> Ledger:
    """The ledger beside the shipped suites; empty where there is none. Raises BadLedger."""
    file = resources.files(PACKAGE) / FILE
    return parsed(file.read_text(encoding="utf-8")) if file.is_file() else {}


def parsed(text: str) -> Ledger:
    """The ledger that a JSON text holds. Raises BadLedger."""
    try:
        entries = _ENTRIES.validate_json(text)
    except ValidationError as error:
        raise BadLedger(f"{FILE} is no ledger of equivalent mutants: {error.errors()[0]['msg']}") from error
    found: dict[tuple[str, str], str] = {}
    for entry in entries:
        for mutant in entry.mutants:
            if (entry.op, mutant) in found:
                raise BadLedger(f"{FILE} names {mutant} of {entry.op} twice; keep the entry with the better reason")
            if not entry.reason.strip():
                raise BadLedger(f"{FILE} gives no reason for {mutant} of {entry.op}; write one, or remove it")
            found[entry.op, mutant] = entry.reason
    return found


def applied(ledger: Ledger, records: Iterable[MutantRecord]) -> Iterator[MutantRecord]:
    """The records, survivors that the ledger lists as equivalent."""
    for record in records:
        reason = ledger.get(record.key)
        survived = record.fate == "survived" and reason is not None
        yield record.model_copy(update={"fate": "equivalent", "detail": reason}) if survived else record


def stale(ledger: Ledger, known: Mapping[str, frozenset[str]], records: Iterable[MutantRecord]) -> Iterator[str]:
    """Entries that are wrong by now, each in one sentence: their mutant is gone, or a case sees it.

    `known`: ids of every mutant, of the ops that are asked about. What a compiler refuses, the interpreter may run.
    """
    for op, mutant in ledger:
        if op in known and mutant not in known[op]:
            yield f"the ledger's {mutant} of {op} does not exist any more; remove it"
    for record in records:
        refused = record.fate == "crashed" and record.engine != INTERPRETER
        if record.key in ledger and record.fate not in ("survived", "equivalent") and not refused:
            yield f"the ledger's {record.id} of {record.op} is {record.fate}, not equivalent; remove it"
