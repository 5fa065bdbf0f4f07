"""A fault: a named defect of the field, injected from outside by changing exactly one thing."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Mapping
from dataclasses import dataclass, replace
from typing import Any

from rocassay.harness.cases import Case
from rocassay.harness.errors import RocassayError
from rocassay.harness.inputs import Operands


class UnknownFault(RocassayError, KeyError):
    """No fault of that name is in the catalogue."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True, slots=True)
class ChangeDispatch:
    """Replace an entry of the dispatch table."""

    change: Callable[[Any], Any]
    """Dispatch table -> dispatch table."""


@dataclass(frozen=True, slots=True)
class ChangeVariant:
    """Replace a decision the dispatcher handed to the launcher."""

    change: Callable[[Any], Any]
    """Variant -> variant."""


@dataclass(frozen=True, slots=True)
class ChangeInputs:
    """Replace a metadata buffer or an input."""

    change: Callable[[Operands], Operands]
    """Operands -> operands; the golden keeps the originals."""


@dataclass(frozen=True, slots=True)
class ChangeSource:
    """Rewrite one line of a kernel's source; the module is executed again under another name."""

    module: str
    """Import path of the module that holds the line."""
    line: str
    """The line, without indentation; it must occur exactly once."""
    becomes: str
    """What it is replaced by; several lines keep the indentation of the first."""


Seam = ChangeDispatch | ChangeVariant | ChangeInputs | ChangeSource


@dataclass(frozen=True, slots=True)
class Fault:
    """One injectable defect."""

    name: str
    """Name in the catalogue."""
    reference: str
    """Where it really happened."""
    summary: str
    """Cause and symptom in one sentence."""
    seams: Mapping[str, Seam]
    """Per op whose implementation it breaks, the one thing it changes."""
    applies: Callable[[Case], bool]
    """Cases that must see it; the others are not drilled."""
    caught_by: frozenset[str]
    """Names of the checks of which at least one must turn red."""
    engines: frozenset[str] = frozenset()
    """Engines on which those checks can see it; none named means all of them."""

    def visible_on(self, engine: str) -> bool:
        """Whether a drill on this engine can turn red."""
        return not self.engines or engine in self.engines

    @property
    def ops(self) -> tuple[str, ...]:
        """Ops whose implementation it breaks."""
        return tuple(self.seams)


_CATALOGUE: dict[str, Fault] = {}


def register(fault: Fault) -> Fault:
    """Add a fault to the catalogue, or the same defect in ops of another family to the fault of that name.

    Raises ValueError when an op would get the fault twice, or when the two are seen on different engines.
    """
    known = _CATALOGUE.get(fault.name)
    if known is not None and known.seams.keys() & fault.seams.keys():
        raise ValueError(f"fault {fault.name!r} is registered twice")
    if known is not None and known.engines != fault.engines:
        raise ValueError(f"fault {fault.name!r} is seen on other engines in another op; register it under two names")
    _CATALOGUE[fault.name] = fault if known is None else _joined(known, fault)
    return fault


def _joined(known: Fault, more: Fault) -> Fault:
    def applies(case: Case) -> bool:
        return (known if case.op in known.seams else more).applies(case)

    return replace(
        known,
        seams={**known.seams, **more.seams},
        applies=applies,
        caught_by=known.caught_by | more.caught_by,
    )


def catalogue() -> tuple[Fault, ...]:
    """All registered faults, in order of registration."""
    return tuple(_CATALOGUE.values())


def fault_named(name: str) -> Fault:
    """The fault called `name`; UnknownFault suggests the nearest names."""
    if name in _CATALOGUE:
        return _CATALOGUE[name]
    near = difflib.get_close_matches(name, _CATALOGUE, n=3) or sorted(_CATALOGUE)[:3]
    raise UnknownFault(f"no fault is called {name!r}; did you mean {', '.join(near)}? `rocassay list --faults` has all")
