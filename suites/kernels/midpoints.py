"""Inputs of the recipe `midpoints`: quotients that take an FP8 encoder through every branch and every rounding.

They are every value of the flavour, below its normals, too, every midpoint between neighbours, the numbers next to
each midpoint in the input's own type, and what is too small for any code, all with both signs (OCP OFP8 spec).
"""

from __future__ import annotations

import numpy as np
import torch
from numpy.typing import NDArray

from rocassay.harness.fp8 import format_of

SIGNIFICANDS = {torch.bfloat16: 8, torch.float16: 11, torch.float32: 24}
"""Bits of a significand, the hidden one included."""

_TINY = (0.0, 2.0**-40, 2.0**-14)
"""Quotients that round to zero."""

_EXPONENTS = 7
"""Magnitudes that neighbouring groups differ by."""


def quotients(fp8: str, dtype: torch.dtype, largest: float) -> NDArray[np.float64]:
    """1-D, without an order: magnitudes up to `largest`, of either sign; each is a number of the dtype."""
    values = format_of(fp8).values
    values = values[np.isfinite(values) & (values >= 0) & (values <= largest)]
    midpoints = (values[:-1] + values[1:]) / 2
    _, exponent = np.frexp(midpoints)
    step = np.ldexp(1.0, exponent - SIGNIFICANDS[dtype])
    magnitudes = np.concatenate([_TINY, values, midpoints - step, midpoints, midpoints + step])
    return np.concatenate([magnitudes, -magnitudes])


def groups_at_midpoints(fp8: str, dtype: torch.dtype, count: int, size: int) -> NDArray[np.float64]:
    """[count, size]: the quotients again and again, each group times 2^(g mod 7 - 3), its largest the scaling maximum.

    So its scale is that power of two, exactly, whether scales are rounded up or not.
    """
    largest = format_of(fp8).scaling_max
    groups = np.resize(quotients(fp8, dtype, largest), (count, size))
    group = np.arange(count)
    groups[group, group % size] = np.where(group % 2, -largest, largest)
    return groups * np.exp2(group % _EXPONENTS - 3.0)[:, None]
