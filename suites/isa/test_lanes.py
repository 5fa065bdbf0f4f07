"""Instructions that cross lanes or take parts of registers: each lane's value is worked out one by one."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest

from rocassay.harness.engines.isa.asm import Unsupported
from rocassay.suites.isa.registers import ALL, LANES, blank, execute, lanes_of, mask, result, run, words

Pattern = Callable[[int], int | None]
"""The lane that a lane reads, None where there is none."""

PATTERNS: dict[str, Pattern] = {
    **{
        f"quad_perm:[{','.join(map(str, order))}]": lambda lane, order=order: lane - lane % 4 + order[lane % 4]
        for order in ((1, 0, 3, 2), (2, 3, 0, 1), (3, 3, 1, 0), (0, 0, 0, 0))
    },
    **{f"row_shr:{n}": lambda lane, n=n: lane - n if lane % 16 >= n else None for n in (1, 2, 4, 8, 15)},
    **{f"row_shl:{n}": lambda lane, n=n: lane + n if lane % 16 + n < 16 else None for n in (1, 3, 8, 15)},
    **{f"row_ror:{n}": lambda lane, n=n: lane - lane % 16 + (lane - n) % 16 for n in (1, 4, 8, 15)},
    "row_mirror": lambda lane: lane - lane % 16 + 15 - lane % 16,
    "row_half_mirror": lambda lane: lane - lane % 8 + 7 - lane % 8,
    "row_bcast:15": lambda lane: lane - lane % 16 - 1 if lane >= 16 else None,
    "row_bcast:31": lambda lane: 31 if lane >= 32 else None,
}
SOME = 0x8FF1_00FF_35AC_F00F
"""Lanes of a partial execution mask."""


def _moved(pattern: Pattern, old: list[int], new: Callable[[int, int], int], exec_: int, *, bounded: bool,
           rows: int = 15, banks: int = 15) -> list[int]:  # fmt: skip
    """Every lane's result; `new` takes the lane and what it reads of itself, -1 for 0 from nowhere."""
    results = list[int]()
    for lane in range(LANES):
        source = pattern(lane)
        there = source is not None and bool(exec_ >> source & 1)
        enabled = exec_ >> lane & 1 and rows >> lane // 16 & 1 and banks >> lane % 16 // 4 & 1
        if enabled and (there or bounded):
            results.append(new(lane, source if there and source is not None else -1))
        else:
            results.append(old[lane])
    return results


@pytest.mark.parametrize("exec_", [ALL, SOME])
@pytest.mark.parametrize("bounded", [True, False])
@pytest.mark.parametrize("name", PATTERNS)
def test_a_lane_reads_another(name: str, bounded: bool, exec_: int) -> None:
    """Without bound_ctrl a lane keeps its value where it reads from nowhere or from a lane that does not execute."""
    old, data = words(1, LANES), words(2, LANES)
    state = lanes_of({0: old, 1: data}, exec_=exec_)
    run(f"v_mov_b32_dpp v0, v1 {name} row_mask:0xf bank_mask:0xf{' bound_ctrl:1' if bounded else ''}", state)
    expected = _moved(
        PATTERNS[name], old.tolist(), lambda _, source: int(data[source]) if source >= 0 else 0, exec_, bounded=bounded
    )
    assert result(state, 0, LANES).tolist() == expected


@pytest.mark.parametrize("exec_", [ALL, SOME])
@pytest.mark.parametrize("bounded", [True, False])
@pytest.mark.parametrize(("rows", "banks"), [(0xA, 0xF), (0xC, 0x5), (0x1, 0xE), (0xF, 0x8)])
@pytest.mark.parametrize("name", ["row_shr:2", "row_bcast:15", "row_mirror"])
def test_rows_and_banks_that_are_masked_keep_their_value(
    name: str, rows: int, banks: int, bounded: bool, exec_: int
) -> None:
    old, data = words(3, LANES), words(4, LANES)
    state = lanes_of({0: old, 1: data}, exec_=exec_)
    run(f"v_mov_b32_dpp v0, v1 {name} row_mask:{rows} bank_mask:{banks}{' bound_ctrl:1' if bounded else ''}", state)
    expected = _moved(
        PATTERNS[name], old.tolist(), lambda _, source: int(data[source]) if source >= 0 else 0, exec_,
        bounded=bounded, rows=rows, banks=banks,
    )  # fmt: skip
    assert result(state, 0, LANES).tolist() == expected


