"""Greedy decoding of many prompts at once; what all of them begin with is computed once and its pages are shared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from rocassay.suites.gsm8k.model import SparseModel, common_prefix
from rocassay.suites.gsm8k.paging import Batch, Caches, scattered

SCORES = 1 << 26
"""Index scores of one prefill step, at most: 256 MiB of fp32."""


@dataclass(slots=True)
class Row:
    """One prompt on its way."""

    number: int
    """Its place among the prompts."""
    prompt: list[int]
    written: list[int] = field(default_factory=list[int])
    """Tokens of the answer so far."""
    finish: Literal["", "stop", "length"] = ""
    """Why it ended; empty while it runs."""


@dataclass(slots=True)
class Prefix:
    """Tokens that prompts share, and the pages that hold them."""

    tokens: list[int]
    caches: Caches
    pages: torch.Tensor
    """int64: physical pages in `caches`, in order."""


class Generator:
    """Greedy decoding with shared prefixes."""

    def __init__(self, model: SparseModel) -> None:
        self._model = model
        self._prefix: Prefix | None = None

    def answers(
        self, prompts: Sequence[list[int]], *, until: Sequence[int], max_tokens: int, shared: int | None = None
    ) -> Iterator[Row]:
        """Rows as they finish: at a token of `until`, which is left out, or at `max_tokens`.

        `shared`: how many leading tokens all prompts share; found out when not given.
        """
        rows = [Row(number, prompt) for number, prompt in enumerate(prompts)]
        prefix = self._prefilled(prompts[0][: common_prefix(prompts) if shared is None else shared])
        caches, table = self._placed(rows, prefix, max_tokens)
        following = self._prefill(rows, len(prefix.tokens), caches, table)
        running = rows
        while running:
            for row, token in zip(running, following.tolist(), strict=True):
                row.finish = "stop" if token in until else ""
                row.written += [] if row.finish else [token]
                row.finish = row.finish or ("length" if len(row.written) == max_tokens else "")
            yield from (row for row in running if row.finish)
            running = [row for row in running if not row.finish]
            if running:
                following = self._decode(running, caches, table)

    def _prefilled(self, tokens: list[int]) -> Prefix:
        """The prefix in pages of its own; the last one is kept, since the next prompts usually share it."""
        if self._prefix is not None and self._prefix.tokens == tokens:
            return self._prefix
        pages = -(-len(tokens) // self._model.calls.block_size)
        caches, order = self._model.caches(max(1, pages)), scattered(max(1, pages))
        if tokens:
            table = order[None].to(self._model.calls.engine.device, torch.int32)
            self._model.step(Batch.of([tokens], [0], table), caches)
        self._prefix = Prefix(tokens, caches, order[:pages])
        return self._prefix

    def _placed(self, rows: list[Row], prefix: Prefix, max_tokens: int) -> tuple[Caches, torch.Tensor]:
        """Caches with the prefix in place, and the block table: whole pages are shared, a begun one is copied."""
        size, device = self._model.calls.block_size, self._model.calls.engine.device
        whole, begun = divmod(len(prefix.tokens), size)
        wanted = [-(-(len(row.prompt) + max_tokens) // size) - whole for row in rows]
        order = scattered(whole + sum(wanted))
        caches = self._model.caches(len(order))
        caches.copy(prefix.caches, prefix.pages[:whole].to(device), order[:whole].to(device))
        # What no request owns is a page that does not exist: reading it would be seen.
        table = torch.full((len(rows), whole + max(wanted)), len(order), dtype=torch.int32)
        table[:, :whole] = order[:whole]
        next_page = whole
        for number, count in enumerate(wanted):
            own = order[next_page : next_page + count]
            table[number, whole : whole + count] = own.to(torch.int32)
            if begun:
                caches.copy(prefix.caches, prefix.pages[whole:].to(device), own[:1].to(device))
            next_page += count
        return caches, table.to(device)

    def _prefill(self, rows: list[Row], shared: int, caches: Caches, table: torch.Tensor) -> torch.Tensor:
        """Next tokens of all rows; as many rows a step as their scores have room for."""
        found: list[torch.Tensor] = []
        start = 0
        while start < len(rows):
            end, tokens, keys = start, 0, 0
            while end < len(rows):
                tokens, keys = tokens + len(rows[end].prompt) - shared, keys + len(rows[end].prompt)
                if end > start and tokens * keys > SCORES:
                    break
                end += 1
            part = [row.prompt[shared:] for row in rows[start:end]]
            found.append(self._model.step(Batch.of(part, [shared] * len(part), table[start:end]), caches))
            start = end
        return torch.cat(found)

    def _decode(self, running: list[Row], caches: Caches, table: torch.Tensor) -> torch.Tensor:
        picked = torch.tensor([row.number for row in running], device=table.device)
        before = [len(row.prompt) + len(row.written) - 1 for row in running]
        return self._model.step(Batch.of([row.written[-1:] for row in running], before, table[picked]), caches)
