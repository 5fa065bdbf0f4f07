"""AITER's Triton operations: scores of the indexer, RoPE, and quantisation in groups."""

from __future__ import annotations

from collections.abc import Sequence

import torch

from rocassay.harness.cases import Case
from rocassay.harness.providers.foreign import Adapter, Call
from rocassay.harness.providers.functions import Gap, Offer
from rocassay.harness.providers.signatures import Conventions
from rocassay.suites.contracts.aiter import indexer
from rocassay.suites.providers.aiter.machine import OTHER_FLAVOUR, TRITON, flavour

NEOX, GPTJ = 0, 1
STYLES = {"mla": (GPTJ, False), "v32_indexer": (NEOX, False), "glm_indexer": (GPTJ, False), "v4_indexer": (GPTJ, True)}
"""Model tensor -> AITER's rotate style, and whether the lanes that stay come first."""


def paged(call: Call, logits: torch.Tensor) -> dict[str, object]:
    """Queries, pages of one token as [NB, 1, 1, D + 4], weights, where to write, and where the keys lie."""
    return {
        "q_fp8": call.fp8("q_fp8"),
        "kv_cache": call["kv_cache"].unsqueeze(2),
        "weights": call["weights"],
        "out_logits": logits,
        "context_lens": call["context_lens"],
        "kv_indices": call["block_tables"],
        "max_model_len": call["max_model_len"],
    }


def score_pages(call: Call) -> None:
    """`deepgemm_fp8_paged_mqa_logits`, straight into the output."""
    call.perform(indexer.TOKENS, **paged(call, call["logits"]))


def score_tiles(call: Call) -> None:
    """The same of a later release, whose pages are planar, and tiles where they hold more than a token."""
    size = call.case.block_size
    given = {**paged(call, call["logits"]), "kv_cache": call.dense("kv_cache").unsqueeze(2)}
    given |= {"context_lens": call.dense("context_lens"), "kv_indices": call.dense("block_tables")}
    call.perform(indexer.PAGES, **given, Preshuffle=size > 1, KVBlockSize=size)


def score_pages_by_head(call: Call) -> None:
    """`deepgemm_fp8_paged_mqa_logits_stage1`, whose terms the caller sums over the heads."""
    logits, heads = call["logits"], call["q_fp8"].shape[2]
    terms = torch.full((heads, *logits.shape), -torch.inf, device=logits.device)
    call.perform(indexer.BY_HEAD, **paged(call, terms))
    logits.copy_(terms.sum(dim=0))


def rows_of(case: Case) -> Conventions:
    """How `fp8_mqa_logits` is asked to fill what lies outside of a window, or not."""
    return indexer.ROWS if case["clean"] else indexer.ROWS_UNFILLED


def score_rows(call: Call) -> None:
    """`fp8_mqa_logits`, which returns rows of its own; scales are contiguous."""
    starts, ends, logits = call.dense("ks"), call.dense("ke"), call["logits"]
    given = {
        "Q": call.fp8("q_fp8"),
        "KV": call.fp8("k_fp8"),
        "kv_scales": call.dense("k_scale").reshape(-1),
        "weights": call["weights"],
        "cu_starts": starts,
        "cu_ends": ends,
    }
    found = call.perform(rows_of(call.case), **given, clean_logits=False)
    if not call.case["clean"]:
        # What is returned there was never written.
        column = torch.arange(logits.shape[1], device=logits.device)
        found = torch.where((column >= starts[:, None]) & (column < ends[:, None]), found, logits)
    logits.copy_(found)


def rotation_of(case: Case) -> Conventions:
    """In place or into new tensors."""
    return indexer.ROTATE_INPLACE if case["mode"] == "inplace" else indexer.ROTATE


def rotate(call: Call) -> None:
    """`rope_cached_thd_positions_2c_fwd`, in place or not; cosines and sines are halves of one cache."""
    cache, (style, kept_first) = call["cos_sin_cache"], STYLES[str(call.case["tensor"])]
    cos, sin = cache.chunk(2, dim=1)
    given = {"x": call["q"], "y": call["k"], "cos": cos, "sin": sin, "positions": call["positions"]}
    how = {"rotate_style": style, "reuse_freqs_front_part": True, "nope_first": kept_first}
    made = call.perform(rotation_of(call.case), **given, **how)
    if call.get("q_out") is not None:
        for out, rotated in zip((call["q_out"], call["k_out"]), made, strict=True):
            out.copy_(rotated)


