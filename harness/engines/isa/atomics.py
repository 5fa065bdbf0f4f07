"""What atomic instructions do to memory, global and local: lanes that meet at a place go one after the other.

AMD CDNA3 ISA guide, "Memory Atomics" and "Data Share Instructions"; CDNA4 adds packed bf16 in local memory.
"""

# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, TypeAlias

import numpy as np

from rocassay.harness.engines.isa.cells import Cells
from rocassay.harness.engines.isa.state import U32, Bits, Ints

Array: TypeAlias = Any
"""A NumPy array [n] of the operation's type."""

Combine: TypeAlias = Callable[[Array, Array], Array]


Update: TypeAlias = Callable[[U32, U32], U32]
"""(what memory holds, what the lanes bring) -> what memory holds next; uint32 [dwords, n]."""


@dataclass(frozen=True, slots=True)
class Operation:
    """An atomic update.

    Attributes:
        size: bytes in memory.
        brought: registers of data.
        update: the update of places of their own.
        ufunc, kind: the same as a function of NumPy on numbers of a type, which takes lanes in order by itself.
    """

    size: int
    brought: int
    update: Update
    ufunc: np.ufunc | None = None
    kind: str = ""

    def run(self, cells: Cells, where: Ints, brought: U32, aligned: int, returns: bool = True) -> U32:
        """Update places [n] lane after lane; what each found, [dwords, n], or anything when `returns` is not set."""
        before = np.zeros((self.size // 4, len(where)), np.uint32)
        if self.ufunc is not None and not returns and not cells.window and not aligned & (self.size - 1):
            view, shift = (cells.words, 2) if self.size == 4 else (cells.pairs, 3)
            self.ufunc.at(view.view(self.kind), where >> shift, _elements(brought, self.kind))
            return before
        if self.ufunc is not None and not returns:
            places, number = np.unique(where, return_inverse=True)
            held = _elements(cells.load(places, self.size, aligned), self.kind)
            self.ufunc.at(held, number, _elements(brought, self.kind))
            cells.store(places, _registers(held, len(before)), self.size, aligned)
            return before
        left = np.arange(len(where))
        while len(left):
            first = _first_of_each(where[left])
            now = left[first]
            found = cells.load(where[now], self.size, aligned)
            before[:, now] = found
            cells.store(where[now], self.update(found, brought[:, now]), self.size, aligned)
            left = left[~first]
        return before


def _first_of_each(places: Ints) -> Bits:
    """The first lane at every place."""
    order = np.argsort(places, kind="stable")
    ranked = places[order]
    first = np.ones(len(places), np.bool_)
    first[order[1:]] = ranked[1:] != ranked[:-1]
    return first


def _wrap_up(memory: Array, limit: Array) -> Array:
    return np.where(memory >= limit, memory.dtype.type(0), memory + memory.dtype.type(1))


def _wrap_down(memory: Array, limit: Array) -> Array:
    return np.where((memory == 0) | (memory > limit), limit, memory - memory.dtype.type(1))


_INTEGERS: dict[str, tuple[Combine, str]] = {
    "add": (np.add, "u"), "sub": (np.subtract, "u"), "rsub": (lambda m, d: d - m, "u"),
    "smin": (np.minimum, "i"), "umin": (np.minimum, "u"), "smax": (np.maximum, "i"), "umax": (np.maximum, "u"),
    "and": (np.bitwise_and, "u"), "or": (np.bitwise_or, "u"), "xor": (np.bitwise_xor, "u"),
    "swap": (lambda _, d: d, "u"), "inc": (_wrap_up, "u"), "dec": (_wrap_down, "u"),
}  # fmt: skip


def _elements(registers: U32, kind: Any) -> Array:
    """uint32 [registers, n] -> n numbers as wide as all registers, or n * k of a type that is narrower."""
    return np.ascontiguousarray(registers.T).view(kind).ravel()


def _registers(elements: Array, count: int) -> U32:
    """The inverse of `_elements`: uint32 [count, n]."""
    return np.ascontiguousarray(elements).view(np.uint32).reshape(-1, count).T


def _typed(combine: Combine, kind: Any) -> Update:
    """An update of numbers of one type."""

    def update(memory: U32, data: U32) -> U32:
        done = combine(_elements(memory, kind), _elements(data, kind))
        return _registers(done.astype(kind, copy=False), len(memory))

    return update


def _compared(width: int) -> Update:
    """memory == data's second half ? data's first half : memory."""

    def update(memory: U32, data: U32) -> U32:
        same = (memory == data[width:]).all(axis=0)
        return np.where(same, data[:width], memory)

    return update


def _bf16_sum(memory: Array, data: Array) -> Array:
    """Pairs of bf16, each sum rounded once to nearest even."""
    total = (memory.astype(np.uint32) << 16).view(np.float32).astype(np.float64)
    total = total + (data.astype(np.uint32) << 16).view(np.float32)
    bits = total.astype(np.float32).view(np.uint32)
    rounded = (bits + np.uint32(0x7FFF) + ((bits >> np.uint32(16)) & np.uint32(1))) >> np.uint32(16)
    return np.where(np.isnan(total), np.uint32(0x7FC0) | (bits >> np.uint32(16)), rounded).astype(np.uint16)


def _operation(kind: str, width: int) -> Operation | None:
    """width: registers of an element."""
    if kind == "cmpswap":
        return Operation(4 * width, 2 * width, _compared(width))
    found = _INTEGERS.get(kind)
    if found is None:
        return None
    combine, sign = found
    kind = f"{sign}{4 * width}"
    return Operation(4 * width, width, _typed(combine, kind), combine if isinstance(combine, np.ufunc) else None, kind)


_FLOATS: dict[str, Operation] = {
    "add_f32": Operation(4, 1, _typed(np.add, np.float32)),
    "min_f32": Operation(4, 1, _typed(np.fmin, np.float32)),
    "max_f32": Operation(4, 1, _typed(np.fmax, np.float32)),
    "add_f64": Operation(8, 2, _typed(np.add, np.float64)),
    "min_f64": Operation(8, 2, _typed(np.fmin, np.float64)),
    "max_f64": Operation(8, 2, _typed(np.fmax, np.float64)),
    "pk_add_f16": Operation(4, 1, _typed(np.add, np.float16)),
    "pk_add_bf16": Operation(4, 1, _typed(_bf16_sum, np.uint16)),
}

_LOCAL_NAMES = {"min_i": "smin", "max_i": "smax", "min_u": "umin", "max_u": "umax"}


def global_operation(kind: str) -> Operation | None:
    """The update of `global_atomic_<kind>`; None for one that is not known."""
    if kind in _FLOATS:
        return _FLOATS[kind]
    return _operation(kind.removesuffix("_x2"), 2 if kind.endswith("_x2") else 1)


def local_operation(name: str) -> tuple[Operation, bool] | None:
    """(update, whether it returns what was there) of `ds_<name>`; None for one that is not known.

    ds_cmpst has the comparand first and is not known; ds_wrxchg returns always.
    """
    returns = "_rtn_" in f"{name}_"
    plain = name.replace("_rtn", "")
    if plain in _FLOATS:
        return _FLOATS[plain], returns
    for suffix, width in (("32", 1), ("64", 2)):
        if plain.endswith(suffix):
            stem = plain.removesuffix(suffix)
            kind = _LOCAL_NAMES.get(stem, stem.removesuffix("_u").removesuffix("_b"))
            kind = "swap" if kind == "wrxchg" else kind
            known = kind != "cmpswap" and (stem in _LOCAL_NAMES or stem[-2:] in ("_u", "_b"))
            found = _operation(kind, width) if known else None
            return (found, returns) if found else None
    return None
