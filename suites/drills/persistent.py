"""Faults of persistent MLA decode: each changes exactly one thing and reads like the bug it re-creates."""

from __future__ import annotations

import itertools
from collections.abc import Callable
from dataclasses import replace

import torch

from rocassay.harness.cases import Case
from rocassay.harness.faults import ChangeInputs, ChangeSource, ChangeVariant, Fault, register
from rocassay.harness.faults.fault import Seam
from rocassay.harness.inputs import Operands
from rocassay.kernels.persistent.shapes import DecodeShape
from rocassay.suites.kernels.persistent_inputs import Batch, planned, schedule_of

DECODE, REDUCE, PLAN = "mla_decode_fwd", "mla_reduce", "mla_plan"
KERNELS = "rocassay.kernels.persistent"
VALUES = frozenset({"bound", "max-z", "worst-row", "nonfinite"})
"""Checks that compare an output with the golden."""

MEMORY = frozenset({"bounds", "crash"})
"""What an address outside every tensor turns red."""


def _fault(
    name: str,
    reference: str,
    summary: str,
    op: str,
    seam: Seam,
    applies: Callable[[Case], bool],
    caught_by: frozenset[str] = VALUES,
) -> Fault:
    return register(Fault(name, reference, summary, {op: seam}, applies, caught_by))


def _line(op: str, line: str, becomes: str) -> ChangeSource:
    return ChangeSource(f"{KERNELS}.{op}", line, becomes)


def _swap(**changes: Callable[[Operands], torch.Tensor]) -> ChangeInputs:
    """Inputs of these names replaced."""
    return ChangeInputs(
        lambda operands: replace(
            operands, inputs={**operands.inputs, **{name: change(operands) for name, change in changes.items()}}
        )
    )


def _persistent(case: Case) -> bool:
    return case["path"] != "plain"


def _folded(case: Case) -> bool:
    """Whether the plan speaks of pseudo-requests."""
    heads = case.integer("heads")
    return _persistent(case) and case.arch == "gfx942" and case["dtype"] == "bf16" and heads > 16


_fault(
    "dsv4-hardcoded-float8e4nv",
    "vllm-project/vllm#41812",
    "cached latents are taken for e4m3fn whatever the platform's flavour: keys and values twice as large",
    DECODE,
    ChangeVariant(lambda variant: replace(variant, fp8="e4m3fn")),
    lambda case: case.fp8 == "e4m3fnuz" and case["dtype"] != "bf16",
)


def _without(name: str) -> ChangeInputs:
    return ChangeInputs(
        lambda operands: replace(
            operands, inputs={key: tensor for key, tensor in operands.inputs.items() if key != name}
        )
    )


_fault(
    "ps-buffers-passed-partially",
    "vllm-project/vllm#36574",
    "five of the six buffers are given: a wrapper that looks at the first alone takes another path in silence",
    DECODE,
    _without("reduce_partial_map"),
    _persistent,
    frozenset({"crash"}),
)


def _planned_for_bf16(operands: Operands) -> Operands:
    tensors = operands.inputs
    lists = (tensors[name] for name in ("qo_indptr", "kv_indptr", "kv_last_page_lens"))
    rows, pages, last = (t.tolist() for t in lists)
    page = tensors["kv_buffer"].shape[1]
    spans = zip(itertools.pairwise(pages), last, strict=True)
    keys = [(end - begin - 1) * page + tail if end > begin else 0 for (begin, end), tail in spans]
    batch = Batch(tuple(e - b for b, e in itertools.pairwise(rows)), tuple(keys), page)
    shape = DecodeShape("gfx950", tensors["q"].shape[1], batch.max_qlen, "bf16", "bf16")
    schedule = schedule_of(shape, "exact", workers=len(tensors["work_indptr"]) - 1, page_size=page, causal=True)
    return replace(operands, inputs={**tensors, **planned(batch, shape, schedule).tensors})


_fault(
    "ps-metadata-wrong-dtype",
    "vllm-project/vllm#38719",
    "FP8 queries and cache are planned as if they were bf16, with other tiles and folds",
    DECODE,
    ChangeInputs(_planned_for_bf16),
    # The only heads that are native there in bf16 and folded in FP8.
    lambda case: _persistent(case) and case["dtype"] == "fp8" and case["heads"] in (48, 96) and case.arch == "gfx950",
)

_fault(
    "empty-kv-split",
    "ROCm/aiter#3641",
    "splits without keys take part in the merge with whatever lies in their output",
    DECODE,
    _line(DECODE, 'live = lse > float("-inf")', "live = here"),
    # Another path, and rows whose splits all have keys, do not read such an output.
    lambda case: case["path"] == "plain" and case["workers"] != 1,
)

_fault(
    "folded-batch-mapping",
    "ROCm/aiter#3310",
    "the pseudo-request of a folded plan is mapped to an earlier request, as if heads were folded twice",
    DECODE,
    # An unmapped index would look behind the lists, where a garbage length keeps an interpreter busy for hours.
    _line(DECODE, "request = virtual // FOLD", "request = virtual // (2 * FOLD)"),
    _folded,
)