def quantise(call: Call) -> None:
    """`fused_flatten_fp8_group_quant` of rows that are cut into their groups."""
    size, dtype = call["group_size"], call.fp8("x_q").dtype
    groups = call["x"].unflatten(1, (-1, size))
    codes, scales = call.perform(indexer.FLATTEN, x=groups, group_size=size, dtype_quant=dtype)
    call["x_q"].view(torch.uint8).copy_(codes.view(torch.uint8))
    call["x_s"].copy_(scales)


def _power_of_two(number: int) -> bool:
    return number & (number - 1) == 0


def _odd(case: Case) -> bool:
    return not (_power_of_two(case.integer("heads")) and _power_of_two(case.integer("dims")))


def _few(case: Case) -> bool:
    return not _power_of_two(case.integer("heads")) or case.integer("heads") < 16


ONE_LENGTH: Sequence[Gap] = (
    Gap(params={"lens": ("row",)}, reason="a request has one length"),
    Gap(params={"path": ("cuda", "crowded")}, reason="it has no decisions for CUDA or a crowded device"),
)
ONE_TOKEN = Gap(block_sizes=(16, 32, 64, 128, 256), reason="its pages hold one token")
HEADS = Gap(when=_few, reason="heads are a power of two and at least 16")
TILED: Sequence[Gap] = (
    OTHER_FLAVOUR,
    *ONE_LENGTH,
    HEADS,
    Gap(params={"ratio": (4,)}, when=lambda case: case.block_size > 1, reason="pages of several tokens are tiles"),
    Gap(params={"lengths": ("full",)}, reason="a request's pages are all in its table"),
)
PLANAR = ((indexer.PAGES, "this release scores pages by a Gluon kernel, which only a ROCm device runs"),)

ADAPTERS = {
    "fp8_paged_mqa_logits": (
        Adapter(
            f"{TRITON}.attention.pa_mqa_logits:deepgemm_fp8_paged_mqa_logits",
            score_tiles,
            Offer(params={"path": ("auto",)}, gaps=TILED),
            native=True,
            formats=flavour,
            uses=lambda _: (indexer.PAGES,),
        ),
        Adapter(
            f"{TRITON}.pa_mqa_logits:deepgemm_fp8_paged_mqa_logits",
            score_pages,
            Offer(params={"path": ("auto",)}, gaps=(OTHER_FLAVOUR, ONE_TOKEN, *ONE_LENGTH, HEADS)),
            formats=flavour,
            uses=lambda _: (indexer.TOKENS,),
            barred=PLANAR,
        ),
        Adapter(
            f"{TRITON}.pa_mqa_logits:deepgemm_fp8_paged_mqa_logits_stage1",
            score_pages_by_head,
            Offer(params={"path": ("two_kernel",)}, gaps=(OTHER_FLAVOUR, ONE_TOKEN, *ONE_LENGTH)),
            formats=flavour,
            uses=lambda _: (indexer.BY_HEAD,),
        ),
    ),
    "fp8_mqa_logits": (
        Adapter(
            f"{TRITON}.fp8_mqa_logits:fp8_mqa_logits",
            score_rows,
            Offer(
                gaps=(
                    OTHER_FLAVOUR,
                    Gap(when=_odd, reason="heads and their dims are powers of two"),
                    Gap(recipes=("far",), reason="offsets have 32 bits: heads lie within 2^31 elements"),
                )
            ),
            formats=flavour,
            uses=lambda case: (rows_of(case),),
        ),
    ),
    "apply_rope": (
        Adapter(
            f"{TRITON}.rope:rope_cached_thd_positions_2c_fwd",
            rotate,
            Offer(
                gaps=(
                    Gap(params={"keys": (0,)}, reason="it rotates two tensors"),
                    Gap(recipes=("apart",), reason="offsets have 32 bits: heads lie within 2^31 elements"),
                    Gap(params={"tensor": ("v4_attention", "v4_one_kept")}, reason="it rotates all lanes or half"),
                )
            ),
            uses=lambda case: (rotation_of(case),),
        ),
    ),
    "per_token_group_quant_fp8": (
        Adapter(
            f"{TRITON}.fused_fp8_quant:fused_flatten_fp8_group_quant",
            quantise,
            Offer(
                gaps=(
                    OTHER_FLAVOUR,
                    Gap(params={"scale_fmt": ("ue8m0",)}, reason="its scales are no powers of two"),
                    Gap(fp8s=("e4m3fnuz",), reason="it scales by the largest e4m3fnuz, 240, where vLLM takes 224"),
                )
            ),
            formats=flavour,
            uses=lambda _: (indexer.FLATTEN,),
        ),
    ),
}
