"""Instructions that reach global memory: buffer, global, flat and scalar loads and stores, and private memory."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Callable, Collection
from dataclasses import dataclass
from typing import TypeAlias

import numpy as np

from rocassay.harness.engines.isa import atomics, private
from rocassay.harness.engines.isa.addressing import (
    CACHE_BITS,
    Address,
    buffer_address,
    flat_address,
    number,
)
from rocassay.harness.engines.isa.asm import M0, Instruction, Operand, Unsupported
from rocassay.harness.engines.isa.findings import By
from rocassay.harness.engines.isa.lds import Lds
from rocassay.harness.engines.isa.memory import Memory
from rocassay.harness.engines.isa.private import Private
from rocassay.harness.engines.isa.sources import no_modifiers, scalar32
from rocassay.harness.engines.isa.state import LANES, U32, Bits, Ints, Pending, Place, State

Step: TypeAlias = Callable[[State], None]

_SIZES = {
    "ubyte": 1, "sbyte": 1, "byte": 1, "ushort": 2, "sshort": 2, "short": 2, "dword": 4, "dwordx2": 8, "dwordx3": 12,
    "dwordx4": 16, "dwordx8": 32, "dwordx16": 64,
}  # fmt: skip

_UNITS = ("buffer", "global", "flat", "scratch")


@dataclass(slots=True)
class Reach:
    """What memory instructions work on."""

    memory: Memory
    lds: Lds
    private: Private


@dataclass(frozen=True, slots=True)
class _Shape:
    """What a load or store moves.

    Attributes:
        size: bytes in memory.
        signed: whether it is sign-extended.
        half: whether it is half a register, the other half of which stays.
        high: whether that is the upper one.
    """

    size: int
    signed: bool
    half: bool
    high: bool


def _shape(instruction: Instruction, kind: str) -> _Shape:
    high = kind.endswith("_d16_hi")
    half = high or kind.endswith("_d16")
    base = kind.removesuffix("_hi").removesuffix("_d16")
    size = _SIZES.get(base)
    if size is None or size > 16:
        raise Unsupported(f"{instruction.text!r} is not known")
    return _Shape(size, base in ("sbyte", "sshort"), half, high)


def build(instruction: Instruction, reach: Reach) -> Step | None:
    """The step of a memory instruction; None when it is none."""
    name = instruction.name
    if name.startswith("s_load_"):
        return _scalar_load(instruction, reach)
    unit, _, rest = name.partition("_")
    if unit not in _UNITS:
        return None
    if name in ("buffer_wbl2", "buffer_inv"):
        return _fence(instruction, reach)
    action, _, kind = rest.partition("_")
    if action == "atomic":
        return _atomic(instruction, reach, kind)
    if action not in ("load", "store"):
        raise Unsupported(f"{instruction.text!r} is not known")
    if kind.startswith("lds_"):
        return _to_lds(instruction, reach, _SIZES[kind.removeprefix("lds_")], 0)
    shape = _shape(instruction, kind)
    if unit == "scratch":
        return _scratch(instruction, reach, shape)
    if instruction.modifiers.get("lds"):
        return _to_lds(instruction, reach, shape.size, 0)
    return _load(instruction, reach, shape) if action == "load" else _store(instruction, reach, shape)


def grain(names: Collection[str]) -> int:
    """log2 of the bytes by which conflicts of workgroups are told apart: 1 byte where any store is of less than 4."""
    return 0 if any("_store_byte" in name or "_store_short" in name for name in names) else 2


def _address(instruction: Instruction, reach: Reach, first: int, size: int) -> Address:
    operands = instruction.operands[first:]
    if instruction.name.startswith("buffer"):
        return buffer_address(instruction, operands, size, reach.memory)
    return flat_address(instruction, operands)


def _issue(
    by: By, writes: tuple[tuple[Place, U32], ...], counter: str = "vmcnt", ordered: bool = True,
    late: Callable[[Bits], None] | None = None,
) -> None:  # fmt: skip
    state, instruction = by.state, by.instruction
    state.issue(Pending(counter, ordered, writes, state.mask, late, instruction.text, instruction.line))


def _file(state: State, operand: Operand) -> U32:
    return state.v if operand.kind == "v" else state.a


def _extended(values: U32, shape: _Shape, old: U32) -> U32:
    """What a load leaves in its first register."""
    if shape.signed:
        shift = np.int32(32 - 8 * shape.size)
        values = ((values.view(np.int32) << shift) >> shift).view(np.uint32)
    if not shape.half:
        return values
    low = values & np.uint32(0xFFFF)
    if shape.high:
        return (old & np.uint32(0xFFFF)) | (low << np.uint32(16))
    return (old & np.uint32(0xFFFF0000)) | low


def _volatile(instruction: Instruction) -> bool:
    """Whether it goes past the caches of the chip: how atomic loads and stores are made (LLVM AMDGPU usage)."""
    return bool(instruction.modifiers.get("sc1"))


def _load(instruction: Instruction, reach: Reach, shape: _Shape) -> Step:
    target, where = instruction.operands[0], _address(instruction, reach, 1, shape.size)
    memory, size, atomic = reach.memory, shape.size, _volatile(instruction)
    partial = shape.signed or shape.half
    registers = [(target.kind, target.index + n) for n in range(max(1, size // 4))]

    def step(state: State) -> None:
        by = By(state, instruction)
        addresses, lanes = where(by)
        values = memory.load(addresses, size, lanes, by, atomic=atomic)
        if partial:
            values = _extended(values, shape, _file(state, target)[target.index])
        _issue(by, tuple(zip(registers, values, strict=True)))

    return step


def _store(instruction: Instruction, reach: Reach, shape: _Shape) -> Step:
    buffer = instruction.name.startswith("buffer")
    data = instruction.operands[0 if buffer else 1]
    where = _address(instruction, reach, 1 if buffer else 0, shape.size)
    memory, size, atomic = reach.memory, shape.size, _volatile(instruction)
    count = max(1, size // 4)

    def step(state: State) -> None:
        by = By(state, instruction)
        addresses, lanes = where(by)
        values = _file(state, data)[data.index : data.index + count]
        values = values >> np.uint32(16) if shape.high else values
        memory.store(addresses, values, size, lanes, by, atomic=atomic)
        _issue(by, ())

    return step


def _atomic(instruction: Instruction, reach: Reach, kind: str) -> Step:
    """An update of memory; with sc0 it returns what was there before (AMD CDNA3 ISA guide, "Memory Atomics")."""
    operation = atomics.global_operation(kind)
    if operation is None:
        raise Unsupported(f"{instruction.text!r} is not known")
    returns, buffer = bool(instruction.modifiers.get("sc0")), instruction.name.startswith("buffer")
    operands = instruction.operands
    first = 1 if buffer or returns else 0
    data = operands[0] if buffer else operands[first + 1]
    where = _address(instruction, reach, first, operation.size)
    memory, target = reach.memory, operands[0]
    if operation.brought != data.count:
        raise Unsupported(f"{instruction.text!r} brings {data.count} registers, not {operation.brought}")

    def step(state: State) -> None:
        by = By(state, instruction)
        addresses, lanes = where(by)
        values = _file(state, data)[data.index : data.index + operation.brought]
        before = memory.update(addresses, values, lanes, by, operation, returns)
        writes: tuple[tuple[Place, U32], ...] = ()
        if returns:
            writes = tuple(((target.kind, target.index + n), before[n]) for n in range(operation.size // 4))
        _issue(by, writes)

    return step


def _fence(instruction: Instruction, reach: Reach) -> Step:
    """buffer_wbl2 releases, buffer_inv acquires (LLVM AMDGPU usage, "Memory Model gfx942")."""
    no_modifiers(instruction, *CACHE_BITS)
    handovers = reach.memory.meetings.handovers
    act = handovers.release if instruction.name == "buffer_wbl2" else handovers.acquire

    def step(state: State) -> None:
        for group in np.unique(state.group).tolist():
            act(group)
        _issue(By(state, instruction), ())

    return step


def _to_lds(instruction: Instruction, reach: Reach, size: int, first: int) -> Step:
    """An asynchronous copy: lane n's bytes land at M0 + offset + n * size when the counter says so.

    AMD CDNA3 ISA guide, "Memory Buffer Load to LDS"; CDNA4 has the sizes of 12 and 16 bytes.
    """
    where, constant = _address(instruction, reach, first, size), number(instruction)
    memory, lds = reach.memory, reach.lds
    spread = np.arange(LANES) * size

    def step(state: State) -> None:
        by = By(state, instruction)
        addresses, lanes = where(by)
        values = memory.load(addresses, size, lanes, by)
        places = (state.s[M0].astype(np.int64) + constant)[:, None] + spread
        land = lds.copy(places, values, size, by)
        _issue(by, (), late=land)

    return step


def _scratch(instruction: Instruction, reach: Reach, shape: _Shape) -> Step:
    """Private memory of every lane; spills live there."""
    load = "_load_" in instruction.name
    data, size, own = instruction.operands[0 if load else 1], shape.size, reach.private
    parts, count = private.address_of(instruction), max(1, size // 4)
    registers = [(data.kind, data.index + n) for n in range(count)]

    def loading(state: State) -> None:
        by = By(state, instruction)
        values = own.load(private.addresses(state, *parts), size, by)
        values = _extended(values, shape, _file(state, data)[data.index])
        _issue(by, tuple(zip(registers, values, strict=True)))

    def storing(state: State) -> None:
        by = By(state, instruction)
        values = _file(state, data)[data.index : data.index + count]
        values = values >> np.uint32(16) if shape.high else values
        own.store(private.addresses(state, *parts), values, size, by)
        _issue(by, ())

    return loading if load else storing


def _scalar_load(instruction: Instruction, reach: Reach) -> Step:
    no_modifiers(instruction, "offset", *CACHE_BITS)
    target, base, extra = instruction.operands
    size = _SIZES[instruction.name.removeprefix("s_load_")]
    more, constant, memory = scalar32(extra, instruction.text), number(instruction), reach.memory

    def step(state: State) -> None:
        by = By(state, instruction)
        addresses: Ints = (state.scalar64(base.index).astype(np.int64) + more(state) + constant)[:, None]
        values = memory.load(addresses, size, None, by)
        writes = tuple((("s", target.index + n), values[n][:, 0]) for n in range(size // 4))
        _issue(by, writes, "lgkmcnt", ordered=False)

    return step
