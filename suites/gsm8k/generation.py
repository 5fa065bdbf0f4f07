"""Greedy decoding of many prompts at once; what all of them begin with is computed once and its pages are shared."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import Literal

import torch

from rocassay.harness.accuracy.errors import TaskError
from rocassay.suites.gsm8k.model import SparseModel, common_prefix
from rocassay.suites.gsm8k.paging import Batch, Caches, scattered
from rocassay.suites.gsm8k.tokenizer import Tokenizer

SCORES = 1 << 26
"""Index scores of one prefill step, at most: 256 MiB of fp32."""

NOBODYS_TOKENS = 64
"""Tokens in pages before and behind those in use; a tile of 16 keys reaches 2048 bytes, 16 tokens, beyond its page."""


@dataclass(slots=True)
class Row:
    """One prompt on its way."""

    number: int
    """Its place among the prompts."""
    prompt: list[int]
    written: list[int] = field(default_factory=list[int])
    """Tokens of the answer so far, those of a stop string included."""
    text: str = ""
    """The answer without the stop string, once it has ended."""
    finish: Literal["", "stop", "length"] = ""
    """Why it ended; empty while it runs."""

    def take(self, token: int, tokenizer: Tokenizer, until: Sequence[str], max_tokens: int) -> None:
        """One more token; the row ends at a stop string or at the last token it may have."""
        self.written.append(token)
        text = tokenizer.decode(self.written)
        ends = [place for place in (text.find(stop) for stop in until) if place >= 0]
        if ends:
            self.text, self.finish = text[: min(ends)], "stop"
        elif len(self.written) == max_tokens:
            self.text, self.finish = text, "length"


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
        self._tokenizer = Tokenizer()
        self._prefix: Prefix | None = None

    def answers(self, prompts: Sequence[str], *, until: Sequence[str], max_tokens: int) -> Iterator[Row]:
        """Rows as they finish: before the first stop string of `until`, or at `max_tokens`.

        Raises TaskError for what has no answer: an empty prompt or stop string, no token to write, too long a prompt.
        """
        rows = [Row(number, self._tokenizer.encode(prompt)) for number, prompt in enumerate(prompts)]
        self._check(rows, until, max_tokens)
        if not rows:
            return
        prefix = self._shared([row.prompt for row in rows])
        caches, table = self._placed(rows, prefix, max_tokens)
        following = self._prefill(rows, len(prefix.tokens), caches, table)
        running = rows
        while running:
            for row, token in zip(running, following.tolist(), strict=True):
                row.take(token, self._tokenizer, until, max_tokens)
            yield from (row for row in running if row.finish)
            running = [row for row in running if not row.finish]
            if running:
                following = self._decode(running, caches, table)

    def _check(self, rows: Sequence[Row], until: Sequence[str], max_tokens: int) -> None:
        if max_tokens < 1:
            raise TaskError(f"{max_tokens} tokens are no length of an answer; allow 1 or more")
        if not all(until):
            raise TaskError("an empty stop string ends every answer before its first token; leave it out")
        for row in rows:
            if not row.prompt:
                raise TaskError(f"prompt {row.number} is empty; the model continues a text of one token or more")

    def _shared(self, prompts: Sequence[list[int]]) -> Prefix:
        """What the prompts begin with; the last prefix serves again where that is the shorter work."""
        length, known = common_prefix(prompts), self._prefix
        fits = known is not None and len(known.tokens) <= length and prompts[0][: len(known.tokens)] == known.tokens
        if fits and known is not None and len(prompts) * (length - len(known.tokens)) <= length:
            return known
        return self._prefilled(prompts[0][:length])

    def _prefilled(self, tokens: list[int]) -> Prefix:
        """The prefix in pages of its own; the last one is kept, since the next prompts usually share it."""
        pages = -(-len(tokens) // self._model.calls.block_size)
        order, count = self._pages(pages)
        caches = self._model.caches(count)
        if tokens:
            table = order[None].to(self._model.calls.engine.device, torch.int32)
            self._model.step(Batch.of([tokens], [0], table), caches)
        self._prefix = Prefix(tokens, caches, order)
        return self._prefix

    def _pages(self, pages: int) -> tuple[torch.Tensor, int]:
        """Physical pages for so many logical ones, and how many pages the caches have: nobody's lie before and behind.

        A server's pool is large: what a defect writes beyond a page lands in another one, not outside the pool.
        """
        apart = -(-NOBODYS_TOKENS // self._model.calls.block_size)
        return scattered(pages) + apart, pages + 2 * apart

    def _placed(self, rows: list[Row], prefix: Prefix, max_tokens: int) -> tuple[Caches, torch.Tensor]:
        """Caches with the prefix in place, and the block table: whole pages are shared, a begun one is copied."""
        size, device = self._model.calls.block_size, self._model.calls.engine.device
        whole, begun = divmod(len(prefix.tokens), size)
        wanted = [-(-(len(row.prompt) + max_tokens) // size) - whole for row in rows]
        order, count = self._pages(whole + sum(wanted))
        caches = self._model.caches(count)
        caches.copy(prefix.caches, prefix.pages[:whole].to(device), order[:whole].to(device))
        # What no request owns is a page that does not exist: reading it would be seen.
        table = torch.full((len(rows), whole + max(wanted)), count, dtype=torch.int32)
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
