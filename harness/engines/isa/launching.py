"""A kernel launch as machine code: tensors in memory, workgroups in chunks, what came out and what it cost."""

# pyright: reportUnknownMemberType=false
from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

import numpy as np
import torch

from rocassay.harness.engines.isa.codeobj import CompiledLaunch, Entry, Start, argument_bytes, initial_state
from rocassay.harness.engines.isa.counting import Counts, by_class, by_mnemonic, operations
from rocassay.harness.engines.isa.findings import FindingLog, MachineFinding
from rocassay.harness.engines.isa.machine import PATIENCE, Machine
from rocassay.harness.engines.isa.memory import Memory
from rocassay.harness.engines.isa.placement import TWIN
from rocassay.harness.engines.launch import Launch

WAVES_AT_ONCE = 256
"""Waves of a chunk: enough to share the cost of an instruction, few enough to stay in the caches."""

ARGUMENTS = "kernel arguments"
"""Name of the argument buffer among the tensors."""

JUNK = (0x7FC12345, 0xDEADBEEF)
"""What registers and local memory hold at the start, a value a world: NaN and a large negative number as floats, two
far addresses as integers. Zero would hide what it stands in for."""


@dataclass(frozen=True, slots=True)
class Settings:
    """How a launch is run.

    Attributes:
        entry: where the kernel starts.
        junk: content of what nobody has set, by world. With two, every workgroup runs twice, and an output that
            differs between the worlds depends on something that was never written.
        undefined: tensors whose content before the launch means nothing: the second world has another there.
        patience: wave-instructions after which the launch counts as hung.
        waves_at_once: waves of all worlds that run together.
    """

    entry: Entry = "preload"
    junk: tuple[int, ...] = JUNK
    undefined: frozenset[str] = frozenset()
    patience: int = PATIENCE
    waves_at_once: int = WAVES_AT_ONCE


@dataclass(frozen=True, slots=True)
class Outcome:
    """A launch that was run.

    Attributes:
        outputs: the tensors that the kernel stored to, by argument name; they were written in place.
        addresses: where the kernel saw its tensors, by argument name.
        counts: what it cost, of one world.
        findings: what it did beyond its values; empty for a clean kernel.
        code: what was executed.
        executed: times that each instruction of `code` was executed by a wave of any world.
    """

    outputs: Mapping[str, torch.Tensor]
    addresses: Mapping[str, int]
    counts: Counts
    findings: tuple[MachineFinding, ...]
    code: CompiledLaunch
    executed: tuple[int, ...] = field(repr=False)

    @property
    def clean(self) -> bool:
        """Whether nothing was found."""
        return not self.findings

    def by_line(self) -> dict[str, int]:
        """Executions by source line, the most frequent first."""
        totals: dict[str, int] = {}
        for instruction, times in zip(self.code.program.instructions, self.executed, strict=True):
            totals[instruction.where] = totals.get(instruction.where, 0) + times
        return dict(sorted(totals.items(), key=lambda item: -item[1]))


def execute(code: CompiledLaunch, launch: Launch, settings: Settings) -> Outcome:
    """Run a compiled launch; its tensors are read and written in place. Raises Hung and Unsupported."""
    memory, lds, private = code.code.reach.memory, code.code.reach.lds, code.code.reach.private
    memory.renew()
    lds.begin()
    private.begin()
    tensors = {name: value for name, value in launch.args.items() if isinstance(value, torch.Tensor)}
    memory.place(tensors.items())
    addresses = {name: memory.address(name) for name in tensors}
    arguments = argument_bytes(code, launch, addresses)
    kernarg = memory.add(ARGUMENTS, _padded(arguments))
    worlds = len(settings.junk)
    if worlds > 1:
        memory.divide(settings.undefined, settings.junk[1])
    machine = Machine(code.code, settings.patience)
    chunks = Chunks(launch.grid[0] * launch.grid[1] * launch.grid[2], worlds, code.num_warps, settings.waves_at_once)
    log = FindingLog()
    with np.errstate(all="ignore"):
        for first, count in chunks:
            junk = np.repeat(np.array(settings.junk, np.uint32), count)
            lds.renew(code.lds_bytes, count * worlds, first * worlds, junk, watched=code.num_warps > 1)
            state = initial_state(
                code, launch.grid, Start(first, count, kernarg, arguments, settings.junk, settings.entry)
            )
            private.renew(int(state.waves[0]), np.repeat(junk, code.num_warps))
            machine.run(state)
    for part in (memory.findings, lds.findings, private.findings, machine.findings, memory.differences()):
        for finding in part:
            log.add(chunks.renumbered(finding))
    executed = tuple(code.code.executed(machine.hits))
    outcome = Outcome(
        {name: tensor for name, tensor in tensors.items() if name in memory.written_bytes},
        addresses,
        _counts(code, executed, memory, worlds),
        tuple(log),
        code,
        executed,
    )
    memory.renew()
    return outcome


