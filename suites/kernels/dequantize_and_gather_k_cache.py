"""Op `dequantize_and_gather_k_cache`: V4 keys out of the planar 584-byte page cache."""

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
from rocassay.harness.layouts import planar_584
from rocassay.harness.ops import Op, Tier, register
from rocassay.harness.plan import RoundingPlan
from rocassay.harness.probes import Dispatch, Invariance, Poison, Strides
from rocassay.harness.results import Coordinate
from rocassay.kernels.caches.dispatch import DISPATCH, CachesDispatch, PlanarGatherVariant, planar_gather_variant
from rocassay.references.caches import dequantize_and_gather_k_cache as reference
from rocassay.suites.kernels.caches_axes import (
    ARCHES,
    FP8S,
    PLANAR_BLOCK_SIZES,
    PLANAR_WIDE_BLOCK_SIZES,
    PLATFORM_FP8,
)
from rocassay.suites.kernels.caches_inputs import (
    OTHER_NAN,
    cache_placement,
    locate_position,
    padded_rows,
    paged,
    permute_pages,
    random_bf16,
    random_bytes,
    read_codes,
)
from rocassay.suites.kernels.missing_pages import MISSING
from rocassay.suites.kernels.random_lists import RANDOM, random_lengths

NAME = "dequantize_and_gather_k_cache"
RECORD, HEAD_DIM, NOPE, GROUPS = 584, 512, 448, 7
SURPLUS_ROWS = 5
"""Rows of the output behind the longest gather, which must stay as they were."""

ROW_PITCH = 2**29
"""bf16 elements from request to request in the recipe `wide`: the third starts 2^31 bytes into the output."""

TALL_BLOCK_SIZES = (16,)
"""Page sizes of the recipe `tall`, whose third request gathers beyond row 16."""

LENGTHS = (1, 15, 16, 17, 63, 64, 65, 127, 128, 129, 255, 256, 257)


def cases(tier: Tier) -> Iterable[Case]:
    """Any flavour by name, the chip's own in the main cache, OCP in the extra cache, offsets beyond 2^31."""
    axes: dict[str, Any] = {"arches": ARCHES, "fp8s": FP8S, "block_sizes": PLANAR_BLOCK_SIZES}
    edges: dict[str, Any] = {"lengths": ("edges",), "offset": (3,)}
    yield from cross(NAME, **axes, **edges, gather=("tail",), cache=("any",))
    padded: dict[str, Any] = {**axes, "recipes": ("padded",)}
    yield from cross(NAME, **padded, lengths=("edges",), offset=(0,), gather=("all",), cache=("any",))
    own: dict[str, Any] = {**edges, "gather": ("tail",), "recipes": ("tagged",)}
    swa = {**axes, "block_sizes": (64,)}
    yield from cross(NAME, **swa, **own, cache=("main",), where=lambda case: PLATFORM_FP8[case.arch] == case.fp8)
    compressed = {**axes, "fp8s": ("e4m3fn",), "block_sizes": (2, 64)}
    yield from cross(NAME, **compressed, **own, cache=("extra",))
    wide = {**axes, "block_sizes": PLANAR_WIDE_BLOCK_SIZES}
    yield from cross(NAME, **wide, **edges, recipes=("wide",), gather=("tail",), cache=("any",))
    none: dict[str, Any] = {**padded, "block_sizes": (64,)}
    yield from cross(NAME, **none, lengths=(0,), offset=(0,), gather=("all",), cache=("any",))
    yield from cross(NAME, **{**swa, **own, "recipes": ("codes",)}, cache=("any",))
    few: dict[str, Any] = {"arches": ARCHES[:1], "fp8s": FP8S[:1], "block_sizes": (2,), "cache": ("any",)}
    yield from cross(NAME, **few, lengths=(MISSING,), offset=(3,), gather=("tail",))
    few["block_sizes"] = TALL_BLOCK_SIZES
    yield from cross(NAME, **few, **edges, recipes=("tall",), gather=("tail",))
    if tier != "quick":
        for lengths, gather in ((LENGTHS, "all"), (LENGTHS[2::4], "tail")):
            yield from cross(NAME, **padded, lengths=lengths, offset=(0,), gather=(gather,), cache=("any",))


def _lengths(case: Case) -> tuple[int, ...]:
    """Lengths of three requests that straddle page edges, of which one gathers nothing; or random ones."""
    word, size = case["lengths"], case.block_size
    if word == RANDOM:
        return random_lengths(case)
    if not isinstance(word, str):
        return (3 * (word > 0), word)
    if case["gather"] == "all":  # the row count is the cost: whole pages of 256 are left to the full tier
        return {2: (5, 0, 2), 16: (17, 0, 16), 64: (65, 0, 31), 256: (33, 0, 2)}[size]
    return ((1 if case.recipe == "wide" else 2) * size + 3, 2, size + 6)


