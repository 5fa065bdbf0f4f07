"""AITER's Triton operations: scores of the indexer, RoPE, and quantisation in groups."""

from __future__ import annotations

import torch

from rocassay.harness.cases import Case
from rocassay.harness.providers.foreign import Adapter, Call
from rocassay.harness.providers.functions import Gap, Offer
from rocassay.suites.providers.aiter.machine import OTHER_FLAVOUR, TRITON, flavour

NEOX, GPTJ = 0, 1
STYLES = {"mla": (GPTJ, False), "v32_indexer": (NEOX, False), "glm_indexer": (GPTJ, False), "v4_indexer": (GPTJ, True)}
"""Model tensor -> AITER's rotate style, and whether the lanes that stay come first."""


def paged(call: Call) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
    """Queries, pages of one token as [NB, 1, 1, D + 4], and weights."""
    return call.fp8("q_fp8"), call["kv_cache"].unsqueeze(2), call["weights"]


def score_pages(call: Call) -> None:
    """`deepgemm_fp8_paged_mqa_logits`, straight into the output."""
    score = call.function(f"{TRITON}.pa_mqa_logits:deepgemm_fp8_paged_mqa_logits")
    table = (call["context_lens"], call["block_tables"], call["max_model_len"])
    score(*paged(call), call["logits"], *table)


def score_pages_by_head(call: Call) -> None:
    """`deepgemm_fp8_paged_mqa_logits_stage1`, whose terms the caller sums over the heads."""
    score = call.function(f"{TRITON}.pa_mqa_logits:deepgemm_fp8_paged_mqa_logits_stage1")
    logits, heads = call["logits"], call["q_fp8"].shape[2]
    terms = torch.full((heads, *logits.shape), -torch.inf, device=logits.device)
    table = (call["context_lens"], call["block_tables"], call["max_model_len"])
    score(*paged(call), terms, *table)
    logits.copy_(terms.sum(dim=0))


def score_rows(call: Call) -> None:
    """`fp8_mqa_logits`, which returns rows of its own; scales are contiguous."""
    score = call.function(f"{TRITON}.fp8_mqa_logits:fp8_mqa_logits")
    windows = (call.dense("ks"), call.dense("ke"))
    scales = call.dense("k_scale").reshape(-1)
    call["logits"].copy_(score(call.fp8("q_fp8"), call.fp8("k_fp8"), scales, call["weights"], *windows))


def rotate(call: Call) -> None:
    """`rope_cached_thd_positions_2c_fwd`, in place or not; cosines and sines are halves of one cache."""
    cache, (style, kept_first) = call["cos_sin_cache"], STYLES[str(call.case["tensor"])]
    half = cache.shape[1] // 2
    given = (call["q"], call["k"], cache[:, :half], cache[:, half:], call["positions"], style, True, kept_first)
    name = f"{TRITON}.rope:rope_cached_thd_positions_2c_fwd"
    if call.get("q_out") is None:
        call.function(f"{name}_inplace")(*given)
        return
    for out, rotated in zip((call["q_out"], call["k_out"]), call.function(name)(*given), strict=True):
        out.copy_(rotated)


def quantise(call: Call) -> None:
    """`fused_flatten_fp8_group_quant` of rows that are cut into their groups."""
    size, x = call["group_size"], call["x"]
    groups = x.unflatten(1, (-1, size))
    codes, scales = call.function(f"{TRITON}.fused_fp8_quant:fused_flatten_fp8_group_quant")(
        groups, size, call.fp8("x_q").dtype
    )
    call["x_q"].view(torch.uint8).copy_(codes.view(torch.uint8))
    call["x_s"].copy_(scales)


def _power_of_two(number: int) -> bool:
    return number & (number - 1) == 0


PAGED = (
    OTHER_FLAVOUR,
    Gap(block_sizes=(16, 32, 64, 128, 256), reason="its pages hold one token"),
    Gap(params={"lens": ("row",)}, reason="a request has one length"),
    Gap(params={"path": ("cuda",)}, reason="it has no decisions for CUDA"),
)


def _odd(case: Case) -> bool:
    return not (_power_of_two(case.integer("heads")) and _power_of_two(case.integer("dims")))


ADAPTERS = {
    "fp8_paged_mqa_logits": (
        Adapter(
            f"{TRITON}.pa_mqa_logits:deepgemm_fp8_paged_mqa_logits",
            score_pages,
            Offer(params={"path": ("auto",)}, gaps=PAGED),
            formats=flavour,
        ),
        Adapter(
            f"{TRITON}.pa_mqa_logits:deepgemm_fp8_paged_mqa_logits_stage1",
            score_pages_by_head,
            Offer(params={"path": ("two_kernel",)}, gaps=PAGED),
            formats=flavour,
        ),
    ),
    "fp8_mqa_logits": (
        Adapter(
            f"{TRITON}.fp8_mqa_logits:fp8_mqa_logits",
            score_rows,
            Offer(
                gaps=(
                    OTHER_FLAVOUR,
                    Gap(params={"clean": (0,)}, reason="it always fills what lies outside of a window"),
                    Gap(when=_odd, reason="heads and their dims are powers of two"),
                )
            ),
            formats=flavour,
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
        ),
    ),
}
