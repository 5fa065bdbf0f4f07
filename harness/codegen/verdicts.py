"""What is wrong with a code object, and how a set of them differs from the record."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field

from rocassay.harness.arch import profile
from rocassay.harness.cases import Case
from rocassay.harness.codegen.declared import Budget, budget_of, expected
from rocassay.harness.codegen.records import Code, Record, Recorded, Resources
from rocassay.harness.codegen.text import Use

_HARDWARE_CONVERSIONS = frozenset[Use]({"widening", "narrowing"})
"""Compilers may also do them by integers, which is slower and as right."""


def problems(code: Code, found: Sequence[Budget], *, pinned: bool) -> Iterator[str]:
    """What keeps a code object from being accepted, one sentence each.

    `pinned` says that this is the Triton release of the record: only then a conversion that the hardware could do
    and the code does by integers counts.
    """
    if code.error:
        yield f"there is no code object: {code.error}"
        return
    facts, taken = profile(code.arch), code.resources
    if taken.lds > facts.lds_bytes:
        yield f"it takes {taken.lds} of {facts.lds_bytes} bytes of LDS, so that no launch can start"
    yield from _over(taken, budget_of(found, code.kernel, code.arch, code.fp8))
    case = Case.parse(code.id.rpartition("#")[0])
    yield from _foreign_arithmetic(frozenset(code.uses), expected(code.kernel, case), pinned=pinned)
    yield from code.unawaited
    yield from (f"the machine-code engine does not know {refusal}" for refusal in code.unknown)


def _over(taken: Resources, budget: Budget) -> Iterator[str]:
    for name, used, allowed in (
        ("vector registers spill", taken.vgpr_spills, budget.vgpr_spills),
        ("scalar registers spill", taken.sgpr_spills, budget.sgpr_spills),
        ("bytes of scratch a lane are taken", taken.scratch, budget.scratch_bytes),
    ):
        if used > allowed:
            yield f"{used} {name}, its budget is {allowed}: mend the kernel, or say in the budgets why that is right"


def _foreign_arithmetic(shown: frozenset[Use], wanted: frozenset[Use], *, pinned: bool) -> Iterator[str]:
    lacking = wanted - shown if pinned else wanted - shown - _HARDWARE_CONVERSIONS
    for use in sorted(lacking):
        yield f"it holds no {use} instruction, which is declared: the fast path is not taken"
    for use in sorted(shown - wanted):
        yield f"it holds a {use} instruction, which is not declared: another path, or a format that is not the case's"


@dataclass(frozen=True, slots=True)
class Change:
    """A code object that is another machine code than the record's."""

    code: Code
    """As it is."""
    before: Recorded
    """As the record has it."""
    mix: Mapping[str, int]
    """The record's instruction mix."""


@dataclass(frozen=True, slots=True)
class Comparison:
    """Code objects beside the record."""

    triton: str
    """The record's Triton release; empty where there is no record."""
    changed: tuple[Change, ...] = ()
    """Recorded, and other instructions or resources now."""
    new: tuple[Code, ...] = ()
    """Not recorded."""
    gone: tuple[str, ...] = ()
    """Ids that are recorded and were not built though they were asked for."""
    slack: tuple[str, ...] = ()
    """Budgets above what is needed, in words."""
    states: Mapping[str, str] = field(default_factory=dict[str, str])
    """Id -> same, changed or new."""

    @property
    def clean(self) -> bool:
        """Whether everything is as recorded, and no budget is larger than it has to be."""
        return not (self.changed or self.new or self.gone or self.slack)


def compared(codes: Iterable[Code], record: Record, asked: Iterable[str], *, every: bool = False) -> Comparison:
    """Code objects against the record.

    `asked` are the recorded ids that the selection covers. With `every` specialisation, those that the record leaves
    out are no news.
    """
    changed: list[Change] = []
    new: list[Code] = []
    states: dict[str, str] = {}
    built = [code for code in codes if not code.error]
    for code in built:
        before = record.codes.get(code.id)
        if before is None:
            states[code.id] = "" if every else "new"
            new += [] if every else [code]
        elif (before.digest, before.resources) == (code.digest, code.resources):
            states[code.id] = "same"
        else:
            states[code.id] = "changed"
            changed.append(Change(code, before, record.mixes.get(before.digest, {})))
    gone = tuple(sorted(set(asked) - {code.id for code in built}))
    return Comparison(record.triton, tuple(changed), tuple(new), gone, states=states)


def slack(codes: Iterable[Code], found: Iterable[Budget]) -> tuple[str, ...]:
    """Budgets above what the code objects need: a later spill would hide in them. `codes` have to be all."""
    built, budgets = list(codes), tuple(found)
    loose: list[str] = []
    for budget in budgets:
        held = [code for code in built if budget_of(budgets, code.kernel, code.arch, code.fp8) is budget]
        most = (
            max((code.resources.vgpr_spills for code in held), default=0),
            max((code.resources.sgpr_spills for code in held), default=0),
            max((code.resources.scratch for code in held), default=0),
        )
        allowed = budget.vgpr_spills, budget.sgpr_spills, budget.scratch_bytes
        if any(have > need for have, need in zip(allowed, most, strict=True)):
            name = " ".join(filter(None, (budget.kernel, budget.arch, budget.fp8)))
            loose.append(f"{name} is allowed {allowed} vector spills, scalar spills, bytes of scratch and needs {most}")
    return tuple(loose)


def moves(changes: Iterable[Change]) -> dict[tuple[str, str, str], list[str]]:
    """What moved in the instruction mix, summed over the changed code objects of each kernel, arch and flavour.

    `+v_x 3` came, `-v_x 3` went, `v_x 12 → 14` is another count.
    """
    before: dict[tuple[str, str, str], Counter[str]] = {}
    after: dict[tuple[str, str, str], Counter[str]] = {}
    for change in changes:
        key = change.code.kernel, change.code.arch, change.code.fp8
        before.setdefault(key, Counter()).update(change.mix)
        after.setdefault(key, Counter()).update(change.code.mix)
    return {key: list(_moved(before[key], after[key])) for key in before}


def _moved(before: Mapping[str, int], after: Mapping[str, int]) -> Iterator[str]:
    yield from (f"+{name} {after[name]}" for name in sorted(after.keys() - before.keys()))
    yield from (f"-{name} {before[name]}" for name in sorted(before.keys() - after.keys()))
    for name in sorted(before.keys() & after.keys()):
        if before[name] != after[name]:
            yield f"{name} {before[name]} → {after[name]}"
