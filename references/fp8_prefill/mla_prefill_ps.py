"""FP8 prefill in float64: every request's rows over its keys, and the partial results that a plan asks for.

Contract: AITER `mla_prefill_ps_asm_fwd` (vllm-project/vllm#42509): rows are the last tokens of their request.
"""
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

import torch

from rocassay.harness.fp8 import decode_tensor, format_of
from rocassay.references.fp8_prefill.attention import Attended, Rows, attend, peer_attend

WORDS = ("request", "slot", "q_start", "q_end", "kv_start", "kv_end", "kv_offset", "head_range")
"""A row of work_info_set."""


@dataclass(frozen=True, slots=True)
class States:
    """Decoded queries, keys and values, and where requests lie in them."""

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    qo_indptr: list[int]
    kv_indptr: list[int]
    pages: torch.Tensor
    """int64: physical row of every key position."""

    scale: float
    """Of the products of decoded queries and keys."""

    value_scale: float
    causal: bool

    def rows(self, request: int, q_start: int, q_end: int, kv_start: int, kv_end: int) -> Rows:
        """Rows [q_start, q_end) of a request over the key positions [kv_start, kv_end)."""
        row = torch.arange(q_start, q_end)
        limit = torch.full_like(row, kv_end - kv_start)
        if self.causal:
            own = row + (self.kv_indptr[request + 1] - self.qo_indptr[request + 1])
            limit = torch.minimum(own + 1 - kv_start, limit)
        return Rows(row, self.pages[kv_start:kv_end], limit)

    def requests(self) -> Iterator[Rows]:
        """Every request's rows over all its keys."""
        for request in range(len(self.qo_indptr) - 1):
            rows, keys = (indptr[request : request + 2] for indptr in (self.qo_indptr, self.kv_indptr))
            yield self.rows(request, rows[0], rows[1], keys[0], keys[1])


def states(
    q: torch.Tensor,
    k: torch.Tensor,
    v: torch.Tensor,
    qo_indptr: torch.Tensor,
    kv_indptr: torch.Tensor,
    *,
    softmax_scale: float,
    fp8: str,
    is_causal: bool = True,
    kv_page_indices: torch.Tensor | None = None,
    q_scale: torch.Tensor | None = None,
    k_scale: torch.Tensor | None = None,
    v_scale: torch.Tensor | None = None,
) -> States:
    """Decoded operands; fp8 is the format of q, k and v, or `bf16`."""
    decoded = [x if fp8 == "bf16" else decode_tensor(x, format_of(fp8)) for x in (q, k, v)]
    pages = torch.arange(len(k)) if kv_page_indices is None else kv_page_indices.long()
    factors = [1.0 if x is None else float(x) for x in (q_scale, k_scale, v_scale)]
    scale = softmax_scale * factors[0] * factors[1]
    bounds = (qo_indptr.tolist(), kv_indptr.tolist())
    return States(decoded[0], decoded[1], decoded[2], *bounds, pages, scale, factors[2], is_causal)


def attend_requests(source: States, plan: str) -> list[tuple[torch.Tensor, Attended]]:
    """(rows, golden) of every request."""
    return [(rows.row, _attend(source, rows, plan)) for rows in source.requests()]


def attend_parts(source: States, work: torch.Tensor, plan: str) -> Iterator[tuple[int, int, torch.Tensor, Attended]]:
    """(slot, head, rows, golden) of every work item int32 [works, 8]; heads that share a part share its golden."""
    known: dict[tuple[int, ...], tuple[Rows, Attended]] = {}
    for request, slot, q_start, q_end, kv_start, kv_end, _, heads in work.tolist():
        part = (request, q_start, q_end, kv_start, kv_end)
        if part not in known:
            rows = source.rows(*part)
            known[part] = (rows, _attend(source, rows, plan))
        rows, golden = known[part]
        yield slot, heads & 0xFFFF, rows.row, golden


def rounded_in_parts(
    whole: Sequence[tuple[torch.Tensor, Attended]], parts: Iterable[tuple[int, int, torch.Tensor, Attended]]
) -> list[tuple[torch.Tensor, Attended]]:
    """Golden of requests whose split rows round their weights part by part, each relative to its own largest.

    whole: as of `attend_requests`; parts: as of `attend_parts`. What is largest in a part is exact there.
    """
    if not whole:
        return []
    count = 1 + max((int(rows.max()) for rows, _ in whole if len(rows)), default=-1)
    heads, width = whole[0][1].value.shape[1:]
    total, variance = torch.zeros(count, heads).double(), torch.zeros(count, heads, width).double()
    shared, split = torch.zeros(count, heads).double(), torch.zeros(count, heads, dtype=torch.bool)
    for rows, attended in whole:
        total[rows] = attended.lse
    for slot, head, rows, attended in parts:
        if slot >= 0:
            weight = torch.nan_to_num(torch.exp(attended.lse[:, head] - total[rows, head]))
            own = weight.square()[:, None] * attended.variance[:, head]
            variance[rows, head] += own
            shared[rows, head] += own.mean(dim=1).square() * attended.share[:, head]
            split[rows, head] = True
    scale = variance.mean(dim=2).square()
    shared = torch.where(scale > 0, shared / scale, 0.0)
    return [
        (
            rows,
            replace(
                attended,
                variance=torch.where(split[rows][..., None], variance[rows], attended.variance),
                share=torch.where(split[rows], shared[rows], attended.share),
            ),
        )
        for rows, attended in whole
    ]


def _attend(source: States, rows: Rows, plan: str) -> Attended:
    scales = {"scale": source.scale, "value_scale": source.value_scale}
    return attend(source.q, source.k, source.v, rows, plan=plan, **scales)


def peer_rows(source: States, rows: Rows, plan: str) -> tuple[torch.Tensor, torch.Tensor]:
    """Plain torch fp32 result and LSE of some rows."""
    device = source.q.device
    scales = [torch.tensor(x, dtype=torch.float32, device=device) for x in (source.scale, source.value_scale)]
    q, k, v = source.q[rows.row].float(), source.k[rows.key].float(), source.v[rows.key].float()
    return peer_attend(q, k, v, rows.limit.to(device), scale=scales[0], value_scale=scales[1], plan=plan)