def _other_padding(operands: Operands) -> torch.Tensor:
    """Queries with all real heads first instead of at every second place."""
    q = operands.inputs["q"]
    return torch.cat([q[:, 0::2], q[:, 1::2]], dim=1)


_fault(
    "heads-not-16-or-128",
    "vllm-project/vllm#36574, ROCm/aiter#726",
    "8 heads are appended to and the result is read at every second head: the paddings do not match",
    DECODE,
    _swap(q=_other_padding),
    lambda case: case["heads"] == 8,
)


def _lengths(operands: Operands) -> torch.Tensor:
    return operands.inputs["kv_indptr"].diff().to(torch.int32)


_fault(
    "mla-last-page-len-full-seq",
    "vllm-project/vllm#31282",
    "the last page's length is the sequence's, although a page holds one token",
    DECODE,
    _swap(kv_last_page_lens=_lengths),
    lambda case: case.block_size == 1,
    VALUES | MEMORY,
)

_fault(
    "k-scale-vs-v-scale-mla",
    "vllm-project/vllm#37054",
    "the values of the one latent are scaled by the product of two scales",
    DECODE,
    _line(DECODE, "value_scale = latent_scale", "value_scale = latent_scale * latent_scale"),
    lambda case: case["dtype"] != "bf16",
)

_fault(
    "lse-base2-vs-natural",
    "vllm-project/vllm#43919",
    "the LSE stays in base 2, the merge and the caller read it as natural",
    DECODE,
    _line(DECODE, "natural = (peak + tl.log2(total)) * 0.6931471805599453", "natural = peak + tl.log2(total)"),
    lambda _: True,
)

_fault(
    "unfilled-last-page-nan",
    "flashinfer-ai/flashinfer#941, ROCm/aiter#5401",
    "whole pages are loaded and masked afterwards: a NaN behind the last key times a weight of 0",
    DECODE,
    _line(DECODE, "live = key < end", "live = key < tl.cdiv(end, PAGE_SIZE) * PAGE_SIZE"),
    lambda case: case.block_size > 1,
)

_fault(
    "mla-causal-mask-missing",
    "ROCm/aiter MLA kernels without a mask (mla_dec_stage1 .co registry)",
    "every token of a request sees the keys of the later ones",
    DECODE,
    _line(
        DECODE,
        "seen = live[None, :] & (key[None, :] < limit[:, None])",
        "seen = live[None, :] & (limit[:, None] > -99)",
    ),
    lambda case: case["causal"] == 1 and case["qlen"] != 1 and case.integer("heads") < 64,
)

_fault(
    "mla-page-tail-forgotten",
    "ROCm/aiter#3095",
    "the last page counts as full: keys that do not exist yet are attended to",
    DECODE,
    _line(
        DECODE,
        "length = tl.where(pages > 0, (pages - 1) * PAGE_SIZE + tail, 0)",
        "length = tl.where(pages > 0, pages * PAGE_SIZE + 0 * tail, 0)",
    ),
    lambda case: case.block_size > 1,
)

_fault(
    "mla-partial-rows-in-tokens",
    "ROCm/aiter csrc/kernels/mla/metadata: partial_qo_loc counts rows, not tiles",
    "the tokens of a tile write the same partial row",
    DECODE,
    _line(DECODE, "part_row = (slot + row // WIDTH).to(tl.int64)", "part_row = (slot + row * 0).to(tl.int64)"),
    lambda case: _persistent(case) and case["keys"] == "blind",
)

_fault(
    "mla-rope-left-out",
    "vllm-project/vllm#36574",
    "scores are made of the 512 latent dims alone",
    DECODE,
    _line(DECODE, "score = tl.dot(query_rope, tl.trans(right), score, out_dtype=tl.float32)", "score = score * 1.0"),
    lambda _: True,
)

_fault(
    "mla-page-offset-int32",
    "ROCm/aiter#2768, #4474",
    "page times stride is computed in 32 bits and wraps beyond 2^31",
    DECODE,
    _line(DECODE, "page_base = page * page_stride", "page_base = page.to(tl.int32) * page_stride.to(tl.int32)"),
    lambda case: case.recipe == "wide",
    VALUES | MEMORY,
)


def _groups(case: Case) -> bool:
    """Whether there is anything to merge."""
    return case["parts"] != 0


_fault(
    "merge-both-neg-inf",
    "vllm-project/vllm#27491",
    "rows without a key in any part divide by a sum of 0",
    REDUCE,
    _line(REDUCE, "share = 1.0 / tl.where(total == 0.0, 1.0, total)", "share = 1.0 / total"),
    _groups,
    frozenset({"nonfinite"}),
)

