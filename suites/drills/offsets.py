"""Faults of 32-bit addressing in ops of several families: what the hardware does with an offset that is too large."""

from __future__ import annotations

from rocassay.harness.faults import ChangeSource, Fault, register

LOGITS = "fp8_paged_mqa_logits"

register(
    Fault(
        name="mqa-logits-kv-offset-int32",
        reference="ROCm/aiter#4774, vllm-project/vllm#52109",
        summary="key loads take a byte offset of 32 bits: what lies from 2^31 - 2 on reads as 0 and scores exactly 0",
        seams={
            LOGITS: ChangeSource(
                f"rocassay.kernels.indexer.{LOGITS}",
                "code = tl.load(kv_cache + source, mask=live[:, None], other=0)",
                "code = tl.load(kv_cache + source, mask=live[:, None] & (source < 2147483646), other=0)",
            )
        },
        applies=lambda case: case.recipe == "wide",
        caught_by=frozenset({"bound", "max-z", "worst-row", "nonfinite"}),
    )
)
