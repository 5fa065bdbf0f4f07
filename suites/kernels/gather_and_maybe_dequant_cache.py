"""Op `gather_and_maybe_dequant_cache`: cached MLA latents of a chunk of requests as bf16 rows."""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rocassay.harness.arch import Target
from rocassay.harness.cases import Case, cross
from rocassay.harness.fp8 import format_of
from rocassay.harness.gates import ExactBytes
from rocassay.harness.inputs import Operands, Placement, Stream
from rocassay.harness.ops import Op, Tier, register
from rocassay.harness.plan import RoundingPlan
from rocassay.harness.probes import Dispatch, Invariance, Poison, Strides
from rocassay.harness.results import Coordinate
from rocassay.kernels.caches.dispatch import (
    DISPATCH,
    CachesDispatch,
    KvCacheDtype,
    LatentGatherVariant,
    latent_gather_variant,
)
from rocassay.references.caches import gather_and_maybe_dequant_cache as reference
from rocassay.references.caches.gather_and_maybe_dequant_cache import Record, layout_of
from rocassay.suites.kernels.caches_axes import ARCHES, FP8S, TOKEN_BLOCK_SIZES, TOKEN_WIDE_BLOCK_SIZES
from rocassay.suites.kernels.caches_inputs import (
    LAYER_SCALES,
    OTHER_NAN,
    WRAP,
    cache_placement,
    group_scales,
    locate_position,
    padded_rows,
    paged,
    permute_pages,
    random_bf16,
    random_bytes,
    read_codes,
)
from rocassay.suites.kernels.missing_pages import MISSING, PAGES, missing_pages, missing_placements
from rocassay.suites.kernels.random_lists import RANDOM, random_lengths

NAME = "gather_and_maybe_dequant_cache"
ELEMENTS, LATENT = 576, 512
DTYPES: dict[str, tuple[KvCacheDtype, Record]] = {
    "auto": ("auto", "bf16"),
    "fp8": ("fp8", "fp8"),
    "fp8_ds_mla": ("fp8_ds_mla", "ds_mla"),
}
"""Case parameter -> kv_cache_dtype, and what the contract makes of a cached token."""

TAIL = (-1, 10**9, 0, 2, 7)
"""What token_to_seq holds beyond the last gathered token: no request, garbage, and requests that end earlier."""

LENGTHS = (0, 1, 15, 16, 17, 63, 64, 65, 127, 128, 129)


def cases(tier: Tier) -> Iterable[Case]:
    """Every record, scales that round and that do not, chunks that begin on a later page, offsets beyond 2^31."""
    axes: dict[str, Any] = {"arches": ARCHES, "fp8s": FP8S, "block_sizes": TOKEN_BLOCK_SIZES}
    plain = {**axes, "fp8s": ("e4m3fn",)}
    lengths = ("edges",) if tier == "quick" else ("edges", *LENGTHS)
    kinds = (("fp8_ds_mla", axes, "pow2"), ("fp8", axes, "general"), ("auto", plain, "general"))
    for dtype, own, kind in kinds:
        one: dict[str, Any] = {"kv_cache_dtype": (dtype,), "scales": (kind,)}
        yield from cross(NAME, **own, lengths=("edges",), starts=("none",), **one)
        general: dict[str, Any] = {**one, "scales": ("general",)}
        yield from cross(NAME, **own, recipes=("padded",), lengths=lengths, starts=("pages",), **general)
        wide = {**own, "block_sizes": TOKEN_WIDE_BLOCK_SIZES}
        yield from cross(NAME, **wide, recipes=("wide",), lengths=("edges",), starts=("none",), **one)
    every: dict[str, Any] = {"kv_cache_dtype": ("fp8_ds_mla",), "scales": ("pow2",), "recipes": ("codes",)}
    yield from cross(NAME, **{**axes, "block_sizes": (1,)}, lengths=("edges",), starts=("none",), **every)
    few: dict[str, Any] = {"arches": ARCHES[:1], "fp8s": FP8S[:1], "kv_cache_dtype": ("fp8_ds_mla",)}
    few |= {"scales": ("pow2",), "starts": ("none",)}
    yield from cross(NAME, **few, block_sizes=(1,), lengths=(MISSING,))
    yield from cross(NAME, **few, block_sizes=TOKEN_WIDE_BLOCK_SIZES, lengths=("edges",), recipes=("tall",))


