"""Pages of the embedded model's caches: which request owns which, and where each token goes."""

from __future__ import annotations

from dataclasses import dataclass

import torch

from rocassay.harness.inputs import Stream
from rocassay.suites.gsm8k.config import ModelConfig

INDEX_RECORD = 132
"""Bytes of an index key: 128 codes and a scale in fp32."""


@dataclass(slots=True)
class Caches:
    """Pages of all layers.

    Attributes:
        index: uint8 [pages, block_size, 132] a layer, keys of the indexer.
        latent: uint8 [pages, block_size, 576] a layer, FP8 codes of latent and RoPE.
    """

    index: list[torch.Tensor]
    latent: list[torch.Tensor]

    @classmethod
    def empty(cls, config: ModelConfig, pages: int, block_size: int, device: torch.device) -> Caches:
        """Pages of bytes that decode to large values: what nobody wrote must never be attended to."""

        def filled(record: int) -> list[torch.Tensor]:
            shape = (pages, block_size, record)
            return [torch.full(shape, 0x7E, dtype=torch.uint8, device=device) for _ in range(config.layers)]

        return cls(filled(INDEX_RECORD), filled(config.latent + config.rope))

    def copy(self, source: Caches, pages_from: torch.Tensor, pages_to: torch.Tensor) -> None:
        """Copy whole pages of another set of caches."""
        mine, theirs = (*self.index, *self.latent), (*source.index, *source.latent)
        for target, origin in zip(mine, theirs, strict=True):
            target[pages_to] = origin[pages_from]


@dataclass(frozen=True, slots=True)
class Batch:
    """Tokens of one step, request by request, each a request's last ones.

    Attributes:
        ids: int64 [T].
        positions: int64 [T], place of each token in its request.
        request: int32 [T].
        starts: int32 [B + 1], first token of each request.
        lengths: int32 [B], tokens of each request with these.
        table: int32 [B, W] block table.
        longest: tokens of the longest request, on the host.
        keys: tokens of all requests, on the host.
    """

    ids: torch.Tensor
    positions: torch.Tensor
    request: torch.Tensor
    starts: torch.Tensor
    lengths: torch.Tensor
    table: torch.Tensor
    longest: int
    keys: int

    @classmethod
    def of(cls, tokens: list[list[int]], before: list[int], table: torch.Tensor) -> Batch:
        """New tokens of each request behind `before` cached ones."""
        device = table.device
        counts = torch.tensor([len(row) for row in tokens])
        starts = torch.cat([torch.zeros(1, dtype=torch.int64), counts.cumsum(0)])
        request = torch.arange(len(tokens)).repeat_interleave(counts)
        positions = torch.arange(int(starts[-1])) - starts[request] + torch.tensor(before)[request]
        lengths = counts + torch.tensor(before)
        ids = torch.tensor([token for row in tokens for token in row])
        return cls(
            ids.to(device),
            positions.to(device),
            request.to(device, torch.int32),
            starts.to(device, torch.int32),
            lengths.to(device, torch.int32),
            table,
            int(lengths.max()),
            int(lengths.sum()),
        )

    def slots(self, block_size: int) -> torch.Tensor:
        """int64 [T]: where each token is cached."""
        page = self.table[self.request.long(), self.positions // block_size].long()
        return page * block_size + self.positions % block_size

    @property
    def decoding(self) -> bool:
        """Whether every request has one token."""
        return len(self.ids) == len(self.lengths)

    @property
    def last(self) -> torch.Tensor:
        """Place of each request's last token."""
        return self.starts[1:].long() - 1


def scattered(pages: int) -> torch.Tensor:
    """A fixed permutation of the physical pages: neighbours in a request are none in memory."""
    return torch.from_numpy(Stream("pages", pages).permutation(pages))
