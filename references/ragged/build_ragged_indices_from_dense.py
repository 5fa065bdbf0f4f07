"""What becomes of dense index rows with holes: an integer model of a stable compaction.

Contract: vLLM `build_ragged_indices_from_dense` (vllm-project/vllm#41812).
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from rocassay.references.ragged.compute_global_topk_ragged_indices_and_indptr import prefix


@dataclass(frozen=True, slots=True)
class RaggedIndices:
    """A CSR list."""

    flat: torch.Tensor
    """int32 [T * W]; from indptr[T] on whatever was there before."""
    indptr: torch.Tensor
    """int32 [T + 1], first 0, last the number of entries."""

    @property
    def defined(self) -> torch.Tensor:
        """bool [T * W]: entries that belong to a row."""
        return torch.arange(len(self.flat)) < self.indptr[-1]


def to_int32(value: int) -> int:
    """The low 32 bits of an integer as a signed number."""
    return (value + 2**31) % 2**32 - 2**31


def packed(rows: list[list[int]], flat: torch.Tensor) -> RaggedIndices:
    """The rows one after the other in `flat`, whose rest stays."""
    filled, entries = flat.clone(), [value for row in rows for value in row]
    filled[: len(entries)] = torch.tensor(entries, dtype=torch.int32)
    return RaggedIndices(filled, prefix([len(row) for row in rows]))


def build_ragged_indices_from_dense(
    indices: torch.Tensor, lengths: torch.Tensor, flat: torch.Tensor, *, num_rows: int = -1
) -> RaggedIndices:
    """Golden; `flat` is the output's initial content.

    indices: [T, W] of int32 or int64, narrowed to int32 before anything is asked of them. lengths: [T], columns
    from a row's length on do not count; any value is harmless. num_rows: values from it on are dropped, unless it
    is negative. Values below 0 are dropped, the survivors keep their order.
    """
    rows = [
        [value for value in map(to_int32, row[: max(0, length)]) if value >= 0 and (num_rows < 0 or value < num_rows)]
        for row, length in zip(indices.tolist(), lengths.tolist(), strict=True)
    ]
    return packed(rows, flat)


def peer_build_ragged_indices_from_dense(
    indices: torch.Tensor,
    lengths: torch.Tensor,
    flat: torch.Tensor,
    indptr: torch.Tensor,
    *,
    num_rows: int = -1,
) -> None:
    """Plain torch, the whole matrix at a time; writes flat and indptr."""
    value = indices.to(torch.int32)
    kept = (torch.arange(indices.shape[1], device=indices.device) < lengths[:, None]) & (value >= 0)
    if num_rows >= 0:
        kept &= value < num_rows
    indptr[:1] = 0
    indptr[1:] = kept.sum(dim=1).cumsum(0)
    chosen = value[kept]
    flat[: len(chosen)] = chosen
