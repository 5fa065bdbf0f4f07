"""Stand-ins for AITER's releases: their signatures in files, behind which tests put functions of their own."""

from __future__ import annotations

import inspect
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch

from rocassay.harness.cases import Case
from rocassay.harness.inputs import Operands, Stream
from rocassay.harness.ops import op_named
from rocassay.harness.providers.foreign import Foreign

BEHIND = "stand_in"
"""Module that the files import; it holds the functions behind the signatures."""

_MAPS = "reduce_indptr, reduce_final_map, reduce_partial_map"
_DECODE = "q, kv_buffer, o, qo_indptr, kv_indptr, kv_indices, kv_last_page_lens, max_seqlen_q"
_SPLITS = "sm_scale=None, logit_cap=0.0, num_kv_splits=None, num_kv_splits_indptr=None"
_WORK = ", ".join(f"{name}=None" for name in f"work_meta_data, work_indptr, work_info_set, {_MAPS}".split(", "))
_SCALES = "q_scale=None, kv_scale=None"
_PLAN = f"work_metadata_ptrs, work_info_set, work_indptr, {_MAPS}"
_GRAINS = "kv_granularity=16, max_seqlen_qo=-1, uni_seqlen_qo=-1, fast_mode=True, topk=-1, max_split_per_batch=-1"
_LISTS, _HEADS = "seqlens_qo_indptr, seqlens_kv_indptr", "num_heads_per_head_k, num_heads_k, is_causal"
_PAGED = "q_fp8, {cache}, weights, {out}, context_lens, kv_indices, max_model_len"
_STYLE = "rotate_style, reuse_freqs_front_part, nope_first, transpose_output=False"
_UNIFIED = (
    "q, kv, out, cu_seqlens_q, max_seqlen_q, seqused_k, max_seqlen_k, softmax_scale, topk_indices, block_table, "
    "kv_lora_rank"
)
_ROPE: dict[str, str] = dict.fromkeys(
    ("rope_cached_thd_positions_2c_fwd", "rope_cached_thd_positions_2c_fwd_inplace"),
    f"x, y, cos, sin, positions, {_STYLE}",
)
_PREFILL_K, _DECODE_K = "logits, rowStarts, rowEnds, indices, values", "logits, next_n, seqLens, indices"
_STRIDES = "numRows, stride0, stride1"
_CONCAT = "kv_c, k_pe, kv_cache, slot_mapping, kv_cache_dtype, scale"
_QUANT, _GATHER = (
    "k, kv_cache, slot_mapping, quant_block_size, scale_fmt",
    ("kv_cache, dst_k, dst_scale, block_table, cu_seq_lens"),
)
_FLAT = "x, group_size, dtype_quant=None, transpose_scale=False"

Signatures = Mapping[str, Mapping[str, str]]
"""Module -> function -> its parameters."""

WHEEL: Signatures = {
    "aiter.mla": {"mla_decode_fwd": f"{_DECODE}, {_SPLITS}, {_WORK}, {_SCALES}"},
    "aiter.ops.attention": {
        # The stub's names of slots 7 and 8 are in the wrong order; its native function takes them as others do.
        "get_mla_metadata_v1": f"{_LISTS}, {_HEADS}, work_metadata_ptrs, work_indptr, work_info, {_MAPS}, {_GRAINS}",
        "mla_reduce_v1": f"partial_output, partial_lse, {_MAPS}, final_output, final_lse=None",
    },
    "aiter.ops.cache": {
        "concat_and_cache_mla": _CONCAT,
        "indexer_k_quant_and_cache": _QUANT,
        "cp_gather_indexer_k_quant_cache": _GATHER,
    },
    "aiter.ops.topk": {
        "top_k_per_row_prefill": f"{_PREFILL_K}, {_STRIDES}",
        "top_k_per_row_decode": f"{_DECODE_K}, {_STRIDES}",
    },
    "aiter.ops.triton.pa_mqa_logits": {
        "deepgemm_fp8_paged_mqa_logits": f"{_PAGED.format(cache='kv_cache', out='out_logits')}, ChunkK=64, SplitKV=5",
        "deepgemm_fp8_paged_mqa_logits_stage1": _PAGED.format(cache="kv_cache_fp8", out="out_qk"),
    },
    "aiter.ops.triton.fp8_mqa_logits": {"fp8_mqa_logits": "Q, KV, kv_scales, weights, cu_starts, cu_ends"},
    "aiter.ops.triton.rope": _ROPE,
    "aiter.ops.triton.fused_fp8_quant": {"fused_flatten_fp8_group_quant": "x, group_size, dtype_quant=None"},
    "aiter.ops.triton.unified_attention_sparse_mla": {"unified_attention_sparse_mla": _UNIFIED},
}
"""As amd-aiter 0.1.7.post2.dev18 has them, where its adapters look."""

