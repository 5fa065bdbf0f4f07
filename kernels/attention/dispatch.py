"""The frozen decisions of one sparse attention launch, made by the dispatcher from target, flavour and shapes."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from rocassay.harness.arch import PROFILES, Target
from rocassay.kernels.attention.splits import SplitRule, decode_splits

DecodePath: TypeAlias = Literal["single", "split"]
"""One kernel with an online softmax, or partial results of several splits and their reduction."""

_FALLBACK_COMPUTE_UNITS = 256
"""What vLLM assumes when the device does not say."""

_SMALLEST_DOT = 16

_MULTIPROCESSORS = 132
"""Of an H100 or H200."""

_WARP_GROUP_ROWS = 64
"""Rows that one warp group of an NVIDIA Hopper GPU multiplies at once."""


@dataclass(frozen=True, slots=True)
class AttentionDispatch:
    """The dispatch table of the sparse decode (vLLM rocm_aiter_mla_sparse.py, `rocm_sparse_attn_decode`)."""

    split_arches: frozenset[str] = frozenset({"gfx942", "gfx950"})
    """Architectures that split the keys; every other walks them in a single pass."""

    extra_fp8: str = "e4m3fn"
    """Flavour of the compressed cache, whatever the platform's (vllm-project/vllm#42893, #45681)."""

    def split_rule(self, arch: str) -> SplitRule:
        """Whose split heuristic an architecture takes."""
        return "gfx950" if arch == "gfx950" else "gfx942"


DISPATCH = AttentionDispatch()
"""The shipped table."""


@dataclass(frozen=True, slots=True)
class PrefillVariant:
    """Decisions of one `sparse_attn_prefill` launch."""

    block_h: int = 16
    """Heads a program; a power of two, at least 16."""

    block_k: int = 32
    """Keys a tile."""

    num_warps: int = 4
    """Waves a program."""

    num_stages: int = 1
    """Software pipeline depth of the loop over key tiles."""

    @property
    def options(self) -> dict[str, int]:
        """Launch keywords that are no kernel parameters."""
        return {"num_warps": self.num_warps, "num_stages": self.num_stages}


@dataclass(frozen=True, slots=True)
class DecodeVariant:
    """Decisions of one `sparse_attn_decode` launch."""

    path: DecodePath
    """Which implementation."""

    main_fp8: str
    """Format of the sliding-window cache's codes, `e4m3fn` or `e4m3fnuz`."""

    extra_fp8: str
    """Format of the compressed cache's codes."""

    main_native: bool
    """Whether the executing thing decodes `main_fp8` itself."""

    extra_native: bool
    """Whether the executing thing decodes `extra_fp8` itself."""

    rule: SplitRule = "gfx942"
    """Split heuristic."""

    compute_units: int = _FALLBACK_COMPUTE_UNITS
    """Compute units that the heuristic fills."""

    fixed_splits: int | None = None
    """Number of splits instead of the heuristic's."""

    one_pass_from: int | None = None
    """Programs from which one split needs no reduction and the single pass runs instead; None: never."""

    block_h: int = 16
    """Heads a program; a power of two, at least 16."""

    block_k: int = 32
    """Keys a tile."""

    reduce_heads: int = 1
    """Heads a program of the reduction; a power of two."""

    num_warps: int = 4
    """Waves a program."""

    num_stages: int = 1
    """Software pipeline depth of the loops over key tiles; a second one gained nothing in measurements."""

    def splits(self, queries: int, heads: int, main_capacity: int, extra_capacity: int) -> int:
        """Splits of a query's keys; the capacities are elements of the index buffers, never device values."""
        if self.path == "single":
            return 1
        if self.fixed_splits is not None:
            return self.fixed_splits
        return decode_splits(
            self.rule,
            queries=queries,
            head_blocks=-(-heads // self.block_h),
            main_length=-(-main_capacity // max(1, queries)),
            extra_length=-(-extra_capacity // max(1, queries)),
            compute_units=self.compute_units,
        )

    def one_pass(self, programs: int, splits: int) -> bool:
        """Whether one kernel writes the output; `programs` are those of one split."""
        if self.path == "single":
            return True
        return self.one_pass_from is not None and splits == 1 and programs >= self.one_pass_from

    @property
    def options(self) -> dict[str, int]:
        """Launch keywords that are no kernel parameters."""
        return {"num_warps": self.num_warps, "num_stages": self.num_stages}


def prefill_variant(target: Target, *, heads: int, head_dim: int) -> PrefillVariant:
    """Prefill decisions; `head_dim` is D of the rows."""
    if target.backend == "cuda":
        # Chosen by time on an H200; two stages of 64 rows of 576 just fit its shared memory.
        if heads >= _WARP_GROUP_ROWS:
            return PrefillVariant(block_h=64, block_k=64, num_warps=8, num_stages=2)
        return PrefillVariant(block_h=_heads_a_program(heads, 64), num_stages=2)
    # Half of gfx942's LDS holds one tile of 32 rows, so that two programs share a compute unit there.
    return PrefillVariant(block_h=_heads_a_program(heads, 16), block_k=32 if head_dim >= 256 else 64)


def decode_variant(
    target: Target,
    *,
    fp8: str,
    heads: int,
    path: DecodePath | None = None,
    splits: int | None = None,
    dispatch: AttentionDispatch = DISPATCH,
) -> DecodeVariant:
    """Decode decisions; `fp8` is the main cache's flavour, `path` and `splits` override the dispatched ones."""
    chosen: DecodePath = "split" if target.arch in dispatch.split_arches else "single"
    units = PROFILES[target.arch].compute_units if target.arch in PROFILES else None
    cuda = target.backend == "cuda"
    wide = cuda and heads >= _WARP_GROUP_ROWS
    return DecodeVariant(
        path=chosen if path is None else path,
        main_fp8=fp8,
        extra_fp8=dispatch.extra_fp8,
        main_native=fp8 in target.native_fp8,
        extra_native=dispatch.extra_fp8 in target.native_fp8,
        # On CUDA a unit is a resident program, and there are one (wide) or two a multiprocessor.
        rule="gfx942" if cuda else dispatch.split_rule(target.arch),
        compute_units=_MULTIPROCESSORS * (1 if wide else 2) if cuda else units or _FALLBACK_COMPUTE_UNITS,
        fixed_splits=splits,
        # A launch that fills the device in one split loses a tenth to the reduction (measured on an H200).
        one_pass_from=_MULTIPROCESSORS // 2 if cuda and path is None and splits is None else None,
        block_h=_heads_a_program(heads, 64 if cuda else 16),
        # An interpreter pays for programs, a device for programs that are too few.
        reduce_heads=16 if target.backend == "interpreter" else 1,
        block_k=64 if wide else 32,
        num_warps=8 if wide else 4,
    )


def _heads_a_program(heads: int, most: int) -> int:
    return max(_SMALLEST_DOT, min(most, 1 << max(0, heads - 1).bit_length()))
