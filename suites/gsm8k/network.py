"""What of the embedded model is no attention: norms, projections, RoPE angles; shared by training and inference."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch.nn import functional

from rocassay.suites.gsm8k.config import ModelConfig


def rms_norm(x: torch.Tensor, gain: torch.Tensor, epsilon: float) -> torch.Tensor:
    """x / rms(x) * gain over the last dimension."""
    return x * torch.rsqrt(x.square().mean(dim=-1, keepdim=True) + epsilon) * gain


def feed_forward(x: torch.Tensor, weights: Mapping[str, torch.Tensor], config: ModelConfig) -> torch.Tensor:
    """Gated feed-forward layer behind its norm."""
    h = rms_norm(x, weights["mlp_norm"], config.epsilon)
    return (functional.silu(h @ weights["gate"]) * (h @ weights["up"])) @ weights["down"]


def index_key(h: torch.Tensor, weights: Mapping[str, torch.Tensor], config: ModelConfig) -> torch.Tensor:
    """The indexer's key before RoPE: projection and LayerNorm. [..., width] -> [..., index_dim]."""
    gain, bias = weights["index_key_gain"], weights["index_key_bias"]
    return functional.layer_norm(h @ weights["index_key"], (config.index_dim,), gain, bias, config.epsilon)


def cos_sin_cache(config: ModelConfig, positions: int) -> torch.Tensor:
    """fp32 [positions, rope]: cosines of all pairs, then sines; frequency i is base ** (-2 i / rope)."""
    powers = torch.arange(0, config.rope, 2, dtype=torch.float64) / config.rope
    angles = torch.arange(positions, dtype=torch.float64)[:, None] * config.rope_base**-powers
    return torch.cat([angles.cos(), angles.sin()], dim=1).float()


def layer_weights(weights: Mapping[str, torch.Tensor], layer: int) -> dict[str, torch.Tensor]:
    """Weights of one layer, by their names without its number."""
    prefix = f"{layer}."
    return {name.removeprefix(prefix): tensor for name, tensor in weights.items() if name.startswith(prefix)}
