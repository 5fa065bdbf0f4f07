"""Faults of the top-k family: each changes exactly one thing and reads like the bug it re-creates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from rocassay.harness.cases import Case
from rocassay.harness.faults import ChangeInputs, ChangeSource, Fault, register
from rocassay.harness.faults.fault import Seam
from rocassay.harness.inputs import Operands

PREFILL, DECODE = "top_k_per_row_prefill", "top_k_per_row_decode"
KERNELS = "rocassay.kernels.topk"
CHOSEN = frozenset({"selection"})
"""The check that compares the chosen places with the scores."""

MEMORY = frozenset({"selection", "bounds", "canary", "crash"})
"""What sees a store beside the slots: on a device it may also end the context."""


def _fault(
    name: str,
    reference: str,
    summary: str,
    seams: Mapping[str, Seam],
    applies: Callable[[Case], bool],
    caught_by: frozenset[str] = CHOSEN,
) -> Fault:
    return register(Fault(name, reference, summary, seams, applies, caught_by))


def _line(op: str, line: str, becomes: str) -> dict[str, Seam]:
    return {op: ChangeSource(f"{KERNELS}.{op}", line, becomes)}


_fault(
    "topk-ties-cross-rank",
    "ROCm/aiter#4376",
    "equal scores claim slots in the order of arrival: two ranks with the same scores attend to different keys",
    _line(
        PREFILL,
        "taken = above | (tied & (tied_before < wanted))",
        "late = tl.where(tl.program_id(0) % 2 == 1, tl.minimum(tl.sum(tied.to(tl.int32), axis=0) - wanted, 1), 0)\n"
        "taken = above | (tied & (tied_before >= late) & (tied_before < wanted + late))\n"
        "tied_before = tl.maximum(tied_before - late, 0)",
    ),
    lambda case: case["data"] == "ties" and case["path"] == "auto" and case["lengths"] == "edges",
    frozenset({"replicas"}),
)

_fault(
    "topk-absolute-indices",
    "ROCm/aiter#2901",
    "places are columns of the scores instead of places in the window, and nobody subtracts the window's start",
    _line(PREFILL, "first_place = 0", "first_place = start"),
    lambda case: case["lengths"] != "short",
)

_fault(
    "topk-localised-padding",
    "vllm-project/vllm#25945",
    "the window's start is subtracted from unused slots too: -1 becomes another negative number",
    _line(
        PREFILL,
        "list_short_row(out, length, topk, first_place, SLOTS)",
        "list_short_row(out, length, topk, first_place, SLOTS)\n"
        "tail = length + tl.arange(0, SLOTS)\n"
        "tl.store(out + tail, -1 - start + 0 * tail, mask=tail < topk)",
    ),
    lambda case: case["lengths"] == "edges",
)

_fault(
    "topk-duplicate-emission",
    "vllm-project/vllm#27568",
    "what the first step has emitted is emitted again by the second: places come twice",
    _line(PREFILL, "for tile in range(1, tiles):", "for tile in range(0, tiles):"),
    lambda case: case["path"] == "tiled",
)

_fault(
    "topk-window-end-ignored",
    "vllm-project/vllm#25945",
    "columns behind the window take part, and what they hold outranks every score",
    _line(PREFILL, "end = tl.minimum(tl.load(row_ends + row), columns)", "end = columns"),
    lambda case: case["lengths"] != "short",
)

_fault(
    "topk-low-bits-ignored",
    "vllm-project/vllm#27568",
    "the last digit of the radix is never refined: scores that agree in the upper bits are taken as equal",
    _line(PREFILL, "for step in range(4):", "for step in range(3):"),
    lambda case: case["data"] == "lowbits",
)

_fault(
    "topk-fp16-histogram",
    "vllm-project/vllm#51782",
    "scores are ranked by an fp16 key that is never refined: beyond 65504 all are equal",
    _line(
        PREFILL,
        "bits = value.to(tl.uint32, bitcast=True)",
        "bits = value.to(tl.float16).to(tl.float32).to(tl.uint32, bitcast=True)",
    ),
    lambda case: case["data"] in ("huge", "lowbits", "denormals"),
)

_fault(
    "topk-negative-order",
    "vllm-project/vllm#27568",
    "only the sign bit is flipped: among negative scores the smallest are taken for the largest",
    _line(PREFILL, "return bits ^ flipped", "return bits ^ 0x80000000"),
    lambda case: case["data"] == "negative",
)

_fault(
    "topk-negative-length",
    "sgl-project/sglang#31123",
    "a request shorter than next_n has rows of negative length, whose unused slots start before the buffer",
    _line(DECODE, "return tl.maximum(length, 0)", "return length"),
    lambda case: case["next_n"] != 1 and case["lengths"] == "edges",
    MEMORY,
)

_fault(
    "topk-next-n-by-modulo",
    "ROCm/aiter#4661",
    "rows are counted request by request although they lie step by step: each takes another request's length",
    _line(DECODE, "request = row // NEXT_N", "request = row % (tl.num_programs(0) // NEXT_N)"),
    lambda case: case["next_n"] != 1 and case["lengths"] == "edges",
    MEMORY,
)

_fault(
    "topk-part-local-indices",
    "ggml-org/llama.cpp#28871",
    "candidates are places in their part: after the merge every key belongs to the row's first part",
    _line(DECODE, "first_place = start", "first_place = start * 0"),
    lambda case: case["path"] == "split",
)

_fault(
    "topk-pitch-assumed-contiguous",
    "ROCm/aiter#3498",
    "the pitch of the scores is taken to be their number of columns",
    {
        op: ChangeSource(
            f"{KERNELS}.{op}",
            "row_base = row.to(tl.int64) * logits_stride",
            "row_base = row.to(tl.int64) * columns * column_stride",
        )
        for op in (PREFILL, DECODE)
    },
    lambda case: case.recipe in ("padded", "strided", "wide") and case["path"] != "split",
)

_fault(
    "topk-slots-pitch-assumed-k",
    "vllm-project/vllm#42072",
    "the pitch of the slots is taken to be k: rows are written one into the other",
    {
        op: ChangeSource(
            f"{KERNELS}.{op}",
            "slots_base = row.to(tl.int64) * indices_stride",
            "slots_base = row.to(tl.int64) * topk",
        )
        for op in (PREFILL, DECODE)
    },
    lambda case: case.recipe == "padded" and case["path"] != "split" and case["lengths"] == "edges",
    MEMORY,
)

_fault(
    "topk-row-offset-32bit",
    "ROCm/aiter#4673",
    "the byte offset of a row keeps 31 bits: rows beyond 2^31 bytes alias earlier ones",
    {
        op: ChangeSource(
            f"{KERNELS}.{op}",
            "row_base = row.to(tl.int64) * logits_stride",
            "row_base = ((row.to(tl.int64) * logits_stride * 4) & 2147483647) // 4",
        )
        for op in (PREFILL, DECODE)
    },
    lambda case: case.recipe == "wide",
)


def _permuted(operands: Operands) -> Operands:
    """Every row's visible scores in the opposite order: what a scoring kernel that loses the order hands over."""
    logits = operands.inputs["logits"].clone()
    for row, hidden in zip(logits, operands.unread["logits"], strict=True):
        row[~hidden] = row[~hidden].flip(0)
    return replace(operands, inputs={**operands.inputs, "logits": logits})


