"""Sources that come from other lanes or from parts of a register: DPP and SDWA."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from rocassay.harness.engines.isa.asm import Instruction, Operand, Unsupported
from rocassay.harness.engines.isa.sources import Array, Get, vector32
from rocassay.harness.engines.isa.state import LANES, Bits, State

_LANE = np.arange(LANES)
_ROW = 16


def dpp_source(instruction: Instruction) -> tuple[NDArray[np.int64], NDArray[np.bool_]]:
    """(lane that each lane reads, whether there is one), AMD CDNA3 ISA guide, "Data Parallel Processing"."""
    m = instruction.modifiers
    row, place = _LANE // _ROW, _LANE % _ROW
    always = np.ones(LANES, np.bool_)
    if "quad_perm" in m:
        order = np.array(m["quad_perm"])
        return _LANE // 4 * 4 + order[_LANE % 4], always
    if "row_ror" in m:
        return row * _ROW + (place - _number(m["row_ror"])) % _ROW, always
    if "row_shr" in m:
        source = place - _number(m["row_shr"])
        return row * _ROW + source.clip(0), source >= 0
    if "row_shl" in m:
        source = place + _number(m["row_shl"])
        return row * _ROW + source.clip(max=_ROW - 1), source < _ROW
    if "row_mirror" in m:
        return row * _ROW + _ROW - 1 - place, always
    if "row_half_mirror" in m:
        return _LANE // 8 * 8 + 7 - _LANE % 8, always
    if m.get("row_bcast") == 15:
        return (row * _ROW - 1).clip(0), row > 0
    if m.get("row_bcast") == 31:
        return np.full(LANES, 31), _LANE >= 32
    raise Unsupported(f"the lane pattern of {instruction.text!r} is not known")


def _number(value: object) -> int:
    assert isinstance(value, int)
    return value


@dataclass(frozen=True, slots=True)
class Moved:
    """The first source of a DPP instruction.

    A lane that reads from nowhere, or from a lane that does not execute, reads 0 with `bound_ctrl` and keeps its old
    result without (AMD CDNA3 ISA guide, DPP_BOUND_CTRL; LLVM AMDGPU usage, `update.dpp`).

    Attributes:
        plain: the source before lanes are crossed.
        source: lane that each lane reads.
        there: bool [64], whether there is such a lane.
        columns: lanes that are written when all lanes execute.
        bounded: bound_ctrl.
    """

    plain: Get
    source: NDArray[np.int64]
    there: Bits
    columns: NDArray[np.int64]
    bounded: bool

    def read(self, state: State) -> Array:
        """uint32 [W, 64], what each lane reads."""
        values = self.plain(state)
        if values.ndim < 2 or values.shape[1] == 1:
            values = np.broadcast_to(values, state.mask.shape)
        values = values.take(self.source, axis=1)
        if not self.bounded:
            return values
        if not state.full:
            values[~(self.there & state.mask[:, self.source])] = 0
        elif not self.there.all():
            values[:, ~self.there] = 0
        return values

    def written(self, state: State) -> Bits | None:
        """bool [W, 64], lanes that are written; None for `columns`."""
        if state.full:
            return None
        enabled = np.zeros(LANES, np.bool_)
        enabled[self.columns] = True
        lanes = state.mask & enabled
        return lanes if self.bounded else lanes & state.mask[:, self.source]


def dpp(instruction: Instruction, operand: Operand) -> Moved:
    """The first source as its lanes read it, and the lanes that may be written."""
    source, there = dpp_source(instruction)
    m = instruction.modifiers
    rows, banks = _number(m.get("row_mask", 15)), _number(m.get("bank_mask", 15))
    enabled = (rows >> (_LANE // _ROW) & 1 == 1) & (banks >> (_LANE % _ROW // 4) & 1 == 1)
    bounded = m.get("bound_ctrl", 0) == 1
    columns = np.flatnonzero(enabled if bounded else enabled & there)
    return Moved(vector32(operand, instruction.text), source, there, columns, bounded)


_PART = {
    "DWORD": (0, 32), "WORD_0": (0, 16), "WORD_1": (16, 16),
    "BYTE_0": (0, 8), "BYTE_1": (8, 8), "BYTE_2": (16, 8), "BYTE_3": (24, 8),
}  # fmt: skip


def sdwa_source(instruction: Instruction, operand: Operand, which: str) -> Get:
    """A part of a register, zero- or sign-extended."""
    if operand.neg or operand.absolute:
        raise Unsupported(f"a sign modifier of {instruction.text!r} is not known in this encoding")
    shift, width = _PART[str(instruction.modifiers.get(which, "DWORD"))]
    plain = vector32(operand, instruction.text)
    if operand.sext:
        left, right = np.int32(32 - width - shift), np.int32(32 - width)
        return lambda state: ((plain(state).view(np.int32) << left) >> right).view(np.uint32)
    if width == 32:
        return plain
    keep, down = np.uint32((1 << width) - 1), np.uint32(shift)
    if shift + width == 32:
        return lambda state: plain(state) >> down
    if shift == 0:
        return lambda state: plain(state) & keep
    return lambda state: (plain(state) >> down) & keep


def sdwa_put(instruction: Instruction, index: int, state: State, value: Array) -> None:
    """Write the chosen part of the destination."""
    shift, width = _PART[str(instruction.modifiers.get("dst_sel", "DWORD"))]
    rest = str(instruction.modifiers.get("dst_unused", "UNUSED_PAD"))
    if width < 32:
        keep = np.uint32(((1 << width) - 1) << shift)
        value = (value << np.uint32(shift)) & keep
        if rest == "UNUSED_PRESERVE":
            value = value | (state.v[index] & ~keep)
        elif rest != "UNUSED_PAD":
            raise Unsupported(f"{rest} of {instruction.text!r} is not known")
    state.put(index, value)
