"""Causal multi-head attention of ragged requests in float64, with a first-order model of its roundings.

Plan: a row's softmax weights are rounded to the type of the matrix operands, relative to the row's largest weight,
which is a power of two and therefore exact; their sum is not made of the rounded ones. The result is rounded to the
output's type. Nothing here is fitted to a kernel.
"""
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from types import MappingProxyType

import torch

from rocassay.references.common.rounding import DOT_STEP, ROUNDING_RMS, UNIT_ROUNDOFF, inexact

EXPONENTIAL = 2.0**-20
"""Relative error granted to the hardware's exponential, logarithm and division together."""

FP32 = 2.0**-24
"""Unit roundoff of accumulations in fp32; a sum may be truncated, which counts twice."""

FLAT_KEYS = 32
"""Keys below which a row is never called flat: their shares already widen the row statistic."""

FLAT_STEPS = 4.0
"""Mantissa steps within one standard deviation of the logits below which neighbouring weights round alike."""

_ROWS = 256
"""Rows of one head whose logits exist at a time."""


@dataclass(frozen=True, slots=True)
class WeightFormat:
    """How softmax weights are rounded; all numbers are relative to a row's largest weight."""

    unit: float
    """Unit roundoff."""

    smallest_normal: float
    """Below it the spacing no longer shrinks."""

    @property
    def spacing(self) -> float:
        """Distance of neighbouring weights below the normal ones."""
        return 2 * self.unit * self.smallest_normal


FORMATS: Mapping[str, WeightFormat] = MappingProxyType(
    {
        # The largest weight is 2^8 in e4m3fn, whose smallest normal is 2^-6, and 2^7 in e4m3fnuz, of 2^-7.
        "fp8": WeightFormat(2.0**-4, 2.0**-14),
        "fp16": WeightFormat(2.0**-11, 2.0**-14),
        "bf16": WeightFormat(2.0**-8, 2.0**-126),
    }
)
"""By the type of the matrix operands."""


@dataclass(frozen=True, slots=True)
class Attended:
    """Golden of rows; float64, [T, H, 128] and [T, H]."""

    value: torch.Tensor
    """Result before it is rounded; 0 where a row sees nothing."""

    variance: torch.Tensor
    """Of the rounded weights, in units of the result."""

    worst: torch.Tensor
    """Largest error of the weights and of the accumulations."""

    share: torch.Tensor
    """[T, H]: sum over the keys of their squared share of a row's variance due to weights."""

    lse: torch.Tensor
    """[T, H] natural log of the sum of exponentials; -inf where a row sees nothing."""

    lse_worst: torch.Tensor
    """[T, H] largest error of it."""

    flat: bool
    """Whether some row's logits are so equal that its roundings are coherent: then the model does not hold."""


@dataclass(frozen=True, slots=True)
class Rows:
    """Rows of one request and the keys that exist for them."""

    row: torch.Tensor
    """int64: query rows."""

    key: torch.Tensor
    """int64: physical rows of K and V, in order."""

    limit: torch.Tensor
    """int64, one a row: how many of the keys it sees; 0 or less is none."""


def attend(
    q: torch.Tensor, k: torch.Tensor, v: torch.Tensor, rows: Rows, *, scale: float, value_scale: float, plan: str
) -> Attended:
    """Golden of some rows over some keys; q, k, v: [., H, .] decoded, of any float type; plan: key of `FORMATS`."""
    form = FORMATS[plan]
    pieces = [
        _attend_piece(q[piece.row], k[piece.key], v[piece.key], piece.limit, scale, value_scale, form)
        for piece in _pieces(rows)
    ]
    return _joined(pieces) if pieces else _nothing(0, q.shape[1], v.shape[2])


def _joined(pieces: list[Attended]) -> Attended:
    def along_rows(name: str) -> torch.Tensor:
        return torch.cat([getattr(piece, name) for piece in pieces])

    return Attended(
        value=along_rows("value"),
        variance=along_rows("variance"),
        worst=along_rows("worst"),
        share=along_rows("share"),
        lse=along_rows("lse"),
        lse_worst=along_rows("lse_worst"),
        flat=any(piece.flat for piece in pieces),
    )


def _nothing(rows: int, heads: int, width: int) -> Attended:
    """Rows without keys."""
    none, few = torch.zeros(rows, heads, width, dtype=torch.float64), torch.zeros(rows, heads, dtype=torch.float64)
    return Attended(none, none, none, few, few - torch.inf, few, False)


def _pieces(rows: Rows) -> list[Rows]:
    cuts = zip(rows.row.split(_ROWS), rows.limit.split(_ROWS), strict=True)
    return [Rows(row, rows.key[: max(0, int(limit.max()))], limit) for row, limit in cuts if len(row)]


