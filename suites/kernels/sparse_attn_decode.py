"""Op `sparse_attn_decode`: decode queries over two paged fp8_ds_mla caches, in one pass or split over the keys."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import replace
from typing import Any

import numpy as np
import torch

from rocassay.harness.arch import Target
from rocassay.harness.cases import Case, cross
from rocassay.harness.gates import Whitened
from rocassay.harness.inputs import Operands, Placement, Stream
from rocassay.harness.ops import Op, Tier, register
from rocassay.harness.plan import RoundingPlan
from rocassay.harness.probes import BatchInvariance, Dispatch, Invariance, Observation, Poison, Strides, Traffic
from rocassay.harness.probes.metamorphic import Transformed
from rocassay.kernels.attention.dispatch import DISPATCH, AttentionDispatch, DecodeVariant, decode_variant
from rocassay.kernels.attention.splits import MAX_SPLITS
from rocassay.references.attention import sparse_attn_decode as reference
from rocassay.suites.kernels.attention_axes import ARCHES, EXTRA_BLOCK_SIZE, FP8S
from rocassay.suites.kernels.attention_cache import HEAD_DIM, Cache, cache_placement, move_pages, planar_cache
from rocassay.suites.kernels.attention_inputs import (
    SENTINEL,
    UNPLANTED,
    Lists,
    beyond,
    draw_lists,
    headed,
    known_recipe,
    locate,
    per_head,
    permuted,
    queries,
    sinks,
    steepened,
)
from rocassay.suites.kernels.batches import one_more
from rocassay.suites.kernels.random_lists import RANDOM, random_shapes

NAME = "sparse_attn_decode"
HEADS = (8, 12, 16, 24, 32, 64, 128)
LENGTHS = (1, 15, 16, 17, 63, 64, 65, 127, 128, 129, 255, 256, 257, 2047, 2048, 2049)
SPLITS = (1, 2, 3, 16, 32)
SCALE = float(np.float32(0.052))
"""Spreads the logits of these caches by 1.25."""

NEAR_TOKEN = 2**17
"""Elements from token to token of partial results whose splits are far apart."""

RANDOM_TOKENS = 4
Shape = tuple[int | str, ...]
EDGES: tuple[tuple[Shape, Shape], ...] = (
    ((3, "hole", 7, "past", 9, "again", 10, "far", 8), (6, "past", 5, "hole", 4, "again", "last")),
    ((), ()),
    ((*["hole"] * 40, 8, "theirs", "last", "far"), (1,)),
    (("hole", "far", "past"), (20, "far", 13, "hole")),
    (("zero", 1), ()),
)
"""Per query its main and its extra list: several tiles, nothing, a first tile without a valid slot, no valid main
slot, and a single key."""

ALONE = 4
"""Query whose main list is a single key."""


def cases(tier: Tier) -> Iterable[Case]:
    """Quick: both paths, both caches, head tails, lists with every edge; full adds lengths, heads and splits."""
    return dict.fromkeys(_cases(tier))


def _cases(tier: Tier) -> Iterable[Case]:
    axes: dict[str, Any] = {"arches": ARCHES, "fp8s": FP8S}
    one: dict[str, Any] = {**axes, "path": ("single",), "splits": (1,)}
    split: dict[str, Any] = {**axes, "path": ("auto",)}
    for main, extra in EXTRA_BLOCK_SIZE.items():
        both: dict[str, Any] = {"block_sizes": (main,), "extra": (extra,), "lists": ("edges",), "sink": ("mixed",)}
        yield from cross(NAME, **one, **both, heads=(16,), recipes=("padded" if main == 64 else "tagged",))
        yield from cross(
            NAME, **split, **both, heads=(16,), splits=(3,), recipes=("tagged" if main == 64 else "padded",)
        )
    alone: dict[str, Any] = {"extra": (0,), "lists": ("edges",), "sink": ("none",)}
    yield from cross(NAME, **split, **alone, block_sizes=(64,), heads=(17,), splits=(2,))
    yield from cross(NAME, **one, **alone, block_sizes=(256,), heads=(24,))
    bare: dict[str, Any] = {"block_sizes": (2,), "extra": (64,), "lists": ("edges",), "sink": ("none",)}
    yield from cross(NAME, **one, **bare, heads=(8,))
    yield from cross(NAME, **one, **alone, block_sizes=(64,), heads=(16,), recipes=("faint",))
    short: dict[str, Any] = {"block_sizes": (64,), "extra": (2,), "lists": (5,), "sink": ("none",)}
    yield from cross(NAME, **split, **short, heads=(16,), splits=(0,))
    wide: dict[str, Any] = {"block_sizes": (2,), "extra": (64,), "lists": ("edges",), "sink": ("mixed",)}
    yield from cross(NAME, **one, **wide, heads=(16,), recipes=("wide",))
    hard: dict[str, Any] = {
        "arches": ARCHES,
        "fp8s": FP8S[:1],
        "block_sizes": (64,),
        "extra": (2,),
        "lists": ("edges",),
    }
    for path, splits in (("single", 1), ("auto", 3)):
        how: dict[str, Any] = {**hard, "path": (path,), "splits": (splits,)}
        yield from cross(NAME, **how, heads=(33,), sink=("mixed",), recipes=("far",))
        yield from cross(NAME, **how, heads=(16,), sink=("none",), recipes=("steep",))
    yield from cross(NAME, **one, **alone, block_sizes=(256,), heads=(24,), recipes=("codes",))
    if tier != "quick":
        yield from _long(one, split)


def _long(one: dict[str, Any], split: dict[str, Any]) -> Iterable[Case]:
    """Lengths on one arch's decisions each, heads on both."""
    shape: dict[str, Any] = {"block_sizes": (64,), "extra": (2,), "sink": ("mixed",), "recipes": ("padded",)}
    single, halves = {**one, "arches": ("gfx942",)}, {**split, "arches": ("gfx950",)}
    yield from cross(NAME, **single, **shape, heads=(16,), lists=LENGTHS)
    yield from cross(NAME, **halves, **shape, heads=(16,), splits=(3,), lists=LENGTHS)
    yield from cross(NAME, **one, **shape, heads=HEADS, lists=(129,))
    yield from cross(NAME, **split, **shape, heads=HEADS, splits=(2,), lists=(129,))
    pages: dict[str, Any] = {**shape, "block_sizes": (256,), "extra": (64,)}
    yield from cross(NAME, **split, **pages, heads=(16,), splits=(0, *SPLITS), lists=("edges", 257))


