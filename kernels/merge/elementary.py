"""exp and log in fp32 by polynomials, accurate to about one rounding and the same on every machine.

The hardware instructions behind tl.exp and tl.log (v_exp_f32, ex2.approx.f32, lg2.approx.f32) differ by several
ulp; a merge evaluates them once a row, so that accuracy costs nothing. Coefficients: Cephes expf and logf.
"""

# pyright: reportAssignmentType=false
from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def exp_of_negative(x) -> tl.tensor:
    """e^x for x <= 0, fp32; below -87 it is 0, NaN stays NaN."""
    LOG2_E: tl.constexpr = 1.44269504088896341
    # ln 2 in two parts: the first has few enough bits that its product with the exponent is exact.
    LN2_HIGH: tl.constexpr = 0.693359375
    LN2_LOW: tl.constexpr = -2.12194440e-4
    clamped = tl.where(x > -87.0, x, -87.0)
    exponent = tl.floor(clamped * LOG2_E + 0.5)
    rest = clamped - exponent * LN2_HIGH - exponent * LN2_LOW
    tail = 1.9875691500e-4 * rest + 1.3981999507e-3
    tail = tail * rest + 8.3334519073e-3
    tail = tail * rest + 4.1665795894e-2
    tail = tail * rest + 1.6666665459e-1
    tail = tail * rest + 5.0000001201e-1
    mantissa = 1.0 + (rest + tail * rest * rest)
    power = ((exponent.to(tl.int32) + 127) << 23).to(tl.float32, bitcast=True)
    small = tl.where(x >= -87.0, mantissa * power, 0.0)
    return tl.where(x == x, small, x)


@triton.jit
def log_between_1_and_2(x) -> tl.tensor:
    """ln x for 1 <= x <= 2, fp32."""
    LN2: tl.constexpr = 0.693147180559945
    upper = x > 1.41421356
    rest = tl.where(upper, 0.5 * x, x) - 1.0
    tail = 7.0376836292e-2 * rest - 1.1514610310e-1
    tail = tail * rest + 1.1676998740e-1
    tail = tail * rest - 1.2420140846e-1
    tail = tail * rest + 1.4249322787e-1
    tail = tail * rest - 1.6668057665e-1
    tail = tail * rest + 2.0000714765e-1
    tail = tail * rest - 2.4999993993e-1
    tail = tail * rest + 3.3333331174e-1
    square = rest * rest
    log = rest + (tail * rest * square - 0.5 * square)
    return tl.where(upper, log + LN2, log)
