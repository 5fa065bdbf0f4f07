"""Arguments that several calls pass, in the order in which AITER takes them."""

from __future__ import annotations

from rocassay.harness.contract.declared import arguments

WHEEL = "<=0.1.7.post2.dev18"
"""Versions that take the calling conventions of the last wheel on the package index."""

LATER = ">0.1.7.post2.dev18"
"""Versions after it: the repository has the function or argument, and no release in between could be looked at."""

CAUSAL = ">=0.1.20"
"""Versions whose MLA decode can be told to mask or not (vLLM 0.33.0, `mla_decode_supports_non_causal`)."""

DECODE = arguments(
    "q: bf16 or fp8 [tokens, heads, 576]",
    "kv_buffer: bf16 or fp8 [pages, page_size, 1, 576]",
    "o: bf16 [tokens, heads, 512], written in place",
    "qo_indptr: int32 [batch + 1]",
    "kv_indptr: int32 [batch + 1], pages",
    "kv_indices: int32 [>= kv_indptr[-1]]",
    "kv_last_page_lens: int32 [batch]",
    "max_seqlen_q: int",
)
"""What every MLA decode takes first."""

SCALES = arguments("q_scale: float32 [1] or None", "kv_scale: float32 [1] or None")

WORK = arguments(
    "work_meta_data: uint64 [2]",
    "work_indptr: int32 [workgroups + 1]",
    "work_info_set: int32 [items, 8]",
    "reduce_indptr: int32 [tiles + 1]",
    "reduce_final_map: int32 [tiles, 2]",
    "reduce_partial_map: int32 [partial tiles]",
)
"""A persistent plan, as MLA decode takes it by name."""

PLAN = arguments(
    "work_metadata_ptrs: uint64 [2]",
    "work_info_set: int32 [items, 8]",
    "work_indptr: int32 [workgroups + 1]",
    "reduce_indptr: int32 [tiles + 1]",
    "reduce_final_map: int32 [tiles, 2]",
    "reduce_partial_map: int32 [partial tiles]",
)
"""The same, as the planner of decode takes it by position: items before their offsets."""

LENGTHS = arguments("seqlens_qo_indptr: int32 [batch + 1]", "seqlens_kv_indptr: int32 [batch + 1]")

HEADS = arguments("num_heads_per_head_k: int", "num_heads_k: int, 1", "is_causal: bool")

PLANNER = (*LENGTHS, *arguments("kv_last_page_lens: int32 [batch]"), *HEADS, *PLAN)
"""What the planner of decode takes by position after the last wheel."""

SIZES = arguments(
    "batch_size: int", "max_seqlen_qo: int", "num_head_qo: int", "q_dtype: torch.dtype", "kv_dtype: torch.dtype"
)
"""What the sizes of a decode plan are asked with."""

PS_PLANNER = arguments(
    "seqlens_qo_indptr: int32 [batch + 1], on the host",
    "pages_kv_indptr: int32 [batch + 1], on the host",
    "context_lens: int32 [batch], on the host",
    "gqa_ratio: int, 1",
    "num_heads_k: int",
    "work_metadata_ptrs: uint64 [2]",
    "work_indptr: int32 [workgroups + 1]",
    "work_info: int32 [items, 8]",
    "reduce_indptr: int32 [tiles + 1]",
    "reduce_final_map: int32 [tiles, 2]",
    "reduce_partial_map: int32 [partial tiles]",
)
"""What the planner of prefill takes by position: offsets before items, unlike that of decode."""

PS_GRAINS = arguments("qhead_granularity: 1", "qlen_granularity: 256", "kvlen_granularity: 128", "block_size: 1",
                      "is_causal: True")  # fmt: skip

PS_ATTENTION = arguments(
    "Q: fp8 [tokens, heads, 192]",
    "K: fp8 [keys, heads, 192]",
    "V: fp8 [keys, heads, 128]",
    "qo_indptr: int32 [batch + 1]",
    "kv_indptr: int32 [batch + 1]",
    "kv_page_indices: int32 [keys]",
    "work_indptr: int32 [workgroups + 1]",
    "work_info_set: int32 [items, 8]",
    "max_seqlen_q: int",
    "softmax_scale: float",
    "is_causal: True",
    "splitData: float32 [partial tiles * 256, heads, 128]",
    "splitLse: float32 [partial tiles * 256, heads]",
    "output: bf16 [tokens, heads, 128]",
    "q_scale: float32 [1]",
    "k_scale: float32 [1]",
    "v_scale: float32 [1]",
)
"""What FP8 prefill along a plan takes."""

PARTIALS = arguments(
    "partial_output: float32 [rows, heads, v_head_dim], normalised",
    "partial_lse: float32 [rows, heads], natural",
    "reduce_indptr: int32 [tiles + 1]",
    "reduce_final_map: int32 [tiles, 2] or None",
    "reduce_partial_map: int32 [partial tiles]",
)
"""What the reduction takes first."""

REDUCED = arguments("final_output: bf16 [tokens, heads, v_head_dim]", "final_lse: float32 [tokens, heads] or None")

PAGED = arguments(
    "q_fp8: fp8 [batch, next_n, heads, 128]",
    "kv_cache/kv_cache_fp8: uint8 [blocks, block_size, 1, 132]",
    "weights: float32 [batch * next_n, heads]",
    "out_logits/out_qk: float32 [batch * next_n, max_model_len], per head first in two steps",
    "context_lens: int32 [batch]",
    "kv_indices: int32 [batch, max blocks]",
    "max_model_len: int",
)
"""What both kernels of paged logits take by position."""

WINDOWS = arguments(
    "Q: fp8 [rows, heads, 128]",
    "KV: fp8 [keys, 128]",
    "kv_scales: float32 [keys]",
    "weights: float32 [rows, heads]",
    "cu_starts: int32 [rows]",
    "cu_ends: int32 [rows]",
)
"""What the logits of prefill take."""

TOPK_PREFILL = arguments(
    "logits: float32 [rows, keys]",
    "rowStarts: int32 [rows]",
    "rowEnds: int32 [rows]",
    "indices: int32 [rows, k], absolute columns",
    "values: None",
    "numRows: int",
    "stride0: int",
    "stride1: int, 1",
)

TOPK_DECODE = arguments(
    "logits: float32 [rows, keys]",
    "next_n: int",
    "seqLens: int32 [rows / next_n]",
    "indices: int32 [rows, k]",
    "numRows: int",
    "stride0: int",
    "stride1: int, 1",
)

ROTATED = arguments(
    "x: bf16 [tokens, heads, rotary], in place",
    "y: bf16 [tokens, key heads, rotary], in place",
    "cos: [positions, rotary / 2]",
    "sin: [positions, rotary / 2]",
    "positions: int64 [tokens]",
)
"""What the rotations in place take first."""

ROTATION = arguments("reuse_freqs_front_part: True", "nope_first: False")