def inputs(case: Case, stream: Stream) -> Operands:
    """Every finite code, distinct scales a group, arbitrary RoPE bits; garbage wherever no gathered key lies."""
    if case["lengths"] == MISSING:
        return _missing(case, stream)
    lengths, offset = _lengths(case), case.integer("offset")
    tails = [min(length, 5 + 6 * request) for request, length in enumerate(lengths)]
    gathered = tails if case["gather"] == "tail" else list(lengths)
    spans = [(length - tail, length) for length, tail in zip(lengths, gathered, strict=True)]
    contents = records(case, stream, sum(gathered))
    poison = np.full((1, RECORD), format_of(case.fp8).nan_code, dtype=np.uint8)
    poison[0, NOPE + 128 :] = 0xFF
    pages = paged(case, stream, planar_584(case.block_size), spans, contents, poison)
    rows = offset + max(gathered) + SURPLUS_ROWS
    optional = {"gather_lens": torch.tensor(tails, dtype=torch.int32)} if case["gather"] == "tail" else {}
    return Operands(
        inputs={
            "k_cache": pages.cache,
            "seq_lens": torch.tensor(lengths, dtype=torch.int32),
            "block_table": pages.block_table,
            **optional,
        },
        outputs={"out": random_bf16(stream.child("out"), (len(lengths), rows, HEAD_DIM))},
        scalars={"offset": offset},
        placements={
            **cache_placement(case, "k_cache", RECORD, multiple=576),
            **padded_rows(case, "block_table", pages.block_table.shape[1], 3),
            **_out_placement(case, rows),
        },
        unread={"k_cache": pages.unread},
    )


def _out_placement(case: Case, rows: int) -> dict[str, Placement]:
    if case.recipe == "padded":
        pitch = HEAD_DIM + 64
        return {"out": Placement((rows * pitch + 128, pitch, 1))}
    if case.recipe == "tall":
        return {"out": Placement((2**30, 2**27 + HEAD_DIM, 1), lead=2**32)}
    return {"out": Placement((ROW_PITCH, HEAD_DIM, 1))} if case.recipe == "wide" else {}


def _missing(case: Case, stream: Stream) -> Operands:
    """Keys without a page, keys before the first one, and keys for which the output has no row.

    Request 0 has pages -1, behind the cache, and beyond the table's columns (where request 1 has one that exists);
    request 1 is asked for more keys than it has, request 2 for more than there are rows. One scale of every key is
    byte 0, 2^-127, over codes from 4 on, so that no product is a subnormal.
    """
    size, columns, offset = case.block_size, 12, case.integer("offset")
    pages, reach = 20, columns * size
    contents = records(case, stream, pages * size)
    group = contents[:, 3 * 64 : 4 * 64]
    four = {"e4m3fn": 0x48, "e4m3fnuz": 0x50}[case.fp8]
    contents[:, 3 * 64 : 4 * 64] = group & 0x80 | (four + (group & 0x7F) % 0x20)
    contents[:, NOPE + 128 + 3] = 0
    layout = planar_584(size)
    cache = np.zeros((pages, layout.page_bytes), dtype=np.uint8)
    layout.pack(contents, np.arange(pages * size), cache)
    table = stream.child("table").integers(0, pages, (4, columns)).astype(np.int32)
    table[0, columns - 3 : columns - 1] = (pages, -1)
    seq_lens, gather_lens = (reach + 1, 3, reach, 2), (9, 5, 14, 2)
    return Operands(
        inputs={
            "k_cache": torch.from_numpy(cache.reshape(pages, size, RECORD)),
            "seq_lens": torch.tensor(seq_lens, dtype=torch.int32),
            "block_table": torch.from_numpy(table),
            "gather_lens": torch.tensor(gather_lens, dtype=torch.int32),
        },
        outputs={"out": random_bf16(stream.child("out"), (4, offset + 10, HEAD_DIM))},
        scalars={"offset": offset},
        placements=cache_placement(case, "k_cache", RECORD, multiple=576),
    )


