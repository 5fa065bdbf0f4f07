"""A chunk of requests whose tokens lack pages or belong to nobody, for both gathers of cached tokens.

Pages hold one token. Each row of the block table shares its last entry with the next one's first, so that whoever
reads a column beyond the table, before a row, or a row of no request, finds a page that exists, and shows it.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch

from rocassay.harness.inputs import Placement

MISSING = "missing"
"""Word for such lengths in a case."""

PAGES = 7
"""Pages of the cache; the table names the one behind them, too."""

ROW_PITCH = 2
"""Columns from row to row of the table, one fewer than a row has."""

BEHIND = 5120
"""Bytes in front of the bounds that put them where the guard behind them reads as a large positive number."""


@dataclass(frozen=True, slots=True)
class Chunk:
    """Tables of a chunk of three requests."""

    block_table: torch.Tensor
    """int32 [3, 3]."""
    bounds: torch.Tensor
    """int32 [4]."""
    owner: torch.Tensor
    """int32 [12]: request of each row, as whoever calls has it."""


def missing_pages() -> Chunk:
    """4, 1 and 3 tokens: on page -1, on a page behind the cache, in a column beyond the table, and of other requests.

    Row 2 names a request that begins later, row 5 one that has just ended, row 8 the request behind the last.
    """
    table = [[3, -1, 0], [0, 5, 2], [2, PAGES, 6]]
    owner = [0, 0, 1, 0, 1, 1, 2, 2, 3, -1, 10**9, 0]
    tensors = (torch.tensor(numbers, dtype=torch.int32) for numbers in (table, [0, 4, 5, 8], owner))
    return Chunk(*tensors)


def missing_placements(bounds: str) -> dict[str, Placement]:
    """Where the table and the tensor `bounds` of such a chunk lie."""
    return {"block_table": Placement((ROW_PITCH, 1)), bounds: Placement(lead=BEHIND)}
