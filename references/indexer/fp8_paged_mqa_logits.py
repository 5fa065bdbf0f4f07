"""Indexer decode logits in float64 from the stored bytes, with a first-order model of fp32 rounding.

Contract: vLLM `rocm_fp8_paged_mqa_logits` (vllm-project/vllm#42062, #43781).
"""
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from rocassay.harness.fp8 import decode_tensor, format_of
from rocassay.harness.layouts import indexer_layout

HEAD_DIM = 128
"""Dimensions of an indexer key."""

UNIT_ROUNDOFF = 2.0**-24
"""Half an ulp of 1 in fp32."""

ROUNDING_RMS = math.sqrt(0.541 / 3)
"""rms error, in unit roundoffs, of rounding a number whose mantissa is log-uniform: E[1/m^2] = 0.541."""

DOT_STEP = 16
"""Fewest products that a matrix instruction in scope adds before it rounds: K of v_mfma_f32_32x32x16_fp8_fp8 and of
NVIDIA's m16n8k16 (AMD CDNA3 ISA guide; NVIDIA PTX ISA)."""

DOT_BUDGET = 2.0**-17
"""Worst relative error of an fp32-accumulating fp8 matrix product of 128 terms."""


@dataclass(frozen=True, slots=True)
class Logits:
    """Golden logits [R, L] with R = B * next_n; entries that are not visible are 0."""

    value: torch.Tensor
    """float64: ks[p] * sum_h w[h] * max(0, q[h] . k[p]); NaN where a visible key or its query holds NaN."""

    visible: torch.Tensor
    """bool: inside the row's limit, max_model_len and the block table; elsewhere outputs are undefined."""

    sigma: torch.Tensor
    """float64: rms error of a correct fp32 implementation; 0 where no rounding happens."""

    bound: torch.Tensor
    """float64: error that no correct fp32 implementation exceeds."""


@dataclass(frozen=True, slots=True)
class _Row:
    """One row's queries, weights and visible keys, all float64 (bytes decoded exactly)."""

    index: int
    limit: int
    queries: torch.Tensor
    weights: torch.Tensor
    keys: torch.Tensor
    scales: torch.Tensor


def fp8_paged_mqa_logits(
    q_fp8: torch.Tensor,
    kv_cache: torch.Tensor,
    weights: torch.Tensor,
    context_lens: torch.Tensor,
    block_tables: torch.Tensor,
    *,
    max_model_len: int,
    layout: Literal["NORMAL", "SHUFFLE"],
    fp8: str,
) -> Logits:
    """Golden of the paged logits; CPU tensors, none of which changes.

    q_fp8: [B, next_n, H, 128] uint8 or fp8. kv_cache: [NB, BS, 132] or [NB, BS, 1, 132] uint8. weights:
    [B * next_n, H] fp32. context_lens: [B] or [B, next_n]. block_tables: [B, W]. Only pages that a visible
    position refers to are read; all others, and table entries behind the last one, may hold anything.
    """
    shape = (q_fp8.shape[0] * q_fp8.shape[1], max_model_len)
    value, sigma, bound = (torch.zeros(shape, dtype=torch.float64) for _ in range(3))
    visible = torch.zeros(shape, dtype=torch.bool)
    for row in _rows(q_fp8, kv_cache, weights, context_lens, block_tables, max_model_len, layout, fp8):
        seen = (row.index, slice(0, row.limit))
        visible[seen] = True
        value[seen], sigma[seen], bound[seen] = _score(row)
    return Logits(value, visible, sigma, bound)


def peer_fp8_paged_mqa_logits(
    q_fp8: torch.Tensor,
    kv_cache: torch.Tensor,
    weights: torch.Tensor,
    context_lens: torch.Tensor,
    block_tables: torch.Tensor,
    logits: torch.Tensor,
    *,
    max_model_len: int,
    layout: Literal["NORMAL", "SHUFFLE"],
    fp8: str,
) -> None:
    """Plain torch fp32 logits with the rounding points that `Logits.sigma` assumes, written into `logits`.

    The dots, then the products with the weights, then the head sum in order, then the scale. Columns that
    are not visible keep what they held. Moves the lengths to the host.
    """
    for row in _rows(q_fp8, kv_cache, weights, context_lens, block_tables, max_model_len, layout, fp8):
        dots = row.queries.float() @ row.keys.float().T
        terms = dots.relu() * row.weights.float()[:, None]
        total = torch.zeros_like(terms[0])
        for term in terms:
            total = total + term
        logits[row.index, : row.limit] = total * row.scales.float()


def _score(row: _Row) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Value, sigma and bound of one row's visible columns, float64 [limit]."""
    dots = row.queries @ row.keys.T
    sizes = row.queries.abs() @ row.keys.abs().T
    terms = row.weights[:, None] * dots.relu()
    value = row.scales * terms.sum(dim=0)
    return value, row.scales * _rounding_rms(row, dots, sizes), _worst_error(row, sizes, terms)


