"""AITER's sparse attention over listed rows: two Triton operations, and decode over 584-byte pages on gfx950."""

from __future__ import annotations

import torch

from rocassay.harness.cases import Case
from rocassay.harness.providers.foreign import Adapter, Call
from rocassay.harness.providers.functions import Gap, Offer
from rocassay.suites.contracts.aiter import sparse
from rocassay.suites.providers.aiter.machine import OTHER_FLAVOUR, TRITON

LATENT, KEY = 512, 576
"""Value and key dims of MLA."""

PAGE = 64
"""Rows of a page, as vLLM's; a page is what the kernel takes at a time."""


def listed(indices: torch.Tensor, rows: int) -> torch.Tensor:
    """The list with -1, its only word for an unused entry, for every index that names no row."""
    return torch.where((indices >= 0) & (indices < rows), indices, -1)


def entries(indptr: torch.Tensor, indices: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
    """(places in the list, whether they belong to the query) of every query: [T, nnz]."""
    place = indptr[:-1, None] + torch.arange(indices.numel(), device=indices.device)
    return place, place < indptr[1:, None]


def attend_rows(call: Call) -> None:
    """`pa_prefill_sparse` of one source of rows, whose values are whole rows."""
    given = {"q": call["q"], "unified_kv": call["kv"].squeeze(1), "softmax_scale": call["scale"]}
    lists = {"kv_indices_prefix": call["ragged_indices"], "kv_indptr_prefix": call["ragged_indptr"]}
    none = dict.fromkeys(("kv", "kv_indices_extend", "kv_indptr_extend"))
    sink = call.get("attn_sink")
    call["output"].copy_(call.perform(sparse.PREFILL, **given, **lists, **none, attn_sink=sink))


def attend_latents(call: Call) -> None:
    """`unified_attention_sparse_mla`, whose lists are as long as each other, and whose rows without a key are NaN."""
    q, kv, output = call["q"], call["kv"], call["output"]
    tokens, device = len(q), q.device
    indices = call["ragged_indices"]
    place, own = entries(call["ragged_indptr"], indices)
    table = torch.where(own, listed(indices, len(kv))[place.clamp(max=indices.numel() - 1)], -1).contiguous()
    pages = torch.nn.functional.pad(kv.squeeze(1), (0, 0, 0, -len(kv) % PAGE)).unflatten(0, (-1, PAGE))
    call.perform(
        sparse.UNIFIED,
        q=q,
        kv=pages.unsqueeze(2),
        out=output,
        cu_seqlens_q=torch.arange(2, dtype=torch.int32, device=device) * tokens,
        max_seqlen_q=tokens,
        seqused_k=torch.full((1,), len(kv), dtype=torch.int32, device=device),
        max_seqlen_k=len(kv),
        softmax_scale=call["scale"],
        topk_indices=table,
        block_table=torch.zeros(1, 1, dtype=torch.int32, device=device),
        kv_lora_rank=LATENT,
    )
    output.masked_fill_((table < 0).all(dim=1)[:, None, None], 0)


def attend_pages(call: Call) -> None:
    """`pa_decode_sparse` of planar pages of 584 bytes, the window's and the top-k's; queries without a key are 0."""
    caches = [("swa_k_cache", "swa_ragged_indices", "swa_ragged_indptr")]
    if call.get("kv_cache") is not None:
        caches.append(("kv_cache", "topk_ragged_indices", "topk_ragged_indptr"))
    given: list[tuple[torch.Tensor, torch.Tensor, torch.Tensor]] = []
    seen = torch.zeros(len(call["q"]), dtype=torch.bool, device=call["q"].device)
    for cache, indices, indptr in caches:
        pages = call.dense(cache)
        slots = listed(call[indices], pages.shape[0] * pages.shape[1])
        given.append((pages, slots.contiguous(), call[indptr]))
        place, own = entries(call[indptr], slots)
        seen |= (own & (slots[place.clamp(max=slots.numel() - 1)] >= 0)).any(dim=1)
    names = (("unified_kv", "kv_indices", "kv_indptr"), ("extra_cache", "extra_indices", "extra_indptr"))
    pairs = zip(names, [*given, (None, None, None)], strict=False)
    named = {name: value for keys, values in pairs for name, value in zip(keys, values, strict=True)}
    how = {"attn_sink": call.get("attn_sink"), "softmax_scale": call["scale"]}
    splits = call.case.integer("splits") or None
    found = call.perform(sparse.DECODE, q=call.dense("q"), **named, **how, kv_splits=splits)
    call["output"].copy_(torch.where(seen[:, None, None], found, 0))


def _whole(case: Case) -> bool:
    return case["dim"] != case["width"]


def _latents(case: Case) -> bool:
    return (case["dim"], case["width"], case["sink"]) == (KEY, LATENT, "none") and case.integer("heads") % 16 == 0


ADAPTERS = {
    "sparse_attn_prefill": (
        Adapter(
            f"{TRITON}.unified_attention_sparse_mla:unified_attention_sparse_mla",
            attend_latents,
            Offer(params={"dtype": ("bf16",)}, when=_latents),
            uses=lambda _: (sparse.UNIFIED,),
        ),
        Adapter(
            f"{TRITON}.attention.pa_prefill_sparse:pa_prefill_sparse",
            attend_rows,
            Offer(
                gaps=(
                    Gap(when=_whole, reason="its values are whole rows"),
                    Gap(recipes=("far",), reason="offsets have 32 bits: heads lie within 2^31 elements"),
                    Gap(arches=("gfx950",), reason="there it takes lists without a hole, and these have some"),
                )
            ),
            uses=lambda _: (sparse.PREFILL,),
        ),
    ),
    "sparse_attn_decode": (
        Adapter(
            f"{TRITON}.attention.pa_decode_sparse:pa_decode_sparse",
            attend_pages,
            Offer(
                arches=("gfx950",),
                gaps=(
                    OTHER_FLAVOUR,
                    Gap(arches=("gfx942",), reason="pages of 584 bytes are read on gfx950 alone"),
                    Gap(recipes=("wide", "far"), reason="pages and queries follow each other"),
                ),
            ),
            native=True,
            uses=lambda _: (sparse.DECODE,),
        ),
    ),
}
