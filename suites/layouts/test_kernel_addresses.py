"""The kernels' address arithmetic is the harness's index map, for every byte of every record."""

# pyright: reportIndexIssue=false, reportArgumentType=false
from __future__ import annotations

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from numpy.typing import NDArray

from rocassay.harness.choice import chosen_engine
from rocassay.harness.layouts import TILE, Layout, normal, shuffle
from rocassay.kernels.common.indexer_page import HEAD_DIM, SCALE_BYTES, scale_row, value_column, value_row
from rocassay.suites.kernels.axes import BLOCK_SIZES

LAYOUTS = [*map(normal, BLOCK_SIZES), *(shuffle(size) for size in BLOCK_SIZES if size % TILE == 0)]


@triton.jit
def store_offsets(values, scales, BLOCK_SIZE: tl.constexpr, SHUFFLE: tl.constexpr):
    key, dim = tl.arange(0, BLOCK_SIZE), tl.arange(0, 128)
    offset = value_row(key, SHUFFLE)[:, None] + value_column(dim, SHUFFLE)[None, :]
    tl.store(values + key[:, None] * 128 + dim[None, :], offset)
    tl.store(scales + key, scale_row(key, BLOCK_SIZE))


def kernel_offsets(block_size: int, *, tiled: bool) -> NDArray[np.int64]:
    """In-page offset of each byte of each key as the device functions compute it, int64 [BS, 132]."""
    engine = chosen_engine("")
    values = torch.full((block_size, HEAD_DIM), -1, dtype=torch.int32, device=engine.device)
    scales = torch.full((block_size,), -1, dtype=torch.int32, device=engine.device)
    with engine.session() as trace:
        store_offsets[(1,)](values, scales, BLOCK_SIZE=block_size, SHUFFLE=tiled)
    assert trace.findings == []
    scale_bytes = scales.cpu().numpy()[:, None] + np.arange(SCALE_BYTES)
    return np.concatenate([values.cpu().numpy(), scale_bytes], axis=1).astype(np.int64)


@pytest.mark.parametrize("layout", LAYOUTS, ids=lambda layout: f"{layout.name}-{layout.block_size}")
def test_the_kernels_compute_the_offset_that_the_index_map_gives_for_every_byte(layout: Layout):
    token, byte = np.arange(layout.block_size)[:, None], np.arange(layout.token_bytes)
    found = kernel_offsets(layout.block_size, tiled=layout.tiled)
    np.testing.assert_array_equal(found, layout.offset(token, byte))


def test_tiles_in_a_page_of_one_key_keep_16_values_inside_it_and_send_the_rest_past_its_end():
    values = kernel_offsets(1, tiled=True)[0, :HEAD_DIM]
    inside = values < normal(1).page_bytes
    np.testing.assert_array_equal(np.flatnonzero(inside), np.arange(TILE))
    assert values.max() == (HEAD_DIM // TILE - 1) * TILE * TILE + TILE - 1
