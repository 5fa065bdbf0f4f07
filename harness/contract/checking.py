"""Checking every declared call against one version of a package."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from rocassay.harness.contract.binding import Kind, Problem, bind, bind_through, disagreements
from rocassay.harness.contract.declared import Call, Contract
from rocassay.harness.contract.modules import Function, Opaque
from rocassay.harness.contract.sources import Source
from rocassay.harness.contract.tree import Absent, Tree


@dataclass(frozen=True, slots=True)
class Result:
    """What became of one call."""

    call: Call
    due: bool
    """Whether this version must accept it."""
    path: str = ""
    """The first of the caller's paths that leads somewhere."""
    function: Function | None = None
    problems: tuple[Problem, ...] = ()
    notes: tuple[str, ...] = ()
    """What a reader should know although the call binds."""

    @property
    def binds(self) -> bool:
        """Whether the call is taken as its caller means it."""
        return not self.problems

    @property
    def broken(self) -> bool:
        """Whether a call that must bind does not."""
        return self.due and not self.binds

    @property
    def verdict(self) -> str:
        """`binds`, or what is wrong first."""
        return "binds" if self.binds else self.problems[0].kind.value


@dataclass(frozen=True, slots=True)
class Report:
    """Every call against one source."""

    source: Source
    results: tuple[Result, ...]

    @property
    def broken(self) -> tuple[Result, ...]:
        """Calls that must bind and do not."""
        return tuple(result for result in self.results if result.broken)

    def of(self, call: Call) -> Result:
        """The result of one call."""
        return next(result for result in self.results if result.call is call)


def check(source: Source, contract: Contract, callers: Sequence[str] = (), *, every: bool = False) -> Report:
    """Bind the calls of these callers, of all when empty; `every` makes all of them due whatever the version.

    ContractError for a caller who makes no call.
    """
    tree = Tree(source, contract)
    calls = contract.of(callers)
    return Report(source, tuple(check_call(tree, call, due=every or call.due(source.version)) for call in calls))


def check_call(tree: Tree, call: Call, *, due: bool) -> Result:
    """Bind one call, by the first of its paths that leads to something."""
    absent: list[str] = []
    for path in call.paths:
        target = tree.resolve(path)
        if isinstance(target, Absent):
            absent.append(target.why)
        elif isinstance(target, Opaque):
            where = f"{path} is {target.text!r} ({target.module}, line {target.line})"
            return Result(call, due, path, None, (Problem(Kind.UNREADABLE, where),))
        else:
            return _bound(tree, call, due, path, target)
    return Result(call, due, problems=(Problem(Kind.MISSING_FUNCTION, "; ".join(dict.fromkeys(absent))),))


def _bound(tree: Tree, call: Call, due: bool, path: str, function: Function) -> Result:
    name, natives = tree.behind(function)
    if not natives:
        silent = f"the bindings of native function {name} give no names of arguments"
        notes = (silent,) if name and tree.native else ()
        return Result(call, due, path, function, tuple(bind(call, function.signature)), notes)
    ways = [tuple(bind_through(call, function.signature, native)) for native in natives]
    best = min(range(len(ways)), key=lambda way: len(ways[way]))
    notes = tuple(disagreements(function.signature, natives[best]))
    return Result(call, due, path, function, tuple(dict.fromkeys(ways[best])), notes)