_EXTRA = "kv_scales=None, block_h=None, kv_splits=None, has_invalid=True, skip_reduce=False, USE_EXP2=None"
MAIN: Signatures = {
    "aiter.mla": {
        "mla_decode_fwd": f"{_DECODE}, page_size=1, nhead_kv=1, {_SPLITS}, {_WORK}, {_SCALES}, intra_batch_mode=False, "
        "return_logits=False, return_lse=False, g_kv_indptr=None, cp_world_size=1, cp_rank=0, causal=True"
    },
    "aiter.ops.attention": {
        "get_mla_metadata_v1": f"{_LISTS}, kv_last_page_lens, {_HEADS}, {_PLAN}, page_size=1, {_GRAINS}, "
        "intra_batch_mode=False, dtype_q_nope=None, dtype_kv_nope=None, dtype_q=None, dtype_kv=None",
        "mla_reduce_v1": f"partial_output, partial_lse, {_MAPS}, max_seqlen_q, num_kv_splits, final_output, "
        "final_lse=None",
        "get_ps_metadata_v1": "seqlens_qo_indptr, pages_kv_indptr, context_lens, gqa_ratio, num_heads_k, "
        f"work_metadata_ptrs, work_indptr, work_info, {_MAPS}, qhead_granularity=1, qlen_granularity=256, "
        "kvlen_granularity=16, block_size=16, is_causal=True",
        "mla_prefill_ps_asm_fwd": "Q, K, V, qo_indptr, kv_indptr, kv_page_indices, work_indptr, work_info_set, "
        "max_seqlen_q, softmax_scale, is_causal, splitData, splitLse, output, q_scale=None, k_scale=None, v_scale=None",
    },
    "aiter.ops.cache": {
        "concat_and_cache_mla": _CONCAT,
        "indexer_k_quant_and_cache": f"{_QUANT}, preshuffle=False",
        "cp_gather_indexer_k_quant_cache": f"{_GATHER}, preshuffle=False",
    },
    "aiter.ops.topk": {
        "top_k_per_row_prefill": f"{_PREFILL_K}, {_STRIDES}, k=2048, stable=False",
        "top_k_per_row_decode": f"{_DECODE_K}, {_STRIDES}, k=2048, stable=False",
    },
    "aiter.ops.triton.attention.pa_mqa_logits": {
        "deepgemm_fp8_paged_mqa_logits": f"{_PAGED.format(cache='kv_cache', out='out_logits')}, Preshuffle=False, "
        "KVBlockSize=1, ChunkK=256, TotalCuCount=None, WavePerEU=2, VarCtxSchedule=None",
        "deepgemm_fp8_paged_mqa_logits_stage1": f"{_PAGED.format(cache='kv_cache_fp8', out='out_qk')}, ChunkQ=64",
    },
    "aiter.ops.triton.attention.fp8_mqa_logits": {
        "fp8_mqa_logits": "Q, KV, kv_scales, weights, cu_starts, cu_ends, clean_logits=True"
    },
    "aiter.ops.triton.rope.rope": _ROPE,
    "aiter.ops.triton.quant.fused_fp8_quant": {"fused_flatten_fp8_group_quant": _FLAT},
    "aiter.ops.triton.attention.unified_attention_sparse_mla": {"unified_attention_sparse_mla": _UNIFIED},
    "aiter.ops.triton.attention.pa_prefill_sparse": {
        "pa_prefill_sparse": "q, unified_kv, kv_indices_prefix, kv_indptr_prefix, kv, kv_indices_extend, "
        "kv_indptr_extend, attn_sink, softmax_scale, has_invalid=None"
    },
    "aiter.ops.triton.attention.pa_decode_sparse": {
        "pa_decode_sparse": f"q, unified_kv, kv_indices, kv_indptr, attn_sink, softmax_scale, {_EXTRA}, *, "
        "extra_cache=None, extra_indices=None, extra_indptr=None"
    },
}
"""As the repository after it has them."""


