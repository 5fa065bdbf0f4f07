"""Split heuristics of the sparse decode against values obtained by executing vLLM's own functions."""

from __future__ import annotations

import pytest

from rocassay.kernels.attention.splits import (
    MAX_SPLITS,
    SplitRule,
    bf16_decode_splits,
    decode_splits,
    iterations,
)

# (queries, head blocks, main length, extra length) -> gfx942 at 256 CUs, gfx942 at 304, gfx950 at 256, gfx950 at 304
EXECUTED = {
    (1, 1, 128, 0): (4, 4, 32, None),
    (1, 1, 128, 512): (16, 16, 32, None),
    (1, 1, 128, 8192): (16, 16, 32, None),
    (16, 1, 128, 512): (16, 16, 16, None),
    (24, 1, 128, 512): (8, 8, 8, None),
    (32, 1, 128, 512): (8, 8, 8, None),
    (64, 1, 128, 512): (4, 4, 8, None),
    (128, 1, 128, 512): (2, 2, 4, None),
    (224, 1, 128, 512): (1, 4, None, None),
    (256, 1, 128, 0): (1, 1, 2, None),
    (304, 1, 128, 512): (5, 1, None, None),
    (1, 8, 128, 512): (16, 16, 32, None),
    (2, 8, 128, 512): (None, None, 16, None),
    (16, 8, 128, 512): (2, 2, 4, None),
    (17, 1, 128, 32): (None, None, 4, None),
    (48, 1, 128, 8192): (None, None, 10, 12),
    (512, 1, 128, 7812): (None, None, 1, 2),
}
COLUMNS: tuple[tuple[SplitRule, int], ...] = (("gfx942", 256), ("gfx942", 304), ("gfx950", 256), ("gfx950", 304))
VECTORS = [
    (rule, units, shape, splits)
    for shape, row in EXECUTED.items()
    for (rule, units), splits in zip(COLUMNS, row, strict=True)
    if splits is not None
]

# (queries, heads, length) -> gfx942, gfx950, both at 256 CUs
BF16 = {
    (1, 16, 511): (1, 1),
    (1, 16, 512): (16, 16),
    (1, 16, 2048): (16, 32),
    (4, 16, 2048): (16, 32),
    (16, 128, 2048): (2, 4),
    (64, 128, 2048): (1, 1),
    (1, 128, 2048): (16, 32),
}


@pytest.mark.parametrize(("rule", "units", "shape", "splits"), VECTORS)
def test_the_fp8_decode_splits_as_vllm_does(
    rule: SplitRule, units: int, shape: tuple[int, int, int, int], splits: int
) -> None:
    queries, head_blocks, main, extra = shape
    found = decode_splits(
        rule,
        queries=queries,
        head_blocks=head_blocks,
        main_length=main,
        extra_length=extra,
        compute_units=units,
    )
    assert found == splits


@pytest.mark.parametrize("shape", BF16)
def test_the_bf16_decode_splits_as_vllm_does(shape: tuple[int, int, int]) -> None:
    queries, heads, length = shape
    rules: tuple[SplitRule, ...] = ("gfx942", "gfx950")
    found = [bf16_decode_splits(rule, queries=queries, heads=heads, length=length, compute_units=256) for rule in rules]
    assert tuple(found) == BF16[shape]


@pytest.mark.parametrize("rule", ["gfx942", "gfx950"])
def test_splits_stay_between_one_and_the_most_for_any_shape(rule: SplitRule) -> None:
    for queries in (0, 1, 15, 16, 17, 63, 64, 65, 300, 5000):
        for main, extra in ((0, 0), (0, 7), (1, 0), (128, 100_000)):
            found = decode_splits(
                rule, queries=queries, head_blocks=8, main_length=main, extra_length=extra, compute_units=304
            )
            assert 1 <= found <= MAX_SPLITS


def test_an_absent_list_costs_no_iteration_and_a_short_one_costs_one_in_every_split() -> None:
    assert iterations(4, 0, 0) == 0
    assert iterations(4, 5, 0) == 1
    assert iterations(4, 129, 5) == 3
    assert iterations(1, 129, 5) == 6
