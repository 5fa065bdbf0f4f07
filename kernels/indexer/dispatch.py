"""The frozen decisions of one launch, made by the dispatcher from target, flavour and page shape."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Literal, TypeAlias

import triton

from rocassay.harness.arch import PROFILES, Target, cdna_of
from rocassay.harness.fp8 import format_of
from rocassay.kernels.indexer.decisions import (
    DISPATCH,
    Aiter,
    BlockSizes,
    Decision,
    IndexerDispatch,
    KvDtype,
    LayoutName,
)

__all__ = [
    "DISPATCH",
    "TRITON",
    "Aiter",
    "BlockSizes",
    "Decision",
    "GatherVariant",
    "IndexerDispatch",
    "KvDtype",
    "LaunchPath",
    "LayoutName",
    "LogitsVariant",
    "WriteVariant",
    "gather_variant",
    "logits_variant",
    "write_variant",
]

LaunchPath: TypeAlias = Literal["single", "block_flat", "two_kernel"]
"""Shipped implementations: "block_flat" is the single kernel on NORMAL pages."""

TRITON: tuple[int, int] = tuple(int(part) for part in triton.__version__.split(".")[:2])  # pyright: ignore[reportAssignmentType]
"""Release of the Triton that is installed."""

_FALLBACK_COMPUTE_UNITS = 256
"""What vLLM assumes when the device does not say."""


@dataclass(frozen=True, slots=True)
class _Tile:
    """Tile shape of the logits kernel: chosen so that no shape up to 128 heads x 8 rows spills registers."""

    kv_tile: int = 64
    dot_rows: int = 128
    num_warps: int = 4


_FEW_TOKENS, _MANY_TOKENS = 2048, 16384
"""Where the tile of the cache writer changes on CUDA (measured on an H200)."""

_TILES = {
    ("gfx942", "fp8"): _Tile(),
    # The K = 64 matrix instructions hold wider operands.
    ("gfx950", "fp8"): _Tile(num_warps=8),
}
_HALF_TILE = _Tile(kv_tile=32, dot_rows=64)
# One warp group multiplies 64 keys, taken from its registers, with the queries in shared memory.
_CUDA_TILE = _Tile(kv_tile=64)
_CUDA_STAGES = 1
"""Five programs a multiprocessor hide more latency than a pipeline, whose buffers cost registers (measured, H200)."""

_CUDA_RESIDENT = 132 * 5
"""Programs of the logits kernel that an H200 holds at once: 132 multiprocessors, 90 registers a thread."""


@dataclass(frozen=True, slots=True)
class WriteVariant:
    """Decisions of one `indexer_k_quant_and_cache` launch."""

    layout: LayoutName
    """Layout to store."""

    fp8: str
    """Format of the stored codes, `e4m3fn` or `e4m3fnuz`."""

    scaling_max: float
    """Value that a key's largest magnitude is scaled to: 448 (OCP) or 224 (FNUZ)."""

    native: bool
    """Whether the executing thing converts this format itself."""

    tokens_per_program: int = 16
    """Keys a program."""

    num_warps: int = 4
    """Waves a program."""


@dataclass(frozen=True, slots=True)
class GatherVariant:
    """Decisions of one `cp_gather_indexer_k_quant_cache` launch."""

    layout: LayoutName
    """Layout to read."""

    tokens_per_program: int = 32
    """Keys a program."""

    num_warps: int = 4
    """Waves a program."""


