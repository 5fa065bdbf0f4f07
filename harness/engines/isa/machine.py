"""Waves in batches: those at one instruction go on together, and part where they branch apart."""

# pyright: reportUnknownMemberType=false
from __future__ import annotations

import re
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rocassay.harness.engines.isa.asm import Instruction
from rocassay.harness.engines.isa.findings import FindingLog, divergent_barrier, missing_wait
from rocassay.harness.engines.isa.program import Block, Code, places
from rocassay.harness.engines.isa.state import Bits, Place, State, merged
from rocassay.harness.errors import RocassayError

PATIENCE = 20_000_000
"""Wave-instructions after which a launch counts as hung."""


class Hung(RocassayError):
    """A launch does not come to its end: waves wait for others that never come, or a loop has no end."""


_LOADS = re.compile(r"buffer_load|global_load|scratch_load|ds_read|ds_b?permute|ds_swizzle")


@dataclass(slots=True)
class Machine:
    """One program on the chunks of one launch's workgroups.

    Attributes:
        hits: times that waves entered each block, by its first instruction.
        left: wave-instructions until a launch counts as hung.
        findings: missing waits and divergent barriers.
    """

    code: Code
    left: int = PATIENCE
    hits: dict[int, int] = field(default_factory=dict[int, int])
    findings: FindingLog = field(default_factory=FindingLog)
    _alive: Any = None
    _waves: Any = None

    def run(self, state: State) -> None:
        """Run all waves of a chunk to their end. Raises Hung."""
        self._waves = self._per_group([state])
        self._alive = self._waves.copy()
        ready, waiting = [state], list[State]()
        while ready or waiting:
            if not ready:
                ready, waiting = self._released(waiting)
            ready.sort(key=lambda batch: batch.pc)
            batch = ready.pop(0)
            if ready and _mergeable(batch, ready[0]):
                ready[0] = merged(batch, ready[0])
                continue
            outcome, more = self._advance(batch, ready[0].pc if ready else None)
            ready += more
            if outcome == "barrier":
                waiting.append(batch)

    def _local(self, state: State) -> Any:
        """Workgroups counted from the chunk's first."""
        return state.group - self.code.reach.lds.first

    def _per_group(self, batches: list[State]) -> Any:
        """Waves of each workgroup in some batches: int64 [groups]."""
        count = self.code.reach.lds.groups
        return sum((np.bincount(self._local(one), minlength=count) for one in batches), np.zeros(count, np.int64))

    def _advance(self, state: State, limit: int | None) -> tuple[str, list[State]]:
        """Run a batch until it ends, waits, parts, or reaches where another one stands."""
        block_at, hits, count = self.code.block, self.hits, state.count
        while True:
            block = block_at(state.pc)
            hits[block.first] = hits.get(block.first, 0) + count
            self._spend(count * block.count)
            for action in block.actions:
                if state.busy and not state.busy.isdisjoint(action.touched):
                    self._hazard(state, action.instruction, action.touched)
                action.step(state)
            last = block.last
            if last is None:
                state.pc = block.after
            elif block.condition is not None:
                parted = _branch(state, block)
                if parted is not None:
                    return "parted", parted
            elif last.name == "s_endpgm":
                np.subtract.at(self._alive, self._local(state), 1)
                return "end", []
            elif self._all_here(state):
                self.code.reach.lds.barrier([state])
                state.pc = block.after
            else:
                state.pc = block.after - 1
                return "barrier", []
            if limit is not None and state.pc >= limit:
                return "reached", [state]

    def _spend(self, instructions: int) -> None:
        self.left -= instructions
        if self.left < 0:
            raise Hung(
                f"{self.code.program.name} has not ended after the wave-instructions that it was given; a loop has "
                "no end, or waits for a workgroup that is not running: raise `patience` if it is only long"
            )

    def _all_here(self, state: State) -> bool:
        """Whether the batch holds every wave of its workgroups."""
        here = np.bincount(self._local(state), minlength=len(self._waves))
        return bool(((here == 0) | (here == self._waves)).all())

    def _released(self, waiting: list[State]) -> tuple[list[State], list[State]]:
        """Workgroups all of whose living waves stand at a barrier go on."""
        here = self._per_group(waiting)
        whole = (here > 0) & (here == self._alive)
        if not whole.any():
            stuck = ", ".join(sorted({self._at(state).where for state in waiting}))
            raise Hung(f"{self.code.program.name}: waves wait at the barrier of {stuck} for others that never come")
        self._note_divergence(waiting, whole)
        ready: list[State] = []
        still: list[State] = []
        for state in waiting:
            free = whole[self._local(state)]
            if not free.any():
                still.append(state)
                continue
            part = state if free.all() else state.part(free)
            if not free.all():
                still.append(state.part(~free))
            part.pc += 1
            ready.append(part)
        self.code.reach.lds.barrier(ready)
        return ready, still

    def _at(self, state: State) -> Instruction:
        return self.code.program.instructions[state.pc]

    def _note_divergence(self, waiting: list[State], whole: Bits) -> None:
        """Report workgroups whose waves stand at several barriers, or have ended in part."""
        for state in waiting:
            local = self._local(state)
            mine = np.unique(local[whole[local]])
            ended = mine[self._alive[mine] < self._waves[mine]]
            apart = [one for one in waiting if one.pc != state.pc and np.isin(mine, self._local(one)).any()]
            if len(ended) or apart:
                others = f"at the barrier of {self._at(apart[0]).where}" if apart else "at the end of the kernel"
                wave = int(state.waves[np.isin(local, mine)][0])
                self.findings.add(divergent_barrier(self._at(state), others, wave))

    def _hazard(self, state: State, instruction: Instruction, touched: frozenset[Place]) -> None:
        """Note the use of a register that a pending operation writes."""
        # Loads of one counter arrive in order: a later one may take the register of an earlier one.
        target = places(instruction.operands[0]) if _LOADS.match(instruction.name) else frozenset[Place]()
        sources = frozenset[Place]().union(*(places(operand) for operand in instruction.operands[1:]))
        for pending in state.pending:
            in_order = pending.ordered and (pending.counter == "lgkmcnt") == instruction.name.startswith("ds_")
            free = target - sources if in_order else frozenset[Place]()
            used = [place for place, _ in pending.writes if place in touched and place not in free]
            if used:
                register, number = used[0]
                wave = int(state.waves[0])
                self.findings.add(missing_wait(instruction, f"{register}{number}", pending.text, wave))


def _mergeable(first: State, second: State) -> bool:
    return first.pc == second.pc and not first.pending and not second.pending and first.saturate == second.saturate


def _branch(state: State, block: Block) -> list[State] | None:
    """Move the program counter; the two parts when the waves disagree."""
    assert block.condition
    taken = block.condition(state)
    if taken.all():
        state.pc = block.target
        return None
    if not taken.any():
        state.pc = block.after
        return None
    gone, stayed = state.part(taken), state.part(~taken)
    gone.pc, stayed.pc = block.target, block.after
    return [gone, stayed]
