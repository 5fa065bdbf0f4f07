"""Ragged sparse attention over unquantised rows in float64: prefill.

Contract: vLLM `rocm_sparse_attn_prefill` (vllm-project/vllm#41812).
"""
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import torch

from rocassay.references.attention.softmax import Attended, attend_rows, peer_attend


def sparse_attn_prefill(
    q: torch.Tensor,
    kv: torch.Tensor,
    ragged_indices: torch.Tensor,
    ragged_indptr: torch.Tensor,
    attn_sink: torch.Tensor | None = None,
    *,
    scale: float,
    width: int,
    dtype: torch.dtype,
) -> Attended:
    """Golden of the prefill; CPU tensors, none of which changes.

    q: [T, H, D]. kv: [R, 1, D]. ragged_indices: int32 [nnz], rows of token t at [indptr[t], indptr[t+1]);
    indices outside [0, R) are skipped, duplicates count as often as they stand. attn_sink: [>= H] fp32 or None.
    width: dims of the output, the first of a row. NaN of a listed row propagates; unlisted rows are not read.
    """
    lists = [_listed(kv, ragged_indices, ragged_indptr, token) for token in range(len(q))]
    distinct = [torch.unique(rows, return_counts=True) for rows in lists]
    rows = [(kv[index, 0].double(), count.double()) for index, count in distinct]
    return attend_rows(q.double(), rows, attn_sink, scale=scale, width=width, dtype=dtype)


def peer_sparse_attn_prefill(
    q: torch.Tensor,
    kv: torch.Tensor,
    ragged_indices: torch.Tensor,
    ragged_indptr: torch.Tensor,
    output: torch.Tensor,
    attn_sink: torch.Tensor | None = None,
    *,
    scale: float,
) -> None:
    """Plain torch with the golden's rounding points, into `output` [T, H, DV]; moves the lists to the host."""
    width = output.shape[-1]
    for token in range(len(q)):
        keys = kv[_listed(kv, ragged_indices, ragged_indptr, token), 0]
        output[token] = peer_attend(q[token], keys, attn_sink, scale=scale, width=width, dtype=output.dtype)


def _listed(kv: torch.Tensor, indices: torch.Tensor, indptr: torch.Tensor, token: int) -> torch.Tensor:
    """Valid rows of a token, int64, duplicates included."""
    begin, end = indptr[token : token + 2].tolist()
    listed = indices[begin:end].long()
    return listed[(listed >= 0) & (listed < len(kv))]
