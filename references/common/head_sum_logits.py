"""Scores ks * sum_h w_h * max(0, q_h . k) of one query row in float64, with a first-order model of fp32 rounding.

Every rounding that an fp32 implementation performs contributes to `sigma` independently; an operation whose exact
result is an fp32 number contributes nothing. No constant is fitted.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from rocassay.references.common.rounding import DOT_STEP, ROUNDING_RMS, U32, inexact, rounded

DOT_BUDGET = 2.0**-17
"""Worst relative error of an fp32-accumulating fp8 matrix product of at most 128 terms."""


@dataclass(frozen=True, slots=True)
class QueryRow:
    """One query row and the keys it sees, all float64 (fp8 codes decoded exactly)."""

    queries: torch.Tensor
    """[H, D]; D a multiple of `DOT_STEP`."""
    weights: torch.Tensor
    """[H]."""
    keys: torch.Tensor
    """[n, D]."""
    scales: torch.Tensor
    """[n], positive."""


@dataclass(frozen=True, slots=True)
class Scores:
    """Scores of a row's keys, float64 [n]."""

    value: torch.Tensor
    """scale * sum_h w_h * max(0, q_h . k)."""
    sigma: torch.Tensor
    """rms error of a correct fp32 implementation that adds the heads one by one in any order, or by strides; 0 where
    no rounding happens."""
    peer_sigma: torch.Tensor
    """The same for heads added one by one, as the peer does."""
    bound: torch.Tensor
    """Error that no correct fp32 implementation exceeds."""


def scores(row: QueryRow) -> Scores:
    """Golden scores of one row, whatever the order in which heads are summed or the scale is applied."""
    dots = row.queries @ row.keys.T
    sizes = row.queries.abs() @ row.keys.abs().T
    terms = row.weights[:, None] * dots.relu()
    value = row.scales * terms.sum(dim=0)
    in_order, in_any = _rounding_rms(row, dots, sizes)
    return Scores(value, row.scales * in_any, row.scales * in_order, _worst_error(row, sizes, terms))


def peer_scores(row: QueryRow) -> torch.Tensor:
    """Plain torch fp32 scores [n] with the rounding points of `Scores.peer_sigma`: dots, weights, head sum, scale."""
    dots = row.queries.float() @ row.keys.float().T
    terms = dots.relu() * row.weights.float()[:, None]
    total = torch.zeros_like(terms[0])
    for term in terms:
        total = total + term
    return total * row.scales.float()


def _rounding_rms(row: QueryRow, dots: torch.Tensor, sizes: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """rms error over the scale, heads added in order and in any order; adding to or from zero does not round."""
    squares = (row.weights[:, None].square() * _dot_error_squared(row, dots, sizes)).sum(dim=0)
    exact_terms = row.weights[:, None] * rounded(dots.relu())
    squares += (exact_terms.square() * inexact(exact_terms)).sum(dim=0)
    terms = rounded(exact_terms)
    partial = torch.cumsum(terms, dim=0)
    before = torch.cat([torch.zeros_like(partial[:1]), partial[:-1]])
    in_order = (partial.square() * ((terms != 0) & (before != 0) & inexact(partial))).sum(dim=0)
    furthest = torch.stack([in_order, _any_order(terms), *_strided_orders(terms)]).amax(dim=0)
    in_any = torch.where(in_order > 0, furthest, 0.0)
    squares += partial[-1].square() * (torch.frexp(row.scales).mantissa != 0.5)
    unit = ROUNDING_RMS * U32
    return unit * (squares + in_order).sqrt(), unit * (squares + in_any).sqrt()


def _any_order(terms: torch.Tensor) -> torch.Tensor:
    """Sum of the squared running sums of [H, n] terms added one by one, in the mean over all orders.

    The running sums of 2 to `count` terms that are not 0 hold sum k / count of the squares' sum and
    sum k (k - 1) / (count (count - 1)) of the products of different terms.
    """
    count = (terms != 0).sum(dim=0).double()
    squares = terms.square().sum(dim=0)
    products = terms.sum(dim=0).square() - squares
    return ((count + 1) / 2 - 1 / count.clamp(min=1)) * squares + (count + 1) / 3 * products


def _strided_orders(terms: torch.Tensor) -> Iterator[torch.Tensor]:
    """Sums of the squared running sums of [H, n] terms added as lanes and registers hold them, for each stride.

    Every 2nd, 4th, ... term is added to its like, then the sums to each other. Where signs alternate over the heads
    such sums are far larger than in the mean over all orders.
    """
    heads, keys = terms.shape
    for stride in (1 << power for power in range(1, (heads - 1).bit_length())):
        padded = torch.nn.functional.pad(terms, (0, 0, 0, -heads % stride))
        alike = padded.reshape(-1, stride, keys)
        yield _rounded_squares(alike).sum(dim=0) + _rounded_squares(alike.sum(dim=0))


def _rounded_squares(terms: torch.Tensor) -> torch.Tensor:
    """Sum over the first axis of the squared running sums that round; adding to or from zero does not."""
    running = terms.cumsum(dim=0)
    return (running[1:].square() * ((terms[1:] != 0) & (running[:-1] != 0))).sum(dim=0)


def _dot_error_squared(row: QueryRow, dots: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
    """Sum of the squared partial sums at which each dot rounds, [H, n]; 0 where it is exact in any order.

    An implementation adds `DOT_STEP` products at a time, exactly, and rounds each running sum; which products come
    first is its own business, so a running sum counts with its mean square over all orders.
    Products of fp8 numbers have 8 significant bits, so many dots never round in any order: those whose lowest bit
    an fp32 number as large as `sizes`, sum_d |q_d k_d|, still holds.
    """
    each = row.queries.square() @ row.keys.square().T
    length = row.keys.shape[1]
    added = torch.arange(DOT_STEP, length + 1, DOT_STEP, dtype=torch.float64)
    # A pair of different products is among the first `added` of `length` with this probability.
    pairs = (added * (added - 1) / (length * (length - 1))).sum()
    squared = (added / length).sum() * each + pairs * (dots.square() - each)
    # ReLU removes the error of a negative dot, unless rounding can carry it across zero.
    passes = dots > -2 * row.keys.shape[1] * U32 * sizes
    furthest = torch.exp2(torch.frexp(sizes).exponent.double())
    return squared * (passes & inexact(furthest + dots.abs()))


def _worst_error(row: QueryRow, sizes: torch.Tensor, terms: torch.Tensor) -> torch.Tensor:
    """The matrix product's budget, then gamma_n for the product, the head sum and the scale, any order."""
    roundings = (len(row.weights) + 2) * U32
    sums = roundings / (1 - roundings) * terms.abs().sum(dim=0)
    return row.scales * (DOT_BUDGET * (row.weights.abs() @ sizes) + sums)