def _rounding_rms(row: _Row, dots: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
    """rms error over the scale: every rounding that really happens contributes independently.

    An fp32 operation whose exact result is an fp32 number does not round; nor does adding to or from zero.
    """
    squares = (row.weights[:, None].square() * _dot_error_squared(row, dots, sizes)).sum(dim=0)
    exact_terms = row.weights[:, None] * _fp32(dots.relu())
    squares += (exact_terms.square() * _inexact(exact_terms)).sum(dim=0)
    terms = _fp32(exact_terms)
    partial = torch.cumsum(terms, dim=0)
    before = torch.cat([torch.zeros_like(partial[:1]), partial[:-1]])
    squares += (partial.square() * ((terms != 0) & (before != 0) & _inexact(partial))).sum(dim=0)
    squares += partial[-1].square() * (torch.frexp(row.scales).mantissa != 0.5)
    return ROUNDING_RMS * UNIT_ROUNDOFF * squares.sqrt()


def _dot_error_squared(row: _Row, dots: torch.Tensor, sizes: torch.Tensor) -> torch.Tensor:
    """Sum of the squared partial sums at which each dot rounds, [H, limit]; 0 where it is exact in any order.

    An implementation adds `DOT_STEP` products at a time, exactly, and rounds each running sum, in some order.
    Products of fp8 numbers have 8 significant bits, so many dots never round in any order: those whose lowest bit
    an fp32 number as large as `sizes`, sum_d |q_d k_d|, still holds.
    """
    steps = (row.queries.unflatten(1, (-1, DOT_STEP)), row.keys.unflatten(1, (-1, DOT_STEP)))
    partial = torch.einsum("hgd,pgd->ghp", *steps).cumsum(dim=0)
    squared = partial.square().sum(dim=0)
    # ReLU removes the error of a negative dot, unless rounding can carry it across zero.
    passes = dots > -2 * HEAD_DIM * UNIT_ROUNDOFF * sizes
    furthest = torch.exp2(torch.frexp(sizes).exponent.double())
    return squared * (passes & _inexact(furthest + dots.abs()))


def _worst_error(row: _Row, sizes: torch.Tensor, terms: torch.Tensor) -> torch.Tensor:
    """The matrix product's budget, then gamma_n for the product, the head sum and the scale, any order."""
    roundings = (len(row.weights) + 2) * UNIT_ROUNDOFF
    sums = roundings / (1 - roundings) * terms.abs().sum(dim=0)
    return row.scales * (DOT_BUDGET * (row.weights.abs() @ sizes) + sums)


def _fp32(x: torch.Tensor) -> torch.Tensor:
    """Rounded to fp32, kept in float64."""
    return x.to(torch.float32).to(torch.float64)


def _inexact(x: torch.Tensor) -> torch.Tensor:
    """Where a float64 number is no fp32 number."""
    return _fp32(x) != x


def _rows(
    q_fp8: torch.Tensor,
    kv_cache: torch.Tensor,
    weights: torch.Tensor,
    context_lens: torch.Tensor,
    block_tables: torch.Tensor,
    max_model_len: int,
    layout: Literal["NORMAL", "SHUFFLE"],
    fp8: str,
) -> Iterator[_Row]:
    """Every row that sees at least one key."""
    fmt = format_of(fp8)
    batch, next_n = q_fp8.shape[:2]
    reach = min(max_model_len, block_tables.shape[1] * kv_cache.shape[1])
    for request in range(batch):
        limits = [min(max(n, 0), reach) for n in _lengths(context_lens, request, next_n)]
        if max(limits) == 0:
            continue
        records = _records(kv_cache, block_tables[request], max(limits), layout)
        keys = decode_tensor(records[:, :HEAD_DIM].contiguous(), fmt)
        scales = records[:, HEAD_DIM:].contiguous().view(torch.float32)[:, 0].double()
        for n, limit in enumerate(limits):
            if limit > 0:
                index = request * next_n + n
                queries = decode_tensor(q_fp8[request, n], fmt)
                yield _Row(index, limit, queries, weights[index].double(), keys[:limit], scales[:limit])


def _lengths(context_lens: torch.Tensor, request: int, next_n: int) -> list[int]:
    """Visible length of each row: its own, or the request's minus the rows that come after it."""
    if context_lens.dim() == 2:
        return [int(n) for n in context_lens[request].tolist()]
    return [int(context_lens[request]) - next_n + n + 1 for n in range(next_n)]


def _records(kv_cache: torch.Tensor, table: torch.Tensor, length: int, layout_name: str) -> torch.Tensor:
    """The 132-byte records of positions 0..length-1 through the block table, uint8 [length, 132]."""
    block_size = kv_cache.shape[1]
    layout = indexer_layout("SHUFFLE" if layout_name == "SHUFFLE" else "NORMAL", block_size)
    position = torch.arange(length, device=kv_cache.device)
    blocks = table[: -(-length // block_size)].to(torch.int64)
    offsets = layout.offset(np.arange(block_size)[:, None], np.arange(layout.token_bytes)[None, :])
    in_page = torch.from_numpy(offsets).to(kv_cache.device)[position % block_size]
    pages = kv_cache.as_strided((kv_cache.shape[0], layout.page_bytes), (kv_cache.stride(0), 1))
    return pages[blocks[position // block_size][:, None], in_page]
