"""Inverse rotary embedding of attention outputs: multiplication by the conjugate.

Contract: vLLM `rocm_inverse_rope_rows_` and `_inverse_rope_gptj_kernel` (vllm-project/vllm#45103).
"""

from __future__ import annotations

import torch

from rocassay.references.common.rounding import Modelled
from rocassay.references.rope.rotation import peer_rotate, rotate, unit_numbers


def inverse_rope(o: torch.Tensor, positions: torch.Tensor, cos_sin_cache: torch.Tensor) -> Modelled:
    """Golden of the inversely rotated o [T, H, D]: trailing rot lanes, interleaved pairs; fp32 cache [P, rot]."""
    return rotate(o, unit_numbers(positions, cos_sin_cache).conj(), style="gptj", span="last")


def peer_inverse_rope(
    o: torch.Tensor, positions: torch.Tensor, cos_sin_cache: torch.Tensor, *, out: torch.Tensor | None = None
) -> None:
    """Plain torch; without `out` o changes in place."""
    turned = peer_rotate(o, positions, cos_sin_cache, style="gptj", span="last", inverse=True)
    (o if out is None else out).copy_(turned)
