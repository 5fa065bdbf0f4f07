"""Faults of the Indexer's forward: each changes exactly one thing and reads like the bug it re-creates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import replace

import torch

from rocassay.harness.cases import Case
from rocassay.harness.faults import ChangeDispatch, ChangeInputs, ChangeSource, ChangeVariant, Fault, register
from rocassay.harness.faults.fault import Seam
from rocassay.harness.inputs import Operands
from rocassay.kernels.indexer.forward_variant import ForwardDispatch, ForwardVariant
from rocassay.kernels.rope.dispatch import RopeLayout
from rocassay.kernels.rope.implementations import ROPES
from rocassay.references.rope.rotation import peer_rotate

FORWARD = "indexer_forward"
MODULE = f"rocassay.kernels.indexer.{FORWARD}"
VALUES = frozenset({"bound", "max-z", "worst-row", "nonfinite", "bytes"})
"""Checks that compare an output with the golden."""


def _fault(
    name: str,
    reference: str,
    summary: str,
    seam: Seam,
    applies: Callable[[Case], bool] = lambda _: True,
    caught_by: frozenset[str] = VALUES,
) -> Fault:
    return register(Fault(name, reference, summary, {FORWARD: seam}, applies, caught_by))


def _line(line: str, becomes: str) -> ChangeSource:
    return ChangeSource(MODULE, line, becomes)


def _fused(case: Case) -> bool:
    return case["path"] == "fused"


def _many(case: Case) -> bool:
    """Whether the case has tokens enough that some lie at positions which turn every pair."""
    return case.integer("tokens") > 2


def _with_rope(name: str) -> ChangeVariant:
    """The path stays what it was; the RoPE it is given is of the other kind."""
    return ChangeVariant(lambda variant: replace(variant, rope=replace(variant.rope, rope=ROPES[name])))


_fault(
    "rope-not-inplace-fast-path",
    "vllm-project/vllm#43781",
    "the fast path ignores what the RoPE returns, but the one it is given returns copies: q and k stay as they were",
    _with_rope("native"),
    lambda case: not _fused(case) and case["rope"] == "custom_op" and _many(case),
)

_fault(
    "rope-inplace-fed-to-concatenation",
    "vllm-project/vllm#43781",
    "the functional path is given a RoPE that works in place: the result is right, but the caller's q and k are spoilt",
    _with_rope("custom_op"),
    lambda case: not _fused(case) and case["rope"] != "custom_op" and case["out"] == "new" and _many(case),
    frozenset({"inputs"}),
)


def _gate(dispatch: ForwardDispatch) -> ForwardDispatch:
    return replace(dispatch, rope=replace(dispatch.rope, inplace=lambda rope: rope.enabled))


_fault(
    "indexer-rope-gate-is-enabled",
    "vllm-project/vllm#43781",
    "the fast path is taken whenever the custom op is switched on, also for YaRN, whose HIP forward returns copies",
    ChangeDispatch(_gate),
    lambda case: not _fused(case) and case["rope"] == "yarn" and _many(case),
)


def _neighbours_paired(dispatch: ForwardDispatch) -> ForwardDispatch:
    layout: RopeLayout = replace(dispatch.rope.layouts["v32_indexer"], style="gptj")
    return replace(dispatch, rope=replace(dispatch.rope, layouts={**dispatch.rope.layouts, "v32_indexer": layout}))


_fault(
    "indexer-rope-neox-vs-gptj",
    "sgl-project/sglang#13530",
    "the V3.2 indexer pairs neighbours, as MLA does, instead of halves",
    ChangeDispatch(_neighbours_paired),
    lambda case: case["tensor"] == "v32_indexer" and _many(case),
)


def _rotated_by_the_caller(operands: Operands) -> Operands:
    """q and k as the caller's own RoPE left them."""
    where, cache = operands.inputs["positions"], operands.inputs["cos_sin_cache"]

    def turned(tensors: Mapping[str, torch.Tensor]) -> dict[str, torch.Tensor]:
        return {name: _turned(t, where, cache) if name in ("q", "k") else t for name, t in tensors.items()}

    return replace(operands, inputs=turned(operands.inputs), outputs=turned(operands.outputs))


