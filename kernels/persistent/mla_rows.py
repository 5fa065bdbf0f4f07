"""Where a plan's rows lie in the caller's tensors, as device functions.

A plan whose heads are folded speaks of pseudo-requests: request b with FOLD groups of WIDTH heads becomes the requests
b·FOLD + g, one after the other, each of QLEN rows (AITER aiter/mla.py). Nothing is copied for that: rows are mapped.
"""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def token_of(row, FOLD: tl.constexpr, QLEN: tl.constexpr) -> tl.tensor:
    """Token (int64) of a plan's row; with FOLD > 1 every request has QLEN tokens and the first token is 0."""
    token = row if FOLD == 1 else row // (FOLD * QLEN) * QLEN + row % QLEN
    return token.to(tl.int64)


@triton.jit
def head_of(row, head, FOLD: tl.constexpr, QLEN: tl.constexpr, WIDTH: tl.constexpr) -> tl.tensor:
    """Head (int64) of the caller's tensors that head `head` of a plan's row is."""
    real = head if FOLD == 1 else row // QLEN % FOLD * WIDTH + head
    return real.to(tl.int64)
