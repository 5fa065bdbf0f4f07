"""Op `mla_decode_fwd`: dense MLA decode over a paged latent cache, along a persistent plan or split evenly."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any, Literal, cast

import numpy as np
import torch

from rocassay.harness.arch import Target
from rocassay.harness.cases import Case, Value
from rocassay.harness.gates import Whitened
from rocassay.harness.inputs import Operands, Placement, Stream
from rocassay.harness.ops import Op, Tier, register
from rocassay.harness.plan import RoundingPlan
from rocassay.harness.probes import Dispatch, Invariance, Poison, Strides
from rocassay.harness.probes.metamorphic import Transformed
from rocassay.harness.results import Coordinate
from rocassay.kernels.persistent.buffers import NAMES
from rocassay.kernels.persistent.dispatch import DISPATCH, MAX_SPLITS, MlaDecodeVariant, MlaDispatch, mla_decode_variant
from rocassay.kernels.persistent.planner import Policy
from rocassay.kernels.persistent.shapes import DecodeShape
from rocassay.references.persistent import mla_decode_fwd as reference
from rocassay.suites.kernels.attention_inputs import SENTINEL, beyond, headed
from rocassay.suites.kernels.persistent_axes import ARCHES, FP8S, PAGE_SIZES
from rocassay.suites.kernels.persistent_inputs import (
    NEAR_TOKEN,
    SCALES,
    STALE,
    VALUE_DIM,
    Batch,
    Planned,
    cache_placement,
    element_types,
    known_recipe,
    latents,
    planned,
    real_heads,
    schedule_of,
)
from rocassay.suites.kernels.random_lists import RANDOM, random_lengths

NAME = "mla_decode_fwd"
SCALE = float(np.float32(0.052))
"""Spreads the logits by 1.25."""

WIDTHS = {8: 16, 12: 16, 24: 32}
"""Heads of the kernel where they are not the real ones: the next multiple of 16 (vLLM rocm_aiter_mla.py)."""

KEYS: Mapping[str, tuple[int, ...]] = {
    "skew": (150, 1, 0, 17, 33),
    "cut": (300, 20),
    "few": (40, 0, 18),
    "blind": (81, 81),
    "ragged": (70, 1, 5, 2, 33),
    "one": (100,),
    "many": (330, 450, 0, 20, 3),
    "blank": (36,),
    "scant": (17,),
    "even": (40, 33),
}
"""Keys of the requests. `blind` on three workgroups at 16 keys a page leaves one key behind a cut; `many` on 24
makes more parts than the reducer loads at once, beside a short tile; `blank` has fewer keys than query tokens, and so
has `scant`, whose one tile with a row that sees nothing is split where 18 tokens meet 9 workgroups."""

RAGGED = (4, 1, 0, 3, 2)
"""Query tokens of `ragged`: the fourth request has a key less than tokens, the third none at all."""

TIGHT = "tight"
"""Of the word `slots`: parts own no more partial rows than they fill, and the plan's buffers end with the plan."""

LENGTHS = (1, 15, 16, 17, 63, 64, 65, 127, 128, 129, 255, 256, 257, 2047, 2048, 2049)
HARD = ("far", "steep")
"""Recipes whose partial rows have none to spare, and whose lists hold litter where nobody may look."""

NO_GROUPS_ROWS = torch.tensor([0, 1], dtype=torch.int32)
BUFFERS = ("work_meta_data", *NAMES[1:])


def cases(tier: Tier) -> Iterable[Case]:
    """Quick: every element type, head rule, page size, cut and path; full adds lengths, heads and query lengths."""
    for arch in ARCHES:
        # The axes of the full tier meet some quick cases again.
        more = _full(arch) if tier != "quick" else ()
        yield from dict.fromkeys([*_quick(arch), *more])


def _case(arch: str, fp8: str, page: int, recipe: str = "tagged", **params: Value) -> Case:
    defaults: dict[str, Value] = {
        "path": "exact", "dtype": "bf16", "heads": 16, "qlen": 1, "keys": "few", "workers": 4, "causal": 1,
    }  # fmt: skip
    return Case(NAME, arch, fp8, page, tuple({"chip": arch, **defaults, **params}.items()), recipe)


