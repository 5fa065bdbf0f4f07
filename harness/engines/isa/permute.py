"""V_PERM_B32: the bytes of two registers in any order."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import TypeAlias

import numpy as np

from rocassay.harness.engines.isa.asm import Instruction
from rocassay.harness.engines.isa.sources import Array, bits32, no_modifiers, no_signs, vector32
from rocassay.harness.engines.isa.state import State
from rocassay.harness.engines.isa.steps import Maker, Step, into, target_register

Function: TypeAlias = Callable[[Array, Array, Array], object]
"""Of the first and second source and the result."""

_ONES, _ZERO, _FIRST_SIGN = 13, 12, 8


def permuted(a: Array, b: Array, select: Array, out: Array) -> None:
    """Bytes of {a, b}, b the lower four; selectors from 8 on give signs and constants (AMD CDNA3 ISA guide)."""
    wide = (a.astype(np.uint64) << np.uint64(32)) | b
    result = np.zeros(out.shape, np.uint32)
    for place in range(4):
        chosen = (select >> np.uint32(8 * place)) & np.uint32(0xFF)
        byte = (wide >> ((chosen & np.uint32(7)).astype(np.uint64) << np.uint64(3))).astype(np.uint32) & np.uint32(0xFF)
        if (chosen >= _FIRST_SIGN).any():
            signs = np.zeros_like(byte)
            for n, bit in enumerate((15, 31, 47, 63)):
                sign = ((wide >> np.uint64(bit)) & np.uint64(1)).astype(np.uint32) * np.uint32(0xFF)
                signs = np.where(chosen == _FIRST_SIGN + n, sign, signs)
            constant = np.where(chosen >= _ONES, np.uint32(0xFF), signs)
            byte = np.where(chosen >= _FIRST_SIGN, constant, byte)
        result |= byte << np.uint32(8 * place)
    np.copyto(out, result)


@functools.lru_cache(maxsize=512)
def plan(select: int) -> Function | None:
    """A uniform selector as shifts and masks; None when it takes signs."""
    terms: dict[tuple[int, int], int] = {}
    constant = 0
    for place in range(4):
        chosen = select >> (8 * place) & 0xFF
        if chosen >= _ONES:
            constant |= 0xFF << (8 * place)
        elif _FIRST_SIGN <= chosen < _ZERO:
            return None
        elif chosen < _FIRST_SIGN:
            source, byte = (1, chosen) if chosen < 4 else (0, chosen - 4)
            key = source, 8 * (byte - place)
            terms[key] = terms.get(key, 0) | 0xFF << (8 * place)
    return _sum([_term(*key, mask) for key, mask in terms.items()], np.uint32(constant))


def _term(source: int, shift: int, mask: int) -> Callable[[Array, Array], Array]:
    """One source moved down by `shift` bits, or up, and what of it is kept."""
    keep, by = np.uint32(mask), np.uint32(abs(shift))
    left = (0xFFFFFFFF << -shift if shift < 0 else 0xFFFFFFFF >> shift) & 0xFFFFFFFF == mask

    def moved(x: Array) -> Array:
        y = x >> by if shift > 0 else x << by if shift < 0 else x
        return y if left else y & keep

    return (lambda a, _b: moved(a)) if source == 0 else (lambda _a, b: moved(b))


def _sum(terms: list[Callable[[Array, Array], Array]], constant: np.uint32) -> Function:
    if not terms:
        return lambda _a, _b, out: np.copyto(out, constant)
    if len(terms) == 1:
        (only,) = terms
        return lambda a, b, out: np.bitwise_or(only(a, b), constant, out)
    first, *middle, last = terms

    def function(a: Array, b: Array, out: Array) -> None:
        total = first(a, b)
        for term in middle:
            total = total | term(a, b)
        if constant:
            total = total | constant
        np.bitwise_or(total, last(a, b), out)

    return function


def _perm(instruction: Instruction, _: str) -> Step:
    no_modifiers(instruction)
    a, b, select = instruction.operands[1:]
    no_signs(instruction, (a, b, select))
    index = target_register(instruction)
    sources = [vector32(a, instruction.text), vector32(b, instruction.text)]
    general = into(index, "v", permuted, [*sources, vector32(select, instruction.text)])
    if select.kind == "literal":
        assert isinstance(select.value, (int, float))
        uniform = plan(int(bits32(select.value)))
        return into(index, "v", uniform, sources) if uniform else general
    if select.kind != "s":
        return general
    made: dict[int, Step | None] = {}
    register = select.index

    def step(state: State) -> None:
        row = state.s[register]
        value = int(row[0])
        if len(row) > 1 and not (row == value).all():
            general(state)
            return
        if value not in made:
            uniform = plan(value)
            made[value] = into(index, "v", uniform, sources) if uniform else general
        chosen = made[value]
        assert chosen
        chosen(state)

    return step


MAKERS: dict[str, Maker] = {"v_perm_b32": _perm}