def records(case: Case, stream: Stream, tokens: int) -> NDArray[np.uint8]:
    """584-byte records; every eighth token tries a scale byte at the format's edge with codes that stay defined.

    Byte 0 stands over zeros (2^-127 is an fp32 subnormal, which hardware may flush), 1 over magnitudes from 1
    on, 254 over magnitudes below 2, 255 over non-zero codes, which become infinite.
    """
    codes = read_codes(case, stream.child("codes"), (tokens, GROUPS, 64))
    scales = (127 + (5 * np.arange(tokens)[:, None] + 3 * np.arange(GROUPS)) % 23 - 11).astype(np.uint8)
    one = {"e4m3fn": 0x38, "e4m3fnuz": 0x40}[case.fp8]
    sign = codes & 0x80
    for token in range(2, tokens, 8):
        edge, group = (token // 8) % 4, (token // 2) % GROUPS
        magnitude = codes[token, group] & 0x7F
        scales[token, group] = (1, 255, 254, 0)[edge]
        signed = sign[token, group]
        codes[token, group] = (
            signed | (one + magnitude % 0x30),
            signed | (1 + magnitude % 0x70),
            signed | (1 + magnitude % (one + 7)),
            np.zeros_like(magnitude),
        )[edge]
    rope = random_bytes(stream.child("rope"), (tokens, 128)).numpy()
    pad = np.full((tokens, 1), 0xFF, dtype=np.uint8)
    return np.concatenate([codes.reshape(tokens, NOPE), rope, scales, pad], axis=1)


def golden(case: Case, operands: Operands) -> Mapping[str, ExactBytes]:
    """The whole output, untouched rows included."""
    given: dict[str, Any] = {**operands.inputs, **operands.outputs, "offset": case.integer("offset"), "fp8": case.fp8}
    gathered = reference.dequantize_and_gather_k_cache(**given)
    if case.recipe != "codes":
        return {"out": ExactBytes(gathered)}
    return {"out": ExactBytes(gathered, (reference.dequantize_and_gather_k_cache(**given, nan=OTHER_NAN),))}


def peer(case: Case, arguments: dict[str, Any]) -> None:
    """Plain torch."""
    reference.peer_dequantize_and_gather_k_cache(**arguments, fp8=case.fp8)


def variant(case: Case, target: Target, dispatch: CachesDispatch) -> PlanarGatherVariant:
    """The dispatcher's decisions: the flavour by name, or that of one of the two V4 caches on this chip."""
    common: dict[str, Any] = {"block_size": case.block_size, "dispatch": dispatch}
    if case["cache"] == "any":
        return planar_gather_variant(target, fp8=case.fp8, **common)
    return planar_gather_variant(target, cache="main" if case["cache"] == "main" else "extra", **common)


def locate(case: Case, operands: Operands, output: str, index: tuple[int, ...]) -> Coordinate:
    """Request, row and dimension of the output -> the byte of the cached key it stands for."""
    request, row, dim = index
    length = int(operands.inputs["seq_lens"][request])
    gathered = int(operands.inputs.get("gather_lens", operands.inputs["seq_lens"])[request])
    place = row - case.integer("offset")
    if not 0 <= place < gathered:
        return Coordinate(output=output, index=index, where={"request": request, "row": row, "dim": dim})
    byte = dim if dim < NOPE else NOPE + 2 * (dim - NOPE)
    layout = planar_584(case.block_size)
    return locate_position(case, operands, layout, output, index, request, length - gathered + place, byte)


def accepts(case: Case) -> bool:
    """The main cache has the chip's flavour, the extra one OCP's; pages and rows beyond 2^31 are few."""
    flavour = {"main": PLATFORM_FP8[case.arch], "extra": "e4m3fn"}.get(str(case["cache"]), case.fp8)
    near = case.recipe != "wide" or (case.block_size in PLANAR_WIDE_BLOCK_SIZES and case["lengths"] != RANDOM)
    short = case["lengths"] != MISSING or (case.recipe == "tagged" and case["gather"] == "tail")
    few = case.recipe != "tall" or (
        case.block_size in TALL_BLOCK_SIZES and case["lengths"] == "edges" and case["gather"] == "tail"
    )
    return case.fp8 == flavour and near and short and few


OP = register(
    Op(
        name=NAME,
        contract="the last gather_len keys of every request as bf16 rows from `offset` on; other rows untouched",
        launcher="rocassay.kernels.caches.dequantize_and_gather_k_cache:dequantize_and_gather_k_cache",
        inputs=inputs,
        golden=golden,
        peer=peer,
        variant=variant,
        dispatch=DISPATCH,
        cases=cases,
        plan=RoundingPlan((), "a code of four significant bits times a power of two is exact in bf16"),
        locate=locate,
        free={"lengths": (0, 300), "offset": (0, 9)},
        words={"lengths": (RANDOM,)},
        accepts=accepts,
        faults=(
            "dsv4-584B-planar-vs-interleaved",
            "fnuz-flag-dropped-by-wrapper",
            "mixed-main-fnuz-extra-ocp",
            "mla-group-64-vs-128",
            "mla-scale-bias-128",
            "mla-gather-from-the-first-token",
            "mla-table-pitch-is-its-width",
            "mla-rope-at-element-448",
            "mla-page-stride-assumed-contiguous",
            "mla-block-id-int32",
            "strided-cache-gate-uses-numel",
            "kpool-advertised-block-size",
        ),
        probes=(
            Dispatch(lambda _: ("_dequantize_and_gather_k_cache_kernel",)),
            Strides(),
            Poison(),
            Invariance("page-permutation", permute_pages("k_cache"), "the block table alone says where a page lies"),
        ),
        probed=lambda case: case.recipe == "padded",
    )
)
