"""Faults of packing and unpacking: each changes exactly one thing and reads like the bug it re-creates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

from rocassay.harness.cases import Case
from rocassay.harness.faults import ChangeInputs, ChangeSource, Fault, register
from rocassay.harness.faults.fault import Seam
from rocassay.harness.inputs import Operands

PACK, UNPACK = "pack_seq", "unpack_seq"
KERNELS = "rocassay.kernels.topk"
CONTRACT = "vllm-project/vllm#25869"
"""Where the two kernels came in, and a review found starts and lengths mixed up."""
MEMORY = frozenset({"bytes", "bounds", "canary", "crash"})
"""What sees a store beside the rows: on a device it may also end the context."""


def _fault(
    name: str,
    summary: str,
    seams: Mapping[str, Seam],
    applies: Callable[[Case], bool],
    reference: str = CONTRACT,
) -> Fault:
    return register(Fault(name, reference, summary, seams, applies, MEMORY))


def _line(op: str, line: str, becomes: str) -> Seam:
    return ChangeSource(f"{KERNELS}.{op}", line, becomes)


def _at_least_one(operands: Operands) -> Operands:
    lengths = operands.inputs["lengths"].clamp(min=1)
    return replace(operands, inputs={**operands.inputs, "lengths": lengths})


_fault(
    "pack-empty-request-counted",
    "a request without rows is counted as one: all later requests are one row off",
    dict.fromkeys((PACK, UNPACK), ChangeInputs(_at_least_one)),
    lambda case: case["lengths"] in ("empties", "tiles", "far"),
)

_fault(
    "pack-prefix-inclusive",
    "the running sum of lengths includes the request itself",
    {
        PACK: _line(PACK, "source = first_row + position", "source = first_row + length + position"),
        UNPACK: _line(UNPACK, "target = first_row + position", "target = first_row + length + position"),
    },
    lambda case: case["lengths"] != "none",
)

_fault(
    "pack-padding-left-stale",
    "only rows are written: positions beyond a request keep what the buffer held",
    {
        PACK: _line(
            PACK,
            "written = (position < longest)[:, None] & inside[None, :]",
            "written = (present & (position < longest))[:, None] & inside[None, :]",
        )
    },
    lambda case: case["lengths"] != "equal",
)

_fault(
    "pack-flavour-of-padding",
    "the padding of e4m3fnuz rows is cast as e4m3fn: its NaN is 240 there",
    {PACK: _line(PACK, "padding_bits(x.dtype, pad_value),", "padding_bits(torch.float8_e4m3fn, pad_value),")},
    lambda case: case["dtype"] == "fp8" and case.fp8 == "e4m3fnuz",
    "vllm-project/vllm#41812",
)

_fault(
    "pack-longer-than-the-batch",
    "the batch is taken to be as long as its longest request: rows beyond it land in the next request",
    {
        PACK: _line(
            PACK,
            "written = (position < longest)[:, None] & inside[None, :]",
            "written = (position < tl.maximum(longest, length))[:, None] & inside[None, :]",
        )
    },
    lambda case: case["lmax"] == "cut",
)

_fault(
    "unpack-padding-copied",
    "padding is copied too: it lands in the rows of later requests and of nobody",
    {
        UNPACK: _line(
            UNPACK,
            "present = (position < length) & (position < longest) & (target < rows)",
            "present = (position < longest) & (target < rows)",
        )
    },
    lambda case: case["lengths"] in ("empties", "none") or (case["lengths"] == "tiles" and case["lmax"] == "max"),
)

_fault(
    "pack-row-stride-assumed-contiguous",
    "the pitch of the rows is taken to be their number of elements",
    {
        PACK: _line(PACK, "source_base = source * row_stride", "source_base = source * features"),
        UNPACK: _line(UNPACK, "target_base = target * row_stride", "target_base = target * features"),
    },
    lambda case: case.recipe == "padded",
    "ROCm/aiter#3498",
)

_fault(
    "pack-row-offset-int32",
    "row times stride is computed in 32 bits and wraps beyond 2^31",
    {
        PACK: _line(PACK, "source_base = source * row_stride", "source_base = source.to(tl.int32) * row_stride"),
        UNPACK: _line(
            UNPACK,
            "source_base = request.to(tl.int64) * request_stride + position.to(tl.int64) * position_stride",
            "source_base = request * request_stride + position * position_stride",
        ),
    },
    lambda case: case.recipe == "wide",
    "vllm-project/vllm#46222",
)
