"""What this project passes to AITER when AITER is judged: one call per op and calling convention.

Where the last wheel and later versions differ, both conventions stand here, each with the versions that take it.
"""

from __future__ import annotations

from typing import Any

from rocassay.harness.contract.declared import Argument, Call, arguments
from rocassay.suites.contracts.aiter import parts
from rocassay.suites.contracts.aiter.parts import CAUSAL, LATER, WHEEL

TRITON = "aiter.ops.triton"


def call(name: str, *paths: str, versions: str = "", **rest: Any) -> Call:
    """A call that this project makes."""
    return Call(name, "rocassay", paths, versions=versions, **rest)


def _flat_or_grouped(module: str, function: str) -> tuple[str, str]:
    """Paths of a Triton wrapper: where it was, and the folder into which it moved."""
    return f"{TRITON}.{module}:{function}", f"{TRITON}.attention.{module}:{function}"


_SCALED = (*arguments("sm_scale: float"), *parts.SCALES)
_GRAINS = arguments("kv_granularity: int", "max_seqlen_qo: int", "uni_seqlen_qo: int", "fast_mode: True", "topk: -1",
                    "max_split_per_batch: int")  # fmt: skip
_K_CACHE = arguments("k: bf16 [tokens, 128]", "kv_cache: uint8 [blocks, block_size, 132]",
                     "slot_mapping: int64 [tokens]", "quant_block_size: 128", "scale_fmt: 'ue8m0' or ''")  # fmt: skip
_K_GATHER = arguments("kv_cache: uint8 [blocks, block_size, 132]", "dst_k: fp8 [tokens, 128]",
                      "dst_scale: float32 [tokens, 1]", "block_table: int32 [batch, blocks]",
                      "cu_seq_lens: int32 [batch + 1]")  # fmt: skip
_SHUFFLED = arguments("preshuffle: bool")


def _decode(name: str, versions: str, *keywords: Argument) -> Call:
    return call(name, "aiter.mla:mla_decode_fwd", positional=parts.DECODE, keywords=keywords, versions=versions,
                relies=(("nhead_kv", "1"), ("logit_cap", "0.0")))  # fmt: skip


def _planned(name: str, versions: str, first: tuple[Argument, ...], *keywords: Argument) -> Call:
    return call(name, "aiter:get_mla_metadata_v1", positional=first, keywords=(*keywords, *_GRAINS),
                versions=versions)  # fmt: skip


def _reduced(name: str, versions: str, *between: Argument) -> Call:
    return call(name, "aiter:mla_reduce_v1", positional=(*parts.PARTIALS, *between, *parts.REDUCED),
                versions=versions)  # fmt: skip


_MLA = (
    _decode("mla_decode_fwd, split", "", *_SCALED),
    _decode("mla_decode_fwd, persistent", "", *_SCALED, *parts.WORK),
    _decode("mla_decode_fwd, paged", LATER, *_SCALED, *arguments("page_size: int", "return_lse: True")),
    _decode("mla_decode_fwd, masked or not", CAUSAL, *_SCALED, *arguments("causal: bool")),
    _reduced("mla_reduce", LATER, *arguments("max_seqlen_q: int", "num_kv_splits: int")),
    _reduced("mla_reduce, wheel", WHEEL),
    call("sizes of mla_plan", "aiter:get_mla_metadata_info_v1", positional=parts.SIZES,
         keywords=arguments("is_sparse: bool", "fast_mode: True"), relies=(("intra_batch_mode", "False"),)),
    call("sizes of mla_plan, capped", "aiter:get_mla_metadata_info_v1", positional=parts.SIZES,
         keywords=arguments("is_sparse: bool", "fast_mode: True", "max_split_per_batch: int"), versions=LATER),
    _planned("mla_plan", LATER, parts.PLANNER,
             *arguments("page_size: int", "dtype_q: torch.dtype", "dtype_kv: torch.dtype")),
    _planned("mla_plan, wheel", WHEEL, (*parts.LENGTHS, *parts.HEADS, *parts.PLAN)),
)  # fmt: skip

_PREFILL = (
    call("sizes of mla_prefill_ps_metadata", "aiter:get_ps_metadata_info_v1",
         keywords=arguments("batch_size: int", "num_head_k: int", "max_qlen: int", "qlen_granularity: 256"),
         versions=LATER),
    call("mla_prefill_ps_metadata", "aiter:get_ps_metadata_v1", positional=parts.PS_PLANNER,
         keywords=parts.PS_GRAINS, versions=LATER),
)  # fmt: skip