def _quick(arch: str) -> Iterable[Case]:
    fn = FP8S[0]
    yield _case(arch, fn, 1, "padded", keys="skew", workers=5)
    yield _case(arch, fn, 1, path="v1.2", keys="cut")
    yield _case(arch, fn, 16, "wide", keys="few")
    for fp8 in FP8S:
        for page in PAGE_SIZES:
            path = "v1.2" if page == 16 else "exact"
            yield _case(arch, fp8, page, "padded", path=path, dtype="fp8", keys="skew", heads=12)
        yield _case(arch, fp8, 1, dtype="mixed", heads=8)
        yield _case(arch, fp8, 1, path="plain", dtype="fp8", heads=12, workers=3)
        yield _case(arch, fp8, 1, "codes", path="plain", dtype="fp8", heads=12, workers=3)
    for heads in (32, 64, 128):
        yield _case(arch, fn, 1, heads=heads)
    # Native on both, and folded on both.
    yield _case(arch, fn, 1, dtype="fp8", heads=128)
    yield _case(arch, fn, 1, dtype="fp8", heads=48)
    for dtype in ("bf16", "fp8"):
        yield _case(arch, fn, 16, path="v1.2", dtype=dtype, qlen=4, keys="blind", workers=3)
    yield _case(arch, fn, 16, "padded", qlen="ragged", keys="ragged")
    yield _case(arch, fn, 1, "padded", heads=32, qlen=2, keys="few", workers=5)
    yield _case(arch, fn, 64, qlen="ragged", keys="ragged", causal=0)
    yield _case(arch, fn, 16, "padded", path="plain", keys="skew", workers=3)
    yield _case(arch, fn, 1, path="plain", qlen="ragged", keys="ragged", workers=1)
    yield _case(arch, fn, 64, path="plain", qlen=4, keys="blind", workers=4)
    yield from _hard(arch, fn)


def _hard(arch: str, fn: str) -> Iterable[Case]:
    """Parts whose LSEs are beyond each other's exponentials, rows that no part sees, offsets past 2^31, no LSE."""
    yield _case(arch, fn, 1, "steep", qlen="ragged", keys="many", workers=24)
    yield _case(arch, fn, 1, "steep", path="plain", heads=17, qlen=5, keys="cut", workers=12, causal=0)
    yield _case(arch, fn, 1, "steep", path="plain", heads=17, qlen="ragged", keys="many", workers=16)
    yield _case(arch, fn, 16, path="v1.2", qlen=40, keys="blank", workers=3)
    yield _case(arch, fn, 16, "far", path="v1.2", qlen=3, keys="few", workers=5, lse=0)
    yield _case(arch, fn, 1, "far", path="plain", qlen=3, keys="cut", workers=3, lse=0)
    yield _case(arch, fn, 16, path="plain", keys="few", workers=1, lse=0)
    # Tiles that fill no block of rows; folded heads, and a row that no part of a split tile sees.
    yield _case(arch, fn, 1, dtype="fp8", heads=48, qlen=3, keys="even", workers=4, slots=TIGHT)
    yield _case(arch, fn, 16, path="v1.2", qlen=18, keys="scant", workers=9, slots=TIGHT)


def _full(arch: str) -> Iterable[Case]:
    """Lengths beside a long neighbour, heads by element type, query lengths by head rule."""
    fn = FP8S[0]
    for keys in LENGTHS:
        page = PAGE_SIZES[keys % 3]
        yield _case(arch, fn, page, "padded", keys=keys)
        yield _case(arch, FP8S[keys % 2], page, "padded", dtype="fp8", path="v1.2", keys=keys, qlen=2)
        yield _case(arch, fn, page, path="plain", keys=keys, workers=0)
    for heads in (8, 12, 16, 24, 32, 48, 64, 96, 128):
        for dtype in ("bf16", "fp8"):
            yield _case(arch, fn, 1, "padded", heads=heads, dtype=dtype, keys="skew")
            yield _case(arch, fn, 1, heads=heads, dtype=dtype, qlen=3, path="v1.2", keys="cut")
    for qlen in range(1, 9):
        for page in PAGE_SIZES:
            yield _case(arch, fn, page, qlen=qlen, keys="skew", workers=5)
            yield _case(arch, fn, page, qlen=qlen, path="v1.2", keys="blind", workers=3)
        yield _case(arch, fn, 1, heads=64, qlen=qlen, keys="blind")
    yield _case(arch, fn, 1, keys="skew", workers=80)
    yield _case(arch, fn, 64, "wide", path="plain", workers=3)
    yield from _without_lse(arch)


