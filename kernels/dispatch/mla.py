"""Which kernel a dense MLA decode runs: rows M1 to M3, M5 and M6 (vllm-project/vllm#36574, #51705, #56861).

Source: vLLM v1/attention/backends/mla/rocm_aiter_mla.py.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from rocassay.kernels.dispatch.decision import Choice, DispatchError
from rocassay.kernels.dispatch.mla_heads import HEADS, HeadsRequest, HeadTable, MlaDtype

DcpRoute: TypeAlias = Literal["PLAIN", "SEGMENTED", "CPRR", "TRITON"]
"""How several queries a request meet a cache that is spread over ranks."""

METADATA = ("work_meta_data", "work_indptr", "work_info_set", "reduce_indptr", "reduce_final_map", "reduce_partial_map")
"""The persistent metadata of `mla_decode_fwd`: all or none."""


@dataclass(frozen=True, slots=True)
class MlaDecodeRequest:
    """Facts of one decode batch."""

    arch: str
    """Architecture, a member of `DISPATCH_ARCHES`."""

    heads: int
    """Query heads before padding; with decode context parallelism those of all its ranks together."""

    qlen: int = 1
    """Queries a request."""

    kv_dtype: MlaDtype = "bf16"
    """Element type of the cache."""

    causal: bool = True
    """Query i of a request sees fewer keys than query i + 1."""

    padding: Literal["auto", "gluon", "asm"] = "auto"
    """VLLM_ROCM_AITER_MLA_ASM_PADDING."""

    kv_bytes: int = 0
    """Bytes of the cache."""

    mtp_qlen: int = 1
    """Most queries a request that the metadata were sized for."""

    dcp: int = 1
    """Decode context parallel ranks."""

    segmented: bool = True
    """AITER has the segmented decode."""

    native_24: bool = False
    """The AITER build has a decode kernel for 24 heads."""


@dataclass(frozen=True, slots=True)
class MlaDecodeDecision:
    """What attends."""

    row: str
    """M1, M2 or M3."""

    path: Literal["gluon_decode", "gluon_verify", "persistent", "split_kv"]
    """AITER's Gluon kernels, or `mla_decode_fwd` with or without metadata."""

    width: int
    """Query heads of the kernel."""

    zero_output: bool = False
    """The output is zeroed first, because not every row is written."""


