"""A program ready to run: its instructions as steps, in blocks that nothing enters or leaves half way."""

# pyright: reportUnknownMemberType=false
from __future__ import annotations

import functools
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from rocassay.harness.engines.isa import lds as lds_unit
from rocassay.harness.engines.isa import mfma, salu, valu, vmem
from rocassay.harness.engines.isa.asm import EXEC, VCC, Instruction, Operand, Program, Unsupported, parts_of
from rocassay.harness.engines.isa.asm import instruction as parse_instruction
from rocassay.harness.engines.isa.state import Bits, Place, State

Step: TypeAlias = Callable[[State], None]
Condition: TypeAlias = Callable[[State], Bits]

CONDITIONS: dict[str, Condition] = {
    "s_branch": lambda state: np.ones(state.count, np.bool_),
    "s_cbranch_scc0": lambda state: ~state.scc,
    "s_cbranch_scc1": lambda state: state.scc,
    "s_cbranch_vccz": lambda state: state.scalar64(VCC) == 0,
    "s_cbranch_vccnz": lambda state: state.scalar64(VCC) != 0,
    "s_cbranch_execz": lambda state: state.scalar64(EXEC) == 0,
    "s_cbranch_execnz": lambda state: state.scalar64(EXEC) != 0,
}

_LEAVES = frozenset({"s_endpgm", "s_barrier", *CONDITIONS})
"""Instructions behind which a block ends."""


@dataclass(slots=True)
class Action:
    """An instruction ready to run.

    Attributes:
        step: what it does to a batch.
        instruction: for reports.
    """

    step: Step
    instruction: Instruction
    _touched: frozenset[Place] | None = None

    @property
    def touched(self) -> frozenset[Place]:
        """Registers that it reads or writes."""
        # Asked for while something is pending only: most instructions of most programs are never asked.
        if self._touched is None:
            self._touched = _touched(self.instruction.text)
        return self._touched


@dataclass(frozen=True, slots=True)
class Block:
    """Instructions that a batch runs one after the other.

    Attributes:
        first: number of the first.
        count: how many, the last one included.
        actions: all but a branch, barrier or end.
        last: that branch, barrier or end; None where the block ends because another begins.
        condition, target: of a branch.
    """

    first: int
    count: int
    actions: tuple[Action, ...]
    last: Instruction | None
    condition: Condition | None = None
    target: int = 0

    @property
    def after(self) -> int:
        """The instruction behind the block."""
        return self.first + self.count


@functools.lru_cache(maxsize=1 << 12)
def _registers(kind: str, index: int, count: int) -> frozenset[Place]:
    return frozenset((kind, index + n) for n in range(count))


def places(operand: Operand) -> frozenset[Place]:
    """Registers of an operand."""
    if operand.kind not in ("v", "a", "s"):
        return frozenset()
    return _registers(operand.kind, operand.index, operand.count)


def _wait(instruction: Instruction) -> Step:
    counters: list[tuple[str, int]] = []
    for name, left in instruction.modifiers.items():
        assert isinstance(left, int)
        counters.append((name, left))

    def step(state: State) -> None:
        if state.pending:
            for name, left in counters:
                state.await_results(name, left)

    return step


@functools.lru_cache(maxsize=1 << 16)
def _touched(text: str) -> frozenset[Place]:
    return frozenset[Place]().union(*map(places, parts_of(text).operands))


@functools.lru_cache(maxsize=1 << 17)
def _on_registers(text: str, arch: str) -> Step | None:
    """The step of an instruction that works on registers alone: it is the same in every program.

    None for one that reaches memory, or that nobody knows.
    """
    if text.startswith("v_mfma_"):
        return mfma.build(parse_instruction(text), arch)
    if text.startswith("v_"):
        return valu.build(parse_instruction(text), arch)
    if text.startswith("s_waitcnt"):
        return _wait(parse_instruction(text))
    return salu.build(parse_instruction(text)) if text.startswith("s_") else None


class Code:
    """A program's blocks, bound to memories that every launch fills anew."""

    def __init__(self, program: Program, arch: str, reach: vmem.Reach) -> None:
        self.program, self.arch, self.reach = program, arch, reach
        names = {instruction.name for instruction in program.instructions}
        reach.lds.grain = lds_unit.grain(names)
        reach.memory.meetings.grain = vmem.grain(names)
        leaders = {0, program.preload_entry, *program.labels.values()}
        for number, instruction in enumerate(program.instructions):
            if instruction.name in _LEAVES:
                leaders.add(number + 1)
        ordered = sorted(number for number in leaders if number < len(program.instructions))
        self._ends = dict(zip(ordered, [*ordered[1:], len(program.instructions)], strict=True))
        self._blocks: dict[int, Block] = {}
        self._kinds: tuple[list[Instruction], list[int]] | None = None

    def block(self, first: int) -> Block:
        """The block that begins at an instruction; it is prepared when it is first entered.

        Raises Unsupported, naming the instruction, for the first that no unit knows.
        """
        found = self._blocks.get(first)
        if found is None:
            found = self._blocks[first] = self._block(first, self._ends[first])
        return found

    def prepare(self) -> None:
        """Prepare every block, those included that no launch may enter. Raises Unsupported."""
        for first in self._ends:
            self.block(first)

    @property
    def blocks(self) -> dict[int, Block]:
        """Every block by its first instruction, those included that no launch may enter. Raises Unsupported."""
        return {first: self.block(first) for first in self._ends}

    def _block(self, first: int, end: int) -> Block:
        instructions = self.program.instructions[first:end]
        last = instructions[-1] if instructions[-1].name in _LEAVES else None
        inner = instructions[:-1] if last else instructions
        actions = tuple(self._action(instruction) for instruction in inner)
        if last is None or last.name not in CONDITIONS:
            return Block(first, end - first, actions, last)
        target = self.program.labels[str(last.operands[0].value)]
        return Block(first, end - first, actions, last, CONDITIONS[last.name], target)

    def _action(self, instruction: Instruction) -> Action:
        step = _on_registers(instruction.text, self.arch)
        step = step or lds_unit.build(instruction, self.reach.lds) or vmem.build(instruction, self.reach)
        if step is None:
            raise Unsupported(f"instruction {instruction.text!r} at {instruction.where} is not known")
        return Action(step, instruction)

    def executed(self, hits: dict[int, int]) -> list[int]:
        """Times that each instruction was executed, from the times that each block was."""
        times = [0] * len(self.program.instructions)
        for first, count in hits.items():
            # Blocks lie side by side: an instruction is of one.
            times[first : self._ends[first]] = [count] * (self._ends[first] - first)
        return times

    def of_kinds(self, executed: Sequence[int]) -> tuple[list[Instruction], list[int]]:
        """One instruction of every mnemonic and encoding, and how often all of them were executed."""
        if self._kinds is None:
            numbers: dict[tuple[str, str], int] = {}
            each = [numbers.setdefault((one.name, one.encoding), len(numbers)) for one in self.program.instructions]
            one_of = dict(zip(each, self.program.instructions, strict=True))
            self._kinds = [one_of[number] for number in range(len(numbers))], each
        kinds, each = self._kinds
        totals = [0] * len(kinds)
        for number, times in zip(each, executed, strict=True):
            totals[number] += times
        return kinds, totals
