"""Which lanes are rotated in which style, which path the Indexer takes, and how a launch tiles."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal, Protocol, TypeAlias

from rocassay.harness.arch import Target

Style: TypeAlias = Literal["neox", "gptj"]
"""`neox` pairs lane i with lane i + rot/2, `gptj` lane 2i with lane 2i + 1."""

Span: TypeAlias = Literal["first", "last"]
"""Which lanes of a head are rotated; the others pass through."""

Platform: TypeAlias = Literal["rocm", "cuda", "cpu"]

IndexerPath: TypeAlias = Literal["inplace", "functional", "fused"]
"""How the Indexer calls its RoPE: on slices of q and k, by concatenating what it returns, or inside CUDA's kernel."""


@dataclass(frozen=True, slots=True)
class RopeLayout:
    """Where a tensor's rotated lanes lie and how they pair up."""

    style: Style
    span: Span


_LAYOUTS: Mapping[str, RopeLayout] = {
    "mla": RopeLayout("gptj", "first"),
    "v32_indexer": RopeLayout("neox", "first"),
    "glm_indexer": RopeLayout("gptj", "first"),
    "v4": RopeLayout("gptj", "last"),
}


class RopeKind(Protocol):
    """What the path decision asks of a RoPE implementation."""

    @property
    def inplace(self) -> bool:
        """Whether it rotates the tensors it is given."""
        ...

    @property
    def enabled(self) -> bool:
        """Whether its custom op is switched on, which says nothing of the method that runs."""
        ...


def _mutates(rope: RopeKind) -> bool:
    return rope.inplace


@dataclass(frozen=True, slots=True)
class RopeDispatch:
    """The decision table; every field is an entry that can be replaced on its own."""

    layouts: Mapping[str, RopeLayout] = field(default_factory=lambda: dict(_LAYOUTS))
    """Model tensor -> its rotated lanes: `mla` q_pe and k_pe are nothing but rotated lanes, the V3.2 indexer pairs
    halves, GLM's (config indexer_rope_interleave) neighbours, DeepSeek V4 rotates the last lanes everywhere."""

    inplace: Callable[[RopeKind], bool] = _mutates
    """M12: which implementations may run on slices with their result ignored. vLLM asks `rope.enabled()`, which is
    also true of a YaRN RoPE whose HIP forward is the functional one (vllm-project/vllm#43781)."""

    rows_per_program: int = 64
    """(token, head) rows of one program."""

    heads_per_program: int = 16
    """Most heads of one program; the rest of its rows are further tokens."""

    def indexer_path(self, platform: Platform, rope: RopeKind) -> IndexerPath:
        """M12: in place on ROCm where the implementation is, fused on CUDA, else functional."""
        if platform == "rocm" and self.inplace(rope):
            return "inplace"
        return "fused" if platform == "cuda" else "functional"


DISPATCH = RopeDispatch()
"""The table as shipped."""


@dataclass(frozen=True, slots=True)
class RopeVariant:
    """Decisions of one `apply_rope` or `inverse_rope` launch."""

    style: Style
    """How lanes pair up."""

    span: Span
    """Which lanes are rotated."""

    rows_per_program: int
    """(token, head) rows of one program; a power of two."""

    heads_per_program: int
    """Most heads among them; a power of two."""

    num_warps: int = 4
    """Waves a program."""

    def heads_tile(self, heads: int) -> int:
        """Heads a program takes of a tensor with this many."""
        return min(self.heads_per_program, 1 << (heads - 1).bit_length())


def rope_variant(
    target: Target,
    *,
    tensor: str,
    tokens: int,
    heads: int,
    dispatch: RopeDispatch = DISPATCH,
) -> RopeVariant:
    """Decisions for `tensor`, a key of `dispatch.layouts`; a few rows get a program of their size.

    The rotation runs at memory speed, so that no target needs a tile of its own.
    """
    layout = dispatch.layouts[tensor]
    needed = 1 << (max(1, tokens * heads) - 1).bit_length()
    rows = min(dispatch.rows_per_program, needed)
    return RopeVariant(layout.style, layout.span, rows, min(rows, dispatch.heads_per_program), 4 if rows >= 32 else 1)
