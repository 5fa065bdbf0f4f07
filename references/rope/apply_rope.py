"""Rotary position embedding of queries and keys: float64 golden and plain torch peer.

Contract: vLLM `rotary_embedding` and `DeepseekScalingRotaryEmbedding`.
"""

from __future__ import annotations

import torch

from rocassay.references.common.rounding import Modelled
from rocassay.references.rope.rotation import Span, Style, peer_rotate, rotate, unit_numbers


def apply_rope(
    positions: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor | None,
    cos_sin_cache: torch.Tensor,
    *,
    style: Style,
    span: Span,
) -> tuple[Modelled, Modelled | None]:
    """Golden of rotated q [T, H, D] and k [T, Hk, D]; positions [T] int, cos_sin_cache fp32 [P, rot]."""
    unit = unit_numbers(positions, cos_sin_cache)
    return rotate(q, unit, style=style, span=span), None if k is None else rotate(k, unit, style=style, span=span)


def peer_apply_rope(
    positions: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor | None,
    cos_sin_cache: torch.Tensor,
    *,
    style: Style,
    span: Span,
    q_out: torch.Tensor | None = None,
    k_out: torch.Tensor | None = None,
) -> None:
    """Plain torch; without `q_out` q and k change in place."""
    for source, target in ((q, q_out), (k, k_out)):
        if source is not None:
            turned = peer_rotate(source, positions, cos_sin_cache, style=style, span=span)
            (source if target is None else target).copy_(turned)
