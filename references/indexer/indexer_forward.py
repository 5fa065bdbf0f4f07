"""The V3.2 Indexer's forward, composed of the goldens of its parts: rotation, both quantisers, weights, cache layout.

Contract: vLLM `Indexer.forward` (vLLM models/deepseek_v2.py; vllm-project/vllm#43781). The rotation rounds to the
activations' dtype once; where fp32 arithmetic may carry it to either neighbour, both are right and so are both codes.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, Literal

import numpy as np
import torch
from numpy.typing import NDArray

from rocassay.harness.fp8 import Fp8Format, encode, format_of, power_of_two_at_least
from rocassay.references.common.rounding import Modelled, ulp
from rocassay.references.indexer import indexer_k_quant_and_cache as writer
from rocassay.references.prefill import indexer_weights as head_weights
from rocassay.references.prefill import per_token_group_quant_fp8 as quantiser
from rocassay.references.rope.indexer_rope_forward import indexer_rope_forward as rope_forward
from rocassay.references.rope.indexer_rope_forward import peer_indexer_rope_forward
from rocassay.references.rope.rotation import OUTPUT_BUDGET, Style

HEAD_DIM = 128
"""Dimensions of an indexer query head and of a key."""


@dataclass(frozen=True, slots=True)
class Forward:
    """What one forward must leave behind."""

    q: Modelled
    """The rotated queries [T, H, 128], before quantisation."""
    k: Modelled
    """The rotated keys [T, 128]."""
    codes: tuple[torch.Tensor, ...]
    """uint8 [T, H, 128]: the queries' codes, and buffers of which a code may be taken instead."""
    weights: head_weights.Weights
    """Head weights [T, H] with the queries' scales folded in."""
    weighed: torch.Tensor
    """bool [T, H]: heads whose scale is certain; at a power of two both neighbours of the largest lane may count."""
    cache: tuple[torch.Tensor, ...]
    """uint8 like kv_cache: the whole cache after the write, and buffers of which a byte may be taken instead."""


@dataclass(frozen=True, slots=True)
class _Rounded:
    """Quantised rows: nearest lanes under the lower scale first, then the other combinations."""

    codes: tuple[NDArray[np.uint8], ...]
    scales: tuple[NDArray[np.float32], NDArray[np.float32]]


def indexer_forward(
    positions: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    weights: torch.Tensor,
    cos_sin_cache: torch.Tensor,
    slot_mapping: torch.Tensor,
    kv_cache: torch.Tensor,
    *,
    style: Style,
    layout: Literal["NORMAL", "SHUFFLE"],
    fp8: str,
) -> Forward:
    """Golden of the forward; CPU tensors as `kernels.indexer.indexer_forward` takes them, none of which changes."""
    fmt, dtype = format_of(fp8), q.dtype
    turned_q, turned_k = rope_forward(positions, q, k, cos_sin_cache, style=style)
    queries = _quantised(turned_q, dtype, fmt, quantiser.AMAX_FLOOR)
    keys = _quantised(turned_k, dtype, fmt, writer.AMAX_FLOOR)
    slots = slot_mapping.to(torch.int64).numpy()
    return Forward(
        turned_q,
        turned_k,
        tuple(torch.from_numpy(codes) for codes in queries.codes),
        head_weights.indexer_weights(weights, torch.from_numpy(queries.scales[0]), head_dim=HEAD_DIM),
        torch.from_numpy(queries.scales[0] == queries.scales[1]),
        tuple(
            writer.packed(kv_cache, layout, codes, keys.scales[number % 2], slots)
            for number, codes in enumerate(keys.codes)
        ),
    )


def _quantised(turned: Modelled, dtype: torch.dtype, fmt: Fp8Format, floor: np.float32) -> _Rounded:
    """Codes of rows [..., 128] for both neighbours of every lane and both scales that the row may have."""
    nearest, other = _neighbours(turned, dtype)
    magnitudes = np.stack([np.abs(nearest), np.abs(other)])
    scales = tuple(_scale(extreme(magnitudes, axis=0), fmt, floor) for extreme in (np.min, np.max))
    codes = tuple(
        encode(lanes.astype(np.float64) / scale[..., None].astype(np.float64), fmt)
        for lanes in (nearest, other)
        for scale in scales
    )
    return _Rounded(codes, (scales[0], scales[1]))


def _neighbours(turned: Modelled, dtype: torch.dtype) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Every lane rounded to `dtype`, and the number that fp32 arithmetic may round it to instead (or the same)."""
    value = turned.value
    rounded = value.to(dtype)
    # The bound is that of the fp32 arithmetic on top of OUTPUT_BUDGET for the rounding to `dtype`.
    budget = (turned.bound - OUTPUT_BUDGET * ulp(value, dtype)).clamp(min=0)
    below, above = (value - budget).to(dtype), (value + budget).to(dtype)
    return rounded.float().numpy(), torch.where(below != rounded, below, above).float().numpy()


def _scale(magnitudes: NDArray[np.float32], fmt: Fp8Format, floor: np.float32) -> NDArray[np.float32]:
    amax = np.maximum(magnitudes.max(axis=-1), floor)
    # An fp32 quotient is never rounded across a power of two: the nearest quotient of a 24-bit amax is farther off.
    return power_of_two_at_least((amax.astype(np.float64) / fmt.scaling_max).astype(np.float32))


def peer_indexer_forward(
    positions: torch.Tensor,
    q: torch.Tensor,
    k: torch.Tensor,
    weights: torch.Tensor,
    cos_sin_cache: torch.Tensor,
    slot_mapping: torch.Tensor,
    q_fp8: torch.Tensor,
    weights_out: torch.Tensor,
    kv_cache: torch.Tensor,
    *,
    style: Style,
    layout: Literal["NORMAL", "SHUFFLE"],
    fp8: str,
    in_place: bool,
    **_: Any,
) -> None:
    """Plain torch: the peers of the parts, one after the other; `in_place` rotates q and k themselves."""
    q_turned, k_turned = (q, k) if in_place else (q.clone(), k.clone())
    peer_indexer_rope_forward(positions, q_turned, k_turned, cos_sin_cache, style=style)
    tokens, heads = weights.shape
    codes = torch.empty(tokens * heads, HEAD_DIM, dtype=torch.uint8, device=q.device)
    scales = torch.empty(tokens * heads, 1, device=q.device)
    quantiser.peer_per_token_group_quant_fp8(
        q_turned.reshape(-1, HEAD_DIM), codes, scales, fp8=fp8, scale_fmt="ue8m0", group_size=HEAD_DIM
    )
    q_fp8.copy_(codes.view(q_fp8.shape))
    head_weights.peer_indexer_weights(weights, scales.view(tokens, heads), weights_out, head_dim=HEAD_DIM)
    writer.peer_indexer_k_quant_and_cache(
        k_turned, kv_cache, slot_mapping, scale_fmt="ue8m0", layout=layout, fp8=fp8
    )  # fmt: skip