@pytest.mark.parametrize("exec_", [ALL, SOME])
@pytest.mark.parametrize("name", ["row_shr:1", "quad_perm:[1,0,3,2]", "row_ror:8"])
def test_only_the_first_source_crosses_lanes(name: str, exec_: int) -> None:
    a, b = words(5, LANES), words(6, LANES)
    for text, into in (
        ("v_sub_u32_dpp v0, v1, v2", 0),
        ("v_sub_u32_dpp v1, v1, v2", 1),
        ("v_sub_u32_dpp v2, v1, v2", 2),
    ):
        state = lanes_of({1: a, 2: b}, exec_=exec_)
        old = state.v[into][0].tolist()
        run(f"{text} {name} row_mask:0xf bank_mask:0xf bound_ctrl:1", state)
        expected = _moved(
            PATTERNS[name], old,
            lambda lane, source: ((int(a[source]) if source >= 0 else 0) - int(b[lane])) & 0xFFFFFFFF,
            exec_, bounded=True,
        )  # fmt: skip
        assert result(state, into, LANES).tolist() == expected


def test_numbers_cross_lanes_too() -> None:
    a = np.random.default_rng(7).standard_normal(LANES).astype(np.float32)
    state = run("v_add_f32_dpp v0, v1, v1 row_half_mirror row_mask:0xf bank_mask:0xf", lanes_of({1: a}))
    expected = [a[lane] + a[lane - lane % 8 + 7 - lane % 8] for lane in range(LANES)]
    assert result(state, 0, LANES, np.float32).tolist() == expected
    state = run("v_max_i32_dpp v0, v1, v1 row_ror:4 row_mask:0xf bank_mask:0xf", lanes_of({1: np.arange(LANES) - 30}))
    assert result(state, 0, LANES, np.int32).tolist() == [
        max(lane, lane - lane % 16 + (lane - 4) % 16) - 30 for lane in range(LANES)
    ]


@pytest.mark.parametrize("rows", [16, 32])
def test_groups_of_lanes_change_places(rows: int) -> None:
    a, b = words(8, 2 * LANES), words(9, 2 * LANES)
    state = run(f"v_permlane{rows}_swap_b32_e32 v1, v2", lanes_of({1: a, 2: b}))
    first, second = a.tolist(), b.tolist()
    for wave in range(2):
        for lane in range(LANES):
            if lane // rows % 2:
                here, there = wave * LANES + lane, wave * LANES + lane - rows
                first[here], second[there] = second[there], first[here]
    assert result(state, 1, 2 * LANES).tolist() == first
    assert result(state, 2, 2 * LANES).tolist() == second


def test_a_swap_of_some_lanes_is_refused() -> None:
    with pytest.raises(Unsupported):
        run("v_permlane16_swap_b32_e32 v1, v2", lanes_of({1: [0]}, exec_=SOME))


@pytest.mark.parametrize(("exec_", "lane"), [(ALL, 0), (SOME, 0), (0xFF00, 8), (1 << 63, 63), (0, 0)])
def test_the_first_lane_that_executes_is_read(exec_: int, lane: int) -> None:
    data = words(10, 3 * LANES)
    state = run("v_readfirstlane_b32 s4, v1", lanes_of({1: data}, exec_=exec_))
    assert state.s[4].tolist() == [data[wave * LANES + lane] for wave in range(3)]


