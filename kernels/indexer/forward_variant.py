"""Which kernels one V3.2 Indexer forward launches, made from the RoPE the model holds, target, flavour and shape."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from rocassay.harness.arch import Target
from rocassay.kernels.indexer import dispatch as indexer
from rocassay.kernels.indexer.dispatch import IndexerDispatch, WriteVariant, write_variant
from rocassay.kernels.prefill import dispatch as prefill
from rocassay.kernels.prefill.dispatch import PrefillDispatch, QuantVariant, RowsVariant, quant_variant, rows_variant
from rocassay.kernels.rope import dispatch as rope_tables
from rocassay.kernels.rope.dispatch import RopeDispatch
from rocassay.kernels.rope.implementations import Rope
from rocassay.kernels.rope.indexer_rope_forward import IndexerRopeVariant, indexer_rope_variant

ForwardPath: TypeAlias = Literal["unfused", "fused"]
"""RoPE, quantiser, weights and cache writer one after the other, or all of them in one kernel."""

ScaleFormat: TypeAlias = Literal["ue8m0", "float"]


@dataclass(frozen=True, slots=True)
class ForwardDispatch:
    """The decision tables of the parts; every one can be replaced on its own."""

    rope: RopeDispatch = rope_tables.DISPATCH
    """Which lanes pair up, and whether the RoPE may run on slices with its result ignored."""

    prefill: PrefillDispatch = prefill.DISPATCH
    """What queries are scaled to."""

    indexer: IndexerDispatch = indexer.DISPATCH
    """In which layout keys are stored."""


DISPATCH = ForwardDispatch()
"""The tables as shipped."""


@dataclass(frozen=True, slots=True)
class ForwardVariant:
    """Decisions of one `indexer_forward`."""

    path: ForwardPath
    """One kernel or several."""

    rope: IndexerRopeVariant
    """How the unfused path calls its RoPE; `rope.launch` holds style and tile of both paths."""

    quant: QuantVariant
    """How queries are quantised."""

    weights: RowsVariant
    """How the head weights are tiled."""

    write: WriteVariant
    """How keys are quantised and laid out."""

    q_scale_fmt: ScaleFormat = "ue8m0"
    """DeepSeek-V3.2's queries have power-of-two scales, as its keys have."""

    k_scale_fmt: ScaleFormat = "ue8m0"
    """Kind of the keys' scales."""


def forward_variant(
    target: Target,
    *,
    rope: Rope,
    tensor: str,
    fp8: str,
    block_size: int,
    tokens: int,
    heads: int,
    path: ForwardPath = "unfused",
    dispatch: ForwardDispatch = DISPATCH,
) -> ForwardVariant:
    """Decisions on ROCm for a model whose indexer is `tensor` in the RoPE table and which holds `rope`.

    The fused kernel rotates by itself: whichever RoPE the model holds, it is not called.
    """
    return ForwardVariant(
        path,
        indexer_rope_variant(target, rope=rope, tensor=tensor, tokens=tokens, heads=heads, dispatch=dispatch.rope),
        quant_variant(target, fp8=fp8, dispatch=dispatch.prefill),
        rows_variant(),
        write_variant(target, fp8=fp8, block_size=block_size, ratio=1, dispatch=dispatch.indexer),
    )
