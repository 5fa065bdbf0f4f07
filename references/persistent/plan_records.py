"""What a plan is judged against, the six buffers that hold it, and what a judge finds.

Source: AITER aiter/ops/attention.py, ``get_mla_metadata_info_v1`` and ``get_mla_metadata_v1``; their encoding is
work_info_set row = (batch, slot, q start, q end, kv start, kv end, tokens behind the end, 0).
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Any

import numpy as np
from numpy.typing import ArrayLike, NDArray

Ints = NDArray[np.int64]

NAMES = (
    "work_metadata",
    "work_indptr",
    "work_info_set",
    "reduce_indptr",
    "reduce_final_map",
    "reduce_partial_map",
)
"""The six buffers in the order of ``get_mla_metadata_info_v1``."""


@dataclass(frozen=True, slots=True)
class Finding:
    """One violated invariant: its name ("I1" to "I20"), the place, and the numbers."""

    invariant: str
    where: str
    message: str

    def __str__(self) -> str:
        return f"{self.invariant} at {self.where}: {self.message}"


@dataclass(frozen=True, slots=True, eq=False)
class PlanBuffers:
    """The six buffers of one plan as numpy arrays; uint64[2], then five of int32."""

    work_metadata: NDArray[Any]
    work_indptr: NDArray[Any]
    work_info_set: NDArray[Any]
    reduce_indptr: NDArray[Any]
    reduce_final_map: NDArray[Any]
    reduce_partial_map: NDArray[Any]

    @classmethod
    def of(cls, *six: Any) -> PlanBuffers:
        """Numpy arrays or CPU tensors in the order of `NAMES`, without a copy."""
        return cls(*(np.asarray(buffer) for buffer in six))

    def copy(self) -> PlanBuffers:
        """A plan in memory of its own."""
        return PlanBuffers.of(*(getattr(self, name).copy() for name in NAMES))


@dataclass(frozen=True, slots=True, eq=False)
class Requests:
    """Who asks for what: int64 arrays [N], one element a request, in the order in which they are planned."""

    label: Ints
    """What work items carry as their batch."""

    q_begin: Ints
    """First query row."""

    q_len: Ints
    """Query tokens; 0 is legal and yields no work."""

    kv_begin: Ints
    """First position of kv_indices, in pages."""

    pages: Ints
    """Positions of kv_indices."""

    length: Ints
    """Keys, in tokens."""

    @classmethod
    def dense(
        cls, qo_indptr: ArrayLike, kv_indptr: ArrayLike, last_page_len: ArrayLike, *, page_size: int, fold: int = 1
    ) -> Requests:
        """Requests of int32 [B+1], [B+1], [B]; `fold` head groups become requests of their own (uniform q_len)."""
        qo, kv, last = (np.asarray(values, np.int64) for values in (qo_indptr, kv_indptr, last_page_len))
        pages, q_len = np.diff(kv).repeat(fold), np.diff(qo).repeat(fold)
        length = np.where(pages > 0, (pages - 1) * page_size + last.repeat(fold), 0)
        q_begin = qo[:-1] if fold == 1 else np.cumsum(q_len) - q_len
        return cls(np.arange(len(pages)), q_begin, q_len, kv[:-1].repeat(fold), pages, length)

    @classmethod
    def sparse(cls, qo_indptr: ArrayLike, kv_indptr: ArrayLike, *, topk: int) -> Requests:
        """Every query token on its own min(length, topk) keys at position token·topk; page_size 1."""
        qo, kv = (np.asarray(values, np.int64) for values in (qo_indptr, kv_indptr))
        label = np.arange(len(qo) - 1).repeat(np.diff(qo))
        token = np.arange(qo[-1] - qo[0]) + qo[0]
        keys = np.minimum(np.diff(kv)[label], topk)
        return cls(label, token, np.ones_like(token), token * topk, keys, keys)


@dataclass(frozen=True, slots=True)
class Rules:
    """What the planner was told and what it promised."""

    workers: int
    """Workgroups of stage 1: work_indptr has one element more."""

    used_workers: int
    """Workgroups that may get work: fewer when splits are capped."""

    tile_tokens: int
    """Most query tokens of a tile; partial rows of a part."""

    granularity: int
    """Tokens of a unit: interior cuts are multiples of it. A multiple of the page size."""

    overhead: int
    """Units charged for every item beside its keys."""

    page_size: int
    causal: bool

    partial_rows: int
    """Rows of the partial output buffer."""

    row_elements: int
    """Elements of one partial row: heads·v_head_dim."""

    exact: bool = True
    """The clean plan: tiles end at the last visible key, slots are tile-aligned, unsplit rows hold (−1, −1).

    False for AITER's own: tiles end there or later, and what is not needed is left as it was.
    """

    wide_addressing: bool = False
    """Kernels address partial rows with 64 bits."""

    def but(self, **changes: Any) -> Rules:
        """The same rules with some of them changed."""
        return replace(self, **changes)

    @property
    def every_row_sees(self) -> bool:
        """Whether no part may be without a visible key for one of its rows; AITER keeps that at page size 1 only."""
        return self.exact or self.page_size == 1
