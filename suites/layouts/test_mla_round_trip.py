"""Writer × reader of the MLA caches: only the layout, the flavour and the record that were written read back.

The 584-byte page is planar; taken for interleaved it has the same size and differs in every token as soon as a page
holds two (vllm-project/vllm#41812). The wrong flavour is a factor of exactly 2 (vllm-project/vllm#42893).
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

from rocassay.harness.arch import Target, fp8_format_of
from rocassay.harness.arena import Placed
from rocassay.harness.choice import chosen_engine
from rocassay.harness.fp8 import format_of
from rocassay.harness.inputs import Operands, Placement, Stream
from rocassay.harness.layouts import Layout, LayoutError, interleaved_584, interleaved_656, planar_584
from rocassay.kernels.caches.concat_and_cache_ds_mla import concat_and_cache_ds_mla
from rocassay.kernels.caches.concat_and_cache_mla import concat_and_cache_mla
from rocassay.kernels.caches.dequantize_and_gather_k_cache import dequantize_and_gather_k_cache
from rocassay.kernels.caches.dispatch import (
    DISPATCH,
    CacheName,
    CachesDispatch,
    KvCacheDtype,
    insert_variant,
    latent_gather_variant,
    latent_write_variant,
    planar_gather_variant,
)
from rocassay.kernels.caches.gather_and_maybe_dequant_cache import gather_and_maybe_dequant_cache
from rocassay.kernels.caches.quantize_and_insert_k_cache import quantize_and_insert_k_cache
from rocassay.references.caches import dequantize_and_gather_k_cache as gather_reference
from rocassay.references.caches import quantize_and_insert_k_cache as insert_reference
from rocassay.references.caches.quantise import bf16_tensor, bits_of
from rocassay.suites.kernels.caches_axes import ARCHES, FP8S, TOKEN_BLOCK_SIZES
from rocassay.suites.kernels.caches_inputs import LAYER_SCALES, random_bf16

BLOCK_SIZES = (1, 2, 16, 64, 256)
LAYOUTS: Mapping[str, Callable[[int], Layout]] = {"planar": planar_584, "interleaved": interleaved_584}
PADDING = 64
"""Bytes behind each page's payload."""