@dataclass(frozen=True, slots=True)
class Chunks:
    """Workgroups in the order in which they run, so many at once that a chunk has no more waves than allowed.

    The machine numbers the workgroups of a chunk one after the other, the second world's behind the first's.
    """

    total: int
    worlds: int
    num_warps: int
    waves_at_once: int

    def __iter__(self) -> Iterator[tuple[int, int]]:
        """(first workgroup, how many) of each chunk."""
        return ((first, min(self.step, self.total - first)) for first in range(0, self.total, self.step))

    @property
    def step(self) -> int:
        """Workgroups of a chunk."""
        return max(1, self.waves_at_once // (self.num_warps * self.worlds))

    def workgroup(self, number: int) -> int:
        """The launch's workgroup behind a machine's number."""
        first = number // (self.step * self.worlds) * self.step
        count = min(self.step, self.total - first)
        return first + (number - first * self.worlds) % count

    def renumbered(self, finding: MachineFinding) -> MachineFinding:
        """A finding with the launch's numbers of waves and workgroups, whichever world it was made in."""
        other = finding.other
        if other is not None and other >= 0:
            other = self._wave(other) if finding.kind == "local_race" else self.workgroup(other)
        wave = self._wave(finding.wave) if finding.wave >= 0 else finding.wave
        group = self.workgroup(finding.group) if finding.group >= 0 else finding.group
        return replace(finding, wave=wave, group=group, other=other, subject=finding.subject.removesuffix(TWIN))

    def _wave(self, wave: int) -> int:
        return self.workgroup(wave // self.num_warps) * self.num_warps + wave % self.num_warps


def _padded(data: bytes) -> np.ndarray[tuple[int], np.dtype[np.uint8]]:
    """Scalar loads may fetch a little more than the arguments."""
    return np.frombuffer(bytearray(data + bytes(64)), np.uint8)


def _counts(code: CompiledLaunch, executed: Sequence[int], memory: Memory, worlds: int) -> Counts:
    """Totals of one world: both execute the same, or their outputs differ."""
    lds = code.code.reach.lds
    instructions, own = code.code.of_kinds([times // worlds for times in executed])
    mnemonics = by_mnemonic(instructions, own)
    return Counts(
        wave_instructions=by_class(instructions, own),
        mfma_operations=sum(operations(i) * times for i, times in zip(instructions, own, strict=True) if times),
        waits=mnemonics.get("s_waitcnt", 0),
        barriers=mnemonics.get("s_barrier", 0),
        read=_of_tensors(memory.read_bytes),
        written=_of_tensors(memory.written_bytes),
        lds_read=lds.read_bytes // worlds,
        lds_written=lds.written_bytes // worlds,
        lds_conflicts=lds.conflicts // worlds,
        scratch=code.code.reach.private.moved_bytes // worlds,
        atomics=(memory.atomics + lds.atomics) // worlds,
        mnemonics=mnemonics,
    )


def _of_tensors(moved: Mapping[str, int]) -> dict[str, int]:
    """Bytes of the first world's tensors."""
    return {name: count for name, count in moved.items() if name != ARGUMENTS and not name.endswith(TWIN)}
