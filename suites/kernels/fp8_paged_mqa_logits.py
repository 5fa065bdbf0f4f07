"""Op `fp8_paged_mqa_logits`: decode-time indexer scores against the paged FP8 key cache."""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray

from rocassay.harness.arch import Target
from rocassay.harness.cases import Case, cross
from rocassay.harness.codegen_lint import Codegen
from rocassay.harness.engines.launch import Launch
from rocassay.harness.gates import Verdict, Whitened
from rocassay.harness.inputs import Operands, Placement, Stream
from rocassay.harness.ops import Op, Tier, register
from rocassay.harness.plan import RoundingPlan
from rocassay.harness.probes import BatchInvariance, Dispatch, Invariance, Poison, Strides
from rocassay.harness.probes.metamorphic import Transformed
from rocassay.harness.probes.probe import Observation
from rocassay.harness.results import Coordinate
from rocassay.kernels.indexer.dispatch import DISPATCH, TRITON, IndexerDispatch, LogitsVariant, logits_variant
from rocassay.references.indexer import fp8_paged_mqa_logits as reference
from rocassay.suites.kernels.axes import ARCHES, BLOCK_SIZES, FP8S, WIDE_BLOCK_SIZES
from rocassay.suites.kernels.batches import one_more
from rocassay.suites.kernels.caches_inputs import finite_codes
from rocassay.suites.kernels.indexer_inputs import (
    HEAD_DIM,
    POISON,
    WIDE_PAGES,
    WRAP,
    Pages,
    cache_placement,
    codes,
    contract_layout,
    edge_lengths,
    layout_name,
    locate_token,
    padded_rows,
    paged,
    permute_pages,
    records,
    token_scales,
)
from rocassay.suites.kernels.random_lists import RANDOM, random_lengths

NAME = "fp8_paged_mqa_logits"
SURPLUS_COLUMNS = 7
"""Columns beyond the longest request, so that neither a page nor a tile divides the row length."""

ROW_PITCH = WRAP // 16
"""Floats from row to row in the recipe `tall`: row 4 starts 2^31 bytes into the output."""

FAR_HEAD, FAR_STEP, FAR_REQUEST = WRAP // 32 + 2**10, WRAP // 2 + 2**18, WRAP // 2
"""Elements from head to head (of queries and scratch), row to row and request to request in the recipe `far`: head 32,
the third row and the third request start at element 2^31, which no int32 counts. The odd ones keep all rows apart."""

FAR_PITCH = WRAP // 8 + 2**17
"""Floats from row to row of weights, logits and scratch in the recipe `far`: row 8 starts there."""

FEW_SPLITS = {"cuda": 2, "crowded": 1}
"""Programs a request on a crowded device: fewer than the longest has tiles, and than there are requests."""

SURPLUS_LENGTH = 5
"""Keys by which the longest request exceeds a table without spare columns."""

HEADS = (8, 12, 16, 24, 32, 128)
LENGTHS = (0, 1, 15, 16, 17, 63, 64, 65, 127, 128, 129, 255, 256, 257, 2047, 2048, 2049)
PROBED_LENGTHS = ("edges", 127, 129)
"""On both paths; every other length would repeat them at its own price."""


