"""Attention of one query token over a multiset of rows in float64, with a first-order model of its roundings.

Plan: the softmax weights are rounded to the type of the rows before they meet the values, the result is rounded
to the output's type; everything else accumulates in fp32. Nothing here is fitted to a kernel.
"""
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

UNIT_ROUNDOFF = {torch.bfloat16: 2.0**-8, torch.float16: 2.0**-11, torch.float32: 2.0**-24}
"""Largest relative error of one rounding to nearest."""

ROUNDING_RMS = math.sqrt(0.541 / 3)
"""rms error, in unit roundoffs, of rounding a number whose mantissa is log-uniform: E[1/m^2] = 0.541."""

FP32 = 2.0**-24
"""Unit roundoff of the accumulations."""

EXPONENTIAL = 2.0**-20
"""Relative error granted to the hardware's exponential and division together."""

FLAT_ROWS = 8
"""Rows of fewer distinct keys are never called flat: their shares already widen the row statistic."""

FLAT_SPREAD = 0.1
"""Standard deviation of the logits below which neighbouring weights round alike (26 steps of a bf16 mantissa)."""


@dataclass(frozen=True, slots=True)
class Attended:
    """Golden of an attention output; float64 [T, H, DV] unless said otherwise."""

    value: torch.Tensor
    """Weighted mean of the values; 0 for a token without keys, NaN where a key that is not scrubbed holds NaN."""

    sigma: torch.Tensor
    """Standard deviation of the planned roundings; 0 where the result is exact."""

    bound: torch.Tensor
    """Error that no implementation of the plan exceeds."""

    share: torch.Tensor
    """[T, H]: sum over the keys of their squared share of a row's variance, for errors that dimensions share."""

    flat: bool
    """Whether some row's logits are so equal that its roundings are coherent: then the model does not hold."""


def attend_rows(
    queries: torch.Tensor,
    rows: list[tuple[torch.Tensor, torch.Tensor]],
    sink: torch.Tensor | None,
    *,
    scale: float,
    width: int,
    dtype: torch.dtype,
) -> Attended:
    """Golden of every token: out = sum_j p_j v_j with p = softmax of scale * q . k over the rows and the sink.

    queries: float64 [T, H, D]. rows: per token its distinct key rows, float64 [N, D], and how often each is
    listed, float64 [N]; a value is the first `width` dims of its key row. sink: [>= H] or None, a logit without
    a value. dtype: what weights and outputs are rounded to.
    """
    tokens, heads, _ = queries.shape
    shape = (tokens, heads, width)
    value, sigma, bound = (torch.zeros(shape, dtype=torch.float64) for _ in range(3))
    share = torch.zeros(tokens, heads, dtype=torch.float64)
    flat = False
    for token, (keys, counts) in enumerate(rows):
        if not len(keys):
            continue
        logits = scale * queries[token] @ keys.T
        weights = softmax_weights(logits, counts, sink)
        values = keys[:, :width]
        value[token] = weights @ values
        sigma[token], share[token] = _rounding(weights, values, value[token], dtype)
        bound[token] = _worst(queries[token], keys, weights, value[token], scale, dtype)
        flat |= len(keys) >= FLAT_ROWS and bool((logits.std(dim=1) < FLAT_SPREAD).any())
    return Attended(value, sigma, bound, share, flat)


def softmax_weights(logits: torch.Tensor, counts: torch.Tensor, sink: torch.Tensor | None) -> torch.Tensor:
    """[H, N] weights; a row listed n times weighs n times as much, the sink takes its part and gives no value."""
    peak = logits.max(dim=1).values
    extra = torch.zeros_like(peak)
    if sink is not None:
        peak = torch.maximum(peak, sink[: len(peak)].to(peak.dtype))
        extra = torch.exp(sink[: len(peak)].to(peak.dtype) - peak)
    terms = counts * torch.exp(logits - peak[:, None])
    return terms / (terms.sum(dim=1) + extra)[:, None]


def _rounding(
    weights: torch.Tensor, values: torch.Tensor, result: torch.Tensor, dtype: torch.dtype
) -> tuple[torch.Tensor, torch.Tensor]:
    """Sigma [H, DV] and share [H]. Copies of a row round alike, so they count as one weight."""
    unit = ROUNDING_RMS * UNIT_ROUNDOFF[dtype]
    # A key that is alone weighs exactly 1, and a result that the output type holds is not rounded.
    uncertain = torch.where(weights == 1, 0.0, unit * weights).square()
    squares = values.square()
    rounded = result.to(dtype).to(torch.float64) != result
    variance = uncertain @ squares + (unit * result).square() * rounded
    inverse = torch.where(variance > 0, 1 / variance, 0.0)
    shares = uncertain * (inverse @ squares.T) / result.shape[1]
    return variance.sqrt(), torch.nan_to_num(shares.square().sum(dim=1))


def _worst(
    queries: torch.Tensor,
    keys: torch.Tensor,
    weights: torch.Tensor,
    result: torch.Tensor,
    scale: float,
    dtype: torch.dtype,
) -> torch.Tensor:
    """Worst case of both roundings, the fp32 accumulations of logits, sums and values, and what flushes to zero."""
    unit = UNIT_ROUNDOFF[dtype]
    logit_error = queries.shape[1] * FP32 * scale * (queries.abs() @ keys.abs().T).max(dim=1).values
    slop = 2 * logit_error + 4 * (len(keys) + 1) * FP32 + EXPONENTIAL
    values = keys[:, : result.shape[1]].abs()
    # Weights are taken relative to the largest one, and results are stored, in types whose least normal number this is.
    flushed = torch.finfo(torch.float32).tiny * (1 + values.sum(dim=0))
    return (unit * (1 + unit) + slop[:, None]) * (weights @ values) + unit * (1 + unit) * result.abs() + flushed


def peer_attend(
    queries: torch.Tensor,
    keys: torch.Tensor,
    sink: torch.Tensor | None,
    *,
    scale: float,
    width: int,
    dtype: torch.dtype,
) -> torch.Tensor:
    """Plain torch at the same plan: fp32 softmax, weights rounded, fp32 product, result rounded; [H, DV].

    queries: [H, D]; keys: [N, D], listed as often as they count; no key at all gives zeros.
    """
    if not len(keys):
        return torch.zeros(len(queries), width, dtype=dtype, device=queries.device)
    logits = (queries.float() @ keys.float().T) * scale
    ones = torch.ones(len(keys), dtype=torch.float32, device=keys.device)
    weights = softmax_weights(logits, ones, sink).to(dtype)
    return (weights.float() @ keys[:, :width].float()).to(dtype)
