"""Where the rotated and the kept lanes of a head lie, and what the launchers ask of their tensors."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from rocassay.harness.layouts import LayoutError
from rocassay.kernels.common.tensors import require_unit_stride
from rocassay.kernels.rope.dispatch import Span


@dataclass(frozen=True, slots=True)
class Lanes:
    """First lanes and counts of both parts of a head."""

    rotated: int
    """First rotated lane."""
    kept: int
    """First lane that is not rotated."""
    kept_lanes: int
    """How many are not."""
    kept_padded: int
    """The next power of two, 0 for none."""


def lanes_of(head_dim: int, rot: int, span: Span) -> Lanes:
    """The parts of a head of `head_dim` lanes of which the first or last `rot` rotate."""
    kept = head_dim - rot
    padded = 1 << (kept - 1).bit_length() if kept else 0
    return Lanes(0, rot, kept, padded) if span == "first" else Lanes(kept, 0, kept, padded)


def require_rotatable(
    name: str, source: torch.Tensor, target: torch.Tensor, cos_sin_cache: torch.Tensor, *, like: torch.Tensor
) -> None:
    """Raise LayoutError unless source and target are [T, H, D] of one dtype that the cache's rot lanes fit."""
    for part, tensor in ((name, source), (f"{name}_out", target), ("cos_sin_cache", cos_sin_cache)):
        require_unit_stride(part, tensor)
    if source.shape != target.shape or source.dtype != target.dtype or source.dtype != like.dtype:
        raise LayoutError(
            f"{name} is {tuple(source.shape)} of {source.dtype}, its output {tuple(target.shape)} of {target.dtype}; "
            f"pass one shape and {like.dtype} for all"
        )
    rot = cos_sin_cache.shape[1]
    if rot > source.shape[-1] or rot & (rot - 1) or source.shape[-1] != like.shape[-1]:
        raise LayoutError(
            f"{name} has {source.shape[-1]} lanes a head and the cache {rot}; "
            f"pass a power of two up to the {like.shape[-1]} lanes of a head"
        )
