"""Which merge kernel runs and how it tiles: vLLM's rule as data, and the frozen decisions of one launch."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Literal, TypeAlias

from rocassay.harness.arch import Target, cdna_of

MergePath: TypeAlias = Literal["packed", "general", "torch"]
"""`packed` moves 16 bytes a lane (vLLM's C++ kernel), `general` takes any head dim (its Triton kernel)."""

Platform: TypeAlias = Literal["rocm", "cuda", "cpu"]

_PACKS: Mapping[str, int] = {"float32": 4, "float16": 8, "bfloat16": 8}


@dataclass(frozen=True, slots=True)
class MergeDispatch:
    """The decision table; every field is an entry that can be replaced on its own."""

    packed_cdna: int = 3
    """Oldest CDNA generation with the packed kernel (vLLM v1/attention/ops/merge_attn_states.py)."""

    packs: Mapping[str, int] = field(default_factory=lambda: dict(_PACKS))
    """Output dtype -> elements of a 16-byte pack, which must divide the head dim; others have no packed kernel."""

    tile_elements: int = 4096
    """Output elements of one program: 32 a lane at 4 waves of 32 lanes, 16 at waves of 64."""

    most_tokens: int = 32
    """Most tokens of one program."""

    def path(self, platform: Platform, arch: str, *, dtype: str, head_dim: int) -> MergePath:
        """M10: packed on CUDA and on CDNA 3 or later where the head dim is whole packs; torch on the CPU."""
        if platform == "cpu":
            return "torch"
        generation = 0 if platform == "cuda" else cdna_of(arch) or 0
        able = platform == "cuda" or generation >= self.packed_cdna
        whole = dtype in self.packs and head_dim % self.packs[dtype] == 0
        return "packed" if able and whole else "general"


DISPATCH = MergeDispatch()
"""The table as shipped."""


@dataclass(frozen=True, slots=True)
class MergeVariant:
    """Decisions of one `merge_attn_states` launch."""

    path: Literal["packed", "general"]
    """Which implementation."""

    tokens_per_program: int
    """Tokens of one head that a program merges; a power of two."""

    num_warps: int = 4
    """Waves a program."""


def merge_variant(
    target: Target, *, dtype: str, tokens: int, head_dim: int, dispatch: MergeDispatch = DISPATCH
) -> MergeVariant:
    """Decisions for outputs [tokens, H, head_dim] of a dtype; few tokens get small tiles, so that none idles."""
    path = dispatch.path("rocm", target.arch, dtype=dtype, head_dim=head_dim)
    if path != "packed":
        # One row a wave: without packs the lanes of a wave already cover it.
        return MergeVariant("general", tokens_per_program=1, num_warps=1)
    width = 1 << (head_dim - 1).bit_length()
    fitting = max(1, min(dispatch.most_tokens, dispatch.tile_elements // width))
    return MergeVariant("packed", min(fitting, 1 << max(0, tokens - 1).bit_length()))
