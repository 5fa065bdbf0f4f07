"""The frozen decisions of one launch of the prefill indexer, made from target, flavour and shape."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal

from rocassay.harness.arch import PROFILES, Target
from rocassay.harness.fp8 import format_of

_FALLBACK_COMPUTE_UNITS = 256
"""What vLLM assumes when the device does not say."""

_PROGRAMS_PER_UNIT = 2
_TILES_PER_SPLIT = 4
"""A program loads its queries once; fewer key tiles than these would not pay for that."""

DotType = Literal["fp8", "fp16"]
"""Type of the matrix operands; fp16 holds every fp8 value exactly."""

DecodePath = Literal["native", "flattened"]
"""Decode lengths as [B, next_n], or one row a query token."""


@dataclass(frozen=True, slots=True)
class Tile:
    """Shape of one matrix product of the logits kernel."""

    kv_tile: int = 64
    """Keys a tile."""
    dot_columns: int = 128
    """Most (row, head) columns of one product; a power of two."""
    num_warps: int = 4
    """Waves a program."""
    num_stages: int = 2
    """Software pipeline depth of the loop over key tiles."""


_TILES: Mapping[tuple[str, DotType], Tile] = MappingProxyType(
    {
        # Four waves would spill on gfx950, whose K = 64 matrix instructions hold wider operands.
        ("gfx942", "fp8"): Tile(kv_tile=128, num_warps=8),
        ("gfx950", "fp8"): Tile(kv_tile=128, num_warps=8),
        # Upcast keys take twice the registers; wide products pay for their decoding.
        ("gfx942", "fp16"): Tile(num_warps=8),
        ("gfx950", "fp16"): Tile(num_warps=8),
    }
)
# Measured on an H200: 454 TFLOP/s in fp16 with one warpgroup, 382 with twice the keys and warps.
_CUDA_TILE = Tile(dot_columns=256, num_stages=3)


@dataclass(frozen=True, slots=True)
class PrefillDispatch:
    """The decision table; every field is an entry that can be replaced on its own."""

    tiles: Mapping[tuple[str, DotType], Tile] = field(default_factory=lambda: _TILES)
    """(arch, operand type) -> tile of the logits kernel."""

    quant_fp8: Mapping[str, float] = field(
        default_factory=lambda: {name: format_of(name).scaling_max for name in ("e4m3fn", "e4m3fnuz")}
    )
    """Format -> value that a group's largest magnitude is scaled to (vLLM get_fp8_min_max: 448, and 224 for FNUZ)."""

    native_next_n: frozenset[int] = frozenset({1, 2})
    """Query tokens a request for which ROCm's decode kernels take lengths by request (vLLM v1/attention/backends/mla/
    indexer.py)."""


DISPATCH = PrefillDispatch()
"""The table as shipped."""


@dataclass(frozen=True, slots=True)
class LogitsVariant:
    """Decisions of one `fp8_mqa_logits` launch."""

    fp8: str
    """Format of queries and keys, `e4m3fn` or `e4m3fnuz`."""

    native: bool
    """Whether the executing thing decodes this format itself."""

    dot: DotType
    """Type of the matrix operands."""

    tile: Tile
    """Shape of one matrix product."""

    compute_units: int = _FALLBACK_COMPUTE_UNITS
    """Compute units that a launch should keep busy."""

    waves_per_eu: int | None = None
    """AMD's occupancy hint; None leaves the choice to the compiler and suits every backend."""

    def splits(self, row_blocks: int, columns: int) -> int:
        """Programs that share the keys of one row block: enough to fill the device, each with several tiles."""
        tiles = -(-columns // self.tile.kv_tile)
        wanted = -(-_PROGRAMS_PER_UNIT * self.compute_units // max(1, row_blocks))
        return max(1, min(wanted, -(-tiles // _TILES_PER_SPLIT)))

    @property
    def options(self) -> dict[str, int]:
        """Launch keywords that are no kernel parameters."""
        hint = {} if self.waves_per_eu is None else {"waves_per_eu": self.waves_per_eu}
        return {"num_warps": self.tile.num_warps, "num_stages": self.tile.num_stages, **hint}


@dataclass(frozen=True, slots=True)
class QuantVariant:
    """Decisions of one `per_token_group_quant_fp8` launch."""

    fp8: str
    """Format of the codes, `e4m3fn` or `e4m3fnuz`."""

    scaling_max: float
    """Value that a group's largest magnitude is scaled to: 448 (OCP) or 224 (FNUZ)."""

    native: bool
    """Whether the executing thing converts this format itself."""

    groups_per_program: int = 32
    """Groups a program."""

    num_warps: int = 4
    """Waves a program."""


@dataclass(frozen=True, slots=True)
class RowsVariant:
    """Decisions of one launch of a kernel that neither converts nor multiplies matrices."""

    rows_per_program: int = 64
    """Rows (tokens, requests) a program."""

    columns_per_program: int = 64
    """Columns a program, where there are any; a power of two."""

    num_warps: int = 4
    """Waves a program."""


@dataclass(frozen=True, slots=True)
class DecodeLensVariant:
    """Decisions of one `indexer_decode_lens` launch."""

    path: DecodePath
    """Whether lengths stay a table by request or become one row a token."""

    rows: RowsVariant = RowsVariant()
    """Tile of the kernel."""


def logits_variant(target: Target, *, fp8: str, dispatch: PrefillDispatch = DISPATCH) -> LogitsVariant:
    """Prefill-logits decisions."""
    native = fp8 in target.native_fp8
    # Hopper's fp8 tensor cores keep about 14 accumulator bits (DeepSeek-V3 technical report); logits need 24.
    dot: DotType = "fp8" if native and target.backend != "cuda" else "fp16"
    tile = _CUDA_TILE if target.backend == "cuda" else dispatch.tiles.get((target.arch, dot), Tile())
    units = PROFILES[target.arch].compute_units if target.arch in PROFILES else None
    return LogitsVariant(
        fp8=fp8,
        native=native,
        dot=dot,
        tile=tile,
        compute_units=units or _FALLBACK_COMPUTE_UNITS,
        # Two waves halve the registers, which suits fp8 operands; upcast ones would spill.
        waves_per_eu=2 if target.backend == "hip" and dot == "fp8" else None,
    )


def quant_variant(target: Target, *, fp8: str, dispatch: PrefillDispatch = DISPATCH) -> QuantVariant:
    """Query-quantiser decisions."""
    return QuantVariant(fp8, dispatch.quant_fp8[fp8], fp8 in target.native_fp8)


def rows_variant() -> RowsVariant:
    """Decisions of kernels for which neither target nor flavour matters."""
    return RowsVariant()


def decode_lens_variant(
    *, next_n: int, adaptive: bool = False, dispatch: PrefillDispatch = DISPATCH
) -> DecodeLensVariant:
    """Decode-length decisions from the configured tokens a step and whether verification adapts their number."""
    native = next_n in dispatch.native_next_n and not adaptive
    return DecodeLensVariant("native" if native else "flattened")
