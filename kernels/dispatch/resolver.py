"""One entry for every dispatch table: `resolve(op, request)` names the implementation and the row that chose it."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any

from rocassay.harness.arch import DISPATCH_ARCHES
from rocassay.kernels.dispatch import indexer
from rocassay.kernels.dispatch.decision import Decision, DispatchError
from rocassay.kernels.dispatch.dsv4_attention import DSV4_DECODE, Dsv4DecodeRequest, Dsv4DecodeTable
from rocassay.kernels.dispatch.dsv4_caches import DSV4_CACHES, Dsv4CacheRequest, Dsv4CacheTable
from rocassay.kernels.dispatch.dsv4_prefill import DSV4_PREFILL, Dsv4PrefillRequest, Dsv4PrefillTable
from rocassay.kernels.dispatch.mla import MLA, MlaDecodeRequest, MlaTable
from rocassay.kernels.dispatch.mla_heads import (
    HEADS,
    KERNEL_HEADS,
    HeadsRequest,
    HeadTable,
    KernelRequest,
    KernelTable,
)
from rocassay.kernels.dispatch.mla_prefill import (
    MLA_PREFILL,
    IndexerRopeRequest,
    MergeRequest,
    MlaPrefillRequest,
    MlaPrefillTable,
)
from rocassay.kernels.dispatch.mla_sparse import SPARSE_MLA, SparseMlaRequest, SparseMlaTable
from rocassay.kernels.dispatch.prefill_logits import PREFILL_LOGITS, PrefillLogitsRequest, PrefillLogitsTable
from rocassay.kernels.dispatch.top_k import TOP_K, TopKRequest, TopKTable
from rocassay.kernels.indexer.decisions import DISPATCH, IndexerDispatch


@dataclass(frozen=True, slots=True)
class Tables:
    """Every table; replace one to ask what a fault in it would choose."""

    indexer: IndexerDispatch = DISPATCH
    """D1 to D11, P1 to P5."""

    prefill_logits: PrefillLogitsTable = PREFILL_LOGITS
    """L1 to L3."""

    top_k: TopKTable = TOP_K
    """T0 to T4."""

    dsv4_decode: Dsv4DecodeTable = DSV4_DECODE
    """S1 to S8, S12."""

    dsv4_prefill: Dsv4PrefillTable = DSV4_PREFILL
    """S1, S9, S10."""

    dsv4_caches: Dsv4CacheTable = DSV4_CACHES
    """S11, S13 to S15."""

    heads: HeadTable = HEADS
    """M4."""

    mla: MlaTable = MLA
    """M1 to M3, M5, M6."""

    kernel_heads: KernelTable = KERNEL_HEADS
    """M7."""

    mla_prefill: MlaPrefillTable = MLA_PREFILL
    """M8 to M10, M12."""

    sparse_mla: SparseMlaTable = SPARSE_MLA
    """M11."""


TABLES = Tables()
"""The tables as shipped."""


@dataclass(frozen=True, slots=True)
class Entry:
    """How one op's request is answered."""

    request: type
    """Type of the request."""

    decide: Callable[[Tables, Any], Decision]
    """The table's own pure function."""

    any_arch: bool = False
    """The table knows architectures beyond `DISPATCH_ARCHES`, or does not always look at one."""


