"""Which of the recorded pictures the page holds: the worst cases first, then one a fault, up to a size."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from rocassay.harness.results import CaseRecord
from rocassay.reports.html.heat import Heat, heat
from rocassay.reports.html.measures import SEVERITY

MOST_CHARACTERS = 250_000
"""Of all strokes together; the other pictures stay in the results file."""

PER_PICTURE = 2500
"""Characters of a picture besides its strokes."""


def pictures(records: Sequence[CaseRecord]) -> Iterator[tuple[int, Heat]]:
    """(place in the file, drawing), in the order of the file."""
    spent, chosen = 0, dict[int, Heat]()
    for place in _wanted(records):
        picture = records[place].picture
        assert picture is not None
        drawn = heat(picture)
        spent += PER_PICTURE + sum(len(level.path) for level in drawn.levels)
        if spent > MOST_CHARACTERS:
            break
        chosen[place] = drawn
    yield from sorted(chosen.items())


def _wanted(records: Sequence[CaseRecord]) -> list[int]:
    """Places of records with a picture: cases by severity, the first of each fault, the other drills."""
    seen: set[str] = set()
    ranked: list[tuple[int, int]] = []
    for place, record in enumerate(records):
        if record.picture is None:
            continue
        if record.fault is None:
            rank = SEVERITY.index(record.status)
        else:
            rank = len(SEVERITY) + (record.fault in seen)
            seen.add(record.fault)
        ranked.append((rank, place))
    return [place for _, place in sorted(ranked)]
