"""How far a cache reaches: by its strides, not by its elements (ROCm/aiter#4673)."""

from __future__ import annotations

import pytest
import torch

from rocassay.kernels.common.tensors import INT32_BYTES, byte_reach


def pool(pages: int, page_stride: int) -> torch.Tensor:
    """584-byte records, 64 a page, in a pool that other layers share; no memory is taken."""
    return torch.empty_strided((pages, 64, 584), (page_stride, 584, 1), dtype=torch.uint8, device="meta")


def test_a_packed_cache_of_few_elements_reaches_beyond_32_bits():
    cache = pool(47233, 1435968)
    assert cache.numel() < INT32_BYTES
    assert byte_reach(cache) == 47232 * 1435968 + 64 * 584 > INT32_BYTES


@pytest.mark.parametrize(("bytes_", "fits"), [(INT32_BYTES - 1, True), (INT32_BYTES, True), (INT32_BYTES + 1, False)])
def test_the_last_byte_that_32_bits_reach_is_2_to_the_31_minus_1(bytes_: int, fits: bool):
    view = torch.empty_strided((2, 1), (bytes_ - 1, 1), dtype=torch.uint8, device="meta")
    assert (byte_reach(view) <= INT32_BYTES) == fits


def test_wider_elements_reach_farther_and_none_reach_nowhere():
    assert byte_reach(torch.empty((3, 5), dtype=torch.bfloat16, device="meta")) == 30
    assert byte_reach(torch.empty((0, 5), device="meta")) == 0