def _without_lse(arch: str) -> Iterable[Case]:
    """What kernels decode that export no LSE, of either kind; and unmasked rows along a plan of AITER's policy."""
    fn = FP8S[0]
    for path in ("plain", "v1.2"):
        yield _case(arch, fn, 1, path=path, keys="cut", lse=0)
        for fp8 in FP8S:
            yield _case(arch, fp8, 1, path=path, dtype="fp8", heads=128, keys="cut", lse=0)
    yield _case(arch, fn, 64, path="v1.2", keys="cut", lse=0)
    yield _case(arch, fn, 64, path="v1.2", keys="cut", qlen=2, causal=0)


def batch_of(case: Case) -> Batch:
    """Requests of a case."""
    word = case["keys"]
    if isinstance(word, str):
        kv_lens = random_lengths(case) if word == RANDOM else KEYS[word]
    else:
        kv_lens = (word, 40)
    qlen = case["qlen"]
    q_lens = RAGGED if isinstance(qlen, str) else (qlen,) * len(kv_lens)
    return Batch(q_lens, kv_lens, case.block_size)


def _width(case: Case) -> int:
    heads = case.integer("heads")
    return WIDTHS.get(heads, heads)


def shape_of(case: Case, batch: Batch) -> DecodeShape:
    """What the tiling of a case depends on: padded heads and the longest query among it."""
    return DecodeShape(str(case["chip"]), _width(case), batch.max_qlen, *element_types(case))


def _planned(case: Case, batch: Batch, policy: Policy, workers: int) -> Planned:
    shape = shape_of(case, batch)
    schedule = schedule_of(shape, policy, workers=workers, page_size=case.block_size, causal=bool(case["causal"]))
    return planned(batch, shape, schedule, tight=dict(case.params).get("slots") == TIGHT)


def wants_lse(case: Case) -> bool:
    """Whether the caller wants the LSE, which the cases' own word may deny."""
    return bool(dict(case.params).get("lse", 1))


def _litter(tensors: dict[str, torch.Tensor], plan: Planned | None) -> None:
    """What nobody may go by: the last page of a request without one, and the rows of groups without parts."""
    pages = tensors["kv_indptr"].diff()
    tensors["kv_last_page_lens"] = torch.where(pages > 0, tensors["kv_last_page_lens"], 41)
    if plan is not None:
        unread, rows = plan.unread["reduce_final_map"], tensors["reduce_final_map"]
        # The clean plan says -1 there, which is a promise; AITER's says nothing.
        tensors["reduce_final_map"] = torch.where(unread & (rows == STALE), NO_GROUPS_ROWS, rows)


def _workspaces(
    tokens: int, width: int, plan: Planned | None, splits: int, *, spare: bool = True
) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """NaN in every partial row, for what no part writes may not be read; and the rows that nobody may write.

    `spare`: whether slots that are not tight have rows of nobody behind them.
    """
    shape = (tokens, splits or MAX_SPLITS, width)
    nobodys = torch.zeros(shape, dtype=torch.bool)
    if plan is not None:
        rows, width = plan.nobodys(), width // plan.shape.fold
        rows = rows if spare or plan.tight else rows[: plan.plan.partial_rows]
        shape = (len(rows), width)
        nobodys = rows[:, None].expand(shape)
    spaces = {"logits": torch.full((*shape, VALUE_DIM), torch.nan), "attn_lse": torch.full(shape, torch.nan)}
    return spaces, {"logits": nobodys[..., None].expand(*shape, VALUE_DIM), "attn_lse": nobodys}


