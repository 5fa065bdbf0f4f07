"""The selection gate: quiet on every right choice among ties, red with row and first wrong slot on every wrong one."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest
import torch

from rocassay.harness.gates.selection import UNUSED, Selection, first_wrong_slot
from rocassay.harness.gates.verdict import Verdict
from rocassay.harness.inputs import Stream

SLOTS = 32
LONG, EXACT, SHORT, EMPTY = 0, 1, 2, 3
"""Rows of the sample: one with more scores than slots, one with as many, one with fewer, one without."""
TRIALS = 60


def scores_of(seed: int, count: int, levels: int = 1000) -> torch.Tensor:
    """float64 [count]; few levels make many ties."""
    return torch.from_numpy(Stream("scores", seed).integers(-levels, levels, count)).double()


def gate(seed: int = 0, levels: int = 1000) -> Selection:
    rows = (SLOTS * 4, SLOTS, SLOTS // 2, 0)
    return Selection(tuple(scores_of(10 * seed + row, count, levels) for row, count in enumerate(rows)))


def right(expected: Selection, seed: int = 0) -> torch.Tensor:
    """A right selection whose order and choice among ties are random."""
    out = torch.full((len(expected.scores), SLOTS), UNUSED, dtype=torch.int32)
    for row, scores in enumerate(expected.scores):
        if len(scores) <= SLOTS:
            out[row, : len(scores)] = torch.arange(len(scores), dtype=torch.int32)
            continue
        shuffled = torch.from_numpy(Stream("order", seed, row).permutation(len(scores)))
        chosen = shuffled[scores[shuffled].argsort(descending=True, stable=True)][:SLOTS]
        again = torch.from_numpy(Stream("slots", seed, row).permutation(SLOTS))
        out[row] = chosen[again].to(torch.int32)
    return out


def wrong_rows(expected: Selection, out: torch.Tensor) -> set[int]:
    return {row for row, scores in enumerate(expected.scores) if first_wrong_slot(scores, out[row].long())}


def verdict(expected: Selection, out: torch.Tensor, name: str = "selection") -> Verdict:
    return next(v for v in expected.judge("indices", out) if v.name == name)


def assert_red_at(expected: Selection, out: torch.Tensor, row: int, slot: int, word: str) -> None:
    found = verdict(expected, out)
    assert not found.passed
    assert found.index == (row, slot)
    assert word in found.detail


@pytest.mark.parametrize("levels", [3, 1000])
def test_no_order_and_no_choice_among_ties_raises_an_alarm(levels: int):
    alarms = [s for s in range(TRIALS) if not verdict(gate(s, levels), right(gate(s, levels), s)).passed]
    assert alarms == []


def test_a_place_named_twice_is_red_at_the_second_naming():
    out = right(gate())
    out[LONG, 9] = out[LONG, 4]
    assert_red_at(gate(), out, LONG, 9, "was chosen before")


def test_every_single_wrong_place_is_red_at_its_slot():
    expected, out = gate(), right(gate())
    scores = expected.scores[LONG]
    threshold = scores.sort(descending=True).values[SLOTS - 1]
    for place in (scores < threshold).nonzero().flatten().tolist():
        for slot in (0, SLOTS // 2, SLOTS - 1):
            wrong = out.clone()
            wrong[LONG, slot] = place
            assert_red_at(expected, wrong, LONG, slot, "below")


def test_a_tie_that_keeps_a_larger_score_out_is_red_and_the_missing_place_is_named():
    scores = torch.tensor([1.0, 5.0, 1.0, 1.0, 7.0, 1.0])
    assert first_wrong_slot(scores, torch.tensor([0, 1, 4])) is None
    assert first_wrong_slot(scores, torch.tensor([0, 4, 2])) == (
        2,
        "place 2 is one tie too many while place 1, which scores more, is missing",
    )


@pytest.mark.parametrize("start", [1, 100])
def test_absolute_places_are_red_in_every_row_that_holds_a_place(start: int):
    out = right(gate())
    absolute = torch.where(out >= 0, out + start, out)
    assert wrong_rows(gate(), absolute) == {LONG, EXACT, SHORT}


def test_a_shifted_unused_slot_is_red_at_the_first_of_them():
    out = right(gate())
    out[SHORT] = torch.where(out[SHORT] < 0, out[SHORT] - 100, out[SHORT])
    assert_red_at(gate(), out, SHORT, SLOTS // 2, "-101")


@pytest.mark.parametrize("left", [0, 77, -77_777])
def test_a_missing_tail_is_red_whatever_it_holds(left: int):
    out = right(gate())
    out[EMPTY] = left
    assert_red_at(gate(), out, EMPTY, 0, "behind the last place")


def test_an_unused_slot_before_the_last_place_is_red():
    out = right(gate())
    out[LONG, 3] = UNUSED
    assert_red_at(gate(), out, LONG, 3, "outside the row")


@pytest.mark.parametrize("row", [EXACT, SHORT])
def test_a_row_that_fits_is_red_out_of_order(row: int):
    out = right(gate())
    out[row, 2], out[row, 3] = 3, 2
    assert_red_at(gate(), out, row, 2, "in order")


def test_infinite_scores_have_a_rank_and_zeros_of_both_signs_are_one_score():
    scores = torch.tensor([-math.inf, 2.0, -math.inf, math.inf, -0.0, 0.0])
    assert first_wrong_slot(scores, torch.tensor([3, 1, 5])) is None
    assert first_wrong_slot(scores, torch.tensor([3, 1, 4])) is None
    assert first_wrong_slot(scores, torch.tensor([3, 1, 4, 5, 2])) is None
    assert first_wrong_slot(scores, torch.tensor([3, 1, 0])) == (2, "place 0 scores -inf, below -0")


def test_scores_that_differ_in_the_last_bit_of_fp32_are_told_apart():
    step = torch.tensor([100.0, 100.0], dtype=torch.float32).nextafter(torch.tensor([0.0, 200.0])).double()
    assert first_wrong_slot(step, torch.tensor([1])) is None
    assert first_wrong_slot(step, torch.tensor([0])) is not None


def test_permuted_scores_are_invisible_where_nothing_is_discarded():
    expected = gate()
    permuted = replace(expected, scores=tuple(scores.flip(0) for scores in expected.scores))
    out = right(permuted)
    assert wrong_rows(expected, out) == {LONG}
    assert expected.discarding(SLOTS) == 1
    assert verdict(expected, out).metrics["discarding_rows"] == 1


def test_equal_rows_must_choose_equal_places_in_any_order():
    scores = scores_of(0, SLOTS * 4, levels=2)
    expected = Selection((scores, scores), replicas=((0, 1),))
    out = right(expected)
    assert verdict(expected, out).passed
    found = verdict(expected, out, "replicas")
    assert not found.passed
    assert found.index is not None
    assert found.index[0] == 1
    out[1] = out[0].flip(0)
    assert verdict(expected, out, "replicas").passed


def test_an_output_of_another_shape_is_refused():
    with pytest.raises(ValueError, match="4 rows"):
        gate().judge("indices", torch.zeros((3, SLOTS), dtype=torch.int32))
