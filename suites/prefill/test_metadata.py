"""Decode lengths and prefill windows: worked examples of the contract, and what both must have in common."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from rocassay.kernels.prefill.dispatch import DISPATCH, LogitsVariant, Tile, decode_lens_variant
from rocassay.kernels.prefill.request_search import bisection_steps
from rocassay.references.prefill.indexer_decode_lens import flattened_lens, native_lens
from rocassay.references.prefill.indexer_prefill_windows import windows

requests = st.lists(st.tuples(st.integers(0, 9), st.integers(0, 40)), min_size=1, max_size=6)
ratios = st.sampled_from((1, 2, 4, 128))


def test_flattened_lengths_are_those_of_the_builders_worked_example():
    assert flattened_lens((10, 7, 12, 0), (3, 1, 4, 0), 1) == [8, 9, 10, 7, 9, 10, 11, 12]


@pytest.mark.parametrize(("total", "ratio", "expected"), [(7, 2, [3, 3]), (9, 4, [2, 2])])
def test_compressed_lengths_of_two_tokens_are_not_consecutive(total: int, ratio: int, expected: list[int]):
    assert native_lens((total,), 2, ratio) == [expected]


def test_a_request_shorter_than_the_step_has_no_negative_length():
    assert native_lens((0, 1, 2), 3, 1) == [[0, 0, 0], [0, 0, 1], [0, 1, 2]]


@given(st.lists(st.integers(2, 50), min_size=1, max_size=5), st.sampled_from((1, 2)), ratios)
def test_both_forms_agree_where_every_request_has_all_tokens_of_the_step(totals: list[int], next_n: int, ratio: int):
    rows = [length for request in native_lens(totals, next_n, ratio) for length in request]
    assert rows == flattened_lens(totals, [next_n] * len(totals), ratio)


@given(requests, ratios)
def test_windows_have_the_lengths_that_the_same_tokens_would_decode_with(drawn: list[tuple[int, int]], ratio: int):
    counts = [count for count, _ in drawn]
    totals = [count + context for count, context in drawn]
    found = windows(totals, counts, ratio)
    assert [end - start for start, end in zip(found.ks, found.ke, strict=True)] == flattened_lens(totals, counts, ratio)


@given(requests, ratios)
def test_a_window_lies_within_its_requests_gathered_keys_and_the_last_token_sees_them_all(
    drawn: list[tuple[int, int]], ratio: int
):
    counts = [count for count, _ in drawn]
    totals = [count + context for count, context in drawn]
    found = windows(totals, counts, ratio)
    token = 0
    for request, count in enumerate(counts):
        keys = [key for key, owner in enumerate(found.owners) if owner == request]
        for start, end in zip(found.ks[token : token + count], found.ke[token : token + count], strict=True):
            assert set(range(start, end)) <= set(keys)
        token += count
        if count:
            assert list(range(found.ks[token - 1], found.ke[token - 1])) == keys


@pytest.mark.parametrize(("next_n", "adaptive", "path"), [(1, 0, "native"), (2, 0, "native"), (2, 1, "flattened")])
def test_one_and_two_tokens_a_step_stay_by_request_unless_verification_adapts(next_n: int, adaptive: int, path: str):
    assert decode_lens_variant(next_n=next_n, adaptive=adaptive == 1).path == path
    assert decode_lens_variant(next_n=next_n + 2, adaptive=adaptive == 1).path == "flattened"


@pytest.mark.parametrize("requests", [1, 2, 3, 4, 5, 64, 65, 1000])
def test_the_bisection_has_just_enough_steps_for(requests: int):
    steps = bisection_steps(requests)
    assert 2**steps >= requests
    assert steps == 0 or 2 ** (steps - 1) < requests


def test_keys_are_split_only_while_row_blocks_leave_compute_units_idle():
    variant = LogitsVariant("e4m3fn", True, "fp8", Tile(kv_tile=64), compute_units=256)
    assert variant.splits(1000, 65536) == 1
    assert variant.splits(1, 65536) == 256
    assert variant.splits(1, 64) == 1
    assert variant.splits(300, 65536) == 2


def test_fnuz_is_scaled_to_half_of_what_ocp_is():
    assert DISPATCH.quant_fp8["e4m3fn"] == 2 * DISPATCH.quant_fp8["e4m3fnuz"]
