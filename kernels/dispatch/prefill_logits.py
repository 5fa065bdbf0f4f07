"""Which implementation scores the prefill indexer: rows L1 to L3 (vLLM rocm_aiter_mla_sparse.py and AITER)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rocassay.harness.arch import PROFILES
from rocassay.kernels.indexer.decisions import DISPATCH, Aiter, IndexerDispatch


@dataclass(frozen=True, slots=True)
class PrefillLogitsRequest:
    """Facts that the choice depends on."""

    arch: str
    """Architecture, a member of `DISPATCH_ARCHES`."""

    aiter: Aiter
    """State of AITER; INCOMPATIBLE means enabled without a usable `fp8_mqa_logits`."""

    triton: tuple[int, int] = (3, 6)
    """Triton version (major, minor)."""

    lds_bytes: int = 0
    """AITER's estimate of the LDS that the staged tile needs."""


@dataclass(frozen=True, slots=True)
class PrefillLogitsDecision:
    """What scores the prefill, and what it leaves outside the window."""

    row: str
    """L1, L2 or L3."""

    path: Literal["flydsl", "aiter", "torch"]
    """Package entry that is called."""

    kernel: Literal["flydsl", "gluon", "triton", "torch"]
    """Kernel that runs inside it."""

    outside: Literal["undefined", "-inf"]
    """Content of the columns outside [ks, ke)."""

    block_kv: int | None = None
    """Keys a tile of AITER's Triton kernel; None elsewhere."""

    num_stages: int | None = None
    """Pipeline depth of AITER's Triton kernel; None elsewhere."""


@dataclass(frozen=True, slots=True)
class PrefillLogitsTable:
    """The decision table; every field is an entry that can be replaced on its own."""

    provider: IndexerDispatch = DISPATCH
    """Says where AITER counts as enabled."""

    flydsl_arches: frozenset[str] = frozenset({"gfx942"})
    """L1: where `flydsl_fp8_mqa_logits` is called."""

    clean_logits: bool = False
    """L2: argument of AITER's `fp8_mqa_logits`; False leaves columns outside the window unwritten."""

    gluon_arches: frozenset[str] = frozenset({"gfx950", "gfx1250"})
    """L2: where AITER has a Gluon kernel."""

    gluon_triton: tuple[int, int] = (3, 6)
    """L2: oldest Triton of the Gluon kernel."""

    tile: tuple[int, int] = (128, 2)
    """L2: keys a tile and stages of the Triton kernel."""

    small_tile: tuple[int, int] = (64, 1)
    """L2: the same where the first does not fit into LDS."""

    small_tile_arches: frozenset[str] = frozenset({"gfx942"})
    """L2: where AITER looks at LDS at all."""

    def decide(self, request: PrefillLogitsRequest) -> PrefillLogitsDecision:
        """L1 to L3, top to bottom; L1 asks only whether AITER is enabled, not whether its module is usable."""
        enabled = self.provider.aiter_enabled(request.arch, request.aiter)
        if enabled and request.arch in self.flydsl_arches:
            return PrefillLogitsDecision("L1", "flydsl", "flydsl", "undefined")
        if enabled and request.aiter is Aiter.ON:
            return self.inside_aiter(request)
        return PrefillLogitsDecision("L3", "torch", "torch", "-inf")

    def inside_aiter(self, request: PrefillLogitsRequest) -> PrefillLogitsDecision:
        """L2: the kernel that AITER's own function picks, also when something else than vLLM calls it."""
        outside = "-inf" if self.clean_logits else "undefined"
        if request.arch in self.gluon_arches and request.triton >= self.gluon_triton:
            return PrefillLogitsDecision("L2", "aiter", "gluon", outside)
        tight = request.arch in self.small_tile_arches and request.lds_bytes > PROFILES[request.arch].lds_bytes
        block_kv, num_stages = self.small_tile if tight else self.tile
        return PrefillLogitsDecision("L2", "aiter", "triton", outside, block_kv, num_stages)


PREFILL_LOGITS = PrefillLogitsTable()
"""The table as shipped."""
