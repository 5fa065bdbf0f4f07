"""What decode top-k positions become: an integer model, row by row.

Contract: vLLM `compute_global_topk_ragged_indices_and_indptr` (vllm-project/vllm#41812). `strict` is the bounded
contract that was proposed beside it: what lies outside the block table is dropped and the survivors close ranks.
Both agree where a row's valid positions come first and lie within its block table, as top-k writes them.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch


@dataclass(frozen=True, slots=True)
class RaggedSlots:
    """A CSR list of cache slots."""

    ragged: torch.Tensor
    """int32 [T * K]; from indptr[T] on whatever was there before."""
    indptr: torch.Tensor
    """int32 [T + 1], first 0, last the number of entries."""
    lens: torch.Tensor
    """int32 [T], entries of each row."""

    @property
    def defined(self) -> torch.Tensor:
        """bool [T * K]: entries that belong to a row."""
        return torch.arange(len(self.ragged)) < self.indptr[-1]


def prefix(lengths: list[int]) -> torch.Tensor:
    """int32 [n + 1]: a leading zero, then inclusive sums."""
    sums = [0]
    for length in lengths:
        sums.append(sums[-1] + length)
    return torch.tensor(sums, dtype=torch.int32)


def compute_global_topk_ragged_indices_and_indptr(
    topk_indices: torch.Tensor,
    token_to_req_indices: torch.Tensor,
    block_table: torch.Tensor,
    is_valid_token: torch.Tensor,
    ragged: torch.Tensor,
    *,
    block_size: int,
    strict: bool = False,
) -> RaggedSlots:
    """Golden; `ragged` is the output's initial content.

    topk_indices: [T, K] local positions in compressed tokens, negative = empty. token_to_req_indices and
    is_valid_token: [>= T]. block_table: [B, W]. block_size: rows of a page of the compressed cache.

    Not strict, a row's length counts every position >= 0 but its entries are the first `length` columns as they
    are: of [5, -1, 9] two entries remain, the slot of 5 and -1, and 9 is lost. The length of a token that is not
    valid is 0 either way.
    """
    table, flat, lengths = block_table.tolist(), ragged.clone(), []
    for token, row in enumerate(topk_indices.tolist()):
        slots: list[int] = []
        if is_valid_token[token]:
            pages = table[int(token_to_req_indices[token])]
            window = row if strict else row[: sum(local >= 0 for local in row)]
            within = [0 <= local < len(pages) * block_size for local in window]
            slots = [
                pages[local // block_size] * block_size + local % block_size if inside else -1
                for local, inside in zip(window, within, strict=True)
                if inside or not strict
            ]
        start = sum(lengths)
        flat[start : start + len(slots)] = torch.tensor(slots, dtype=torch.int32)
        lengths.append(len(slots))
    return RaggedSlots(flat, prefix(lengths), torch.tensor(lengths, dtype=torch.int32))


def peer_compute_global_topk_ragged_indices_and_indptr(
    topk_indices: torch.Tensor,
    token_to_req_indices: torch.Tensor,
    block_table: torch.Tensor,
    is_valid_token: torch.Tensor,
    ragged: torch.Tensor,
    indptr: torch.Tensor,
    lens: torch.Tensor,
    *,
    block_size: int,
    strict: bool = False,
) -> None:
    """Plain torch, whole matrices at a time; writes ragged, indptr and lens."""
    tokens, columns = topk_indices.shape
    valid = is_valid_token[:tokens]
    request = torch.where(valid, token_to_req_indices[:tokens].long(), 0)
    inside = (topk_indices >= 0) & (topk_indices < block_table.shape[1] * block_size)
    local = torch.where(inside, topk_indices, 0).long()
    page = block_table[request[:, None], local // block_size]
    slot = torch.where(inside, page * block_size + local % block_size, -1)
    if strict:
        written = inside & valid[:, None]
    else:
        counted = ((topk_indices >= 0) & valid[:, None]).sum(dim=1, keepdim=True)
        written = torch.arange(columns, device=slot.device) < counted
    lens.copy_(written.sum(dim=1))
    indptr[:1] = 0
    indptr[1:] = lens.cumsum(0)
    chosen = slot[written]
    ragged[: len(chosen)] = chosen.to(ragged.dtype)
