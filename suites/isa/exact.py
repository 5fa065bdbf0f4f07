"""Floating point by exact rational arithmetic: slow, and shares nothing with the engine."""

from __future__ import annotations

from dataclasses import dataclass
from fractions import Fraction


@dataclass(frozen=True, slots=True)
class Ieee:
    """An IEEE 754 binary format.

    Attributes:
        exponent: bits of the exponent field.
        mantissa: bits of the mantissa field.
    """

    exponent: int
    mantissa: int

    @property
    def infinity(self) -> int:
        """Bits of positive infinity."""
        return ((1 << self.exponent) - 1) << self.mantissa

    @property
    def sign(self) -> int:
        """The sign bit."""
        return 1 << (self.exponent + self.mantissa)

    @property
    def _bias(self) -> int:
        return (1 << (self.exponent - 1)) - 1

    def is_nan(self, bits: int) -> bool:
        """Whether bits stand for no number."""
        return bits & (self.sign - 1) > self.infinity

    def is_infinite(self, bits: int) -> bool:
        """Whether bits stand for an infinity."""
        return bits & (self.sign - 1) == self.infinity

    def value(self, bits: int) -> Fraction:
        """The number of finite bits."""
        field, mantissa = (bits & (self.sign - 1)) >> self.mantissa, bits & ((1 << self.mantissa) - 1)
        whole = mantissa + (1 << self.mantissa if field else 0)
        size = whole * Fraction(2) ** (max(field, 1) - self._bias - self.mantissa)
        return -size if bits & self.sign else size

    def nearest(self, value: Fraction, *, negative_zero: bool = False) -> int:
        """Bits of the nearest number, ties to even; infinity from halfway beyond the largest on."""
        if value == 0:
            return self.sign if negative_zero else 0
        size = abs(value)
        power = size.numerator.bit_length() - size.denominator.bit_length()
        power -= Fraction(2) ** power > size
        power = max(power, 1 - self._bias)
        units = size / Fraction(2) ** (power - self.mantissa)
        count, rest = divmod(units.numerator, units.denominator)
        twice = 2 * rest - units.denominator
        count += twice > 0 or (twice == 0 and count & 1)
        # The hidden one of a normal number carries into the exponent field, as a carry of the rounding does.
        bits = min(((power + self._bias - 1) << self.mantissa) + count, self.infinity)
        return bits | (self.sign if value < 0 else 0)


SINGLE, HALF, BFLOAT = Ieee(8, 23), Ieee(5, 10), Ieee(8, 7)


def fma(a: int, b: int, c: int) -> int | None:
    """Bits of a * b + c in single precision, rounded once; None for NaN."""
    f = SINGLE
    if f.is_nan(a) or f.is_nan(b) or f.is_nan(c):
        return None
    negative = bool((a ^ b) & f.sign)
    if f.is_infinite(a) or f.is_infinite(b):
        if 0 in (a & (f.sign - 1), b & (f.sign - 1)):
            return None
        if f.is_infinite(c) and bool(c & f.sign) != negative:
            return None
        return f.infinity | (f.sign if negative else 0)
    if f.is_infinite(c):
        return c
    product = f.value(a) * f.value(b)
    both_negative = (product < 0 or (product == 0 and negative)) and bool(c & f.sign)
    return f.nearest(product + f.value(c), negative_zero=both_negative)


def quotient(a: int, b: int) -> int | None:
    """Bits of a / b in single precision, rounded once; None for NaN."""
    f = SINGLE
    sign = (a ^ b) & f.sign
    if f.is_nan(a) or f.is_nan(b) or (f.is_infinite(a) and f.is_infinite(b)):
        return None
    if f.is_infinite(a):
        return f.infinity | sign
    if f.is_infinite(b):
        return sign
    if f.value(b) == 0:
        return None if f.value(a) == 0 else f.infinity | sign
    return f.nearest(f.value(a) / f.value(b), negative_zero=bool(sign))
