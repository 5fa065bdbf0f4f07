"""How query heads meet the MLA decode kernels: padding by vLLM (M4) and folding by AITER (M7).

Source: vLLM v1/attention/backends/mla/rocm_aiter_mla.py; AITER mla.py, `mla_decode_fwd`.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Literal, TypeAlias

from rocassay.kernels.dispatch.decision import DispatchError

MlaDtype: TypeAlias = Literal["bf16", "fp16", "fp8"]
"""Element types of queries and cache."""


@dataclass(frozen=True, slots=True)
class HeadsRequest:
    """Heads that a kernel is to take."""

    heads: int
    """Query heads of the rank."""

    native_24: bool = False
    """The AITER build has a decode kernel for 24 heads."""

    prefill: bool = False
    """For the FP8 prefill, which has no 24-head exception."""


@dataclass(frozen=True, slots=True)
class HeadPadding:
    """How `heads` become `width`, and back."""

    row: str
    """M4."""

    path: Literal["none", "repeat", "tile"]
    """As is, every head several times in place (repeat_interleave), or all heads over and over (always a copy)."""

    heads: int
    """Real heads."""

    width: int
    """Heads of the kernel."""

    def source(self, slot: int) -> int:
        """Real head that a kernel head computes."""
        return slot * self.heads // self.width if self.path == "repeat" else slot % self.heads

    def outputs(self) -> range:
        """Kernel heads that are the result, in the order of the real heads."""
        step = self.width // self.heads if self.path == "repeat" else 1
        return range(0, self.heads * step, step)


@dataclass(frozen=True, slots=True)
class HeadTable:
    """M4 as data; every field is an entry that can be replaced on its own."""

    multiple: int = 16
    """Heads of one tile of the kernels."""

    most: int = 128
    """Up to here every head count is valid, above only multiples."""

    unsupported: frozenset[int] = frozenset()
    """Head counts that are refused all the same."""

    native_extra: frozenset[int] = frozenset({24})
    """Widths besides the multiples, in builds that have them."""

    def valid(self, heads: int) -> bool:
        """Whether a head count is supported at all."""
        listed = heads > 0 and heads not in self.unsupported
        return listed and (heads <= self.most or heads % self.multiple == 0)

    def pad(self, request: HeadsRequest) -> HeadPadding:
        """M4: raises DispatchError for an invalid head count."""
        heads = request.heads
        if not self.valid(heads):
            raise DispatchError(
                f"MLA cannot run {heads} heads; use 1 to {self.most} or a multiple of {self.multiple}, "
                f"except {sorted(self.unsupported)}"
            )
        native = heads in self.native_extra and request.native_24 and not request.prefill
        width = heads if native else -(-heads // self.multiple) * self.multiple
        if width == heads:
            return HeadPadding("M4", "none", heads, width)
        return HeadPadding("M4", "tile" if width % heads else "repeat", heads, width)


@dataclass(frozen=True, slots=True)
class NativeShape:
    """A shape that a persistent kernel takes as it is; None matches everything."""

    arch: str | None
    """Architecture."""

    dtype: MlaDtype | None
    """Element type of queries and cache alike."""

    heads: frozenset[int] | None
    """Query heads."""

    qlen: int | None = None
    """Queries a request."""

    def takes(self, request: KernelRequest) -> bool:
        """Whether the shape matches."""
        same = self.dtype is None or request.q_dtype == request.kv_dtype == self.dtype
        arch = self.arch is None or request.arch == self.arch
        heads = self.heads is None or request.heads in self.heads
        return same and arch and heads and (self.qlen is None or request.qlen == self.qlen)


@dataclass(frozen=True, slots=True)
class KernelRequest:
    """One call of AITER's `mla_decode_fwd` with persistent metadata."""

    arch: str
    """Architecture."""

    heads: int
    """Query heads, padded."""

    q_dtype: MlaDtype = "bf16"
    """Element type of the queries."""

    kv_dtype: MlaDtype = "bf16"
    """Element type of the cache."""

    qlen: int = 1
    """Queries a request."""

    batch: int = 1
    """Requests."""

    num_kv_splits: int | None = None
    """The caller's argument."""


@dataclass(frozen=True, slots=True)
class KernelHeads:
    """The heads that AITER's kernel sees."""

    row: str
    """M7."""

    path: Literal["native", "fold"]
    """As they are, or as pseudo-requests of 16 heads."""

    heads: int
    """Heads of the kernel."""

    groups: int
    """Pseudo-requests a request."""

    permute: bool
    """Rows are rearranged, not only viewed: (request, group, token) instead of (token, group)."""

    persistent: bool
    """False where AITER silently ignores the metadata."""

    def pseudo_row(self, request: int, token: int, group: int, qlen: int) -> int:
        """Row of the kernel's query for a request's token and a group of heads."""
        if self.permute:
            return (request * self.groups + group) * qlen + token
        return (request * qlen + token) * self.groups + group


_NATIVE = (
    NativeShape(None, None, frozenset({16})),
    NativeShape("gfx942", "fp8", frozenset({128})),
    NativeShape("gfx942", "fp8", frozenset({64}), 1),
    NativeShape("gfx950", "fp8", frozenset({32, 64, 128})),
    NativeShape("gfx950", "fp8", frozenset({8}), 4),
    NativeShape("gfx942", "bf16", frozenset({8}), 2),
    NativeShape("gfx950", "bf16", None),
)


@dataclass(frozen=True, slots=True)
class KernelTable:
    """M7 as data; every field is an entry that can be replaced on its own."""

    native: tuple[NativeShape, ...] = _NATIVE
    """Shapes that are not folded."""

    fold_to: int = 16
    """Heads of a pseudo-request."""

    fold_from: int = 32
    """Fewest heads that are folded."""

    fold_most: int = 128
    """Most heads that are folded; in between every multiple of `fold_to`."""

    downgrade_arches: frozenset[str] = frozenset({"gfx950"})
    """Where AITER prefers split KV for plain 16-head bf16 decode."""

    downgrade_batch: int = 32
    """Requests from which it does (AITER_MLA_DECODE_PERSISTENT_MAX_BATCH)."""

    def decide(self, request: KernelRequest) -> KernelHeads:
        """M7: raises DispatchError where AITER asserts."""
        persistent = not self._downgraded(request)
        heads = request.heads
        if any(shape.takes(request) for shape in self.native):
            return KernelHeads("M7", "native", heads, 1, False, persistent)
        if heads % self.fold_to or not self.fold_from <= heads <= self.fold_most:
            raise DispatchError(
                f"mla_decode_fwd has no kernel for {heads} heads ({request.q_dtype} queries, {request.kv_dtype} cache, "
                f"{request.qlen} a request) on {request.arch}; pad to a multiple of {self.fold_to} up to "
                f"{self.fold_most}"
            )
        return KernelHeads("M7", "fold", self.fold_to, heads // self.fold_to, request.qlen > 1, persistent)

    def _downgraded(self, request: KernelRequest) -> bool:
        plain = request.q_dtype == request.kv_dtype == "bf16" and request.heads == 16 and request.qlen == 1
        large = request.batch >= self.downgrade_batch and request.num_kv_splits is None
        return request.arch in self.downgrade_arches and plain and large


HEADS = HeadTable()
"""M4 as shipped."""

KERNEL_HEADS = KernelTable()
"""M7 as shipped."""
