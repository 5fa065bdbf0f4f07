"""Numbers of the ISA documents' pseudocode: kinds, operations and functions; for development only."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from fractions import Fraction
from typing import Any

import numpy as np

from rocassay.suites.isa import exact


class NotKnown(Exception):
    """Text that the interpreter cannot follow."""


FLOATS: dict[int, Any] = {16: np.float16, 32: np.float32, 64: np.float64}


@dataclass(frozen=True, slots=True)
class Special:
    """A class of numbers that text compares with: denormals, in some width."""

    width: int


def bits_of(value: Any, width: int = 128) -> int:
    """A number as bits."""
    if isinstance(value, np.floating):
        return int(np.asarray(value).view(f"u{value.dtype.itemsize}"))
    return int(value) & ((1 << width) - 1)


def typed(value: Any, kind: str) -> Any:
    """Bits read as u32, i24, f16, ...; an unsigned or bare kind b is an unsigned number."""
    letter, width = kind[0], int(kind[1:])
    bits = bits_of(value) & ((1 << width) - 1)
    if letter == "f":
        return np.array(bits, f"u{width // 8}").view(FLOATS[width])[()]
    return bits - (bits >> (width - 1) << width) if letter == "i" else bits


def part(value: Any, high: int, low: int) -> int:
    """Bits of a number, high to low."""
    bits = bits_of(value)
    if low > high:  # [0 : 31] reads the bits backwards
        return int(f"{bits >> high & ((1 << low - high + 1) - 1):0{low - high + 1}b}"[::-1], 2)
    return bits >> low & ((1 << high - low + 1) - 1)


def cast(value: Any, letter: str, width: int) -> Any:
    """32'F(x), 64'U(x), ..."""
    if letter == "F":
        if isinstance(value, int) and value >= 1 << 31:  # 32'F(0xffc00000) are bits
            return typed(value, f"f{width}")
        return _widened(value, width)
    return int(value)


def _widened(value: Any, width: int) -> Any:
    """To another precision; a signalling NaN stays one, which this host's conversion would not keep."""
    if not isinstance(value, np.floating) or not np.isnan(value) or width <= 8 * value.dtype.itemsize:
        return FLOATS[width](value)
    mantissas = {16: 10, 32: 23, 64: 52}
    old = 8 * value.dtype.itemsize
    bits, up = bits_of(value), mantissas[width] - mantissas[old]
    mantissa = (bits & ((1 << mantissas[old]) - 1)) << up
    infinity = ((1 << (width - 1 - mantissas[width])) - 1) << mantissas[width]
    return typed(bits >> (old - 1) << (width - 1) | infinity | mantissa, f"f{width}")


def operate(sign: str, a: Any, b: Any) -> Any:
    """One operator; comparisons give 0 or 1."""
    if isinstance(b, Special):
        size = Fraction(float(abs(a))) if np.isfinite(a) else Fraction(1)
        return int(0 < size < Fraction(2) ** (-126 if b.width == 32 else -1022))
    if sign in ("&&", "||"):
        return int(bool(a and b) if sign == "&&" else bool(a or b))
    if sign == "/" and isinstance(a, int):
        raise NotKnown("a division of integers")
    comparing = sign in ("==", "!=", "<>", "<", ">", "<=", ">=")
    if sign == "<>":
        return int(a < b or a > b)
    with np.errstate(all="ignore"):
        result = _OPERATIONS[sign](a, b)
    return int(result) if comparing else result


_OPERATIONS: dict[str, Callable[[Any, Any], Any]] = {
    "+": lambda a, b: a + b, "-": lambda a, b: a - b, "*": lambda a, b: a * b, "/": lambda a, b: a / b,
    "**": lambda a, b: a**b, "&": lambda a, b: a & b, "|": lambda a, b: a | b, "^": lambda a, b: a ^ b,
    "<<": lambda a, b: a << b, ">>": lambda a, b: a >> b, "==": lambda a, b: a == b, "!=": lambda a, b: a != b,
    "<": lambda a, b: a < b, ">": lambda a, b: a > b, "<=": lambda a, b: a <= b, ">=": lambda a, b: a >= b,
}  # fmt: skip


def _fma(a: Any, b: Any, c: Any) -> Any:
    bits = exact.fma(bits_of(a), bits_of(b), bits_of(c))
    return np.float32(np.nan) if bits is None else typed(bits, "f32")


def _quiet(x: Any) -> Any:
    return typed(bits_of(x) | 1 << 51, "f64")


def _exponent(x: Any) -> int:
    return bits_of(x) >> 23 & 255


def _signext_from_bit(value: int, width: int) -> int:
    return value - (1 << width) if width and value >> (width - 1) & 1 else value


def _ldexp(x: Any, power: int) -> Any:
    f = exact.SINGLE
    bits = bits_of(x)
    if f.is_nan(bits) or f.is_infinite(bits):
        return x
    scaled = f.value(bits) * Fraction(2) ** power
    return typed(f.nearest(scaled, negative_zero=bool(bits >> 31)), "f32")


def _rounded(x: Any, function: Callable[[Any], Any]) -> Any:
    return type(x)(function(np.float64(x)))


FUNCTIONS: dict[str, Callable[..., Any]] = {
    "fma": _fma,
    "ldexp": _ldexp,
    "exponent": _exponent,
    "sign": lambda x: bits_of(x) >> (8 * x.dtype.itemsize - 1),
    "isNAN": lambda x: int(np.isnan(x)),
    "isSignalNAN": lambda x: int(np.isnan(x) and not bits_of(x) >> 51 & 1),
    "cvtToQuietNAN": _quiet,
    "abs": abs,
    "floor": lambda x: _rounded(x, np.floor),
    "trunc": lambda x: _rounded(x, np.trunc),
    "fract": lambda x: x - np.floor(x),
    "isEven": lambda x: int(math.isfinite(x) and x % 2 == 0),
    "signext": lambda x: x,
    "signext_from_bit": _signext_from_bit,
    "pow": lambda _, x: np.float32(np.exp2(np.float64(x))),
    "log2": lambda x: np.float32(np.log2(np.float64(x))),
    "sqrt": lambda x: np.float32(np.sqrt(np.float64(x))),
}
