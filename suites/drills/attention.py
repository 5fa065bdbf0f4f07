"""Faults of the sparse attention family: each changes exactly one thing and reads like the bug it re-creates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from rocassay.harness.cases import Case
from rocassay.harness.faults import ChangeDispatch, ChangeSource, ChangeVariant, Fault, register
from rocassay.harness.faults.fault import Seam
from rocassay.harness.ops import op_named

PREFILL, DECODE = "sparse_attn_prefill", "sparse_attn_decode"
KERNELS = "rocassay.kernels.attention"
VALUES = frozenset({"bound", "max-z", "worst-row", "nonfinite"})
"""Checks that compare an output with the golden."""


def _fault(
    name: str,
    reference: str,
    summary: str,
    seams: Mapping[str, Seam],
    applies: Callable[[Case], bool],
    caught_by: frozenset[str] = VALUES,
    engines: frozenset[str] = frozenset(),
) -> Fault:
    return register(Fault(name, reference, summary, seams, applies, caught_by, engines))


def _line(op: str, line: str, becomes: str) -> ChangeSource:
    return ChangeSource(f"{KERNELS}.{op}", line, becomes)


def _both(line: str, becomes: str) -> dict[str, Seam]:
    return {op: _line(op, line, becomes) for op in (PREFILL, DECODE)}


def _edges(case: Case) -> bool:
    return case["lists"] == "edges"


def _split(case: Case) -> bool:
    return case.op == DECODE and case["path"] == "auto"


_fault(
    "unfilled-last-page-nan",
    "flashinfer-ai/flashinfer#941, Dao-AILab/flash-attention#1745",
    "weights of dead lanes are 0, but their values are loaded: 0 * NaN",
    {
        PREFILL: _line(
            PREFILL, "seen = valid[:, None]", "row_base = tl.where(valid, row_base, 0)\nseen = row_base[:, None] >= 0"
        ),
        DECODE: _line(
            DECODE,
            "page = slot // BLOCK_SIZE",
            "slot = tl.where(valid, slot, 0)\nvalid = slot >= 0\npage = slot // BLOCK_SIZE",
        ),
    },
    lambda case: case.recipe != "padded",
)

_fault(
    "zero-len-pad-nan-poisons-batch",
    "vllm-project/vllm#57094, flashinfer-ai/flashinfer#2883",
    "a row without keys is divided by its sum of weights: 0 / 0",
    _both("share = rescale / tl.where(total == 0.0, 1.0, total)", "share = rescale / total"),
    lambda case: _edges(case) and not _split(case),
)

_fault(
    "sparse-attn-missed-rescale",
    "Triton tutorial 06-fused-attention: a risen maximum rescales the accumulator",
    "the accumulator keeps its scale when a later tile raises the maximum",
    _both("result = result * rescale[:, None]", "result = result * 1.0"),
    # A single tile, and a first one without weight, hide it.
    lambda case: _edges(case) and (not _split(case) or case.integer("extra") > 0),
)

_fault(
    "sparse-attn-sink-forgotten",
    "vllm-project/vllm#41812",
    "the sink moves the maximum, but takes no weight",
    _both("total = total * rescale + tl.exp2(sink - highest)", "total = total * rescale"),
    lambda case: case["sink"] == "mixed" and not _split(case),
)

_fault(
    "sparse-attn-hole-attends-to-row-zero",
    "vllm-project/vllm#45324",
    "an invalid index becomes 0, a legal row that belongs to another request",
    {
        PREFILL: _line(PREFILL, "valid = (row >= 0) & (row < rows)", "row = tl.maximum(row, 0)\nvalid = row < rows"),
        DECODE: _line(
            DECODE, "valid = (slot >= 0) & (slot < capacity)", "slot = tl.maximum(slot, 0)\nvalid = slot < capacity"
        ),
    },
    _edges,
)

_fault(
    "sparse-attn-tile-follows-batch",
    "vllm-project/vllm#48391",
    "an odd number of tokens gets narrower tiles of keys: other partial sums, other last bits",
    {PREFILL: _line(PREFILL, "BLOCK_K=variant.block_k,", "BLOCK_K=variant.block_k // (1 + tokens % 2),")},
    lambda case: op_named(case.op).probed(case),
    caught_by=frozenset({"batch"}),
)

_fault(
    "sparse-decode-splits-follow-batch",
    "vllm-project/vllm#53257",
    "the number of splits that the caller asked for gives way to the batch: a query's bits depend on its neighbours",
    {
        DECODE: _line(
            DECODE,
            "splits = variant.splits(batch, heads, swa_ragged_indices.numel(), listed)",
            "splits = variant.splits(batch, heads, swa_ragged_indices.numel(), listed)\nsplits -= batch % 2",
        )
    },
    lambda case: op_named(case.op).probed(case) and _split(case) and case.integer("splits") > 1,
    caught_by=frozenset({"batch"}),
)

_fault(
    "sparse-attn-scale-applied-twice",
    "vllm-project/vllm#41812",
    "the queries come prescaled and the scores are scaled once more",
    _both("score = score * scale_log2", "score = score * scale_log2 * scale_log2"),
    _edges,
)

_fault(
    "sparse-attn-last-key-dropped",
    "vLLM ragged sparse attention: a query's keys are indptr[i] : indptr[i + 1], the last one included",
    "the mask of the last tile ends one key too early",
    {
        PREFILL: _line(
            PREFILL,
            "row = tl.load(ragged_indices + position, mask=position < end, other=-1)",
            "row = tl.load(ragged_indices + position, mask=position < end - 1, other=-1)",
        ),
        DECODE: _line(
            DECODE,
            "slot = tl.load(indices + position, mask=position < end, other=-1)",
            "slot = tl.load(indices + position, mask=position < end - 1, other=-1)",
        ),
    },
    _edges,
)

_fault(
    "sparse-attn-tail-dims-left-out",
    "vllm-project/vllm#41812",
    "scores are made of the first 512 dims, the RoPE part of a 576-wide row is left out",
    {
        PREFILL: _line(
            PREFILL,
            "score = tl.dot(query_tail, tl.trans(key_tail), score, out_dtype=tl.float32)",
            "score = score * 1.0",
        )
    },
    lambda case: case["dim"] == 576,
)

_fault(
    "sparse-attn-offset-int32",
    "vllm-project/vllm#54019, #46222",
    "row or page times stride is computed in 32 bits and wraps beyond 2^31",
    {
        PREFILL: _line(PREFILL, "row_base = row.to(tl.int64) * kv_stride", "row_base = row * kv_stride.to(tl.int32)"),
        DECODE: _line(
            DECODE, "page_base = page.to(tl.int64) * block_stride", "page_base = page * block_stride.to(tl.int32)"
        ),
    },
    lambda case: case.recipe == "wide",
    VALUES | {"bounds", "crash"},
)

_fault(
    "empty-kv-split",
    "ROCm/aiter#3641",
    "splits without keys take part in the merge with whatever lies in their accumulator",
    {DECODE: _line(DECODE, "live = mass != 0.0", "live = here")},
    lambda case: _split(case) and _edges(case),
)

_fault(
    "sparse-decode-sink-per-split",
    "vllm-project/vllm#41812",
    "every split adds the sink, which the merge must add once",
    {DECODE: _line(DECODE, "total += tl.exp(sink - highest)", "total += splits * tl.exp(sink - highest)")},
    lambda case: _split(case) and case["sink"] == "mixed" and case.integer("splits") > 1,
)

_fault(
    "sparse-decode-part-max-in-base-2",
    "vllm-project/vllm#43919",
    "the split's maximum stays in base-2 units, the merge reads natural ones",
    {
        DECODE: _line(
            DECODE,
            "natural = tl.where(total == 0.0, -3.4028234663852886e38, peak * 0.6931471805599453)",
            "natural = tl.where(total == 0.0, -3.4028234663852886e38, peak)",
        )
    },
    lambda case: _split(case) and _edges(case) and case.integer("splits") > 1,
)

_fault(
    "sparse-decode-extra-validated-by-main",
    "vllm-project/vllm#41812",
    "slots of the compressed cache are checked against the capacity of the sliding-window cache",
    {DECODE: _line(DECODE, "capacity = extra_capacity", "capacity = main_capacity")},
    lambda case: _edges(case) and case.integer("extra") > 0,
)

_fault(
    "mixed-main-fnuz-extra-ocp-reader",
    "vllm-project/vllm#42893, #45681",
    "one flag for two caches: the compressed cache is read in the platform's flavour, although it is always OCP",
    {
        DECODE: ChangeVariant(
            lambda variant: replace(variant, extra_fp8=variant.main_fp8, extra_native=variant.main_native)
        )
    },
    lambda case: case.fp8 == "e4m3fnuz" and case.integer("extra") > 0,
)

_fault(
    "sparse-decode-hardcoded-float8e4nv",
    "vllm-project/vllm#41812",
    "the sliding-window cache is taken for e4m3fn whatever the platform's flavour",
    {
        DECODE: ChangeVariant(
            lambda variant: replace(variant, main_fp8=variant.extra_fp8, main_native=variant.extra_native)
        )
    },
    lambda case: case.fp8 == "e4m3fnuz",
)

_fault(
    "sparse-decode-scales-interleaved",
    "vllm-project/vllm#41812",
    "the scales are looked for behind each token's data instead of behind all tokens'",
    {
        DECODE: _line(
            DECODE,
            "scale_base = page_base + BLOCK_SIZE * 576 + place * 8",
            "scale_base = page_base + place * 584 + 576",
        )
    },
    _edges,
)

_fault(
    "sparse-decode-stride-assumed-contiguous",
    "ROCm/aiter#3498",
    "the page stride is rebuilt from the block size, although pages start at multiples of 576 bytes",
    {
        DECODE: _line(
            DECODE,
            "page_base = page.to(tl.int64) * block_stride",
            "page_base = page.to(tl.int64) * (BLOCK_SIZE * 584)",
        )
    },
    _edges,
)

_fault(
    "sparse-decode-nan-not-scrubbed",
    "vllm-project/vllm#41812",
    "a NaN in a listed row reaches the scores of every head",
    {DECODE: _line(DECODE, "row = tl.where(row == row, row, 0.0)", "row = row * 1.0")},
    _edges,
)

_fault(
    "sparse-decode-not-split-on-gfx950",
    "vllm-project/vllm#42062",
    "the guard names gfx942 only: gfx950 silently walks all keys of a query in one program",
    {DECODE: ChangeDispatch(lambda dispatch: replace(dispatch, split_arches=frozenset({"gfx942"})))},
    lambda case: case.arch == "gfx950" and case["path"] == "auto",
    frozenset({"dispatch"}),
)

_LOOP = "for start in range(begin, end, BLOCK_K):"
_POSITION = "    position = start + tl.arange(0, BLOCK_K)\n"

_fault(
    "two-pass-decode",
    "vllm-project/vllm#41812",
    "the list is walked once for the maximum and once more for the weighted sum: every row is loaded twice",
    {
        PREFILL: _line(
            PREFILL,
            _LOOP,
            f"{_LOOP}\n{_POSITION}"
            "    row = tl.load(ragged_indices + position, mask=position < end, other=-1)\n"
            "    valid = (row >= 0) & (row < rows)\n"
            "    row_base = row.to(tl.int64) * kv_stride\n"
            "    key = tl.load(kv + row_base[:, None] + dim[None, :], mask=valid[:, None], other=0.0)\n"
            "    score = tl.dot(query, tl.trans(key), out_dtype=tl.float32)\n"
            "    if TAIL:\n"
            "        tail_valid = valid[:, None] & in_row[None, :]\n"
            "        key_tail = tl.load(kv + row_base[:, None] + tail[None, :], mask=tail_valid, other=0.0)\n"
            "        score = tl.dot(query_tail, tl.trans(key_tail), score, out_dtype=tl.float32)\n"
            '    score = tl.where(valid[None, :], score * scale_log2, float("-inf"))\n'
            "    peak = tl.maximum(peak, tl.max(score, axis=1))\n"
            f"{_LOOP}",
        ),
        DECODE: _line(
            DECODE,
            _LOOP,
            f"{_LOOP}\n{_POSITION}"
            "    slot = tl.load(indices + position, mask=position < end, other=-1)\n"
            "    valid = (slot >= 0) & (slot < capacity)\n"
            "    key = _load_rows(cache, slot, valid, block_stride, BLOCK_SIZE, FORMAT, NATIVE, BLOCK_K)\n"
            "    score = tl.dot(query, tl.trans(key), out_dtype=tl.float32) * scale_log2\n"
            '    score = tl.where(valid[None, :], score, float("-inf"))\n'
            "    highest = tl.maximum(peak, tl.max(score, axis=1))\n"
            "    total = total * tl.exp2(peak - highest)\n"
            "    result = result * tl.exp2(peak - highest)[:, None]\n"
            "    peak = highest\n"
            f"{_LOOP}",
        ),
    },
    _edges,
    frozenset({"traffic"}),
    # Nothing counts what a device loads.
    frozenset({"interpreter"}),
)
