"""Which request a row of a ragged batch belongs to, as a device function."""

# pyright: reportGeneralTypeIssues=false

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def owner_of(starts, row, requests, known, STEPS: tl.constexpr) -> tl.tensor:
    """Last request b with starts[b] <= row, by bisection; starts: [requests + 1], not decreasing, starts[0] = 0.

    Requests without rows share their start with the next one and own nothing. STEPS >= log2(requests) rounded up.
    """
    low = row * 0
    high = low + requests - 1
    for _ in tl.static_range(STEPS):
        middle = (low + high + 1) // 2
        begins = tl.load(starts + middle, mask=known, other=0) <= row
        low = tl.where(begins, middle, low)
        high = tl.where(begins, high, middle - 1)
    return tl.minimum(low, requests - 1)


def bisection_steps(requests: int) -> int:
    """Halvings that leave one of `requests` candidates."""
    return max(0, requests - 1).bit_length()
