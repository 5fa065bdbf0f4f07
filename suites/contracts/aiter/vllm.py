"""What vLLM 0.33.0 calls of AITER for the ops of this project.

Sources: vLLM 0.33.0, `_aiter_ops.py`, `v1/attention/backends/mla/rocm_aiter_mla.py`, `rocm_aiter_mla_sparse.py` beside
it, and `v1/attention/ops/rocm_aiter_mla_sparse.py`. Where vLLM tries two modules, both are paths, in its order.
"""

from __future__ import annotations

from typing import Any

from rocassay.harness.contract.declared import Argument, Call, arguments
from rocassay.suites.contracts.aiter import parts
from rocassay.suites.contracts.aiter.parts import CAUSAL, LATER

TRITON = "aiter.ops.triton"


def call(name: str, *paths: str, versions: str = "", **rest: Any) -> Call:
    """A call that vLLM makes."""
    return Call(name, "vllm 0.33", paths, versions=versions, **rest)


_SCALED = (*arguments("sm_scale: float", "logit_cap: 0.0"), *parts.SCALES)
_CAUSAL = arguments("causal: bool")
_GRAINS = arguments("page_size: 1", "kv_granularity: 16", "max_seqlen_qo: int", "uni_seqlen_qo: int", "fast_mode: True")
_TYPES = arguments("dtype_q: torch.dtype", "dtype_kv: torch.dtype")
_CAPPED = arguments("max_split_per_batch: int", "intra_batch_mode: False")
_SIZED = arguments("is_sparse: bool", "fast_mode: True")


def _decode(name: str, *keywords: Argument, versions: str, why: str) -> Call:
    return call(
        name, "aiter.mla:mla_decode_fwd", positional=parts.DECODE, keywords=keywords, versions=versions, why=why,
        relies=(("page_size", "1"), ("nhead_kv", "1"), ("cp_world_size", "1"), ("return_logits", "False")),
    )  # fmt: skip


def _planned(name: str, *keywords: Argument, why: str) -> Call:
    return call(
        name, "aiter:get_mla_metadata_v1", positional=parts.PLANNER, keywords=(*_GRAINS, *_TYPES, *keywords),
        versions=LATER, why=why, relies=(("topk", "-1"),),
    )  # fmt: skip


_DECODES = (
    _decode(
        "MLA decode", *_SCALED, *_CAUSAL, versions=CAUSAL,
        why="_rocm_aiter_mla_decode_fwd_impl; vLLM refuses an AITER without `causal`",
    ),
    _decode(
        "MLA decode, persistent", *_SCALED, *_CAUSAL, *parts.WORK, versions=CAUSAL,
        why="_rocm_aiter_mla_decode_fwd_impl with a plan",
    ),
    _decode(
        "MLA decode with LSE", *_SCALED,
        *arguments("return_lse: True", "num_kv_splits: int", "num_kv_splits_indptr: int32 [batch + 1]"),
        versions=LATER, why="_rocm_aiter_mla_decode_fwd_lse_impl",
    ),
    _decode(
        "MLA decode, context parallel", *arguments("sm_scale: float", "return_lse: True"), *_CAUSAL, *parts.SCALES,
        *parts.WORK,
        *arguments("g_kv_indptr: int32 [batch + 1]", "cp_world_size: int", "cp_rank: int", "num_kv_splits: int",
                   "intra_batch_mode: False"),
        versions=CAUSAL, why="AiterMLAImpl.forward_mqa with decode context parallelism",
    ),
    call(
        "splits of MLA decode", "aiter.mla:get_meta_param",
        positional=arguments("num_kv_splits: None", "bs: int", "total_kv: int", "nhead: int", "max_seqlen_q: int",
                             "dtype: torch.dtype"),
        why="_rocm_aiter_mla_decode_fwd_lse_impl, fp8 queries",
    ),
)  # fmt: skip