OPS: Mapping[str, Entry] = MappingProxyType(
    {
        # D and P
        "attention_backend": Entry(indexer.BackendRequest, lambda t, r: indexer.backend(r, t.indexer)),
        "indexer_block_sizes": Entry(indexer.IndexerRequest, lambda t, r: indexer.block_sizes(r, t.indexer)),
        "indexer_k_quant_and_cache": Entry(indexer.IndexerRequest, lambda t, r: indexer.write_layout(r, t.indexer)),
        "cp_gather_indexer_k_quant_cache": Entry(
            indexer.IndexerRequest, lambda t, r: indexer.gather_layout(r, t.indexer)
        ),
        "fused_norm_rope": Entry(indexer.IndexerRequest, lambda t, r: indexer.fused_write_layout(r, t.indexer)),
        "indexer_kv_dtype": Entry(indexer.IndexerRequest, lambda t, r: indexer.kv_dtype(r, t.indexer)),
        "indexer_availability": Entry(
            indexer.IndexerRequest, lambda t, r: indexer.availability(r, t.indexer), any_arch=True
        ),
        "sparse_attn_indexer": Entry(indexer.IndexerRequest, lambda t, r: indexer.custom_op(r, t.indexer)),
        "fp8_paged_mqa_logits": Entry(indexer.IndexerRequest, lambda t, r: indexer.paged_logits(r, t.indexer)),
        # L and T
        "fp8_mqa_logits": Entry(PrefillLogitsRequest, lambda t, r: t.prefill_logits.decide(r)),
        "aiter_fp8_mqa_logits": Entry(PrefillLogitsRequest, lambda t, r: t.prefill_logits.inside_aiter(r)),
        "top_k_per_row": Entry(TopKRequest, lambda t, r: t.top_k.decide(r)),
        # S
        "sparse_attn_decode": Entry(Dsv4DecodeRequest, lambda t, r: t.dsv4_decode.decode(r)),
        "sparse_attn_decode_nan_trust": Entry(Dsv4DecodeRequest, lambda t, r: t.dsv4_decode.nan_trust(r)),
        "sparse_attn_decode_adaptive": Entry(Dsv4DecodeRequest, lambda t, r: t.dsv4_decode.adaptive(r)),
        "sparse_attn_decode_inverse_rope": Entry(Dsv4DecodeRequest, lambda t, r: t.dsv4_decode.inverse_rope(r)),
        "sparse_attn_decode_flavours": Entry(Dsv4DecodeRequest, lambda t, r: t.dsv4_decode.flavours(r)),
        "sparse_attn_decode_output": Entry(Dsv4DecodeRequest, lambda t, r: t.dsv4_decode.output(r)),
        "sparse_attn_prefill": Entry(Dsv4PrefillRequest, lambda t, r: t.dsv4_prefill.decide(r)),
        "sparse_attn_decode_indices": Entry(Dsv4CacheRequest, lambda t, r: t.dsv4_caches.indices(r)),
        "sparse_attn_ragged_buffer": Entry(Dsv4CacheRequest, lambda t, r: t.dsv4_caches.ragged_buffer(r)),
        "dequantize_and_gather_k_cache": Entry(Dsv4CacheRequest, lambda t, r: t.dsv4_caches.gather(r)),
        "quantize_and_insert_k_cache": Entry(Dsv4CacheRequest, lambda t, r: t.dsv4_caches.writer(r)),
        # M
        "mla_decode": Entry(MlaDecodeRequest, lambda t, r: t.mla.decode(r)),
        "mla_decode_metadata": Entry(frozenset, lambda t, r: t.mla.wrapper(r)),
        "mla_head_padding": Entry(HeadsRequest, lambda t, r: t.heads.pad(r)),
        "mla_mask": Entry(MlaDecodeRequest, lambda t, r: t.mla.mask(r)),
        "mla_dcp_route": Entry(MlaDecodeRequest, lambda t, r: t.mla.route(r)),
        "mla_decode_fwd": Entry(KernelRequest, lambda t, r: t.kernel_heads.decide(r)),
        "mla_fp8_prefill": Entry(MlaPrefillRequest, lambda t, r: t.mla_prefill.enabled(r)),
        "mla_prefill": Entry(MlaPrefillRequest, lambda t, r: t.mla_prefill.batch(r)),
        "merge_attn_states": Entry(MergeRequest, lambda t, r: t.mla_prefill.merging(r), any_arch=True),
        "sparse_mla": Entry(SparseMlaRequest, lambda t, r: t.sparse_mla.decide(r)),
        "indexer_rope": Entry(IndexerRopeRequest, lambda t, r: t.mla_prefill.rope(r)),
    }
)
"""Op or decision -> its request type and table."""


def resolve(op: str, request: object, tables: Tables = TABLES) -> Decision:
    """The decision for one op; raises DispatchError for an unknown op, request type or architecture.

    What a table itself refuses raises too: DispatchError, LayoutError (D8) or UnknownArch.
    """
    entry = OPS.get(op)
    if entry is None:
        raise DispatchError(f"op {op!r} has no dispatch table; use one of {', '.join(OPS)}")
    if not isinstance(request, entry.request):
        given = type(request).__name__
        raise DispatchError(f"op {op!r} does not take a request of type {given}; pass {entry.request.__name__}")
    arch = getattr(request, "arch", None)
    if arch is not None and not entry.any_arch and arch not in DISPATCH_ARCHES:
        raise DispatchError(f"op {op!r} has no row for {arch!r}; use one of {', '.join(DISPATCH_ARCHES)}")
    return entry.decide(tables, request)