def cases(tier: Tier) -> Iterable[Case]:
    """Single kernel for every next_n and ratio, two kernels, lengths per row, and offsets beyond 2^31."""
    axes: dict[str, Any] = {"arches": ARCHES, "fp8s": FP8S, "block_sizes": BLOCK_SIZES}
    shape: dict[str, Any] = {"heads": (64,), "lengths": ("edges",), "lens": ("request",)}
    yield from cross(NAME, **axes, **shape, next_n=(1, 2, 4), ratio=(1, 4), path=("auto",), scales=("pow2",))
    padded = {**shape, "lens": ("row",), "recipes": ("padded",)}
    yield from cross(NAME, **axes, **padded, next_n=(2,), ratio=(1,), path=("auto",), scales=("general",))
    yield from cross(NAME, **axes, **shape, next_n=(1, 2, 4), ratio=(1, 4), path=("two_kernel",), scales=("general",))
    # Neither heads nor rows fill the tile; lengths lie apart.
    odd: dict[str, Any] = {**axes, "fp8s": ("e4m3fn",), "block_sizes": (64,), "recipes": ("padded",)}
    odd |= {"heads": (24,), "lengths": ("edges",), "next_n": (3,), "ratio": (1,), "scales": ("general",)}
    yield from cross(NAME, **odd, path=("auto",), lens=("request", "row"))
    yield from cross(NAME, **odd, path=("two_kernel",), lens=("request",))
    # The order of keys in a Hopper warp group's registers is right anywhere: on pages of one tile and of several.
    hopper: dict[str, Any] = {**axes, **shape, "block_sizes": (16, 64), "next_n": (2,), "ratio": (1,)}
    yield from cross(NAME, **hopper, path=("cuda",), scales=("general",))
    # Programs walk over tiles, of one page and of several, and the queries of requests lie apart.
    crowded: dict[str, Any] = {**hopper, "recipes": ("padded",), "next_n": (1,), "scales": ("general",)}
    yield from cross(NAME, **crowded, path=("crowded",))
    far: dict[str, Any] = {**axes, **shape, "block_sizes": (64,), "recipes": ("far",), "next_n": (3,), "ratio": (1,)}
    yield from cross(NAME, **{**far, "heads": (48,)}, path=("auto", "two_kernel"), scales=("pow2",))
    # No column of the table is spare, and lengths ask for more pages than it has.
    full: dict[str, Any] = {**axes, **shape, "block_sizes": (16, 64), "lengths": ("full",), "recipes": ("padded",)}
    yield from cross(NAME, **full, next_n=(2,), ratio=(1,), path=("auto", "cuda"), scales=("pow2",))
    wide = {**axes, "block_sizes": WIDE_BLOCK_SIZES}
    yield from cross(
        NAME,
        **wide,
        **shape,
        recipes=("wide", "tall"),
        next_n=(2,),
        ratio=(1,),
        path=("auto",),
        scales=("pow2",),
    )
    few: dict[str, Any] = {**axes, "block_sizes": (16,), **shape, "recipes": ("codes",)}
    yield from cross(NAME, **few, next_n=(1,), ratio=(1,), path=("auto",), scales=("pow2",))
    if tier != "quick":
        yield from _long(axes)


def _long(axes: dict[str, Any]) -> Iterable[Case]:
    long: dict[str, Any] = {**axes, "recipes": ("padded",), "scales": ("general",)}
    auto: dict[str, Any] = {**long, "path": ("auto",), "ratio": (1, 4)}
    yield from cross(NAME, **auto, heads=(64,), lengths=LENGTHS, lens=("request",), next_n=(2,))
    yield from cross(NAME, **auto, heads=HEADS, lengths=(129,), lens=("row",), next_n=(1, 4))
    two: dict[str, Any] = {**long, "path": ("two_kernel",), "ratio": (1,)}
    yield from cross(NAME, **two, heads=(64,), lengths=LENGTHS[::4], lens=("row",), next_n=(1, 4))


def request_lengths(case: Case) -> tuple[int, ...]:
    """Keys of the requests: around every edge, random, or one of that length beside a short one."""
    word = case["lengths"]
    if word == RANDOM:
        return random_lengths(case)
    if word == "full":
        return (3, case.block_size + 1, 2 * case.block_size)
    return edge_lengths(case.block_size) if isinstance(word, str) else (word, 3)


def inputs(case: Case, stream: Stream) -> Operands:
    """Random queries and keys, needles at every edge, garbage behind every length."""
    heads, next_n, lengths = case.integer("heads"), case.integer("next_n"), request_lengths(case)
    rows = len(lengths) * next_n
    q = codes(stream.child("q"), (len(lengths), next_n, heads, HEAD_DIM), case.fp8)
    weights = stream.child("weights").gaussian((rows, heads)).astype(np.float32)
    pages = _cache(case, stream, lengths, q, weights)
    columns = max(lengths) + SURPLUS_COLUMNS
    table = pages.block_table[:, :-1] if case["lengths"] == "full" else pages.block_table
    return Operands(
        inputs={
            "q_fp8": torch.from_numpy(q),
            "kv_cache": pages.cache,
            "weights": torch.from_numpy(weights),
            "context_lens": _context_lens(case, lengths),
            "block_tables": table,
        },
        outputs={"logits": torch.full((rows, columns), POISON)},
        scalars={"max_model_len": columns},
        workspaces={"workspace": torch.full((heads, rows, columns), torch.nan)},
        placements=_placements(case, q.shape, table, columns),
        unread={"kv_cache": pages.unread, "block_tables": table >= pages.cache.shape[0]},
    )