def _attend_piece(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    limit: torch.Tensor,
    scale: float,
    value_scale: float,
    form: WeightFormat,
) -> Attended:
    if not len(k):
        return _nothing(len(q), q.shape[1], v.shape[2])
    queries, keys, values = (x.double().transpose(0, 1) for x in (q, k, v))
    values = values * value_scale
    seen = torch.arange(keys.shape[1]) < limit[:, None]
    logits = torch.where(seen, scale * queries @ keys.transpose(1, 2), -torch.inf)
    some = seen.any(dim=1)
    peak = torch.where(some, logits.amax(dim=2), 0.0)
    terms = torch.exp(logits - peak[..., None])
    total = terms.sum(dim=2)
    divisor = torch.where(total == 0, 1.0, total)
    weights = terms / divisor[..., None]
    value = weights @ values
    errors = _weight_rms(terms, form) / divisor[..., None]
    variance = errors.square() @ values.square()
    inverse = torch.where(variance > 0, 1 / variance, 0.0)
    share = (errors.square() * (inverse @ values.square().transpose(1, 2)) / v.shape[2]).square().sum(dim=2)
    largest = (scale * queries.abs() @ keys.abs().transpose(1, 2) * seen).amax(dim=2)
    logit_error = (2 * queries.shape[2] / DOT_STEP + 4) * FP32 * largest
    slop = 2 * logit_error + keys.shape[1] * (2 / DOT_STEP + 4) * FP32 + EXPONENTIAL
    weight_worst = (
        torch.maximum(form.unit * terms, torch.full_like(terms, form.spacing / 2)) * seen / divisor[..., None]
    )
    worst = weight_worst @ values.abs() * (1 + slop[..., None]) + slop[..., None] * (weights @ values.abs())
    lse = torch.where(some, peak + torch.log(divisor), -torch.inf)
    lse_worst = torch.where(some, logit_error + 4 * EXPONENTIAL * (1 + lse.abs()), 0.0)
    heads_first = (value, variance, worst, share, lse, lse_worst)
    value, variance, worst, share, lse, lse_worst = (x.transpose(0, 1).contiguous() for x in heads_first)
    return Attended(value, variance, worst, share, lse, lse_worst, _flat(logits, seen, form))


def _weight_rms(terms: torch.Tensor, form: WeightFormat) -> torch.Tensor:
    """rms error of rounding weights of which a row's largest is 1: uniform within the spacing of their own binade.

    A mean over mantissas would not do: in the sum of many weights' variances the larger mantissas weigh more.
    """
    spacing = torch.exp2(torch.frexp(terms).exponent.double()) * form.unit
    rms = spacing.clamp(min=form.spacing) / 12**0.5
    # Less than half the smallest weight is lost entirely; the largest weight is exact.
    rms = torch.where(terms < form.spacing / 2, terms, rms)
    return torch.where(terms == 1, 0.0, rms)


def _flat(logits: torch.Tensor, seen: torch.Tensor, form: WeightFormat) -> bool:
    count = seen.sum(dim=1)
    long = count >= FLAT_KEYS
    if not bool(long.any()):
        return False
    known = torch.where(seen, logits, 0.0)
    mean = known.sum(dim=2) / count.clamp(min=1)
    spread = (torch.where(seen, logits - mean[..., None], 0.0).square().sum(dim=2) / count.clamp(min=1)).sqrt()
    return bool((spread[:, long] < FLAT_STEPS * 2 * form.unit).any())


def with_output(attended: Attended, dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    """(sigma, bound) of results stored as `dtype`."""
    value, unit = attended.value, UNIT_ROUNDOFF[dtype]
    if dtype is torch.float32:
        # What the sums and the final product round, which a wider plan would hide.
        rms = EXPONENTIAL * value.abs()
    else:
        rms = ROUNDING_RMS * unit * value.abs() * inexact(value, dtype)
    sigma = (attended.variance + rms.square()).sqrt()
    bound = attended.worst * (1 + unit) + unit * (1 + unit) * value.abs()
    return sigma, bound


def peer_attend(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    limit: torch.Tensor,
    *,
    scale: torch.Tensor,
    value_scale: torch.Tensor,
    plan: str,
) -> tuple[torch.Tensor, torch.Tensor]:
    """Plain torch at the same plan: fp32 result [T, H, 128], unrounded, and natural LSE [T, H].

    q: [T, H, 192], k: [N, H, 192], v: [N, H, 128], decoded to fp32. limit: int64 [T], keys that each row sees.
    """
    logits = torch.einsum("thd,nhd->htn", q, k) * scale
    seen = torch.arange(len(k), device=q.device) < limit[:, None]
    logits = torch.where(seen, logits, -torch.inf)
    peak = logits.amax(dim=2, keepdim=True) if len(k) else torch.zeros_like(logits.sum(dim=2, keepdim=True))
    peak = torch.where(peak == -torch.inf, 0.0, peak)
    terms = torch.exp(logits - peak)
    total = terms.sum(dim=2, keepdim=True)
    divisor = torch.where(total == 0, 1.0, total)
    result = _rounded(terms, plan) @ v.transpose(0, 1) * (value_scale / divisor)
    lse = torch.where(total == 0, -torch.inf, peak + torch.log(divisor))
    return result.transpose(0, 1), lse[..., 0].T


def _rounded(terms: torch.Tensor, plan: str) -> torch.Tensor:
    if plan == "fp8":
        # e4m3fnuz with a largest weight of 2^7 rounds the very same way.
        return (terms * 256).to(torch.float8_e4m3fn).float() / 256
    return terms.to({"fp16": torch.float16, "bf16": torch.bfloat16}[plan]).float()
