"""The k largest scores of every row's window by radix select, as local places in ascending order.

Contract: vLLM `top_k_per_row_prefill` (csrc/sampler.cu), with places that are local to the window and with a tie
rule: among equal scores the lowest places win, so that every rank chooses the same keys (ROCm/aiter#4376).
"""

# pyright: reportArgumentType=false, reportCallIssue=false, reportGeneralTypeIssues=false, reportOperatorIssue=false
# pyright: reportAttributeAccessIssue=false
from __future__ import annotations

import torch
import triton
import triton.language as tl

from rocassay.harness.layouts import LayoutError
from rocassay.kernels.common.tensors import require_unit_stride
from rocassay.kernels.topk.dispatch import SelectVariant

_VECTOR = 4


@triton.jit
def sort_key(value) -> tl.tensor:
    """fp32 -> uint32 in the order of the numbers, all of them above 0; -0 counts as +0."""
    bits = value.to(tl.uint32, bitcast=True)
    bits = tl.where(bits == 0x80000000, 0, bits)
    # Negative numbers grow with falling bits; the others stand above them.
    flipped = (0 - (bits >> 31)) | 0x80000000
    return bits ^ flipped


@triton.jit
def load_keys(
    scores, members, column_stride, start, end, tile, TILE: tl.constexpr, VECTOR: tl.constexpr, GATHERED: tl.constexpr
) -> tuple:  # fmt: skip
    """Keys and places of one tile of a window, or of its listed members; a lane without a score has key 0."""
    # Whole vectors are read: what they hold outside the window is dropped after the load.
    first = (start // VECTOR) * VECTOR
    limit = tl.cdiv(end, VECTOR) * VECTOR
    column = first + tile * TILE + tl.arange(0, TILE)
    touched = column < limit
    live = (column >= start) & (column < end)
    if GATHERED:
        column = tl.load(members + column, mask=live, other=-1)
        live = column >= 0
        touched = live
    offset = column.to(tl.int64) * column_stride
    value = tl.load(scores + offset, mask=touched, other=0.0)
    return tl.where(live, sort_key(value), 0), column - start


@triton.jit
def _tiles(start, end, TILE: tl.constexpr, VECTOR: tl.constexpr):
    return tl.cdiv(end - (start // VECTOR) * VECTOR, TILE)


@triton.jit
def _count_digit(keys, threshold, shift):
    """Histogram of one digit of the keys that agree with the threshold in all higher digits."""
    # Two shifts: one by 32 would be undefined for the highest digit.
    agrees = (((keys ^ threshold) >> shift) >> 8) == 0
    digit = ((keys >> shift) & 0xFF).to(tl.int32)
    return tl.histogram(digit, 256, mask=agrees)


@triton.jit
def _find_threshold(
    held, scores, members, column_stride, start, end, topk,
    TILE: tl.constexpr, VECTOR: tl.constexpr, GATHERED: tl.constexpr
):  # fmt: skip
    """Key of the topk-th largest of more than topk scores, and how many equal to it are wanted."""
    bins = tl.arange(0, 256)
    threshold = tl.zeros([], tl.uint32)
    wanted = topk
    for step in range(4):
        shift = (24 - 8 * step).to(tl.uint32)
        counts = _count_digit(held, threshold, shift)
        for tile in range(1, _tiles(start, end, TILE, VECTOR)):
            keys, _ = load_keys(scores, members, column_stride, start, end, tile, TILE, VECTOR, GATHERED)
            counts += _count_digit(keys, threshold, shift)
        at_least = tl.cumsum(counts, axis=0, reverse=True)
        digit = tl.sum((at_least >= wanted).to(tl.int32), axis=0) - 1
        wanted -= tl.sum(tl.where(bins > digit, counts, 0), axis=0)
        threshold |= digit.to(tl.uint32) << shift
    return threshold, wanted


@triton.jit
def _emit_tile(keys, place, out, topk, threshold, wanted, larger, equal, first_place):
    """Store the chosen places of a tile in order; returns the larger and equal scores seen so far."""
    above = keys > threshold
    tied = keys == threshold
    # A tile holds at most 2^14 scores, so that one scan ranks both kinds.
    kinds = above.to(tl.int32) | (tied.to(tl.int32) << 16)
    ranks = tl.cumsum(kinds, axis=0) - kinds
    above_before = larger + (ranks & 0xFFFF)
    tied_before = equal + (ranks >> 16)
    taken = above | (tied & (tied_before < wanted))
    slot = above_before + tl.minimum(tied_before, wanted)
    # Scores that change between the two readings of a tile must not push places out of the row.
    tl.store(out + slot, first_place + place, mask=taken & (slot < topk))
    total = tl.sum(kinds, axis=0)
    return larger + (total & 0xFFFF), equal + (total >> 16)


@triton.jit
def select_long_row(
    scores, members, column_stride, start, end, out, topk, first_place,
    TILE: tl.constexpr, VECTOR: tl.constexpr, GATHERED: tl.constexpr
) -> None:  # fmt: skip
    """The topk places, ascending, of a window with more scores than that; its first tile is read only once."""
    held, place = load_keys(scores, members, column_stride, start, end, 0, TILE, VECTOR, GATHERED)
    threshold, wanted = _find_threshold(
        held, scores, members, column_stride, start, end, topk, TILE, VECTOR, GATHERED
    )  # fmt: skip
    larger, equal = _emit_tile(held, place, out, topk, threshold, wanted, 0, 0, first_place)
    tiles = _tiles(start, end, TILE, VECTOR)
    for tile in range(1, tiles):
        keys, place = load_keys(scores, members, column_stride, start, end, tile, TILE, VECTOR, GATHERED)
        larger, equal = _emit_tile(keys, place, out, topk, threshold, wanted, larger, equal, first_place)


@triton.jit
def list_short_row(out, length, topk, first_place, SLOTS: tl.constexpr) -> None:
    """All places of a row that fits into its slots, in order, then -1."""
    slot = tl.arange(0, SLOTS)
    tl.store(out + slot, first_place + slot, mask=slot < length)
    tail = length + slot
    tl.store(out + tail, -1, mask=tail < topk)


@triton.jit
def _top_k_prefill_kernel(
    logits,
    row_starts,
    row_ends,
    indices,
    columns,
    topk,
    logits_stride,
    column_stride,
    indices_stride,
    TILE: tl.constexpr,
    SLOTS: tl.constexpr,
    VECTOR: tl.constexpr,
):
    """Program r selects from columns [row_starts[r], row_ends[r])."""
    row = tl.program_id(0)
    start = tl.load(row_starts + row)
    end = tl.minimum(tl.load(row_ends + row), columns)
    length = tl.maximum(end - start, 0)
    first_place = 0
    row_base = row.to(tl.int64) * logits_stride
    scores = logits + tl.multiple_of(row_base, VECTOR)
    slots_base = row.to(tl.int64) * indices_stride
    out = indices + slots_base
    if length <= topk:
        list_short_row(out, length, topk, first_place, SLOTS)
    else:
        select_long_row(scores, indices, column_stride, start, end, out, topk, first_place, TILE, VECTOR, False)


def vector_width(logits: torch.Tensor) -> int:
    """Scores that may be read at once: 4 where every row begins and ends at 16 bytes, else 1."""
    whole = logits.shape[1] % _VECTOR == 0 and logits.stride(0) % _VECTOR == 0 and logits.stride(1) == 1
    return _VECTOR if whole and logits.data_ptr() % (_VECTOR * logits.element_size()) == 0 else 1


def check_selection(logits: torch.Tensor, indices: torch.Tensor, rows: int) -> None:
    """Raise LayoutError unless scores are fp32, places int32 with neighbouring slots, and both have the rows."""
    if logits.dtype is not torch.float32 or indices.dtype is not torch.int32:
        raise LayoutError(f"logits are {logits.dtype}, indices {indices.dtype}; pass float32 and int32")
    if min(logits.shape[0], indices.shape[0]) < rows:
        raise LayoutError(f"{rows} rows are asked for; logits have {logits.shape[0]}, indices {indices.shape[0]}")
    require_unit_stride("indices", indices)


def top_k_per_row_prefill(
    logits: torch.Tensor,
    row_starts: torch.Tensor,
    row_ends: torch.Tensor,
    indices: torch.Tensor,
    *,
    variant: SelectVariant,
) -> None:
    """indices[r] = places, counted from row_starts[r], of the k largest of logits[r, row_starts[r]:row_ends[r]].

    logits: fp32 [R, N], any strides. row_starts, row_ends: int32 [R]; an end before its start is an empty row.
    indices: int32 [R, k], any row pitch. A window of at most k scores lists 0, 1, ... in order, then -1; a longer
    one lists k distinct places in ascending order, ties decided for the lowest. Raises LayoutError for other
    dtypes, fewer rows than windows, or slots that are not neighbours.
    """
    rows, topk = row_starts.shape[0], indices.shape[1]
    check_selection(logits, indices, rows)
    if rows == 0:
        return
    _top_k_prefill_kernel[(rows,)](
        logits,
        row_starts,
        row_ends,
        indices,
        logits.shape[1],
        topk,
        logits.stride(0),
        logits.stride(1),
        indices.stride(0),
        TILE=variant.tile,
        SLOTS=triton.next_power_of_2(topk),
        VECTOR=vector_width(logits),
        num_warps=variant.num_warps,
    )
