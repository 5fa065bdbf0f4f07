"""Which implementation selects the indexer's top-k: rows T1 to T4 (vLLM rocm_aiter_mla_sparse.py).

T0 is the unnumbered shortcut in front of them: a context that is no longer than k needs no scores.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rocassay.kernels.indexer.decisions import DISPATCH, Aiter, IndexerDispatch


@dataclass(frozen=True, slots=True)
class TopKRequest:
    """Facts that the choice depends on."""

    arch: str
    """Architecture, a member of `DISPATCH_ARCHES`."""

    aiter: Aiter
    """State of AITER; top-k needs no function of the paged logits, so INCOMPATIBLE counts as enabled."""

    phase: Literal["prefill", "decode"]
    """What the rows belong to."""

    ratio: int
    """Compression ratio: 1 for V3.2, more for V4."""

    topk: int
    """Keys to select."""

    rows: int
    """Rows of the scores."""

    columns: int
    """Columns of the scores."""

    max_seq_len: int
    """Longest context of the batch, in uncompressed tokens."""

    op_length: int = 0
    """The op's own max_model_len, already divided by the ratio; read in FULL graph mode."""

    full_graph: bool = False
    """FULL graph mode, where the batch's own length must not decide."""

    capturing: bool = False
    """A graph is being captured."""

    @property
    def length(self) -> int:
        """Compressed length that T1 and T3 compare."""
        return self.op_length if self.full_graph else self.max_seq_len // self.ratio


@dataclass(frozen=True, slots=True)
class TopKDecision:
    """What selects, and what its indices count from."""

    row: str
    """T0 (shortcut) to T4."""

    path: Literal["identity", "aiter", "native"]
    """Identity rows without scores, AITER's functions, or vLLM's `top_k_per_row_*`."""

    absolute: bool = False
    """The indices count from column 0, so that the localise kernel must subtract the row's start."""

    scored: bool = True
    """Whether logits are computed at all."""


@dataclass(frozen=True, slots=True)
class TopKTable:
    """The decision table; every field is an entry that can be replaced on its own."""

    provider: IndexerDispatch = DISPATCH
    """Says where AITER counts as enabled."""

    arches: frozenset[str] = frozenset({"gfx950"})
    """T1 to T3: where AITER's top-k is used."""

    identity_for_short: bool = True
    """T0: compressed contexts of at most k keys skip the scoring."""

    plain_topk: int = 2048
    """T1: the only k that goes to AITER at ratio 1."""

    plain_prefill_length: int = 32768
    """T1: shortest length of a prefill that goes to AITER at ratio 1."""

    few_rows: int = 256
    """T3: native for at most this many rows when they are long."""

    long_row: int = 65536
    """T3: a row is long above this compressed length."""

    fast_topk: int = 512
    """T3: the k of the native fast path."""

    fast_rows: int = 384
    """T3: most rows of the native fast path."""

    fast_columns: int = 2**20
    """T3: most columns of the native fast path."""

    aiter_prefill_absolute: bool = True
    """AITER's prefill top-k returns column numbers, vLLM's and every decode positions inside the row."""

    def decide(self, request: TopKRequest) -> TopKDecision:
        """T0 to T4, top to bottom."""
        if self._short(request):
            return TopKDecision("T0", "identity", scored=False)
        if self.provider.aiter_enabled(request.arch, request.aiter) and request.arch in self.arches:
            row = self._aiter_row(request)
            if row is not None:
                return TopKDecision(row, "aiter", self.aiter_prefill_absolute and request.phase == "prefill")
        return TopKDecision("T4", "native")

    def _short(self, request: TopKRequest) -> bool:
        fits = request.max_seq_len // request.ratio <= request.topk
        return self.identity_for_short and request.ratio > 1 and fits and not request.capturing

    def _aiter_row(self, request: TopKRequest) -> str | None:
        prefill = request.phase == "prefill"
        if request.ratio > 1:
            if prefill:
                return "T2"
            crowded = request.rows <= self.few_rows and request.length > self.long_row
            return None if crowded or self._native_is_fast(request) else "T3"
        long = request.length >= self.plain_prefill_length if prefill else not self._native_is_fast(request)
        return "T1" if request.topk == self.plain_topk and long else None

    def _native_is_fast(self, request: TopKRequest) -> bool:
        rows, columns = 0 < request.rows <= self.fast_rows, request.columns <= self.fast_columns
        return request.topk == self.fast_topk and rows and columns


TOP_K = TopKTable()
"""The table as shipped."""
