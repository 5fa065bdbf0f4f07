"""The frozen decisions of top-k and packing launches, made from target and shapes by pure functions."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal, TypeAlias

from rocassay.harness.arch import Target

SelectPath: TypeAlias = Literal["single", "split"]
"""One program a row, or several that each select from a part and one that selects from their candidates."""

_LANES = {"hip": 64, "cuda": 32, "interpreter": 64}
_MOST_LANES = 1024
"""Lanes of the largest workgroup on CDNA and on NVIDIA GPUs."""

_SMALLEST_TILE = 1024
_LARGEST_TILE = 8192
"""Keys that stay in registers between the digits; the rest of a longer row is read again from the cache."""

_KEYS_PER_LANE = {"hip": 8, "cuda": 16, "interpreter": 8}
"""A wave counts its own histogram and all of them are added up: fewer waves add less (a quarter, on an H200)."""

_FEATURES = 1024
_ELEMENTS = 4096
"""Elements of one copying program: 16 a lane in four waves."""


@dataclass(frozen=True, slots=True)
class TopKDispatch:
    """Which implementation selects."""

    splits: Callable[[int], int]
    """Columns of the scores -> parts a decode row is selected in."""


DISPATCH = TopKDispatch(splits=lambda columns: 10 if columns >= 200_000 else 1)
"""vLLM's `top_k_per_row_decode`: ten parts and a merge from 200 000 columns on."""


@dataclass(frozen=True, slots=True)
class SelectVariant:
    """Decisions of one top-k launch."""

    path: SelectPath
    """Which implementation."""

    splits: int
    """Parts of a row; 1 on the path `single`."""

    tile: int
    """Scores that a program holds at a time; a power of two."""

    num_warps: int
    """Waves a program."""


@dataclass(frozen=True, slots=True)
class PackVariant:
    """Decisions of one packing or unpacking launch."""

    tokens: int
    """Rows a program; a power of two."""

    features: int
    """Elements of a row that a program moves at a time; a power of two."""

    num_warps: int = 4
    """Waves a program."""


def _power_of_two(count: int) -> int:
    return 1 << max(0, count - 1).bit_length()


def select_variant(
    target: Target,
    *,
    columns: int,
    tile: int | None = None,
    splits: int | None = None,
    dispatch: TopKDispatch = DISPATCH,
) -> SelectVariant:
    """Top-k decisions for scores of `columns` columns; `tile` and `splits` override the dispatcher's own."""
    parts = dispatch.splits(columns) if splits is None else splits
    longest = -(-columns // parts)
    held = tile or min(max(_power_of_two(longest), _SMALLEST_TILE), _LARGEST_TILE)
    lanes = _LANES[target.backend]
    warps = min(max(held // _KEYS_PER_LANE[target.backend], 4 * lanes), _MOST_LANES) // lanes
    return SelectVariant("split" if parts > 1 else "single", parts, held, warps)


def pack_variant(target: Target, *, features: int) -> PackVariant:
    """Packing decisions for rows of `features` elements; a byte move suits every target alike."""
    width = min(_power_of_two(features), _FEATURES)
    return PackVariant(tokens=max(1, _ELEMENTS // width), features=width)
