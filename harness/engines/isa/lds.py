"""Instructions on local memory."""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Callable, Collection
from typing import TypeAlias

import numpy as np

from rocassay.harness.engines.isa.addressing import number
from rocassay.harness.engines.isa.asm import Instruction, Operand, Unsupported
from rocassay.harness.engines.isa.atomics import local_operation
from rocassay.harness.engines.isa.crossbar import CROSSINGS
from rocassay.harness.engines.isa.findings import By
from rocassay.harness.engines.isa.localmem import Lds
from rocassay.harness.engines.isa.races import Touch
from rocassay.harness.engines.isa.sources import no_modifiers
from rocassay.harness.engines.isa.state import LANES, U32, Bits, Pending, Place, State

Step: TypeAlias = Callable[[State], None]

_SIZES = {"b8": 1, "u8": 1, "i8": 1, "b16": 2, "u16": 2, "i16": 2, "b32": 4, "b64": 8, "b96": 12, "b128": 16}


def build(instruction: Instruction, lds: Lds) -> Step | None:
    """The step of an instruction on local memory; None when it is none."""
    name = instruction.name
    if not name.startswith("ds_"):
        return None
    if name in CROSSINGS:
        return CROSSINGS[name](instruction)
    if name in ("ds_read_b64_tr_b16", "ds_read_b64_tr_b8"):
        return _transposed(instruction, lds, 16 if name.endswith("b16") else 8)
    if name.startswith(("ds_read2", "ds_write2")):
        return _read_two(instruction, lds) if name.startswith("ds_read2") else _write_two(instruction, lds)
    high = name.endswith("_d16_hi")
    kind, half = name.removesuffix("_hi").removesuffix("_d16"), name.endswith(("_d16", "_d16_hi"))
    size = _SIZES.get(kind.rpartition("_")[2])
    if size is not None and kind.startswith("ds_write_b") and (not half or size < 4):
        return _write(instruction, lds, size, high)
    if size is not None and kind.startswith("ds_read_") and (not half or size < 4):
        return _read(instruction, lds, size, half, high)
    return _atomic(instruction, lds)


def grain(names: Collection[str]) -> int:
    """log2 of the bytes of the smallest store among instructions: what races are told apart by."""
    if any(name.startswith("ds_write_b8") for name in names):
        return 0
    return 1 if any(name.startswith("ds_write_b16") for name in names) else 2


def _lanes(state: State) -> Bits | None:
    return None if state.full else state.mask


def _issue(by: By, writes: tuple[tuple[Place, U32], ...], *touches: Touch | None) -> None:
    state, instruction = by.state, by.instruction
    held = tuple(touch for touch in touches if touch is not None)
    state.issue(Pending("lgkmcnt", True, writes, state.mask, None, instruction.text, instruction.line, held))


def _wanted(size: int) -> int:
    """Alignment of an access: b96 wants as much as b128."""
    return 16 if size == 12 else size


def _places(operand: Operand, count: int) -> list[Place]:
    return [(operand.kind, operand.index + n) for n in range(count)]