def _turned(tensor: torch.Tensor, where: torch.Tensor, cache: torch.Tensor) -> torch.Tensor:
    by_heads = tensor if tensor.dim() == 3 else tensor[:, None]
    return peer_rotate(by_heads, where, cache, style="neox", span="first").view(tensor.shape)


_fault(
    "double-rope",
    "sgl-project/sglang#24148",
    "the fused path rotates although its caller has already done so: norms are kept, phases doubled",
    ChangeInputs(_rotated_by_the_caller),
    lambda case: case["tensor"] == "v32_indexer" and _many(case),
)

_fault(
    "q-ue8m0-rounding-missing",
    "ROCm/aiter#3451",
    "the key path rounds its scale up to a power of two, the query path does not",
    ChangeVariant(lambda variant: replace(variant, q_scale_fmt="float")),
)

_fault(
    "ue8m0-rounded-after-quantising",
    "sgl-project/sglang#28418",
    "values are divided by the exact scale, then only the stored scale is rounded up to a power of two",
    _line("query_divisor = query_scale", "query_divisor = query_exact"),
    _fused,
)

_fault(
    "e8m0-zero-amax-block",
    "ROCm/aiter#4195",
    "the amax has no floor: a query of zeros gets scale 0 and NaN codes",
    _line(
        "query_amax = tl.maximum(_largest(first, second, kept), 1e-10)",
        "query_amax = _largest(first, second, kept)",
    ),
    _fused,
)

_fault(
    "indexer-forward-caches-unrotated-key",
    "vllm-project/vllm#43781",
    "queries take what the RoPE returned, the cache writer still takes the key that went in",
    _line("cached_k = rotated_k", "cached_k = k"),
    lambda case: not _fused(case) and case["out"] == "new" and _many(case),
)

_fault(
    "q-quant-floor-of-the-key-writer",
    "vLLM indexer: the query's amax is floored at 1e-10, the key's at 1e-4",
    "the query quantiser takes the key writer's floor: small queries lose their bits",
    _line(
        "query_amax = tl.maximum(_largest(first, second, kept), 1e-10)",
        "query_amax = tl.maximum(_largest(first, second, kept), 1e-4)",
    ),
    _fused,
)

_fault(
    "indexer-weights-without-query-scale",
    "vLLM models/deepseek_v2.py: the indexer's weights carry the query's scale",
    "the fused kernel leaves the query's scale out of the head weights",
    _line("scaled = weight * query_scale", "scaled = weight * 1.0"),
    _fused,
)


def _ocp(variant: ForwardVariant) -> ForwardVariant:
    quant, write = replace(variant.quant, fp8="e4m3fn"), replace(variant.write, fp8="e4m3fn")
    return replace(variant, quant=quant, write=write)


_fault(
    "dsv4-hardcoded-float8e4nv",
    "vllm-project/vllm#41812",
    "codes are e4m3fn whatever the platform's flavour: a factor of 2 that keeps every ranking",
    ChangeVariant(_ocp),
    lambda case: case.fp8 == "e4m3fnuz",
)


def _always_shuffle(dispatch: ForwardDispatch) -> ForwardDispatch:
    return replace(dispatch, indexer=replace(dispatch.indexer, write_layout=lambda *_: "SHUFFLE"))


_fault(
    "idx-shuffle-at-bs1",
    "vllm-project/vllm#43781",
    "the writer tiles every page, although a page of one token can only be linear",
    ChangeDispatch(_always_shuffle),
    lambda case: case.block_size == 1,
)

PAGE_BASE = "page_base = block * cache_block_stride"

_fault(
    "paged-stride-assumed-contiguous",
    "ROCm/aiter#3498",
    "the page stride is rebuilt from the block size instead of taken from the tensor",
    _line(PAGE_BASE, "page_base = block * (BLOCK_SIZE * 132)"),
    lambda case: _fused(case) and case.recipe in ("padded", "wide"),
)

_fault(
    "indexer-block-id-int32",
    "vllm-project/vllm#46222",
    "block id times page stride is computed in 32 bits and wraps beyond 2^31",
    _line(PAGE_BASE, "page_base = block.to(tl.int32) * cache_block_stride"),
    lambda case: _fused(case) and case.recipe == "wide",
)
