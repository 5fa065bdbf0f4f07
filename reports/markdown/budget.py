"""Blocks of rows in a limited number of bytes: whole rows only, and every block says what it left out."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

from rocassay.harness.errors import RocassayError

LEAST_BYTES = 1000
"""Limit below which not even the verdict has room."""

FIRST_ROWS = 5
"""Rows that every block gets before an earlier one gets more."""


class TooSmall(RocassayError, ValueError):
    """A limit in which nothing can be said."""


@dataclass(frozen=True, slots=True)
class Block:
    """Something with rows."""

    head: str
    """Everything before the rows."""
    rows: Sequence[str] = ()
    tail: str = ""
    """Everything behind the rows."""
    more: str = "… and {} more\n"
    """Stands behind the last row when some were left out; `{}` is their number."""
    of: int | None = None
    """How many rows there are when some are not even given."""

    @property
    def total(self) -> int:
        """How many rows there are."""
        return len(self.rows) if self.of is None else self.of


@dataclass(slots=True)
class _Shown:
    """A block and how many of its rows are shown; None: not even its head."""

    block: Block
    rows: int | None = None
    size: list[int] = field(default_factory=list[int])

    def text(self) -> str:
        """The block with these rows."""
        if self.rows is None:
            return ""
        return "".join((self.block.head, *self.block.rows[: self.rows], self._more(self.rows), self.block.tail))

    def _more(self, rows: int) -> str:
        left = self.block.total - rows
        return self.block.more.format(f"{left:,}") if left else ""

    def cost(self, rows: int) -> int:
        """Bytes with that many rows."""
        return _bytes(self.block.head + self._more(rows) + self.block.tail) + self.size[rows]


def _bytes(text: str) -> int:
    return len(text.encode())


def assembled(blocks: Sequence[Block], most: int) -> str:
    """The blocks in their order in at most `most` bytes of UTF-8; TooSmall below `LEAST_BYTES`.

    Every block gets its first rows before any gets more; then earlier blocks are filled before later ones. A block
    whose head has no room is left out, and the end says so.
    """
    if most < LEAST_BYTES:
        raise TooSmall(f"{most} bytes have no room for a verdict; allow {LEAST_BYTES} at least")
    shown = [_Shown(block, size=_sums(block)) for block in blocks]
    room = most - _bytes(_omitted(len(blocks)))
    for rows in (FIRST_ROWS, max((len(block.rows) for block in blocks), default=0)):
        for one in shown:
            room = _grow(one, rows, room)
    missing = sum(one.rows is None for one in shown)
    return "".join(one.text() for one in shown) + (_omitted(missing) if missing else "")


def _sums(block: Block) -> list[int]:
    """Bytes of the first n rows, for every n."""
    sums = [0]
    for row in block.rows:
        sums.append(sums[-1] + _bytes(row))
    return sums


def _omitted(count: int) -> str:
    return f"\n… and {count:,} more sections: no room\n"


def _grow(one: _Shown, rows: int, room: int) -> int:
    """Show up to `rows` rows if `room` allows; returns what room is left."""
    spent = 0 if one.rows is None else one.cost(one.rows)
    start = 0 if one.rows is None else one.rows
    for count in range(min(rows, len(one.block.rows)), start - 1, -1):
        if one.cost(count) - spent <= room:
            one.rows = count
            return room - (one.cost(count) - spent)
    return room
