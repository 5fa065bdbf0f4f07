"""Which kernel a DeepSeek V4 prefill runs: rows S1, S9 and S10 (vllm-project/vllm#41812)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rocassay.kernels.dispatch.dsv4_attention import DSV4_DECODE, Dsv4DecodeTable
from rocassay.kernels.indexer.decisions import DISPATCH, Aiter, IndexerDispatch


@dataclass(frozen=True, slots=True)
class TensorFacts:
    """What a guard reads off a tensor."""

    shape: tuple[int, ...]
    """Sizes."""

    strides: tuple[int, ...]
    """Strides in elements."""

    dtype: str = "bf16"
    """bf16, fp16 or fp32."""

    device: str = "cuda:0"
    """Device, as torch names it."""

    @classmethod
    def dense(cls, *shape: int, dtype: str = "bf16", device: str = "cuda:0") -> TensorFacts:
        """A contiguous tensor."""
        strides: list[int] = []
        step = 1
        for size in reversed(shape):
            strides.append(step)
            step *= size
        return cls(shape, tuple(reversed(strides)), dtype, device)


@dataclass(frozen=True, slots=True)
class Dsv4PrefillRequest:
    """Facts of one prefill."""

    arch: str
    """Architecture, a member of `DISPATCH_ARCHES`."""

    q: TensorFacts
    """Queries [sq, h, d]."""

    kv: TensorFacts
    """Keys, which are the values too: [skv, 1, d]."""

    output: TensorFacts
    """Output [sq, h, dv]."""

    sink: TensorFacts | None
    """Attention sinks [h], or None."""

    aiter: Aiter = Aiter.ON
    """State of AITER."""

    aiter_mla: bool = True
    """VLLM_ROCM_USE_AITER_MLA is set."""

    opus_importable: bool = True
    """AITER has the OPUS kernel."""

    triton_sparse_mla: bool = False
    """VLLM_ROCM_USE_AITER_TRITON_SPARSE_MLA is set."""

    kv_connector: bool = False
    """A KV connector transfers cache pages."""


@dataclass(frozen=True, slots=True)
class Dsv4PrefillDecision:
    """What attends."""

    row: str
    """S1, S9 or S10."""

    path: Literal["aiter_triton", "opus", "ragged"]
    """AITER's Triton kernel, its OPUS kernel, or vLLM's ragged Triton kernel."""

    block_k: int | None = None
    """BLOCK_K of the ragged kernel; None elsewhere."""


@dataclass(frozen=True, slots=True)
class Dsv4PrefillTable:
    """The decision table; every field is an entry that can be replaced on its own."""

    decode: Dsv4DecodeTable = DSV4_DECODE
    """Holds S1, which prefill and decode share."""

    provider: IndexerDispatch = DISPATCH
    """Says where AITER counts as enabled."""

    opus_arches: frozenset[str] = frozenset({"gfx950"})
    """S9: where the OPUS kernel exists."""

    opus_queries: int = 1024
    """S9: fewest queries; a matter of speed only, both kernels are right on either side."""

    opus_dtypes: frozenset[str] = frozenset({"bf16", "fp16"})
    """S9: element types."""

    sink_dtype: str = "fp32"
    """S9: element type of the sinks."""

    wide_head_dim: int = 256
    """S10: head dims from here on take the narrow tile."""

    block_k: int = 32
    """S10: keys a tile."""

    wide_block_k: int = 16
    """S10: keys a tile of wide heads."""

    def decide(self, request: Dsv4PrefillRequest) -> Dsv4PrefillDecision:
        """S1, S9, S10, top to bottom."""
        if self.decode.triton_sparse(request.arch, asked=request.triton_sparse_mla, kv_connector=request.kv_connector):
            return Dsv4PrefillDecision("S1", "aiter_triton")
        if self._provided(request) and self._shaped(request) and self._sink(request):
            return Dsv4PrefillDecision("S9", "opus")
        wide = request.q.shape[-1] >= self.wide_head_dim
        return Dsv4PrefillDecision("S10", "ragged", self.wide_block_k if wide else self.block_k)

    def _provided(self, request: Dsv4PrefillRequest) -> bool:
        enabled = self.provider.aiter_enabled(request.arch, request.aiter)
        large = request.q.shape[0] >= self.opus_queries
        return enabled and request.aiter_mla and request.opus_importable and request.arch in self.opus_arches and large

    def _shaped(self, request: Dsv4PrefillRequest) -> bool:
        q, kv, output = request.q, request.kv, request.output
        same = q.dtype == kv.dtype == output.dtype and q.device == kv.device == output.device
        dense = all(tensor.strides[-1] == 1 for tensor in (q, kv, output)) and output.strides == q.strides
        sizes = output.shape == q.shape and kv.shape[-1] == q.shape[-1]
        return same and dense and sizes and q.dtype in self.opus_dtypes and q.device.startswith("cuda")

    def _sink(self, request: Dsv4PrefillRequest) -> bool:
        sink, q = request.sink, request.q
        if sink is None:
            return False
        return sink.shape == (q.shape[1],) and sink.dtype == self.sink_dtype and sink.device == q.device


DSV4_PREFILL = Dsv4PrefillTable()
"""The table as shipped."""
