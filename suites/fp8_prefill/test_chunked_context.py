"""New tokens over themselves, merged with all of their context, are attention over the whole sequence.

vLLM's chunked prefill (vllm-project/vllm#42509): new tokens causally, the context without a mask, both with their LSE,
then `merge_attn_states`. Judged against the golden of the whole, with the roundings that the way there declares.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pytest
import torch

from rocassay.harness.arch import Target
from rocassay.harness.engines.base import engine
from rocassay.harness.gates import Whitened
from rocassay.harness.inputs import Stream
from rocassay.kernels.fp8_prefill.dispatch import PrefillPath, prefill_variant
from rocassay.kernels.fp8_prefill.mla_prefill_ps import mla_prefill_ps
from rocassay.kernels.merge.dispatch import merge_variant
from rocassay.kernels.merge.merge_attn_states import merge_attn_states
from rocassay.references.common.merging import merged_rms, merged_slack
from rocassay.references.common.rounding import UNIT_ROUNDOFF
from rocassay.references.fp8_prefill import mla_prefill_ps as reference
from rocassay.references.fp8_prefill.attention import Attended, with_output
from rocassay.suites.kernels.fp8_prefill_inputs import (
    QK_DIM,
    SCALES,
    SENTINEL,
    SPREAD,
    V_DIM,
    Batch,
    Segments,
    draw_pages,
    draw_states,
    plan_tensors,
    quantised,
)

FP8 = "e4m3fn"
HEADS, WORKERS, TILE = 2, 4, 32
SOFTMAX_SCALE = float(np.float32(SPREAD / np.sqrt(QK_DIM)))
OUT = torch.bfloat16
TOKENS_AND_CONTEXT: Segments = ((40, 75), (17, 0), (1, 130), (0, 20), (33, 16), (5, 1))
"""New tokens and context of each request: tiles cut by the plan, none of either, a single token or key."""

PATHS: tuple[tuple[PrefillPath, PrefillPath], ...] = (
    ("persistent", "fallback"),
    ("persistent", "persistent"),
    ("fallback", "fallback"),
)
"""Of the new tokens and of the context; the first pair is what vLLM takes."""

WEIGHTS = {"persistent": "fp8", "fallback": "fp16"}
"""What a path rounds its softmax weights to."""


@dataclass(frozen=True, slots=True)
class Part:
    """Keys [first, end) of every request, counted from its own first key, over the rows of all."""

    lengths: Segments
    pages: torch.Tensor
    """int32: physical row of every key of the part."""

    causal: bool

    @property
    def batch(self) -> Batch:
        """Rows and keys of every request."""
        return Batch(self.lengths)


@dataclass(frozen=True, slots=True)
class Sequences:
    """Codes of all queries and keys, and the three ways to look at them."""

    q: torch.Tensor
    k: torch.Tensor
    v: torch.Tensor
    whole: Part
    new: Part
    context: Part

    def states(self, part: Part) -> reference.States:
        """Decoded operands of a part."""
        scales = {name: torch.tensor([scale]) for name, scale in SCALES.items()}
        indptrs = (torch.from_numpy(part.batch.qo_indptr), torch.from_numpy(part.batch.kv_indptr))
        return reference.states(
            self.q, self.k, self.v, *indptrs, softmax_scale=SOFTMAX_SCALE, fp8=FP8, is_causal=part.causal,
            kv_page_indices=part.pages, **scales,
        )  # fmt: skip


def sequences() -> Sequences:
    """Requests whose context comes before their new tokens, on permuted physical rows."""
    stream = Stream("mla_prefill_ps", "chunked context")
    lengths = tuple((tokens, tokens + context) for tokens, context in TOKENS_AND_CONTEXT)
    batch = Batch(lengths)
    q, k, v = draw_states(stream, batch, HEADS)
    pages = draw_pages(stream, batch)
    pools = [np.zeros((int(pages.max()) + 1, HEADS, width)) for width in (QK_DIM, V_DIM)]
    for pool, state in zip(pools, (k, v), strict=True):
        pool[pages] = state
    # The key of a request is one of its context while its number is below the context's.
    number = np.concatenate([np.arange(keys) for _, keys in lengths])
    context = torch.from_numpy(number < np.concatenate([np.full(keys, keys - tokens) for tokens, keys in lengths]))
    table = torch.from_numpy(pages.astype(np.int32))
    codes = (quantised(x, SCALES[f"{name}_scale"], FP8) for name, x in zip("qkv", (q, *pools), strict=True))
    return Sequences(
        *codes,
        whole=Part(lengths, table, causal=True),
        new=Part(tuple((tokens, tokens) for tokens, _ in TOKENS_AND_CONTEXT), table[~context], causal=True),
        context=Part(TOKENS_AND_CONTEXT, table[context], causal=False),
    )


def attended(source: Sequences, part: Part, path: PrefillPath, *, causal: bool) -> tuple[torch.Tensor, torch.Tensor]:
    """Result [T, H, 128] and LSE [H, T] of the kernel over a part."""
    batch = part.batch
    output = torch.full((batch.rows, HEADS, V_DIM), SENTINEL, dtype=OUT)
    lse = torch.full((HEADS, batch.rows), SENTINEL)
    given: dict[str, torch.Tensor] = {}
    if path == "persistent":
        plan = batch.plan(HEADS, WORKERS, TILE, causal=causal)
        given = plan_tensors(plan, batch, HEADS, WORKERS, TILE)
        rows = max(1, plan.num_partial_tiles) * TILE
        given |= {"split_data": torch.full((rows, HEADS, V_DIM), torch.nan)}
        given |= {"split_lse": torch.full((rows, HEADS), torch.nan)}
    mla_prefill_ps(
        source.q,
        source.k,
        source.v,
        output,
        torch.from_numpy(batch.qo_indptr),
        torch.from_numpy(batch.kv_indptr),
        max_seqlen_q=batch.longest,
        softmax_scale=SOFTMAX_SCALE,
        variant=prefill_variant(_target(), fp8=FP8, heads=HEADS, path=path, tile_q=TILE),
        kv_page_indices=part.pages,
        is_causal=causal,
        final_lse=lse.T,
        **{name: torch.tensor([scale]) for name, scale in SCALES.items()},
        **given,
    )
    return output, lse


def merged(
    source: Sequences, paths: tuple[PrefillPath, PrefillPath], *, masked_context: bool = False
) -> tuple[torch.Tensor, torch.Tensor]:
    """Result and LSE [T, H] of both parts, merged; `masked_context` is the mistake to treat the context as causal."""
    with engine("interpreter").session():
        new, new_lse = attended(source, source.new, paths[0], causal=True)
        context, context_lse = attended(source, source.context, paths[1], causal=masked_context)
        output, lse = torch.full_like(new, SENTINEL), torch.full_like(new_lse, SENTINEL)
        variant = merge_variant(_target(), dtype="bfloat16", tokens=len(new), head_dim=V_DIM)
        merge_attn_states(output, context, context_lse, new, new_lse, output_lse=lse, variant=variant)
    return output, lse.T


def _target() -> Target:
    return engine("interpreter").target("gfx950")


def expected(source: Sequences, paths: tuple[PrefillPath, PrefillPath]) -> tuple[Whitened, Whitened]:
    """Golden of the whole; the roundings of both parts, weighted, and of the merge."""
    whole = _all_rows(source, source.whole, paths[0])
    parts = [_all_rows(source, source.new, paths[0]), _all_rows(source, source.context, paths[1])]
    lses = torch.stack([part.lse for part in parts])
    weights = torch.nan_to_num(torch.exp(lses - whole.lse))
    gaps = torch.where(lses == -torch.inf, 0.0, lses.amax(dim=0) - lses)
    values = torch.stack([part.value for part in parts])
    errors = [with_output(part, OUT) for part in parts]
    sigmas, bounds = (torch.stack(pair) for pair in zip(*errors, strict=True))
    last = merged_rms(whole.value, weights[..., None] * values, gaps, OUT)
    own = weights[..., None] * torch.stack([part.variance.sqrt() for part in parts])
    variance = (weights[..., None] * sigmas).square().sum(dim=0) + last.square()
    fraction = torch.where(variance > 0, own.square() / variance, 0.0).mean(dim=-1)
    share = (fraction.square() * torch.stack([part.share for part in parts])).sum(dim=0)
    lse_worst = (weights * torch.stack([part.lse_worst for part in parts])).sum(dim=0)
    # An error of one LSE moves weight from one part to the other.
    moved = (weights.prod(dim=0) * sum(part.lse_worst for part in parts))[..., None] * (values[0] - values[1]).abs()
    worst = (weights[..., None] * bounds).sum(dim=0) + moved + merged_slack(values, OUT)
    bound = worst + UNIT_ROUNDOFF[OUT] * (whole.value.abs() + worst)
    seen = torch.ones(whole.lse.shape, dtype=torch.bool)
    return (
        Whitened(whole.value, variance.sqrt(), bound, seen[..., None].expand_as(bound), share=share),
        Whitened(whole.lse, torch.zeros_like(lse_worst), 2 * whole.lse_worst + lse_worst, seen, model_holds=False),
    )


def _all_rows(source: Sequences, part: Part, path: PrefillPath) -> Attended:
    """Golden of every row, in order."""
    found = [golden for _, golden in reference.attend_requests(source.states(part), WEIGHTS[path])]
    names = ("value", "variance", "worst", "share", "lse", "lse_worst")
    return Attended(*(torch.cat([getattr(golden, name) for golden in found]) for name in names), flat=False)


@pytest.fixture(scope="module")
def source() -> Sequences:
    return sequences()


@pytest.mark.parametrize("paths", PATHS, ids="-".join)
def test_new_tokens_merged_with_their_context_are_the_whole(
    source: Sequences, paths: tuple[PrefillPath, PrefillPath]
) -> None:
    output, lse = merged(source, paths)
    wanted, wanted_lse = expected(source, paths)
    verdicts = [*wanted.judge("output", output), *wanted_lse.judge("lse", lse)]
    assert [verdict.detail for verdict in verdicts if not verdict.passed] == []


@pytest.mark.parametrize("path", ["persistent", "fallback"])
def test_a_context_that_is_masked_as_if_the_rows_were_its_last_tokens_is_seen(
    source: Sequences, path: PrefillPath
) -> None:
    output, _ = merged(source, ("persistent", path), masked_context=True)
    wanted, _ = expected(source, ("persistent", path))
    assert {"bound", "max-z"} <= {verdict.name for verdict in wanted.judge("output", output) if not verdict.passed}


def test_requests_without_context_keep_the_result_of_their_new_tokens(source: Sequences) -> None:
    output, _ = merged(source, PATHS[0])
    with engine("interpreter").session():
        alone, _ = attended(source, source.new, "persistent", causal=True)
    rows = slice(40, 57)
    assert torch.equal(output[rows], alone[rows])
