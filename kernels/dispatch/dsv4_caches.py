"""How DeepSeek V4's caches and index lists are built and read: rows S11 and S13 to S15 (vllm-project/vllm#41812)."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal

from rocassay.harness.arch import fp8_format_of
from rocassay.kernels.dispatch.decision import Choice, DispatchError


@dataclass(frozen=True, slots=True)
class Dsv4CacheRequest:
    """Facts that the builders, gathers and writers look at."""

    arch: str
    """Architecture, a member of `DISPATCH_ARCHES`."""

    ratio: int = 4
    """Compression ratio of the layer."""

    source_elements: int = 0
    """Elements of this step's top-k."""

    buffer_elements: int = 0
    """Elements of the graph buffer that the ragged list is written into."""

    platform: Literal["rocm", "cuda"] = "rocm"
    """Platform."""

    cutedsl: bool = False
    """`has_cutedsl()`: NVIDIA's CuTe DSL is installed."""

    use_fnuz: bool = False
    """The caller asks for the FNUZ format."""


@dataclass(frozen=True, slots=True)
class RaggedBuffer:
    """The part of a graph buffer that the attention kernel sees."""

    row: str
    """S13."""

    path: Literal["trimmed", "capacity"]
    """Cut to this step's source, or handed over whole."""

    elements: int
    """Its elements, which the split heuristic averages over."""


@dataclass(frozen=True, slots=True)
class Gather:
    """The kernel that dequantises and gathers."""

    row: str
    """S14."""

    path: Literal["cutedsl", "triton"]
    """NVIDIA's kernel or the Triton one."""

    fnuz: bool
    """Format that it really decodes; NVIDIA's ignores the request."""


@dataclass(frozen=True, slots=True)
class Dsv4CacheTable:
    """The decision table; every field is an entry that can be replaced on its own."""

    per_step_ratio: int = 4
    """S11: ratio whose decode indices come from this step's top-k."""

    precomputed_ratio: int = 128
    """S11: ratio whose decode indices are metadata, because every compressed key is visible."""

    trimming_arches: frozenset[str] = frozenset({"gfx950"})
    """S13: where the graph buffer is cut to the source's elements."""

    def indices(self, request: Dsv4CacheRequest) -> Choice:
        """S11: "swa_only", "per_step" or "precomputed"; raises DispatchError for another ratio."""
        if request.ratio <= 1:
            return Choice("S11", "swa_only")
        paths = {self.per_step_ratio: "per_step", self.precomputed_ratio: "precomputed"}
        if request.ratio not in paths:
            known = ", ".join(str(ratio) for ratio in (1, *paths))
            raise DispatchError(f"no layer has compression ratio {request.ratio}; use one of {known}")
        return Choice("S11", paths[request.ratio])

    def ragged_buffer(self, request: Dsv4CacheRequest) -> RaggedBuffer:
        """S13: elements of the list, from which the split count follows."""
        if request.arch in self.trimming_arches:
            return RaggedBuffer("S13", "trimmed", min(request.source_elements, request.buffer_elements))
        return RaggedBuffer("S13", "capacity", request.buffer_elements)

    def gather(self, request: Dsv4CacheRequest) -> Gather:
        """S14: raises DispatchError for NVIDIA's kernel on ROCm, where it would decode the wrong format."""
        if not request.cutedsl:
            return Gather("S14", "triton", request.use_fnuz)
        if request.platform == "rocm":
            raise DispatchError("has_cutedsl() is true on rocm, where only triton is right; remove the CuTe DSL")
        return Gather("S14", "cutedsl", False)

    def writer(self, request: Dsv4CacheRequest) -> Choice:
        """S15: format stored; raises DispatchError for FNUZ on a platform whose format it is not."""
        if not request.use_fnuz:
            return Choice("S15", "e4m3fn")
        platform = fp8_format_of(request.arch)
        if platform != "e4m3fnuz":
            raise DispatchError(f"use_fnuz is true, but {request.arch!r} has {platform}; pass use_fnuz=False")
        return Choice("S15", platform)


DSV4_CACHES = Dsv4CacheTable()
"""The table as shipped."""
