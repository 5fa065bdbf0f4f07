"""Selection gate: which places of a row were chosen, judged by their scores and never by an order among equals.

A selection names, per row, `slots` places of the row. Of a row of at most that many scores it is the whole row in
order; of a longer one it holds every score above the slots-th largest, none below, and any of those equal to it.
"""

# pyright: reportUnknownMemberType=false

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import torch

from rocassay.harness.gates.verdict import Verdict

UNUSED = -1
"""What a slot without a place holds."""


@dataclass(frozen=True, slots=True)
class Selection:
    """What the slots of an output [rows, slots] must name."""

    scores: tuple[torch.Tensor, ...]
    """Per row its float64 scores in place order; places are local to the row; NaNs have no rank."""
    replicas: tuple[tuple[int, int], ...] = ()
    """Pairs of rows with the same scores: both must choose the same places, however ties are broken."""

    def discarding(self, slots: int) -> int:
        """Rows with more scores than slots: of the others everything is chosen, whatever it scores."""
        return sum(len(scores) > slots for scores in self.scores)

    def judge(self, output: str, actual: torch.Tensor) -> list[Verdict]:
        """The verdict `selection` with row and first wrong slot, and `replicas` where rows are repeated."""
        if actual.dim() != 2 or actual.shape[0] != len(self.scores):
            raise ValueError(
                f"the selection {output} has shape {tuple(actual.shape)}, the golden {len(self.scores)} rows"
            )
        found = actual.to(torch.int64)
        verdicts = [self._selection(output, found)]
        if self.replicas:
            verdicts.append(self._replicas(output, found))
        return verdicts

    def _selection(self, output: str, found: torch.Tensor) -> Verdict:
        slots = found.shape[1]
        reason = "every score above the last chosen rank is in, none below, each place once, unused slots hold -1"
        wrong = list(self._wrong(found))
        discarding = self.discarding(slots)
        metrics = {"discarding_rows": float(discarding)}
        if not wrong:
            detail = f"{len(self.scores)} rows of {slots} slots are right; {discarding} of them had to discard"
            return Verdict("selection", True, detail, 0.0, 0.0, reason, metrics=metrics)
        row, slot, why = wrong[0]
        detail = f"{len(wrong)} of {len(self.scores)} rows are wrong; the first: row {row}, slot {slot}: {why}"
        return Verdict("selection", False, detail, float(len(wrong)), 0.0, reason, output, (row, slot), metrics)

    def _wrong(self, found: torch.Tensor) -> Iterator[tuple[int, int, str]]:
        for row, scores in enumerate(self.scores):
            wrong = first_wrong_slot(scores, found[row])
            if wrong is not None:
                yield row, *wrong

    def _replicas(self, output: str, found: torch.Tensor) -> Verdict:
        reason = "ranks that hold the same scores must choose the same places, or each attends to other keys"
        differing = [pair for pair in self.replicas if not _same_places(found[pair[0]], found[pair[1]])]
        if not differing:
            detail = f"{len(self.replicas)} pairs of equal rows chose equal places"
            return Verdict("replicas", True, detail, 0.0, 0.0, reason)
        first, second = differing[0]
        slot = _first(found[first].sort().values != found[second].sort().values)
        detail = f"rows {first} and {second} hold the same scores and chose different places"
        return Verdict("replicas", False, detail, float(len(differing)), 0.0, reason, output, (second, slot))


def first_wrong_slot(scores: torch.Tensor, chosen: torch.Tensor) -> tuple[int, str] | None:
    """(slot, what is wrong with it) of the first wrong slot of one row; None when the row is right.

    scores: float64 [n]. chosen: int64 [slots].
    """
    count, used = len(scores), min(len(scores), len(chosen))
    candidates = [_wrong_place(chosen[:used], count)]
    if count <= len(chosen):
        candidates.append(_wrong_order(chosen[:used]))
    elif candidates[0] is None:
        candidates.append(_wrong_score(scores, chosen))
    candidates.append(_wrong_tail(chosen, used))
    return min((wrong for wrong in candidates if wrong is not None), default=None)


def _wrong_place(chosen: torch.Tensor, count: int) -> tuple[int, str] | None:
    """The first slot whose place lies outside the row or is named a second time."""
    outside = (chosen < 0) | (chosen >= count)
    order = torch.sort(chosen, stable=True)
    repeated = torch.zeros_like(outside)
    repeated[order.indices[1:]] = order.values[1:] == order.values[:-1]
    wrong = outside | repeated
    if not bool(wrong.any()):
        return None
    slot = _first(wrong)
    what = f"is outside the row of {count} scores" if bool(outside[slot]) else "was chosen before"
    return slot, f"place {int(chosen[slot])} {what}"


def _wrong_order(chosen: torch.Tensor) -> tuple[int, str] | None:
    wrong = chosen != torch.arange(len(chosen))
    if not bool(wrong.any()):
        return None
    slot = _first(wrong)
    return slot, f"place {int(chosen[slot])} where a row that fits lists its places in order"


def _wrong_score(scores: torch.Tensor, chosen: torch.Tensor) -> tuple[int, str] | None:
    """The first slot with a score below the last rank's, or with a tie that keeps a larger score out."""
    ranked = scores.sort(descending=True).values
    threshold = ranked[len(chosen) - 1]
    mine = scores[chosen]
    below = mine < threshold
    if bool(below.any()):
        slot = _first(below)
        return slot, f"place {int(chosen[slot])} scores {float(mine[slot]):.9g}, below {float(threshold):.9g}"
    room = len(chosen) - int((scores > threshold).sum())
    surplus = torch.cumsum(mine == threshold, dim=0) > room
    if not bool(surplus.any()):
        return None
    taken = torch.zeros(len(scores), dtype=torch.bool)
    taken[chosen] = True
    missing = _first((scores > threshold) & ~taken)
    slot = _first(surplus & (mine == threshold))
    return slot, f"place {int(chosen[slot])} is one tie too many while place {missing}, which scores more, is missing"


def _wrong_tail(chosen: torch.Tensor, used: int) -> tuple[int, str] | None:
    wrong = chosen[used:] != UNUSED
    if not bool(wrong.any()):
        return None
    slot = used + _first(wrong)
    return slot, f"holds {int(chosen[slot])}, not {UNUSED}, behind the last place"


def _same_places(first: torch.Tensor, second: torch.Tensor) -> bool:
    return torch.equal(first.sort().values, second.sort().values)


def _first(mask: torch.Tensor) -> int:
    return int(mask.nonzero()[0])
