"""What a contract declares: a package of somebody else's, and the calls that are made into it. All of it is data."""

from __future__ import annotations

import importlib
import importlib.metadata
import pkgutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from packaging.specifiers import InvalidSpecifier, SpecifierSet
from packaging.version import Version

from rocassay.harness.contract.errors import ContractError

SHIPPED = "rocassay.suites.contracts"
"""Package whose sub-packages declare the shipped contracts."""

ENTRY_POINTS = "rocassay.contracts"
"""Entry-point group under which other distributions name modules that declare contracts."""

NEWEST = Version("999999")
"""What a source without a version counts as: whatever has no upper limit applies to it."""


@dataclass(frozen=True, slots=True)
class Argument:
    """One value that a call passes."""

    name: str
    """What it is, by the name that its parameter has; of a keyword, the keyword."""
    note: str = ""
    """Dtype and shape, for readers."""
    aliases: tuple[str, ...] = ()
    """Other names that the same parameter has had."""

    @property
    def names(self) -> tuple[str, ...]:
        """Every name under which a slot is the right one."""
        return (self.name, *self.aliases)


def arguments(*texts: str) -> tuple[Argument, ...]:
    """Arguments written as `name: note` or `name/alias/alias: note`."""
    split = (text.partition(":") for text in texts)
    named = ((names.split("/"), note.strip()) for names, _, note in split)
    return tuple(Argument(names[0], note, tuple(names[1:])) for names, note in named)


@dataclass(frozen=True, slots=True)
class Call:
    """A call that somebody makes, as its caller writes it."""

    name: str
    """What it does, unique among the calls of its caller."""
    caller: str
    """Who makes it."""
    paths: tuple[str, ...]
    """`module:function`, in the order in which the caller tries them; a torch op is `torch.ops.NAMESPACE:name`."""
    positional: tuple[Argument, ...] = ()
    keywords: tuple[Argument, ...] = ()
    relies: tuple[tuple[str, str], ...] = ()
    """(parameter that is left out, source text of the default that the caller needs)."""
    versions: str = ""
    """PEP 440 specifiers of the versions that must accept the call, such as `>=0.1.20`; empty: every one."""
    why: str = ""
    """Where the caller makes it, or why only these versions."""

    def __post_init__(self) -> None:
        if not self.paths or any(":" not in path for path in self.paths):
            raise ContractError(f"call {self.name!r} is refused: its paths are {self.paths}; write module:function")
        try:
            SpecifierSet(self.versions)
        except InvalidSpecifier as error:
            raise ContractError(f"call {self.name!r} is refused: {error}; write e.g. '>=0.1.20'") from error

    def arranged(self, values: Mapping[str, Any]) -> tuple[tuple[Any, ...], dict[str, Any]]:
        """What a caller who has values by the arguments' names passes by position and by keyword.

        Values that the call has no argument for are left out; ContractError for an argument without a value.
        """
        lacking = [each.name for each in (*self.positional, *self.keywords) if each.name not in values]
        if lacking:
            raise ContractError(
                f"call {self.name!r} is made without {', '.join(lacking)}; pass None for what is absent"
            )
        return tuple(values[each.name] for each in self.positional), {k.name: values[k.name] for k in self.keywords}

    def due(self, version: Version | None) -> bool:
        """Whether a source of this version, None if unknown, must accept the call."""
        return SpecifierSet(self.versions).contains(NEWEST if version is None else version, prereleases=True)


@dataclass(frozen=True, slots=True)
class Lookalike:
    """Another distribution that installs a package of the same name."""

    distribution: str
    what: str
    """What it is, as the end of a sentence."""
    sign: str
    """File of its package by which a folder without metadata is recognised."""


@dataclass(frozen=True, slots=True)
class Contract:
    """A package, how to recognise it, and the calls that are made into it."""

    name: str
    package: str
    """What it is imported as."""
    distribution: str
    """What it is installed as."""
    signs: tuple[str, ...]
    """Files of the package of which one at least must be there."""
    calls: tuple[Call, ...]
    lookalikes: tuple[Lookalike, ...] = ()
    native: tuple[str, ...] = ()
    """Folders beside the package that hold its C++ sources, with the bindings of native functions."""
    stub: str = ""
    """Decorator whose functions are stubs of native ones of the same name."""
    stub_name: str = ""
    """Its keyword that gives the native function another name."""

    def __post_init__(self) -> None:
        seen = [(call.caller, call.name) for call in self.calls]
        twice = sorted({f"{name!r} of {caller}" for caller, name in seen if seen.count((caller, name)) > 1})
        if twice:
            raise ContractError(f"contract {self.name!r} is refused: it declares {', '.join(twice)} more than once")

    @property
    def callers(self) -> tuple[str, ...]:
        """Who calls, in the order of the declarations."""
        return tuple(dict.fromkeys(call.caller for call in self.calls))

    def of(self, callers: Sequence[str]) -> tuple[Call, ...]:
        """The calls of these callers, of all when empty; ContractError for one who makes none."""
        if unknown := [caller for caller in callers if caller not in self.callers]:
            raise ContractError(f"{unknown[0]!r} calls nothing of {self.name}; known: {', '.join(self.callers)}")
        return tuple(call for call in self.calls if not callers or call.caller in callers)


_DECLARED: dict[str, Contract] = {}


def declare(contract: Contract) -> Contract:
    """Add a contract; ContractError when its name is taken."""
    if contract.name in _DECLARED:
        raise ContractError(f"contract {contract.name!r} is declared twice")
    _DECLARED[contract.name] = contract
    return contract


def contracts() -> dict[str, Contract]:
    """Every contract, shipped and by entry point."""
    shipped = importlib.import_module(SHIPPED)
    for module in pkgutil.iter_modules(shipped.__path__, prefix=f"{SHIPPED}."):
        if module.ispkg:
            importlib.import_module(module.name)
    for point in importlib.metadata.entry_points(group=ENTRY_POINTS):
        point.load()
    return dict(_DECLARED)


def contract_named(name: str) -> Contract:
    """The contract of that name; ContractError lists what there is."""
    known = contracts()
    if name not in known:
        raise ContractError(f"there is no contract {name!r}; known: {', '.join(sorted(known))}")
    return known[name]
