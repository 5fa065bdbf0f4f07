"""Head weights of the indexer in float64.

Contract: vLLM's V3.2 `Indexer.forward` (vLLM models/deepseek_v2.py): weights * q_scale * D^-1/2 * H^-1/2.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

UNIT_ROUNDOFF = 2.0**-24
"""Half an ulp of 1 in fp32."""

ROUNDINGS = 5
"""Most fp32 roundings on the way to one weight: three products and the two constants."""


@dataclass(frozen=True, slots=True)
class Weights:
    """Golden head weights [T, H], float64."""

    value: torch.Tensor
    """weights * q_scale * D^-1/2 * H^-1/2."""

    sigma: torch.Tensor
    """rms error, were the roundings independent; those of the constants are shared by all elements, so they are not."""

    bound: torch.Tensor
    """Error that no fp32 implementation exceeds, in whichever order it multiplies."""


def indexer_weights(weights: torch.Tensor, q_scale: torch.Tensor, *, head_dim: int) -> Weights:
    """Golden of the head weights. weights: [T, H] bf16, fp16 or fp32. q_scale: fp32 [T, H]. Nothing is changed."""
    value = weights.double() * q_scale.double() * head_dim**-0.5 * weights.shape[1] ** -0.5
    worst = ROUNDINGS * UNIT_ROUNDOFF
    return Weights(value, value.abs() * ROUNDINGS**0.5 * UNIT_ROUNDOFF / 2, value.abs() * worst / (1 - worst))


def peer_indexer_weights(weights: torch.Tensor, q_scale: torch.Tensor, out: torch.Tensor, *, head_dim: int) -> None:
    """Plain torch fp32, factor by factor; writes `out` [T, H]."""
    out.copy_(weights.float() * q_scale * head_dim**-0.5 * weights.shape[1] ** -0.5)
