"""The cache layouts: bijections onto their payload, with the documented bytes, and told from each other."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
import torch
from numpy.typing import NDArray

from rocassay.harness import layouts
from rocassay.harness.layouts import Layout, LayoutError

BLOCK_SIZES = (1, 2, 16, 32, 64, 128, 256)
CONSTRUCTORS: tuple[Callable[[int], Layout], ...] = (
    layouts.normal,
    layouts.shuffle,
    layouts.planar_584,
    layouts.interleaved_584,
    layouts.interleaved_656,
)
TILED_SIZES = tuple(size for size in BLOCK_SIZES if size % layouts.TILE == 0)
ALL = [make(size) for make in CONSTRUCTORS for size in (TILED_SIZES if make is layouts.shuffle else BLOCK_SIZES)]
NUM_BLOCKS = 3

each_layout = pytest.mark.parametrize("layout", ALL, ids=lambda layout: f"{layout.name}-{layout.block_size}")
each_size = pytest.mark.parametrize("block_size", BLOCK_SIZES)


def all_offsets(layout: Layout) -> NDArray[np.int64]:
    """Offset of every (token, byte), int64[block_size, token_bytes]."""
    return layout.offset(np.arange(layout.block_size)[:, None], np.arange(layout.token_bytes))


def agreement(first: Layout, second: Layout) -> set[tuple[int, int]]:
    """The (token, byte) pairs that two layouts store at the same offset."""
    same = all_offsets(first) == all_offsets(second)
    return {(int(token), int(byte)) for token, byte in np.argwhere(same)}


def random_records(layout: Layout, count: int) -> NDArray[np.uint8]:
    return np.random.default_rng(21).integers(0, 256, (count, layout.token_bytes), dtype=np.uint8)


def permuted_slots(layout: Layout) -> NDArray[np.int64]:
    return np.random.default_rng(22).permutation(NUM_BLOCKS * layout.block_size)


@each_layout
def test_every_record_byte_has_a_place_of_its_own_and_they_fill_the_payload(layout: Layout):
    assert sorted(all_offsets(layout).ravel()) == list(range(layout.page_bytes))
    assert layout.default_block_stride >= layout.page_bytes


@each_layout
def test_the_fields_cover_the_record_in_order(layout: Layout):
    starts = [field.start for field in layout.fields]
    stops = [field.stop for field in layout.fields]
    assert starts == [0, *stops[:-1]]
    assert stops[-1] == layout.token_bytes
    assert [layout.field(field.name) for field in layout.fields] == list(layout.fields)


@each_layout
def test_locate_and_inverse_undo_the_offset(layout: Layout):
    offsets = all_offsets(layout)
    records = np.arange(layout.page_bytes).reshape(offsets.shape)
    np.testing.assert_array_equal(layout.inverse()[offsets], records)
    last = (layout.block_size - 1, layout.token_bytes - 1)
    for token, byte in ((0, 0), (layout.block_size // 2, 77), last):
        assert layout.locate(int(layout.offset(token, byte))) == (token, byte)
    assert layout.locate(layout.page_bytes) is None
    assert layout.locate(-1) is None


@each_layout
@pytest.mark.parametrize("padding", [0, 1, 512])
def test_packed_records_are_unpacked_from_permuted_slots_and_padding_stays(layout: Layout, padding: int):
    slots = permuted_slots(layout)
    records = random_records(layout, len(slots))
    arena = np.full((NUM_BLOCKS, layout.page_bytes + padding), 0xA5, dtype=np.uint8)
    layout.pack(records, slots, arena)
    np.testing.assert_array_equal(layout.unpack(arena, slots), records)
    assert (arena[:, layout.page_bytes :] == 0xA5).all()


@each_layout
def test_packing_puts_each_byte_at_its_address(layout: Layout):
    slots = permuted_slots(layout)[: layout.block_size]
    records = random_records(layout, len(slots))
    cache = np.zeros((NUM_BLOCKS, layout.default_block_stride), dtype=np.uint8)
    layout.pack(records, slots, cache)
    block, token = np.divmod(slots, layout.block_size)
    addresses = layout.address(block[:, None], token[:, None], np.arange(layout.token_bytes))
    np.testing.assert_array_equal(cache.ravel()[addresses], records)
    assert (np.delete(cache.ravel(), addresses.ravel()) == 0).all()


def test_negative_slots_are_skipped_by_packing_and_refused_by_unpacking():
    layout = layouts.shuffle(16)
    records = random_records(layout, 4)
    cache = np.zeros((2, layout.page_bytes), dtype=np.uint8)
    layout.pack(records, np.array([-1, 17, -5, 3]), cache)
    np.testing.assert_array_equal(layout.unpack(cache, np.array([17, 3])), records[[1, 3]])
    others = np.setdiff1d(np.arange(32), [17, 3])
    assert not layout.unpack(cache, others).any()
    with pytest.raises(LayoutError, match=r"slot -5 is outside \[0, 32\)"):
        layout.unpack(cache, np.array([3, -1, -5]))


def test_a_tensor_view_with_inflated_stride_and_offset_is_packed_in_place():
    layout = layouts.planar_584(2)
    arena = torch.full((3 * 4096,), 0xA5, dtype=torch.uint8)
    cache = arena.as_strided((3, layout.page_bytes), (4096, 1), 64)
    records = random_records(layout, 6)
    layout.pack(records, np.arange(6), cache)
    np.testing.assert_array_equal(layout.unpack(cache, np.arange(6)), records)
    untouched = torch.ones_like(arena, dtype=torch.bool)
    untouched.as_strided((3, layout.page_bytes), (4096, 1), 64).fill_(False)
    assert (arena[untouched] == 0xA5).all()


def test_addresses_pass_two_to_the_31st_without_wrapping():
    assert layouts.shuffle(64).address(254_201, 63, 131) == 254_201 * 8448 + 8447
    planar = layouts.planar_584(64)
    assert planar.address(np.array([57_359], dtype=np.int32), 0, 0) == 57_359 * 37440
    assert planar.address(2**20, 0, 0, block_stride=2**20) == 2**40


@pytest.mark.parametrize(
    ("token", "byte", "offset"),
    [
        (0, 0, 0),
        (0, 15, 15),
        (0, 16, 256),
        (1, 0, 16),
        (15, 127, 2047),
        (16, 0, 2048),
        (17, 37, 2581),
        (63, 127, 8191),
        (17, 128, 8260),
    ],
)
def test_shuffle_offsets_are_the_goldens(token: int, byte: int, offset: int):
    layout = layouts.shuffle(64)
    assert layout.offset(token, byte) == offset
    assert layout.locate(offset) == (token, byte)
    assert layout.page_bytes == layout.default_block_stride == 8448


@each_size
def test_the_normal_page_is_all_values_then_all_scales(block_size: int):
    layout = layouts.normal(block_size)
    last = block_size - 1
    assert layout.offset(last, 127) == block_size * 128 - 1
    assert layout.offset(last, layout.field("scale").start) == block_size * 128 + 4 * last
    assert layout.default_block_stride == block_size * 132


def test_planar_584_offsets_are_the_goldens():
    layout = layouts.planar_584(64)
    starts = {field.name: int(layout.offset(3, field.start)) for field in layout.fields}
    assert starts == {"nope": 1728, "rope": 2176, "scales": 36888, "pad": 36895}


@pytest.mark.parametrize(
    ("block_size", "payload", "stride"), [(2, 1168, 1728), (64, 37376, 37440), (256, 149504, 149760)]
)
def test_planar_584_pages_start_at_multiples_of_576(block_size: int, payload: int, stride: int):
    layout = layouts.planar_584(block_size)
    assert (layout.page_bytes, layout.default_block_stride) == (payload, stride)


@each_size
def test_interleaved_656_records_follow_each_other_whole(block_size: int):
    layout = layouts.interleaved_656(block_size)
    assert layout.offset(block_size - 1, 0) == 656 * (block_size - 1)
    np.testing.assert_array_equal(all_offsets(layout).ravel(), np.arange(656 * block_size))
    assert [layout.field(name).start for name in ("latent", "scales", "rope")] == [0, 512, 528]


@pytest.mark.parametrize("block_size", TILED_SIZES)
def test_shuffle_and_normal_agree_on_the_scales_and_on_two_corners_of_each_tile_row(block_size: int):
    scales = {(token, byte) for token in range(block_size) for byte in range(128, 132)}
    first_corners = {(token, byte) for token in range(0, block_size, 16) for byte in range(16)}
    last_corners = {(token, byte) for token in range(15, block_size, 16) for byte in range(112, 128)}
    expected = scales | first_corners | last_corners
    assert agreement(layouts.normal(block_size), layouts.shuffle(block_size)) == expected


@each_size
def test_planar_and_interleaved_584_agree_on_the_first_data_and_the_last_scales_only(block_size: int):
    first_data = {(0, byte) for byte in range(576)}
    last_scales = {(block_size - 1, byte) for byte in range(576, 584)}
    planar, interleaved = layouts.planar_584(block_size), layouts.interleaved_584(block_size)
    assert agreement(planar, interleaved) == first_data | last_scales
    assert planar.default_block_stride == interleaved.default_block_stride


def test_584_byte_layouts_coincide_only_for_one_token_a_page():
    whole = {
        size: len(agreement(layouts.planar_584(size), layouts.interleaved_584(size))) == 584 * size
        for size in BLOCK_SIZES
    }
    assert [size for size, coincides in whole.items() if coincides] == [1]


@pytest.mark.parametrize("block_size", [1, 2, 8, 24, 0, -16])
def test_shuffle_refuses_block_sizes_without_whole_tiles(block_size: int):
    with pytest.raises(LayoutError, match=rf"(?<!\d){block_size}(?!\d)"):
        layouts.shuffle(block_size)


@pytest.mark.parametrize("make", [make for make in CONSTRUCTORS if make is not layouts.shuffle])
def test_a_page_of_no_tokens_is_refused(make: Callable[[int], Layout]):
    with pytest.raises(LayoutError, match="block size 0"):
        make(0)


def test_indexer_layouts_are_found_by_name():
    assert layouts.indexer_layout("NORMAL", 1) == layouts.normal(1)
    assert layouts.indexer_layout("SHUFFLE", 64) == layouts.shuffle(64)
    with pytest.raises(LayoutError, match="'TILED'"):
        layouts.indexer_layout("TILED", 64)  # type: ignore[arg-type]


@pytest.mark.parametrize(("token", "byte"), [(64, 0), (-1, 0), (0, 132), (0, -1)])
def test_an_index_outside_the_page_or_record_is_refused(token: int, byte: int):
    with pytest.raises(LayoutError, match="outside"):
        layouts.normal(64).offset(token, byte)


def test_buffers_and_slots_that_do_not_fit_are_refused():
    layout = layouts.normal(16)
    records, slots = random_records(layout, 2), np.array([0, 1])
    cache = np.zeros((2, layout.page_bytes), dtype=np.uint8)
    with pytest.raises(LayoutError, match=r"slot 32 is outside \[0, 32\)"):
        layout.pack(records, np.array([0, 32]), cache)
    with pytest.raises(LayoutError, match="records"):
        layout.pack(records[:, :-1], slots, cache)
    with pytest.raises(LayoutError, match="2112 or more"):
        layout.pack(records, slots, cache[:, :-1])
    with pytest.raises(LayoutError, match="uint8"):
        layout.unpack(cache.astype(np.int8), slots)  # type: ignore[arg-type]
    with pytest.raises(LayoutError, match="meta"):
        layout.unpack(torch.empty(cache.shape, dtype=torch.uint8, device="meta"), slots)


def test_the_inverse_cannot_be_changed_by_its_readers():
    with pytest.raises(ValueError, match="read-only"):
        layouts.normal(16).inverse()[0] = 1
