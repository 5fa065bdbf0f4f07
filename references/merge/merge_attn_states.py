"""Merging two attention states by their log-sum-exp in float64, with a first-order model of fp32 rounding.

Contract: vLLM `merge_attn_states` (vllm-project/vllm#12639, #15492, #48739). LSE is natural and lies [H, T].
"""

from __future__ import annotations

import math
from dataclasses import dataclass

import torch

from rocassay.references.common.merging import TINY
from rocassay.references.common.rounding import (
    EXP_WORST,
    ROUNDING_RMS,
    U32,
    UNIT_ROUNDOFF,
    Modelled,
    absorbed,
    inexact,
    output_rms,
    rounded,
    rounding_rms,
)

LOG_WORST = 4.0
"""Largest absolute error of the logarithm of a number in [1, 2], likewise (NVIDIA PTX ISA, lg2.approx.f32)."""

SLACK = 1 + 2.0**-18
"""Second-order terms of the worst case: products of at most ten fp32 roundings."""


@dataclass(frozen=True, slots=True)
class Merged:
    """Golden of both outputs."""

    output: Modelled
    """[T, H, D]."""
    lse: Modelled
    """[H, T]; -inf where both parts are empty."""


@dataclass(frozen=True, slots=True)
class _Weights:
    """Weights of both parts, float64 [T, H, 1]."""

    prefix: torch.Tensor
    suffix: torch.Tensor
    gap: torch.Tensor
    """Distance of the two LSEs; 0 where a part is empty."""
    total: torch.Tensor
    """Sum of both terms, of which the larger is 1; 0 where both parts are empty."""
    copied: torch.Tensor
    """bool: the suffix is taken verbatim."""


def merge_attn_states(
    prefix_output: torch.Tensor,
    prefix_lse: torch.Tensor,
    suffix_output: torch.Tensor,
    suffix_lse: torch.Tensor,
    *,
    prefill_tokens_with_context: int | None = None,
) -> Merged:
    """Golden of the merge; CPU tensors, none of which changes.

    prefix_output, suffix_output: [T, H, D] of the output's dtype. prefix_lse, suffix_lse: fp32 [H, T], natural
    log; both infinities mean that the part is empty, and then its output counts for nothing, whatever it holds.
    Tokens from `prefill_tokens_with_context` on take the suffix, output and LSE, verbatim.
    """
    copied = _copied(prefix_output.shape[0], prefill_tokens_with_context)
    prefix, suffix = (_natural(lse) for lse in (prefix_lse, suffix_lse))
    prefix = torch.where(copied, -math.inf, prefix)
    largest = torch.maximum(prefix, suffix)
    anchor = torch.where(largest == -math.inf, 0.0, largest)
    terms = [(part - anchor).exp() for part in (prefix, suffix)]
    total = terms[0] + terms[1]
    finite = prefix.isfinite() & suffix.isfinite()
    gap = torch.where(finite, (prefix - suffix).abs(), 0.0)
    share = [term / torch.where(total == 0, 1.0, total) for term in terms]
    weights = _Weights(*(t[..., None] for t in (*share, gap, total, copied)))
    merged = _output(prefix_output, suffix_output, weights)
    return Merged(merged, _lse(suffix_lse, anchor, largest, weights))


def peer_merge_attn_states(
    output: torch.Tensor,
    prefix_output: torch.Tensor,
    prefix_lse: torch.Tensor,
    suffix_output: torch.Tensor,
    suffix_lse: torch.Tensor,
    *,
    output_lse: torch.Tensor | None = None,
    prefill_tokens_with_context: int | None = None,
) -> None:
    """Plain torch fp32 merge with the rounding points that the golden assumes; writes the outputs in place."""
    copied = _copied(output.shape[0], prefill_tokens_with_context).to(output.device)
    prefix, suffix = (torch.where(lse == math.inf, -math.inf, lse).T for lse in (prefix_lse, suffix_lse))
    prefix = torch.where(copied, -math.inf, prefix)
    largest = torch.maximum(prefix, suffix)
    anchor = torch.where(largest == -math.inf, 0.0, largest)
    before, after = (prefix - anchor).exp(), (suffix - anchor).exp()
    total = before + after
    divisor = torch.where(total == 0, torch.ones_like(total), total)
    parts = ((before / divisor, prefix_output), (after / divisor, suffix_output))
    first, second = (torch.where(weight[..., None] == 0, 0.0, weight[..., None] * part) for weight, part in parts)
    output.copy_(torch.where(copied[..., None], suffix_output, (first + second).to(output.dtype)))
    if output_lse is not None:
        merged = torch.where(total == 0, -math.inf, anchor + divisor.log())
        output_lse.copy_(torch.where(copied, suffix_lse.T, merged).T)


def _copied(tokens: int, with_context: int | None) -> torch.Tensor:
    """bool [T, 1]: tokens without context."""
    limit = tokens if with_context is None else with_context
    return (torch.arange(tokens) >= limit)[:, None]


def _natural(lse: torch.Tensor) -> torch.Tensor:
    """float64 [T, H]; +inf, as FlashAttention 2 reports an empty part, becomes -inf."""
    wide = lse.double().T
    return torch.where(wide == math.inf, -math.inf, wide)