@dataclass(frozen=True, slots=True)
class Scene:
    """Keys that a quantiser finds without rounding, and where they go."""

    block_size: int
    """Tokens a page."""
    k: torch.Tensor
    """bf16 [T, D]."""
    slots: NDArray[np.int64]
    """Slot of each token; pages descend from the middle of the cache, the last one is partly filled."""
    blocks: int
    """Pages of the cache: those in use and two more."""

    @property
    def slot_mapping(self) -> torch.Tensor:
        """int64 [T]."""
        return torch.from_numpy(self.slots)

    @property
    def block_table(self) -> torch.Tensor:
        """int32 [1, W]: the tokens are those of one request."""
        return torch.from_numpy((self.slots[:: self.block_size] // self.block_size).astype(np.int32)[None])

    @property
    def token_count(self) -> torch.Tensor:
        """int32 [1]."""
        return torch.tensor([len(self.slots)], dtype=torch.int32)


@cache
def scene(block_size: int, group: int, groups: int) -> Scene:
    """`groups` groups of `group` codes of e4m3fn, the largest one in each, times distinct powers of two; then RoPE."""
    tokens = block_size + 17
    pages = -(-tokens // block_size)
    position, order = np.arange(tokens), np.roll(np.arange(pages + 2)[::-1], pages // 2 + 1)
    slots = order[position // block_size] * block_size + position % block_size
    stream = Stream("MLA round trip", block_size, group)
    finite = np.array([*range(0x7F), *range(0x81, 0xFF)])
    codes = finite[stream.child("codes").integers(0, len(finite), (tokens, groups, group))]
    codes[:, :, 5] = 0x7E
    exponent = (3 * position[:, None] + 5 * np.arange(groups)) % 19 - 12
    values = format_of("e4m3fn").values[codes] * np.exp2(exponent)[:, :, None]
    rope = random_bf16(stream.child("rope"), (tokens, 64))
    k = torch.cat([torch.from_numpy(values.reshape(tokens, -1)).to(torch.bfloat16), rope], dim=1)
    return Scene(block_size, k, slots, pages + 2)


def planar_scene(block_size: int) -> Scene:
    """Keys of the V4 cache."""
    return scene(block_size, 64, 7)


def latent_scene(block_size: int) -> Scene:
    """Latents of the V3.2 cache."""
    return scene(block_size, 128, 4)


def target(arch: str = ARCHES[0]) -> Target:
    """The chip's decisions on the default engine."""
    return chosen_engine("").target(arch)


def run(operands: Operands, call: Callable[..., None], **more: Any) -> dict[str, torch.Tensor]:
    """Outputs of a call between guard bands on the default engine; nothing else may have been touched."""
    engine = chosen_engine("")
    placed = Placed(operands, engine.device)
    with engine.session() as trace:
        call(**placed.arguments(), **more)
    assert (trace.findings, placed.damages(), placed.mutated_inputs()) == ([], [], [])
    return placed.outputs()


def padded(cache_: torch.Tensor) -> Placement:
    """Pages with a gap behind each."""
    _, block_size, width = cache_.shape
    return Placement((block_size * width + PADDING // cache_.element_size(), width, 1))


def same_bits(one: torch.Tensor, other: torch.Tensor) -> bool:
    """Whether two bf16 tensors hold the same bit patterns."""
    return bool(np.array_equal(bits_of(one), bits_of(other)))


# The 584-byte page: layouts


def empty(at: Scene, width: int, dtype: torch.dtype = torch.uint8) -> torch.Tensor:
    """A cache in which nothing is written."""
    return torch.zeros(at.blocks, at.block_size, width, dtype=dtype)


def write_by_kernel(at: Scene, layout: str, fp8: str) -> torch.Tensor:
    """The shipped writer on another page layout."""
    dispatch = replace(DISPATCH, page=LAYOUTS[layout])
    variant = insert_variant(target(), fp8=fp8, block_size=at.block_size, dispatch=dispatch)
    return write(at, quantize_and_insert_k_cache, variant=variant)


def write_by_peer(at: Scene, layout: str, fp8: str) -> torch.Tensor | None:
    """The torch writer, which knows one layout."""
    if layout != "planar":
        return None
    return write(at, insert_reference.peer_quantize_and_insert_k_cache, fp8=fp8)


def write(at: Scene, call: Callable[..., None], **more: Any) -> torch.Tensor:
    """The cache after a writer."""
    stored = empty(at, 584)
    inputs = {"k": at.k, "slot_mapping": at.slot_mapping}
    return run(Operands(inputs, {"k_cache": stored}, placements={"k_cache": padded(stored)}), call, **more)["k_cache"]


def write_by_pack(at: Scene, layout: str, fp8: str) -> torch.Tensor:
    """The index map itself, with the golden's records."""
    stored = empty(at, 584)
    LAYOUTS[layout](at.block_size).pack(insert_reference.records_584(at.k, fp8), at.slots, stored.flatten(1))
    return stored


def read_by_kernel(at: Scene, stored: torch.Tensor, layout: str, fp8: str) -> torch.Tensor:
    """The shipped gather on another page layout."""
    dispatch = replace(DISPATCH, page=LAYOUTS[layout])
    variant = planar_gather_variant(target(), fp8=fp8, block_size=at.block_size, dispatch=dispatch)
    return read(at, stored, dequantize_and_gather_k_cache, variant=variant)


def read_by_peer(at: Scene, stored: torch.Tensor, layout: str, fp8: str) -> torch.Tensor | None:
    """The torch gather, which knows one layout."""
    if layout != "planar":
        return None
    return read(at, stored, gather_reference.peer_dequantize_and_gather_k_cache, fp8=fp8)


def read(at: Scene, stored: torch.Tensor, call: Callable[..., None], **more: Any) -> torch.Tensor:
    """bf16 [T, 512] out of the cache."""
    inputs = {"k_cache": stored, "seq_lens": at.token_count, "block_table": at.block_table}
    outputs = {"out": torch.zeros(1, len(at.slots), 512, dtype=torch.bfloat16)}
    operands = Operands(inputs, outputs, {"offset": 0}, placements={"k_cache": padded(stored)})
    return run(operands, call, **more)["out"][0]


def read_by_unpack(at: Scene, stored: torch.Tensor, layout: str, fp8: str) -> torch.Tensor:
    """The index map itself, decoded by the golden."""
    records = LAYOUTS[layout](at.block_size).unpack(stored.flatten(1), at.slots)
    return bf16_tensor(gather_reference.rows_584(records, fp8))


WRITERS = {"Triton writer": write_by_kernel, "torch writer": write_by_peer, "Layout.pack": write_by_pack}
READERS = {"Triton gather": read_by_kernel, "torch gather": read_by_peer, "Layout.unpack": read_by_unpack}
Matrix = dict[tuple[str, str, str, str], list[int]]


def wrong_tokens(at: Scene, found: torch.Tensor) -> list[int]:
    """Tokens, in the request's order, that did not read back bit by bit."""
    return np.flatnonzero((bits_of(found) != bits_of(at.k)).any(axis=1)).tolist()


def predicted(at: Scene, stored: str, read: str) -> list[int]:
    """The same by the two index maps alone: tokens of which some byte, the pad apart, is looked for elsewhere."""
    byte, token = np.arange(583), (at.slots % at.block_size)[:, None]
    there, here = (LAYOUTS[name](at.block_size).offset(token, byte) for name in (stored, read))
    return np.flatnonzero((there != here).any(axis=1)).tolist()


@pytest.fixture(scope="module", autouse=True)
def one_torch_thread() -> Iterator[None]:
    """Tensors here are small: on busy cores torch's threads wait for each other far longer than they compute."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


each_block_size = pytest.mark.parametrize("block_size", BLOCK_SIZES)
each_flavour = pytest.mark.parametrize("fp8", FP8S)
each_record_size = pytest.mark.parametrize("block_size", TOKEN_BLOCK_SIZES)


@each_flavour
@each_block_size
def test_a_584_byte_page_reads_back_only_in_the_layout_it_was_written_in(block_size: int, fp8: str):
    at = planar_scene(block_size)
    found: Matrix = {}
    expected: Matrix = {}
    for (writer, put), stored_as in itertools.product(WRITERS.items(), LAYOUTS):
        stored = put(at, stored_as, fp8)
        if stored is None:
            continue
        for (reader, get), read_as in itertools.product(READERS.items(), LAYOUTS):
            seen = get(at, stored, read_as, fp8)
            if seen is not None:
                cell = (writer, stored_as, reader, read_as)
                found[cell], expected[cell] = wrong_tokens(at, seen), predicted(at, stored_as, read_as)
    assert found == expected
    readable = {cell for cell, wrong in found.items() if not wrong}
    assert readable == {cell for cell in found if cell[1] == cell[3] or block_size == 1}
    assert all(len(found[cell]) == len(at.slots) for cell in found.keys() - readable)


@pytest.mark.parametrize("block_size", BLOCK_SIZES[1:])
def test_the_first_token_of_a_page_keeps_its_rope_under_the_wrong_layout_so_a_rope_check_is_blind(block_size: int):
    at = planar_scene(block_size)
    seen = read_by_kernel(at, write_by_kernel(at, "planar", "e4m3fn"), "interleaved", "e4m3fn")
    rope = (bits_of(seen)[:, 448:] == bits_of(at.k)[:, 448:]).all(axis=1)
    np.testing.assert_array_equal(rope, at.slots % block_size == 0)


@each_block_size
def test_both_flavours_store_the_same_584_bytes_with_scale_bytes_that_differ_by_one(block_size: int):
    at = planar_scene(block_size)
    layout = planar_584(block_size)
    fn, fnuz = (layout.unpack(write_by_kernel(at, "planar", fp8).flatten(1), at.slots) for fp8 in FP8S)
    scales = layout.field("scales")
    step = np.zeros(584, dtype=np.uint8)
    step[scales.start : scales.stop] = 1
    np.testing.assert_array_equal(fnuz, fn + step)


# The 584-byte page: flavours


@each_block_size
def test_the_wrong_flavour_halves_or_doubles_every_quantised_value_and_spares_the_rope(block_size: int):
    at = planar_scene(block_size)
    seen = {
        (stored, read): read_by_kernel(at, write_by_kernel(at, "planar", stored), "planar", read)
        for stored, read in itertools.product(FP8S, FP8S)
    }
    assert all(same_bits(seen[fp8, fp8], at.k) for fp8 in FP8S)
    assert all(same_bits(found[:, 448:], at.k[:, 448:]) for found in seen.values())
    assert same_bits(seen["e4m3fn", "e4m3fnuz"][:, :448], at.k[:, :448] / 2)
    assert same_bits(seen["e4m3fnuz", "e4m3fn"][:, :448], at.k[:, :448] * 2)


def through(arch: str, cache_name: CacheName, stored_as: str, dispatch: CachesDispatch) -> torch.Tensor:
    """The quantised part of keys written in a flavour and read as one of a chip's two V4 caches."""
    at = planar_scene(64)
    variant = planar_gather_variant(target(arch), cache=cache_name, block_size=64, dispatch=dispatch)
    stored = write_by_kernel(at, "planar", stored_as)
    return read(at, stored, dequantize_and_gather_k_cache, variant=variant)[:, :448]


@pytest.mark.parametrize("arch", ARCHES)
def test_the_main_cache_of_a_chip_and_the_ocp_extra_cache_read_back_side_by_side(arch: str):
    k = planar_scene(64).k[:, :448]
    assert same_bits(through(arch, "main", fp8_format_of(arch), DISPATCH), k)
    assert same_bits(through(arch, "extra", "e4m3fn", DISPATCH), k)


@pytest.mark.parametrize(("arch", "factor"), [("gfx942", 0.5), ("gfx950", 1.0)])
def test_one_flavour_for_both_caches_halves_the_extra_one_on_gfx942_and_hides_on_gfx950(arch: str, factor: float):
    mixed_up = replace(DISPATCH, extra_fp8=DISPATCH.main_fp8)
    found = through(arch, "extra", "e4m3fn", mixed_up)
    assert same_bits(found, planar_scene(64).k[:, :448] * factor)


# The 656-byte and the dense token


def store(at: Scene, dtype: KvCacheDtype, fp8: str, scale_fmt: Literal["ue8m0", "float"] = "float") -> torch.Tensor:
    """The cache after the writer of a kv_cache_dtype."""
    variant = latent_write_variant(target(), kv_cache_dtype=dtype, fp8=fp8)
    stored = empty(at, 656 if dtype == "fp8_ds_mla" else 576, torch.bfloat16 if dtype == "auto" else torch.uint8)
    inputs = {"kv_c": at.k[:, :512].contiguous(), "k_pe": at.k[:, 512:].contiguous(), "slot_mapping": at.slot_mapping}
    placements = {"kv_cache": padded(stored)}
    if dtype == "fp8_ds_mla":
        operands = Operands(inputs, {"kv_cache": stored}, {"scale_fmt": scale_fmt}, placements=placements)
        return run(operands, concat_and_cache_ds_mla, variant=variant)["kv_cache"]
    operands = Operands(
        {**inputs, "scale": torch.tensor(LAYER_SCALES[:1])}, {"kv_cache": stored}, placements=placements
    )
    return run(operands, concat_and_cache_mla, variant=variant)["kv_cache"]


def load(at: Scene, stored: torch.Tensor, dtype: KvCacheDtype, fp8: str, k_scale: float) -> torch.Tensor:
    """bf16 [T, 576] by the shipped gather."""
    tokens = len(at.slots)
    operands = Operands(
        {
            "src_cache": stored,
            "block_table": at.block_table,
            "cu_seq_lens": torch.tensor([0, tokens], dtype=torch.int32),
            "token_to_seq": torch.zeros(tokens, dtype=torch.int32),
            "scale": torch.tensor([k_scale]),
        },
        {"dst": torch.zeros(tokens, 576, dtype=torch.bfloat16)},
        placements={"src_cache": padded(stored)},
    )
    variant = latent_gather_variant(target(), kv_cache_dtype=dtype, fp8=fp8)
    return run(operands, gather_and_maybe_dequant_cache, variant=variant)["dst"]


def dense_scene(block_size: int) -> Scene:
    """576 values a token, normal in both flavours, that quantisation under k_scale finds again."""
    at = latent_scene(block_size)
    codes = Stream("dense round trip", block_size).integers(0x10, 0x7F, (len(at.slots), 576))
    k = torch.from_numpy(format_of("e4m3fnuz").values[codes] * np.float32(LAYER_SCALES[0]))
    return replace(at, k=k.to(torch.bfloat16))


@each_flavour
@each_record_size
def test_a_656_byte_token_reads_back_and_a_planar_reader_agrees_only_where_a_page_holds_one(block_size: int, fp8: str):
    at = latent_scene(block_size)
    stored = store(at, "fp8_ds_mla", fp8)
    assert same_bits(load(at, stored, "fp8_ds_mla", fp8, LAYER_SCALES[0]), at.k)
    whole = interleaved_656(block_size)
    mistaken = replace(whole, name="planar_656", split=512)
    same = mistaken.unpack(stored.flatten(1), at.slots) == whole.unpack(stored.flatten(1), at.slots)
    assert bool(same.all(axis=1).all()) == (block_size == 1)


@each_flavour
@each_record_size
def test_scales_that_are_powers_of_two_are_stored_alike_by_both_656_byte_writers(block_size: int, fp8: str):
    at = latent_scene(block_size)
    assert torch.equal(store(at, "fp8_ds_mla", fp8, "ue8m0"), store(at, "fp8_ds_mla", fp8, "float"))


@each_record_size
def test_a_dense_bf16_cache_returns_every_bit_whatever_the_layer_scale(block_size: int):
    at = latent_scene(block_size)
    stored = store(at, "auto", "e4m3fn")
    assert all(same_bits(load(at, stored, "auto", "e4m3fn", scale), at.k) for scale in LAYER_SCALES)


@each_flavour
@each_record_size
def test_a_dense_fp8_cache_reads_back_under_the_scale_it_was_written_with_and_no_other(block_size: int, fp8: str):
    at = dense_scene(block_size)
    stored = store(at, "fp8", fp8)
    k_scale, v_scale = LAYER_SCALES
    assert same_bits(load(at, stored, "fp8", fp8, k_scale), at.k)
    assert not bool((load(at, stored, "fp8", fp8, v_scale) == at.k).any())
    other = next(flavour for flavour in FP8S if flavour != fp8)
    factor = 0.5 if fp8 == "e4m3fn" else 2.0
    assert same_bits(load(at, stored, "fp8", other, k_scale), at.k * factor)


@pytest.mark.parametrize(("stored_as", "read_as"), [("fp8_ds_mla", "fp8"), ("fp8", "fp8_ds_mla"), ("fp8", "auto")])
def test_the_gather_refuses_a_cache_of_another_record(stored_as: KvCacheDtype, read_as: KvCacheDtype):
    at = dense_scene(64)
    with pytest.raises(LayoutError, match="pass"):
        load(at, store(at, stored_as, "e4m3fn"), read_as, "e4m3fn", 1.0)
