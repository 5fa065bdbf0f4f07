"""AITER's HIP operations on caches and scores, which only a ROCm device runs: called in the AITER installed there."""

from __future__ import annotations

import torch

from rocassay.harness.cases import Case
from rocassay.harness.providers.foreign import Adapter, Call
from rocassay.harness.providers.functions import Gap, Offer
from rocassay.harness.providers.signatures import Conventions
from rocassay.suites.contracts.aiter import indexer
from rocassay.suites.providers.aiter.machine import OTHER_FLAVOUR

ONLY_K = 2048
"""Places that every release selects."""


def shuffled(case: Case) -> bool:
    """Whether pages are tiles of 16 x 16 bytes: those of several tokens that no compressor wrote."""
    return case.block_size > 1 and case["ratio"] != 4


def writing(case: Case) -> Conventions:
    """How keys are written into pages of this layout."""
    return indexer.QUANTISE_SHUFFLED if shuffled(case) else indexer.QUANTISE


def reading(case: Case) -> Conventions:
    """How keys are gathered from pages of this layout."""
    return indexer.GATHER_SHUFFLED if shuffled(case) else indexer.GATHER


def quantise_keys(call: Call) -> None:
    """`indexer_k_quant_and_cache`."""
    k = call.dense("k")
    given = {name: call[name] for name in ("kv_cache", "slot_mapping", "scale_fmt")}
    call.perform(writing(call.case), k=k, **given, quant_block_size=k.shape[-1], preshuffle=True)


