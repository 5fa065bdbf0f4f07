"""vLLM's sparse attention on ROCm, the merging of its parts, and the inverse RoPE of its outputs."""

from __future__ import annotations

from rocassay.harness.providers.foreign import Adapter, Call
from rocassay.harness.providers.functions import Gap, Offer
from rocassay.suites.providers.vllm.indexer import OTHER_FLAVOUR, SPARSE, flavour
from rocassay.suites.providers.vllm.machine import OPS

ROPE, NOPE = 64, 448


def prefill(call: Call) -> None:
    """`rocm_sparse_attn_prefill`; the output is as wide as the heads or as their lanes without RoPE."""
    attend = call.function(f"{SPARSE}:rocm_sparse_attn_prefill")
    q, output = call["q"], call["output"]
    head_dim, width = q.shape[-1], output.shape[-1]
    nope = width if width < head_dim else head_dim - ROPE
    dims = (head_dim, nope, head_dim - nope)
    lists = {"ragged_indices": call["ragged_indices"], "ragged_indptr": call["ragged_indptr"]}
    attend(q, call["kv"], None, None, call["scale"], *dims, call.get("attn_sink"), output, **lists)


def decode(call: Call) -> None:
    """`rocm_sparse_attn_decode` over ragged lists."""
    attend = call.function(f"{SPARSE}:rocm_sparse_attn_decode")
    extra, main = call.get("kv_cache"), call["swa_ragged_indices"]
    attend(
        q=call["q"],
        kv_cache=extra,
        swa_k_cache=call["swa_k_cache"],
        swa_only=extra is None,
        topk_indices=None,
        topk_lens=None,
        # Only its shape is looked at where ragged lists are given.
        swa_indices=main.reshape(1, -1),
        swa_lens=None,
        swa_ragged_indices=main,
        swa_ragged_indptr=call["swa_ragged_indptr"],
        topk_ragged_indices=call.get("topk_ragged_indices"),
        topk_ragged_indptr=call.get("topk_ragged_indptr"),
        attn_sink=call.get("attn_sink"),
        scale=call["scale"],
        head_dim=NOPE + ROPE,
        nope_head_dim=NOPE,
        rope_head_dim=ROPE,
        output=call["output"],
    )


def merge(call: Call) -> None:
    """`merge_attn_states` in Triton; all states have the strides of heads that follow each other."""
    function = call.function(f"{OPS}.triton_merge_attn_states:merge_attn_states")
    parts = (call.dense("prefix_output"), call["prefix_lse"], call.dense("suffix_output"), call["suffix_lse"])
    limit = call.get("prefill_tokens_with_context")
    with call.staged("output") as output:
        function(output, *parts, call.get("output_lse"), prefill_tokens_with_context=limit)


def unrotate(call: Call) -> None:
    """`rocm_inverse_rope_rows_` in place, else the kernel behind it with an output."""
    rows = (call["o"], call.dense("positions"), call["cos_sin_cache"], ROPE)
    if (out := call.get("out")) is None:
        call.function(f"{SPARSE}:rocm_inverse_rope_rows_")(*rows)
    else:
        call.function(f"{SPARSE}:_fused_inverse_rope_gptj")(*rows, out=out)


HEADS_TOGETHER = "offsets within a token have 32 bits: its heads lie within 2^31 elements"
APART = Gap(recipes=("far", "apart"), reason=HEADS_TOGETHER)
APART_IN_PLACE = Gap(recipes=("apart",), reason=HEADS_TOGETHER)
APART_ON_GFX950 = Gap(arches=("gfx950",), recipes=("far",), reason=HEADS_TOGETHER)

ADAPTERS = {
    "sparse_attn_prefill": (Adapter(f"{SPARSE}:rocm_sparse_attn_prefill", prefill, Offer(gaps=(APART,))),),
    "sparse_attn_decode": (
        Adapter(
            f"{SPARSE}:rocm_sparse_attn_decode", decode, Offer(gaps=(OTHER_FLAVOUR, APART_ON_GFX950)), formats=flavour
        ),
    ),
    "merge_attn_states": (Adapter(f"{OPS}.triton_merge_attn_states:merge_attn_states", merge),),
    "inverse_rope": (
        Adapter(
            f"{SPARSE}:_fused_inverse_rope_gptj",
            unrotate,
            Offer(gaps=(Gap(params={"dtype": ("fp16", "fp32")}, reason="it writes bf16 only"), APART_IN_PLACE)),
        ),
    ),
}
