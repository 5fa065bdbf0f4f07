"""Binding a declared call to a signature: what Python would refuse, and what it would take for something else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from rocassay.harness.contract.declared import Call
from rocassay.harness.contract.signature import Signature


class Kind(str, Enum):
    """Why a call does not bind. Slots are counted from 1."""

    MISSING_FUNCTION = "missing function"
    UNREADABLE = "cannot be read"
    UNEXPECTED_KEYWORD = "unexpected keyword"
    MISSING_ARGUMENT = "missing argument"
    TOO_MANY = "too many positional arguments"
    TWICE = "argument given twice"
    OTHER_NAME = "positional slot has another name"
    OTHER_SLOT = "keyword reaches another slot"
    DEFAULT_CHANGED = "default changed"


@dataclass(frozen=True, slots=True)
class Problem:
    """One reason."""

    kind: Kind
    detail: str

    def __str__(self) -> str:
        return f"{self.kind.value}: {self.detail}"


def bind(call: Call, signature: Signature) -> Iterator[Problem]:
    """Everything wrong with a call of a function of this signature; nothing when it binds as its caller means it."""
    taken = [slot.name for slot, _ in zip(signature.slots, call.positional, strict=False)]
    yield from _positional(call, signature)
    yield from _keywords(call, signature, taken)
    passed = {*taken, *(argument.name for argument in call.keywords)}
    if missing := [each.name for each in signature.parameters if each.required and each.name not in passed]:
        yield Problem(Kind.MISSING_ARGUMENT, f"nothing is passed for {', '.join(missing)}")
    defaults = {each.name: each.default for each in signature.parameters if each.name not in passed}
    for name, wanted in call.relies:
        found = defaults.get(name)
        if found is not None and found != wanted:
            yield Problem(Kind.DEFAULT_CHANGED, f"{name} is left out for its default {wanted}, which is {found}")


def _positional(call: Call, signature: Signature) -> Iterator[Problem]:
    """Slots that are not what the caller takes them for, the first in full, and arguments for which there is none."""
    slots = signature.slots
    pairs = enumerate(zip(slots, call.positional, strict=False))
    others = [(number, slot, argument) for number, (slot, argument) in pairs if slot.name not in argument.names]
    if others:
        number, slot, argument = others[0]
        more = f"; of the slots after it {len(others) - 1} differ, too" if len(others) > 1 else ""
        yield Problem(Kind.OTHER_NAME, f"slot {number + 1} is {slot.name}, the caller passes {argument.name}{more}")
    if len(call.positional) > len(slots) and not signature.takes_any("variadic"):
        lost = ", ".join(argument.name for argument in call.positional[len(slots) :])
        yield Problem(Kind.TOO_MANY, f"{len(slots)} are taken, {len(call.positional)} are passed: no slot for {lost}")


def _keywords(call: Call, signature: Signature, taken: Sequence[str]) -> Iterator[Problem]:
    names = [argument.name for argument in call.keywords]
    known = signature.by_keyword
    for name in names:
        if name in taken and name in known:
            yield Problem(Kind.TWICE, f"{name} is slot {taken.index(name) + 1} and a keyword")
    unknown = [name for name in names if name not in known]
    if unknown and not signature.takes_any("keywords"):
        yield Problem(Kind.UNEXPECTED_KEYWORD, f"no parameter is called {', '.join(unknown)}")


def bind_through(call: Call, stub: Signature, native: Signature) -> Iterator[Problem]:
    """What is wrong with a call of a stub that passes its arguments on by position to a native function.

    The native function's names say what a slot means; the stub's say which keyword fills it.
    """
    for problem in _positional(call, native):
        yield Problem(problem.kind, f"{problem.detail} (native function)")
    yield from (problem for problem in bind(call, stub) if problem.kind not in (Kind.OTHER_NAME, Kind.TOO_MANY))
    slots = {each.name: number for number, each in enumerate(stub.slots)}
    theirs = {each.name: number for number, each in enumerate(native.slots)}
    for argument in call.keywords:
        mine, real = slots.get(argument.name), theirs.get(argument.name)
        if mine is not None and real is not None and mine != real:
            detail = f"{argument.name} is slot {mine + 1} of the stub, which the native function reads as"
            yield Problem(Kind.OTHER_SLOT, f"{detail} {_name(native, mine)}")


def disagreements(stub: Signature, native: Signature) -> Iterator[str]:
    """Where a stub and its native function differ: the slots whose names do, and their numbers."""
    for number, (mine, real) in enumerate(zip(stub.slots, native.slots, strict=False)):
        if mine.name != real.name:
            yield f"slot {number + 1} is {mine.name} in the stub and {real.name} in the native function"
    if len(stub.slots) != len(native.slots):
        yield f"the stub takes {len(stub.slots)} arguments, the native function {len(native.slots)}"


def _name(signature: Signature, number: int) -> str:
    return signature.slots[number].name if number < len(signature.slots) else "nothing"
