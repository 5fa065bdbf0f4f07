"""Inputs of the MLA cache family: keys, paged caches, slots and tables, and what must not be read in them.

Recipes: `tagged` (pages at multiples of 576 bytes where the contract wants that, else contiguous), `padded` (every
stride the contract leaves free is padded), `wide` (page strides that carry byte offsets past 2^31), `tall` (row strides
that carry element offsets past 2^31), `narrow` (as `wide`, with slots of 32 bits), `midpoints` (what encoders meet,
see midpoints.py), `codes` (what decoders meet, NaNs included). In all of them pages are permuted, and whatever belongs
to nobody is poison; in all but `midpoints` every group of every token has its own scale.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray

from rocassay.harness.cases import Case, MalformedCase
from rocassay.harness.fp8 import format_of
from rocassay.harness.inputs import Operands, Placement, Stream
from rocassay.harness.layouts import Layout
from rocassay.harness.probes.metamorphic import Transformed
from rocassay.harness.results import Coordinate

RECIPES = ("tagged", "padded", "wide", "tall", "narrow", "midpoints", "codes")
SURPLUS_ROWS = 3
"""Rows of a key tensor beyond the slot mapping, as graph padding leaves them."""

WRAP = 2**31
WIDE_STRIDE = 162_000 * 576
"""Bytes from page to page in the recipe `wide`: page 24 starts beyond 2^31."""

WIDE_PAGES = 30
TALL_PITCH = 2**27
"""bf16 elements from row to row in the recipe `tall`: row 16 starts 2^31 elements into its tensor."""

TALL_TOKENS = 18
"""Most tokens of the recipe `tall`, and the fewest of which the last one, which owns a slot, lies so far."""

FAR = ("wide", "narrow")
"""Recipes whose caches reach beyond 2^31 bytes."""

LATE_PAGES = 4
"""Pages at the end of those that tokens are written to."""

GARBAGE_PAGE = 2**30
SKIPPED = (-1, -5, -(2**40))
"""Slots of tokens that own no place in the cache."""

OTHER_NAN = 0xFFFF
"""Besides 0x7FC0, the bytes of NaNs that arithmetic makes in bf16: either sign, payloads of zeros or of ones."""

LAYER_SCALES = (0.37, 1.9)
"""k_scale and v_scale of a layer: neither is 1, and they differ (vllm-project/vllm#37054)."""


def random_bytes(stream: Stream, shape: tuple[int, ...]) -> torch.Tensor:
    """Bytes of all values: what an untouched output holds, so that any stray write shows."""
    count = int(np.prod(shape))
    words = stream.words(-(-count // 8)).view(np.uint8)[:count]
    return torch.from_numpy(words.reshape(shape).copy())


def random_bf16(stream: Stream, shape: tuple[int, ...]) -> torch.Tensor:
    """bf16 of every bit pattern, NaNs with payload included: what is copied must keep them all."""
    return random_bytes(stream, (*shape[:-1], shape[-1] * 2)).view(torch.bfloat16)


def latents(stream: Stream, tokens: int, dims: int, group: int) -> torch.Tensor:
    """bf16 [tokens, dims] whose group g of row t has amax 2^((3t + 5g) mod 11 - 6) and small noise elsewhere.

    Rows 0 to 7, as far as they go, are the quantiser's edges: zeros, small ones above and below every floor, an amax
    of exactly 448 * 2^k, the next bf16 above it, negatives that round to -0, one group amid zeros, and huge ones.
    """
    rows, groups = max(tokens, 8), dims // group
    noise = np.clip(np.rint(stream.gaussian((rows, groups, group)) * 32), -120, 120) / 128
    row, column = np.arange(rows)[:, None], np.arange(groups)[None, :]
    peak = (5 * row + 3 * column + 3) % group
    noise[row, column, peak] = 1.0
    values = noise * np.exp2((3 * row + 5 * column) % 11 - 6)[:, :, None]
    values[0] = 0.0
    values[1] = noise[1] * 2.0**-100
    values[2] = noise[2] * 1.75
    values[3] = noise[3]
    values[3, column, peak[3]] = 1.75 + 2.0**-7
    values[4] = -(2.0**-14)
    values[4, column, peak[4]] = 1.0
    values[5] = noise[5] * 2.0**-119
    values[6, 1 - groups :] = 0.0
    values[7] = noise[7] * 2.0**120
    return torch.from_numpy(values.reshape(rows, dims)[:tokens]).to(torch.bfloat16)


def finite_codes(stream: Stream, shape: tuple[int, ...], fp8: str) -> NDArray[np.uint8]:
    """FP8 codes, each finite one about equally often."""
    fmt = format_of(fp8)
    finite = np.setdiff1d(np.arange(256), fmt.nan_codes).astype(np.uint8)
    return finite[stream.integers(0, len(finite), shape)]


def read_codes(case: Case, stream: Stream, shape: tuple[int, ...]) -> NDArray[np.uint8]:
    """FP8 codes of a cache that is read: finite ones, in the recipe `codes` all of the 256."""
    if case.recipe != "codes":
        return finite_codes(stream, shape, case.fp8)
    return stream.integers(0, 256, shape).astype(np.uint8)


def group_scales(stream: Stream, tokens: int, groups: int, kind: str) -> NDArray[np.float32]:
    """fp32 [tokens, groups]: `pow2` gives distinct powers of two a row, `general` 24-bit mantissas on top."""
    scales = np.exp2((3 * np.arange(tokens)[:, None] + 2 * np.arange(groups)[None, :]) % 13 - 9.0)
    if kind == "general":
        scales = scales * (1 + stream.integers(1, 2**23, (tokens, groups)) / 2**23)
    return scales.astype(np.float32)


def slot_mapping(case: Case, stream: Stream, blocks: int) -> torch.Tensor:
    """int64 [T]: slots in random order and a skipped token now and then, nothing but those (`dummy`) or none (`owned`).

    Slot 0 belongs to nobody, so that a skipped token that lands there shows; but in the recipe `narrow`, whose
    slots are int32, it belongs to token 1.
    """
    slots = _slots(case, stream, blocks)
    if case.recipe != "narrow":
        return slots
    slots[1:2] = slots[1:2].clamp(max=0)
    return slots.clamp(min=-(2**31)).to(torch.int32)


def _slots(case: Case, stream: Stream, blocks: int) -> torch.Tensor:
    tokens = case.integer("tokens")
    skipped = torch.tensor(SKIPPED).repeat(tokens)
    if case["slots"] == "dummy":
        return skipped[:tokens].clone()
    order = stream.permutation(blocks * case.block_size)
    first = (blocks - LATE_PAGES) * case.block_size if case.recipe in FAR else 1
    usable = order[order >= first]
    # A page other than the first must be written, or a wrong page stride would not show.
    late = int(np.argmax(usable >= (blocks - 1) * case.block_size))
    usable[[0, late]] = usable[[late, 0]]
    slots = torch.from_numpy(usable[:tokens].copy())
    if case["slots"] != "owned":
        slots[5::11] = skipped[: len(slots[5::11])]
    return slots


def blocks_for(case: Case, tokens: int) -> int:
    """Pages of a cache that takes `tokens` and leaves about as many slots empty."""
    return WIDE_PAGES if case.recipe in FAR else max(2, -(-2 * tokens // case.block_size))


def fits_beyond(case: Case) -> bool:
    """Whether the recipes `wide` and `narrow` have slots, and `tall` rows, for the case's tokens."""
    tokens = case.integer("tokens")
    slots = case.recipe not in FAR or tokens <= LATE_PAGES * case.block_size
    return slots and (case.recipe != "tall" or tokens <= TALL_TOKENS)


def tall_rows(case: Case, name: str) -> dict[str, Placement]:
    """`tall`: bf16 rows of the tensor `name` past 2^31 elements; `narrow`: slots far apart with zeros between.

    The slots span more than the guard fills (harness/arena.py), or what lies between them would be any number.
    """
    if case.recipe == "tall":
        return {name: Placement((TALL_PITCH, 1), lead=2 * WRAP)}
    return {"slot_mapping": Placement((2**20,))} if case.recipe == "narrow" else {}


@dataclass(frozen=True, slots=True)
class Pages:
    """A paged cache that several requests share."""

    cache: torch.Tensor
    """uint8 [NB, BS, token_bytes]."""
    block_table: torch.Tensor
    """int32 [B, W]; columns beyond a request's pages hold garbage."""
    unread: torch.Tensor
    """bool like cache: bytes on which no result may depend."""


def paged(
    case: Case,
    stream: Stream,
    layout: Layout,
    spans: Sequence[tuple[int, int]],
    contents: NDArray[np.uint8],
    poison: NDArray[np.uint8],
) -> Pages:
    """Lay positions [first, last) of every request (rows of `contents`, in order) into permuted pages.

    Everything else holds the record `poison`. `wide` takes pages that start beyond 2^31 bytes.
    """
    block_size = layout.block_size
    counts = [-(-last // block_size) for _, last in spans]
    blocks = WIDE_PAGES if case.recipe == "wide" else sum(counts) + 3
    order = stream.child("pages").permutation(blocks)
    if case.recipe == "wide":
        beyond = WRAP // WIDE_STRIDE + 1
        order = np.concatenate([order[order >= beyond], order[order < beyond]])
    table = np.full((len(spans), max(counts) + 1), GARBAGE_PAGE, dtype=np.int32)
    slots: list[NDArray[np.int64]] = []
    for request, ((first, last), count) in enumerate(zip(spans, counts, strict=True)):
        table[request, :count], order = order[:count], order[count:]
        token = np.arange(first, last)
        slots.append(table[request, token // block_size].astype(np.int64) * block_size + token % block_size)
    everywhere = np.concatenate(slots)
    cache = np.zeros((blocks, layout.page_bytes), dtype=np.uint8)
    layout.pack(np.repeat(poison, blocks * block_size, axis=0), np.arange(blocks * block_size), cache)
    layout.pack(contents, everywhere, cache)
    used = np.zeros((blocks, layout.page_bytes), dtype=np.uint8)
    read = np.ones_like(contents)
    if layout.name == "planar_584":
        read[:, layout.field("pad").start :] = 0
    layout.pack(read, everywhere, used)
    shape = (blocks, block_size, layout.token_bytes)
    return Pages(
        torch.from_numpy(cache.reshape(shape)),
        torch.from_numpy(table),
        torch.from_numpy(used.reshape(shape) == 0),
    )


def cache_placement(case: Case, name: str, width: int, *, size: int = 1, multiple: int = 1) -> dict[str, Placement]:
    """Where a cache [NB, BS, width] of `size`-byte elements lies; MalformedCase for a recipe that is none.

    `multiple` is what the contract rounds page strides up to, in bytes.
    """
    if case.recipe not in RECIPES:
        raise MalformedCase(f"recipe {case.recipe!r} of case {case} is unknown; use one of {', '.join(RECIPES)}")
    page = case.block_size * width
    if case.recipe == "padded":
        return {name: Placement((page + 96 // size, width, 1), lead=4096)}
    if case.recipe in FAR:
        return {name: Placement((WIDE_STRIDE // size, width, 1), lead=WRAP)}
    rounded = -(-page * size // multiple) * multiple // size
    return {name: Placement((rounded, width, 1))}


def padded_rows(case: Case, name: str, columns: int, extra: int) -> dict[str, Placement]:
    """A padded row pitch for a two-dimensional tensor, in the recipe `padded`."""
    return {name: Placement((columns + extra, 1))} if case.recipe == "padded" else {}


def locate_slot(case: Case, layout: Layout, output: str, index: tuple[int, ...], element_bytes: int = 1) -> Coordinate:
    """Index [block, row, element] of a cache tensor -> the token and byte stored there under the layout."""
    block, row, element = index
    offset = row * layout.token_bytes + element * element_bytes
    token, byte = layout.locate(offset) or (row, element)
    return Coordinate(output=output, index=index, block=block, token=token, byte=byte, offset=offset)


def locate_position(
    case: Case,
    operands: Operands,
    layout: Layout,
    output: str,
    index: tuple[int, ...],
    request: int,
    position: int,
    byte: int,
) -> Coordinate:
    """Coordinate of a byte of the cached token at `position` of a request, through the block table."""
    table = operands.inputs["block_table"]
    column, token = divmod(position, case.block_size)
    inside = column < table.shape[1] and 0 <= int(table[request, column]) < GARBAGE_PAGE
    return Coordinate(
        output=output,
        index=index,
        block=int(table[request, column]) if inside else None,
        token=token,
        byte=byte,
        offset=int(layout.offset(token, byte)),
        where={"request": request, "position": position},
    )


def permute_slots(cache_name: str) -> Callable[[Case, Operands], Transformed]:
    """The same keys written to other physical pages of the output `cache_name`."""

    def transform(case: Case, operands: Operands) -> Transformed:
        cache, slots = operands.outputs[cache_name], operands.inputs["slot_mapping"]
        moved = torch.from_numpy(Stream(str(case), "permute").permutation(cache.shape[0]))
        block, token = slots // case.block_size, slots % case.block_size
        new_slots = torch.where(slots >= 0, moved[block.clamp(min=0)] * case.block_size + token, slots)
        new_cache = torch.empty_like(cache)
        new_cache[moved] = cache
        inputs = {**operands.inputs, "slot_mapping": new_slots}
        changed = replace(operands, inputs=inputs, outputs={cache_name: new_cache})
        return case, changed, lambda outputs: {cache_name: outputs[cache_name][moved]}

    return transform


def permute_pages(cache_name: str) -> Callable[[Case, Operands], Transformed]:
    """The same tokens in other physical pages of the input `cache_name`, the block table rewritten."""

    def transform(case: Case, operands: Operands) -> Transformed:
        cache, table = operands.inputs[cache_name], operands.inputs["block_table"]
        blocks = cache.shape[0]
        moved = torch.from_numpy(Stream(str(case), "permute").permutation(blocks))
        valid = (table >= 0) & (table < blocks)
        new_table = torch.where(valid, moved[torch.where(valid, table, 0).long()].to(torch.int32), table)
        new_cache, new_unread = torch.empty_like(cache), torch.empty_like(operands.unread[cache_name])
        new_cache[moved], new_unread[moved] = cache, operands.unread[cache_name]
        inputs = {**operands.inputs, cache_name: new_cache, "block_table": new_table}
        unread = {**operands.unread, cache_name: new_unread}
        return case, replace(operands, inputs=inputs, unread=unread), lambda outputs: outputs

    return transform
