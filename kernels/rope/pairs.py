"""Loading and storing the pairs of lanes that rotate together, as device functions."""

from __future__ import annotations

import triton
import triton.language as tl


@triton.jit
def row_of(program, TILES: tl.constexpr, HEADS_TILE: tl.constexpr, ROWS: tl.constexpr) -> tuple[tl.tensor, tl.tensor]:
    """(token, head) of each row of a program, int64: HEADS_TILE heads of ROWS / HEADS_TILE tokens."""
    row = tl.arange(0, ROWS)
    token = (program // TILES) * (ROWS // HEADS_TILE) + row // HEADS_TILE
    head = (program % TILES) * HEADS_TILE + row % HEADS_TILE
    return token.to(tl.int64), head.to(tl.int64)


@triton.jit
def load_pairs(
    source, row_start, known, HALF: tl.constexpr, ROWS: tl.constexpr, NEOX: tl.constexpr
) -> tuple[tl.tensor, tl.tensor]:
    """Both lanes of every pair, two [ROWS, HALF] tiles in fp32; `row_start` is a row's first rotated lane."""
    if NEOX:
        pair = tl.arange(0, HALF)
        at = row_start[:, None] + pair[None, :]
        first = tl.load(source + at, mask=known[:, None], other=0.0)
        second = tl.load(source + at + HALF, mask=known[:, None], other=0.0)
    else:
        # Neighbours are read as they lie, in whole vectors, and parted in registers.
        lane = tl.arange(0, 2 * HALF)
        lanes = tl.load(source + row_start[:, None] + lane[None, :], mask=known[:, None], other=0.0)
        first, second = tl.split(tl.reshape(lanes, [ROWS, HALF, 2]))
    return first.to(tl.float32), second.to(tl.float32)


@triton.jit
def store_pairs(
    target, row_start, first, second, known, HALF: tl.constexpr, ROWS: tl.constexpr, NEOX: tl.constexpr
) -> None:
    """The inverse of `load_pairs`, rounded once to the target's dtype."""
    if NEOX:
        pair = tl.arange(0, HALF)
        at = row_start[:, None] + pair[None, :]
        tl.store(target + at, first.to(target.dtype.element_ty), mask=known[:, None])
        tl.store(target + at + HALF, second.to(target.dtype.element_ty), mask=known[:, None])
    else:
        lane = tl.arange(0, 2 * HALF)
        lanes = tl.reshape(tl.join(first, second), [ROWS, 2 * HALF]).to(target.dtype.element_ty)
        tl.store(target + row_start[:, None] + lane[None, :], lanes, mask=known[:, None])


@triton.jit
def copy_lanes(source, source_at, target, target_at, known, COUNT: tl.constexpr, PADDED: tl.constexpr) -> None:
    """COUNT lanes of every row as they are; no arithmetic touches their bits."""
    lane = tl.arange(0, PADDED)
    moved = known[:, None] & (lane < COUNT)[None, :]
    lanes = tl.load(source + source_at[:, None] + lane[None, :], mask=moved)
    tl.store(target + target_at[:, None] + lane[None, :], lanes, mask=moved)
