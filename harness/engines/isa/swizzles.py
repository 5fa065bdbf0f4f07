"""DS_SWIZZLE_B32: the fixed patterns in which lanes read from one another, as numbers and as the assembler's words."""

from __future__ import annotations

import re
from typing import TypeAlias

import numpy as np
from numpy.typing import NDArray

Lanes: TypeAlias = NDArray[np.int64]

_QUADS, _ROTATE, _FFT = 0x8000, 0xC000, 0xE000
_MACRO = re.compile(r"swizzle\(([A-Z_]+),(.+)\)$")
_NUMBERS = re.compile(r"\d+(?:,\d+)*$")
_GROUP = 32
_SIZES = (1, 2, 4, 8, 16, 32)
_PROBES = {"0": (0, 0, 0), "1": (0, 1, 0), "p": (1, 0, 0), "i": (1, 0, 1)}
"""What a letter of a bitmask does to its bit of the lane's number: (and, or, exclusive or)."""


def code_of(macro: str) -> int | None:
    """The 16-bit pattern of `swizzle(MODE,...)`; None for what the assembler would not take.

    LLVM AMDGPU operand syntax, "swizzle": QUAD_PERM, BITMASK_PERM, BROADCAST, SWAP, REVERSE, ROTATE and FFT.
    """
    found = _MACRO.match(macro)
    if not found:
        return None
    mode, rest = found.groups()
    if mode == "BITMASK_PERM":
        letters = rest.strip('"')
        return _bitmask(letters) if len(letters) == 5 and rest == f'"{letters}"' else None
    return _of_numbers(mode, tuple(map(int, rest.split(",")))) if _NUMBERS.match(rest) else None


def _of_numbers(mode: str, numbers: tuple[int, ...]) -> int | None:
    match mode, numbers:
        case "QUAD_PERM", (a, b, c, d) if max(numbers) < 4:
            return _QUADS | a | b << 2 | c << 4 | d << 6
        case "BROADCAST", (size, lane) if size in _SIZES[1:] and lane < size:
            return _GROUP - size | lane << 5
        case "SWAP", (size,) if size in _SIZES[:-1]:
            return _GROUP - 1 | size << 10
        case "REVERSE", (size,) if size in _SIZES[1:]:
            return _GROUP - 1 | size - 1 << 10
        case "ROTATE", (right, count) if right < 2 and count < _GROUP:
            return _ROTATE | right << 10 | count << 5
        case "FFT", (kept,) if kept < _GROUP:
            return _FFT | kept
        case _:
            return None


def _bitmask(letters: str) -> int | None:
    """Letters from the highest bit of the lane's number to the lowest: 0, 1, preserved, inverted."""
    code = 0
    for place, letter in zip(range(4, -1, -1), letters, strict=True):
        if letter not in _PROBES:
            return None
        keep, put, turn = _PROBES[letter]
        code |= (keep | put << 5 | turn << 10) << place
    return code


def sources(code: int) -> Lanes:
    """The lane that each of the 64 lanes reads (AMD CDNA3 ISA guide, DS_SWIZZLE_B32).

    Bits 15 to 13 choose the mode: 0xxx bitmask and 110x rotation within 32 lanes, 10xx any order within four,
    111x the exchanges of a Fourier transform. A rotation goes to the left (lane n reads lane n + count) unless bit 10
    is set.
    """
    lane = np.arange(2 * _GROUP)
    half, place, low = lane & _GROUP, lane % _GROUP, code & 0x1F
    if code >= _FFT:
        return half | _reversed(place) >> low.bit_count() | place & low
    if code >= _ROTATE:
        count = code >> 5 & 0x1F
        turned = place - count if code >> 10 & 1 else place + count
        return half | place & low | turned & ~low & 0x1F
    if code >= _QUADS:
        return lane - lane % 4 | code >> 2 * (lane % 4) & 3
    return half | (place & low | code >> 5 & 0x1F) ^ code >> 10 & 0x1F


def _reversed(place: Lanes) -> Lanes:
    """The five bits of each number from the other end."""
    return sum((place >> bit & 1) << 4 - bit for bit in range(5)) + np.zeros_like(place)
