"""Inputs: counter-based streams that are the same everywhere, and digests that notice every change."""

from __future__ import annotations

import math
from dataclasses import replace
from typing import Any

import numpy as np
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from rocassay.harness.cases import Case
from rocassay.harness.inputs import Operands, Placement, Stream, as_bytes, digest
from rocassay.suites.selftest.toys import toy_case

PINNED = {
    ("rocassay",): ["0x1080130dfaf0c32e", "0x581c2e53d121cf39", "0x918d5791e65aec75"],
    ("rocassay", "child", 7): ["0xc9ac832ef14512b7", "0xe839599e1d7bde4b", "0xaf3ab51552c31fcd"],
}
"""First raw words of two streams, as hexadecimal."""


def operands(**changes: Any) -> Operands:
    parts = {
        "inputs": {"x": torch.arange(6, dtype=torch.int16).reshape(2, 3), "y": torch.zeros(4)},
        "outputs": {"out": torch.full((2, 2), torch.nan, dtype=torch.bfloat16)},
        "scalars": {"n": 3},
        "placements": {"x": Placement((5, 1))},
    }
    return Operands(**{**parts, **changes})


@given(st.text("ab\x1fé", max_size=4), st.integers(0, 200), st.integers(0, 200))
def test_a_longer_draw_starts_with_the_shorter_one(key: str, one: int, other: int):
    short, long = sorted((one, other))
    assert np.array_equal(Stream(key).words(long)[:short], Stream(key).words(short))


@given(st.integers(0, 50), st.integers(51, 100))
def test_every_derived_draw_has_the_prefix_property_too(short: int, long: int):
    stream = Stream("prefix")
    assert np.array_equal(stream.gaussian(long)[:short], stream.gaussian(short))
    assert np.array_equal(stream.integers(-3, 9, long)[:short], stream.integers(-3, 9, short))


@pytest.mark.parametrize("key", PINNED, ids=str)
def test_the_first_words_are_the_pinned_ones(key: tuple[str | int, ...]):
    assert [hex(word) for word in Stream(*key).words(len(PINNED[key]))] == PINNED[key]


def test_drawing_from_a_stream_does_not_advance_it():
    stream = Stream("still")
    assert np.array_equal(stream.words(9), stream.words(9))


def test_children_are_independent_of_each_other_and_of_how_much_the_parent_gave():
    parent = Stream("parent")
    before = parent.child("a").words(64)
    parent.words(1000)
    streams = [parent, parent.child("a"), parent.child("b"), parent.child("a").child("b"), parent.child("ab")]
    assert np.array_equal(parent.child("a").words(64), before)
    assert len({word for stream in streams for word in stream.words(64).tolist()}) == 64 * len(streams)


def test_neighbouring_parts_of_a_key_do_not_run_together():
    assert not np.array_equal(Stream("ab", "c").words(4), Stream("a", "bc").words(4))


def test_children_are_uncorrelated():
    draws = np.stack([Stream("corr").child(str(number)).gaussian(4096) for number in range(20)])
    off_diagonal = np.asarray(np.corrcoef(draws))[~np.eye(20, dtype=bool)]
    five_spreads = 5 / np.sqrt(4096)
    assert np.abs(off_diagonal).max() < five_spreads


@pytest.mark.parametrize(
    "other",
    [
        replace(toy_case(), op="other"),
        replace(toy_case(), fp8="e4m3fnuz"),
        replace(toy_case(), block_size=2),
        toy_case(number=1),
        replace(toy_case(), recipe="padded"),
        toy_case().with_seed(1),
    ],
    ids=str,
)
def test_every_axis_but_the_arch_changes_the_stream_of_a_case(other: Case):
    assert not np.array_equal(Stream.of(toy_case()).words(4), Stream.of(other).words(4))
    assert np.array_equal(Stream.of(toy_case()).words(4), Stream.of(toy_case(arch="gfx950")).words(4))


@given(st.integers(-(2**40), 2**40), st.integers(1, 2**31))
def test_integers_stay_within_their_range(low: int, span: int):
    drawn = Stream("range", low, span).integers(low, low + span, (5, 7))
    assert drawn.shape == (5, 7)
    assert low <= drawn.min()
    assert drawn.max() < low + span


def test_integers_are_evenly_spread():
    counts = np.bincount(Stream("even").integers(0, 8, 80_000))
    chi_square, limit = float(((counts - 10_000) ** 2 / 10_000).sum()), 40.5
    assert chi_square < limit, "tail 1e-6 of 7 degrees of freedom"


@given(st.integers(0, 300))
def test_a_permutation_holds_every_number_once(count: int):
    assert sorted(Stream("permutation").permutation(count)) == list(range(count))


def test_gaussians_have_the_stated_moments_and_lie_on_the_stated_grid():
    drawn = Stream("moments").gaussian((400, 500))
    spread = 5 / np.sqrt(drawn.size)
    assert abs(drawn.mean()) < spread
    assert abs(drawn.std() - 1.001) < spread
    steps = drawn * 2**22 / 111
    assert np.array_equal(steps, np.rint(steps))


CHANGES = {
    "a value": {"inputs": {"x": torch.arange(1, 7, dtype=torch.int16).reshape(2, 3), "y": torch.zeros(4)}},
    "the sign of a zero": {"inputs": {**operands().inputs, "y": torch.tensor([0.0, 0.0, 0.0, -0.0])}},
    "a shape": {"inputs": {**operands().inputs, "x": torch.arange(6, dtype=torch.int16).reshape(3, 2)}},
    "a dtype": {"inputs": {**operands().inputs, "y": torch.zeros(4, dtype=torch.int32)}},
    "a name": {"inputs": {"z": operands().inputs["x"], "y": torch.zeros(4)}},
    "what an output holds before": {"outputs": {"out": torch.zeros((2, 2), dtype=torch.bfloat16)}},
    "a scalar": {"scalars": {"n": 4}},
    "the strides": {"placements": {"x": Placement((6, 1))}},
}


@pytest.mark.parametrize("change", CHANGES)
def test_the_digest_notices_a_change_of(change: str):
    assert digest(operands(**CHANGES[change])) != digest(operands())


def test_the_digest_does_not_depend_on_the_order_of_tensors_or_on_their_memory():
    inputs = operands().inputs
    turned = {"y": inputs["y"], "x": inputs["x"].T.contiguous().T}
    assert digest(operands(inputs=turned)) == digest(operands()) == digest(operands())


@pytest.mark.parametrize("shape", [(16, 1), (1, 16), (1,), (1, 1, 1), (0, 3)])
def test_bytes_of_a_tensor_do_not_depend_on_the_stride_of_a_dimension_of_one(shape: tuple[int, ...]):
    values = torch.arange(torch.Size(shape).numel(), dtype=torch.float32).reshape(shape)
    odd = values.as_strided(shape, tuple(17 if n == 1 else s for n, s in zip(shape, values.stride(), strict=True)))
    assert torch.equal(as_bytes(odd), as_bytes(values))
    assert as_bytes(odd).shape == (*shape, 4)


def test_a_scalar_may_be_a_float_whose_digest_is_that_of_its_bits():
    def of(value: float) -> str:
        return digest(Operands({}, {}, {"scale": value}))

    assert of(0.1) == of(float(np.float64(0.1))) == of(np.float64(0.1))
    assert of(0.1 + 0.2) != of(0.3)
    assert len({of(1.0), of(1), of(0.0), of(-0.0), of(math.nan), of(math.inf)}) == 6
