"""Writer × reader of the indexer cache in every pair of layouts: only the layout that was written reads back.

NORMAL and SHUFFLE never coincide, and SHUFFLE in pages of one key overwrites its neighbours
(vllm-project/vllm#43781). Where a mismatched pair first goes wrong follows from the two index maps alone.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from functools import cache
from typing import Any, Literal

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from rocassay.harness.arch import Target
from rocassay.harness.arena import Placed
from rocassay.harness.choice import chosen_engine
from rocassay.harness.fp8 import encode, format_of
from rocassay.harness.gates import Whitened
from rocassay.harness.inputs import Operands, Stream
from rocassay.harness.layouts import TILE, Layout, LayoutError, indexer_layout, normal
from rocassay.kernels.indexer import cp_gather_indexer_k_quant_cache as gather_kernel
from rocassay.kernels.indexer import fp8_paged_mqa_logits as logits_kernel
from rocassay.kernels.indexer import indexer_k_quant_and_cache as write_kernel
from rocassay.kernels.indexer.dispatch import LaunchPath, LayoutName, gather_variant, logits_variant, write_variant
from rocassay.references.indexer import cp_gather_indexer_k_quant_cache as gather_reference
from rocassay.references.indexer import fp8_paged_mqa_logits as logits_reference
from rocassay.references.indexer import indexer_k_quant_and_cache as write_reference
from rocassay.suites.kernels.axes import ARCHES, BLOCK_SIZES, FP8S
from rocassay.suites.kernels.indexer_inputs import HEAD_DIM, POISON, RECORD, codes, records

LAYOUTS: tuple[LayoutName, ...] = ("NORMAL", "SHUFFLE")
FILL = 0
"""Byte of memory nobody wrote: no tag, and finite, so that one stray byte does not hide where it was read."""

TAGS = np.array([0x7E, *range(0x01, 0x7E), 0xFE, *range(0x81, 0xFE)], dtype=np.uint8)
"""Finite codes in an order in which any 128 neighbours hold a largest one, which fixes the row's scale."""

ALL_BYTES = tuple(range(RECORD))
VALUE_BYTES = tuple(range(HEAD_DIM))
GROUP_EDGES = tuple(byte for byte in VALUE_BYTES if byte % TILE in (0, TILE - 1))


