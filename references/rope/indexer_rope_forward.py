"""The RoPE part of the V3.2 Indexer's forward: q by heads, k as one head, the first lanes of both.

Contract: vLLM `Indexer.forward` (vllm-project/vllm#43781).
"""

from __future__ import annotations

import torch

from rocassay.references.common.rounding import Modelled
from rocassay.references.rope.rotation import Style, peer_rotate, rotate, unit_numbers


def indexer_rope_forward(
    positions: torch.Tensor, q: torch.Tensor, k: torch.Tensor, cos_sin_cache: torch.Tensor, *, style: Style
) -> tuple[Modelled, Modelled]:
    """Golden of q [T, H, D] and k [T, D], rotated in their first rot lanes, whatever path computes them."""
    unit = unit_numbers(positions, cos_sin_cache)
    key = rotate(k[:, None, :], unit, style=style, span="first")
    key = Modelled(key.value[:, 0], key.sigma[:, 0], key.bound[:, 0])
    return rotate(q, unit, style=style, span="first"), key


def peer_indexer_rope_forward(
    positions: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    cos_sin_cache: torch.Tensor,
    *,
    style: Style,
    q_out: torch.Tensor | None = None,
    k_out: torch.Tensor | None = None,
) -> None:
    """Plain torch; without `q_out` q and k change in place."""
    key = peer_rotate(k[:, None, :], positions, cos_sin_cache, style=style, span="first")[:, 0]
    (q if q_out is None else q_out).copy_(peer_rotate(q, positions, cos_sin_cache, style=style, span="first"))
    (k if k_out is None else k_out).copy_(key)