def _lengths(case: Case) -> tuple[int, ...]:
    """Tokens of the requests: around a page's edge, random, or one of that length behind a short one."""
    word = case["lengths"]
    if word == RANDOM:
        return random_lengths(case)
    return {1: (17, 0, 9), 64: (65, 0, 7)}[case.block_size] if isinstance(word, str) else (3, word)


def inputs(case: Case, stream: Stream) -> Operands:
    """Every finite code or arbitrary bits; an over-long chunk whose tail belongs to nobody; poison elsewhere."""
    if case["lengths"] == MISSING:
        return _missing(case, stream)
    size, lengths = case.block_size, _lengths(case)
    record = DTYPES[str(case["kv_cache_dtype"])][1]
    begins = [size * (1 + request % 2) * (case["starts"] == "pages") for request in range(len(lengths))]
    spans = [(first, first + length) for first, length in zip(begins, lengths, strict=True)]
    layout = layout_of(record, size)
    poison = np.full((1, layout.token_bytes), 0xFF if record == "bf16" else format_of(case.fp8).nan_code, np.uint8)
    pages = paged(case, stream, layout, spans, _contents(case, stream, record, sum(lengths)), poison)
    cache = pages.cache.view(torch.bfloat16) if record == "bf16" else pages.cache
    unread = pages.unread[..., ::2] if record == "bf16" else pages.unread
    bounds = np.concatenate([[0], np.cumsum(lengths)]).astype(np.int32)
    owner = np.concatenate([np.repeat(np.arange(len(lengths)), lengths), TAIL]).astype(np.int32)
    optional = {} if case["starts"] == "none" else {"seq_starts": torch.tensor(begins, dtype=torch.int32)}
    return Operands(
        inputs={
            "src_cache": cache,
            "block_table": pages.block_table,
            "cu_seq_lens": torch.from_numpy(bounds),
            "token_to_seq": torch.from_numpy(owner),
            "scale": torch.tensor(LAYER_SCALES[:1]),
            **optional,
        },
        outputs={"dst": random_bf16(stream.child("dst"), (len(owner), ELEMENTS))},
        placements={
            **cache_placement(case, "src_cache", cache.shape[-1], size=cache.element_size()),
            **padded_rows(case, "block_table", pages.block_table.shape[1], 3),
            **padded_rows(case, "dst", ELEMENTS, 64),
            **_tall(case),
        },
        unread={"src_cache": unread},
    )


