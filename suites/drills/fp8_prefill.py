"""Faults of the FP8 prefill family: each changes exactly one thing and reads like the bug it re-creates."""

from __future__ import annotations

from collections.abc import Callable

from rocassay.harness.cases import Case
from rocassay.harness.faults import ChangeSource, Fault, register
from rocassay.harness.faults.fault import Seam

PREFILL = "mla_prefill_ps"
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
    "rows are taken for the first tokens of their request: the keys of earlier chunks move the causal edge nowhere",
    {PREFILL: _line(PREFILL, "limit = tl.minimum(own_key + 1, key_end)", "limit = tl.minimum(row + 1, key_end)")},
    lambda case: case["segments"] == "chunked",
)
