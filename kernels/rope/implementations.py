"""RoPE implementations as a model holds them: callables that rotate in place, and callables that return copies.

Whoever calls one must know which kind it is: vLLM's custom op changes its arguments, its native forward, which
TorchInductor compiles and which YaRN's HIP forward is, returns new tensors (vllm-project/vllm#43781).
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import TypeAlias

import torch

from rocassay.kernels.rope.apply_rope import apply_rope
from rocassay.kernels.rope.dispatch import RopeVariant

RopeCall: TypeAlias = Callable[
    [torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor, RopeVariant], tuple[torch.Tensor, torch.Tensor]
]
"""(positions [T], q [T, H, rot], k [T, Hk, rot], cos_sin_cache [P, rot], variant) -> rotated q and k."""


@dataclass(frozen=True, slots=True)
class Rope:
    """One implementation and what is known of it."""

    name: str
    """Which of vLLM's this is."""
    inplace: bool
    """Whether `rotate` changes q and k themselves."""
    enabled: bool
    """Whether the custom op is switched on (`rope.enabled()`)."""
    rotate: RopeCall
    """The callable."""


def rotate_in_place(
    positions: torch.Tensor, q: torch.Tensor, k: torch.Tensor, cos_sin_cache: torch.Tensor, variant: RopeVariant
) -> tuple[torch.Tensor, torch.Tensor]:
    """Rotates q and k themselves and returns them."""
    apply_rope(positions, q, cos_sin_cache, k=k, variant=variant)
    return q, k


def rotate_copies(
    positions: torch.Tensor, q: torch.Tensor, k: torch.Tensor, cos_sin_cache: torch.Tensor, variant: RopeVariant
) -> tuple[torch.Tensor, torch.Tensor]:
    """Leaves q and k alone and returns new, contiguous tensors."""
    q_out = torch.empty(q.shape, dtype=q.dtype, device=q.device)
    k_out = torch.empty(k.shape, dtype=k.dtype, device=k.device)
    apply_rope(positions, q, cos_sin_cache, k=k, q_out=q_out, k_out=k_out, variant=variant)
    return q_out, k_out


ROPES: Mapping[str, Rope] = MappingProxyType(
    {
        "custom_op": Rope("custom_op", inplace=True, enabled=True, rotate=rotate_in_place),
        "native": Rope("native", inplace=False, enabled=False, rotate=rotate_copies),
        # Switched on, but its HIP forward is the native one.
        "yarn": Rope("yarn", inplace=False, enabled=True, rotate=rotate_copies),
    }
)
"""The implementations that vLLM's models meet on ROCm."""
