"""Comparisons of the vector unit and the choice by a mask, against Python's."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rocassay.suites.isa.registers import ALL, LANES, lanes_of, mask, result, run, words
from rocassay.suites.isa.test_valu import COUNT, HALF_EXEC, i16, i32

RELATIONS: dict[str, Callable[[Any, Any], bool]] = {
    "eq": lambda a, b: a == b, "ne": lambda a, b: a != b, "lt": lambda a, b: a < b, "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b, "ge": lambda a, b: a >= b,
}  # fmt: skip
ORDERED: dict[str, Callable[[float, float], bool]] = {
    "eq": lambda a, b: a == b, "lt": lambda a, b: a < b, "le": lambda a, b: a <= b, "gt": lambda a, b: a > b,
    "ge": lambda a, b: a >= b, "lg": lambda a, b: a < b or a > b, "o": lambda a, b: a == a and b == b,
}  # fmt: skip
NEGATED = {"neq": "eq", "nlt": "lt", "nle": "le", "ngt": "gt", "nge": "ge", "nlg": "lg", "u": "o"}
READ: dict[str, Callable[[int], int]] = {"u32": lambda x: x, "i32": i32, "u16": lambda x: x & 0xFFFF, "i16": i16}


def _close(seed: int) -> tuple[Any, Any]:
    """Words of which every fourth pair is equal and every eighth differs by one."""
    a, b = words(seed, COUNT), words(seed + 1, COUNT)
    b[::4] = a[::4]
    b[::8] += np.uint32(1)
    return a, b


@pytest.mark.parametrize(("relation", "kind"), list(itertools.product(RELATIONS, READ)))
def test_integers_are_compared(relation: str, kind: str) -> None:
    a, b = _close(131)
    expected = [RELATIONS[relation](READ[kind](int(x)), READ[kind](int(y))) for x, y in zip(a, b, strict=True)]
    state = run(f"v_cmp_{relation}_{kind}_e64 s[4:5], v1, v2", lanes_of({1: a, 2: b}))
    assert mask(state, 4, COUNT).tolist() == expected
    state = run(f"v_cmp_{relation}_{kind}_e64 s[4:5], v1, v2", lanes_of({1: a, 2: b}, exec_=HALF_EXEC))
    alive = [bool(HALF_EXEC >> (n % LANES) & 1) for n in range(COUNT)]
    assert mask(state, 4, COUNT).tolist() == [x and live for x, live in zip(expected, alive, strict=True)]


@pytest.mark.parametrize(("relation", "kind"), list(itertools.product(RELATIONS, ["u64", "i64"])))
def test_wide_integers_are_compared(relation: str, kind: str) -> None:
    low, high = _close(141)
    other = low.copy()
    other[::3] -= np.uint32(1)
    numbers = [[int(x) | int(y) << 32 for x, y in zip(half, high, strict=True)] for half in (low, other)]
    if kind == "i64":
        numbers = [[x - (x >> 63 << 64) for x in side] for side in numbers]
    state = run(f"v_cmp_{relation}_{kind}_e32 vcc, v[2:3], v[4:5]", lanes_of({2: low, 3: high, 4: other, 5: high}))
    assert mask(state, 106, COUNT).tolist() == [RELATIONS[relation](x, y) for x, y in zip(*numbers, strict=True)]


@pytest.mark.parametrize("relation", [*ORDERED, *NEGATED])
def test_numbers_are_compared_also_with_nan(relation: str) -> None:
    a, b = _close(151)
    base = ORDERED[NEGATED.get(relation, relation)]
    floats = [x.view(np.float32).tolist() for x in (a, b)]
    expected = [base(x, y) is not (relation in NEGATED) for x, y in zip(*floats, strict=True)]
    state = run(f"v_cmp_{relation}_f32_e64 s[4:5], v1, v2", lanes_of({1: a, 2: b}))
    assert mask(state, 4, COUNT).tolist() == expected
    state = run(f"v_cmp_{relation}_f32_e64 s[4:5], v1, v1", lanes_of({1: a}))
    assert mask(state, 4, COUNT).tolist() == [base(x, x) is not (relation in NEGATED) for x in floats[0]]
    state = run(f"v_cmp_{relation}_f32_e64 s[4:5], -v1, |v2|", lanes_of({1: a, 2: b}))
    expected = [base(-x, abs(y)) is not (relation in NEGATED) for x, y in zip(*floats, strict=True)]
    assert mask(state, 4, COUNT).tolist() == expected


@pytest.mark.parametrize("relation", [*ORDERED, *NEGATED])
def test_half_precision_numbers_are_compared_also_with_nan(relation: str) -> None:
    """The upper halves of the registers hold other bits."""
    a, b = _close(155)
    a[1::8] |= np.uint32(0x7C01)
    base = ORDERED[NEGATED.get(relation, relation)]
    floats = [x.view(np.float16)[::2].tolist() for x in (a, b)]
    assert any(x != x for x in floats[0])
    for text, first, second in (
        ("v1, v2", *floats),
        ("-v1, |v2|", [-x for x in floats[0]], [abs(y) for y in floats[1]]),
        ("v1, -2.0", floats[0], [-2.0] * COUNT),
        ("v1, v1", floats[0], floats[0]),
    ):
        state = run(f"v_cmp_{relation}_f16_e64 s[4:5], {text}", lanes_of({1: a, 2: b}))
        expected = [base(x, y) is not (relation in NEGATED) for x, y in zip(first, second, strict=True)]
        assert mask(state, 4, COUNT).tolist() == expected


def test_a_comparison_may_change_which_lanes_execute() -> None:
    state = lanes_of({1: np.arange(LANES)})
    run("v_cmp_gt_u32_e64 exec, 5, v1", state)
    run("v_mov_b32_e32 v0, 3", state)
    assert (state.v[0][0] == 3).tolist()[:8] == [True] * 5 + [False] * 3
    assert not state.full


@pytest.mark.parametrize("exec_", [ALL, HALF_EXEC])
@pytest.mark.parametrize(
    ("first", "second"),
    [("v1", "v2"), ("0", "v2"), ("v1", "0"), ("v0", "v2"), ("v1", "v0"), ("-v1", "|v2|"), ("s9", "7"), ("1", "v2"),
     ("v1", "1")],
)  # fmt: skip
def test_a_mask_chooses_between_two_sources(first: str, second: str, exec_: int) -> None:
    a, b = words(161, COUNT), words(162, COUNT)
    state = lanes_of({0: a ^ b, 1: a, 2: b}, exec_=exec_, scalars={4: 0x3C3C0FF0, 5: 0x12345678, 9: 0xABCD})
    held = {
        "v1": a,
        "v2": b,
        "v0": a ^ b,
        "0": a * 0,
        "7": a * 0 + 7,
        "1": a * 0 + 1,
        "s9": a * 0 + 0xABCD,
        "-v1": a ^ 0x80000000,
        "|v2|": b & 0x7FFFFFFF,
    }
    chosen = np.where(mask(state, 4, COUNT), held[second], held[first])
    expected = np.where(state.mask.ravel(), chosen, held["v0"])
    run(f"v_cndmask_b32_e64 v0, {first}, {second}, s[4:5]", state)
    np.testing.assert_array_equal(result(state, 0, COUNT), expected)
