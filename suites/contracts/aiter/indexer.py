"""Calls of the indexer's functions: scores, key caches, top-k, quantisation and rotation."""

from __future__ import annotations

from rocassay.harness.contract.declared import Argument, Call, arguments
from rocassay.suites.contracts.aiter import parts
from rocassay.suites.contracts.aiter.calls import call, grouped
from rocassay.suites.contracts.aiter.parts import LATER

_PAGED = "deepgemm_fp8_paged_mqa_logits"
_K_CACHE = arguments("k: bf16 [tokens, 128]", "kv_cache: uint8 [blocks, block_size, 132]",
                     "slot_mapping: int64 [tokens]", "quant_block_size: 128", "scale_fmt: 'ue8m0' or ''")  # fmt: skip
_K_GATHER = arguments("kv_cache: uint8 [blocks, block_size, 132]", "dst_k: fp8 [tokens, 128]",
                      "dst_scale: float32 [tokens, 1]", "block_table: int32 [batch, blocks]",
                      "cu_seq_lens: int32 [batch + 1]")  # fmt: skip
_SHUFFLED = arguments("preshuffle: bool")
_ANY_K = arguments("k: int", "stable: True")
_STYLE = arguments("rotate_style: 0 or 1", "reuse_freqs_front_part: True", "nope_first: bool")

PAGES = (
    call("fp8_paged_mqa_logits", *grouped("pa_mqa_logits", _PAGED), positional=parts.PAGED,
         keywords=arguments("Preshuffle: block_size > 1", "KVBlockSize: block_size"), versions=LATER),
)  # fmt: skip
TOKENS = (
    call("fp8_paged_mqa_logits, block size 1", *grouped("pa_mqa_logits", _PAGED), positional=parts.PAGED,
         relies=(("KVBlockSize", "1"), ("Preshuffle", "False"))),
)  # fmt: skip
BY_HEAD = (
    call("fp8_paged_mqa_logits, two kernels", *grouped("pa_mqa_logits", f"{_PAGED}_stage1"), positional=parts.PAGED),
)  # fmt: skip
ROWS = (
    call("fp8_mqa_logits", *grouped("fp8_mqa_logits", "fp8_mqa_logits"), positional=parts.WINDOWS,
         relies=(("clean_logits", "True"),)),
)  # fmt: skip
ROWS_UNFILLED = (
    call("fp8_mqa_logits, not filled", *grouped("fp8_mqa_logits", "fp8_mqa_logits"), positional=parts.WINDOWS,
         keywords=arguments("clean_logits: False"), versions=LATER),
)  # fmt: skip

QUANTISE = (call("indexer_k_quant_and_cache", "aiter:indexer_k_quant_and_cache", positional=_K_CACHE),)
QUANTISE_SHUFFLED = (
    call("indexer_k_quant_and_cache, shuffled", "aiter:indexer_k_quant_and_cache", positional=_K_CACHE,
         keywords=_SHUFFLED, versions=LATER),
)  # fmt: skip
GATHER = (call("cp_gather_indexer_k_quant_cache", "aiter:cp_gather_indexer_k_quant_cache", positional=_K_GATHER),)
GATHER_SHUFFLED = (
    call("cp_gather_indexer_k_quant_cache, shuffled", "aiter:cp_gather_indexer_k_quant_cache", positional=_K_GATHER,
         keywords=_SHUFFLED, versions=LATER),
)  # fmt: skip
CONCAT = (
    call("concat_and_cache_mla", "aiter:concat_and_cache_mla",
         positional=arguments("kv_c: bf16 [tokens, 512]", "k_pe: bf16 [tokens, 64]",
                              "kv_cache: bf16 or uint8 [blocks, block_size, 576]", "slot_mapping: int64 [tokens]",
                              "kv_cache_dtype: 'auto' or 'fp8'", "scale: float32 [1]")),
)  # fmt: skip


def _any_k(name: str, positional: tuple[Argument, ...]) -> tuple[Call, ...]:
    return (call(f"{name}, any k", f"aiter:{name}", positional=positional, keywords=_ANY_K, versions=LATER),)


def _of_2048(name: str, positional: tuple[Argument, ...]) -> tuple[Call, ...]:
    return (call(name, f"aiter:{name}", positional=positional, relies=(("k", "2048"),)),)


TOPK_PREFILL_ANY = _any_k("top_k_per_row_prefill", parts.TOPK_PREFILL)
TOPK_PREFILL = (*TOPK_PREFILL_ANY, *_of_2048("top_k_per_row_prefill", parts.TOPK_PREFILL))
TOPK_DECODE_ANY = _any_k("top_k_per_row_decode", parts.TOPK_DECODE)
TOPK_DECODE = (*TOPK_DECODE_ANY, *_of_2048("top_k_per_row_decode", parts.TOPK_DECODE))

FLATTEN = (
    call("per_token_group_quant_fp8", *grouped("fused_fp8_quant", "fused_flatten_fp8_group_quant", "quant"),
         positional=arguments("x: bf16 [tokens, groups, group_size]", "group_size: int", "dtype_quant: torch.dtype"),
         relies=(("transpose_scale", "False"),)),
)  # fmt: skip
ROTATE = (
    call("apply_rope, new tensors", *grouped("rope", "rope_cached_thd_positions_2c_fwd", "rope"),
         positional=(*parts.ROTATED, *_STYLE), relies=(("transpose_output", "False"),)),
)  # fmt: skip
ROTATE_INPLACE = (
    call("apply_rope, in place", *grouped("rope", "rope_cached_thd_positions_2c_fwd_inplace", "rope"),
         positional=(*parts.ROTATED, *_STYLE), relies=(("transpose_output", "False"),)),
)  # fmt: skip

CALLS: tuple[Call, ...] = (
    *PAGES, *TOKENS, *BY_HEAD, *ROWS, *ROWS_UNFILLED, *QUANTISE, *QUANTISE_SHUFFLED, *GATHER, *GATHER_SHUFFLED, *CONCAT,
    *TOPK_PREFILL, *TOPK_DECODE, *FLATTEN, *ROTATE, *ROTATE_INPLACE,
)  # fmt: skip
