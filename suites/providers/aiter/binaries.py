"""AITER's HIP operations, which only a ROCm device runs: called in the AITER that is installed there."""

from __future__ import annotations

from types import ModuleType

import torch

from rocassay.harness.providers.foreign import Adapter, Call
from rocassay.harness.providers.functions import Gap, Offer
from rocassay.suites.providers.aiter.machine import OTHER_FLAVOUR


def installed() -> ModuleType:
    """The installed AITER; its HIP modules are compiled when they are first called."""
    import importlib

    return importlib.import_module("aiter")


def quantise_keys(call: Call) -> None:
    """`indexer_k_quant_and_cache`, unshuffled."""
    k = call.dense("k")
    installed().indexer_k_quant_and_cache(k, call["kv_cache"], call["slot_mapping"], k.shape[-1], call["scale_fmt"])


def gather_keys(call: Call) -> None:
    """`cp_gather_indexer_k_quant_cache`, unshuffled."""
    with call.staged("k_fp8") as codes, call.staged("k_fp8_scale") as scales:
        installed().cp_gather_indexer_k_quant_cache(
            call["kv_cache"], codes, scales, call.dense("block_table"), call.dense("cu_seqlen")
        )


def concat(call: Call) -> None:
    """`concat_and_cache_mla` of a dense cache."""
    kind = "auto" if call["kv_cache"].dtype == torch.bfloat16 else "fp8"
    rows = (call["kv_c"], call["k_pe"], call["kv_cache"], call["slot_mapping"])
    installed().concat_and_cache_mla(*rows, kind, call["scale"])


def top_k_prefill(call: Call) -> None:
    """`top_k_per_row_prefill`, whose columns are absolute."""
    logits, starts, indices = call["logits"], call["row_starts"], call["indices"]
    with call.staged("indices") as found:
        given = (logits, starts, call["row_ends"], found, None, len(indices), *logits.stride())
        installed().top_k_per_row_prefill(*given)
        found.copy_(torch.where(found < 0, found, found - starts[:, None]))


def top_k_decode(call: Call) -> None:
    """`top_k_per_row_decode`."""
    logits, indices = call["logits"], call["indices"]
    with call.staged("indices") as found:
        given = (logits, call["next_n"], call["seq_lens"], found, len(indices), *logits.stride())
        installed().top_k_per_row_decode(*given)


def reduce(call: Call) -> None:
    """`mla_reduce_v1`, whose LSE of rows without a part is +inf."""
    plan = (call["reduce_indptr"], call.get("reduce_final_map"), call["reduce_partial_map"])
    lse = call.get("final_lse")
    installed().mla_reduce_v1(call["partial_output"], call["partial_lse"], *plan, call["final_output"], lse)
    if lse is not None:
        lse.masked_fill_(lse == torch.inf, -torch.inf)


SHUFFLED = Gap(
    when=lambda case: case.block_size > 1 and case["ratio"] != 4, reason="this release has no shuffled layout"
)
WIDTH = Gap(when=lambda case: case["k"] != 2048, reason="its k is 2048")

ADAPTERS = {
    "indexer_k_quant_and_cache": (
        Adapter(
            "aiter.ops.cache:indexer_k_quant_and_cache",
            quantise_keys,
            Offer(
                gaps=(
                    OTHER_FLAVOUR,
                    SHUFFLED,
                    Gap(fp8s=("e4m3fnuz",), reason="it scales by the largest e4m3fnuz, 240, where vLLM takes 224"),
                )
            ),
            native=True,
        ),
    ),
    "cp_gather_indexer_k_quant_cache": (
        Adapter(
            "aiter.ops.cache:cp_gather_indexer_k_quant_cache",
            gather_keys,
            Offer(gaps=(OTHER_FLAVOUR, SHUFFLED)),
            native=True,
        ),
    ),
    "concat_and_cache_mla": (Adapter("aiter.ops.cache:concat_and_cache_mla", concat, native=True),),
    "top_k_per_row_prefill": (
        Adapter("aiter.ops.topk:top_k_per_row_prefill", top_k_prefill, Offer(gaps=(WIDTH,)), native=True),
    ),
    "top_k_per_row_decode": (
        Adapter("aiter.ops.topk:top_k_per_row_decode", top_k_decode, Offer(gaps=(WIDTH,)), native=True),
    ),
    "mla_reduce": (Adapter("aiter.ops.attention:mla_reduce_v1", reduce, native=True),),
}
