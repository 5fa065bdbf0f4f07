"""Which kernel sparse MLA (V3.2) runs: row M11 (vLLM v1/attention/backends/mla/rocm_aiter_mla_sparse.py)."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from types import MappingProxyType
from typing import Literal, TypeAlias

from rocassay.harness.arch import PROFILES
from rocassay.kernels.dispatch.decision import DispatchError
from rocassay.kernels.dispatch.mla_heads import HEADS, HeadsRequest, HeadTable, MlaDtype

SparseMlaPath: TypeAlias = Literal["triton", "lse", "persistent", "split_kv"]
"""vLLM's Triton kernels, AITER's decode that exports an LSE for the sinks, and the same with or without metadata."""

_FALLBACK_COMPUTE_UNITS = 256
"""What vLLM assumes when the device does not say."""

_BUCKETS: Mapping[str, tuple[int, ...]] = MappingProxyType({"bf16": (16, 32, 64, 128), "fp8": (16, 128)})


@dataclass(frozen=True, slots=True)
class SparseMlaRequest:
    """Facts of one batch of one layer; every query token is a request of its own."""

    arch: str
    """Architecture, a member of `DISPATCH_ARCHES`."""

    heads: int = 128
    """Query heads of the rank."""

    dtype: MlaDtype = "bf16"
    """Element type that the kernel computes in: fp8 with an FP8 cache, the model's otherwise."""

    sinks: bool = False
    """This layer has attention sinks."""

    any_sinks: bool = False
    """Some layer has."""

    pure_prefill: bool = False
    """No request decodes."""

    max_prefill_len: int = 0
    """Longest prefill of the batch."""

    max_seq_len: int = 2048
    """Longest context of the batch."""

    topk: int = 2048
    """Keys a query."""

    rope_free: bool = False
    """Heads without RoPE dims: head_size is kv_lora_rank."""


@dataclass(frozen=True, slots=True)
class SparseMlaDecision:
    """What attends."""

    row: str
    """M11."""

    path: SparseMlaPath
    """Implementation."""

    width: int
    """Query heads of the kernel."""

    stride: int = 1
    """Kernel heads from one real head to the next in the output; 1 is a prefix."""

    splits: int | None = None
    """Number of splits that must be forced; None leaves it to AITER."""

    max_split_per_batch: int | None = None
    """Argument of the metadata builder; None without metadata."""


@dataclass(frozen=True, slots=True)
class SparseMlaTable:
    """The decision table; every field is an entry that can be replaced on its own."""

    heads: HeadTable = HEADS
    """M4."""

    triton_sink_dtypes: frozenset[str] = frozenset({"fp16"})
    """Types whose sinks go to Triton."""

    most_sink_heads: int = 128
    """Padded heads above this send bf16 sinks to Triton."""

    triton_sink_heads: Mapping[str, tuple[int, int]] = field(
        default_factory=lambda: MappingProxyType({"gfx942": (32, 64)})
    )
    """Architecture -> (low, high]: padded heads whose bf16 sinks go to Triton."""

    triton_prefill_arches: frozenset[str] = frozenset({"gfx942"})
    """Where long bf16 prefills without sinks go to Triton."""

    buckets: Mapping[str, tuple[int, ...]] = field(default_factory=lambda: _BUCKETS)
    """Type -> heads of the kernels that export an LSE."""

    forced_splits: Mapping[tuple[str, MlaDtype, int | None], int] = field(
        default_factory=lambda: MappingProxyType({("gfx950", "bf16", 32): 1, ("gfx942", "fp8", None): 2})
    )
    """(architecture, type, bucket or None for all) -> splits: gfx950's is wrong with more, gfx942's writes no LSE
    with one."""

    split_keys: int = 128
    """Keys that are worth a split of their own."""

    def decide(self, request: SparseMlaRequest) -> SparseMlaDecision:
        """M11: Triton fallbacks, then sinks, then the metadata; raises DispatchError for heads without a bucket."""
        width = self.heads.pad(HeadsRequest(request.heads)).width
        if self._triton(request, width):
            return SparseMlaDecision("M11", "triton", request.heads)
        if request.sinks:
            return self._lse(request, width)
        if request.any_sinks or self._long_prefill(request):
            return SparseMlaDecision("M11", "split_kv", width)
        return SparseMlaDecision("M11", "persistent", width, max_split_per_batch=self.most_splits(request))

    def most_splits(self, request: SparseMlaRequest) -> int:
        """max_split_per_batch: one split for every 128 keys, a power of two, at most the compute units."""
        profile = PROFILES.get(request.arch)
        units = (profile and profile.compute_units) or _FALLBACK_COMPUTE_UNITS
        wanted = max(1, min(request.max_seq_len, request.topk) // self.split_keys)
        return min(1 << (wanted - 1).bit_length(), units)

    def _long_prefill(self, request: SparseMlaRequest) -> bool:
        return request.pure_prefill and request.dtype == "bf16" and request.max_prefill_len > request.topk

    def _triton(self, request: SparseMlaRequest, width: int) -> bool:
        if request.rope_free and request.dtype != "fp8":
            return True
        if not request.sinks:
            return request.arch in self.triton_prefill_arches and self._long_prefill(request)
        if request.dtype in self.triton_sink_dtypes:
            return True
        low, high = self.triton_sink_heads.get(request.arch, (0, 0))
        return request.dtype == "bf16" and (width > self.most_sink_heads or low < width <= high)

    def _lse(self, request: SparseMlaRequest, width: int) -> SparseMlaDecision:
        buckets = self.buckets.get(request.dtype, ())
        bucket = next((bucket for bucket in buckets if bucket >= width), None)
        if bucket is None:
            raise DispatchError(f"no {request.dtype} kernel exports an LSE for {width} heads; known are {buckets}")
        stride = 1 if bucket % request.heads else bucket // request.heads
        general = self.forced_splits.get((request.arch, request.dtype, None))
        splits = self.forced_splits.get((request.arch, request.dtype, bucket), general)
        return SparseMlaDecision("M11", "lse", bucket, stride, splits)


SPARSE_MLA = SparseMlaTable()
"""The table as shipped."""
