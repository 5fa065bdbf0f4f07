"""The frozen decisions of one launch of a ragged builder, made from the target and the row length."""

from __future__ import annotations

from dataclasses import dataclass

from rocassay.harness.arch import PROFILES, Target

_SMALLEST_TILE = 16
_CUDA_WARP = 32


@dataclass(frozen=True, slots=True)
class RaggedDispatch:
    """What decides the tiles."""

    tile: int = 2048
    """Elements of a tile: rows times columns; a power of two."""

    max_columns: int = 1024
    """Most columns of a tile, as in vLLM; longer rows take several tiles."""

    scan_tile: int = 1024
    """Lengths a step of the prefix sum."""

    cuda_tile: int = 1024
    """Elements of a tile on CUDA: smaller programs hide more latency (a tenth to a fifth, on an H200)."""

    cuda_scan_tile: int = 4096
    """Lengths a step of the prefix sum on CUDA."""

    elements_per_lane: int = 8
    """Elements of a tile that a lane holds: two 16-byte loads of int32."""


DISPATCH = RaggedDispatch()
"""What ships."""


@dataclass(frozen=True, slots=True)
class RaggedVariant:
    """Decisions of one launch."""

    tile_rows: int
    """Tokens a program."""

    tile_columns: int
    """Columns a step of the loop over a row."""

    scan_tile: int
    """Lengths a step of the prefix sum."""

    num_warps: int
    """Waves a program."""

    strict: bool = False
    """Whether positions outside the block table are dropped and the survivors close ranks."""


def _power_of_two(count: int) -> int:
    return 1 << max(0, count - 1).bit_length()


def ragged_variant(
    target: Target, *, columns: int, strict: bool = False, dispatch: RaggedDispatch = DISPATCH
) -> RaggedVariant:
    """Decisions for rows of `columns` entries: short rows share a program, long ones take several steps."""
    cuda = target.backend == "cuda"
    tile, scan_tile = (dispatch.cuda_tile, dispatch.cuda_scan_tile) if cuda else (dispatch.tile, dispatch.scan_tile)
    tile_columns = min(dispatch.max_columns, tile, max(_SMALLEST_TILE, _power_of_two(columns)))
    lanes = PROFILES[target.arch].wave_size if target.arch in PROFILES and not cuda else _CUDA_WARP
    return RaggedVariant(
        tile_rows=tile // tile_columns,
        tile_columns=tile_columns,
        scan_tile=scan_tile,
        num_warps=tile // (dispatch.elements_per_lane * lanes),
        strict=strict,
    )