@dataclass(frozen=True, slots=True)
class LogitsVariant:
    """Decisions of one `fp8_paged_mqa_logits` launch."""

    path: LaunchPath
    """Which implementation."""

    layout: LayoutName
    """Layout to read."""

    fp8: str
    """Format of queries and keys, `e4m3fn` or `e4m3fnuz`."""

    native: bool
    """Whether the executing thing decodes this format itself."""

    dot: Literal["fp8", "fp16"]
    """Type of the matrix operands; fp16 holds every fp8 value exactly."""

    kv_tile: int = 64
    """Keys a tile."""

    dot_rows: int = 128
    """Most (query, head) rows of one matrix product; a power of two."""

    max_splits: int = _FALLBACK_COMPUTE_UNITS
    """Most programs a request is split over: the device's compute units."""

    fragments: bool = False
    """Keys are loaded straight into the registers of a Hopper warp group's product; `kv_tile` is a multiple of 64."""

    sum_tile: int = 128
    """Columns a program of the second kernel."""

    num_warps: int = 4
    """Waves a program."""

    num_stages: int = 2
    """Software pipeline depth of the loop over key tiles."""

    waves_per_eu: int | None = None
    """AMD's occupancy hint; None leaves the choice to the compiler and suits every backend."""

    kernel: Literal["triton", "gluon"] = "triton"
    """Language of the single kernel; Gluon runs on ROCm devices only."""

    cdna: int | None = None
    """Generation whose matrix instructions the Gluon kernel uses, 3 or 4; None for Triton's."""

    resident: int | None = None
    """Programs that the device holds at once; a launch of that many requests' splits is one wave. None: unknown."""

    def splits(self, rows: int, max_model_len: int) -> int:
        """Programs that share one request's keys: one wave, or by the rule of vLLM's block-flat kernel."""
        if self.resident is not None:
            return max(1, min(-(-max_model_len // self.kv_tile), self.resident // max(1, rows)))
        return max(1, min(self.max_splits, -(-max_model_len // self.kv_tile), 1024 // max(1, rows)))

    @property
    def options(self) -> dict[str, int]:
        """Launch keywords that are no kernel parameters."""
        hint = {} if self.waves_per_eu is None else {"waves_per_eu": self.waves_per_eu}
        return {"num_warps": self.num_warps, "num_stages": self.num_stages, **hint}


def write_variant(
    target: Target,
    *,
    fp8: str,
    block_size: int,
    ratio: int,
    tokens: int | None = None,
    dispatch: IndexerDispatch = DISPATCH,
) -> WriteVariant:
    """Writer decisions; `fp8` is the cache's flavour (the ratio-4 compressor stores e4m3fn everywhere).

    `tokens` of a launch, where the caller knows them, choose the tile on CUDA: few tokens need many programs.
    """
    layout = dispatch.write_layout(block_size, ratio)
    variant = WriteVariant(layout, fp8, format_of(fp8).scaling_max, fp8 in target.native_fp8)
    if target.backend != "cuda" or tokens is None:
        return variant
    if tokens <= _FEW_TOKENS:
        return replace(variant, tokens_per_program=4)
    return replace(variant, tokens_per_program=8, num_warps=4 if tokens <= _MANY_TOKENS else 2)


def gather_variant(
    target: Target,
    *,
    block_size: int,
    ratio: int,
    dispatch: IndexerDispatch = DISPATCH,
) -> GatherVariant:
    """Gather decisions: a byte move, so neither the target nor the flavour matters."""
    return GatherVariant(dispatch.gather_layout(block_size, ratio))


def logits_variant(
    target: Target,
    *,
    fp8: str,
    block_size: int,
    ratio: int,
    path: LaunchPath | None = None,
    dispatch: IndexerDispatch = DISPATCH,
    triton_release: tuple[int, int] = TRITON,
) -> LogitsVariant:
    """Decode-logits decisions with AITER's function present.

    Where vLLM falls back to torch (P2, P5) the single kernel runs on NORMAL pages: it takes any block size
    and reads what torch would. `path` overrides the implementation only: the layout stays the dispatched
    one, except that "block_flat" means NORMAL.
    """
    decision = dispatch.paged_logits(target.arch, aiter=Aiter.ON, block_size=block_size, ratio=ratio)
    layout: LayoutName = "NORMAL" if path == "block_flat" else decision.layout
    if path is None:
        path = "single" if decision.path == "torch" else decision.path
    native = fp8 in target.native_fp8
    # Hopper's fp8 tensor cores keep about 14 accumulator bits (DeepSeek-V3 technical report); logits need 24.
    dot = "fp8" if native and target.backend != "cuda" else "fp16"
    tile = _TILES.get((target.arch, dot), _Tile() if dot == "fp8" else _HALF_TILE)
    if target.backend == "cuda":
        tile = _CUDA_TILE
    units = PROFILES[target.arch].compute_units if target.arch in PROFILES else None
    variant = LogitsVariant(
        path=path,
        layout=layout,
        fp8=fp8,
        native=native,
        dot=dot,
        kv_tile=tile.kv_tile,
        dot_rows=tile.dot_rows,
        num_warps=tile.num_warps,
        fragments=target.backend == "cuda",
        num_stages=_CUDA_STAGES if target.backend == "cuda" else 2,
        resident=_CUDA_RESIDENT if target.backend == "cuda" else None,
        max_splits=units or _FALLBACK_COMPUTE_UNITS,
        # Two waves halve the registers, which suits fp8 operands; upcast ones would spill.
        waves_per_eu=decision.waves_per_eu if target.backend == "hip" and dot == "fp8" else None,
    )
    known = target.arch in dispatch.gluon_arches and triton_release >= dispatch.gluon_triton
    if known and target.backend == "hip" and native and path != "two_kernel":
        return _in_gluon(variant, target, block_size)
    return variant


def _in_gluon(variant: LogitsVariant, target: Target, block_size: int) -> LogitsVariant:
    """Tiles that lie in one page wherever a page holds a whole number of them."""
    tile = 128 if block_size % 128 == 0 else 64
    return replace(variant, kernel="gluon", cdna=cdna_of(target.arch), kv_tile=tile, num_warps=4)
