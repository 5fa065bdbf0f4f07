"""Indexer decode logits in float64 from the stored bytes, with a first-order model of fp32 rounding.

Contract: vLLM `rocm_fp8_paged_mqa_logits` (vllm-project/vllm#42062, #43781).
"""
# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from rocassay.harness.fp8 import decode_tensor, format_of
from rocassay.harness.layouts import indexer_layout
from rocassay.references.common.head_sum_logits import QueryRow, peer_scores, scores

HEAD_DIM = 128
"""Dimensions of an indexer key."""


@dataclass(frozen=True, slots=True)
class Logits:
    """Golden logits [R, L] with R = B * next_n; entries that are not visible are 0."""

    value: torch.Tensor
    """float64: ks[p] * sum_h w[h] * max(0, q[h] . k[p]); NaN where a visible key or its query holds NaN."""

    visible: torch.Tensor
    """bool: inside the row's limit, max_model_len and the block table; elsewhere outputs are undefined."""

    sigma: torch.Tensor
    """float64: rms error of a correct fp32 implementation; 0 where no rounding happens."""

    peer_sigma: torch.Tensor
    """float64: the same for the peer's order of summation."""

    bound: torch.Tensor
    """float64: error that no correct fp32 implementation exceeds."""


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
    value, sigma, peer_sigma, bound = (torch.zeros(shape, dtype=torch.float64) for _ in range(4))
    visible = torch.zeros(shape, dtype=torch.bool)
    for index, row in _rows(q_fp8, kv_cache, weights, context_lens, block_tables, max_model_len, layout, fp8):
        seen, scored = (index, slice(0, len(row.scales))), scores(row)
        visible[seen] = True
        value[seen], sigma[seen], bound[seen] = scored.value, scored.sigma, scored.bound
        peer_sigma[seen] = scored.peer_sigma
    return Logits(value, visible, sigma, peer_sigma, bound)


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
    """Plain torch fp32 logits with the rounding points that `Logits.peer_sigma` assumes, written into `logits`.

    The dots, then the products with the weights, then the head sum in order, then the scale. Columns that
    are not visible keep what they held. Moves the lengths to the host.
    """
    for index, row in _rows(q_fp8, kv_cache, weights, context_lens, block_tables, max_model_len, layout, fp8):
        logits[index, : len(row.scales)] = peer_scores(row)


def _rows(
    q_fp8: torch.Tensor,
    kv_cache: torch.Tensor,
    weights: torch.Tensor,
    context_lens: torch.Tensor,
    block_tables: torch.Tensor,
    max_model_len: int,
    layout: Literal["NORMAL", "SHUFFLE"],
    fp8: str,
) -> Iterator[tuple[int, QueryRow]]:
    """Index and contents of every row that sees at least one key, which is as many as the row has scales."""
    fmt = format_of(fp8)
    batch, next_n = q_fp8.shape[:2]
    reach = min(max_model_len, block_tables.shape[1] * kv_cache.shape[1])
    for request in range(batch):
        limits = [min(max(n, 0), reach) for n in _lengths(context_lens, request, next_n)]
        if max(limits) == 0:
            continue
        records = _records(kv_cache, block_tables[request], max(limits), layout)
        keys = decode_tensor(records[:, :HEAD_DIM].contiguous(), fmt)
        key_scales = records[:, HEAD_DIM:].contiguous().view(torch.float32)[:, 0].double()
        for n, limit in enumerate(limits):
            if limit > 0:
                index = request * next_n + n
                queries = decode_tensor(q_fp8[request, n], fmt)
                yield index, QueryRow(queries, weights[index].double(), keys[:limit], key_scales[:limit])


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
