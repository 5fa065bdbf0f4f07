"""Inputs of the top-k ops: rows of scores that break weak radix selection, and poison around what a row may see.

Recipes: `tagged` (contiguous), `padded` (every row pitch is padded), `strided` (scores two floats apart, lengths
three), `wide` (row pitches that carry the last row beyond 2^31 elements), `tall` (the last scores of a row lie there).
In all of them needles stand at the edges of rows and tiles, and NaN and +inf everywhere outside a row's window.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray

from rocassay.harness.cases import Case, MalformedCase
from rocassay.harness.gates.selection import Selection
from rocassay.harness.gates.verdict import Verdict
from rocassay.harness.inputs import Placement, Stream
from rocassay.harness.probes import Observation

RECIPES = ("tagged", "padded", "strided", "wide", "tall")
WRAP = 2**31
TALL_PITCH = 2**22 + 2**10
"""Floats from score to score in the recipe `tall`: the 512th lies beyond 2^31 elements."""

MOST_TALL = 600
"""Longest rows of the recipe `tall`: every score needs a page of its own, and 16 MiB of addresses."""

SENTINEL = -77_777
"""What the slots hold before the run: no place, and not the -1 of an unused slot."""

TILE_EDGE = 1024
PREFIX = 0x42C80000
"""Bits of 100.0f: the scores of `lowbits` agree with it in the upper 22 bits."""

HALF_LIMIT = 65504.0
"""Largest fp16 number (IEEE 754): scores of `huge` lie beyond it on both sides."""


def _gaussian(stream: Stream, count: int) -> NDArray[np.float32]:
    return (4 * stream.gaussian(count)).astype(np.float32)


def _lowbits(stream: Stream, count: int) -> NDArray[np.float32]:
    bits = PREFIX | (stream.permutation(count) % 1023)
    return bits.astype(np.uint32).view(np.float32)


def _negative(stream: Stream, count: int) -> NDArray[np.float32]:
    return (-0.5 - np.abs(stream.gaussian(count))).astype(np.float32)


def _denormals(stream: Stream, count: int) -> NDArray[np.float32]:
    """A quarter above zero, three eighths -0 or +0: the k-th largest of 1.6 k to 4 k scores is a zero of some sign."""
    bits = stream.child("bits").integers(1, 2**23 - 1, count)
    kind = stream.child("kind").permutation(count) % 8
    zero = kind >= 5
    sign = np.where(zero, stream.child("sign").integers(0, 2, count), kind >= 2)
    magnitude = np.where(zero, 0, bits)
    return (magnitude | (sign << 31)).astype(np.uint32).view(np.float32)


def _huge(stream: Stream, count: int) -> NDArray[np.float32]:
    """Beyond fp16 on both sides, and so many -inf that the k-th largest of a long row is one of them."""
    size = 1e5 * np.exp2(stream.child("size").integers(0, 13 * 64, count) / 64)
    signed = np.where(stream.child("sign").integers(0, 2, count) == 0, size, -size)
    return np.where(stream.child("lost").permutation(count) % 3 == 0, -np.inf, signed).astype(np.float32)


def _ties(stream: Stream, count: int) -> NDArray[np.float32]:
    return np.rint(2 * stream.gaussian(count)).astype(np.float32)


@dataclass(frozen=True, slots=True)
class Scores:
    """A way of drawing a row of scores."""

    draw: Callable[[Stream, int], NDArray[np.float32]]
    """(stream, count) -> fp32 [count]."""
    needle: float
    """Above every drawn score."""


DATA = {
    "gaussian": Scores(_gaussian, 100.0),
    "lowbits": Scores(_lowbits, float(np.array(PREFIX | 1023, np.uint32).view(np.float32))),
    "negative": Scores(_negative, -0.25),
    "denormals": Scores(_denormals, float(np.array(2**23 - 1, np.uint32).view(np.float32))),
    "huge": Scores(_huge, 1e9),
    "ties": Scores(_ties, 100.0),
}


def score_row(stream: Stream, kind: str, count: int) -> NDArray[np.float32]:
    """fp32 [count]; needles, equal among themselves, at both ends of the row and of every tile."""
    data = DATA.get(kind)
    if data is None:
        raise MalformedCase(f"scores of kind {kind!r} are unknown; use one of {', '.join(DATA)}")
    row = data.draw(stream, count)
    edges = [edge + side for edge in range(0, count + 1, TILE_EDGE) for side in (-1, 0)]
    row[[edge for edge in (*edges, count - 1) if 0 <= edge < count]] = data.needle
    return row


def poisoned(rows: int, columns: int) -> NDArray[np.float32]:
    """What stands outside every window: NaN and +inf in turn."""
    scores = np.full((rows, columns), np.nan, dtype=np.float32)
    scores[:, ::2] = np.inf
    return scores


def whole_vectors(columns: int) -> int:
    """Columns rounded up to 16 bytes; the recipe `padded` then breaks the alignment of all rows but the first."""
    return -(-columns // 4) * 4


def wide(rows: int) -> Placement:
    """The pitch of a matrix whose last row starts just beyond 2^31 elements."""
    return Placement((-(-WRAP // (16 * (rows - 1))) * 16, 1))


def placements(case: Case, rows: int, columns: int, topk: int) -> dict[str, Placement]:
    """Where logits [R, N] and indices [R, k] lie; MalformedCase for a recipe that is none."""
    if case.recipe not in RECIPES:
        raise MalformedCase(f"recipe {case.recipe!r} of case {case} is unknown; use one of {', '.join(RECIPES)}")
    if case.recipe == "padded":
        return {"logits": Placement((columns + 37, 1)), "indices": Placement((topk + 24, 1))}
    if case.recipe == "strided":
        return {"logits": Placement((2 * columns + 6, 2))}
    if case.recipe == "wide":
        return {"logits": wide(rows), "indices": wide(rows)}
    if case.recipe == "tall":
        return {"logits": Placement((1, TALL_PITCH))}
    return {}


def empty_slots(rows: int, topk: int) -> torch.Tensor:
    """int32 [rows, topk] of sentinels."""
    return torch.full((rows, topk), SENTINEL, dtype=torch.int32)


def replica_pairs(windows: Sequence[torch.Tensor]) -> tuple[tuple[int, int], ...]:
    """Pairs of non-empty rows with bitwise equal scores: each row with the first one like it."""
    first: dict[bytes, int] = {}
    pairs: list[tuple[int, int]] = []
    for row, window in enumerate(windows):
        like = first.setdefault(window.numpy().tobytes(), row)
        if like != row and len(window):
            pairs.append((like, row))
    return tuple(pairs)


@dataclass(frozen=True, slots=True)
class TieRule:
    """The shipped kernels' own rule, stricter than the contract: of equal scores the lowest places, in order."""

    name: str = "tie-rule"
    reruns: bool = False

    def check(self, seen: Observation) -> Verdict:
        """Red at the first slot that is not what a stable descending sort, then ascending places, would hold."""
        reason = "a rule that depends on scores alone makes every rank and every run choose the same places"
        expectation = seen.expectations["indices"]
        if seen.provider != "rocassay" or not isinstance(expectation, Selection):
            return Verdict(self.name, True, f"the tie rule of provider {seen.provider} is its own", reason=reason)
        chosen = seen.outputs["indices"]
        for row, scores in enumerate(expectation.scores):
            count = min(len(scores), chosen.shape[1])
            wanted = torch.argsort(scores, descending=True, stable=True)[:count].sort().values
            wrong = (chosen[row, :count] != wanted).nonzero()
            if len(wrong):
                slot = int(wrong[0])
                detail = f"row {row}, slot {slot} holds {int(chosen[row, slot])}, the lowest is {int(wanted[slot])}"
                return Verdict(self.name, False, detail, 1.0, 0.0, reason, "indices", (row, slot))
        return Verdict(self.name, True, "the lowest of equal scores were chosen, in order", 0.0, 0.0, reason)


def selection(scores: tuple[torch.Tensor, ...]) -> Mapping[str, Selection]:
    """The expectation of the output `indices`, repeated rows paired."""
    return {"indices": Selection(scores, replica_pairs(scores))}
