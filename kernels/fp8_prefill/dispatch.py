"""Which prefill runs and how it tiles: the frozen decisions of one launch, from target, flavour and batch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from rocassay.harness.arch import Target
from rocassay.kernels.dispatch.mla_prefill import MLA_PREFILL, MlaPrefillRequest, MlaPrefillTable
from rocassay.kernels.persistent.prefill_planner import TILE_Q, UNIT_KV

PrefillPath: TypeAlias = Literal["persistent", "fallback"]
"""A planned grid with partial results and their reduction, or one program a tile of queries and head."""

DotType: TypeAlias = Literal["fp8", "fp16", "bf16"]
"""Type of the matrix operands, the softmax weights among them; fp16 holds every fp8 value exactly."""

BF16 = "bf16"
"""Format of queries, keys and values that are not quantised."""

_SMALLEST_BLOCK = 32
"""Keys that one fp8 matrix instruction multiplies."""


@dataclass(frozen=True, slots=True)
class ReduceVariant:
    """Decisions of one `mla_prefill_reduce` launch."""

    rows_per_program: int = 32
    """Query rows of one head that a program merges; a power of two."""

    tile_q: int = TILE_Q
    """Most query rows of a group."""

    num_warps: int = 4
    """Waves a program."""


@dataclass(frozen=True, slots=True)
class MetadataVariant:
    """Decisions of one `mla_prefill_ps_metadata` launch."""

    tile_q: int = TILE_Q
    """Query rows of a tile."""

    unit_kv: int = UNIT_KV
    """Keys of a unit; every cut is a multiple of it."""

    step: int = 128
    """Tiles, parts or requests that a program handles at once; a power of two."""

    num_warps: int = 4
    """Waves a program."""


@dataclass(frozen=True, slots=True)
class PrefillVariant:
    """Decisions of one `mla_prefill_ps` launch."""

    path: PrefillPath
    """Which implementation."""

    fp8: str
    """Format of queries, keys and values: `e4m3fn`, `e4m3fnuz` or `bf16`."""

    native: bool
    """Whether the executing thing decodes `fp8` itself."""

    dot: DotType
    """Type of queries and keys in the score product."""

    value_dot: DotType
    """Type of softmax weights and values in their product."""

    block_q: int = 128
    """Query rows of one matrix product."""

    block_k: int = 64
    """Keys of one matrix product."""

    num_warps: int = 4
    """Waves a program."""

    num_stages: int = 2
    """Software pipeline depth of the loops over keys."""

    reduce: ReduceVariant = ReduceVariant()
    """Decisions of the reduction behind the persistent path."""

    waves_per_eu: int | None = None
    """AMD's occupancy hint; None leaves the choice to the compiler and suits every backend."""

    @property
    def weight_shift(self) -> float:
        """log2 of a row's largest softmax weight: fp8 ones fill the format's range, so that small weights survive."""
        if self.value_dot != "fp8":
            return 0.0
        return 8.0 if self.fp8 == "e4m3fn" else 7.0

    @property
    def options(self) -> dict[str, int]:
        """Launch keywords that are no kernel parameters."""
        hint = {} if self.waves_per_eu is None else {"waves_per_eu": self.waves_per_eu}
        return {"num_warps": self.num_warps, "num_stages": self.num_stages, **hint}


def prefill_variant(
    target: Target,
    *,
    fp8: str,
    heads: int,
    planned: bool = True,
    chunked_context: bool = False,
    path: PrefillPath | None = None,
    tile_q: int = TILE_Q,
    short_sums: bool = False,
    dispatch: MlaPrefillTable = MLA_PREFILL,
) -> PrefillVariant:
    """Decisions for queries, keys and values of a format; `path` overrides M8 and M9.

    heads: query heads of the rank. planned: the batch has a plan. chunked_context: keys of earlier chunks are merged
    in afterwards. tile_q: query rows of the plan's tiles. short_sums: scores on Hopper's fp8 tensor cores, which keep
    about 14 accumulator bits (DeepSeek-V3 technical report) and so miss the contract; fp16 operands do not.
    """
    request = MlaPrefillRequest(
        target.arch,
        heads=heads,
        kv_dtype="bf16" if fp8 == BF16 else "fp8",
        metadata=planned,
        chunked_context=chunked_context,
    )
    planner: PrefillPath = "persistent" if dispatch.batch(request).path == "fp8_persistent" else "fallback"
    chosen = planner if path is None else path
    cuda = target.backend == "cuda"
    dot = _dot(target, fp8, chosen, fp8_sums=not cuda or short_sums)
    emulated = target.backend == "hip" and fp8 != BF16 and fp8 not in target.native_fp8
    return PrefillVariant(
        path=chosen,
        fp8=fp8,
        native=fp8 in target.native_fp8,
        dot=dot,
        # Hopper multiplies FP8 values only transposed: decoding them is faster (measured on an H200).
        value_dot="fp16" if cuda and dot == "fp8" else dot,
        # Decoding a foreign flavour takes the registers of half of the rows.
        block_q=min(64 if emulated else 128, tile_q),
        block_k=_block_k(128 if cuda and dot == "fp8" else 64, tile_q),
        # Eight waves of 64 lanes would spill: each may own but half of the registers.
        num_warps=8 if cuda else 4,
        num_stages=3 if cuda and dot != "fp8" else 2,
        reduce=reduce_variant(target, tile_q=tile_q),
    )


def metadata_variant(*, tile_q: int = TILE_Q, unit_kv: int = UNIT_KV) -> MetadataVariant:
    """Decisions of the planner; the target does not matter."""
    return MetadataVariant(tile_q, unit_kv)


def reduce_variant(target: Target, *, tile_q: int = TILE_Q) -> ReduceVariant:
    """Decisions of the reduction for groups of at most `tile_q` rows."""
    # An interpreter pays for programs, a device for programs that are too few.
    rows = tile_q if target.backend == "interpreter" else min(32, tile_q)
    return ReduceVariant(rows, tile_q)


def _dot(target: Target, fp8: str, path: PrefillPath, *, fp8_sums: bool) -> DotType:
    """The fallback is the plain attention of unquantised states, which keeps its weights in 16 bits."""
    if fp8 == BF16:
        return "bf16"
    return "fp8" if path == "persistent" and fp8_sums and fp8 in target.native_fp8 else "fp16"


def _block_k(widest: int, tile_q: int) -> int:
    return max(_SMALLEST_BLOCK, min(widest, tile_q // 2))