def _shapes(case: Case) -> tuple[tuple[Shape, Shape], ...]:
    word = case["lists"]
    if word == RANDOM:
        both = (random_shapes(case, name, RANDOM_TOKENS) for name in ("main", "extra"))
        return tuple(zip(*both, strict=True))
    if isinstance(word, str):
        return EDGES
    if word == 5:
        return (((5,), (word * 4, "hole", 9)),)
    return ((word, "again"), (word // 2 + 1,)), ((3, "hole"), (word,))


def inputs(case: Case, stream: Stream) -> Operands:
    """Random bytes of both caches in permuted slots, needles at every edge, poison in every slot nobody lists."""
    known_recipe(case)
    heads, extra_block = case.integer("heads"), case.integer("extra")
    main_shapes, extra_shapes = zip(*_shapes(case), strict=True)
    tokens = len(main_shapes)
    plain = queries(stream, (tokens, heads, HEAD_DIM))
    q = steepened(case, stream, plain)
    main = _cache(case, stream.child("main"), main_shapes, plain, case.fp8, case.block_size, 0)
    tensors = {
        "q": torch.from_numpy(q).to(torch.bfloat16),
        "swa_k_cache": main.bytes,
        "swa_ragged_indices": main.lists.indices(),
        "swa_ragged_indptr": main.lists.indptr(),
    }
    unread = {"swa_k_cache": main.unread, "swa_ragged_indices": main.lists.tail()}
    if extra_block:
        flavour = reference.EXTRA_FP8
        extra = _cache(case, stream.child("extra"), extra_shapes, plain, flavour, extra_block, main.lists.capacity)
        tensors |= {
            "kv_cache": extra.bytes,
            "topk_ragged_indices": extra.lists.indices(),
            "topk_ragged_indptr": extra.lists.indptr(),
        }
        unread |= {"kv_cache": extra.unread, "topk_ragged_indices": extra.lists.tail()}
    if case["sink"] == "mixed":
        tensors["attn_sink"], unread["attn_sink"] = sinks(stream, heads)
    return Operands(
        inputs=tensors,
        outputs={"output": torch.full((tokens, heads, HEAD_DIM), SENTINEL, dtype=torch.bfloat16)},
        # The records hold no scalar, so a floating-point one is as good as any.
        scalars={"scale": SCALE},
        workspaces=_workspaces(case, tokens),
        placements=_placements(case, tensors),
        unread=unread,
    )


def _cache(
    case: Case, stream: Stream, shapes: tuple[Shape, ...], q: Any, fp8: str, block_size: int, beyond: int
) -> Cache:
    """A cache whose lists follow `shapes`, with more slots than `beyond`, so that its last are past the other's."""
    named = sum(item if isinstance(item, int) else 1 for shape in shapes for item in shape)
    pages = -(-max(named + 20, beyond + 1) // block_size) + 1
    lists: Lists = draw_lists(stream, shapes, pages * block_size, first=case.recipe == "padded")
    how = {"planted": case.recipe not in (UNPLANTED, "codes"), "steep": case.recipe == "steep"}
    faint = lists.valid(ALONE)[0] if case.recipe == "faint" else None
    return planar_cache(stream, lists, q, fp8, block_size, **how, every=case.recipe == "codes", faint=faint)


def _workspaces(case: Case, tokens: int) -> dict[str, torch.Tensor]:
    """NaN in every partial result: an empty split's accumulator is never written."""
    if case["path"] == "single":
        return {}
    shape = (tokens, case.integer("splits") or MAX_SPLITS, case.integer("heads"))
    parts = {name: torch.full(shape, torch.nan) for name in ("part_m", "part_l")}
    return {**parts, "part_acc": torch.full((*shape, HEAD_DIM), torch.nan)}


def _placements(case: Case, tensors: Mapping[str, torch.Tensor]) -> dict[str, Placement]:
    shape = tuple(tensors["q"].shape)
    caches = {name: tensors[name] for name in ("swa_k_cache", "kv_cache") if name in tensors}
    placed = {name: cache_placement(case, name, cache) for name, cache in caches.items()}
    if case.recipe == "far" and case["path"] != "single":
        split = beyond(case.integer("splits"), 2**20)
        parts = Placement((NEAR_TOKEN, split, 1))
        far = Placement((NEAR_TOKEN, split, beyond(shape[1], 2**12), 1))
        placed |= {"part_m": parts, "part_l": parts, "part_acc": far}
    return {**placed, **headed(case, "q", shape, 40), **headed(case, "output", shape, 8)}


def golden(case: Case, operands: Operands) -> Mapping[str, Whitened]:
    """float64 softmax over both caches' stored bytes, with the rounding model."""
    attended = reference.sparse_attn_decode(
        **operands.inputs, scale=SCALE, fp8=case.fp8, dtype=operands.outputs["output"].dtype
    )
    return {"output": per_head(attended, steep=case.recipe == "steep")}


def peer(case: Case, arguments: dict[str, Any]) -> None:
    """Plain torch; it needs no partial results."""
    own = {name: value for name, value in arguments.items() if not name.startswith("part_")}
    reference.peer_sparse_attn_decode(**own, fp8=case.fp8)


def variant(case: Case, target: Target, dispatch: AttentionDispatch) -> DecodeVariant:
    """The dispatcher's decisions; the single pass, and a number of splits, by request."""
    return decode_variant(
        target,
        fp8=case.fp8,
        heads=case.integer("heads"),
        path="single" if case["path"] == "single" else None,
        splits=case.integer("splits") or None,
        dispatch=dispatch,
    )


def expected_kernels(case: Case) -> tuple[str, ...]:
    """Partial results and their reduction on gfx942 and gfx950; one pass only where it is asked for."""
    if case["path"] == "single":
        return ("_sparse_attn_decode_kernel",)
    return ("_sparse_attn_decode_partial_kernel", "_sparse_attn_decode_reduce_kernel")


_LISTS = (("swa_ragged_indices", "swa_ragged_indptr"), ("topk_ragged_indices", "topk_ragged_indptr"))


def permute_lists(case: Case, operands: Operands) -> Transformed:
    """Every list of both caches in another order."""
    tensors = dict(operands.inputs)
    for indices, indptr in _LISTS:
        if indices in tensors:
            stream = Stream(str(case), "permute", indices)
            tensors[indices] = permuted(stream, tensors[indices], tensors[indptr])
    return case, replace(operands, inputs=tensors), lambda outputs: outputs


def resplit(case: Case, operands: Operands) -> Transformed:
    """The same keys in another number of splits; the single pass becomes splits, too."""
    splits = {1: 2, 2: 5, 3: 5}.get(case.integer("splits"), 3)
    changed = {**dict(case.params), "path": "auto", "splits": splits}
    other = replace(case, params=tuple(changed.items()))
    tokens = len(operands.inputs["q"])
    return other, replace(operands, workspaces=_workspaces(other, tokens)), lambda outputs: outputs


def split_freely(seen: Observation) -> str:
    """Without a given number, a launch has as many splits as fill the device beside the other queries."""
    given = seen.case["path"] == "single" or seen.case["splits"]
    return "" if given else "as many splits as fill the device; give their number to have the same bits in each batch"


def permute_pages(case: Case, operands: Operands) -> Transformed:
    """The same records in other pages of both caches, the lists rewritten."""
    tensors, unread = dict(operands.inputs), dict(operands.unread)
    for cache, (indices, _) in zip(("swa_k_cache", "kv_cache"), _LISTS, strict=True):
        if cache in tensors:
            moved = Stream(str(case), "pages", cache).permutation(len(tensors[cache]))
            tensors[indices] = move_pages(tensors[indices], moved, tensors[cache].shape[1])
            target = torch.from_numpy(moved)
            for place in (tensors, unread):
                place[cache] = torch.empty_like(place[cache]).index_copy_(0, target, place[cache])
    return case, replace(operands, inputs=tensors, unread=unread), lambda outputs: outputs


READ_BYTES = 448 + 128 + 7
"""Bytes of a record that attention needs; the eighth scale byte is padding."""


def one_pass(seen: Observation) -> Mapping[str, int]:
    """Every valid entry of a list loads its record once for each block of heads, however the keys are split."""
    tensors, needed = seen.operands.inputs, dict[str, int]()
    for cache, (indices, indptr) in zip(("swa_k_cache", "kv_cache"), _LISTS, strict=True):
        if cache in tensors:
            listed, (pages, block_size) = tensors[indices][: int(tensors[indptr][-1])], tensors[cache].shape[:2]
            entries = int(((listed >= 0) & (listed < pages * block_size)).sum())
            needed[cache] = entries * -(-seen.case.integer("heads") // seen.variant.block_h) * READ_BYTES
    return needed


def _probed(case: Case) -> bool:
    """The chip's own flavour; more heads and lengths would repeat the probes at their own price."""
    own = (case.arch == "gfx942") == (case.fp8 == "e4m3fnuz")
    return own and case.recipe == "padded" and case["lists"] in ("edges", 257)


def accepts(case: Case) -> bool:
    """One pass has no splits, both caches never the same pages, and lists in pages far apart must be short."""
    single = case["path"] != "single" or case["splits"] == 1
    return (
        single
        and case["extra"] != case.block_size
        and (case.recipe not in ("wide", "far", "steep", "faint") or case["lists"] == "edges")
        and (case.recipe != "faint" or case["extra"] == 0)
    )


OP = register(
    Op(
        name=NAME,
        contract="out[b,h] = softmax over the union of both slot lists of query b, and the sink, applied to the rows",
        launcher="rocassay.kernels.attention.sparse_attn_decode:sparse_attn_decode",
        inputs=inputs,
        golden=golden,
        peer=peer,
        variant=variant,
        dispatch=DISPATCH,
        cases=cases,
        plan=RoundingPlan(
            (("p", "bfloat16"), ("out", "bfloat16")),
            "code times power of two is exact in bf16; weights meet the rows as bf16, everything else stays fp32",
        ),
        locate=locate,
        free={"splits": (0, 32), "lists": (1, 300), "heads": (1, 40)},
        words={"lists": (RANDOM,)},
        accepts=accepts,
        faults=(
            "empty-kv-split",
            "unfilled-last-page-nan",
            "zero-len-pad-nan-poisons-batch",
            "mixed-main-fnuz-extra-ocp-reader",
            "sparse-attn-missed-rescale",
            "sparse-attn-sink-forgotten",
            "sparse-attn-hole-attends-to-row-zero",
            "sparse-decode-splits-follow-batch",
            "sparse-attn-scale-applied-twice",
            "sparse-attn-last-key-dropped",
            "sparse-attn-offset-int32",
            "two-pass-decode",
            "sparse-decode-sink-per-split",
            "sparse-decode-part-max-in-base-2",
            "sparse-decode-extra-validated-by-main",
            "sparse-decode-hardcoded-float8e4nv",
            "sparse-decode-scales-interleaved",
            "sparse-decode-stride-assumed-contiguous",
            "sparse-decode-nan-not-scrubbed",
            "sparse-decode-not-split-on-gfx950",
        ),
        probes=(
            Dispatch(expected_kernels),
            Strides(),
            Poison(),
            Traffic(one_pass),
            Invariance("list-permutation", permute_lists, "attention is a sum over a multiset: order is free"),
            Invariance("split-count", resplit, "splits only reassociate fp32 sums"),
            Invariance("page-permutation", permute_pages, "where a page lies is the slot's business"),
            BatchInvariance(one_more(("q", "output", "part_m", "part_l", "part_acc"), _LISTS), excused=split_freely),
        ),
        probed=_probed,
    )
)
