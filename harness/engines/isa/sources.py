"""How an instruction gets at its operands: functions of the state, made once per instruction."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any, TypeAlias

import numpy as np

from rocassay.harness.engines.isa.asm import Instruction, Operand, Unsupported, Value
from rocassay.harness.engines.isa.state import State

Array: TypeAlias = Any
"""A NumPy array or 0-d constant that broadcasts to [W, 64] (vector) or [W] (scalar)."""

Get: TypeAlias = Callable[[State], Array]

_SIGN = np.uint32(0x80000000)


def bits32(value: int | float) -> np.uint32:
    """A constant as 32 bits; floating-point constants are single precision."""
    if isinstance(value, float):
        return np.float32(value).view(np.uint32)
    return np.uint32(value & 0xFFFFFFFF)


def half_bits(value: int | float) -> np.uint32:
    """A constant as 16 bits; floating-point constants are half precision."""
    if isinstance(value, float):
        return np.uint32(np.float16(value).view(np.uint16))
    return np.uint32(value & 0xFFFF)


# Instructions share what reads a register: a function each would be most of what the garbage collector visits.
@functools.lru_cache(maxsize=1 << 12)
def _register(kind: str, index: int) -> Get:
    if kind == "v":
        return lambda state: state.v[index]
    if kind == "a":
        return lambda state: state.a[index]
    return lambda state: state.s[index][:, None]


@functools.lru_cache(maxsize=1 << 12)
def _register_as(kind: str, index: int, number: type[np.float32] | type[np.int32]) -> Get:
    if kind == "v":
        return (lambda state: state.f[index]) if number is np.float32 else (lambda state: state.i[index])
    plain = _register(kind, index)
    return lambda state: plain(state).view(number)


@functools.lru_cache(maxsize=1 << 12)
def _scalar(index: int) -> Get:
    return lambda state: state.s[index]


def _always(constant: Array) -> Get:
    constant.flags.writeable = False
    return lambda _: constant


@functools.lru_cache(maxsize=1 << 12, typed=True)
def _literal(value: Value, offset: int) -> Get:
    return _always(_constant(value, offset))


@functools.lru_cache(maxsize=1 << 12, typed=True)
def _literal_as(value: Value, offset: int, number: type[np.float32] | type[np.int32]) -> Get:
    return _always(_constant(value, offset).view(number))


def vector32(operand: Operand, text: str, offset: int = 0) -> Get:
    """uint32 [W, 64], without source modifiers; `offset` picks a dword of a range."""
    if operand.kind in ("v", "a", "s"):
        return _register(operand.kind, operand.index + offset)
    if operand.kind == "literal":
        return _literal(operand.value, offset)
    raise Unsupported(f"{operand.value!r} is no source of {text!r}")


def vector64(operand: Operand, text: str) -> Get:
    """uint64 [W, 64]; constants are sign-extended."""
    if operand.kind == "literal":
        assert isinstance(operand.value, int)
        constant = np.array(operand.value & 0xFFFFFFFFFFFFFFFF, np.uint64)
        return lambda _: constant
    if operand.kind == "s":
        index = operand.index
        return lambda state: state.scalar64(index)[:, None]
    low, high = vector32(operand, text), vector32(operand, text, 1)

    def get(state: State) -> Array:
        pair = np.empty((*state.mask.shape, 2), np.uint32)
        pair[..., 0], pair[..., 1] = low(state), high(state)
        return pair.view(np.uint64)[..., 0]

    return get


def float32(operand: Operand, text: str, offset: int = 0) -> Get:
    """float32 [W, 64] with the sign modifiers."""
    absolute, neg = operand.absolute, operand.neg
    if not absolute and not neg:
        return _as(np.float32, operand, text, offset)
    plain = vector32(operand, text, offset)

    def get(state: State) -> Array:
        bits = plain(state)
        if absolute:
            bits = bits & ~_SIGN
        return (bits ^ _SIGN if neg else bits).view(np.float32)

    return get


def signed32(operand: Operand, text: str) -> Get:
    """int32 [W, 64], without source modifiers."""
    return _as(np.int32, operand, text, 0)


def _as(kind: type[np.float32] | type[np.int32], operand: Operand, text: str, offset: int) -> Get:
    """The same bits as another type; views of the vector registers lie ready."""
    if operand.kind in ("v", "a", "s"):
        return _register_as(operand.kind, operand.index + offset, kind)
    if operand.kind == "literal":
        return _literal_as(operand.value, offset, kind)
    raise Unsupported(f"{operand.value!r} is no source of {text!r}")


def _constant(value: Value, offset: int) -> Array:
    """A constant as a 0-d array; the upper dword of an integer is its sign."""
    assert isinstance(value, (int, float))
    if offset:
        return np.array(0xFFFFFFFF if isinstance(value, int) and value < 0 else 0, np.uint32)
    return np.array(bits32(value), np.uint32)


def scalar32(operand: Operand, text: str, offset: int = 0) -> Get:
    """uint32 [W]."""
    if operand.kind == "s":
        return _scalar(operand.index + offset)
    if operand.kind == "literal":
        assert isinstance(operand.value, (int, float))
        return _always(np.full(1, bits32(operand.value), np.uint32))
    raise Unsupported(f"{operand.value!r} is no scalar source of {text!r}")


def scalar64(operand: Operand, text: str) -> Get:
    """uint64 [W]; constants are sign-extended."""
    if operand.kind == "s":
        index = operand.index
        return lambda state: state.scalar64(index)
    if operand.kind == "literal":
        assert isinstance(operand.value, int)
        constant = np.full(1, operand.value & 0xFFFFFFFFFFFFFFFF, np.uint64)
        return lambda _: constant
    raise Unsupported(f"{operand.value!r} is no scalar source of {text!r}")


def no_modifiers(instruction: Instruction, *known: str) -> None:
    """Unsupported when the instruction has a modifier beyond the known ones."""
    modifiers = instruction.modifiers
    unknown = [name for name in modifiers if name not in known] if modifiers else []
    if unknown:
        raise Unsupported(f"modifier {unknown[0]!r} of {instruction.text!r} has no meaning here")


def no_signs(instruction: Instruction, operands: tuple[Operand, ...]) -> None:
    """Unsupported when an integer source carries a sign modifier."""
    for operand in operands:
        if operand.neg or operand.absolute or operand.sext:
            raise Unsupported(f"a sign modifier of {instruction.text!r} has no meaning here")
