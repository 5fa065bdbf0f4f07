"""MLA prefill, merging and the indexer's RoPE: rows M8 to M10 and M12 (vllm-project/vllm#42509, #43781)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rocassay.kernels.dispatch.decision import Choice, DispatchError
from rocassay.kernels.dispatch.mla_heads import HEADS, HeadTable, MlaDtype
from rocassay.kernels.merge.dispatch import DISPATCH as MERGE
from rocassay.kernels.merge.dispatch import MergeDispatch


@dataclass(frozen=True, slots=True)
class MlaPrefillRequest:
    """Facts of a model and of one prefill batch."""

    arch: str
    """Architecture, a member of `DISPATCH_ARCHES`."""

    heads: int = 16
    """Query heads of the rank."""

    kv_dtype: MlaDtype = "fp8"
    """Element type of the cache."""

    model_dtype: MlaDtype = "bf16"
    """Element type of the model."""

    symbols: bool = True
    """AITER exports the persistent prefill's functions."""

    metadata: bool = True
    """This batch has the persistent prefill's metadata."""

    chunked_context: bool = False
    """This batch has keys from earlier chunks."""

    output_scale: bool = False
    """A quantised output is asked for."""


@dataclass(frozen=True, slots=True)
class MergeRequest:
    """One merge of two attention states."""

    platform: Literal["rocm", "cuda", "cpu"]
    """Platform."""

    arch: str
    """Architecture on ROCm."""

    dtype: str
    """Output type, as torch names it: float32, float16 or bfloat16."""

    head_dim: int
    """Elements of a head."""


@dataclass(frozen=True, slots=True)
class IndexerRopeRequest:
    """The indexer's rotation."""

    platform: Literal["rocm", "cuda"]
    """Platform."""

    inplace: bool
    """`is_inplace_rope`: the rotary embedding's custom op is enabled."""

    functional: bool = False
    """Its HIP forward is the native one all the same, which returns new tensors (DeepSeek's YaRN)."""


@dataclass(frozen=True, slots=True)
class IndexerRope:
    """Who rotates queries and keys."""

    row: str
    """M12."""

    path: Literal["inplace", "fused", "functional"]
    """Slices rotated in place, the fused CUDA kernel, or new tensors joined again."""

    rotates: bool
    """False where a functional result is dropped, so that queries and keys stay unrotated."""


@dataclass(frozen=True, slots=True)
class MlaPrefillTable:
    """The decision table; every field is an entry that can be replaced on its own."""

    heads: HeadTable = HEADS
    """M4, which says what head counts are valid."""

    fp8_arches: frozenset[str] = frozenset({"gfx950"})
    """M8: where AITER's FP8 prefill exists."""

    fp8_kv_dtypes: frozenset[str] = frozenset({"fp8"})
    """M8: cache types."""

    fp8_model_dtypes: frozenset[str] = frozenset({"bf16"})
    """M8: model types."""

    merge: MergeDispatch = MERGE
    """M10."""

    def enabled(self, request: MlaPrefillRequest) -> Choice:
        """M8: "enabled" or "disabled" for the model."""
        types = request.kv_dtype in self.fp8_kv_dtypes and request.model_dtype in self.fp8_model_dtypes
        able = request.arch in self.fp8_arches and request.symbols and self.heads.valid(request.heads)
        return Choice("M8", "enabled" if types and able else "disabled")

    def batch(self, request: MlaPrefillRequest) -> Choice:
        """M9: "fp8_persistent", or "parent" for flash attention; raises DispatchError for a quantised output."""
        fp8 = self.enabled(request).path == "enabled" and request.metadata and not request.chunked_context
        if not fp8:
            return Choice("M9", "parent")
        if request.output_scale:
            raise DispatchError("output_scale is given, but the FP8 prefill writes bf16; pass output_scale=None")
        return Choice("M9", "fp8_persistent")

    def merging(self, request: MergeRequest) -> Choice:
        """M10: "packed" for the C++ kernel, "general" for Triton, "torch" on the CPU."""
        path = self.merge.path(request.platform, request.arch, dtype=request.dtype, head_dim=request.head_dim)
        return Choice("M10", path)

    def rope(self, request: IndexerRopeRequest) -> IndexerRope:
        """M12: the gate looks at `is_inplace_rope` alone, which does not tell whether the forward is in place."""
        if request.platform == "cuda":
            return IndexerRope("M12", "fused", True)
        if request.inplace:
            return IndexerRope("M12", "inplace", not request.functional)
        return IndexerRope("M12", "functional", True)


MLA_PREFILL = MlaPrefillTable()
"""The table as shipped."""