def _placements(case: Case, shape: tuple[int, ...], table: torch.Tensor, columns: int) -> dict[str, Placement]:
    _, next_n, heads, dims = shape
    placements = {**cache_placement(case), **padded_rows(case, "block_tables", table.shape[1], 3)}
    placements |= padded_rows(case, "weights", heads, 5) | padded_rows(case, "logits", columns, 9)
    if case.recipe == "padded" and case["lens"] == "request":
        placements["context_lens"] = Placement((3,))
    if case.recipe == "padded":
        pitch = dims + 64
        placements["q_fp8"] = Placement((pitch * heads * next_n + 256, pitch * heads, pitch, 1))
    if case.recipe == "tall":
        placements["logits"] = Placement((ROW_PITCH, 1))
    return placements | (_far(case) if case.recipe == "far" else {})


def _far(case: Case) -> dict[str, Placement]:
    """What each path reads and writes by offsets of its own, as far apart as need be."""
    far = {"logits": Placement((FAR_PITCH, 1))}
    if case["path"] == "two_kernel":
        return {**far, "workspace": Placement((FAR_HEAD, FAR_PITCH, 1))}
    q = Placement((FAR_REQUEST, FAR_STEP, FAR_HEAD, 1), lead=WRAP)
    return {**far, "q_fp8": q, "weights": Placement((FAR_PITCH, 1)), "block_tables": Placement((FAR_REQUEST, 1))}


def _context_lens(case: Case, lengths: tuple[int, ...]) -> torch.Tensor:
    """[B], or [B, next_n] whose rows are not consecutive, as ratio-compressed lengths are not."""
    if case["lens"] == "request":
        lens = torch.tensor(lengths, dtype=torch.int32)
        return torch.where(lens == lens.max(), lens + SURPLUS_LENGTH, lens) if case["lengths"] == "full" else lens
    steps = np.arange(case.integer("next_n"))[::-1] // 2
    return torch.from_numpy(np.maximum(0, np.array(lengths)[:, None] - steps).astype(np.int32))


def _cache(
    case: Case, stream: Stream, lengths: tuple[int, ...], q: NDArray[np.uint8], weights: NDArray[np.float32]
) -> Pages:
    """Keys of all requests; at each edge lies a needle: a query of that request, so that its score stands out."""
    keys = codes(stream.child("keys"), (sum(lengths), HEAD_DIM), case.fp8)
    if case.recipe == "codes":
        keys = finite_codes(stream.child("codes"), keys.shape, case.fp8)
    first = 0
    for request, length in enumerate(lengths):
        heaviest = int(weights[request * q.shape[1]].argmax())
        for position in _edges(length, case.block_size):
            head = (heaviest + position) % q.shape[2]
            keys[first + position] = q[request, position % q.shape[1], head]
        first += length
    scales = token_scales(stream.child("scales"), sum(lengths), str(case["scales"]))
    return paged(case, stream, lengths, records(keys, scales))


def _edges(length: int, block_size: int) -> list[int]:
    """First and last token of every page, tile and sequence."""
    steps = itertools.chain(range(0, length, max(block_size, 16)), range(0, length, 64), [length])
    return sorted({position for step in steps for position in (step - 1, step) if 0 <= position < length})


def golden(case: Case, operands: Operands) -> Mapping[str, Whitened]:
    """float64 scores from the stored bytes, with the rounding model."""
    scores = reference.fp8_paged_mqa_logits(
        **operands.inputs,
        max_model_len=int(operands.scalars["max_model_len"]),
        layout=layout_name(case),
        fp8=case.fp8,
    )
    return {
        "logits": Whitened(
            scores.value,
            scores.sigma,
            scores.bound,
            scores.visible,
            outside=(-torch.inf,),
            initial=operands.outputs["logits"],
            peer_sigma=scores.peer_sigma,
        )
    }


def peer(case: Case, arguments: dict[str, Any]) -> None:
    """Plain torch; it needs no workspace."""
    own = {name: value for name, value in arguments.items() if name != "workspace"}
    reference.peer_fp8_paged_mqa_logits(**own, layout=layout_name(case), fp8=case.fp8)


