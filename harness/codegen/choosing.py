"""Which code objects stand for an op: every launch of its quick tier, or the fewest that show every specialisation."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from functools import partial
from typing import Any, TypeAlias

import torch

from rocassay.harness.arch import Target, profile
from rocassay.harness.arena import Placed
from rocassay.harness.cases import Case
from rocassay.harness.codegen.compiling import captured, options_of, source_of, target_of
from rocassay.harness.engines.launch import Launch
from rocassay.harness.inputs import Stream
from rocassay.harness.ops import Op, op_named
from rocassay.harness.providers import provider

Trait: TypeAlias = "tuple[str, str, str]"
"""(kind, name, value) of one choice that the compiler sees."""


@dataclass(frozen=True, slots=True)
class Origin:
    """A launch that a code object is compiled for: the n-th of a case."""

    case: Case
    """The case, as in the tier."""
    launch: int
    """Number of the launch among the case's, from 0 on."""
    kernel: str
    """Name of the kernel's function."""
    source: str
    """Hash of what is compiled: source, specialisation and options."""
    error: str = ""
    """Why the case launches nothing: what its inputs, dispatcher or launcher raised."""

    @property
    def id(self) -> str:
        """`case#launch`: names the code object in the record, in budgets and on the terminal."""
        return f"{self.case}#{self.launch}"


Candidate: TypeAlias = "tuple[Origin, frozenset[Trait]]"
"""A launch and what distinguishes it from other launches of its kernel."""


def launches_of(case: Case) -> tuple[list[Launch], str]:
    """The launches of a case by the shipped implementation, none executed, and its dispatcher's decisions in words.

    Raises whatever the op's inputs, dispatcher or launcher raise.
    """
    op = op_named(case.op)
    placed = Placed(op.inputs(case, Stream.of(case)), torch.device("cpu"))
    variant = op.variant(case, Target(case.arch, "hip", profile(case.arch).native_fp8), op.dispatch)
    call = partial(provider("rocassay").call, op, case, placed.arguments(), variant, None)
    return captured(call), repr(variant)


def chosen(op: Op, cases: Iterable[Case], *, every: bool = False) -> list[Origin]:
    """Launches of an op to compile; the order of the cases does not matter.

    For each kernel, arch and flavour the fewest that show every value of every constexpr parameter, option, argument
    type and argument property (divisible by 16, equal to 1, reach of a pointer) and every set of dispatcher's
    decisions that occur; with `every`, all that differ in what is compiled. A case that raises is one with an error.
    """
    groups: dict[tuple[str, str, str], dict[str, Candidate]] = {}
    broken: list[Origin] = []
    for case in sorted(cases, key=str):
        try:
            own = list(candidates(case))
        except Exception as error:
            broken.append(Origin(case, 0, op.name, str(case), f"{type(error).__name__}: {error}"))
            continue
        for origin, traits in own:
            group = groups.setdefault((case.arch, case.fp8, origin.kernel), {})
            group.setdefault(origin.source, (origin, traits))
    built = [origin for group in groups.values() for origin in (_all(group) if every else _covering(group))]
    return [*built, *broken]


def candidates(case: Case) -> Iterator[Candidate]:
    """The launches of a case and what the compiler sees of each; raises as `launches_of` does."""
    launches, variant = launches_of(case)
    for number, launch in enumerate(launches):
        source, traits = _specialisation(launch, case.arch)
        yield Origin(case, number, launch.name, source), traits | {("variant", case.op, variant)}


def _specialisation(launch: Launch, arch: str) -> tuple[str, frozenset[Trait]]:
    target = target_of(arch)
    options = options_of(launch, target)
    source = source_of(launch, target, options)
    described: tuple[tuple[str, Mapping[Any, Any]], ...] = (
        ("constexpr", source.constants), ("type", source.signature), ("property", source.attrs), ("option", options)
    )  # fmt: skip
    traits = frozenset((kind, str(name), repr(value)) for kind, found in described for name, value in found.items())
    return f"{arch} {source.hash()} {sorted(options.items())}", traits


def _all(group: Mapping[str, Candidate]) -> Iterator[Origin]:
    return (origin for origin, _ in group.values())


def _covering(group: Mapping[str, Candidate]) -> Iterator[Origin]:
    """A small set whose traits are all there are: again and again the first launch that adds most."""
    missing = frozenset[Trait]().union(*(traits for _, traits in group.values()))
    while missing:
        origin, traits = max(group.values(), key=lambda member: len(member[1] & missing))
        missing -= traits
        yield origin
