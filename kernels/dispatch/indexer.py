"""The indexer's tables (D1 to D11, P1 to P5) behind the resolver's requests; the rules are `IndexerDispatch`'s."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rocassay.kernels.dispatch.decision import Choice
from rocassay.kernels.indexer.decisions import DISPATCH, Aiter, IndexerDispatch
from rocassay.kernels.indexer.decisions import Decision as PagedLogitsDecision


@dataclass(frozen=True, slots=True)
class BackendRequest:
    """What the attention backend is chosen by."""

    sparse: bool
    """The model attends to selected keys only."""

    aiter_mla: bool = False
    """AITER MLA is enabled."""

    deepseek_v4: bool = False
    """The model is DeepSeek V4."""


@dataclass(frozen=True, slots=True)
class IndexerRequest:
    """What the indexer's layouts, availability and decode logits are chosen by."""

    arch: str = "gfx942"
    """Architecture, a member of `DISPATCH_ARCHES`."""

    aiter: Aiter = Aiter.ON
    """State of AITER."""

    block_size: int = 64
    """Keys a page."""

    ratio: int = 1
    """Compression ratio of the cache."""

    cache_ndim: int = 3
    """Dimensions of the cache tensor, read by the fused writer only."""

    platform: Literal["rocm", "cuda"] = "rocm"
    """Platform, read by the declared block sizes only."""


def backend(request: BackendRequest, table: IndexerDispatch = DISPATCH) -> Choice:
    """D1 to D3: the backend tried first."""
    row = "D3" if request.deepseek_v4 else "D1" if request.sparse else "D2"
    names = table.attention_backends(
        sparse=request.sparse, aiter_mla=request.aiter_mla, deepseek_v4=request.deepseek_v4
    )
    return Choice(row, names[0])


def block_sizes(request: IndexerRequest, table: IndexerDispatch = DISPATCH) -> Choice:
    """D4: "declared" or "refused" for a block size."""
    allowed = table.kernel_block_sizes(request.platform).allows(request.block_size)
    return Choice("D4", "declared" if allowed else "refused")


def write_layout(request: IndexerRequest, table: IndexerDispatch = DISPATCH) -> Choice:
    """D5, and D6 for the ratio-4 compressor: layout that is stored."""
    return Choice("D6" if request.ratio == 4 else "D5", table.write_layout(request.block_size, request.ratio))


def gather_layout(request: IndexerRequest, table: IndexerDispatch = DISPATCH) -> Choice:
    """D7: layout that the prefill gather reads."""
    return Choice("D7", table.gather_layout(request.block_size, request.ratio))


def fused_write_layout(request: IndexerRequest, table: IndexerDispatch = DISPATCH) -> Choice:
    """D8: layout of the fused V3.2 writer; raises LayoutError for a size that cannot be tiled."""
    return Choice("D8", table.fused_write_layout(request.cache_ndim, request.block_size))


def kv_dtype(request: IndexerRequest, table: IndexerDispatch = DISPATCH) -> Choice:
    """D9: default element type of DSv4's indexer cache."""
    return Choice("D9", table.indexer_kv_dtype(request.arch, request.aiter).name)


def availability(request: IndexerRequest, table: IndexerDispatch = DISPATCH) -> Choice:
    """D10: "allowed", or "refused" where vLLM raises RuntimeError."""
    return Choice("D10", "allowed" if table.indexer_allowed(request.arch, request.aiter) else "refused")


def custom_op(request: IndexerRequest, table: IndexerDispatch = DISPATCH) -> Choice:
    """D11: whether the custom op `sparse_attn_indexer` is enabled; nothing of the request matters."""
    return Choice("D11", "enabled" if table.custom_op_enabled else "disabled")


def paged_logits(request: IndexerRequest, table: IndexerDispatch = DISPATCH) -> PagedLogitsDecision:
    """P1 to P5, top to bottom."""
    return table.paged_logits(request.arch, aiter=request.aiter, block_size=request.block_size, ratio=request.ratio)
