"""The cos/sin cache, built once in float64 on the host and stored in fp32.

Sources: Peng et al., YaRN (arXiv 2309.00071); vLLM `DeepseekScalingRotaryEmbedding`; DeepSeek-V3.2 config.json.
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class RopeScaling:
    """Frequencies of a model: base, rotated dims, and YaRN's stretch of the context."""

    base: float = 10000.0
    """theta: pair i turns by base^(-2i/rot) a position."""
    rot: int = 64
    """Rotated dims of a head; a power of two."""
    factor: float = 1.0
    """How many times the original context is stretched; 1 means no YaRN."""
    original_positions: int = 4096
    """Context length of the training that YaRN extends."""
    beta_fast: float = 32.0
    """Pairs with more turns than this in the original context keep their frequency."""
    beta_slow: float = 1.0
    """Pairs with fewer turns than this are slowed down by `factor`."""
    mscale: float = 1.0
    """Weight of the attention temperature in cos and sin."""
    mscale_all_dim: float = 1.0
    """Weight that the softmax scale already carries; equal weights cancel."""

    @property
    def attention_factor(self) -> float:
        """What cos and sin are multiplied by: 1 for DeepSeek, whose two weights are equal."""
        return self._temperature(self.mscale) / self._temperature(self.mscale_all_dim)

    def _temperature(self, weight: float) -> float:
        return 1.0 if self.factor <= 1 else 0.1 * weight * math.log(self.factor) + 1.0

    def frequencies(self) -> torch.Tensor:
        """float64 [rot/2]: radians a position of each pair."""
        pair = torch.arange(self.rot // 2, dtype=torch.float64)
        plain = self.base ** (-2 * pair / self.rot)
        if self.factor == 1:
            return plain
        low = max(math.floor(self._pair_of(self.beta_fast)), 0)
        high = min(math.ceil(self._pair_of(self.beta_slow)), self.rot - 1)
        kept = 1 - ((pair - low) / max(high - low, 1e-3)).clamp(0, 1)
        return plain / self.factor * (1 - kept) + plain * kept

    def _pair_of(self, turns: float) -> float:
        """Pair that makes `turns` turns within the original context."""
        return self.rot * math.log(self.original_positions / (turns * 2 * math.pi)) / (2 * math.log(self.base))


DEEPSEEK_V32 = RopeScaling(factor=40.0)
"""DeepSeek-V3.2: 4096 positions stretched to 163840."""


def cos_sin_cache(scaling: RopeScaling, positions: int) -> torch.Tensor:
    """fp32 [positions, rot]: columns [0, rot/2) are cosines, the rest sines of position times frequency."""
    angle = torch.arange(positions, dtype=torch.float64)[:, None] * scaling.frequencies()
    return (torch.cat([angle.cos(), angle.sin()], dim=-1) * scaling.attention_factor).to(torch.float32)
