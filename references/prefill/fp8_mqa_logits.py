"""Prefill indexer logits in float64 from the stored bytes, per row over its own window of keys.

Contract: vLLM `rocm_fp8_mqa_logits` and AITER `fp8_mqa_logits` (vLLM v1/attention/ops/rocm_aiter_mla_sparse.py).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from rocassay.harness.fp8 import decode_tensor, format_of
from rocassay.references.common.head_sum_logits import QueryRow, peer_scores, scores


@dataclass(frozen=True, slots=True)
class Logits:
    """Golden logits [M, N]; entries outside a row's window are 0 in all float64 tensors."""

    value: torch.Tensor
    """float64: scale[n] * sum_h w[m, h] * max(0, q[m, h] . k[n])."""

    visible: torch.Tensor
    """bool: max(0, ks[m]) <= n < min(N, ke[m])."""

    sigma: torch.Tensor
    """float64: rms error of a correct fp32 implementation; 0 where no rounding happens."""

    peer_sigma: torch.Tensor
    """float64: the same for the peer's order of summation."""

    bound: torch.Tensor
    """float64: error that no correct fp32 implementation exceeds."""


def fp8_mqa_logits(
    q_fp8: torch.Tensor,
    k_fp8: torch.Tensor,
    k_scale: torch.Tensor,
    weights: torch.Tensor,
    ks: torch.Tensor,
    ke: torch.Tensor,
    *,
    fp8: str,
) -> Logits:
    """Golden of the prefill logits; CPU tensors, none of which changes.

    q_fp8: [M, H, D] uint8 or fp8. k_fp8: [N, D]. k_scale: fp32 [N] or [N, 1]. weights: fp32 [M, H]. ks, ke: int32 [M];
    row m sees the keys ks[m] <= n < ke[m], clamped to [0, N); ks >= ke is an empty row. Keys, scales and query rows
    that no window needs may hold anything.
    """
    shape = (q_fp8.shape[0], k_fp8.shape[0])
    value, sigma, peer_sigma, bound = (torch.zeros(shape, dtype=torch.float64) for _ in range(4))
    visible = torch.zeros(shape, dtype=torch.bool)
    for index, window, row in _rows(q_fp8, k_fp8, k_scale, weights, ks, ke, fp8):
        scored = scores(row)
        visible[index, window] = True
        value[index, window], sigma[index, window], bound[index, window] = scored.value, scored.sigma, scored.bound
        peer_sigma[index, window] = scored.peer_sigma
    return Logits(value, visible, sigma, peer_sigma, bound)


def peer_fp8_mqa_logits(
    q_fp8: torch.Tensor,
    k_fp8: torch.Tensor,
    k_scale: torch.Tensor,
    weights: torch.Tensor,
    ks: torch.Tensor,
    ke: torch.Tensor,
    logits: torch.Tensor,
    *,
    clean_logits: bool,
    fp8: str,
) -> None:
    """Plain torch fp32 logits written into `logits` [M, N]; outside the windows -inf, or nothing unless cleaned."""
    if clean_logits:
        logits.fill_(-torch.inf)
    for index, window, row in _rows(q_fp8, k_fp8, k_scale, weights, ks, ke, fp8):
        logits[index, window] = peer_scores(row)


def _rows(
    q_fp8: torch.Tensor,
    k_fp8: torch.Tensor,
    k_scale: torch.Tensor,
    weights: torch.Tensor,
    ks: torch.Tensor,
    ke: torch.Tensor,
    fp8: str,
) -> Iterator[tuple[int, slice, QueryRow]]:
    """Every row that sees at least one key, with its window."""
    fmt = format_of(fp8)
    keys, count = decode_tensor(k_fp8, fmt), k_fp8.shape[0]
    scales = k_scale.reshape(-1).double()
    for index, (start, end) in enumerate(zip(ks.tolist(), ke.tolist(), strict=True)):
        window = slice(max(0, start), min(count, end))
        if window.start < window.stop:
            queries = decode_tensor(q_fp8[index], fmt)
            yield index, window, QueryRow(queries, weights[index].double(), keys[window], scales[window])