_INDEXER = (
    call("fp8_paged_mqa_logits", *_flat_or_grouped("pa_mqa_logits", "deepgemm_fp8_paged_mqa_logits"),
         positional=parts.PAGED, keywords=arguments("Preshuffle: block_size > 1", "KVBlockSize: block_size"),
         versions=LATER),
    call("fp8_paged_mqa_logits, block size 1",
         *_flat_or_grouped("pa_mqa_logits", "deepgemm_fp8_paged_mqa_logits"), positional=parts.PAGED,
         relies=(("KVBlockSize", "1"), ("Preshuffle", "False"))),
    call("fp8_paged_mqa_logits, two kernels",
         *_flat_or_grouped("pa_mqa_logits", "deepgemm_fp8_paged_mqa_logits_stage1"), positional=parts.PAGED),
    call("fp8_mqa_logits", *_flat_or_grouped("fp8_mqa_logits", "fp8_mqa_logits"), positional=parts.WINDOWS,
         relies=(("clean_logits", "True"),)),
    call("indexer_k_quant_and_cache", "aiter:indexer_k_quant_and_cache", positional=_K_CACHE),
    call("indexer_k_quant_and_cache, shuffled", "aiter:indexer_k_quant_and_cache", positional=_K_CACHE,
         keywords=_SHUFFLED, versions=LATER),
    call("cp_gather_indexer_k_quant_cache", "aiter:cp_gather_indexer_k_quant_cache", positional=_K_GATHER),
    call("cp_gather_indexer_k_quant_cache, shuffled", "aiter:cp_gather_indexer_k_quant_cache", positional=_K_GATHER,
         keywords=_SHUFFLED, versions=LATER),
    call("top_k_per_row_prefill", "aiter:top_k_per_row_prefill", positional=parts.TOPK_PREFILL,
         relies=(("k", "2048"),)),
    call("top_k_per_row_prefill, any k", "aiter:top_k_per_row_prefill", positional=parts.TOPK_PREFILL,
         keywords=arguments("k: int", "stable: bool"), versions=LATER),
    call("top_k_per_row_decode", "aiter:top_k_per_row_decode", positional=parts.TOPK_DECODE, relies=(("k", "2048"),)),
    call("top_k_per_row_decode, any k", "aiter:top_k_per_row_decode", positional=parts.TOPK_DECODE,
         keywords=arguments("k: int", "stable: bool"), versions=LATER),
)  # fmt: skip

_AROUND = (
    call("apply_rope, thd", f"{TRITON}.rope.rope:rope_cached_thd_positions_2c_fwd_inplace",
         f"{TRITON}.rope:rope_cached_thd_positions_2c_fwd_inplace",
         positional=(*parts.ROTATED, *arguments("rotate_style: 0 or 1", "reuse_freqs_front_part: True",
                                                "nope_first: bool")),
         relies=(("transpose_output", "False"),)),
    call("apply_rope, sbhd", "aiter:rope_cached_positions_2c_fwd_inplace",
         positional=arguments("input_x: bf16 [s, b, heads, dim]", "input_y: bf16 [s, b, key heads, dim]",
                              "cos: [positions, 1, 1, rotary / 2]", "sin: [positions, 1, 1, rotary / 2]",
                              "positions: int64 [s, b]", "rotate_style: 0 or 1", "reuse_freqs_front_part: True",
                              "nope_first: bool")),
)  # fmt: skip

_SPARSE = (
    call("sparse_attn_prefill", f"{TRITON}.attention.pa_prefill_sparse:pa_prefill_sparse",
         positional=arguments("q: bf16 [tokens, heads, dim]", "unified_kv: bf16 [rows, dim]",
                              "kv_indices_prefix: int32", "kv_indptr_prefix: int32 [tokens + 1]", "kv: None",
                              "kv_indices_extend: None", "kv_indptr_extend: None", "attn_sink: float32 [heads]",
                              "softmax_scale: float"),
         versions=LATER),
    call("sparse_attn_decode", f"{TRITON}.attention.pa_decode_sparse:pa_decode_sparse",
         positional=arguments("q: bf16 [tokens, heads, dim]", "unified_kv: bf16 [rows, dim]", "kv_indices: int32",
                              "kv_indptr: int32 [tokens + 1]", "attn_sink: float32 [heads]", "softmax_scale: float"),
         keywords=arguments("kv_splits: int or None"), versions=LATER,
         relies=(("has_invalid", "True"), ("skip_reduce", "False"))),
    call("sparse MLA over global slots", *_flat_or_grouped("unified_attention_sparse_mla",
                                                           "unified_attention_sparse_mla"),
         positional=arguments("q: bf16 [tokens, heads, 576]", "kv: bf16 [blocks, block_size, 1, 576]",
                              "out: bf16 [tokens, heads, 512]", "cu_seqlens_q: int32 [batch + 1]", "max_seqlen_q: int",
                              "seqused_k: int32 [batch]", "max_seqlen_k: int", "softmax_scale: float",
                              "topk_indices: int32 [tokens, k], global slots", "block_table: int32, unused",
                              "kv_lora_rank: 512")),
    call("dense decode of 584-byte caches", "aiter.mla:mla_decode_fwd_v4_nm",
         positional=arguments("q: fp8 [tokens, heads, 512], packed", "qrope: bf16 [tokens, heads, 64]",
                              "kv_buffer: fp8 [pages, 1, 1, 512], packed", "kvrope: bf16 [pages, 1, 1, 64]",
                              "output: bf16 [tokens, heads, 512]", "qo_indptr: int32 [batch + 1]",
                              "kv_indptr: int32 [batch + 1]", "kv_page_indices: int32",
                              "kv_last_page_lens: int32 [batch]", "max_seqlen_q: int"),
         keywords=arguments("sink: float32 [heads]"), versions=LATER),
)  # fmt: skip

CALLS: tuple[Call, ...] = (*_MLA, *_PREFILL, *_INDEXER, *_AROUND, *_SPARSE)