def inputs(case: Case, stream: Stream) -> Operands:
    """Random latents in permuted pages, needles at every edge, poison wherever nobody may look."""
    known_recipe(case)
    batch, heads, width = batch_of(case), case.integer("heads"), _width(case)
    data = latents(stream, batch, case, heads, width)
    plan = None
    if case["path"] != "plain":
        plan = _planned(case, batch, cast("Policy", case["path"]), case.integer("workers"))
    tensors = {
        "q": data.q,
        "kv_buffer": data.kv_buffer,
        "qo_indptr": batch.qo_indptr(),
        "kv_indptr": batch.kv_indptr(),
        "kv_indices": data.kv_indices,
        "kv_last_page_lens": batch.last_page_lens(),
        **(plan.tensors if plan else {}),
    }
    scales = dict(zip(("q_scale", "kv_scale"), SCALES[case.fp8], strict=True))
    for name, kind in zip(scales, element_types(case), strict=True):
        if kind == "fp8":
            tensors[name] = torch.tensor([scales[name]])
    shape = (batch.tokens, width)
    outputs = {"o": torch.full((*shape, VALUE_DIM), SENTINEL, dtype=torch.bfloat16)}
    if wants_lse(case):
        outputs["final_lse"] = torch.full(shape, SENTINEL)
    if case.recipe in HARD:
        _litter(tensors, plan)
    spaces, unwritten = _workspaces(*shape, plan, case.integer("workers"), spare=case.recipe not in HARD)
    return Operands(
        inputs=tensors,
        outputs=outputs,
        # The records hold no scalar, so a floating-point one is as good as any.
        scalars=cast(
            "Mapping[str, Value]",
            {"max_seqlen_q": batch.max_qlen, "sm_scale": SCALE, "causal": case.integer("causal")},
        ),
        workspaces=spaces,
        placements=_placements(case, tuple(data.q.shape), tuple(data.kv_buffer.shape), spaces),
        unread={**data.unread, **(plan.unread if plan else {})},
        unwritten=unwritten,
    )


def _placements(
    case: Case, q: tuple[int, ...], cache: tuple[int, ...], spaces: Mapping[str, torch.Tensor]
) -> dict[str, Placement]:
    tokens, width, dims = q
    placed = {
        "kv_buffer": cache_placement(case, cache),
        **headed(case, "q", (tokens, width, dims), 64),
        **headed(case, "o", (tokens, width, VALUE_DIM), 8),
    }
    if case.recipe == "padded":
        placed["final_lse"] = Placement((width + 3, 1))
    if case.recipe == "far":
        placed |= _far(case, spaces)
    return placed


def _far(case: Case, spaces: Mapping[str, torch.Tensor]) -> dict[str, Placement]:
    """Partial rows, heads and splits whose last ones lie past 2^31."""
    shape = spaces["logits"].shape
    head = beyond(shape[-2], 2**12)
    if case["path"] == "plain":
        split = beyond(shape[1], 2**20)
        return {"logits": Placement((NEAR_TOKEN, split, head, 1)), "attn_lse": Placement((NEAR_TOKEN, split, 1))}
    row = beyond(shape[0], 2**20)
    return {"logits": Placement((row, head, 1)), "attn_lse": Placement((row, 1))}


def _cache(case: Case, tensors: Mapping[str, Any]) -> reference.Cache:
    names = ("kv_buffer", "qo_indptr", "kv_indptr", "kv_indices", "kv_last_page_lens")
    return reference.Cache(**{name: tensors[name] for name in names}, fp8=case.fp8, causal=bool(case["causal"]))


