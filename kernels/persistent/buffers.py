"""The six buffers of a persistent plan: their sizes, the all-or-none rule, and errors.

Source: AITER aiter/ops/attention.py ``get_mla_metadata_info_v1``; vllm-project/vllm#36574 and #41016.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
from numpy.typing import NDArray

from rocassay.harness.arch import RocassayError

NAMES = (
    "work_metadata",
    "work_indptr",
    "work_info_set",
    "reduce_indptr",
    "reduce_final_map",
    "reduce_partial_map",
)
"""The six buffers in the order of ``get_mla_metadata_info_v1``; the builder takes work_info_set before work_indptr."""

WORDS = 8
"""int32 of a work item."""


class PlanError(RocassayError, ValueError):
    """Inputs that no plan exists for."""


class PartialMetadata(PlanError):
    """Some of the six buffers are given and some are not."""


class BufferTooSmall(PlanError):
    """A plan does not fit a buffer; nothing was written."""


@dataclass(frozen=True, slots=True)
class Sizes:
    """Shapes of the six buffers, the first uint64, the others int32."""

    workers: int
    work: int
    groups: int
    partials: int

    @property
    def shapes(self) -> tuple[tuple[int, ...], ...]:
        """Shapes in the order of `NAMES`."""
        return (2,), (self.workers + 1,), (self.work, WORDS), (self.groups + 1,), (self.groups, 2), (self.partials,)


@dataclass(frozen=True, slots=True, eq=False)
class Buffers:
    """Host arrays (or numpy views of pinned CPU tensors) of the shapes of `Sizes`; contiguous."""

    work_metadata: NDArray[np.uint64]
    work_indptr: NDArray[np.int32]
    work_info_set: NDArray[np.int32]
    reduce_indptr: NDArray[np.int32]
    reduce_final_map: NDArray[np.int32]
    reduce_partial_map: NDArray[np.int32]

    @classmethod
    def allocate(cls, sizes: Sizes, fill: int = 0) -> Buffers:
        """New buffers in which every int32 is `fill`."""
        first, *rest = sizes.shapes
        return cls(np.zeros(first, np.uint64), *(np.full(shape, fill, np.int32) for shape in rest))


def decode_sizes(
    *, batch: int, tiles: int, workers: int, max_splits: int | None = None, max_qlen: int = 1, sparse: bool = False
) -> Sizes:
    """Sizes in fast mode for `batch` requests of `tiles` tiles each, on `workers` workgroups; raises `PlanError`.

    `batch` must be the largest that is ever planned: the greater of max_num_seqs and the captured graph sizes.
    """
    if batch < 1 or tiles < 1 or workers < 1:
        raise PlanError(f"batch {batch}, {tiles} tiles and {workers} workgroups must all be at least 1")
    planned = batch * max_qlen if sparse else batch
    partials = min(planned + workers - 1, 2 * (workers - 1)) * tiles
    if max_splits is not None:
        partials = max(partials, planned * tiles + min(workers, max_splits * planned))
    return Sizes(workers, (planned + workers - 1) * tiles, planned * tiles, partials)


def planned_batch(max_num_seqs: int, capture_sizes: Sequence[int] = ()) -> int:
    """Batch to size buffers for: padded graph rows count as requests (vllm-project/vllm#41016)."""
    return max(max_num_seqs, *capture_sizes, 1)


def all_or_none(given: Sequence[Any | None], names: Sequence[str] = NAMES) -> bool:
    """True when every buffer is given (persistent), False when none is; raises `PartialMetadata` in between.

    `names` are what the caller calls them, in the same order: the error lists those that are missing.
    """
    if len(given) != len(names):
        raise PartialMetadata(f"{len(given)} buffers are given; pass the {len(names)} in the order {', '.join(names)}")
    missing = [name for name, buffer in zip(names, given, strict=True) if buffer is None]
    if missing and len(missing) < len(names):
        raise PartialMetadata(
            f"{', '.join(missing)} is None, the others are given; pass all {len(names)} buffers or none"
        )
    return not missing
