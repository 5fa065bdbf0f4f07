"""Inputs of the indexer cache family: keys, paged caches, block tables, and what must not be read in them.

Recipes: `tagged` (contiguous), `padded` (every stride the contract leaves free is padded), `wide` and `tall` (page or
row strides that carry byte offsets past 2^31), `far` (other strides that carry offsets past 2^31 elements), `midpoints`
(what encoders meet, see midpoints.py), `codes` (what decoders meet, but NaN). In all of them pages are permuted, every
token has its own scale and whatever belongs to nobody is poison.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import torch
from numpy.typing import NDArray

from rocassay.harness.cases import Case, MalformedCase
from rocassay.harness.fp8 import clamping_encode, format_of
from rocassay.harness.inputs import Operands, Placement, Stream
from rocassay.harness.layouts import Layout, indexer_layout
from rocassay.harness.probes.metamorphic import Transformed
from rocassay.harness.results import Coordinate

HEAD_DIM = 128
RECORD = 132
SHARED_POOL_STRIDE = 1_435_968
"""Bytes from page to page where many layers share one pool (ROCm/aiter#4673): page 1496 starts beyond 2^31."""

RECIPES = ("tagged", "padded", "wide", "tall", "far", "midpoints", "codes")
WIDE_PAGES = 1600
WRAP = 2**31
GARBAGE_PAGE = 2**30
POISON = 1e30


def layout_name(case: Case) -> Literal["NORMAL", "SHUFFLE"]:
    """The layout the contract prescribes: NORMAL for one-token pages and ratio-4 caches, else SHUFFLE."""
    normal = case.block_size == 1 or case.integer("ratio") == 4
    return "NORMAL" if normal else "SHUFFLE"


def contract_layout(case: Case) -> Layout:
    """The index map of the layout the contract prescribes."""
    return indexer_layout(layout_name(case), case.block_size)


def random_bytes(stream: Stream, shape: tuple[int, ...]) -> torch.Tensor:
    """Bytes of all values: what an untouched output holds, so that any stray write shows."""
    count = int(np.prod(shape))
    words = stream.words(-(-count // 8)).view(np.uint8)[:count]
    return torch.from_numpy(words.reshape(shape).copy())


def keys(stream: Stream, tokens: int) -> torch.Tensor:
    """bf16 [tokens, 128]: row t has amax 2^(t mod 7 - 3) at dim (5t + 3) mod 128 and small noise elsewhere.

    Rows 0 to 4 are the quantiser's edges: zeros, denormal-small, amax exactly 448 * 2^-8, the next bf16 above
    it, and negatives that round to -0.
    """
    noise = np.clip(np.rint(stream.gaussian((tokens, HEAD_DIM)) * 32), -120, 120) / 128
    row = np.arange(tokens)
    noise[row, (5 * row + 3) % HEAD_DIM] = 1.0
    values = noise * np.exp2(row % 7 - 3)[:, None]
    edges = np.zeros((5, HEAD_DIM))
    edges[1] = 2.0**-100
    edges[2] = noise[min(2, tokens - 1)] * 1.75
    edges[3] = edges[2]
    edges[3, (5 * 3 + 3) % HEAD_DIM] = 1.75 + 2.0**-7
    edges[4] = -(2.0**-14)
    edges[4, 7] = 1.0
    count = min(5, tokens)
    values[:count] = edges[:count]
    return torch.from_numpy(values).to(torch.bfloat16)


def codes(stream: Stream, shape: tuple[int, ...], fp8: str) -> NDArray[np.uint8]:
    """Finite, nearly normal FP8 codes that use about a third of the scaling range."""
    fmt = format_of(fp8)
    return clamping_encode(stream.gaussian(shape) * (fmt.scaling_max / 8), fmt)


def token_scales(stream: Stream, tokens: int, kind: str) -> NDArray[np.float32]:
    """fp32 [tokens]: `pow2` gives 2^(t mod 7 - 10), `general` multiplies that by a 24-bit mantissa."""
    scales = np.exp2(np.arange(tokens) % 7 - 10.0)
    if kind == "general":
        scales = scales * (1 + stream.integers(1, 2**23, tokens) / 2**23)
    return scales.astype(np.float32)


def records(values: NDArray[np.uint8], scales: NDArray[np.float32]) -> NDArray[np.uint8]:
    """uint8 [tokens, 132]: codes, then the little-endian fp32 scale."""
    return np.concatenate([values, scales.astype("<f4").view(np.uint8).reshape(-1, 4)], axis=1)


@dataclass(frozen=True, slots=True)
class Pages:
    """A paged cache that several requests share."""

    cache: torch.Tensor
    """uint8 [NB, BS, 132]."""
    block_table: torch.Tensor
    """int32 [B, W]; columns beyond a request's pages hold garbage."""
    unread: torch.Tensor
    """bool like cache: bytes that belong to no visible token."""
    slots: tuple[NDArray[np.int64], ...]
    """Per request, the slot of each of its tokens."""


def paged(case: Case, stream: Stream, lengths: Sequence[int], contents: NDArray[np.uint8]) -> Pages:
    """Lay the tokens of all requests (rows of `contents`, in order) into permuted pages; the rest is poison."""
    layout, block_size = contract_layout(case), case.block_size
    counts = [-(-length // block_size) for length in lengths]
    blocks = WIDE_PAGES if case.recipe == "wide" else sum(counts) + 3
    order = _page_order(case, stream, blocks)
    table = np.full((len(lengths), max(counts) + 1), GARBAGE_PAGE, dtype=np.int32)
    slots: list[NDArray[np.int64]] = []
    for request, (length, count) in enumerate(zip(lengths, counts, strict=True)):
        table[request, :count], order = order[:count], order[count:]
        token = np.arange(length)
        slots.append(table[request, token // block_size].astype(np.int64) * block_size + token % block_size)
    cache, used = _poisoned(case.fp8, layout, blocks), np.zeros((blocks, layout.page_bytes), dtype=np.uint8)
    everywhere = np.concatenate(slots)
    layout.pack(contents, everywhere, cache)
    layout.pack(np.ones_like(contents), everywhere, used)
    shape = (blocks, block_size, RECORD)
    return Pages(
        torch.from_numpy(cache.reshape(shape)),
        torch.from_numpy(table),
        torch.from_numpy(used.reshape(shape) == 0),
        tuple(slots),
    )


def _page_order(case: Case, stream: Stream, blocks: int) -> NDArray[np.int32]:
    order = stream.child("pages").permutation(blocks)
    if case.recipe == "wide":  # the pages past the 32-bit offset come first: they are the ones in use
        beyond = WRAP // SHARED_POOL_STRIDE + 1
        order = np.concatenate([order[order >= beyond], order[order < beyond]])
    return order.astype(np.int32)


def _poisoned(fp8: str, layout: Layout, blocks: int) -> NDArray[np.uint8]:
    record = np.full((1, RECORD), format_of(fp8).nan_code, dtype=np.uint8)
    record[0, HEAD_DIM:] = np.array([np.nan], dtype="<f4").view(np.uint8)
    page = np.zeros((1, layout.page_bytes), dtype=np.uint8)
    layout.pack(np.repeat(record, layout.block_size, axis=0), np.arange(layout.block_size), page)
    return np.repeat(page, blocks, axis=0)


def cache_placement(case: Case) -> dict[str, Placement]:
    """Where kv_cache [NB, BS, 132] lies under the case's recipe; MalformedCase for a recipe that is none."""
    if case.recipe not in RECIPES:
        raise MalformedCase(f"recipe {case.recipe!r} of case {case} is unknown; use one of {', '.join(RECIPES)}")
    page = case.block_size * RECORD
    if case.recipe == "padded":
        return {"kv_cache": Placement((page + 96, RECORD, 1), lead=4096)}
    if case.recipe == "wide":
        return {"kv_cache": Placement((SHARED_POOL_STRIDE, RECORD, 1), lead=WRAP)}
    return {}


def padded_rows(case: Case, name: str, columns: int, extra: int) -> dict[str, Placement]:
    """A padded row pitch for a two-dimensional tensor, in the recipe `padded`."""
    return {name: Placement((columns + extra, 1))} if case.recipe == "padded" else {}


def edge_lengths(block_size: int) -> tuple[int, ...]:
    """Lengths of three requests that straddle page and tile edges and leave pages partly filled."""
    return {
        1: (17, 1, 65),
        16: (17, 0, 129),
        32: (33, 31, 64),
        64: (65, 63, 129),
        128: (129, 1, 127),
        256: (257, 0, 255),
    }.get(block_size, (block_size + 1, 1, block_size - 1))


def locate_token(
    case: Case, operands: Operands, output: str, index: tuple[int, ...], request: int, position: int
) -> Coordinate:
    """Coordinate of the cached token at `position` of a request, through the block table."""
    table = operands.inputs["block_table" if "block_table" in operands.inputs else "block_tables"]
    column, token = divmod(position, case.block_size)
    inside = column < table.shape[1] and 0 <= int(table[request, column]) < GARBAGE_PAGE
    return Coordinate(
        output=output,
        index=index,
        block=int(table[request, column]) if inside else None,
        token=token,
        byte=0,
        offset=int(contract_layout(case).offset(token, 0)),
        where={"request": request, "position": position},
    )


def permute_pages(case: Case, operands: Operands) -> Transformed:
    """The same tokens in other physical pages, the block table rewritten."""
    name = "block_table" if "block_table" in operands.inputs else "block_tables"
    cache, table = operands.inputs["kv_cache"], operands.inputs[name]
    blocks = cache.shape[0]
    moved = torch.from_numpy(Stream(str(case), "permute").permutation(blocks))
    valid = (table >= 0) & (table < blocks)
    new_table = torch.where(valid, moved[torch.where(valid, table, 0).long()].to(torch.int32), table)
    new_cache, new_unread = torch.empty_like(cache), torch.empty_like(operands.unread["kv_cache"])
    new_cache[moved], new_unread[moved] = cache, operands.unread["kv_cache"]
    inputs = {**operands.inputs, "kv_cache": new_cache, name: new_table}
    unread = {**operands.unread, "kv_cache": new_unread}
    return case, replace(operands, inputs=inputs, unread=unread), lambda outputs: outputs
