"""Integer arithmetic of launchers: Triton's own host functions take 4 us a call, a fifth of a launch."""

from __future__ import annotations


def ceil_div(a: int, b: int) -> int:
    """a / b rounded up, for b > 0."""
    return -(-a // b)


def power_of_two_from(n: int) -> int:
    """The smallest power of two that is at least n, and at least 1."""
    return 1 << max(0, n - 1).bit_length()