_fault(
    "stage1-logits-wrong-past-k",
    "vllm-project/vllm#39303",
    "scores come permuted: a row of at most k keys cannot show it (lengths `short`), the first longer one is garbage",
    dict.fromkeys((PREFILL, DECODE), ChangeInputs(_permuted)),
    lambda case: case["lengths"] != "short",
)

_fault(
    "graph-row-stride-baked",
    "vllm-project/vllm#51318, vllm-project/vllm#52448",
    "rows lie as far apart as the buffer is wide and are read as far apart as the batch's longest row is: right while "
    "the graph is captured at full length, wrong in every row but the first when it is replayed on shorter ones",
    _line(
        DECODE,
        "row_base = row.to(tl.int64) * logits_stride",
        "request = tl.arange(0, 64)\n"
        "last = request * lens_stride + (NEXT_N - 1) * step_stride\n"
        "lens = tl.load(seq_lens + last, mask=request < tl.num_programs(0) // NEXT_N, other=0)\n"
        "width = (tl.max(lens, axis=0) + 16) // 4 * 4\n"
        "row_base = row.to(tl.int64) * (logits_stride - columns + width)",
    ),
    lambda case: case["path"] != "split" and case["lengths"] == "edges" and case.recipe != "wide",
    frozenset({"replay"}),
)
