"""How slots and block tables find a cached token, for the torch peers: any strides, any device, no host sync."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from rocassay.harness.layouts import Layout


@dataclass(frozen=True, slots=True)
class Pages:
    """A cache tensor seen as pages of bytes, whatever its page stride."""

    view: torch.Tensor
    """uint8 [NB, page_bytes] on the cache's own memory."""

    positions: torch.Tensor
    """int64 [BS, token_bytes]: byte of the page of every byte of every token's record."""

    @classmethod
    def of(cls, cache: torch.Tensor, layout: Layout) -> Pages:
        """Pages of a [NB, BS, record] cache whose pages are contiguous inside."""
        flat = cache if cache.dtype is torch.uint8 else cache.view(torch.uint8)
        view = flat.as_strided((flat.shape[0], layout.page_bytes), (flat.stride(0), 1))
        token, byte = np.arange(layout.block_size)[:, None], np.arange(layout.token_bytes)
        return cls(view, torch.from_numpy(layout.offset(token, byte)).to(flat.device))

    def write(self, records: torch.Tensor, slots: torch.Tensor) -> None:
        """Store records uint8 [T, token_bytes] in their slots; negative slots are skipped."""
        kept = slots >= 0
        wanted = slots[kept].to(torch.int64)
        size = self.positions.shape[0]
        page = torch.div(wanted, size, rounding_mode="floor")
        self.view[page[:, None], self.positions[wanted % size]] = records[kept]

    def read(self, page: torch.Tensor, row: torch.Tensor) -> torch.Tensor:
        """Records uint8 [T, token_bytes] of token `row` of page `page`, int64 [T] each."""
        return self.view[page[:, None], self.positions[row]]