@dataclass(frozen=True, slots=True)
class Scene:
    """Tagged keys, where they go, and what reading them back must give."""

    block_size: int
    """Keys a page."""
    fp8: str
    """Flavour of the stored codes."""
    blocks: int
    """Pages of the cache: those in use and two more."""
    k: torch.Tensor
    """bf16 [T, 128]: codes and scales that the quantiser finds without rounding."""
    slots: NDArray[np.int64]
    """Slot of each key; pages descend from the middle of the cache, the last one is partly filled."""
    records: NDArray[np.uint8]
    """uint8 [T, 132]: the golden's records."""
    scores: NDArray[np.float64]
    """[T, 128]: the golden's score of each key under queries that look at one dimension each."""

    @property
    def tokens(self) -> int:
        """Number of keys."""
        return len(self.slots)

    @property
    def slot_mapping(self) -> torch.Tensor:
        """int64 [T]."""
        return torch.from_numpy(self.slots)

    @property
    def block_table(self) -> torch.Tensor:
        """int32 [1, W]: the keys are those of one request."""
        return torch.from_numpy((self.slots[:: self.block_size] // self.block_size).astype(np.int32)[None])

    def empty_cache(self) -> torch.Tensor:
        """uint8 [NB, BS, 132] in which nothing is written."""
        return torch.full((self.blocks, self.block_size, RECORD), FILL, dtype=torch.uint8)


def scale_of(fp8: str) -> float:
    """What a flavour's scales are multiplied by: its codes stand for that much less than those of e4m3fn."""
    return format_of("e4m3fn").scaling_max / format_of(fp8).scaling_max


def tags(tokens: int) -> NDArray[np.uint8]:
    """uint8 [tokens, 128]: distinct within a row, and within a column over 252 rows."""
    return TAGS[(17 * np.arange(tokens)[:, None] + np.arange(HEAD_DIM)) % len(TAGS)]


def tag_scales(tokens: int, fp8: str) -> NDArray[np.float32]:
    """fp32 [tokens], all distinct; four significant bits keep scale times code exact in bf16.

    The mantissa is never zero, so that no byte of a scale is a NaN code when it is taken for a value.
    """
    token = np.arange(tokens)
    return ((9 + token % 7) * np.exp2(token // 7 - 23.0) * scale_of(fp8)).astype(np.float32)


@cache
def scene(block_size: int, fp8: str) -> Scene:
    """The scene of a page size and flavour; golden bytes and scores are computed once, in pages without tiles."""
    tokens = max(40, block_size + TILE + 1)
    pages = -(-tokens // block_size)
    blocks = pages + 2
    position, order = np.arange(tokens), np.roll(np.arange(blocks)[::-1], blocks // 2)
    slots = order[position // block_size] * block_size + position % block_size
    values = format_of(fp8).values[tags(tokens)] * tag_scales(tokens, fp8)[:, None]
    k = torch.from_numpy(values).to(torch.bfloat16)
    bare = Scene(block_size, fp8, blocks, k, slots, np.empty(0, np.uint8), np.empty(0))
    stored = write_reference.indexer_k_quant_and_cache(
        k, bare.empty_cache(), bare.slot_mapping, layout="NORMAL", fp8=fp8, scale_fmt="float"
    ).expected
    gathered = gather_reference.cp_gather_indexer_k_quant_cache(**gather_tensors(bare, stored), layout="NORMAL")
    logits = logits_reference.fp8_paged_mqa_logits(
        **scoring_inputs(bare, stored, VALUE_BYTES), max_model_len=tokens, layout="NORMAL", fp8=fp8
    )
    found = torch.cat([gathered.values, gathered.scales], dim=1)
    return replace(bare, records=found.numpy(), scores=logits.value.T.numpy())


def gather_tensors(at: Scene, stored: torch.Tensor) -> dict[str, torch.Tensor]:
    """Tensor arguments of the gather, outputs filled."""
    return {
        "kv_cache": stored,
        "k_fp8": torch.full((at.tokens, HEAD_DIM), FILL, dtype=torch.uint8),
        "k_fp8_scale": torch.full((at.tokens, 4), FILL, dtype=torch.uint8),
        "block_table": at.block_table,
        "cu_seqlen": torch.tensor([0, at.tokens], dtype=torch.int32),
        "token_to_seq": torch.zeros(at.tokens, dtype=torch.int32),
    }


def scoring_inputs(at: Scene, stored: torch.Tensor, seen: tuple[int, ...]) -> dict[str, torch.Tensor]:
    """Query row i sees dimension seen[i] alone: relu(x) - relu(-x), so that its scores are scale times value."""
    one, minus_one = encode(np.array([1.0, -1.0]), format_of(at.fp8)).tolist()
    q = torch.zeros((1, len(seen), 2, HEAD_DIM), dtype=torch.uint8)
    row, byte = torch.arange(len(seen)), torch.tensor(seen)
    q[0, row, 0, byte], q[0, row, 1, byte] = one, minus_one
    return {
        "q_fp8": q,
        "kv_cache": stored,
        "weights": torch.tensor([[1.0, -1.0]]).repeat(len(seen), 1),
        "context_lens": torch.full((1, len(seen)), at.tokens, dtype=torch.int32),
        "block_tables": at.block_table,
    }


def target(fp8: str) -> Target:
    """A target that the default engine can serve."""
    engine = chosen_engine("")
    served = [arch for arch in ARCHES if engine.unavailable(arch, fp8) is None]
    assert served, f"the engine {engine.name} serves none of {', '.join(ARCHES)}"
    return engine.target(served[0])


def run(operands: Operands, call: Callable[..., None], **more: Any) -> tuple[dict[str, torch.Tensor], bool]:
    """Outputs of a call between guard bands on the default engine, and whether it wrote outside its tensors."""
    engine = chosen_engine("")
    placed = Placed(operands, engine.device)
    with engine.session() as trace:
        call(**placed.arguments(), **more)
    outside = [finding for finding in trace.findings if finding.kind == "out_of_bounds_write"]
    return placed.outputs(), bool(outside or placed.damages() or placed.mutated_inputs())


# Writers: (scene, layout) -> the cache afterwards, and whether bytes outside it were written


Written = tuple[torch.Tensor, bool]


def possible(layout: LayoutName, block_size: int) -> bool:
    """Whether pages of this size can hold the layout without reaching into their neighbours."""
    return layout == "NORMAL" or block_size % TILE == 0


def write_by(call: Callable[..., None], at: Scene, step: int, **more: Any) -> Written:
    """The keys written `step` at a time."""
    stored, strayed = at.empty_cache(), False
    for first in range(0, at.tokens, step):
        some = slice(first, first + step)
        operands = Operands({"k": at.k[some], "slot_mapping": at.slot_mapping[some]}, {"kv_cache": stored})
        outputs, outside = run(operands, call, scale_fmt="float", **more)
        stored, strayed = outputs["kv_cache"], strayed or outside
    return stored, strayed


def write_by_kernel(at: Scene, layout: LayoutName) -> Written:
    """The shipped writer."""
    variant = replace(write_variant(target(at.fp8), fp8=at.fp8, block_size=at.block_size, ratio=1), layout=layout)
    # Where keys overwrite each other they are written one by one, so that the last one wins on every engine.
    step = at.tokens if possible(layout, at.block_size) else 1
    return write_by(write_kernel.indexer_k_quant_and_cache, at, step, variant=variant)


def write_by_peer(at: Scene, layout: LayoutName) -> Written:
    """The torch writer."""
    call = write_reference.peer_indexer_k_quant_and_cache
    return write_by(call, at, at.tokens, layout=layout, fp8=at.fp8)


def write_by_pack(at: Scene, layout: LayoutName) -> Written:
    """The index map itself, with the golden's records."""
    stored = at.empty_cache()
    indexer_layout(layout, at.block_size).pack(at.records, at.slots, stored.flatten(1))
    return stored, False


# Readers: (scene, cache, layout) -> what was seen of each key, [T, bytes seen]


Seen = NDArray[np.uint8] | NDArray[np.float32]


def gather_by(call: Callable[..., None], at: Scene, stored: torch.Tensor, **more: Any) -> Seen:
    """uint8 [T, 132]: values and scales side by side."""
    tensors = gather_tensors(at, stored)
    outputs = {name: tensors.pop(name) for name in ("k_fp8", "k_fp8_scale")}
    gathered, strayed = run(Operands(tensors, outputs), call, **more)
    assert not strayed
    return torch.cat([gathered["k_fp8"], gathered["k_fp8_scale"]], dim=1).numpy()


def gather_by_kernel(at: Scene, stored: torch.Tensor, layout: LayoutName) -> Seen:
    """The shipped gather."""
    variant = gather_variant(target(at.fp8), block_size=at.block_size, ratio=1)
    call = gather_kernel.cp_gather_indexer_k_quant_cache
    return gather_by(call, at, stored, variant=replace(variant, layout=layout))


def gather_by_peer(at: Scene, stored: torch.Tensor, layout: LayoutName) -> Seen:
    """The torch gather."""
    return gather_by(gather_reference.peer_cp_gather_indexer_k_quant_cache, at, stored, layout=layout)


def unpack(at: Scene, stored: torch.Tensor, layout: LayoutName) -> Seen:
    """The index map itself."""
    return indexer_layout(layout, at.block_size).unpack(stored.flatten(1), at.slots)


def score(at: Scene, inputs: Mapping[str, torch.Tensor], layout: LayoutName, path: LaunchPath) -> torch.Tensor:
    """fp32 [rows, T]: scores by a shipped kernel."""
    rows, heads = inputs["weights"].shape
    two = path == "two_kernel"
    operands = Operands(
        inputs,
        {"logits": torch.full((rows, at.tokens), POISON)},
        workspaces={"workspace": torch.full((heads, rows, at.tokens), torch.nan)} if two else {},
    )
    chosen = logits_variant(target(at.fp8), fp8=at.fp8, block_size=at.block_size, ratio=1, path=path)
    # One program sums a whole row: this path costs the interpreter most, and its tile is no matter of layout.
    variant = replace(chosen, layout=layout, sum_tile=512)
    call = logits_kernel.fp8_paged_mqa_logits
    outputs, strayed = run(operands, call, max_model_len=at.tokens, variant=variant)
    assert not strayed
    return outputs["logits"]


def score_by_single_kernel(at: Scene, stored: torch.Tensor, layout: LayoutName) -> Seen:
    """fp32 [T, 128]: every value times its scale."""
    return score(at, scoring_inputs(at, stored, VALUE_BYTES), layout, "single").T.numpy()


def score_by_two_kernels(at: Scene, stored: torch.Tensor, layout: LayoutName) -> Seen:
    """fp32 [T, 16]: the first and last value of each group of 16 bytes, times the scale."""
    return score(at, scoring_inputs(at, stored, GROUP_EDGES), layout, "two_kernel").T.numpy()


def score_by_peer(at: Scene, stored: torch.Tensor, layout: LayoutName) -> Seen:
    """fp32 [T, 128] by the torch logits."""
    rows = torch.full((HEAD_DIM, at.tokens), POISON)
    operands = Operands(scoring_inputs(at, stored, VALUE_BYTES), {"logits": rows})
    call = logits_reference.peer_fp8_paged_mqa_logits
    outputs, strayed = run(operands, call, max_model_len=at.tokens, layout=layout, fp8=at.fp8)
    assert not strayed
    return outputs["logits"].T.numpy()


# The matrix


@dataclass(frozen=True, slots=True)
class Writer:
    """A way to fill the cache, in one layout."""

    name: str
    layout: LayoutName
    write: Callable[[Scene, LayoutName], Written]
    refuses: bool
    """Whether it raises LayoutError for a layout that the page cannot hold."""

    def __str__(self) -> str:
        return f"{self.name} in {self.layout}"


@dataclass(frozen=True, slots=True)
class Reader:
    """A way to look at the cache, in one layout."""

    name: str
    layout: LayoutName
    read: Callable[[Scene, torch.Tensor, LayoutName], Seen]
    refuses: bool
    """As for a writer."""
    seen: tuple[int, ...] = ALL_BYTES
    """Bytes of a record that it tells apart; all of them as bytes, values alone as scores."""

    def __str__(self) -> str:
        return f"{self.name} in {self.layout}"

    @property
    def scores(self) -> bool:
        """Whether it sees values times scales instead of bytes."""
        return self.seen != ALL_BYTES


WRITERS = tuple(
    Writer(name, layout, write, refuses)
    for name, write, refuses in (
        ("Triton writer", write_by_kernel, False),
        ("torch writer", write_by_peer, True),
        ("Layout.pack", write_by_pack, True),
    )
    for layout in LAYOUTS
)
READERS = tuple(
    Reader(name, layout, read, refuses, seen)
    for name, read, refuses, seen in (
        ("Triton gather", gather_by_kernel, False, ALL_BYTES),
        ("Triton single-kernel logits", score_by_single_kernel, False, VALUE_BYTES),
        ("Triton two-kernel logits", score_by_two_kernels, False, GROUP_EDGES),
        ("torch gather", gather_by_peer, True, ALL_BYTES),
        ("torch logits", score_by_peer, True, VALUE_BYTES),
        ("Layout.unpack", unpack, True, ALL_BYTES),
    )
    for layout in LAYOUTS
)


@dataclass(frozen=True, slots=True)
class Place:
    """The first key, in the request's order, that was read wrong, and the first such byte of its record."""

    block: int
    token: int
    byte: int

    def __str__(self) -> str:
        return f"wrong from block {self.block}, token {self.token}, byte {self.byte}"


Outcome = Place | Literal["right", "refused"]
Matrix = dict[tuple[Writer, Reader], Outcome]


@cache
def written(writer: Writer, block_size: int, fp8: str) -> Written | None:
    """The cache that a writer leaves; None when it refuses the layout."""
    try:
        return writer.write(scene(block_size, fp8), writer.layout)
    except LayoutError:
        return None


def outcome_of(at: Scene, wrong: NDArray[np.bool_], seen: tuple[int, ...]) -> Outcome:
    """What a mask [T, bytes seen] of wrong places means."""
    places = np.argwhere(wrong)
    if not len(places):
        return "right"
    position, column = places[0]
    block, token = divmod(int(at.slots[position]), at.block_size)
    return Place(block, token, seen[column])


def read_back(at: Scene, writer: Writer, reader: Reader) -> Outcome:
    """One cell: what a reader sees of what a writer stored, against the golden of the intended records."""
    result = written(writer, at.block_size, at.fp8)
    if result is None:
        return "refused"
    try:
        seen = reader.read(at, result[0], reader.layout)
    except LayoutError:
        return "refused"
    wanted = at.scores[:, list(reader.seen)] if reader.scores else at.records
    return outcome_of(at, seen != wanted, reader.seen)


def unchecked_map(layout: LayoutName, block_size: int) -> Layout:
    """The layout's index map even where it reaches past the page."""
    return replace(normal(block_size), name=layout, tiled=layout == "SHUFFLE")


def addresses(at: Scene, layout: LayoutName) -> NDArray[np.int64]:
    """Position in the cache of each byte of each key, [T, 132]."""
    block, token = np.divmod(at.slots[:, None], at.block_size)
    return unchecked_map(layout, at.block_size).address(block, token, np.arange(RECORD))


def predicted(at: Scene, writer: Writer, reader: Reader) -> Outcome:
    """The cell's outcome by the two index maps alone: who wrote last where the reader looks."""
    if any(end.refuses and not possible(end.layout, at.block_size) for end in (writer, reader)):
        return "refused"
    mine = np.arange(at.tokens * RECORD).reshape(at.tokens, RECORD)
    size = at.empty_cache().numel()
    stored, read = addresses(at, writer.layout), addresses(at, reader.layout)
    owner = np.full(size, -1)
    owner[stored[stored < size]] = mine[stored < size]
    wrong = np.where(read < size, owner[np.minimum(read, size - 1)], -1) != mine
    if reader.scores:
        wrong = (wrong | wrong[:, HEAD_DIM:].any(axis=1, keepdims=True))[:, list(reader.seen)]
    return outcome_of(at, wrong, reader.seen)


def cells_of(block_size: int, fp8: str) -> list[tuple[Writer, Reader]]:
    """Half of the matrix: a pair's four layout cells take one flavour, the other one at the next page size."""
    turn = BLOCK_SIZES.index(block_size) + FP8S.index(fp8)
    numbered = itertools.product(enumerate(WRITERS), enumerate(READERS))
    pairs = len(LAYOUTS)
    return [(w, r) for (i, w), (j, r) in numbered if (i // pairs + j // pairs + turn) % len(FP8S) == 0]


def in_words(found: Matrix, expected: Matrix) -> str:
    """The matrix, a line a cell, unexpected cells marked."""
    lines = [f"{sum(found[cell] != expected[cell] for cell in found)} of {len(found)} cells are unexpected:"]
    for (writer, reader), outcome in found.items():
        wanted = expected[writer, reader]
        mark, note = ("  ", "") if outcome == wanted else ("! ", f", expected: {wanted}")
        lines.append(f"{mark}{writer} -> {reader}: {outcome}{note}")
    return "\n".join(lines)


@pytest.fixture(scope="module", autouse=True)
def one_torch_thread() -> Iterator[None]:
    """Tensors here are small: on busy cores torch's threads wait for each other far longer than they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


each_block_size = pytest.mark.parametrize("block_size", BLOCK_SIZES)
each_flavour = pytest.mark.parametrize("fp8", FP8S)


@each_flavour
@each_block_size
def test_a_cache_reads_back_only_in_the_layout_it_was_written_in(block_size: int, fp8: str):
    at = scene(block_size, fp8)
    cells = cells_of(block_size, fp8)
    found: Matrix = {cell: read_back(at, *cell) for cell in cells}
    expected: Matrix = {cell: predicted(at, *cell) for cell in cells}
    assert found == expected, in_words(found, expected)
    diagonal = {(w, r) for w, r in cells if w.layout == r.layout and possible(w.layout, block_size)}
    assert {cell for cell in cells if found[cell] == "right"} == diagonal, in_words(found, expected)


@each_flavour
@each_block_size
def test_a_writer_leaves_the_cache_only_when_it_tiles_pages_that_hold_no_tile(block_size: int, fp8: str):
    results = {writer: written(writer, block_size, fp8) for writer in WRITERS}
    strayed = {writer for writer, result in results.items() if result is not None and result[1]}
    refused = {writer for writer, result in results.items() if result is None}
    impossible = {writer for writer in WRITERS if not possible(writer.layout, block_size)}
    assert refused == {writer for writer in impossible if writer.refuses}
    assert strayed == impossible - refused


@each_block_size
def test_both_flavours_store_the_tags_themselves_with_scales_that_differ_by_two(block_size: int):
    fn, fnuz = (scene(block_size, fp8) for fp8 in ("e4m3fn", "e4m3fnuz"))
    assert torch.equal(fn.k, fnuz.k)
    scales = tag_scales(fn.tokens, "e4m3fn")
    assert len(np.unique(scales)) == fn.tokens
    np.testing.assert_array_equal(fn.records, records(tags(fn.tokens), scales))
    np.testing.assert_array_equal(fnuz.records, records(tags(fn.tokens), 2 * scales))
    np.testing.assert_array_equal(fn.scores, fnuz.scores)


# The flavour as writer × reader


def dense_inputs(at: Scene, stored: torch.Tensor, fp8: str) -> dict[str, torch.Tensor]:
    """One row of 64 heads, quantised as `fp8`; the weights carry the queries' scale, as vLLM's indexer folds it in."""
    stream, heads = Stream("round trip", at.block_size), 64
    weights = stream.child("weights").gaussian((1, heads)) * (
        format_of("e4m3fn").scaling_max / format_of(fp8).scaling_max
    )
    return {
        "q_fp8": torch.from_numpy(codes(stream.child("q"), (1, 1, heads, HEAD_DIM), fp8)),
        "kv_cache": stored,
        "weights": torch.from_numpy(weights.astype(np.float32)),
        "context_lens": torch.tensor([at.tokens], dtype=torch.int32),
        "block_tables": at.block_table,
    }


def passes(at: Scene, logits: torch.Tensor) -> bool:
    """Whether the logits are those of the intended records and queries, by the gate of the kernels' suite."""
    stored = write_by_pack(at, "NORMAL")[0]
    golden = logits_reference.fp8_paged_mqa_logits(
        **dense_inputs(at, stored, at.fp8), max_model_len=at.tokens, layout="NORMAL", fp8=at.fp8
    )
    gate = Whitened(golden.value, golden.sigma, golden.bound, golden.visible)
    return all(verdict.passed for verdict in gate.judge("logits", logits))


@pytest.mark.parametrize("path", ["single", "two_kernel"])
@each_block_size
def test_the_wrong_flavour_halves_or_doubles_every_logit_and_keeps_their_order(block_size: int, path: LaunchPath):
    layout: LayoutName = "SHUFFLE" if possible("SHUFFLE", block_size) else "NORMAL"
    (writer,) = (w for w in WRITERS if w.write is write_by_kernel and w.layout == layout)
    logits: dict[tuple[str, str], torch.Tensor] = {}
    for stored_as, read_as in itertools.product(FP8S, FP8S):
        result = written(writer, block_size, stored_as)
        assert result is not None
        inputs = dense_inputs(scene(block_size, read_as), result[0], read_as)
        logits[stored_as, read_as] = score(scene(block_size, read_as), inputs, layout, path)
    right = logits["e4m3fn", "e4m3fn"]
    assert torch.equal(logits["e4m3fnuz", "e4m3fnuz"], right)
    assert torch.equal(logits["e4m3fn", "e4m3fnuz"], right / 2)
    assert torch.equal(logits["e4m3fnuz", "e4m3fn"], right * 2)
    verdicts = {pair: passes(scene(block_size, pair[1]), found) for pair, found in logits.items()}
    assert verdicts == {(stored, read): stored == read for stored, read in logits}
    best = {pair: set(found.topk(TILE).indices[0].tolist()) for pair, found in logits.items()}
    assert all(chosen == best["e4m3fn", "e4m3fn"] for chosen in best.values())
