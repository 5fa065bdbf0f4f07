"""Angles of rotary embedding with YaRN in decimal arithmetic of 50 digits, one at a time.

Independent of the cache builder: no float64 enters before the final sine and cosine of the reduced angle.
Sources: Peng et al., YaRN (arXiv 2309.00071); DeepSeek-V3 inference/model.py, precompute_freqs_cis.
"""

from __future__ import annotations

import cmath
from decimal import ROUND_CEILING, ROUND_FLOOR, Decimal, localcontext

DIGITS = 50
PI = Decimal("3.14159265358979323846264338327950288419716939937510582097494")


def unit_number(
    position: int,
    pair: int,
    *,
    base: int,
    rot: int,
    factor: int = 1,
    original_positions: int = 1,
    beta_fast: int = 32,
    beta_slow: int = 1,
) -> complex:
    """cos + i sin of `position` times the frequency of `pair`; factor 1 means no YaRN."""
    with localcontext() as context:
        context.prec = DIGITS
        frequency = Decimal(base) ** (Decimal(-2 * pair) / rot)
        if factor != 1:
            low, high = (_dimension(beta, base, rot, original_positions) for beta in (beta_fast, beta_slow))
            first = max(int(low.to_integral_value(ROUND_FLOOR)), 0)
            last = min(int(high.to_integral_value(ROUND_CEILING)), rot - 1)
            ramp = min(max(Decimal(pair - first) / (last - first), Decimal(0)), Decimal(1))
            frequency = frequency * (1 - ramp) + frequency * ramp / factor
        angle = position * frequency
        turns = (angle / (2 * PI)).to_integral_value()
        return cmath.rect(1.0, float(angle - turns * 2 * PI))


def _dimension(rotations: int, base: int, rot: int, original_positions: int) -> Decimal:
    """Pair index at which the original context makes `rotations` full turns."""
    return rot * (Decimal(original_positions) / (rotations * 2 * PI)).ln() / (2 * Decimal(base).ln())