_PLANS = (
    call("sizes of a decode plan", "aiter:get_mla_metadata_info_v1", positional=parts.SIZES, keywords=_SIZED,
         why="builders of the dense and of the sparse backend"),
    call("sizes of a capped decode plan", "aiter:get_mla_metadata_info_v1", positional=parts.SIZES,
         keywords=(*_SIZED, *arguments("max_split_per_batch: int")), versions=LATER,
         why="builder of the dense backend with decode context parallelism"),
    _planned("decode plan", why="_build_decode of the dense backend"),
    _planned("decode plan, capped", *_CAPPED, why="_build_decode with decode context parallelism"),
    _planned("decode plan, context parallel", *_CAPPED, *arguments("is_cp_round_robin: True"),
             why="_build_decode, round-robin shards"),
    _planned("decode plan, sparse", *arguments("max_split_per_batch: int"), why="build of the sparse backend"),
)  # fmt: skip

_PREFILL = (
    call("sizes of a prefill plan", "aiter:get_ps_metadata_info_v1",
         keywords=arguments("batch_size: int", "num_head_k: int", "max_qlen: int", "qlen_granularity: 256"),
         versions=LATER, why="FP8 prefill, gfx950"),
    call("prefill plan", "aiter:get_ps_metadata_v1", positional=parts.PS_PLANNER, keywords=parts.PS_GRAINS,
         versions=LATER, why="FP8 prefill, gfx950; on the host"),
    call("FP8 prefill", "aiter:mla_prefill_ps_asm_fwd", positional=parts.PS_ATTENTION, versions=LATER,
         why="_mla_fp8_prefill_attn"),
    call("reduction of FP8 prefill", "aiter:mla_reduce_v1",
         positional=(*parts.PARTIALS, *arguments("max_seqlen_q: 256", "num_kv_splits: 0"), *parts.REDUCED),
         versions=LATER, why="_mla_fp8_prefill_attn; one argument more than the wheel before, then another"),
    call("q, k and v of FP8 prefill", f"{TRITON}.fusions.fused_mla_prefill_qkv_fp8:fused_mla_prefill_qkv_fp8",
         positional=arguments("q: bf16 [tokens, heads, 192]", "k_nope: bf16 [keys, heads, 128]",
                              "v: bf16 [keys, heads, 128]", "k_pe: bf16 [keys, 1, 64]", "num_heads_out: int",
                              "out_dtype: torch.dtype"),
         versions=CAUSAL, why="optional: falls back to torch where it is absent"),
)  # fmt: skip

_INDEXER = (
    call("paged logits", f"{TRITON}.pa_mqa_logits:deepgemm_fp8_paged_mqa_logits",
         f"{TRITON}.attention.pa_mqa_logits:deepgemm_fp8_paged_mqa_logits", positional=parts.PAGED,
         keywords=arguments("ChunkK: 256", "Preshuffle: block_size > 1", "KVBlockSize: block_size", "WavePerEU: 2"),
         versions=LATER, why="gfx942 and gfx950; vLLM falls back to torch where a keyword is absent"),
    call("paged logits in two steps", f"{TRITON}.pa_mqa_logits:deepgemm_fp8_paged_mqa_logits_stage1",
         f"{TRITON}.attention.pa_mqa_logits:deepgemm_fp8_paged_mqa_logits_stage1", positional=parts.PAGED,
         keywords=arguments("ChunkQ: heads"), versions=LATER, why="other chips"),
    call("logits of prefill", f"{TRITON}.fp8_mqa_logits:fp8_mqa_logits",
         f"{TRITON}.attention.fp8_mqa_logits:fp8_mqa_logits", positional=parts.WINDOWS,
         keywords=arguments("clean_logits: False"), versions=LATER, why="rocm_fp8_mqa_logits"),
    call("logits of prefill, gfx942", "aiter.ops.flydsl:flydsl_fp8_mqa_logits", positional=parts.WINDOWS,
         versions=LATER, why="rocm_fp8_mqa_logits on gfx942"),
    call("top-k of prefill", "aiter.ops.topk:top_k_per_row_prefill", positional=parts.TOPK_PREFILL,
         keywords=arguments("k: int"), versions=LATER, relies=(("stable", "False"),), why="indexer_top_k_prefill"),
    call("top-k of decode", "aiter.ops.topk:top_k_per_row_decode", positional=parts.TOPK_DECODE,
         keywords=arguments("k: int"), versions=LATER, relies=(("stable", "False"),), why="indexer_top_k_decode"),
    call("rotation in place", f"{TRITON}.rope.rope:rope_cached_thd_positions_offsets_2c_fwd_inplace",
         positional=(*parts.ROTATED, *arguments("offsets: int64 [tokens] or None", "rotate_style: 0 or 1")),
         keywords=parts.ROTATION, versions=LATER, relies=(("transpose_output", "False"),),
         why="_triton_rotary_embedding_impl"),
)  # fmt: skip

