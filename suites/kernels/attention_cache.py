"""Paged fp8_ds_mla caches of the sparse attention family: random records, poison, placement, moved pages."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from rocassay.harness.cases import Case
from rocassay.harness.fp8 import bfloat16_bits, clamping_encode, format_of
from rocassay.harness.inputs import Placement, Stream
from rocassay.harness.layouts import planar_584
from rocassay.suites.kernels.attention_inputs import STEEP_DIM, STEEP_KEY, Lists, directions, on_grid

HEAD_DIM = 512
NOPE, ROPE = 448, 64
RECORD = 584
STRIDE_MULTIPLE = 576
WIDE_PAGE_STRIDE = 143_596_800
"""Bytes from page to page in the recipe `wide`: page 15 starts beyond 2^31."""

GROUP_EXPONENTS = np.array([-2, 1, -1, 0, 1, -1, 0])
"""Of the seven groups' scales; every token begins elsewhere in the cycle, so neighbours never share a scale."""

UNIT = {"e4m3fn": 6, "e4m3fnuz": 5}
"""Codes have a standard deviation of an eighth of the scaling range; 2^-UNIT brings it to 0.875."""

SIXTY_FOUR = {"e4m3fn": 0x68, "e4m3fnuz": 0x70}
"""Code of 64: with a scale of 2^-127, the smallest, it and those behind it are normal numbers of bf16 and fp32."""

SMALLEST_SCALES = {1: 0, 4: 1}
"""Group -> scale byte of a faint record: fp32 holds 2^-127 only as a subnormal, unlike 2^-126."""

FAINT_ROPE = 2.0**-30
"""RoPE dims of a faint record lie from here to five times of it: bf16 holds them, and fp16 does not."""

BF16_INF, BF16_NAN = 0x7F80, 0x7FC0


@dataclass(frozen=True, slots=True)
class Cache:
    """A paged cache and the lists that refer to it."""

    bytes: torch.Tensor
    """uint8 [NB, BS, 584]."""
    unread: torch.Tensor
    """bool like `bytes`: slots that nobody lists."""
    lists: Lists


def planar_cache(
    stream: Stream,
    lists: Lists,
    q: NDArray[np.float64],
    fp8: str,
    block_size: int,
    *,
    planted: bool = True,
    steep: bool = False,
    faint: int | None = None,
) -> Cache:
    """Records of all listed slots; all other slots turn whatever reads them into NaN or infinity.

    `planted`: whether needles are added to the keys. `steep`: whether dim STEEP_DIM, the first of RoPE, is STEEP_KEY.
    `faint`: a slot whose record is faint.
    """
    layout, pages = planar_584(block_size), lists.capacity // block_size
    used = lists.used
    records = _records(stream, lists, q, fp8, lists.needles() if planted else {})
    if steep:
        records[:, STEEP_DIM : STEEP_DIM + 2] = _bf16_bytes(np.full((len(used), 1), STEEP_KEY))
    if faint is not None:
        _weaken(stream.child("faint"), records[int(np.searchsorted(used, faint))], fp8)
    flat = _poisoned(fp8, block_size, pages)
    layout.pack(records, used, flat)
    unread = np.ones((pages, layout.page_bytes), dtype=np.uint8)
    layout.pack(np.zeros_like(records), used, unread)
    shape = (pages, block_size, RECORD)
    return Cache(torch.from_numpy(flat.reshape(shape)), torch.from_numpy(unread.reshape(shape) == 1), lists)


def _records(
    stream: Stream, lists: Lists, q: NDArray[np.float64], fp8: str, planted: Mapping[int, tuple[int, float]]
) -> NDArray[np.uint8]:
    """uint8 [N, 584] of the used slots, ascending; two of them hold a NaN, which must count as 0."""
    used, fmt = lists.used, format_of(fp8)
    number = {int(slot): index for index, slot in enumerate(used)}
    needles = [(number[slot], needle) for slot, needle in planted.items()]
    values = stream.child("values").gaussian((len(used), HEAD_DIM)) + directions(q, needles, len(used))
    records = np.zeros((len(used), RECORD), dtype=np.uint8)
    records[:, :NOPE] = clamping_encode(values[:, :NOPE] * (fmt.scaling_max / 8), fmt)
    records[:, NOPE:576] = _bf16_bytes(on_grid(values[:, NOPE:]))
    group = np.arange(7)
    exponents = GROUP_EXPONENTS[(np.arange(len(used))[:, None] + 3 * group) % 7]
    records[:, 576:583] = 127 - UNIT[fp8] + exponents
    if len(used):
        records[len(used) // 2, 3] = fmt.nan_code
        records[len(used) // 3, NOPE + 20 : NOPE + 22] = np.array([BF16_NAN], dtype="<u2").view(np.uint8)
    return records


def _weaken(stream: Stream, record: NDArray[np.uint8], fp8: str) -> None:
    """Two of the smallest scales under large codes, and RoPE beside which fp16's smallest number is large."""
    for group, scale in SMALLEST_SCALES.items():
        codes = record[64 * group : 64 * group + 64]
        codes[:] = codes & 0x80 | (SIXTY_FOUR[fp8] + (codes & 7))
        record[576 + group] = scale
    record[NOPE:576] = _bf16_bytes(FAINT_ROPE * (1 + np.abs(on_grid(stream.gaussian(ROPE)))))


def _bf16_bytes(values: NDArray[np.float64]) -> NDArray[np.uint8]:
    return bfloat16_bits(values.astype(np.float32)).astype("<u2").view(np.uint8)


def _poisoned(fp8: str, block_size: int, pages: int) -> NDArray[np.uint8]:
    """Pages of NaN codes and of finite ones whose scale is infinite, since readers turn NaN into 0."""
    record = np.full((1, RECORD), format_of(fp8).nan_code, dtype=np.uint8)
    record[0, 1:NOPE:2] = 0x38
    record[0, NOPE:576] = np.array([BF16_INF, BF16_NAN] * (ROPE // 2), dtype="<u2").view(np.uint8)
    record[0, 576:] = 0xFF
    layout = planar_584(block_size)
    page = np.zeros((1, layout.page_bytes), dtype=np.uint8)
    layout.pack(np.repeat(record, block_size, axis=0), np.arange(block_size), page)
    return np.repeat(page, pages, axis=0)


def cache_placement(case: Case, name: str, cache: torch.Tensor) -> Placement:
    """Pages start at multiples of 576 bytes; `padded` inflates that, `wide` carries the main cache past 2^31."""
    block_size = cache.shape[1]
    stride = planar_584(block_size).default_block_stride
    if case.recipe == "padded":
        return Placement((stride + 3 * STRIDE_MULTIPLE, RECORD, 1), lead=4096)
    if case.recipe == "wide" and name == "swa_k_cache":
        return Placement((WIDE_PAGE_STRIDE, RECORD, 1))
    return Placement((stride, RECORD, 1))


def move_pages(indices: torch.Tensor, moved: NDArray[np.int64], block_size: int) -> torch.Tensor:
    """The lists after page p went to page moved[p]; entries outside the cache stay what they are."""
    slots = indices.numpy().astype(np.int64)
    inside = (slots >= 0) & (slots < len(moved) * block_size)
    safe = np.where(inside, slots, 0)
    there = moved[safe // block_size] * block_size + safe % block_size
    return torch.from_numpy(np.where(inside, there, slots).astype(np.int32))