def golden(case: Case, operands: Operands) -> Mapping[str, Whitened]:
    """float64 softmax over the stored elements of the real heads; padding heads may become anything."""
    tensors = operands.inputs
    places = real_heads(case.integer("heads"), _width(case))
    q_scale, kv_scale = (float(tensors[name]) if name in tensors else 1.0 for name in ("q_scale", "kv_scale"))
    decoded = reference.mla_decode_fwd(
        tensors["q"][:, places], _cache(case, tensors), sm_scale=SCALE, q_scale=q_scale, kv_scale=kv_scale
    )
    attended, lse = decoded.output, decoded.lse

    def spread(part: torch.Tensor) -> torch.Tensor:
        whole = torch.zeros(part.shape[0], _width(case), *part.shape[2:], dtype=part.dtype)
        whole[:, places] = part
        return whole

    seen = spread(torch.ones_like(attended.value, dtype=torch.bool))
    value, sigma, bound = (spread(part) for part in (attended.value, attended.sigma, attended.bound))
    # Of steep logits fp32 alone rounds more than the weights' bf16, which the model is of.
    holds = not attended.flat and case.recipe != "steep"
    model = Whitened(value, sigma, bound, seen, share=spread(attended.share), model_holds=holds)
    sums = spread(lse.value), spread(lse.sigma), spread(lse.bound)
    lse_model = Whitened(sums[0], sums[1], sums[2], seen[..., 0], model_holds=False)
    return {"o": model, **({"final_lse": lse_model} if wants_lse(case) else {})}


def peer(case: Case, arguments: dict[str, Any]) -> None:
    """Plain torch; it needs neither a plan nor partial results."""
    reference.peer_mla_decode_fwd(
        arguments["q"],
        _cache(case, arguments),
        arguments["o"],
        real_heads(case.integer("heads"), _width(case)),
        sm_scale=arguments["sm_scale"],
        q_scale=arguments.get("q_scale"),
        kv_scale=arguments.get("kv_scale"),
        final_lse=arguments.get("final_lse"),
    )


def variant(case: Case, target: Target, dispatch: MlaDispatch) -> MlaDecodeVariant:
    """The dispatcher's decisions; the plain path, and a number of splits, by request."""
    q, kv = element_types(case)
    path: Literal["plain", "persistent"] = "plain" if case["path"] == "plain" else "persistent"
    return mla_decode_variant(
        target,
        heads=_width(case),
        max_qlen=batch_of(case).max_qlen,
        q=q,
        kv=kv,
        fp8=case.fp8,
        path=path,
        splits=case.integer("workers") or None,
        dispatch=dispatch,
    )


def expected_kernels(case: Case) -> tuple[str, ...]:
    """Both stages along a plan; without one the merge only where there are splits."""
    if case["path"] != "plain":
        return ("_mla_decode_persistent_kernel", "_mla_reduce_kernel")
    split = "_mla_decode_split_kernel"
    if case["workers"] == 1:
        return (split,)
    return (split, "_mla_decode_merge_kernel")


def locate(case: Case, operands: Operands, output: str, index: tuple[int, ...]) -> Coordinate:
    """Query row, its request, kernel head, and for the state its dimension."""
    request = int((operands.inputs["qo_indptr"] <= index[0]).sum()) - 1
    where = {"query": index[0], "request": request, "head": index[1]}
    if output == "o":
        where["dim"] = index[2]
    return Coordinate(output=output, index=index, where=where)


def replan(case: Case, operands: Operands) -> Transformed:
    """The same requests planned by the other policy on another number of workgroups; a plain run in other splits."""
    if case["path"] == "plain":
        return _other(case, operands, None, "plain", case.integer("workers") + 2)
    policy: Policy = "exact" if case["path"] == "v1.2" else "v1.2"
    workers = case.integer("workers") + 2
    return _other(case, operands, _planned(case, batch_of(case), policy, workers), policy, workers)


def without_plan(case: Case, operands: Operands) -> Transformed:
    """A persistent run in plain splits, a plain run along a plan."""
    if case["path"] == "plain":
        return _other(case, operands, _planned(case, batch_of(case), "exact", 5), "exact", 5)
    return _other(case, operands, None, "plain", 3)


