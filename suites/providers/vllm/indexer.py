"""vLLM's indexer: keys written, gathered and scored, and queries quantised."""

from __future__ import annotations

import torch

from rocassay.harness.cases import Case
from rocassay.harness.providers.foreign import Adapter, Call, fp8_dtype
from rocassay.harness.providers.functions import Gap, Offer
from rocassay.suites.providers.vllm.machine import BACKENDS, OPS, QUANT, native_fp8, workspace_of

SPARSE = f"{OPS}.rocm_aiter_mla_sparse"

OTHER_FLAVOUR = Gap(
    when=lambda case: case.fp8 != native_fp8(case.arch), reason="vLLM's FP8 flavour is the chip's, and this one is not"
)
ELSEWHERE = Gap(
    when=lambda case: dict(case.params).get("decided") == "cuda", reason="it has no decisions of another platform"
)


def flavour(case: Case) -> frozenset[str]:
    """Its kernels convert the platform's FP8 by instructions."""
    return frozenset({case.fp8})


def quantise_keys(call: Call) -> None:
    """`indexer_k_quant_and_cache_triton`, which takes keys to be contiguous and as many as there are slots."""
    write = call.function(f"{SPARSE}:indexer_k_quant_and_cache_triton")
    k = call.dense("k")
    write(k, call["kv_cache"], call["slot_mapping"], k.shape[-1], call["scale_fmt"])


def gather_keys(call: Call) -> None:
    """`cp_gather_indexer_k_quant_cache_triton`; caches of ratio 4 are gathered as they are written, unshuffled.

    Its outputs are contiguous.
    """
    gather = call.function(f"{SPARSE}:cp_gather_indexer_k_quant_cache_triton")
    layout = "NORMAL" if call.case["ratio"] == 4 else None
    owners = (call["block_table"], call.dense("cu_seqlen"), call.dense("token_to_seq"))
    with call.staged("k_fp8") as codes, call.staged("k_fp8_scale") as scales:
        gather(call["kv_cache"], codes.view(fp8_dtype(call.case.fp8)), scales, *owners, cache_layout=layout)


def score_pages(call: Call) -> None:
    """`rocm_fp8_paged_mqa_logits`, whose workspace is the output itself."""
    score = call.function(f"{SPARSE}:rocm_fp8_paged_mqa_logits")
    workspace_of(call.world).ready = [call["logits"]]
    lens = call["context_lens"]
    queries, ratio = (call.fp8("q_fp8"), call["kv_cache"], call["weights"]), call.case.integer("ratio")
    score(*queries, lens, call["block_tables"], None, call["max_model_len"], compress_ratio=ratio)


def score_rows(call: Call) -> None:
    """`rocm_fp8_mqa_logits`, which without AITER is plain torch and returns rows of its own."""
    score = call.function(f"{SPARSE}:rocm_fp8_mqa_logits")
    keys = (call.fp8("k_fp8"), call["k_scale"])
    call["logits"].copy_(score(call.fp8("q_fp8"), keys, call["weights"], call["ks"], call["ke"]))


def quantise_queries(call: Call) -> None:
    """`per_token_group_quant_fp8`, with scales in the order in which they are asked for."""
    quantise = call.function(f"{QUANT}.fp8_utils:per_token_group_quant_fp8")
    column_major = call["x_s"].stride(0) == 1 and call["x_s"].shape[1] > 1
    codes, scales = quantise(
        call["x"], call["group_size"], column_major_scales=column_major, use_ue8m0=call["scale_fmt"] == "ue8m0"
    )
    call["x_q"].view(torch.uint8).copy_(codes.view(torch.uint8))
    call["x_s"].copy_(scales)


def windows(call: Call) -> None:
    """The launch of `build_prefill_chunk_metadata`, whose lengths the engine knows on the host, too."""
    build = call.function(f"{BACKENDS}.indexer:_BUILD_PREFILL_CHUNK_METADATA_KERNEL")
    starts, lens, ratio = call["query_start_loc"], call["seq_lens"], call["compress_ratio"]
    cumulative = call["cu_seqlen"]
    cumulative[:1] = 0
    torch.cumsum(lens // ratio, dim=0, out=cumulative[1:])
    outputs = (call["token_to_seq"], call["ks"], call["ke"])
    whole = (0, len(call["ks"]), 0, 1, 1)
    build(starts, lens, cumulative, cumulative, *outputs, *whole, num_reqs=len(lens), COMPRESS_RATIO=ratio)


ADAPTERS = {
    "indexer_k_quant_and_cache": (
        Adapter(
            f"{SPARSE}:indexer_k_quant_and_cache_triton",
            quantise_keys,
            Offer(
                params={"ratio": (1,)},
                gaps=(
                    OTHER_FLAVOUR,
                    Gap(params={"ratio": (4,)}, reason="caches of ratio 4 are written by its compressor, another op"),
                ),
            ),
            formats=flavour,
        ),
    ),
    "cp_gather_indexer_k_quant_cache": (
        Adapter(
            f"{SPARSE}:cp_gather_indexer_k_quant_cache_triton",
            gather_keys,
            Offer(gaps=(OTHER_FLAVOUR,)),
            formats=flavour,
        ),
    ),
    "fp8_paged_mqa_logits": (
        Adapter(
            f"{SPARSE}:rocm_fp8_paged_mqa_logits",
            score_pages,
            Offer(
                gaps=(
                    OTHER_FLAVOUR,
                    Gap(params={"ratio": (1, 2)}, reason="ratios 1 and 2 are scored by AITER's kernels"),
                    Gap(block_sizes=(1, 16, 32), reason="pages of less than 64 keys are scored by plain torch"),
                    Gap(params={"path": ("two_kernel", "cuda")}, reason="it has one path"),
                ),
            ),
            formats=flavour,
        ),
    ),
    "fp8_mqa_logits": (
        Adapter(
            f"{SPARSE}:rocm_fp8_mqa_logits",
            score_rows,
            Offer(gaps=(OTHER_FLAVOUR, ELSEWHERE)),
            formats=flavour,
        ),
    ),
    "per_token_group_quant_fp8": (
        Adapter(
            f"{QUANT}.fp8_utils:per_token_group_quant_fp8",
            quantise_queries,
            Offer(gaps=(OTHER_FLAVOUR,)),
            formats=flavour,
        ),
    ),
    "indexer_prefill_windows": (Adapter(f"{BACKENDS}.indexer:_BUILD_PREFILL_CHUNK_METADATA_KERNEL", windows),),
}
