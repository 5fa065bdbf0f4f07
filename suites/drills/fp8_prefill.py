"""Faults of the FP8 prefill family: each changes exactly one thing and reads like the bug it re-creates."""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable
from dataclasses import replace

import torch

from rocassay.harness.cases import Case
from rocassay.harness.faults import ChangeDispatch, ChangeInputs, ChangeSource, Fault, register
from rocassay.harness.faults.fault import Seam
from rocassay.harness.inputs import Operands

PREFILL, REDUCE, PLAN = "mla_prefill_ps", "mla_prefill_reduce", "mla_prefill_ps_metadata"
KERNELS = "rocassay.kernels.fp8_prefill"
VALUES = frozenset({"bound", "max-z", "worst-row", "nonfinite"})
"""Checks that compare an output with the golden."""


def _fault(
    name: str,
    reference: str,
    summary: str,
    seams: dict[str, Seam],
    applies: Callable[[Case], bool],
    caught_by: frozenset[str] = VALUES,
) -> Fault:
    return register(Fault(name, reference, summary, seams, applies, caught_by))


def _line(op: str, line: str, becomes: str) -> ChangeSource:
    return ChangeSource(f"{KERNELS}.{op}", line, becomes)


_fault(
    "prefill-causal-offset-ignored",
    "vllm-project/vllm#42509",
    "rows and keys are taken to share one indptr, as in a batch without earlier chunks",
    {PREFILL: _line(PREFILL, "limit = tl.minimum(own_key + 1, key_end)", "limit = tl.minimum(row + 1, key_end)")},
    lambda case: case["segments"] == "chunked",
)

_fault(
    "prefill-causal-edge-unmasked",
    "vllm-project/vllm#42509",
    "the block that the causal edge cuts is attended to whole",
    {
        PREFILL: _line(
            PREFILL,
            "seen = position[None, :] < limit[:, None]",
            "seen = (position < last)[None, :] & (limit[:, None] >= 0)",
        )
    },
    lambda _: True,
)


def _on_plain_path(case: Case) -> bool:
    return case["path"] == "fallback" or (case["path"] == "auto" and case.arch == "gfx942")


_fault(
    "fallback-prefill-untested",
    "vllm-project/vllm#42509",
    "the branch that nobody runs scales by the value's width, the planned one is healthy",
    {
        PREFILL: _line(
            PREFILL,
            "plain_scale_log2 = softmax_scale * 1.4426950408889634 * score_scale",
            "plain_scale_log2 = 0.08838834764831845 * 1.4426950408889634 * score_scale",
        )
    },
    _on_plain_path,
)

_fault(
    "prefill-persistent-path-lost",
    "vllm-project/vllm#42509",
    "the import of AITER's symbol fails unseen: gfx950 takes the fallback",
    {PREFILL: ChangeDispatch(lambda dispatch: replace(dispatch, fp8_arches=frozenset()))},
    lambda case: case["path"] == "auto" and case.arch == "gfx950",
    frozenset({"dispatch"}),
)


def _planned(case: Case) -> bool:
    return case["path"] == "persistent"


def _changed(operands: Operands, **tensors: torch.Tensor) -> Operands:
    return replace(operands, inputs={**operands.inputs, **tensors})


def _keys_of_segment_0(operands: Operands) -> Operands:
    pages, bounds = operands.inputs["kv_page_indices"], operands.inputs["kv_indptr"].tolist()
    shifted = [pages[: end - begin] for begin, end in itertools.pairwise(bounds)]
    return _changed(operands, kv_page_indices=torch.cat(shifted))


_fault(
    "multi-segment-prefill",
    "vllm-project/vllm#42509",
    "every segment looks its keys up from the offset of the first",
    {PREFILL: ChangeInputs(_keys_of_segment_0)},
    lambda case: case["segments"] != "one",
)

_fault(
    "unfilled-last-page-nan",
    "flashinfer-ai/flashinfer#941",
    "weights of dead lanes are 0, but their values are loaded: 0 * NaN",
    {
        PREFILL: _line(
            PREFILL,
            "value = _load_tile(values, value_base[:, None] + dim[None, :], live, MASKED, FORMAT, NATIVE, VALUE_DOT)",
            "value = _load_tile(values, value_base[:, None] + dim[None, :], live, False, FORMAT, NATIVE, VALUE_DOT)",
        )
    },
    lambda _: True,
    VALUES | {"bounds"},
)


def _swapped_scales(operands: Operands) -> Operands:
    return _changed(operands, k_scale=operands.inputs["v_scale"], v_scale=operands.inputs["k_scale"])


_fault(
    "k-scale-vs-v-scale-mla",
    "vllm-project/vllm#42509",
    "the scale of the keys multiplies the values, and theirs the scores",
    {PREFILL: ChangeInputs(_swapped_scales)},
    lambda case: case["kind"] == "fp8",
)


def _last_head_unplanned(operands: Operands) -> Operands:
    work = operands.inputs["work_info_set"].clone()
    last = operands.inputs["q"].shape[1] - 1
    heads = work[:, 7]
    work[:, 7] = torch.where((heads & 0xFFFF) == last, 1 << 16, heads)
    return _changed(operands, work_info_set=work)


_fault(
    "heads-not-16-or-128",
    "vllm-project/vllm#42509",
    "queries are padded to more heads than the plan was made for: the last one has no work",
    {PREFILL: ChangeInputs(_last_head_unplanned)},
    _planned,
)


def _slots_for_all(operands: Operands) -> Operands:
    work = operands.inputs["work_info_set"].clone()
    count = int(operands.inputs["work_indptr"][-1])
    work[:count, 1] = work[:count, 1].clamp(min=0)
    return _changed(operands, work_info_set=work)