@pytest.mark.parametrize(
    ("text", "lanes"), [("v_readlane_b32 s4, v1, 5", [5, 5, 5]), ("v_readlane_b32 s4, v1, s9", [3, 63, 1])]
)
def test_one_lane_is_read_whatever_executes(text: str, lanes: list[int]) -> None:
    data = words(11, 3 * LANES)
    state = lanes_of({1: data}, exec_=1 << 40)
    state.s[9] = [3, 63, 65]
    run(text, state)
    assert state.s[4].tolist() == [data[wave * LANES + lane] for wave, lane in enumerate(lanes)]


@pytest.mark.parametrize(("lane", "lanes"), [("7", [7, 7, 7]), ("s9", [3, 63, 1])])
@pytest.mark.parametrize(("source", "value"), [("s4", [10, 20, 30]), ("-2", [2**32 - 2] * 3)])
def test_one_lane_is_written_whatever_executes(lane: str, lanes: list[int], source: str, value: list[int]) -> None:
    old = words(12, 3 * LANES)
    state = lanes_of({1: old}, exec_=1 << 40)
    state.s[9], state.s[4] = [3, 63, 65], [10, 20, 30]
    run(f"v_writelane_b32 v1, {source}, {lane}", state)
    expected = old.copy()
    for wave in range(3):
        expected[wave * LANES + lanes[wave]] = value[wave]
    np.testing.assert_array_equal(result(state, 1, 3 * LANES), expected)


def test_accumulation_registers_are_written_and_read_where_lanes_execute() -> None:
    state = blank(2, accumulators=4)
    execute(state, SOME)
    alive, old, before = state.mask, state.a.copy(), state.v.copy()
    run("v_accvgpr_write_b32 a1, v3", state)
    np.testing.assert_array_equal(state.a[1], np.where(alive, before[3], old[1]))
    run("v_accvgpr_read_b32 v5, a2", state)
    np.testing.assert_array_equal(state.v[5], np.where(alive, old[2], before[5]))
    run("v_accvgpr_mov_b32 a0, a3", state)
    np.testing.assert_array_equal(state.a[0], np.where(alive, old[3], old[0]))
    execute(state, ALL)
    run("v_accvgpr_write_b32 a1, 7", state)
    assert (state.a[1] == 7).all()


@pytest.mark.parametrize(
    ("selects", "low", "high"), [("", 0, 0), (" op_sel:[1,0]", 1, 0), (" op_sel:[0,1]", 0, 1), (" op_sel:[1,1]", 1, 1)]
)
def test_two_dwords_are_moved(selects: str, low: int, high: int) -> None:
    held = {n: words(20 + n, LANES) for n in (2, 3, 4, 5)}
    state = run(f"v_pk_mov_b32 v[3:4], v[2:3], v[4:5]{selects}", lanes_of(held))
    np.testing.assert_array_equal(result(state, 3, LANES), held[2 + low])
    np.testing.assert_array_equal(result(state, 4, LANES), held[4 + high])


@pytest.mark.parametrize("name", ["v_pk_add_f32", "v_pk_mul_f32"])
@pytest.mark.parametrize(
    ("selects", "low", "high"),
    [("", (0, 0), (1, 1)), ("op_sel_hi:[0,1]", (0, 0), (0, 1)), ("op_sel:[1,0] op_sel_hi:[1,0]", (1, 0), (1, 0)),
     ("neg_lo:[1,0] neg_hi:[0,1]", (0, 0), (1, 1))],
)  # fmt: skip
def test_packed_numbers_choose_their_dwords(
    name: str, selects: str, low: tuple[int, int], high: tuple[int, int]
) -> None:
    draw = np.random.default_rng(30)
    held = {n: draw.standard_normal(LANES).astype(np.float32) for n in (2, 3, 4, 5)}
    function = np.add if name == "v_pk_add_f32" else np.multiply
    signs = ((-1, 1), (1, -1)) if "neg" in selects else ((1, 1), (1, 1))
    for index in (0, 2, 4, 3):
        state = run(f"{name} v[{index}:{index + 1}], v[2:3], v[4:5] {selects}", lanes_of(held))
        for n, (a, b) in enumerate((low, high)):
            expected = function(held[2 + a] * np.float32(signs[n][0]), held[4 + b] * np.float32(signs[n][1]))
            np.testing.assert_array_equal(result(state, index + n, LANES, np.float32), expected)


