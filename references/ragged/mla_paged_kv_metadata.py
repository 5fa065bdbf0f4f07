"""Which pages a dense MLA decode reads: an integer model of block table and lengths.

Contract: vLLM v1/attention/backends/mla/rocm_aiter_mla.py; ROCm/aiter aiter/mla.py: tokens of a request are
(its pages - 1) * page_size + its last page length.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from rocassay.references.ragged.compute_global_topk_ragged_indices_and_indptr import prefix


@dataclass(frozen=True, slots=True)
class PagedKv:
    """Bounds, pages and last page lengths."""

    indptr: torch.Tensor
    """int32 [B + 1]; behind the last request its final value is repeated."""
    indices: torch.Tensor
    """int32; from indptr[B] on whatever was there before."""
    last_page_lens: torch.Tensor
    """int32 [B], each from 1 to the page size."""

    @property
    def defined(self) -> torch.Tensor:
        """bool like indices: entries that belong to a request."""
        return torch.arange(len(self.indices)) < self.indptr[-1]


def pages_of(blocks: list[int], length: int, block_size: int, page_size: int) -> list[int]:
    """Pages of `page_size` tokens that hold tokens 0 to `length` of a request with these blocks."""
    a_block = block_size // page_size
    starts = range(0, length, page_size)
    return [blocks[token // block_size] * a_block + token % block_size // page_size for token in starts]


def mla_paged_kv_metadata(
    block_table: torch.Tensor,
    seq_lens: torch.Tensor,
    kv_indices: torch.Tensor,
    *,
    rows: int,
    block_size: int,
    page_size: int,
) -> PagedKv:
    """Golden; `kv_indices` is the output's initial content and `rows` is B."""
    lengths = seq_lens.tolist()
    lists = [
        pages_of(blocks, length, block_size, page_size)
        for blocks, length in zip(block_table.tolist(), lengths, strict=True)
    ]
    unused = rows - len(lengths)
    indices, entries = kv_indices.clone(), [page for pages in lists for page in pages]
    indices[: len(entries)] = torch.tensor(entries, dtype=torch.int32)
    last = [length - page_size * (len(pages) - 1) if pages else 1 for length, pages in zip(lengths, lists, strict=True)]
    return PagedKv(
        prefix([*map(len, lists), *[0] * unused]), indices, torch.tensor([*last, *[1] * unused], dtype=torch.int32)
    )


def peer_mla_paged_kv_metadata(
    block_table: torch.Tensor,
    seq_lens: torch.Tensor,
    kv_indptr: torch.Tensor,
    kv_indices: torch.Tensor,
    kv_last_page_lens: torch.Tensor,
    *,
    block_size: int,
    page_size: int,
) -> None:
    """Plain torch, the whole table at a time; writes the three outputs."""
    requests, a_block = len(seq_lens), block_size // page_size
    pages = (seq_lens + page_size - 1) // page_size
    kv_indptr[:1] = 0
    kv_indptr[1 : requests + 1] = pages.cumsum(0)
    kv_indptr[requests + 1 :] = pages.sum()
    kv_last_page_lens[:requests] = (seq_lens.clamp(min=1) - 1) % page_size + 1
    kv_last_page_lens[requests:] = 1
    split = block_table[:, :, None] * a_block + torch.arange(a_block, dtype=torch.int32, device=block_table.device)
    every = split.flatten(1)
    chosen = every[torch.arange(every.shape[1], device=every.device) < pages[:, None]]
    kv_indices[: len(chosen)] = chosen
