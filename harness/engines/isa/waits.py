"""Which memory operations may still be under way at an instruction, from the program's text alone.

An argument of its own, beside the engine's: it follows every path through the program and knows nothing of values, so
that what it calls awaited is awaited in every launch. It judges code objects that nothing runs, and tells the mutation
suite whether a relaxed `s_waitcnt` can matter.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import TypeAlias

from rocassay.harness.engines.isa.asm import Instruction, Operand, Program

_VECTOR = re.compile(r"(buffer|global|flat|scratch)_")
_NOT_MEMORY = ("ds_bpermute_b32", "ds_permute_b32", "ds_swizzle_b32")

UnderWay: TypeAlias = Mapping[int, int]
"""Number of an instruction -> the least number of later operations of its counter, on any path to here."""


def counter(instruction: Instruction) -> str | None:
    """The counter that an instruction goes up on."""
    name = instruction.name
    if _VECTOR.match(name):
        return "vmcnt"
    return "lgkmcnt" if name.startswith(("ds_", "s_load")) else None


def registers(operand: Operand) -> set[tuple[str, int]]:
    """Registers of an operand."""
    return {(operand.kind, operand.index + n) for n in range(operand.count)} if operand.kind in "vas" else set()


def targets(instruction: Instruction) -> set[tuple[str, int]]:
    """Registers that a memory operation will write."""
    name = instruction.name
    loads = "_load_" in name or name.startswith("ds_read") or name in _NOT_MEMORY or "_rtn" in name
    if name.startswith(("buffer_atomic", "global_atomic", "flat_atomic")):
        loads = bool(instruction.modifiers.get("sc0"))
    into_local = instruction.modifiers.get("lds") or "_load_lds_" in name
    return registers(instruction.operands[0]) if loads and not into_local else set()


def local(instruction: Instruction) -> bool:
    """Whether it touches local memory."""
    name = instruction.name
    copies = bool(instruction.modifiers.get("lds")) or "_load_lds_" in name
    return copies or (name.startswith("ds_") and name not in _NOT_MEMORY)


@dataclass(frozen=True, slots=True)
class Use:
    """An instruction that counts on an operation that may be under way.

    Attributes:
        user, operation: their numbers.
        local: by way of local memory; otherwise by a register.
    """

    user: int
    operation: int
    local: bool


class Waits:
    """The flow of a program, solved once."""

    def __init__(self, program: Program) -> None:
        self.program = program
        self._before: list[dict[int, int] | None] = [None] * len(program.instructions)
        self._counters = [counter(one) for one in program.instructions]
        work: list[tuple[int, dict[int, int]]] = [(0, {}), (program.preload_entry, {})]
        while work:
            number, state = work.pop()
            held = self._before[number]
            if held is not None:
                joined = _joined(held, state)
                if joined == held:
                    continue
                state = joined
            self._before[number] = dict(state)
            after = self._after(number, state)
            work += [(one, after) for one in self._next(number)]

    def _next(self, number: int) -> Iterator[int]:
        instruction = self.program.instructions[number]
        if instruction.name.startswith(("s_branch", "s_cbranch")):
            yield self.program.labels[str(instruction.operands[0].value)]
        if instruction.name not in ("s_branch", "s_endpgm") and number + 1 < len(self.program.instructions):
            yield number + 1

    def _after(self, number: int, state: UnderWay) -> dict[int, int]:
        instruction, own = self.program.instructions[number], self._counters[number]
        if instruction.name == "s_waitcnt":
            for name, left in instruction.modifiers.items():
                assert isinstance(left, int)
                state = self._waited(state, name, left)
            return dict(state)
        if own is None:
            return dict(state)
        moved = {one: later + 1 if self._counters[one] == own else later for one, later in state.items()}
        return {**moved, number: 0}

    def _waited(self, state: UnderWay, name: str, left: int) -> UnderWay:
        own = [one for one in state if self._counters[one] == name]
        scalar = any(self.program.instructions[one].name.startswith("s_load") for one in own)
        if left and scalar:
            return state
        return {one: later for one, later in state.items() if self._counters[one] != name or later < left}

    def uses(self) -> list[Use]:
        """What counts on operations that may be under way."""
        return [use for number, state in enumerate(self._before) if state for use in self._uses(number, state)]

    def at_barriers(self) -> Iterator[tuple[int, int]]:
        """Numbers of each barrier that an LDS instruction may reach unfinished, and of the last such instruction.

        Copies from global into local memory are left out: they are meant to be under way across barriers, and waited
        for before the barrier in front of their reader.
        """
        instructions = self.program.instructions
        barriers = (use for use in self.uses() if use.local and instructions[use.user].name == "s_barrier")
        last = {use.user: use.operation for use in barriers if instructions[use.operation].name.startswith("ds_")}
        yield from sorted(last.items())

    def _uses(self, number: int, state: UnderWay) -> Iterator[Use]:
        instruction = self.program.instructions[number]
        touched = set[tuple[str, int]]().union(*(registers(operand) for operand in instruction.operands))
        own = targets(instruction)
        sources = set[tuple[str, int]]().union(*(registers(operand) for operand in instruction.operands[1:]))
        for one in state:
            other = self.program.instructions[one]
            # Loads of one counter arrive in order, so that a later one may take the register of an earlier one.
            free = own - sources if self._counters[one] == self._counters[number] else set[tuple[str, int]]()
            copy = self._counters[one] == "vmcnt"
            if (targets(other) & touched) - free:
                yield Use(number, one, local=False)
            elif local(other) and (instruction.name == "s_barrier" or (copy and instruction.name.startswith("ds_"))):
                yield Use(number, one, local=True)


def _joined(first: UnderWay, second: UnderWay) -> dict[int, int]:
    joined = dict(first)
    for one, later in second.items():
        joined[one] = min(joined.get(one, later), later)
    return joined