def _read(instruction: Instruction, lds: Lds, size: int, half: bool, high: bool) -> Step:
    no_modifiers(instruction, "offset")
    target, at = instruction.operands
    offset, wanted = number(instruction), _wanted(size)
    signed = "_i8" in instruction.name or "_i16" in instruction.name
    registers = _places(target, max(1, size // 4))

    def step(state: State) -> None:
        by = By(state, instruction)
        values, touch = lds.load(state.v[at.index], offset, size, _lanes(state), by, wanted)
        if signed:
            shift = np.int32(32 - 8 * size)
            values = ((values.view(np.int32) << shift) >> shift).view(np.uint32)
        if half:
            old = (state.v if target.kind == "v" else state.a)[target.index]
            low = values & np.uint32(0xFFFF)
            kept = old & np.uint32(0xFFFF if high else 0xFFFF0000)
            values = kept | (low << np.uint32(16) if high else low)
        _issue(by, tuple(zip(registers, values, strict=True)), touch)

    return step


def _data(state: State, operand: Operand, count: int) -> U32:
    file = state.v if operand.kind == "v" else state.a
    return file[operand.index : operand.index + count]


def _write(instruction: Instruction, lds: Lds, size: int, high: bool) -> Step:
    no_modifiers(instruction, "offset")
    at, data = instruction.operands
    offset, wanted, count = number(instruction), _wanted(size), max(1, size // 4)

    def step(state: State) -> None:
        by = By(state, instruction)
        values = _data(state, data, count)
        values = values >> np.uint32(16) if high else values
        _issue(by, (), lds.store(state.v[at.index], offset, values, size, _lanes(state), by, wanted))

    return step


def _atomic(instruction: Instruction, lds: Lds) -> Step:
    """An update of local memory; lanes and waves may meet at an address."""
    no_modifiers(instruction, "offset")
    found = local_operation(instruction.name.removeprefix("ds_"))
    if found is None:
        raise Unsupported(f"{instruction.text!r} is not known")
    operation, returns = found
    at, data = instruction.operands[1 if returns else 0 :]
    target, offset = instruction.operands[0], number(instruction)
    if data.count != operation.brought:
        raise Unsupported(f"{instruction.text!r} brings {data.count} registers, not {operation.brought}")

    def step(state: State) -> None:
        by = By(state, instruction)
        values = _data(state, data, operation.brought)
        before, touch = lds.update(state.v[at.index], offset, values, _lanes(state), by, operation, returns)
        registers = _places(target, len(before)) if returns else []
        _issue(by, tuple(zip(registers, before, strict=False)), touch)

    return step


def _strides(instruction: Instruction) -> tuple[int, int, int]:
    """(bytes of one element, byte offsets of the two)."""
    size = 8 if instruction.name.endswith("b64") else 4
    unit = size * (64 if "st64" in instruction.name else 1)
    return size, number(instruction, "offset0") * unit, number(instruction, "offset1") * unit


def _read_two(instruction: Instruction, lds: Lds) -> Step:
    no_modifiers(instruction, "offset0", "offset1")
    target, at = instruction.operands
    size, first, second = _strides(instruction)
    registers = _places(target, size // 2)

    def step(state: State) -> None:
        by, lanes, base = By(state, instruction), _lanes(state), state.v[at.index]
        one, touch = lds.load(base, first, size, lanes, by, size)
        other, touch2 = lds.load(base, second, size, lanes, by, size)
        _issue(by, tuple(zip(registers, (*one, *other), strict=True)), touch, touch2)

    return step


def _write_two(instruction: Instruction, lds: Lds) -> Step:
    no_modifiers(instruction, "offset0", "offset1")
    at, one, other = instruction.operands
    size, first, second = _strides(instruction)

    def step(state: State) -> None:
        by, lanes, base = By(state, instruction), _lanes(state), state.v[at.index]
        touch = lds.store(base, first, _data(state, one, size // 4), size, lanes, by, size)
        touch2 = lds.store(base, second, _data(state, other, size // 4), size, lanes, by, size)
        _issue(by, (), touch, touch2)

    return step


def _transposed(instruction: Instruction, lds: Lds, width: int) -> Step:
    """ds_read_b64_tr_b*: a transposition within 16 lanes, each of which addresses 64 bits.

    With n elements of `width` bits a lane, element e of lane l is element l % n of what lane 16 e / n + l / n addresses
    (AMD CDNA4 ISA guide, DS_READ_B64_TR_B16 and DS_READ_B64_TR_B8).
    """
    no_modifiers(instruction, "offset")
    target, at = instruction.operands
    offset, n = number(instruction), 64 // width
    kind = np.uint16 if width == 16 else np.uint8
    registers = _places(target, 2)

    def step(state: State) -> None:
        by = By(state, instruction)
        words, touch = lds.load(state.v[at.index], offset, 8, _lanes(state), by, 8)
        elements = np.ascontiguousarray(words.transpose(1, 2, 0)).view(kind)
        # Lanes as (e, a), elements as b: lane (a, b) gets element e.
        moved = elements.reshape(state.count, 4, n, 16 // n, n).transpose(0, 1, 3, 4, 2)
        packed = np.ascontiguousarray(moved).view(np.uint32).reshape(state.count, LANES, 2)
        _issue(by, ((registers[0], packed[:, :, 0]), (registers[1], packed[:, :, 1])), touch)

    return step


__all__ = ["Lds", "build"]
