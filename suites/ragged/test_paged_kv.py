"""Pages of a dense decode: every page size names the same tokens, and none twice (vllm-project/vllm#54359, #31282)."""

from __future__ import annotations

import itertools

import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rocassay.harness.arch import Target
from rocassay.harness.layouts import LayoutError
from rocassay.kernels.ragged.mla_paged_kv_metadata import mla_paged_kv_metadata
from rocassay.kernels.ragged.variants import ragged_variant
from rocassay.references.ragged.mla_paged_kv_metadata import PagedKv
from rocassay.references.ragged.mla_paged_kv_metadata import mla_paged_kv_metadata as golden

BLOCK_SIZE = 16
BLOCKS = 6

batches = st.lists(st.integers(0, BLOCK_SIZE * BLOCKS), min_size=1, max_size=5)
page_sizes = st.sampled_from([1, 2, 4, 8, 16])


def paged(lengths: list[int], page_size: int, unused: int = 0) -> PagedKv:
    """Requests with `BLOCKS` blocks each, in descending order of block."""
    table = torch.arange(len(lengths) * BLOCKS, dtype=torch.int32).flip(0).reshape(len(lengths), BLOCKS)
    return golden(
        table,
        torch.tensor(lengths, dtype=torch.int32),
        torch.zeros(sum(lengths), dtype=torch.int32),
        rows=len(lengths) + unused,
        block_size=BLOCK_SIZE,
        page_size=page_size,
    )


def tokens(kv: PagedKv, page_size: int) -> list[list[int]]:
    """Slots of every request's tokens, as a consumer of the metadata finds them."""
    pages = [kv.indices[a:b].tolist() for a, b in itertools.pairwise(kv.indptr.tolist())]
    found = [[page * page_size + i for page in row for i in range(page_size)] for row in pages]
    lengths = [
        (len(row) - 1) * page_size + last if row else 0
        for row, last in zip(pages, kv.last_page_lens.tolist(), strict=True)
    ]
    return [row[:length] for row, length in zip(found, lengths, strict=True)]


@given(batches, page_sizes)
def test_every_page_size_names_the_same_tokens(lengths: list[int], page_size: int):
    assert tokens(paged(lengths, page_size), page_size) == tokens(paged(lengths, 1), 1)


@given(batches, page_sizes)
def test_as_many_distinct_slots_are_named_as_there_are_tokens(lengths: list[int], page_size: int):
    named = [slot for row in tokens(paged(lengths, page_size), page_size) for slot in row]
    assert len(set(named)) == len(named) == sum(lengths)


@given(batches, page_sizes, st.integers(0, 4))
def test_last_page_lengths_lie_within_a_page_and_unused_rows_are_empty(lengths: list[int], page_size: int, unused: int):
    kv = paged(lengths, page_size, unused)
    assert ((kv.last_page_lens >= 1) & (kv.last_page_lens <= page_size)).all()
    assert kv.indptr[len(lengths) :].unique().numel() == 1


def call(*, rows: int = 2, bounds: int = 3, page_size: int = 16) -> None:
    def buffer(count: int) -> torch.Tensor:
        return torch.zeros(count, dtype=torch.int32)

    table, variant = (
        torch.zeros((2, 3), dtype=torch.int32),
        ragged_variant(Target("gfx942", "hip", frozenset()), columns=3),
    )
    mla_paged_kv_metadata(
        table,
        buffer(2),
        buffer(bounds),
        buffer(48),
        buffer(rows),
        buffer(rows),
        block_size=BLOCK_SIZE,
        page_size=page_size,
        variant=variant,
    )


@pytest.mark.parametrize("page_size", [0, 3, 32])
def test_a_page_size_that_does_not_divide_the_block_is_refused(page_size: int):
    with pytest.raises(LayoutError, match=f"no whole number of pages of {page_size}"):
        call(page_size=page_size)


@pytest.mark.parametrize(("rows", "bounds"), [(1, 2), (2, 2)])
def test_buffers_that_do_not_fit_the_batch_are_refused(rows: int, bounds: int):
    with pytest.raises(LayoutError, match="2 requests need"):
        call(rows=rows, bounds=bounds)