def variant(case: Case, target: Target, dispatch: IndexerDispatch) -> LogitsVariant:
    """The dispatcher's decisions; by request the two-kernel path, those for CUDA whatever executes them, or for a
    device that is full."""
    cuda = case["path"] == "cuda"
    decided = logits_variant(
        replace(target, backend="cuda") if cuda else target,
        fp8=case.fp8,
        block_size=case.block_size,
        ratio=case.integer("ratio"),
        path="two_kernel" if case["path"] == "two_kernel" else None,
        dispatch=dispatch,
    )
    if case["path"] not in FEW_SPLITS:
        return decided
    # So full that programs walk over tiles; on CUDA tiles of several small pages are twice as long.
    rows = len(request_lengths(case)) * case.integer("next_n")
    tile = (64 if case.block_size % 64 == 0 else 128) if cuda else decided.kv_tile
    return replace(decided, resident=FEW_SPLITS[str(case["path"])] * rows, kv_tile=tile)


FIRST_GLUON = (3, 9)
"""First Triton release with which the Gluon kernel is expected, repeated apart from the dispatcher."""


def expected_kernels(case: Case, target: Target) -> tuple[str, ...]:
    """One kernel on gfx942 and gfx950, in Gluon on ROCm for the arch's own flavour; two where they are asked for."""
    if case["path"] == "two_kernel":
        return ("_score_pages_kernel", "_sum_heads_kernel")
    if case["path"] == "cuda":
        return ("_score_pages_kernel",)
    own = case.fp8 == {"gfx942": "e4m3fnuz", "gfx950": "e4m3fn"}[case.arch]
    gluon = target.backend == "hip" and own and TRITON >= FIRST_GLUON
    return ("_score_pages_gluon_kernel",) if gluon else ("_score_pages_kernel",)


@dataclass(frozen=True, slots=True)
class DispatchOnTarget:
    """The dispatch probe where the expected kernels depend on what executes them."""

    name: str = "dispatch"
    reruns: bool = False

    def check(self, seen: Observation) -> Verdict:
        """Red when other kernels, or another number of them, were launched."""
        return Dispatch(lambda case: expected_kernels(case, seen.target)).check(seen)


def compiled(case: Case) -> bool:
    """Cases whose kernels are cross-compiled: production's shape in the arch's own flavour, and wide pools."""
    own = case.fp8 == {"gfx942": "e4m3fnuz", "gfx950": "e4m3fn"}[case.arch]
    plain = case["lengths"] == "edges" and case["next_n"] == 1 and case["ratio"] == 1 and case.recipe == "tagged"
    return own and case["path"] == "auto" and (plain or case.recipe == "wide")


@dataclass(frozen=True, slots=True)
class Scratch:
    """The single kernel is given no [heads, rows, max_model_len] scratch; the two kernels share one."""

    name: str = "scratch"
    reruns: bool = False

    def check(self, seen: Observation) -> Verdict:
        """Red when the launches that hold the scratch are not those that the case's path has."""
        reason = "a scratch as many times larger than the logits as there are heads is what the single kernel saves"
        if seen.provider != "rocassay":
            return Verdict(self.name, True, f"the scratch of provider {seen.provider} is its own", reason=reason)
        scratch = seen.placed.arguments()["workspace"]
        holders = [launch.name for launch in seen.trace.launches if _holds(launch, scratch)]
        wanted = 2 if seen.case["path"] == "two_kernel" else 0
        detail = f"scratch held by {' + '.join(holders) or 'no kernel'}"
        return Verdict(self.name, len(holders) == wanted, detail, float(len(holders)), float(wanted), reason)


def _holds(launch: Launch, scratch: Any) -> bool:
    tensors = [value for value in launch.args.values() if isinstance(value, torch.Tensor)]
    return any(tensor.data_ptr() == scratch.data_ptr() for tensor in tensors)


def locate(case: Case, operands: Operands, output: str, index: tuple[int, ...]) -> Coordinate:
    """Row and column of the logits -> the key that was scored."""
    row, column = index
    request, step = divmod(row, case.integer("next_n"))
    place = locate_token(case, operands, output, index, request, column)
    return place.model_copy(update={"where": {**place.where, "row": row, "next": step}})


