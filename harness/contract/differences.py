"""What changed between two versions of a package: functions, their parameters, and which calls that breaks."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from rocassay.harness.contract.checking import Report, Result
from rocassay.harness.contract.modules import Function
from rocassay.harness.contract.signature import Parameter, Signature
from rocassay.harness.contract.tree import Tree


@dataclass(frozen=True, slots=True)
class Change:
    """A function that both versions have, or that one of them lacks."""

    what: str
    """`added`, `removed`, `moved` or `changed`."""
    path: str
    """`module:function` in the old version, in the new one where it is added."""
    moved_to: str = ""
    details: tuple[str, ...] = ()
    """What became of its parameters."""
    breaking: bool = False
    """Whether a call that was right can now fail or mean something else."""


@dataclass(frozen=True, slots=True)
class Turn:
    """A call whose result differs."""

    old: Result
    new: Result

    @property
    def lost(self) -> bool:
        """Whether it bound and does no longer."""
        return self.old.binds and not self.new.binds

    @property
    def broken(self) -> bool:
        """Whether it is lost although the new version must accept it."""
        return self.lost and self.new.due


@dataclass(frozen=True, slots=True)
class Difference:
    """Two versions compared."""

    old: Report
    new: Report
    changes: tuple[Change, ...]
    turns: tuple[Turn, ...]

    @property
    def lost(self) -> tuple[Turn, ...]:
        """Calls that bound and do no longer."""
        return tuple(turn for turn in self.turns if turn.lost)

    @property
    def broken(self) -> tuple[Turn, ...]:
        """Those of them that must bind still."""
        return tuple(turn for turn in self.turns if turn.broken)


def compare(old: Report, new: Report, old_tree: Tree, new_tree: Tree) -> Difference:
    """Everything that changed; the reports must be of the same calls."""
    changes = tuple(_changes(definitions(old_tree), definitions(new_tree)))
    turns = (Turn(result, new.of(result.call)) for result in old.results)
    differing = tuple(turn for turn in turns if turn.old.problems != turn.new.problems)
    return Difference(old, new, changes, differing)


def definitions(tree: Tree) -> dict[str, Function]:
    """Public functions by the path at which they are defined; those of private modules are left out.

    A stub has the signature of its native function where that is known: the native function reads the arguments.
    """
    found: dict[str, Function] = {}
    for name in tree.names():
        if any(part.startswith("_") for part in name.split(".")):
            continue
        module = tree.module(name)
        for function in module.functions.values() if module else ():
            if not function.name.startswith("_"):
                _, natives = tree.behind(function)
                found[function.path] = replace(function, signature=natives[0]) if len(natives) == 1 else function
    return found


def _changes(old: Mapping[str, Function], new: Mapping[str, Function]) -> Iterator[Change]:
    gone = [path for path in old if path not in new]
    came = {path: function for path, function in new.items() if path not in old}
    for path in gone:
        homes = [home for home, function in came.items() if function.name == old[path].name]
        if len(homes) == 1:
            function = came.pop(homes[0])
            details = tuple(parameter_changes(old[path].signature, function.signature))
            yield Change("moved", path, homes[0], tuple(text for text, _ in details), any(bad for _, bad in details))
        else:
            yield Change("removed", path, breaking=True)
    for path in came:
        yield Change("added", path)
    for path, function in old.items():
        if path in new and (details := tuple(parameter_changes(function.signature, new[path].signature))):
            yield Change("changed", path, "", tuple(text for text, _ in details), any(bad for _, bad in details))


def parameter_changes(old: Signature, new: Signature) -> Iterator[tuple[str, bool]]:
    """(what became of a parameter, whether that can break a call), for all of them."""
    before = {each.name: each for each in old.parameters}
    after = {each.name: each for each in new.parameters}
    renamed = dict(_renamed(old, new))
    for name, other in renamed.items():
        yield f"{name} renamed to {other}", True
        yield from _altered(before[name], after[other])
    for name in before:
        if name not in after and name not in renamed:
            yield f"{name} removed", True
    for name, each in after.items():
        if name not in before and name not in renamed.values():
            yield _added(old, new, each)
    common = [name for name in before if name in after]
    kept = [name for name in after if name in before]
    if common != kept:
        yield f"order changed: {', '.join(common)} is now {', '.join(kept)}", True
    for name in common:
        yield from _altered(before[name], after[name])


def _renamed(old: Signature, new: Signature) -> Iterator[tuple[str, str]]:
    """Slots whose name changed while their neighbours stayed: neither name occurs in the other version."""
    mine, theirs = [each.name for each in old.parameters], [each.name for each in new.parameters]
    for number, (name, other) in enumerate(zip(mine, theirs, strict=False)):
        alone = name not in theirs and other not in mine
        before = number == 0 or mine[number - 1] == theirs[number - 1]
        after = mine[number + 1 : number + 2] == theirs[number + 1 : number + 2]
        if alone and (before or after):
            yield name, other


def _added(old: Signature, new: Signature, each: Parameter) -> tuple[str, bool]:
    """A new parameter breaks calls if it must be passed, or if it stands before slots that there were."""
    slots = [slot.name for slot in new.slots]
    if each.required:
        where = f" as slot {slots.index(each.name) + 1}" if each.name in slots else ""
        return f"{each} added{where}, must be passed", True
    known = {slot.name for slot in old.slots}
    if each.name in slots and any(name in known for name in slots[slots.index(each.name) + 1 :]):
        return f"{each} added as slot {slots.index(each.name) + 1}, before others", True
    return f"{each} added", False


def _altered(before: Parameter, after: Parameter) -> Iterator[tuple[str, bool]]:
    if before.kind != after.kind:
        yield f"{after.name} was {before.kind}, is {after.kind}", after.kind != "plain"
    if before.default != after.default:
        if after.default is None:
            yield f"{after.name} lost its default {before.default}", True
        elif before.default is None:
            yield f"{after.name} has a default now: {after.default}", False
        else:
            yield f"default of {after.name} was {before.default}, is {after.default}", True
