"""What the two combining kernels share: which request of a prefill chunk a token belongs to."""

# pyright: reportArgumentType=false, reportCallIssue=false
from __future__ import annotations

import triton
import triton.language as tl

REQUEST_TILE = 16
"""Requests a step of the search."""


@triton.jit
def request_of(token, query_start_loc, origin, requests, start_stride, TILE: tl.constexpr) -> tl.tensor:
    """Request of each token of a chunk: how many later requests start at or before it; empty ones own no token."""
    request = token * 0
    for first in range(1, requests, TILE):
        other = first + tl.arange(0, TILE)
        start = tl.load(query_start_loc + other * start_stride, mask=other < requests, other=0) - origin
        begun = (other < requests)[None, :] & (start[None, :] <= token[:, None])
        request += tl.sum(begun.to(tl.int32), axis=1)
    return request
