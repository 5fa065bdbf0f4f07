"""The keys of every prefill token as one CSR list without holes.

Contract: `combine_topk_swa_indices_ragged` (vllm-project/vllm#41812): the entries >= 0 of the dense rows of
`combine_topk_swa_indices`, in their order.
"""

from __future__ import annotations

import torch

from rocassay.references.ragged.build_ragged_indices_from_dense import RaggedIndices, packed
from rocassay.references.ragged.combine_topk_swa_indices import (
    ChunkShape,
    keys_of_tokens,
    peer_combine_topk_swa_indices,
)


def combine_topk_swa_indices_ragged(
    topk_indices: torch.Tensor,
    query_start_loc: torch.Tensor,
    seq_lens: torch.Tensor,
    gather_lens: torch.Tensor,
    ragged: torch.Tensor,
    shape: ChunkShape,
    image_left: torch.Tensor | None = None,
    image_right: torch.Tensor | None = None,
) -> RaggedIndices:
    """Golden; `ragged` is the output's initial content."""
    operands = (topk_indices, query_start_loc, seq_lens, gather_lens, shape, image_left, image_right)
    rows = [
        [*(key for key in keys.compressed if key >= 0), *keys.window[: shape.window_size + shape.max_image_tokens]]
        for keys in keys_of_tokens(*operands)
    ]
    return packed(rows, ragged)


def peer_combine_topk_swa_indices_ragged(
    topk_indices: torch.Tensor,
    query_start_loc: torch.Tensor,
    seq_lens: torch.Tensor,
    gather_lens: torch.Tensor,
    ragged: torch.Tensor,
    indptr: torch.Tensor,
    shape: ChunkShape,
    image_left: torch.Tensor | None = None,
    image_right: torch.Tensor | None = None,
) -> None:
    """Plain torch: the dense rows, then what is no hole; writes ragged and indptr."""
    tokens, columns = len(topk_indices), shape.topk + shape.window_size + shape.max_image_tokens
    dense = torch.empty((tokens, columns), dtype=torch.int32, device=ragged.device)
    lens = torch.empty(tokens, dtype=torch.int32, device=ragged.device)
    peer_combine_topk_swa_indices(
        topk_indices, query_start_loc, seq_lens, gather_lens, dense, lens, shape, image_left, image_right
    )
    kept = dense >= 0
    indptr[:1] = 0
    indptr[1:] = kept.sum(dim=1).cumsum(0)
    chosen = dense[kept]
    ragged[: len(chosen)] = chosen
