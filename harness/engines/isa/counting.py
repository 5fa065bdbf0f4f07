"""What a launch costs, counted and not timed: the same on every machine, so that a change is one of the code."""

from __future__ import annotations

import functools
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

from rocassay.harness.codegen.text import CLASSES, Class
from rocassay.harness.codegen.text import class_of as class_of_mnemonic
from rocassay.harness.engines.isa.asm import Instruction

_MATRIX = re.compile(r"v_s?mfmac?_(?:scale_)?[a-z]\w*?_(\d+)x(\d+)x(\d+)")


def class_of(instruction: Instruction) -> Class:
    """The class of an instruction; a move between lanes counts as cross-lane whatever unit does it."""
    return _class(instruction.name, instruction.encoding)


@functools.lru_cache(maxsize=1 << 12)
def _class(name: str, encoding: str) -> Class:
    return class_of_mnemonic(f"{name}_{encoding}" if encoding else name)


def operations(instruction: Instruction) -> int:
    """Floating-point operations of a matrix instruction, two a multiply-add; 0 of any other."""
    return _operations(instruction.name)


@functools.lru_cache(maxsize=1 << 12)
def _operations(name: str) -> int:
    found = _MATRIX.match(name)
    if not found:
        return 0
    m, n, k = (int(number) for number in found.groups())
    return 2 * m * n * k


def _no_counts() -> dict[str, int]:
    return {}


@dataclass(frozen=True, slots=True)
class Counts:
    """Exact totals of a launch.

    Attributes:
        wave_instructions: instructions times the waves that executed them, by class; classes that never ran are 0.
        mfma_operations: floating-point operations of matrix instructions, padding included.
        waits: executed `s_waitcnt`.
        barriers: executed `s_barrier`, one a wave.
        read, written: bytes through global memory by tensor; a byte moved twice counts twice.
        lds_read, lds_written: bytes through local memory.
        lds_conflicts: extra cycles that bank conflicts of local memory cost.
        scratch: bytes through private memory, spills among them.
        atomics: lanes that updated memory atomically.
        mnemonics: wave-instructions by mnemonic.
    """

    wave_instructions: Mapping[str, int]
    mfma_operations: int = 0
    waits: int = 0
    barriers: int = 0
    read: Mapping[str, int] = field(default_factory=_no_counts)
    written: Mapping[str, int] = field(default_factory=_no_counts)
    lds_read: int = 0
    lds_written: int = 0
    lds_conflicts: int = 0
    scratch: int = 0
    atomics: int = 0
    mnemonics: Mapping[str, int] = field(default_factory=_no_counts)

    @property
    def total(self) -> int:
        """Wave-instructions of all classes."""
        return sum(self.wave_instructions.values())

    @property
    def bytes_read(self) -> int:
        """Bytes loaded from global memory."""
        return sum(self.read.values())

    @property
    def bytes_written(self) -> int:
        """Bytes stored to global memory."""
        return sum(self.written.values())


def by_class(instructions: Sequence[Instruction], executed: Sequence[int]) -> dict[str, int]:
    """Wave-instructions by class."""
    totals = dict.fromkeys((str(name) for name in CLASSES), 0)
    for instruction, times in zip(instructions, executed, strict=True):
        if times:
            totals[class_of(instruction)] += times
    return totals


def by_mnemonic(instructions: Sequence[Instruction], executed: Sequence[int]) -> dict[str, int]:
    """Wave-instructions by mnemonic, the most frequent first."""
    totals: dict[str, int] = {}
    for instruction, times in zip(instructions, executed, strict=True):
        if times:
            totals[instruction.name] = totals.get(instruction.name, 0) + times
    return dict(sorted(totals.items(), key=lambda item: (-item[1], item[0])))
