"""Which head counts a persistent decode kernel takes as they are, how others fold, and how many tiles that makes.

Source: AITER csrc/kernels/mla/metadata (v1.2) and aiter/mla.py; P is the rows of a tile, tokens·heads.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from rocassay.kernels.persistent.buffers import PlanError

Element: TypeAlias = Literal["bf16", "fp8"]

FOLDED_HEADS = 16
"""Heads of a pseudo-request."""

_ROWS = 128
_FEW_ROWS = 64


@dataclass(frozen=True, slots=True)
class DecodeShape:
    """What the tiling of a decode depends on; `max_qlen` is the longest query length, MTP tokens included."""

    arch: str
    heads: int
    max_qlen: int = 1
    q: Element = "bf16"
    kv: Element = "bf16"

    @property
    def native(self) -> bool:
        """Whether the kernel of this architecture takes the heads unfolded."""
        if self.heads == FOLDED_HEADS:
            return True
        fp8 = (self.q, self.kv) == ("fp8", "fp8")
        if self.arch == "gfx942":
            few = self.q == "bf16" and (self.heads, self.max_qlen) == (8, 2)
            return few or (fp8 and (self.heads == 128 or (self.heads, self.max_qlen) == (64, 1)))
        if self.arch == "gfx950":
            return (self.q, self.kv) == ("bf16", "bf16") or (
                fp8 and (self.heads in (32, 64, 128) or (self.heads, self.max_qlen) == (8, 4))
            )
        return False

    @property
    def fold(self) -> int:
        """Pseudo-requests of a request: 1 where native; raises `PlanError` for heads that no kernel takes."""
        if self.native:
            return 1
        if self.heads % FOLDED_HEADS or not 32 <= self.heads <= 128:
            raise PlanError(
                f"{self.heads} heads are not native on {self.arch}; pad them to 16, or a multiple up to 128"
            )
        return self.heads // FOLDED_HEADS

    @property
    def rows(self) -> int:
        """Rows (tokens·heads) of a workgroup's tile: 128, or 64 for some shapes of gfx950."""
        if self.arch != "gfx950":
            return _ROWS
        between = _FEW_ROWS <= self.heads * self.max_qlen < _ROWS and self.heads <= 64
        bf16 = (self.q, self.kv) == ("bf16", "bf16") and (between or self.heads == 48)
        fp8 = (self.q, self.kv) == ("fp8", "fp8") and (self.heads, self.max_qlen) == (32, 3)
        return _FEW_ROWS if bf16 or fp8 else _ROWS

    def tiles_of(self, qlen: int) -> int:
        """Tiles that the planner makes of one (pseudo-)request of `qlen` tokens; 0 for none."""
        if qlen == 0:
            return 0
        if self.max_qlen * self.heads <= self.rows:
            return 1
        heads = self.heads if self.native else FOLDED_HEADS
        return qlen if 2 * heads > self.rows else -(-qlen * heads // self.rows)

    @property
    def tile_tokens(self) -> int:
        """Most tokens of a tile: rows that every part gets in the partial buffer."""
        lengths = range(1, self.max_qlen + 1)
        return max(-(-qlen // self.tiles_of(qlen)) for qlen in lengths)

    @property
    def sized_tiles(self) -> int:
        """Tiles of an unfolded request that buffers are sized for: exact where native, else a safe over-estimate."""
        return self.tiles_of(self.max_qlen) if self.native else -(-self.max_qlen * self.heads // FOLDED_HEADS)
