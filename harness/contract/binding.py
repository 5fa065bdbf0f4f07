"""Binding a declared call to a signature: what Python would refuse, and what it would take for something else."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from enum import Enum

from rocassay.harness.contract.declared import Call
from rocassay.harness.contract.signature import Signature


class Kind(str, Enum):
    """Why a call does not bind."""

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
    filled = [*_positional(call, signature)]
    yield from (problem for problem in filled if isinstance(problem, Problem))
    taken = [name for name in filled if isinstance(name, str)]
    yield from _keywords(call, signature, taken)
    passed = {*taken, *(argument.name for argument in call.keywords)}
    for each in signature.parameters:
        if each.required and each.name not in passed:
            yield Problem(Kind.MISSING_ARGUMENT, f"{each.name} has no default and is not passed")
    defaults = {each.name: each.default for each in signature.parameters if each.name not in passed}
    for name, wanted in call.relies:
        found = defaults.get(name)
        if found is not None and found != wanted:
            yield Problem(Kind.DEFAULT_CHANGED, f"{name} is left out for its default {wanted}, which is {found}")


def _positional(call: Call, signature: Signature) -> Iterator[str | Problem]:
    """Names of the slots that are filled, and what is wrong with filling them."""
    slots = signature.slots
    for number, argument in enumerate(call.positional):
        if number < len(slots):
            yield slots[number].name
            if slots[number].name not in argument.names:
                detail = f"slot {number} is {slots[number].name}, the caller passes {argument.name}"
                yield Problem(Kind.OTHER_NAME, detail)
    extra = len(call.positional) - len(slots)
    if extra > 0 and not signature.takes_any("variadic"):
        lost = ", ".join(argument.name for argument in call.positional[len(slots) :])
        yield Problem(Kind.TOO_MANY, f"{len(slots)} are taken, {len(call.positional)} are passed: {lost}")


def _keywords(call: Call, signature: Signature, taken: Sequence[str]) -> Iterator[Problem]:
    for argument in call.keywords:
        if argument.name in taken and argument.name in signature.by_keyword:
            yield Problem(Kind.TWICE, f"{argument.name} is slot {taken.index(argument.name)} and a keyword")
        elif argument.name not in signature.by_keyword and not signature.takes_any("keywords"):
            yield Problem(Kind.UNEXPECTED_KEYWORD, f"{argument.name} is no parameter")


def bind_through(call: Call, stub: Signature, native: Signature) -> Iterator[Problem]:
    """What is wrong with a call of a stub that passes its arguments on by position to a native function.

    The native function's names say what a slot means; the stub's say which keyword fills it.
    """
    for problem in bind(call, stub):
        if problem.kind is not Kind.OTHER_NAME:
            yield problem
    for problem in _positional(call, native):
        if isinstance(problem, Problem):
            yield Problem(problem.kind, f"{problem.detail} (native function)")
    slots = {each.name: number for number, each in enumerate(stub.slots)}
    theirs = {each.name: number for number, each in enumerate(native.slots)}
    for argument in call.keywords:
        mine, real = slots.get(argument.name), theirs.get(argument.name)
        if mine is not None and real is not None and mine != real:
            detail = f"{argument.name} is slot {mine} of the stub, which the native function reads as"
            yield Problem(Kind.OTHER_SLOT, f"{detail} {_name(native, mine)}")


def disagreements(stub: Signature, native: Signature) -> Iterator[str]:
    """Where a stub and its native function differ: the slots whose names do, and their numbers."""
    for number, (mine, real) in enumerate(zip(stub.slots, native.slots, strict=False)):
        if mine.name != real.name:
            yield f"slot {number} is {mine.name} in the stub and {real.name} in the native function"
    if len(stub.slots) != len(native.slots):
        yield f"the stub takes {len(stub.slots)} arguments, the native function {len(native.slots)}"


def _name(signature: Signature, number: int) -> str:
    return signature.slots[number].name if number < len(signature.slots) else "nothing"
