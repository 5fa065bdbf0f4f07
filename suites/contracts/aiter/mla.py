"""Calls of MLA decode, of its plan and its reduction, and of FP8 prefill; each constant is what an adapter makes.

Where the last wheel and later versions differ, a constant has both conventions, the later one first.
"""

from __future__ import annotations

from rocassay.harness.contract.declared import Argument, Call, arguments
from rocassay.suites.contracts.aiter import parts
from rocassay.suites.contracts.aiter.calls import call
from rocassay.suites.contracts.aiter.parts import CAUSAL, LATER, WHEEL

_SCALED = (*arguments("sm_scale: float"), *parts.SCALES)
_LSE = arguments("return_lse: True")
_SPLITS = arguments("num_kv_splits: int", "num_kv_splits_indptr: int32 [batch + 1]")
_PAGED = arguments("page_size: int")
_GRAINS = arguments("kv_granularity: int", "max_seqlen_qo: int", "uni_seqlen_qo: int", "fast_mode: True", "topk: -1",
                    "max_split_per_batch: int")  # fmt: skip
_SIZED = arguments("is_sparse: bool", "fast_mode: True")


def _decode(name: str, versions: str, *keywords: Argument) -> tuple[Call, ...]:
    return (call(name, "aiter.mla:mla_decode_fwd", positional=parts.DECODE, keywords=(*_SCALED, *keywords),
                 versions=versions, relies=(("nhead_kv", "1"), ("logit_cap", "0.0"))),)  # fmt: skip


SPLIT = _decode("mla_decode_fwd, split", "")
SPLIT_LSE = _decode("mla_decode_fwd, split, with LSE", LATER, *_SPLITS, *_LSE)
PERSISTENT = _decode("mla_decode_fwd, persistent", "", *parts.WORK)
PERSISTENT_LSE = _decode("mla_decode_fwd, persistent, with LSE", LATER, *parts.WORK, *_PAGED, *_LSE)
PERSISTENT_PAGED = _decode("mla_decode_fwd, persistent, paged", LATER, *parts.WORK, *_PAGED)
UNMASKED = _decode("mla_decode_fwd, persistent, masked or not", CAUSAL, *parts.WORK, *_PAGED, *_LSE,
                   *arguments("causal: bool"))  # fmt: skip


def _reduced(name: str, versions: str, *between: Argument) -> Call:
    return call(name, "aiter:mla_reduce_v1", positional=(*parts.PARTIALS, *between, *parts.REDUCED),
                versions=versions)  # fmt: skip


_REDUCE_LATER = _reduced("mla_reduce", LATER, *arguments("max_seqlen_q: int", "num_kv_splits: int"))
REDUCE = (_REDUCE_LATER, _reduced("mla_reduce, wheel", WHEEL))
REDUCE_LATER = (_REDUCE_LATER,)
"""For sizes that the last wheel's reduction does not know."""


def _planned(name: str, versions: str, first: tuple[Argument, ...], *keywords: Argument) -> Call:
    return call(name, "aiter:get_mla_metadata_v1", positional=first, keywords=(*keywords, *_GRAINS),
                versions=versions)  # fmt: skip


SIZES = (
    call("sizes of mla_plan, capped", "aiter:get_mla_metadata_info_v1", positional=parts.SIZES,
         keywords=(*_SIZED, *arguments("max_split_per_batch: int")), versions=LATER),
)  # fmt: skip
PLAN = (
    _planned("mla_plan", LATER, parts.PLANNER,
             *arguments("page_size: int", "dtype_q: torch.dtype", "dtype_kv: torch.dtype")),
    _planned("mla_plan, types by part", CAUSAL, parts.PLANNER,
             *arguments("page_size: int", "dtype_q_nope: torch.dtype", "dtype_kv_nope: torch.dtype")),
)  # fmt: skip
PLAN_WHEEL = (_planned("mla_plan, wheel", WHEEL, (*parts.LENGTHS, *parts.HEADS, *parts.PLAN)),)
"""Another policy than the later ones', of which this project has no model: declared so that `contract` sees it."""

PS_SIZES = (
    call("sizes of mla_prefill_ps_metadata", "aiter:get_ps_metadata_info_v1",
         keywords=arguments("batch_size: int", "num_head_k: int", "max_qlen: int", "qlen_granularity: 256"),
         versions=LATER),
)  # fmt: skip
PS_PLAN = (
    call("mla_prefill_ps_metadata", "aiter:get_ps_metadata_v1", positional=parts.PS_PLANNER,
         keywords=parts.PS_GRAINS, versions=LATER),
)  # fmt: skip
PS = (
    call("mla_prefill_ps", "aiter:mla_prefill_ps_asm_fwd", positional=parts.PS_ATTENTION, versions=LATER),
)  # fmt: skip

CALLS: tuple[Call, ...] = (
    *SPLIT, *SPLIT_LSE, *PERSISTENT, *PERSISTENT_LSE, *PERSISTENT_PAGED, *UNMASKED, *REDUCE, *SIZES, *PLAN,
    *PLAN_WHEEL, *PS_SIZES, *PS_PLAN, *PS,
)  # fmt: skip