def _output(prefix: torch.Tensor, suffix: torch.Tensor, weights: _Weights) -> Modelled:
    dtype = suffix.dtype
    after = torch.where((weights.suffix == 0) & ~weights.copied, 0.0, suffix.double())
    before = torch.where(weights.prefix == 0, 0.0, prefix.double())
    first, second = weights.prefix * before, weights.suffix * after
    value = torch.where(weights.copied, after, first + second)
    common = torch.stack(_common_errors(first, second, value, before - after, weights))
    products = ((first, rounded(weights.prefix) * before), (second, rounded(weights.suffix) * after))
    own = sum(size.square() * inexact(product) for size, product in products) * (ROUNDING_RMS * U32) ** 2
    variance = common.sum(dim=0) + own + output_rms(value, torch.float32, before, after).square()
    drawn = variance > 0
    if dtype is not torch.float32:
        # Where an operand absorbs the other, earlier errors vanish with it; where there are none, the rounding is
        # known, too: the mean of two neighbours is a tie.
        known = absorbed(value, dtype, before, after) | ~drawn
        error = (rounded(value, dtype) - value).square()
        variance = torch.where(known, error, variance + rounding_rms(value, dtype).square())
        drawn &= ~known
    sigma = torch.where(weights.copied, 0.0, variance.sqrt())
    # Of an element whose rounding is known no error is drawn that it could share.
    shares = torch.where(drawn, common / variance, 0.0).mean(dim=-1).square().sum(dim=0)
    return Modelled(value, sigma, _output_bound(first, second, value, before - after, weights, dtype), shares)


def _common_errors(
    first: torch.Tensor, second: torch.Tensor, value: torch.Tensor, apart: torch.Tensor, weights: _Weights
) -> list[torch.Tensor]:
    """Variances that a row's elements have in common: the smaller term, the total, both quotients."""
    product, unit = weights.prefix * weights.suffix, (ROUNDING_RMS * U32) ** 2
    divisor = rounded(torch.where(weights.total == 0, 1.0, weights.total))
    terms = [share * weights.total for share in (weights.prefix, weights.suffix)]
    return [
        # The difference of the LSEs moves the smaller term by its rounding, the exponential rounds once more.
        unit * (product * apart).square() * (weights.gap.square() + 1) * (weights.gap > 0),
        (value * _total_rms(weights) / divisor).square(),
        unit * first.square() * inexact(terms[0] / divisor),
        unit * second.square() * inexact(terms[1] / divisor),
    ]


def _total_rms(weights: _Weights) -> torch.Tensor:
    """rms error of the sum of both terms, the larger of which is exactly 1."""
    return output_rms(weights.total, torch.float32, torch.ones_like(weights.total))


def _output_bound(
    first: torch.Tensor,
    second: torch.Tensor,
    value: torch.Tensor,
    apart: torch.Tensor,
    weights: _Weights,
    dtype: torch.dtype,
) -> torch.Tensor:
    product = weights.prefix * weights.suffix
    exponent = (2 * weights.gap + EXP_WORST) * product * apart.abs()
    worst = U32 * SLACK * (exponent + 2 * value.abs() + 2 * first.abs() + 2 * second.abs()) * (product > 0)
    # A weight below the smallest normal number may be flushed to zero, and so may what it makes of its part.
    worst = worst + TINY * (1 + apart.abs()) * (product > 0)
    if dtype is torch.float32:
        return worst
    unit = UNIT_ROUNDOFF[dtype]
    # Below the smallest normal number the spacing no longer shrinks.
    spacing = torch.finfo(dtype).tiny * unit
    return (worst * (1 + unit) + unit * value.abs() + spacing) * (product > 0)


def _lse(suffix_lse: torch.Tensor, anchor: torch.Tensor, largest: torch.Tensor, weights: _Weights) -> Modelled:
    copied, gap, total = (t[..., 0] for t in (weights.copied, weights.gap, weights.total))
    smaller = torch.minimum(weights.prefix, weights.suffix)[..., 0]
    log = torch.where(total == 0, 1.0, total).log()
    value = torch.where(largest == -math.inf, -math.inf, anchor + log)
    rounds = (smaller > 0) & ~copied
    finite = torch.where(rounds, value, 0.0)
    unit = (ROUNDING_RMS * U32) ** 2
    terms = unit * (smaller.square() * (gap.square() + 1) * (gap > 0) + log.square())
    larger = torch.where(rounds, anchor, 0.0)
    stored = output_rms(finite, torch.float32, larger).square()
    # Where the larger LSE absorbs the logarithm, the errors of that vanish with it.
    drawn = rounds & ~absorbed(finite, torch.float32, larger)
    sigma = (drawn * (terms + _total_rms(weights)[..., 0].square()) + stored).sqrt()
    errors = (2 * gap + EXP_WORST) * smaller + 1 + LOG_WORST + log + finite.abs()
    value = torch.where(copied, suffix_lse.double().T, value)
    return Modelled(value.T, sigma.T, (rounds * U32 * SLACK * errors).T)