@pytest.mark.parametrize("exec_", [ALL, SOME])
def test_packed_results_are_written_where_lanes_execute(exec_: int) -> None:
    draw = np.random.default_rng(31)
    held = {n: draw.standard_normal(LANES).astype(np.float32) for n in range(6)}
    state = run("v_pk_mul_f32 v[0:1], v[2:3], v[4:5]", lanes_of(held, exec_=exec_))
    for n in range(2):
        expected = np.where(state.mask[0], held[2 + n] * held[4 + n], held[n])
        np.testing.assert_array_equal(result(state, n, LANES, np.float32), expected)
    np.testing.assert_array_equal(result(state, 2, LANES, np.float32), held[2])


HALVES = [("op_sel_hi:[0,1]", 0, 0), ("", 0, 1), ("op_sel:[1,0] op_sel_hi:[0,1]", 1, 0), ("op_sel:[1,0]", 1, 1)]


@pytest.mark.parametrize(("selects", "low", "high"), HALVES)
@pytest.mark.parametrize("source", ["v2", "s9", "4"])
def test_packed_shifts_choose_the_halves_of_their_amounts(source: str, selects: str, low: int, high: int) -> None:
    data, amounts = words(41, LANES), words(42, LANES)
    if source == "4":
        selects, low, high = "op_sel_hi:[0,1]", 0, 0
    state = run(
        f"v_pk_lshlrev_b16 v0, {source}, v1 {selects}", lanes_of({1: data, 2: amounts}, scalars={9: 0x00050003})
    )
    amount = {"v2": amounts.tolist(), "s9": [0x00050003] * LANES, "4": [4] * LANES}[source]
    expected = [
        (x & 0xFFFF) << (n >> (16 * low) & 15) & 0xFFFF | ((x >> 16) << (n >> (16 * high) & 15) & 0xFFFF) << 16
        for x, n in zip(data.tolist(), amount, strict=True)
    ]
    assert result(state, 0, LANES).tolist() == expected


@pytest.mark.parametrize("name", ["v_pk_mul_f16", "v_pk_add_f16"])
@pytest.mark.parametrize(("source", "second"), [("v2", None), ("0.5", 0.5), ("-4.0", -4.0)])
def test_packed_halves_and_constants_are_combined(name: str, source: str, second: float | None) -> None:
    a, b = (np.random.default_rng(n).standard_normal((LANES, 2)).astype(np.float16) for n in (43, 44))
    selects = "" if second is None else " op_sel_hi:[1,0]"
    held = {1: a.view(np.uint32).ravel(), 2: b.view(np.uint32).ravel()}
    state = run(f"{name} v0, v1, {source}{selects}", lanes_of(held))
    other = b.astype(np.float64) if second is None else second
    wide = a.astype(np.float64) * other if name == "v_pk_mul_f16" else a.astype(np.float64) + other
    got = result(state, 0, LANES).view(np.float16).reshape(LANES, 2)
    np.testing.assert_array_equal(got, wide.astype(np.float16))


def test_a_packed_scalar_pair_is_shared_by_all_lanes() -> None:
    a = np.ones(LANES, np.float32)
    state = lanes_of({2: a, 3: a}, scalars={6: 0x3F800000, 7: 0x40000000})
    run("v_pk_add_f32 v[0:1], v[2:3], s[6:7]", state)
    assert [float(result(state, n, 1, np.float32)[0]) for n in range(2)] == [2.0, 3.0]


PARTS = {"DWORD": (0, 32), "WORD_0": (0, 16), "WORD_1": (16, 16), **{f"BYTE_{n}": (8 * n, 8) for n in range(4)}}


def _part(bits: int, which: str, *, signed: bool = False) -> int:
    shift, width = PARTS[which]
    taken = bits >> shift & ((1 << width) - 1)
    return (taken - (taken >> (width - 1) << width)) & 0xFFFFFFFF if signed else taken