_fault(
    "mtp-split-fully-masked",
    "ROCm/aiter#4711",
    "parts that lie wholly behind an early row enter as exp(-inf - -inf)",
    REDUCE,
    _line(
        REDUCE,
        "peak = tl.full([ROWS], -3.4028234663852886e38, tl.float32)",
        'peak = tl.full([ROWS], float("-inf"), tl.float32)',
    ),
    _groups,
    frozenset({"nonfinite"}),
)

_fault(
    "empty-kv-split",
    "ROCm/aiter#3641",
    "parts without keys take part in the merge with whatever lies in their output",
    REDUCE,
    _line(REDUCE, 'live = lse > float("-inf")', "live = known & (start + step < last)"),
    _groups,
)

_fault(
    "lse-base2-vs-natural",
    "vllm-project/vllm#43919",
    "the parts' natural LSEs are read as powers of two",
    REDUCE,
    _line(REDUCE, "weight = tl.exp(lse - highest)", "weight = tl.exp2(lse - highest)"),
    _groups,
)

_fault(
    "mla-group-of-one-merged",
    "ROCm/aiter csrc/kernels/mla/reduce.cu: groups of fewer than two parts are skipped",
    "a group of one part is written, although stage one has written its rows",
    REDUCE,
    _line(REDUCE, "if last - first >= 2:", "if last - first >= 1:"),
    lambda case: case["parts"] == "mixed",
    VALUES | MEMORY,
)

_fault(
    "mla-parts-unweighted",
    "ROCm/aiter op_tests/test_mla_reduce.py",
    "parts are averaged whatever their LSE",
    REDUCE,
    _line(
        REDUCE,
        "weight = tl.exp(lse - highest)",
        "weight = tl.where(live, 1.0, tl.exp(lse - highest))",
    ),
    _groups,
)

_fault(
    "mla-partial-offset-int32",
    "ROCm/aiter#4244",
    "partial row times stride is computed in 32 bits and wraps beyond 2^31",
    REDUCE,
    _line(
        REDUCE,
        "part_base = part_row * part_row_stride + head.to(tl.int64) * part_head_stride",
        "part_base = part_row.to(tl.int32) * part_row_stride.to(tl.int32) + head * part_head_stride",
    ),
    lambda case: case.recipe == "wide",
    VALUES | MEMORY,
)


def _smaller(operands: Operands) -> Operands:
    """Buffers for one request less than are planned."""
    rows = operands.inputs["last_page_lens"].numel()
    short = {
        name: tensor if name == "work_indptr" else tensor[: len(tensor) * (rows - 1) // rows - 3].clone()
        for name, tensor in operands.outputs.items()
    }
    return replace(operands, outputs=short)


_fault(
    "ps-buffers-sized-by-max-num-seqs",
    "vllm-project/vllm#41016",
    "the buffers are sized for fewer requests than a captured graph plans",
    PLAN,
    ChangeInputs(_smaller),
    lambda _: True,
    frozenset({"crash"}),
)

BYTES = frozenset({"bytes"})

_fault(
    "mla-plan-tail-not-repeated",
    "vLLM dense MLA decode: unused reduce_indptr rows repeat the last value",
    "the rows of reduce_indptr behind the last tile keep what they held",
    PLAN,
    _line(PLAN, "for first in range(group + 1, groups + 1, LANES):", "for first in range(group + 1, 0, LANES):"),
    lambda _: True,
    BYTES,
)

_fault(
    "mla-plan-charge-forgotten",
    "ROCm/aiter csrc/kernels/mla/metadata: every item is charged",
    "items are not charged to their workgroup, which then holds more than its quota",
    PLAN,
    _line(PLAN, "left = left - take - OVERHEAD", "left = left - take"),
    # A charge is as much as 256 keys there.
    lambda case: case["policy"] == "v1.2" and case.block_size == 1 and case["requests"] == 7,
    BYTES,
)

_fault(
    "mla-plan-cut-leaves-blind-row",
    "ROCm/aiter#2106",
    "a cut falls among the last keys, of which the first row of a tile sees none",
    PLAN,
    _line(
        PLAN, "whole = (left >= rest + OVERHEAD) | ((room > 0) & (cut >= barrier))", "whole = left >= rest + OVERHEAD"
    ),
    lambda case: case["keys"] != "mixed" and case["qlen"] == 4,
    BYTES,
)

_fault(
    "mla-plan-page-tail-forgotten",
    "ROCm/aiter get_mla_metadata_v1: kv_last_page_lens are the keys of the last page",
    "the last page counts as full: a plan reads keys that do not exist yet",
    PLAN,
    _line(
        PLAN,
        "return first, tl.where(pages > 0, (pages - 1) * PAGE_SIZE + last, 0)",
        "return first, tl.where(pages > 0, pages * PAGE_SIZE + 0 * last, 0)",
    ),
    # A whole request on one workgroup ends at the same page, however full that is: only cuts tell.
    lambda case: case.block_size > 1 and case["requests"] == 7,
    BYTES,
)
