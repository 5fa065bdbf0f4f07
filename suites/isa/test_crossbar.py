"""Values that cross lanes through local memory's crossbar: permutations by address, and the patterns of a swizzle."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from rocassay.harness.engines.isa import asm
from rocassay.harness.engines.isa.asm import Unsupported
from rocassay.suites.isa.programs import kinds, launch, noise

LANES = 64
SOME = 0x8FF1_00FF_35AC_F00F
"""Lanes of a partial execution mask."""

HELD, ELSE = 0x100, 5
"""What lane 0 offers, one more each lane; what the result's register holds before."""

Pattern = Callable[[int], int]
"""The lane that a lane reads."""


def _reversed(lane: int) -> int:
    return int(f"{lane % 32:05b}"[::-1], 2)


PATTERNS: dict[str, Pattern] = {
    **{f"swizzle(SWAP,{n})": lambda lane, n=n: lane + n if lane // n % 2 == 0 else lane - n for n in (1, 2, 4, 8, 16)},
    **{f"swizzle(REVERSE,{n})": lambda lane, n=n: lane // n * n + n - 1 - lane % n for n in (2, 4, 8, 16, 32)},
    **{
        f"swizzle(BROADCAST,{n},{at})": lambda lane, n=n, at=at: lane // n * n + at
        for n, at in ((2, 1), (4, 0), (8, 5), (16, 15), (32, 31))
    },
    **{
        f"swizzle(QUAD_PERM,{','.join(map(str, order))})": lambda lane, order=order: lane // 4 * 4 + order[lane % 4]
        for order in ((1, 0, 3, 2), (3, 3, 0, 1))
    },
    **{f"swizzle(ROTATE,0,{n})": lambda lane, n=n: lane // 32 * 32 + (lane + n) % 32 for n in (1, 7, 31)},
    **{f"swizzle(ROTATE,1,{n})": lambda lane, n=n: lane // 32 * 32 + (lane - n) % 32 for n in (1, 7, 31)},
    "swizzle(FFT,0)": lambda lane: lane // 32 * 32 + _reversed(lane),
    "swizzle(FFT,16)": lambda lane: lane // 16 * 16 + _reversed(lane % 16) // 2,
    "swizzle(FFT,31)": lambda lane: lane,
    'swizzle(BITMASK_PERM,"01pip")': lambda lane: lane // 32 * 32 + 8 + (lane & 5) + (2 - (lane & 2)),
    'swizzle(BITMASK_PERM,"ppppp")': lambda lane: lane,
    "0x7c1f": lambda lane: lane // 32 * 32 + 31 - lane % 32,
}  # fmt: skip

BEGIN = """
v_lshlrev_b32_e32 v1, 2, v0
global_load_dword v2, v1, s[4:5]
s_waitcnt vmcnt(0)
v_lshlrev_b32_e32 v2, 2, v2
v_add_u32_e32 v3, 0x100, v0
v_mov_b32_e32 v8, 5
"""
"""v2: what the tensor at s[4:5] holds as an address; v3: what each lane offers."""

END = """
s_mov_b64 exec, -1
s_waitcnt lgkmcnt(0)
global_store_dword v1, v8, s[6:7]
"""


def crossed(instruction: str, order: np.ndarray, exec_: int = SOME) -> list[int]:
    """v8 of every lane after the instruction."""
    out = np.full(LANES, 1, np.uint32)
    lanes = f"s_mov_b32 exec_lo, {exec_ & 0xFFFFFFFF:#x}\ns_mov_b32 exec_hi, {exec_ >> 32:#x}\n"
    outcome = launch(BEGIN + lanes + instruction + END, {"order": order.astype(np.uint32), "out": out})
    assert kinds(outcome) == []
    return out.tolist()


def alive(lane: int) -> bool:
    return bool(SOME >> lane & 1)


@pytest.mark.parametrize("pattern", PATTERNS)
def test_a_swizzle_reads_from_the_lanes_of_its_pattern(pattern: str) -> None:
    source = PATTERNS[pattern]
    got = crossed(f"ds_swizzle_b32 v8, v3 offset:{pattern}", np.arange(LANES))
    assert got == [
        (HELD + source(lane) if alive(source(lane)) else 0) if alive(lane) else ELSE for lane in range(LANES)
    ]


def test_rotations_with_a_mask_and_fourier_exchanges_match_the_examples_of_the_guide() -> None:
    """AMD "Vega" ISA guide, DS_SWIZZLE_B32: the input is 1, 2, ... 0x20."""
    examples = {
        0xE000: "1 11 9 19 5 15 d 1d 3 13 b 1b 7 17 f 1f 2 12 a 1a 6 16 e 1e 4 14 c 1c 8 18 10 20",
        0xE010: "1 9 5 d 3 b 7 f 2 a 6 e 4 c 8 10 11 19 15 1d 13 1b 17 1f 12 1a 16 1e 14 1c 18 20",
        0xC020: "2 3 4 5 6 7 8 9 a b c d e f 10 11 12 13 14 15 16 17 18 19 1a 1b 1c 1d 1e 1f 20 1",
        0xC420: "20 1 2 3 4 5 6 7 8 9 a b c d e f 10 11 12 13 14 15 16 17 18 19 1a 1b 1c 1d 1e 1f",
        0xC021: "1 4 3 6 5 8 7 a 9 c b e d 10 f 12 11 14 13 16 15 18 17 1a 19 1c 1b 1e 1d 20 1f 2",
        0xC421: "1f 2 1 4 3 6 5 8 7 a 9 c b e d 10 f 12 11 14 13 16 15 18 17 1a 19 1c 1b 1e 1d 20",
    }  # fmt: skip
    for code, expected in examples.items():
        got = crossed(f"ds_swizzle_b32 v8, v3 offset:{code:#x}", np.arange(LANES), (1 << LANES) - 1)
        assert [value - HELD + 1 for value in got[:32]] == [int(word, 16) for word in expected.split()]
        assert [value - 32 for value in got[32:]] == got[:32]


@pytest.mark.parametrize(
    "macro",
    ["swizzle(SWAP,3)", "swizzle(SWAP,32)", "swizzle(REVERSE,1)", "swizzle(BROADCAST,8,8)", "swizzle(QUAD_PERM,0,1,2)",
     "swizzle(QUAD_PERM,0,1,2,4)", "swizzle(ROTATE,2,1)", "swizzle(FFT,32)", 'swizzle(BITMASK_PERM,"ppp")',
     'swizzle(BITMASK_PERM,"pppxp")', "swizzle(BITMASK_PERM,ppppp)", "swizzle(MIRROR,4)", "swizzle(SWAP,-1)"],
)  # fmt: skip
def test_a_pattern_that_the_assembler_would_not_take_is_refused(macro: str) -> None:
    with pytest.raises(Unsupported):
        asm.instruction(f"ds_swizzle_b32 v8, v3 offset:{macro}")


def test_the_words_of_a_pattern_are_the_offset_of_no_other_instruction() -> None:
    with pytest.raises(Unsupported):
        asm.instruction("ds_read_b32 v8, v3 offset:swizzle(SWAP,1)")


def test_bpermute_gathers_from_lanes_that_execute() -> None:
    order = np.random.default_rng(17).permutation(LANES)
    source = ((order + 1) % LANES).tolist()
    expected = [(HELD + source[lane] if alive(source[lane]) else 0) if alive(lane) else ELSE for lane in range(LANES)]
    assert crossed("ds_bpermute_b32 v8, v2, v3 offset:4", order) == expected


def test_permute_gives_to_lanes_that_execute_and_the_highest_giver_wins() -> None:
    order = noise(18, LANES) % LANES
    got: dict[int, int] = {}
    for lane in filter(alive, range(LANES)):
        got[(int(order[lane]) + 1) % LANES] = HELD + lane
    assert len(got) < sum(map(alive, range(LANES)))
    expected = [got.get(lane, 0) if alive(lane) else ELSE for lane in range(LANES)]
    assert crossed("ds_permute_b32 v8, v2, v3 offset:4", order) == expected


@pytest.mark.parametrize("instruction", ["ds_swizzle_b32 v8, v3 offset:swizzle(SWAP,16)", "ds_permute_b32 v8, v2, v3"])
def test_the_result_may_not_be_used_before_its_wait(instruction: str) -> None:
    out = np.zeros(LANES, np.uint32)
    code = BEGIN + instruction + "\nglobal_store_dword v1, v8, s[6:7]"
    assert kinds(launch(code, {"order": np.arange(LANES, dtype=np.uint32), "out": out})) == ["missing_wait"]
