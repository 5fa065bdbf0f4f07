"""Faults of rotary position embedding: each changes exactly one thing and reads like the bug it re-creates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace
from typing import Any

import torch

from rocassay.harness.cases import Case
from rocassay.harness.faults import ChangeDispatch, ChangeInputs, ChangeSource, ChangeVariant, Fault, register
from rocassay.harness.faults.fault import Seam
from rocassay.harness.inputs import Operands
from rocassay.kernels.rope.cos_sin_cache import DEEPSEEK_V32, cos_sin_cache
from rocassay.kernels.rope.dispatch import RopeDispatch, RopeLayout, RopeVariant
from rocassay.kernels.rope.implementations import ROPES, Rope
from rocassay.kernels.rope.indexer_rope_forward import IndexerRopeVariant
from rocassay.references.rope.rotation import peer_rotate

APPLY, INDEXER, INVERSE = "apply_rope", "indexer_rope_forward", "inverse_rope"
KERNELS = "rocassay.kernels.rope"
VALUES = frozenset({"bound", "max-z", "worst-row", "nonfinite", "bytes"})
"""Checks that compare an output with the golden."""


def _fault(
    name: str,
    reference: str,
    summary: str,
    seams: Mapping[str, Seam],
    applies: Callable[[Case], bool],
    caught_by: frozenset[str] = VALUES,
) -> Fault:
    return register(Fault(name, reference, summary, seams, applies, caught_by))


def _tensor(case: Case) -> str:
    return "v4" if case.op == INVERSE else str(case["tensor"])


def _many(case: Case) -> bool:
    """Whether the case has tokens enough that some lie at positions which turn every pair."""
    return case.integer("tokens") > 1


_fault(
    "rope-not-inplace-fast-path",
    "vllm-project/vllm#43781",
    "the fast path ignores what the RoPE returns, but the one it is given returns copies: q and k stay as they were",
    {INDEXER: ChangeVariant(lambda variant: replace(variant, rope=ROPES["native"]))},
    lambda case: case["rope"] == "custom_op",
)

_fault(
    "indexer-rope-gate-is-enabled",
    "vllm-project/vllm#43781",
    "the fast path is taken whenever the custom op is switched on, also for YaRN, whose HIP forward returns copies",
    {INDEXER: ChangeDispatch(lambda dispatch: replace(dispatch, inplace=lambda rope: rope.enabled))},
    lambda case: case["rope"] == "yarn",
)


def _layout(tensor: str, **change: Any) -> Callable[[RopeDispatch], RopeDispatch]:
    def changed(dispatch: RopeDispatch) -> RopeDispatch:
        layout: RopeLayout = replace(dispatch.layouts[tensor], **change)
        return replace(dispatch, layouts={**dispatch.layouts, tensor: layout})

    return changed


_fault(
    "indexer-rope-neox-vs-gptj",
    "sgl-project/sglang#13530",
    "the V3.2 indexer pairs neighbours, as MLA does, instead of halves",
    dict.fromkeys((APPLY, INDEXER), ChangeDispatch(_layout("v32_indexer", style="gptj"))),
    lambda case: case["tensor"] == "v32_indexer" and _many(case),
)


def _twice(variant: IndexerRopeVariant) -> IndexerRopeVariant:
    once = variant.rope.rotate

    def rotate(
        positions: torch.Tensor, q: torch.Tensor, k: torch.Tensor, cache: torch.Tensor, launch: RopeVariant
    ) -> tuple[torch.Tensor, torch.Tensor]:
        return once(positions, *once(positions, q, k, cache, launch), cache, launch)

    rope: Rope = replace(variant.rope, rotate=rotate)
    return replace(variant, rope=rope)


def _rotated_by_the_caller(operands: Operands) -> Operands:
    """q and k as the caller's own RoPE left them; MLA's vectors are nothing but rotated lanes."""
    where, cache = operands.inputs["positions"], operands.inputs["cos_sin_cache"]

    def turned(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {
            name: peer_rotate(tensor, where, cache, style="gptj", span="first") if name in ("q", "k") else tensor
            for name, tensor in tensors.items()
        }

    return replace(operands, inputs=turned(operands.inputs), outputs=turned(operands.outputs))


_fault(
    "double-rope",
    "sgl-project/sglang#24148",
    "the fused path rotates although its caller has already done so: norms are kept, phases doubled",
    {APPLY: ChangeInputs(_rotated_by_the_caller), INDEXER: ChangeVariant(_twice)},
    lambda case: _many(case) and ((case.op == INDEXER and case["rope"] == "custom_op") or case["tensor"] == "mla"),
)

_fault(
    "rope-neox-hardcoded",
    "vllm-project/vllm#49290",
    "the kernel pairs halves whatever style the model asks for",
    dict.fromkeys((APPLY, INVERSE), ChangeVariant(lambda variant: replace(variant, style="neox"))),
    lambda case: _many(case) and _tensor(case) != "v32_indexer" and case.recipe != "wide",
)

_fault(
    "rope-first-instead-of-last",
    "ROCm/aiter#136",
    "the kernel knows one order of rotated and other lanes and rotates the wrong end of the head",
    dict.fromkeys((APPLY, INVERSE), ChangeDispatch(_layout("v4", span="first"))),
    lambda case: _tensor(case).startswith("v4") and case.recipe != "wide",
)

_fault(
    "rope-query-assumed-contiguous",
    "vllm-project/vllm#17091",
    "rows are addressed as if q were contiguous, although MLA passes a slice of wider heads",
    {
        APPLY: ChangeSource(
            f"{KERNELS}.{APPLY}",
            "source_at = token * source_token_stride + head * source_head_stride",
            "source_at = (token * heads + head) * (2 * HALF + KEPT_LANES)",
        )
    },
    lambda case: case.recipe == "padded",
)


def _without_yarn(operands: Operands) -> Operands:
    cache = operands.inputs["cos_sin_cache"]
    plain = cos_sin_cache(replace(DEEPSEEK_V32, factor=1.0), cache.shape[0])
    return replace(operands, inputs={**operands.inputs, "cos_sin_cache": torch.where(cache.isnan(), cache, plain)})


_fault(
    "rope-yarn-missing",
    "pytorch/torchtitan#4117",
    "the cache is built from the unscaled frequencies: right at first, wrong from the slow pairs' first turns on",
    dict.fromkeys((APPLY, INDEXER, INVERSE), ChangeInputs(_without_yarn)),
    lambda case: _many(case) and case.recipe in ("tagged", "far"),
)

TOKEN_OFFSETS = {
    APPLY: "target_at = token * target_token_stride + head * target_head_stride",
    INVERSE: "out_at = token * out_token_stride + head * out_head_stride",
}
"""Per op, the line that addresses a row of the result."""

_fault(
    "rope-token-offset-int32",
    "vllm-project/vllm#52427",
    "token times stride is computed in 32 bits and wraps beyond 2^31 elements",
    {
        op: ChangeSource(f"{KERNELS}.{op}", line, line.replace("= token *", "= token.to(tl.int32) *"))
        for op, line in TOKEN_OFFSETS.items()
    },
    lambda case: case.recipe == "wide",
    VALUES | {"bounds", "crash"},
)

_fault(
    "inverse-rope-turns-forward",
    "hw-native-sys/pypto-lib#186",
    "the sine has the forward sign, the open question of a review: outputs turn on instead of back",
    {
        INVERSE: ChangeSource(
            f"{KERNELS}.{INVERSE}",
            "turned_first = first * cos + second * sin",
            "turned_first = first * cos - second * sin",
        )
    },
    lambda case: case.recipe != "wide",
)