RETURNED: Mapping[str, Callable[..., Any]] = {
    "fp8_mqa_logits": lambda **given: torch.zeros(len(given["Q"]), len(given["KV"])),
    "fused_flatten_fp8_group_quant": lambda **given: (
        torch.zeros(len(given["x"]), given["x"][0].numel(), dtype=given["dtype_quant"]),
        torch.ones(given["x"].shape[:2]),
    ),
    "mla_decode_fwd": lambda **given: (None, torch.zeros(given["o"].shape[:2])),
    "pa_decode_sparse": lambda **given: torch.zeros_like(given["q"]),
    "pa_prefill_sparse": lambda **given: torch.zeros_like(given["q"]),
    "rope_cached_thd_positions_2c_fwd": lambda **given: (given["x"], given["y"]),
}
"""What functions return that return anything, of the right shapes, where a test puts nothing behind them."""


@dataclass
class Seen:
    """One call, as it was made."""

    name: str
    args: tuple[Any, ...]
    keywords: dict[str, Any]
    named: dict[str, Any]
    """Everything by the function's own names, defaults included."""


@dataclass
class StandIn:
    """What lies behind the signatures of a release."""

    functions: dict[str, Callable[..., Any]] = field(default_factory=dict[str, Callable[..., Any]])
    """Name -> what is run, with everything by name, instead of what is returned otherwise."""
    seen: list[Seen] = field(default_factory=list[Seen])

    def stub(self, function: Callable[..., Any]) -> Callable[..., Any]:
        """Decorator of the functions in the files."""
        signature = inspect.signature(function)

        def call(*args: Any, **keywords: Any) -> Any:
            bound = signature.bind(*args, **keywords)
            bound.apply_defaults()
            self.seen.append(Seen(function.__name__, args, keywords, dict(bound.arguments)))
            run = self.functions.get(function.__name__) or RETURNED.get(function.__name__)
            return run(**bound.arguments) if run else None

        return call


def written(root: Path, signatures: Signatures) -> Path:
    """A tree of a release: modules of stubs, and a package that imports those of its HIP operations."""
    hip = [module for module in signatures if ".triton" not in module]
    files = {"aiter/__init__.py": "".join(f"from {module} import *\n" for module in hip)}
    files |= {
        "aiter/ops/__init__.py": "",
        "aiter/ops/triton/__init__.py": "",
        "aiter/ops/triton/attention/__init__.py": "",
    }
    for module, functions in signatures.items():
        bodies = (f"@stub\ndef {name}({given}): ...\n" for name, given in functions.items())
        files[f"{module.replace('.', '/')}.py"] = f"from {BEHIND} import stub\n\n\n" + "\n\n".join(bodies)
    for name, text in files.items():
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text(text)
    return root


def install(root: Path, monkeypatch: pytest.MonkeyPatch) -> StandIn:
    """Make the tree what Python imports for the time of a test."""
    behind, module = StandIn(), ModuleType(BEHIND)
    module.stub = behind.stub  # pyright: ignore[reportAttributeAccessIssue]
    monkeypatch.setitem(sys.modules, BEHIND, module)
    monkeypatch.syspath_prepend(root)
    for name in list(sys.modules):
        if name.partition(".")[0] == "aiter":
            monkeypatch.delitem(sys.modules, name)
    return behind


def forget() -> None:
    """Remove a release's modules from Python's."""
    for name in [name for name in sys.modules if name.partition(".")[0] == "aiter"]:
        del sys.modules[name]


def operands(case: Case) -> tuple[Operands, dict[str, Any]]:
    """A case's operands, and the op's arguments: contiguous copies on the host."""
    op = op_named(case.op)
    drawn = op.inputs(case, Stream.of(case))
    tensors = {**drawn.inputs, **drawn.outputs, **drawn.workspaces}
    return drawn, {**{name: tensor.clone() for name, tensor in tensors.items()}, **drawn.scalars}


def called(who: Foreign, case: Case) -> dict[str, torch.Tensor]:
    """The outputs after a case was called, whatever would refuse to run it here."""
    drawn, arguments = operands(case)
    who.call(op_named(case.op), case, arguments, None, None)
    return {name: arguments[name] for name in drawn.outputs}


def peers(case: Case) -> dict[str, torch.Tensor]:
    """The outputs of the op's peer."""
    drawn, arguments = operands(case)
    op_named(case.op).peer(case, arguments)
    return {name: arguments[name] for name in drawn.outputs}