def repage(case: Case, operands: Operands) -> Transformed:
    """The same keys in pages of another size (and hence, perhaps, another layout)."""
    other = replace(case, block_size={1: 16, 16: 64, 32: 1, 64: 256, 128: 32, 256: 128}[case.block_size])
    requests = len(operands.inputs["q_fp8"])
    longest = operands.inputs["context_lens"].reshape(requests, -1).max(dim=1).values.tolist()
    table = operands.inputs["block_tables"].numpy()
    layout = contract_layout(case)
    flat = operands.inputs["kv_cache"].reshape(operands.inputs["kv_cache"].shape[0], -1)
    token = [np.arange(length) for length in longest]
    slots = [
        table[b, t // case.block_size].astype(np.int64) * case.block_size + t % case.block_size
        for b, t in enumerate(token)
    ]
    contents = layout.unpack(flat, np.concatenate(slots))
    pages = paged(other, Stream(str(case), "repage"), longest, contents)
    inputs = {**operands.inputs, "kv_cache": pages.cache, "block_tables": pages.block_table}
    changed = replace(operands, inputs=inputs, placements=cache_placement(other), unread={})
    return other, changed, lambda outputs: outputs


def in_company(case: Case, operands: Operands) -> Transformed:
    """One request more; the terms of the two-kernel path have their rows in the second dimension."""
    rows = ("q_fp8", "weights", "context_lens", "block_tables", "logits")
    _, more, back = one_more(rows)(case, operands)
    terms = {
        name: torch.full((len(x), len(more.outputs["logits"]), x.shape[2]), torch.nan)
        for name, x in operands.workspaces.items()
    }
    return case, replace(more, workspaces=terms), back


def shorter(case: Case, stream: Stream) -> Operands:
    """The same requests, every one of them a third shorter."""
    first = inputs(case, Stream.of(case))
    lens = first.inputs["context_lens"]
    return replace(first, inputs={**first.inputs, "context_lens": lens - lens // 3})


def accepts(case: Case) -> bool:
    """All mixtures; rows and pages far apart must be few, or they need more addresses than there are."""
    if case["lengths"] == "full" and case["lens"] != "request":
        return False
    if case.recipe == "far":
        return case["next_n"] == 3 and case.integer("heads") <= 64 and case["lengths"] == "edges"
    if case.recipe == "wide":
        return sum(-(-length // case.block_size) for length in request_lengths(case)) <= WIDE_PAGES
    return case.recipe != "tall" or case.integer("next_n") <= 2


OP = register(
    Op(
        name=NAME,
        contract="logits[b,n,p] = ks[p] * sum_h w[b,n,h] * relu(q[b,n,h] . k[p]) over the visible keys",
        launcher="rocassay.kernels.indexer.fp8_paged_mqa_logits:fp8_paged_mqa_logits",
        inputs=inputs,
        golden=golden,
        peer=peer,
        variant=variant,
        dispatch=DISPATCH,
        cases=cases,
        plan=RoundingPlan(
            (
                ("dot", "float32"),
                ("weight product", "float32"),
                ("head sum", "float32"),
                ("scale product", "float32"),
            ),
            "products of two e4m3 numbers are exact in fp32; everything after them accumulates in fp32",
        ),
        locate=locate,
        # Fewer heads have too few weights for a rounding model of random mantissas.
        free={"heads": (8, 72), "lengths": (0, 300), "next_n": (1, 4)},
        words={"lengths": (RANDOM,)},
        accepts=accepts,
        faults=(
            "idx-preshuffle-flag-mismatch",
            "idx-c4a-blockflat-read-as-tiled",
            "idx-nopreshuffle-token-table-on-block64",
            "dsv4-hardcoded-float8e4nv",
            "gfx950-two-kernel-fallback",
            "mqa-logits-lds-overflow-gfx942",
            "stage1-logits-wrong-past-k",
            "stage1-scratch-unfilled-past-k",
            "mqa-logits-output-row-drop",
            "mqa-logits-kv-offset-int32",
            "paged-stride-assumed-contiguous",
            "indexer-block-id-int32",
        ),
        probes=(
            DispatchOnTarget(),
            Scratch(),
            Codegen(compiled, frozenset({"_score_pages_kernel"})),
            Strides(),
            Poison(),
            Invariance("page-permutation", permute_pages, "where a page lies is the block table's business"),
            Invariance("page-size", repage, "the page size says where a key lies, not what it scores"),
            BatchInvariance(in_company),
        ),
        probed=lambda case: case.recipe == "padded" and case["lengths"] in PROBED_LENGTHS,
        replay=shorter,
    )
)