_fault(
    "prefill-whole-tile-given-a-slot",
    "vllm-project/vllm#42509",
    "whole tiles are written as partial results, which the reduction skips: their rows are never written",
    {PREFILL: ChangeInputs(_slots_for_all)},
    _planned,
)

_fault(
    "prefill-lse-of-whole-tiles-unwritten",
    "ROCm/aiter mla_prefill_ps_fwd leaves final_lse to the reduction",
    "only rows of split tiles get an LSE; a merge with the context reads whatever lies in the others",
    {
        PREFILL: _line(
            PREFILL, "tl.store(final_lse + lse_at, lse, mask=known)", "tl.store(final_lse + lse_at, lse, mask=row < 0)"
        )
    },
    lambda case: _planned(case) and case["lse"] == "yes",
)

_fault(
    "prefill-key-offset-int32",
    "vllm-project/vllm#54019, #46222",
    "key row times stride is computed in 32 bits and wraps beyond 2^31",
    {
        PREFILL: _line(
            PREFILL,
            "key_base = row.to(tl.int64) * k_token_stride",
            "key_base = row * k_token_stride.to(tl.int32)",
        )
    },
    lambda case: case.recipe == "wide",
    VALUES | {"bounds", "crash"},
)

_fault(
    "empty-kv-split",
    "ROCm/aiter#3641",
    "a part that saw nothing takes part in the merge with whatever lies in its rows",
    {REDUCE: _line(REDUCE, 'seen = part_lse > float("-inf")', "seen = known")},
    lambda case: case["groups"] != "none",
)

_fault(
    "merge-both-neg-inf",
    "vllm-project/vllm#27491",
    "the guard for a row that no part saw is missing: -inf - -inf is NaN",
    {REDUCE: _line(REDUCE, 'anchor = tl.where(highest == float("-inf"), 0.0, highest)', "anchor = highest")},
    lambda case: case["groups"] != "none",
    frozenset({"nonfinite"}),
)


def _base_2(operands: Operands) -> Operands:
    lse = operands.inputs["partial_lse"] * torch.tensor(1 / math.log(2), dtype=torch.float32)
    return replace(operands, inputs={**operands.inputs, "partial_lse": lse})


_fault(
    "lse-base2-vs-natural",
    "vllm-project/vllm#43919",
    "the parts report log2 of their sums, the reduction takes it for the natural logarithm",
    {
        REDUCE: ChangeInputs(_base_2),
        PREFILL: _line(
            PREFILL,
            "natural = (peak + tl.log2(tl.where(empty, 1.0, total)) - SHIFT) * 0.6931471805599453",
            "natural = peak + tl.log2(tl.where(empty, 1.0, total)) - SHIFT",
        ),
    },
    lambda case: case["lse"] == "yes" if case.op == PREFILL else case["groups"] != "none",
)

_fault(
    "prefill-to-cpu-and-item",
    "vllm-project/vllm#42509",
    "the number of partial tiles, or the longest request, is fetched from the device to size the launch",
    {
        REDUCE: _line(
            REDUCE,
            "groups = min(reduce_final_map.shape[0], reduce_indptr.shape[0] - 1)",
            "groups = int((reduce_indptr.diff() > 0).sum().item())",
        ),
        PREFILL: _line(
            PREFILL,
            "blocks = triton.cdiv(max_seqlen_q, variant.block_q)",
            "blocks = triton.cdiv(int(qo_indptr.diff().max().item()), variant.block_q)",
        ),
        PLAN: _line(
            PLAN,
            "most = max(tiles + group - 1, group + 1)",
            "most = max(int(tile_begin[-1].item()) + group - 1, group + 1)",
        ),
    },
    lambda case: case.op != PREFILL or case["path"] == "fallback",
    frozenset({"host-sync"}),
)

BYTES = frozenset({"bytes"})

_fault(
    "prefill-plan-tail-not-repeated",
    "ROCm/aiter mla_reduce_v1 stops at the first group that starts at reduce_indptr[-1]",
    "the bounds behind the last group keep what the buffer held, the number of partial tiles among them",
    {
        PLAN: _line(
            PLAN,
            "tl.store(reduce_indptr + behind, filled + behind * 0, mask=behind < bounds)",
            "tl.store(reduce_indptr + behind, filled + behind * 0, mask=behind < 0)",
        )
    },
    # Where every tile is split there is no tail.
    lambda case: case["segments"] in ("empty", "none", "edges"),
    BYTES,
)

_fault(
    "prefill-plan-group-of-one",
    "vllm-project/vllm#42509",
    "whole tiles get a group of one part, which the reduction skips",
    {PLAN: _line(PLAN, "split = parts > 1", "split = parts > 0")},
    lambda case: case["segments"] in ("empty", "edges", "long"),
    BYTES,
)

_fault(
    "prefill-plan-context-ignored",
    "vllm-project/vllm#42509",
    "a tile is taken to see as many keys as rows end before it, whatever earlier chunks left",
    {
        PLAN: _line(
            PLAN, "seen = tl.minimum(tl.maximum(length - rows + end, 0), length)", "seen = tl.minimum(end, length)"
        )
    },
    lambda case: case["segments"] in ("chunked", "long"),
    BYTES,
)

_fault(
    "prefill-plan-offset-of-the-tile",
    "ROCm/aiter kv_offset counts from the end of the request, for all parts of a tile but the last",
    "kv_offset counts to the causal end of the tile",
    {
        PLAN: _line(
            PLAN,
            "tl.store(info + 6, tl.where(final, 0, length - stop), mask=known)",
            "tl.store(info + 6, tl.where(final, 0, seen - stop), mask=known)",
        )
    },
    # The cut tile must not be the last of its request.
    lambda case: case["segments"] == "one",
    BYTES,
)
