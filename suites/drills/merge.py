"""Faults of merging attention states: each changes exactly one thing and reads like the bug it re-creates."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import replace

import torch

from rocassay.harness.cases import Case
from rocassay.harness.faults import ChangeInputs, ChangeSource, Fault, register
from rocassay.harness.faults.fault import Seam
from rocassay.harness.inputs import Operands

MERGE = "merge_attn_states"
MODULE = f"rocassay.kernels.merge.{MERGE}"
VALUES = frozenset({"bound", "max-z", "worst-row", "nonfinite"})
"""Checks that compare an output with the golden."""


def _fault(
    name: str,
    reference: str,
    summary: str,
    seam: Seam,
    applies: Callable[[Case], bool],
    caught_by: frozenset[str] = VALUES,
) -> Fault:
    return register(Fault(name, reference, summary, {MERGE: seam}, applies, caught_by))


def _all_edges(case: Case) -> bool:
    """Whether the merged tokens contain every pair of LSE edges."""
    return case["context"] != 0 and case.integer("tokens") >= 24


_fault(
    "merge-both-neg-inf",
    "vllm-project/vllm#27491",
    "the guard for two empty parts is missing: -inf - -inf is NaN",
    ChangeSource(MODULE, 'anchor = tl.where(largest == float("-inf"), 0.0, largest)', "anchor = largest"),
    _all_edges,
    frozenset({"nonfinite"}),
)

_fault(
    "merge-pos-inf-whole-weight",
    "vllm-project/vllm#15492",
    "an LSE of +inf, FlashAttention 2's word for an empty part, is taken for the whole weight",
    ChangeSource(
        MODULE,
        'before = tl.where(before == float("inf"), float("-inf"), before)',
        'before = tl.where(before == float("inf"), 3e38, before)',
    ),
    _all_edges,
)


def _base_2(operands: Operands) -> Operands:
    lse = operands.inputs["prefix_lse"] * torch.tensor(1 / math.log(2), dtype=torch.float32)
    return replace(operands, inputs={**operands.inputs, "prefix_lse": lse})


_fault(
    "lse-base2-vs-natural",
    "sgl-project/sglang#35045",
    "one producer reports log2 of its sum, the merge takes it for the natural logarithm",
    ChangeInputs(_base_2),
    lambda case: case["context"] != 0,
)


def _token_major(operands: Operands) -> Operands:
    lse = operands.inputs["suffix_lse"]
    return replace(operands, inputs={**operands.inputs, "suffix_lse": lse.T.contiguous().reshape(lse.shape)})


_fault(
    "lse-th-vs-ht",
    "vllm-project/vllm#57012",
    "a producer stores its LSE [T, H], the merge reads the same memory as [H, T]",
    ChangeInputs(_token_major),
    lambda case: case.integer("heads") > 1,
)

_fault(
    "merge-beyond-context",
    "vllm-project/vllm#48739",
    "tokens without context are merged with a prefix that nobody wrote instead of copying the suffix",
    ChangeSource(MODULE, "merged = known & (index < tokens_with_context)", "merged = known"),
    lambda case: case["context"] != "all",
)

_fault(
    "merge-suffix-at-prefix-strides",
    "local-inference-lab/vllm#15",
    "the suffix is read at offsets made from the prefix's strides",
    ChangeSource(
        MODULE,
        "suffix_at = token * suffix_token_stride + head * suffix_head_stride",
        "suffix_at = token * prefix_token_stride + head * prefix_head_stride",
    ),
    lambda case: case.recipe == "mixed",
)

_fault(
    "merge-empty-part-times-zero",
    "flashinfer-ai/flashinfer#941",
    "the output of an empty part is read and multiplied by its zero weight: NaN there becomes NaN in the result",
    ChangeSource(MODULE, 'read_before = before > float("-inf")', "read_before = merged"),
    lambda case: case["empty"] == "nan" and _all_edges(case),
    frozenset({"nonfinite"}),
)

_fault(
    "merge-token-offset-int32",
    "vllm-project/vllm#45500",
    "token times stride is computed in 32 bits and wraps beyond 2^31 elements",
    ChangeSource(
        MODULE,
        "output_at = token * output_token_stride + head * output_head_stride",
        "output_at = token.to(tl.int32) * output_token_stride + head * output_head_stride",
    ),
    lambda case: case.recipe == "wide",
    VALUES | {"bounds", "crash"},
)

_fault(
    "redundant-cast-copy",
    "vllm-project/vllm#42509",
    "the result is cast into a temporary and copied into the output it already lies in: right, and twice the traffic",
    ChangeSource(MODULE, "enable_fp_fusion=False,", "enable_fp_fusion=False); output.copy_(output.float()"),
    lambda case: case["dtype"] != "fp32",
    frozenset({"allocations"}),
)