@dataclass(frozen=True, slots=True)
class MlaTable:
    """The decision table; every field is an entry that can be replaced on its own."""

    heads: HeadTable = HEADS
    """M4."""

    gluon_arches: frozenset[str] = frozenset({"gfx950"})
    """M1, M2: where AITER's Gluon kernels exist."""

    gluon_dtypes: frozenset[str] = frozenset({"bf16"})
    """M1, M2: cache types."""

    gluon_below: int = 16
    """M1, M2: head counts below this."""

    gluon_kv_bytes: int = 2**31
    """M1: largest cache, addressed with 32 bits."""

    persistent_heads: int = 16
    """M3: from here on any number of queries a request is persistent."""

    persistent_qlen: int = 4
    """M3: and up to here any number of heads."""

    persistent_dtypes: frozenset[str] = frozenset({"fp8"})
    """M3: cache types that are persistent whatever the shape."""

    non_causal_arches: frozenset[str] = frozenset({"gfx950"})
    """M5: where blocks without a causal mask are supported."""

    non_causal_fp8_heads: frozenset[int] = frozenset({32, 64, 96, 128})
    """M5: padded heads of a non-causal fp8 block of two queries."""

    cprr_arches: frozenset[str] = frozenset({"gfx950"})
    """M6: where the round-robin kernels exist."""

    cprr_heads: tuple[int, ...] = (16, 32, 64, 128)
    """M6: heads of the round-robin kernels; others are padded to the next one."""

    cprr_qlen: int = 3
    """M6: fewest queries a request of the round-robin kernels."""

    triton_arches: frozenset[str] = frozenset({"gfx942"})
    """M6: where several causal queries go to Triton."""

    row_view_routes: frozenset[str] = frozenset({"SEGMENTED", "TRITON"})
    """M3: routes that turn each query into a row of its own, for which the metadata were not built."""

    def decode(self, request: MlaDecodeRequest) -> MlaDecodeDecision:
        """M1, M2, M3, top to bottom, after M4 and M5 have accepted the shape; raises DispatchError."""
        width = self.heads.pad(HeadsRequest(request.heads, request.native_24)).width
        self.mask(request)
        if self._gluon_decode(request):
            return MlaDecodeDecision("M1", "gluon_decode", request.heads)
        if self._gluon_verify(request):
            return MlaDecodeDecision("M2", "gluon_verify", request.heads)
        if self.persistent(request):
            return MlaDecodeDecision("M3", "persistent", width)
        return MlaDecodeDecision("M3", "split_kv", width, zero_output=request.qlen > 1)

    def persistent(self, request: MlaDecodeRequest) -> bool:
        """M3: whether the metadata are built for a batch that the Gluon kernels do not take."""
        if request.dcp > 1 and self.route(request).path in self.row_view_routes:
            return False
        small = request.heads >= self.persistent_heads or request.qlen <= self.persistent_qlen
        shape = not request.causal or small or request.kv_dtype in self.persistent_dtypes
        return shape and 1 <= request.qlen <= request.mtp_qlen

    def mask(self, request: MlaDecodeRequest) -> Choice:
        """M5: "causal" or "non_causal"; raises DispatchError where no kernel can leave the mask out."""
        if request.causal:
            return Choice("M5", "causal")
        if request.arch not in self.non_causal_arches:
            known = ", ".join(sorted(self.non_causal_arches))
            raise DispatchError(f"non-causal decode on {request.arch!r} is not supported; use {known}")
        width = self.heads.pad(HeadsRequest(request.heads, request.native_24)).width
        if request.kv_dtype == "fp8" and request.qlen == 2 and width not in self.non_causal_fp8_heads:
            raise DispatchError(
                f"a non-causal fp8 block of 2 queries cannot have {width} padded heads; "
                f"use one of {sorted(self.non_causal_fp8_heads)}"
            )
        return Choice("M5", "non_causal")

    def route(self, request: MlaDecodeRequest) -> Choice:
        """M6: a `DcpRoute`; raises DispatchError for several causal queries without any route."""
        if request.dcp <= 1 or request.qlen <= 1 or not request.causal:
            return Choice("M6", "PLAIN")
        if request.arch in self.triton_arches:
            return Choice("M6", "TRITON")
        fits = request.qlen >= self.cprr_qlen and self.cprr_width(request.heads) is not None
        if request.arch in self.cprr_arches and fits:
            return Choice("M6", "CPRR")
        if not request.segmented:
            raise DispatchError(
                f"{request.qlen} causal queries a request over {request.dcp} ranks need the segmented decode on "
                f"{request.arch}; update AITER or decode one query at a time"
            )
        return Choice("M6", "SEGMENTED")

    def cprr_width(self, heads: int) -> int | None:
        """M6: heads that the round-robin kernel runs at, None above its largest."""
        return next((width for width in self.cprr_heads if width >= heads), None)

    def wrapper(self, given: frozenset[str]) -> Choice:
        """M3: what vLLM's wrapper of `mla_decode_fwd` does with the tensors that are not None.

        Only work_meta_data decides: without it the other five are silently ignored, with it all of them are required.
        """
        unknown = sorted(given - set(METADATA))
        if unknown:
            raise DispatchError(f"{unknown[0]!r} is no persistent metadata; known are {', '.join(METADATA)}")
        if METADATA[0] not in given:
            return Choice("M3", "split_kv")
        missing = [name for name in METADATA if name not in given]
        if missing:
            raise DispatchError(f"{METADATA[0]} is given but {missing[0]} is None; pass all of {', '.join(METADATA)}")
        return Choice("M3", "persistent")

    def _gluon(self, request: MlaDecodeRequest) -> bool:
        few = request.heads < self.gluon_below
        return few and request.arch in self.gluon_arches and request.kv_dtype in self.gluon_dtypes

    def _gluon_decode(self, request: MlaDecodeRequest) -> bool:
        divides = request.padding == "auto" and self.gluon_below % request.heads == 0
        fits = request.kv_bytes <= self.gluon_kv_bytes
        return self._gluon(request) and request.qlen == 1 and (divides or request.padding == "gluon") and fits

    def _gluon_verify(self, request: MlaDecodeRequest) -> bool:
        return self._gluon(request) and request.causal and request.qlen > 1 and request.dcp == 1


MLA = MlaTable()
"""The table as shipped."""
