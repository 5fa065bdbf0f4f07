"""Lists that only fuzzed cases have: the word `random`, and what it stands for in a case."""

from __future__ import annotations

from rocassay.harness.cases import Case
from rocassay.harness.inputs import Stream

RANDOM = "random"
MOST_REQUESTS, MOST_ITEMS, MOST_ROWS = 6, 6, 40
NOTHING = ("hole", "far", "past", "last", "zero")
"""Words of index lists that stand for no row of the list's own."""


def random_lengths(case: Case, most: int = 200) -> tuple[int, ...]:
    """Lengths of 1 to 6 requests, 0 among them, but never of the last."""
    stream = Stream.of(case).child("lengths")
    count = int(stream.child("count").integers(1, MOST_REQUESTS + 1, 1)[0])
    *first, last = stream.integers(0, most, count).tolist()
    return (*first, last + 1)


def random_shapes(case: Case, name: str, tokens: int) -> tuple[tuple[int | str, ...], ...]:
    """Index lists of so many tokens: up to 6 items each, a third of them words, and some lists empty."""
    stream = Stream.of(case).child("shapes").child(name)
    counts = stream.child("items").integers(0, MOST_ITEMS + 1, tokens).tolist()
    drawn = stream.integers(-MOST_ROWS // 2, MOST_ROWS, sum(counts)).tolist()
    items = iter(value + 1 if value >= 0 else NOTHING[value % len(NOTHING)] for value in drawn)
    return tuple(tuple(next(items) for _ in range(count)) for count in counts)
