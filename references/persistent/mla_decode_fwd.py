"""Dense MLA decode in float64 from the stored elements, plan or no plan, and its plain torch peer.

Contract: AITER `mla_decode_fwd` (aiter/mla.py), vLLM rocm_aiter_mla.py (vllm-project/vllm#36574): the tokens of a
request are its last ones; a key row of 576 dims is the value, too, in its first 512.
"""
# pyright: reportUnknownMemberType=false

from __future__ import annotations

import itertools
from collections.abc import Iterator
from dataclasses import dataclass

import torch

from rocassay.harness.fp8 import decode_tensor, format_of
from rocassay.references.attention.softmax import EXPONENTIAL, FP32, Attended, attend_rows, softmax_weights
from rocassay.references.common.rounding import Modelled

VALUE_DIM = 512
"""Leading dims of a key row that are its value."""


@dataclass(frozen=True, slots=True)
class Decoded:
    """Golden of both outputs; float64."""

    output: Attended
    """[T, H, 512]."""
    lse: Modelled
    """[T, H], natural; -inf for a row without a visible key. Only the bound is stated: fp32 rounds all along."""


@dataclass(frozen=True, slots=True)
class Cache:
    """A paged latent cache and who owns which of its rows."""

    kv_buffer: torch.Tensor
    """bf16 or uint8 codes [NP, PAGE, 1, 576]."""
    qo_indptr: torch.Tensor
    kv_indptr: torch.Tensor
    kv_indices: torch.Tensor
    kv_last_page_lens: torch.Tensor
    fp8: str
    causal: bool

    def tokens(self) -> Iterator[tuple[int, int, int]]:
        """(token, request, keys it sees) of every query row."""
        pages = self.kv_buffer.shape[1]
        positions = list(itertools.pairwise(self.kv_indptr.tolist()))
        for request, (first, last) in enumerate(itertools.pairwise(self.qo_indptr.tolist())):
            begin, end = positions[request]
            length = (end - begin - 1) * pages + int(self.kv_last_page_lens[request]) if end > begin else 0
            for token in range(first, last):
                sees = length - (last - 1 - token) if self.causal else length
                yield token, request, max(0, sees)

    def keys(self, request: int, count: int) -> torch.Tensor:
        """The first `count` key rows of a request, unscaled; float64 [count, 576]."""
        page, begin = self.kv_buffer.shape[1], int(self.kv_indptr[request])
        place = torch.arange(count, device=self.kv_buffer.device)
        pages = self.kv_indices[begin + place // page].long()
        return elements(self.kv_buffer[pages, place % page, 0], self.fp8)


def elements(stored: torch.Tensor, fp8: str) -> torch.Tensor:
    """Stored elements as float64: bf16, or uint8 codes of the flavour."""
    return (
        decode_tensor(stored.contiguous(), format_of(fp8)).double() if stored.dtype is torch.uint8 else stored.double()
    )


def mla_decode_fwd(
    q: torch.Tensor,
    cache: Cache,
    *,
    sm_scale: float,
    q_scale: float,
    kv_scale: float,
    dtype: torch.dtype = torch.bfloat16,
) -> Decoded:
    """Golden of a decode; CPU tensors. q: bf16 or codes [T, H, 576] of the real heads; no scale is a scale of 1."""
    queries = elements(q, cache.fp8) * q_scale
    rows: list[tuple[torch.Tensor, torch.Tensor]] = [(torch.zeros(0, q.shape[2]), torch.zeros(0))] * len(q)
    for token, request, sees in cache.tokens():
        keys = cache.keys(request, sees) * kv_scale
        rows[token] = keys, torch.ones(sees, dtype=torch.float64)
    attended = attend_rows(queries, rows, None, scale=sm_scale, width=VALUE_DIM, dtype=dtype)
    return Decoded(attended, _lse(queries, [keys for keys, _ in rows], sm_scale))


def _lse(queries: torch.Tensor, keys: list[torch.Tensor], scale: float) -> Modelled:
    value = torch.full(queries.shape[:2], -torch.inf, dtype=torch.float64)
    bound = torch.zeros_like(value)
    for token, rows in enumerate(keys):
        if not len(rows):
            continue
        logits = scale * queries[token] @ rows.T
        value[token] = logits.logsumexp(dim=1)
        size = scale * (queries[token].abs() @ rows.abs().T).max(dim=1).values
        # fp32: the products' sum, the scales and the base of the exponential, the terms' sum, the logarithm.
        steps = (rows.shape[1] + 8) * size + len(rows) + 8 * value[token].abs() + 8
        bound[token] = FP32 * steps + EXPONENTIAL
    return Modelled(value, torch.zeros_like(value), bound)


def peer_mla_decode_fwd(
    q: torch.Tensor,
    cache: Cache,
    o: torch.Tensor,
    heads: list[int],
    *,
    sm_scale: float,
    q_scale: torch.Tensor | None,
    kv_scale: torch.Tensor | None,
    final_lse: torch.Tensor | None = None,
) -> None:
    """Plain torch with the golden's rounding points, of the given heads; moves the lists to the host.

    fp32 softmax, weights rounded to bf16, fp32 product, result rounded to the type of `o`.
    """
    one = torch.ones(1, device=q.device)
    latent = one if kv_scale is None else kv_scale
    factor = sm_scale * (one if q_scale is None else q_scale) * latent
    queries = elements(q[:, heads], cache.fp8).float()
    for token, request, sees in cache.tokens():
        if not sees:
            o[token, heads] = 0
            if final_lse is not None:
                final_lse[token, heads] = -torch.inf
            continue
        keys = cache.keys(request, sees).float()
        logits = (queries[token] @ keys.T) * factor
        weights = softmax_weights(logits, torch.ones(sees, device=q.device), None).to(torch.bfloat16)
        o[token, heads] = ((weights.float() @ keys[:, :VALUE_DIM]) * latent).to(o.dtype)
        if final_lse is not None:
            final_lse[token, heads] = logits.logsumexp(dim=1)
