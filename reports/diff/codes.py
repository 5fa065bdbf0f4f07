"""Machine code of the same cases in two runs: whose kernels the compiler or an edit has changed."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal, TypeAlias

from rocassay.harness.results import CaseRecord

CodeWord: TypeAlias = Literal["changed", "same", "unknown"]
"""What the digests of a case say; `unknown` where a run has none, as on the interpreter, which runs no machine code."""


@dataclass(frozen=True, slots=True)
class CodeChange:
    """A kernel of an op whose machine code is not that of the base."""

    op: str
    arch: str
    fp8: str
    engine: str
    kernel: str
    cases: int
    """Cases with another digest."""
    of: int
    """Cases whose digests are known in both runs and that launch the kernel in either."""
    base: str
    """Digest in the first of these cases; empty where the base does not launch the kernel."""
    head: str
    """The same of the head."""


def word_of(base: Mapping[str, str], head: Mapping[str, str]) -> CodeWord:
    """What two maps of digests say."""
    if not base or not head:
        return "unknown"
    return "same" if base == head else "changed"


def code_changes(pairs: Iterable[tuple[CaseRecord, CaseRecord]]) -> tuple[CodeChange, ...]:
    """Kernels with changed code, in order of op, arch, flavour, engine and name."""
    seen: dict[tuple[str, str, str, str, str], list[tuple[str, str]]] = {}
    for base, head in pairs:
        if not base.codes or not head.codes:
            continue
        for kernel in {**base.codes, **head.codes}:
            place = (head.op, head.arch, head.fp8, head.engine, kernel)
            seen.setdefault(place, []).append((base.codes.get(kernel, ""), head.codes.get(kernel, "")))
    found: list[CodeChange] = []
    for place, digests in sorted(seen.items()):
        other = [(before, after) for before, after in digests if before != after]
        if other:
            found.append(CodeChange(*place, len(other), len(digests), *other[0]))
    return tuple(found)