_SPARSE = (
    call("sparse MLA", f"{TRITON}.attention.sparse_mla:sparse_mla_fwd",
         positional=arguments("q: bf16 or fp8 [tokens, heads, 576 or 512]", "kv_buffer: bf16, fp8 or bytes",
                              "kv_indptr: int32 [tokens + 1]", "kv_indices: int32, global slots",
                              "softmax_scale: float"),
         keywords=arguments("kv_scale: float32 [1] or None", "kv_lora_rank: 512", "qk_rope_head_dim: 64",
                            "has_invalid: bool", "dot_precision: 'bf16' or 'fp8'", "q_scale: float32 [1] or None",
                            "out: bf16 [tokens, heads, 512]", "attn_sink: float32 [heads] or None",
                            "extra_kv: second cache or None", "extra_indptr: int32 or None",
                            "extra_indices: int32 or None"),
         versions=CAUSAL, relies=(("skip_reduce", "False"), ("return_lse", "False")),
         why="triton_sparse_mla_fwd, gfx950 by choice"),
    call("sparse prefill, many queries", "aiter.ops.pa_sparse_prefill_opus:pa_sparse_prefill_opus",
         positional=arguments("q: bf16 [tokens, heads, 512]", "unified_kv: bf16 [rows, 512]",
                              "kv_indices_prefix: int32", "kv_indptr_prefix: int32 [tokens + 1]",
                              "kv: bf16 [rows, 512]", "kv_indices_extend: int32, empty",
                              "kv_indptr_extend: int32 [tokens + 1], zeros", "attn_sink: float32 [heads]",
                              "softmax_scale: float"),
         keywords=arguments("out: bf16 [tokens, heads, 512]"), versions=LATER, why="1024 queries and more, gfx950"),
    call("small-head decode", f"{TRITON}.gluon.mla_gluon:mla_gluon",
         f"{TRITON}.gluon.mla_decode_gluon:mla_decode_gluon",
         keywords=arguments("q_nope: bf16 [batch, heads, 512]", "q_pe: bf16 [batch, heads, 64]",
                            "kv_c: bf16 [slots, 576]", "o: bf16 [batch, heads, 512]", "page_table: int32",
                            "seq_info: int32 [batch + 1]", "sm_scale: float", "k_pe: None", "kv_pe_offset: 512",
                            "use_2d_view: False", "kv_scale: 1.0", "min_kv_seq_len: int"),
         versions=LATER, relies=(("return_lse", "False"), ("has_pe", "True"), ("attn_sink", "None")),
         why="fewer than 16 heads, gfx950"),
    call("segmented decode", f"{TRITON}.attention.mla:mla_decode_fwd",
         positional=arguments("q: bf16 [tokens, heads, 576]", "kv_buffer: [blocks, page_size, 1, 576]", "out: None",
                              "cu_seqlens_q: int32 [batch + 1]", "seqused_k: int32 [batch]", "max_seqlen_kv: int",
                              "block_tables: int32 [batch, blocks]", "softmax_scale: float", "kv_lora_rank: 512",
                              "qk_rope_head_dim: 64"),
         keywords=arguments("causal: True", "q_descale: None", "kv_descale: float32 [1]", "skip_reduce: True"),
         versions=LATER, relies=(("shuffled_kv_cache", "False"),), why="_forward_segmented_dcp_verify"),
)  # fmt: skip

CALLS: tuple[Call, ...] = (*_DECODES, *_PLANS, *_PREFILL, *_INDEXER, *_SPARSE)