@pytest.mark.parametrize("second", PARTS)
@pytest.mark.parametrize("first", PARTS)
def test_parts_of_registers_are_sources(first: str, second: str) -> None:
    a, b = words(31, LANES), words(32, LANES)
    selects = f"dst_sel:DWORD dst_unused:UNUSED_PAD src0_sel:{first} src1_sel:{second}"
    state = run(f"v_add_u32_sdwa v0, v1, v2 {selects}", lanes_of({1: a, 2: b}))
    expected = [(_part(int(x), first) + _part(int(y), second)) & 0xFFFFFFFF for x, y in zip(a, b, strict=True)]
    assert result(state, 0, LANES).tolist() == expected
    state = run(f"v_add_u32_sdwa v1, sext(v1), v2 {selects}", lanes_of({1: a, 2: b}))
    signed = [
        (_part(int(x), first, signed=True) + _part(int(y), second)) & 0xFFFFFFFF for x, y in zip(a, b, strict=True)
    ]
    assert result(state, 1, LANES).tolist() == signed
    state = run(f"v_cmp_lt_u32_sdwa s[4:5], v1, v2 src0_sel:{first} src1_sel:{second}", lanes_of({1: a, 2: b}))
    assert mask(state, 4, LANES).tolist() == [
        _part(int(x), first) < _part(int(y), second) for x, y in zip(a, b, strict=True)
    ]


@pytest.mark.parametrize("unused", ["UNUSED_PAD", "UNUSED_PRESERVE"])
@pytest.mark.parametrize("part", PARTS)
@pytest.mark.parametrize("exec_", [ALL, SOME])
def test_a_part_of_a_register_is_the_destination(part: str, unused: str, exec_: int) -> None:
    old, a, b = words(33, LANES), words(34, LANES), words(35, LANES)
    text = f"v_or_b32_sdwa v0, v1, v2 dst_sel:{part} dst_unused:{unused} src0_sel:DWORD src1_sel:DWORD"
    state = run(text, lanes_of({0: old, 1: a, 2: b}, exec_=exec_))
    shift, width = PARTS[part]
    keep = ((1 << width) - 1) << shift
    for lane in range(LANES):
        rest = int(old[lane]) & ~keep if unused == "UNUSED_PRESERVE" else 0
        expected = (int(a[lane] | b[lane]) << shift & keep) | rest
        assert int(state.v[0][0, lane]) == (expected if exec_ >> lane & 1 else int(old[lane]))


def test_a_mask_chooses_between_parts() -> None:
    a, b = words(36, LANES), words(37, LANES)
    state = lanes_of({1: a, 2: b}, scalars={106: 0x0F0F5555, 107: 0xFF00AA33})
    chosen = mask(state, 106, LANES).tolist()
    run("v_cndmask_b32_sdwa v0, v1, v2, vcc dst_sel:DWORD dst_unused:UNUSED_PAD src0_sel:WORD_1 src1_sel:BYTE_3", state)
    expected = [int(y) >> 24 if bit else int(x) >> 16 for x, y, bit in zip(a, b, chosen, strict=True)]
    assert result(state, 0, LANES).tolist() == expected


@pytest.mark.parametrize("name", ["v_min_i32", "v_max_i32"])
def test_signed_numbers_of_parts_are_compared_as_such(name: str) -> None:
    a, b = words(38, LANES), words(39, LANES)
    text = f"{name}_sdwa v0, sext(v1), v2 dst_sel:DWORD dst_unused:UNUSED_PAD src0_sel:BYTE_1 src1_sel:DWORD"
    got = result(run(text, lanes_of({1: a, 2: b})), 0, LANES, np.int32).tolist()
    first = [_part(int(x), "BYTE_1", signed=True) for x in a]
    rows = [(x - (x >> 31 << 32), int(y) - (int(y) >> 31 << 32)) for x, y in zip(first, b, strict=True)]
    assert got == [(min if name == "v_min_i32" else max)(row) for row in rows]
