"""Calls of sparse attention."""

from __future__ import annotations

from rocassay.harness.contract.declared import Call, arguments
from rocassay.suites.contracts.aiter.calls import TRITON, call, grouped
from rocassay.suites.contracts.aiter.parts import LATER

_LISTED = ("q: bf16 [tokens, heads, dim]", "unified_kv: bf16 [rows, dim], or bytes [blocks, block_size, 584]")

PREFILL = (
    call("sparse_attn_prefill", f"{TRITON}.attention.pa_prefill_sparse:pa_prefill_sparse",
         positional=arguments(*_LISTED, "kv_indices_prefix: int32", "kv_indptr_prefix: int32 [tokens + 1]",
                              "kv: None", "kv_indices_extend: None", "kv_indptr_extend: None",
                              "attn_sink: float32 [heads] or None", "softmax_scale: float"),
         versions=LATER),
)  # fmt: skip
DECODE = (
    call("sparse_attn_decode", f"{TRITON}.attention.pa_decode_sparse:pa_decode_sparse",
         positional=arguments(*_LISTED, "kv_indices: int32", "kv_indptr: int32 [tokens + 1]",
                              "attn_sink: float32 [heads] or None", "softmax_scale: float"),
         keywords=arguments("kv_splits: int or None", "extra_cache: bytes [blocks, block_size, 584] or None",
                            "extra_indices: int32 or None", "extra_indptr: int32 [tokens + 1] or None"),
         versions=LATER, relies=(("has_invalid", "True"), ("skip_reduce", "False"), ("kv_scales", "None"))),
)  # fmt: skip
UNIFIED = (
    call("sparse_attn_prefill, MLA", *grouped("unified_attention_sparse_mla", "unified_attention_sparse_mla"),
         positional=arguments("q: bf16 [tokens, heads, 576]", "kv: bf16 [blocks, block_size, 1, 576]",
                              "out: bf16 [tokens, heads, 512]", "cu_seqlens_q: int32 [batch + 1]", "max_seqlen_q: int",
                              "seqused_k: int32 [batch]", "max_seqlen_k: int", "softmax_scale: float",
                              "topk_indices: int32 [tokens, k], global slots", "block_table: int32, unused",
                              "kv_lora_rank: 512")),
)  # fmt: skip

CALLS: tuple[Call, ...] = (*PREFILL, *DECODE, *UNIFIED)
