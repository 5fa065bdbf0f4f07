"""Which kernels a DeepSeek V4 decode step runs: rows S1 to S8 and S12 (vllm-project/vllm#41812).

Source: vLLM models/deepseek_v4/amd/rocm.py and v1/attention/ops/rocm_aiter_mla_sparse.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rocassay.harness.arch import PROFILES, fp8_format_of
from rocassay.kernels.attention.splits import SplitRule, decode_splits
from rocassay.kernels.dispatch.decision import Choice, DispatchError

_FALLBACK_COMPUTE_UNITS = 256
"""What vLLM assumes when the device does not say."""


@dataclass(frozen=True, slots=True)
class Dsv4DecodeRequest:
    """Facts of one decode step of one layer."""

    arch: str
    """Architecture, a member of `DISPATCH_ARCHES`."""

    ratio: int = 4
    """Compression ratio; at most 1 means a sliding window only, without an extra cache."""

    queries: int = 1
    """Decode rows."""

    heads: int = 16
    """Query heads."""

    main_capacity: int = 128
    """Elements of the sliding window's index buffer, filled or not."""

    extra_capacity: int = 512
    """Elements of the extra cache's index buffer, filled or not."""

    triton_sparse_mla: bool = False
    """VLLM_ROCM_USE_AITER_TRITON_SPARSE_MLA is set."""

    kv_connector: bool = False
    """A KV connector transfers cache pages."""

    kv_dtype: str = "fp8_ds_mla"
    """KV cache dtype as configured."""

    graph_metadata: bool = False
    """The metadata were built for a graph capture."""

    wo_a_prequantised: bool = False
    """The output projection takes FP8 that is quantised beforehand."""

    output_dtype: str = "bf16"
    """Element type of the output tensor."""

    mxfp8: bool = False
    """MXFP8 output is asked for."""

    @property
    def head_blocks(self) -> int:
        """Workgroups of 16 heads a query."""
        return -(-self.heads // 16)


@dataclass(frozen=True, slots=True)
class Dsv4DecodeDecision:
    """What attends."""

    row: str
    """S1 to S4."""

    path: Literal["aiter_triton", "split", "single"]
    """AITER's Triton kernels, partial results and their reduction, or one pass."""

    split_rule: SplitRule | None = None
    """Split heuristic; None where nothing is split."""

    splits: int = 1
    """Splits of every query's keys."""

    nope_block: int | None = None
    """NOPE_BLOCK of the partial kernel; None where it has no such argument."""

    direct: bool = False
    """The reduction writes into the output tensor itself."""


@dataclass(frozen=True, slots=True)
class InverseRope:
    """Who rotates the decode's output back."""

    row: str
    """S7."""

    path: Literal["fused", "standalone"]
    """Whether positions are passed into the decode."""

    reported: int
    """Leading rows that the decode claims to have rotated; the standalone pass starts behind them."""

    rotated: int
    """Leading rows that it really rotated."""


@dataclass(frozen=True, slots=True)
class Flavours:
    """FP8 formats of the two caches."""

    row: str
    """S8."""

    path: str
    """Format of the main (sliding window) cache."""

    extra: str
    """Format of the extra (compressed) cache."""


@dataclass(frozen=True, slots=True)
class Dsv4DecodeTable:
    """The decision table; every field is an entry that can be replaced on its own."""

    triton_sparse_arches: frozenset[str] = frozenset({"gfx950"})
    """S1: where AITER's Triton sparse MLA may be switched on."""

    gfx942_arches: frozenset[str] = frozenset({"gfx942"})
    """S2: partial kernel of gfx942."""

    gfx942_nope_block: int = 512
    """S2: NOPE_BLOCK."""

    gfx950_arches: frozenset[str] = frozenset({"gfx950"})
    """S3: partial kernel of gfx950."""

    direct_dtypes: frozenset[str] = frozenset({"bf16"})
    """S3: output types that the reduction writes without a copy."""

    trust_arches: frozenset[str] = frozenset({"gfx950"})
    """S5: where the extra cache can go without the NaN scrub."""

    trust_dtypes: frozenset[str] = frozenset({"fp8_ds_mla"})
    """S5: cache types whose writer never leaves a NaN."""

    adaptive_arches: frozenset[str] = frozenset({"gfx950"})
    """S6: where queries may choose fewer splits by their own lengths."""

    adaptive_ratio: int = 128
    """S6: compression ratio of the layers that do."""

    adaptive_workgroups: int = 16
    """S6: fewest workgroups (queries times head blocks)."""

    adaptive_above: int = 4
    """S6: the split count must exceed this."""

    standalone_rope_arches: frozenset[str] = frozenset({"gfx1250"})
    """S7: where positions are never passed into the decode."""

    rotating_paths: frozenset[str] = frozenset({"split"})
    """S7: decode paths that rotate when they get positions; the single pass ignores them."""

    extra_fp8: str = "e4m3fn"
    """S8: format of the extra cache, whatever the platform's."""

    mxfp8_arches: frozenset[str] = frozenset({"gfx950"})
    """S12: where the reduction can store MXFP8."""

    def decode(self, request: Dsv4DecodeRequest) -> Dsv4DecodeDecision:
        """S1 to S4, top to bottom."""
        if self.triton_sparse(request.arch, asked=request.triton_sparse_mla, kv_connector=request.kv_connector):
            return Dsv4DecodeDecision("S1", "aiter_triton")
        if request.arch in self.gfx942_arches:
            splits = self._splits("gfx942", request)
            return Dsv4DecodeDecision("S2", "split", "gfx942", splits, self.gfx942_nope_block)
        if request.arch in self.gfx950_arches:
            direct = request.output_dtype in self.direct_dtypes
            return Dsv4DecodeDecision("S3", "split", "gfx950", self._splits("gfx950", request), direct=direct)
        return Dsv4DecodeDecision("S4", "single")

    def triton_sparse(self, arch: str, *, asked: bool, kv_connector: bool) -> bool:
        """S1: whether AITER's Triton sparse MLA serves both prefill and decode."""
        return asked and arch in self.triton_sparse_arches and not kv_connector

    def nan_trust(self, request: Dsv4DecodeRequest) -> Choice:
        """S5: "trusted" skips the NaN scrub of the extra cache, and of it alone."""
        clean = request.kv_dtype in self.trust_dtypes and not request.kv_connector
        trusted = request.arch in self.trust_arches and clean and request.ratio > 1
        return Choice("S5", "trusted" if trusted else "scrubbed")

    def adaptive(self, request: Dsv4DecodeRequest) -> Choice:
        """S6: "adaptive", "fixed" by the kernel although the metadata ask for it, or "off"."""
        asked = request.arch in self.adaptive_arches and request.ratio == self.adaptive_ratio
        if not (asked and request.graph_metadata):
            return Choice("S6", "off")
        busy = request.queries * request.head_blocks >= self.adaptive_workgroups
        many = self.decode(request).splits > self.adaptive_above
        return Choice("S6", "adaptive" if busy and many else "fixed")

    def inverse_rope(self, request: Dsv4DecodeRequest) -> InverseRope:
        """S7: the decode reports every row as rotated whenever it gets positions, whether or not it looks at them."""
        path = self.decode(request).path
        passed = not request.wo_a_prequantised and request.arch not in self.standalone_rope_arches
        if not passed or path == "aiter_triton":
            return InverseRope("S7", "standalone", 0, 0)
        return InverseRope("S7", "fused", request.queries, request.queries if path in self.rotating_paths else 0)

    def flavours(self, request: Dsv4DecodeRequest) -> Flavours:
        """S8: the main cache has the platform's FP8 format, the extra cache never has."""
        return Flavours("S8", fp8_format_of(request.arch), self.extra_fp8)

    def output(self, request: Dsv4DecodeRequest) -> Choice:
        """S12: "mxfp8" or the output tensor's type; raises DispatchError where MXFP8 cannot be stored."""
        if not request.mxfp8:
            return Choice("S12", request.output_dtype)
        if request.arch not in self.mxfp8_arches:
            known = ", ".join(sorted(self.mxfp8_arches))
            raise DispatchError(f"MXFP8 output on {request.arch!r} is not supported; use {known} or a bf16 output")
        return Choice("S12", "mxfp8")

    def _splits(self, rule: SplitRule, request: Dsv4DecodeRequest) -> int:
        profile = PROFILES.get(request.arch)
        queries = max(1, request.queries)
        return decode_splits(
            rule,
            queries=request.queries,
            head_blocks=request.head_blocks,
            main_length=-(-request.main_capacity // queries),
            extra_length=-(-request.extra_capacity // queries) if request.ratio > 1 else 0,
            compute_units=(profile and profile.compute_units) or _FALLBACK_COMPUTE_UNITS,
        )


DSV4_DECODE = Dsv4DecodeTable()
"""The table as shipped."""