def _tall(case: Case) -> dict[str, Placement]:
    """In the recipe `tall`: rows of the output, and the table's row of request 2, beyond 2^31 elements."""
    if case.recipe != "tall":
        return {}
    return {"dst": Placement((WRAP // 64, 1), lead=2 * WRAP), "block_table": Placement((WRAP // 2, 1), lead=4 * WRAP)}


def _missing(case: Case, stream: Stream) -> Operands:
    """Tokens without a page, and rows that name a request which has not begun, has ended or is none."""
    chunk, record = missing_pages(), DTYPES[str(case["kv_cache_dtype"])][1]
    cache = torch.from_numpy(_contents(case, stream, record, PAGES)).unsqueeze(1)
    return Operands(
        inputs={
            "src_cache": cache.view(torch.bfloat16) if record == "bf16" else cache,
            "block_table": chunk.block_table,
            "cu_seq_lens": chunk.bounds,
            "token_to_seq": chunk.owner,
            "scale": torch.tensor(LAYER_SCALES[:1]),
        },
        outputs={"dst": random_bf16(stream.child("dst"), (len(chunk.owner), ELEMENTS))},
        placements=missing_placements("cu_seq_lens"),
    )


def _contents(case: Case, stream: Stream, record: Record, tokens: int) -> NDArray[np.uint8]:
    """Records of the gathered tokens."""
    if record == "bf16":
        return random_bytes(stream.child("bits"), (tokens, 2 * ELEMENTS)).numpy()
    if record == "fp8":
        return read_codes(case, stream.child("codes"), (tokens, ELEMENTS))
    codes = read_codes(case, stream.child("codes"), (tokens, LATENT))
    scales = group_scales(stream.child("scales"), tokens, 4, str(case["scales"]))
    rope = random_bytes(stream.child("rope"), (tokens, 128)).numpy()
    return np.concatenate([codes, scales.astype("<f4").view(np.uint8).reshape(tokens, 16), rope], axis=1)


def golden(case: Case, operands: Operands) -> Mapping[str, ExactBytes]:
    """The whole output, rows that belong to nobody included."""
    given: dict[str, Any] = {**operands.inputs, **operands.outputs}
    given |= {"record": DTYPES[str(case["kv_cache_dtype"])][1], "fp8": case.fp8}
    rows = reference.gather_and_maybe_dequant_cache(**given)
    if case.recipe != "codes":
        return {"dst": ExactBytes(rows.expected, (rows.alternative,))}
    other = reference.gather_and_maybe_dequant_cache(**given, nan=OTHER_NAN)
    return {"dst": ExactBytes(rows.expected, (rows.alternative, other.expected))}


def peer(case: Case, arguments: dict[str, Any]) -> None:
    """Plain torch."""
    record = DTYPES[str(case["kv_cache_dtype"])][1]
    reference.peer_gather_and_maybe_dequant_cache(**arguments, record=record, fp8=case.fp8)


def variant(case: Case, target: Target, dispatch: CachesDispatch) -> LatentGatherVariant:
    """The dispatcher's decisions."""
    dtype = DTYPES[str(case["kv_cache_dtype"])][0]
    return latent_gather_variant(target, kv_cache_dtype=dtype, fp8=case.fp8, dispatch=dispatch)


def locate(case: Case, operands: Operands, output: str, index: tuple[int, ...]) -> Coordinate:
    """Row and element of the chunk -> the byte of the cached token it stands for."""
    row, element = index
    bounds = operands.inputs["cu_seq_lens"]
    if row >= int(bounds[-1]):
        return Coordinate(output=output, index=index, where={"row": row, "dim": element})
    request = int(torch.searchsorted(bounds, torch.tensor(row, dtype=torch.int32), right=True)) - 1
    begins = operands.inputs.get("seq_starts", torch.zeros(len(bounds), dtype=torch.int32))
    record = DTYPES[str(case["kv_cache_dtype"])][1]
    byte = {"bf16": 2 * element, "fp8": element, "ds_mla": element}[record]
    if record == "ds_mla" and element >= LATENT:
        byte = 528 + 2 * (element - LATENT)
    position = row - int(bounds[request]) + int(begins[request])
    layout = layout_of(record, case.block_size)
    return locate_position(case, operands, layout, output, index, request, position, byte)


def accepts(case: Case) -> bool:
    """bf16 has no flavour; pages beyond 2^31 are few; missing pages hold one token and have a table of their own."""
    flavoured = case["kv_cache_dtype"] != "auto" or case.fp8 == "e4m3fn"
    near = case.recipe not in ("wide", "tall") or (
        case.block_size in TOKEN_WIDE_BLOCK_SIZES and case["lengths"] != RANDOM
    )
    missing = case["lengths"] == MISSING
    own = case.block_size == 1 and case.recipe == "tagged" and case["starts"] == "none"
    return flavoured and near and (own or not missing)


OP = register(
    Op(
        name=NAME,
        contract="the cached token of every gathered row as 576 bf16; rows of no request untouched",
        launcher="rocassay.kernels.caches.gather_and_maybe_dequant_cache:gather_and_maybe_dequant_cache",
        inputs=inputs,
        golden=golden,
        peer=peer,
        variant=variant,
        dispatch=DISPATCH,
        cases=cases,
        plan=RoundingPlan((), "code times scale is rounded to bf16 once, or once more on its way through fp32"),
        locate=locate,
        free={"lengths": (0, 300)},
        words={"lengths": (RANDOM,)},
        accepts=accepts,
        faults=(
            "fp8dsmla-656-dense-gather",
            "fnuz-flag-dropped-by-wrapper",
            "k-scale-vs-v-scale-mla",
            "mla-scale-applied-to-bf16-cache",
            "mla-group-64-vs-128",
            "mla-chunk-start-ignored",
            "mla-table-pitch-is-its-width",
            "mla-page-stride-assumed-contiguous",
            "mla-block-id-int32",
            "kpool-advertised-block-size",
        ),
        probes=(
            Dispatch(lambda _: ("_gather_and_maybe_dequant_cache_kernel",)),
            Strides(),
            Poison(),
            Invariance("page-permutation", permute_pages("src_cache"), "the block table alone says where a page lies"),
        ),
        probed=lambda case: case.recipe == "padded",
    )
)