def gather_keys(call: Call) -> None:
    """`cp_gather_indexer_k_quant_cache`, which takes every row to be a request's, and every key to have a page.

    Rows of nobody become a request more, and missing pages page 0; afterwards they are as the op leaves them.
    """
    cache, table, bounds = call["kv_cache"], call["block_table"], call.dense("cu_seqlen")
    rows, size = len(call["k_fp8"]), cache.shape[1]
    owned, paged = served(call, rows)
    wider = torch.nn.functional.pad(table, (0, max(0, -(-rows // size) - table.shape[1]), 0, 1))
    pages = torch.where((wider >= 0) & (wider < len(cache)), wider, 0).contiguous()
    ends = torch.cat([bounds, torch.full_like(bounds[:1], rows)])
    codes, scales = torch.empty_like(call.dense("k_fp8")), torch.empty_like(call.dense("k_fp8_scale"))
    call.perform(
        reading(call.case), kv_cache=cache, dst_k=codes, dst_scale=scales, block_table=pages, cu_seq_lens=ends,
        preshuffle=True,
    )  # fmt: skip
    scales.masked_fill_((owned & ~paged)[:, None], 0)
    for name, found, keys in (("k_fp8", codes, owned & paged), ("k_fp8_scale", scales, owned)):
        call[name].copy_(torch.where(keys[:, None], found, call[name]))


def served(call: Call, rows: int) -> tuple[torch.Tensor, torch.Tensor]:
    """Which rows are a request's, and which of their keys have a page; bool [rows]."""
    bounds, table, owner = call["cu_seqlen"], call["block_table"], call["token_to_seq"]
    requests, width = table.shape
    row = torch.arange(rows, device=table.device)
    request = owner.clamp(0, requests - 1).long()
    inside = row - bounds[request]
    owned = (owner >= 0) & (owner < requests) & (inside >= 0) & (row < bounds[request + 1])
    column = torch.div(inside, call["kv_cache"].shape[1], rounding_mode="floor")
    page = table[request, column.clamp(0, width - 1)]
    return owned, (column < width) & (page >= 0) & (page < len(call["kv_cache"]))


def concat(call: Call) -> None:
    """`concat_and_cache_mla` of a dense cache."""
    kind = "auto" if call["kv_cache"].dtype == torch.bfloat16 else "fp8"
    given = {name: call[name] for name in ("kv_c", "k_pe", "kv_cache", "slot_mapping", "scale")}
    call.perform(indexer.CONCAT, **given, kv_cache_dtype=kind)


def selecting(case: Case, any_k: Conventions, older: Conventions) -> Conventions:
    """Stable calls; where no two scores are equal and k is the one that every release has, older ones will do."""
    return older if case["k"] == ONLY_K and case["data"] != "ties" else any_k


def selecting_prefill(case: Case) -> Conventions:
    """Calls of prefill's top-k."""
    return selecting(case, indexer.TOPK_PREFILL_ANY, indexer.TOPK_PREFILL)


def selecting_decode(case: Case) -> Conventions:
    """Calls of decode's top-k."""
    return selecting(case, indexer.TOPK_DECODE_ANY, indexer.TOPK_DECODE)


def top_k_prefill(call: Call) -> None:
    """`top_k_per_row_prefill`, whose columns are absolute."""
    starts = call.dense("row_starts")
    with call.staged("indices") as found:
        ends = call.dense("row_ends")
        given = {"rowStarts": starts, "rowEnds": ends, "values": None}
        call.perform(selecting_prefill(call.case), **scores(call, found), **given)
        found.copy_(torch.where(found < 0, found, found - starts[:, None]))


def top_k_decode(call: Call) -> None:
    """`top_k_per_row_decode`; rows of several lengths a request are requests of their own."""
    lengths = call.dense("seq_lens")
    steps = call["next_n"] if lengths.dim() == 1 else 1
    with call.staged("indices") as found:
        call.perform(selecting_decode(call.case), **scores(call, found), seqLens=lengths.reshape(-1), next_n=steps)


def scores(call: Call, indices: torch.Tensor) -> dict[str, object]:
    """What both selections take."""
    logits = call["logits"]
    named = {"logits": logits, "indices": indices, "numRows": len(indices), "k": indices.shape[1], "stable": True}
    return {**named, "stride0": logits.stride(0), "stride1": logits.stride(1)}


SCALED = Gap(fp8s=("e4m3fnuz",), reason="it scales by the largest e4m3fnuz, 240, where vLLM takes 224")
OTHER_CODES = Gap(params={"kv_cache_dtype": ("fp8",)}, when=OTHER_FLAVOUR.when, reason=OTHER_FLAVOUR.reason)
FLOATS_APART = (
    Gap(recipes=("strided", "tall"), reason="scores of a row follow each other"),
    Gap(recipes=("wide",), reason="it takes the pitch of the rows for their length"),
)

ADAPTERS = {
    "indexer_k_quant_and_cache": (
        Adapter(
            "aiter.ops.cache:indexer_k_quant_and_cache",
            quantise_keys,
            Offer(gaps=(OTHER_FLAVOUR, SCALED)),
            native=True,
            uses=lambda case: (writing(case),),
        ),
    ),
    "cp_gather_indexer_k_quant_cache": (
        Adapter(
            "aiter.ops.cache:cp_gather_indexer_k_quant_cache",
            gather_keys,
            Offer(gaps=(OTHER_FLAVOUR,)),
            native=True,
            uses=lambda case: (reading(case),),
        ),
    ),
    "concat_and_cache_mla": (
        Adapter(
            "aiter.ops.cache:concat_and_cache_mla",
            concat,
            Offer(gaps=(OTHER_CODES,)),
            native=True,
            uses=lambda _: (indexer.CONCAT,),
        ),
    ),
    "top_k_per_row_prefill": (
        Adapter(
            "aiter.ops.topk:top_k_per_row_prefill",
            top_k_prefill,
            Offer(gaps=FLOATS_APART),
            native=True,
            uses=lambda case: (selecting_prefill(case),),
        ),
    ),
    "top_k_per_row_decode": (
        Adapter(
            "aiter.ops.topk:top_k_per_row_decode",
            top_k_decode,
            Offer(gaps=FLOATS_APART),
            native=True,
            uses=lambda case: (selecting_decode(case),),
        ),
    ),
}
