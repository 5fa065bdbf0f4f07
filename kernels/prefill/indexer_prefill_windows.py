"""Key windows of prefill tokens in a chunk's gathered keys, and which request each gathered key belongs to.

Contract: vLLM's indexer metadata builder (vLLM v1/attention/backends/mla/indexer.py): a token at position p of a
request whose keys start at g sees ks = g to ke = g + (p + 1) // ratio.
"""

# pyright: reportArgumentType=false, reportCallIssue=false
from __future__ import annotations

import torch
import triton
import triton.language as tl

from rocassay.harness.layouts import LayoutError
from rocassay.kernels.common.integers import ceil_div
from rocassay.kernels.common.tensors import require_unit_stride
from rocassay.kernels.prefill.dispatch import RowsVariant
from rocassay.kernels.prefill.request_search import bisection_steps, owner_of


@triton.jit
def _gathered_bases_kernel(seq_lens, cu_seqlen, requests, RATIO: tl.constexpr, REQUESTS: tl.constexpr):
    """One program: running sum of the compressed lengths."""
    tl.store(cu_seqlen, 0)
    base = tl.load(seq_lens) * 0
    for first in range(0, requests, REQUESTS):
        request = first + tl.arange(0, REQUESTS)
        known = request < requests
        gathered = tl.load(seq_lens + request, mask=known, other=0) // RATIO
        tl.store(cu_seqlen + request + 1, base + tl.cumsum(gathered, axis=0), mask=known)
        base += tl.sum(gathered, axis=0)


@triton.jit
def _prefill_windows_kernel(
    query_start_loc,
    seq_lens,
    cu_seqlen,
    ks,
    ke,
    requests,
    tokens,
    RATIO: tl.constexpr,
    STEPS: tl.constexpr,
    TOKENS: tl.constexpr,
):
    token = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    real = token < tl.minimum(tl.load(query_start_loc + requests), tokens)
    request = owner_of(query_start_loc, token, requests, real, STEPS)
    end = tl.load(query_start_loc + request + 1, mask=real, other=0)
    total = tl.load(seq_lens + request, mask=real, other=0)
    base = tl.load(cu_seqlen + request, mask=real, other=0)
    position = total - (end - token)
    seen = (position + 1) // RATIO
    tl.store(ks + token, base, mask=real)
    tl.store(ke + token, base + seen, mask=real)


@triton.jit
def _token_to_seq_kernel(cu_seqlen, token_to_seq, requests, keys, STEPS: tl.constexpr, TOKENS: tl.constexpr):
    key = tl.program_id(0) * TOKENS + tl.arange(0, TOKENS)
    real = key < tl.minimum(tl.load(cu_seqlen + requests), keys)
    owner = owner_of(cu_seqlen, key, requests, real, STEPS)
    tl.store(token_to_seq + key, owner, mask=real)


def indexer_prefill_windows(
    query_start_loc: torch.Tensor,
    seq_lens: torch.Tensor,
    ks: torch.Tensor,
    ke: torch.Tensor,
    cu_seqlen: torch.Tensor,
    token_to_seq: torch.Tensor,
    *,
    compress_ratio: int,
    variant: RowsVariant,
) -> None:
    """Windows of a chunk's query tokens and owners of its gathered keys.

    query_start_loc: [B + 1] int32, first token of each request. seq_lens: [B] int32, total lengths S, earlier chunks
    included. Written: cu_seqlen [B + 1] int32, running sum of S // ratio; ks, ke [T] int32, the window of token t at
    position p: cu_seqlen[b] to cu_seqlen[b] + (p + 1) // ratio; token_to_seq [N] int32, the request of every gathered
    key. T and N may exceed the chunk: entries beyond query_start_loc[B] and cu_seqlen[B] keep what they held.
    Raises LayoutError for shapes that do not fit.
    """
    requests, tokens, keys = seq_lens.shape[0], ks.shape[0], token_to_seq.shape[0]
    if query_start_loc.shape != (requests + 1,) or cu_seqlen.shape != (requests + 1,) or ke.shape != ks.shape:
        raise LayoutError(
            f"query_start_loc {tuple(query_start_loc.shape)}, cu_seqlen {tuple(cu_seqlen.shape)}, ks {tuple(ks.shape)} "
            f"and ke {tuple(ke.shape)} do not fit {requests} requests"
        )
    for name, tensor in (("ks", ks), ("ke", ke), ("cu_seqlen", cu_seqlen), ("token_to_seq", token_to_seq)):
        require_unit_stride(name, tensor)
    if requests == 0:
        return
    tile, steps = variant.rows_per_program, bisection_steps(requests)
    warps = {"num_warps": variant.num_warps}
    _gathered_bases_kernel[(1,)](seq_lens, cu_seqlen, requests, RATIO=compress_ratio, REQUESTS=tile, **warps)
    if tokens:
        _prefill_windows_kernel[(ceil_div(tokens, tile),)](
            query_start_loc,
            seq_lens,
            cu_seqlen,
            ks,
            ke,
            requests,
            tokens,
            RATIO=compress_ratio,
            STEPS=steps,
            TOKENS=tile,
            **warps,
        )
    if keys:
        _token_to_seq_kernel[(ceil_div(keys, tile),)](
            cu_seqlen, token_to_seq, requests, keys, STEPS=steps, TOKENS=tile, **warps
        )