def _other(case: Case, operands: Operands, plan: Planned | None, path: str, workers: int) -> Transformed:
    changed = replace(case, params=tuple({**dict(case.params), "path": path, "workers": workers}.items()))
    kept = {name: tensor for name, tensor in operands.inputs.items() if name not in BUFFERS}
    unread = {name: mask for name, mask in operands.unread.items() if name not in BUFFERS}
    tokens, width = operands.inputs["q"].shape[:2]
    spaces, unwritten = _workspaces(tokens, width, plan, workers)
    other = replace(
        operands,
        inputs={**kept, **(plan.tensors if plan else {})},
        unread={**unread, **(plan.unread if plan else {})},
        workspaces=spaces,
        unwritten=unwritten,
    )
    return changed, other, lambda outputs: outputs


def permute_pages(case: Case, operands: Operands) -> Transformed:
    """The same rows in other pages, the index list rewritten."""
    tensors, unread = dict(operands.inputs), dict(operands.unread)
    moved = torch.from_numpy(Stream(str(case), "pages").permutation(len(tensors["kv_buffer"])))
    tensors["kv_indices"] = moved[tensors["kv_indices"].long()].to(torch.int32)
    for place in (tensors, unread):
        place["kv_buffer"] = torch.empty_like(place["kv_buffer"]).index_copy_(0, moved, place["kv_buffer"])
    return case, replace(operands, inputs=tensors, unread=unread), lambda outputs: outputs


def accepts(case: Case) -> bool:
    """The chip decides; plans need workgroups, ragged queries five requests, flavours codes; far pages are few."""
    planned = case["path"] == "plain" or case.integer("workers") >= 1
    requests = case["qlen"] != "ragged" or len(KEYS.get(str(case["keys"]), ())) == len(RAGGED)
    flavoured = case["dtype"] != "bf16" or case.fp8 == FP8S[0]
    near = case.recipe != "wide" or (case["keys"], case["dtype"], case.block_size > 1) == ("few", "bf16", True)
    return case["chip"] == case.arch and planned and requests and flavoured and near and _foldable(case)


def _foldable(case: Case) -> bool:
    """Whether a plan can be made, which a probe does of the plain path too: folded heads need even queries, page 1."""
    even = case.block_size == 1 and case["qlen"] != "ragged"
    return even or case.recipe in HARD or shape_of(case, batch_of(case)).fold == 1


OP = register(
    Op(
        name=NAME,
        contract="o[t,h] = softmax over the keys that t sees of sm_scale q.k, times their first 512 dims, and its LSE",
        launcher="rocassay.kernels.persistent.mla_decode_fwd:mla_decode_fwd",
        inputs=inputs,
        golden=golden,
        peer=peer,
        variant=variant,
        dispatch=DISPATCH,
        cases=cases,
        plan=RoundingPlan(
            (("p", "bfloat16"), ("out", "bfloat16")),
            "scores are fp32 sums; weights meet the values as bf16 (as fp16 where both are FP8), and parts stay fp32",
        ),
        locate=locate,
        free={"qlen": (1, 8), "keys": (1, 300), "workers": (0, 12)},
        words={"keys": (RANDOM,)},
        accepts=accepts,
        faults=(
            "dsv4-hardcoded-float8e4nv",
            "ps-buffers-passed-partially",
            "ps-metadata-wrong-dtype",
            "empty-kv-split",
            "folded-batch-mapping",
            "heads-not-16-or-128",
            "mla-last-page-len-full-seq",
            "k-scale-vs-v-scale-mla",
            "lse-base2-vs-natural",
            "unfilled-last-page-nan",
            "mla-causal-mask-missing",
            "mla-page-tail-forgotten",
            "mla-partial-rows-in-tokens",
            "mla-rope-left-out",
            "mla-page-offset-int32",
        ),
        probes=(
            Dispatch(expected_kernels),
            Strides(),
            Poison(),
            Invariance("plan-change", replan, "a plan says who computes, not what"),
            Invariance("path", without_plan, "the plain path is the same sum in other parts"),
            Invariance("page-permutation", permute_pages, "where a page lies is the index list's business"),
        ),
        probed=lambda case: case.recipe == "padded" and (case.arch == "gfx942") == (case.fp8 == "e4m3fnuz"),
    )
)
