"""Integer, comparing and moving instructions of the vector unit, against Python's integers."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rocassay.harness.engines.isa.asm import Unsupported
from rocassay.suites.isa.registers import ALL, LANES, blank, execute, lanes_of, mask, result, run, step, words

COUNT = 3 * LANES
HALF_EXEC = 0xF0F0_1234_5678_9ABC
M32, M64 = (1 << 32) - 1, (1 << 64) - 1


def i32(x: int) -> int:
    """Bits as a signed number."""
    return x - (x >> 31 << 32)


def i16(x: int) -> int:
    """The lower 16 bits as a signed number."""
    return (x & 0xFFFF) - ((x >> 15 & 1) << 16)


def i24(x: int) -> int:
    """The lower 24 bits as a signed number."""
    return (x & 0xFFFFFF) - ((x >> 23 & 1) << 24)


def _field(x: int, offset: int, width: int) -> int:
    return x >> (offset & 31) & ((1 << (width & 31)) - 1)


def _signed_field(x: int, offset: int, width: int) -> int:
    taken, width = _field(i32(x), offset, width), width & 31
    return taken - (1 << width) if width and taken >> (width - 1) & 1 else taken


def _bytes(a: int, b: int, select: int) -> int:
    data, result_ = [(a << 32 | b) >> (8 * n) & 255 for n in range(8)], 0
    for place in range(4):
        n = select >> (8 * place) & 255
        if n < 8:
            byte = data[n]
        elif n < 12:
            byte = 255 * (data[2 * (n - 8) + 1] >> 7)
        else:
            byte = 0 if n == 12 else 255
        result_ |= byte << (8 * place)
    return result_


UNARY: dict[str, Callable[[int], int]] = {
    "v_mov_b32": lambda a: a,
    "v_not_b32": lambda a: ~a,
    "v_bfrev_b32": lambda a: int(f"{a:032b}"[::-1], 2),
}
BINARY: dict[str, Callable[[int, int], int]] = {
    "v_add_u32": lambda a, b: a + b,
    "v_sub_u32": lambda a, b: a - b,
    "v_subrev_u32": lambda a, b: b - a,
    "v_and_b32": lambda a, b: a & b,
    "v_or_b32": lambda a, b: a | b,
    "v_xor_b32": lambda a, b: a ^ b,
    "v_xnor_b32": lambda a, b: ~(a ^ b),
    "v_lshlrev_b32": lambda a, b: b << (a & 31),
    "v_lshrrev_b32": lambda a, b: b >> (a & 31),
    "v_ashrrev_i32": lambda a, b: i32(b) >> (a & 31),
    "v_mul_lo_u32": lambda a, b: a * b,
    "v_mul_hi_u32": lambda a, b: a * b >> 32,
    "v_mul_hi_i32": lambda a, b: i32(a) * i32(b) >> 32,
    "v_mul_i32_i24": lambda a, b: i24(a) * i24(b),
    "v_mul_u32_u24": lambda a, b: (a & 0xFFFFFF) * (b & 0xFFFFFF),
    "v_mul_hi_i32_i24": lambda a, b: i24(a) * i24(b) >> 32,
    "v_mul_hi_u32_u24": lambda a, b: (a & 0xFFFFFF) * (b & 0xFFFFFF) >> 32,
    "v_min_i32": lambda a, b: min(i32(a), i32(b)),
    "v_max_i32": lambda a, b: max(i32(a), i32(b)),
    "v_min_u32": min,
    "v_max_u32": max,
    "v_bcnt_u32_b32": lambda a, b: a.bit_count() + b,
    "v_add_u16": lambda a, b: (a + b) & 0xFFFF,
    "v_sub_u16": lambda a, b: (a - b) & 0xFFFF,
    "v_mul_lo_u16": lambda a, b: a * b & 0xFFFF,
    "v_lshlrev_b16": lambda a, b: b << (a & 15) & 0xFFFF,
    "v_lshrrev_b16": lambda a, b: (b & 0xFFFF) >> (a & 15),
    "v_ashrrev_i16": lambda a, b: i16(b) >> (a & 15) & 0xFFFF,
    "v_subrev_u16": lambda a, b: (b - a) & 0xFFFF,
    "v_max_i16": lambda a, b: max(i16(a), i16(b)) & 0xFFFF,
    "v_min_i16": lambda a, b: min(i16(a), i16(b)) & 0xFFFF,
    "v_max_u16": lambda a, b: max(a & 0xFFFF, b & 0xFFFF),
    "v_min_u16": lambda a, b: min(a & 0xFFFF, b & 0xFFFF),
    "v_pack_b32_f16": lambda a, b: a & 0xFFFF | b << 16,
    "v_pk_add_u16": lambda a, b: (a + b) & 0xFFFF | ((a >> 16) + (b >> 16) & 0xFFFF) << 16,
    "v_pk_sub_u16": lambda a, b: (a - b) & 0xFFFF | ((a >> 16) - (b >> 16) & 0xFFFF) << 16,
    "v_pk_lshlrev_b16": lambda a, b: b << (a & 15) & 0xFFFF | ((b >> 16) << (a >> 16 & 15) & 0xFFFF) << 16,
    "v_pk_lshrrev_b16": lambda a, b: (b & 0xFFFF) >> (a & 15) | ((b >> 16) >> (a >> 16 & 15)) << 16,
}
TERNARY: dict[str, Callable[[int, int, int], int]] = {
    "v_add3_u32": lambda a, b, c: a + b + c,
    "v_add_lshl_u32": lambda a, b, c: (a + b & M32) << (c & 31),
    "v_lshl_add_u32": lambda a, b, c: (a << (b & 31)) + c,
    "v_lshl_or_b32": lambda a, b, c: a << (b & 31) | c,
    "v_and_or_b32": lambda a, b, c: a & b | c,
    "v_or3_b32": lambda a, b, c: a | b | c,
    "v_xad_u32": lambda a, b, c: (a ^ b) + c,
    "v_bfe_u32": _field,
    "v_bfe_i32": _signed_field,
    "v_bfi_b32": lambda a, b, c: a & b | ~a & c,
    "v_alignbit_b32": lambda a, b, c: (a << 32 | b) >> (c & 31),
    "v_perm_b32": _bytes,
    "v_max3_i32": lambda a, b, c: max(i32(a), i32(b), i32(c)),
    "v_min3_i32": lambda a, b, c: min(i32(a), i32(b), i32(c)),
    "v_max3_u32": max,
    "v_min3_u32": min,
    "v_med3_u32": lambda *x: sorted(x)[1],
    "v_med3_i32": lambda *x: sorted(map(i32, x))[1],
    "v_mad_i32_i24": lambda a, b, c: i24(a) * i24(b) + c,
    "v_mad_i32_i16": lambda a, b, c: i16(a) * i16(b) + c,
    "v_mad_u32_u16": lambda a, b, c: (a & 0xFFFF) * (b & 0xFFFF) + c,
    "v_mad_u16": lambda a, b, c: (a * b + c) & 0xFFFF,
    "v_mad_u32_u24": lambda a, b, c: (a & 0xFFFFFF) * (b & 0xFFFFFF) + c,
}
EVERY: dict[str, Callable[..., int]] = {**UNARY, **BINARY, **TERNARY}
ARITY = {name: 1 if name in UNARY else 2 if name in BINARY else 3 for name in EVERY}


def _sources(seed: int, count: int) -> list[Any]:
    """Random words; every third is small, as shifts, widths and selectors are."""
    found = []
    for n in range(count):
        full = words(seed + n, COUNT)
        found.append(np.where(np.arange(COUNT) % 3 == n % 3, full & np.uint32(0x0F0F0F0F), full).astype(np.uint32))
    return found


def _rows(sources: list[Any]) -> list[tuple[int, ...]]:
    return [tuple(int(x) for x in row) for row in zip(*np.broadcast_arrays(*sources), strict=True)]


@pytest.mark.parametrize("name", EVERY)
def test_an_integer_instruction_agrees_with_integers(name: str) -> None:
    sources = _sources(hash_of(name), ARITY[name])
    text = f"{name} v0, {', '.join(f'v{n + 1}' for n in range(len(sources)))}"
    state = run(text, lanes_of({n + 1: source for n, source in enumerate(sources)}))
    assert result(state, 0, COUNT).tolist() == [EVERY[name](*row) & M32 for row in _rows(sources)]


def hash_of(name: str) -> int:
    """A seed of a name."""
    return sum(ord(letter) * 31**n for n, letter in enumerate(name)) % (1 << 30)


@pytest.mark.parametrize("name", EVERY)
def test_lanes_that_do_not_execute_keep_their_value(name: str) -> None:
    sources = _sources(hash_of(name) + 9, ARITY[name])
    state = lanes_of({n + 1: source for n, source in enumerate(sources)}, exec_=HALF_EXEC)
    before = state.v.copy()
    run(f"{name} v0, {', '.join(f'v{n + 1}' for n in range(len(sources)))}", state)
    expected = np.array([EVERY[name](*row) & M32 for row in _rows(sources)]).reshape(-1, LANES)
    alive = np.array([HALF_EXEC >> lane & 1 for lane in range(LANES)], np.bool_)
    np.testing.assert_array_equal(state.v[0], np.where(alive, expected, before[0]))
    np.testing.assert_array_equal(state.v[1:], before[1:])


@pytest.mark.parametrize(("name", "place"), [(name, place) for name in EVERY for place in range(ARITY[name])])
def test_the_destination_may_be_a_source(name: str, place: int) -> None:
    sources = _sources(hash_of(name) + 5, ARITY[name])
    text = f"{name} v{place + 1}, {', '.join(f'v{n + 1}' for n in range(len(sources)))}"
    state = run(text, lanes_of({n + 1: source for n, source in enumerate(sources)}))
    assert result(state, place + 1, COUNT).tolist() == [EVERY[name](*row) & M32 for row in _rows(sources)]


CONSTANT = [(name, place) for name in EVERY for place in range(ARITY[name]) if not name.startswith("v_pk_")]


@pytest.mark.parametrize("constant", ["s9", "9", "-7"])
@pytest.mark.parametrize(("name", "place"), CONSTANT)
def test_a_source_may_be_a_constant_or_a_scalar_register(name: str, place: int, constant: str) -> None:
    sources = _sources(hash_of(name) + 3, ARITY[name])
    state = lanes_of({n + 1: source for n, source in enumerate(sources)})
    state.s[9] = [0x00030B05, 0x0D070602, 17]
    held = np.repeat(state.s[9], LANES) if constant == "s9" else np.full(COUNT, int(constant) & M32)
    sources[place] = held
    operands = [constant if n == place else f"v{n + 1}" for n in range(len(sources))]
    run(f"{name} v0, {', '.join(operands)}", state)
    assert result(state, 0, COUNT).tolist() == [EVERY[name](*row) & M32 for row in _rows(sources)]


@pytest.mark.parametrize(("offset", "width"), [(0, 8), (16, 1), (24, 8), (31, 1), (5, 0), (20, 15), (0, 31)])
@pytest.mark.parametrize("name", ["v_bfe_u32", "v_bfe_i32"])
def test_a_field_of_constant_place_agrees_with_integers(name: str, offset: int, width: int) -> None:
    (source,) = _sources(77, 1)
    got = result(run(f"{name} v1, v1, {offset}, {width}", lanes_of({1: source})), 1, COUNT).tolist()
    assert got == [EVERY[name](int(x), offset, width) & M32 for x in source]


SELECTORS = [0x03020100, 0x07060504, 0x05040100, 0x07060302, 0x00010203, 0x0C0C0500, 0x0D070C03, 0x0D0D0D0D, 0x0C0C0C0C,
             0x0B0A0908, 0x01000504, 0x02060307, 0xFF00FF00]  # fmt: skip


@pytest.mark.parametrize("select", SELECTORS)
@pytest.mark.parametrize("form", ["literal", "scalar"])
def test_bytes_are_permuted_by_a_uniform_selector(select: int, form: str) -> None:
    a, b = _sources(81, 2)
    state = lanes_of({1: a, 2: b}, scalars={9: select})
    run(f"v_perm_b32 v0, v1, v2, {'s9' if form == 'scalar' else hex(select)}", state)
    assert result(state, 0, COUNT).tolist() == [_bytes(int(x), int(y), select) for x, y in zip(a, b, strict=True)]


def test_bytes_are_permuted_by_a_selector_of_each_wave() -> None:
    a, b = _sources(82, 2)
    state = lanes_of({1: a, 2: b})
    state.s[9] = SELECTORS[:3]
    run("v_perm_b32 v0, v1, v2, s9", state)
    expected = [_bytes(int(x), int(y), SELECTORS[n // LANES]) for n, (x, y) in enumerate(zip(a, b, strict=True))]
    assert result(state, 0, COUNT).tolist() == expected


@pytest.mark.parametrize("width", [32, 16])
def test_every_function_of_three_bits(width: int) -> None:
    a, b, c = (words(91 + n, LANES) for n in range(3))
    rows = list(zip(a.tolist(), b.tolist(), c.tolist(), strict=True))
    for table in range(256):
        state = run(f"v_bitop3_b{width} v0, v1, v2, v3 bitop3:{hex(table)}", lanes_of({1: a, 2: b, 3: c}))
        expected = [_by_bits(table, *row) & ((1 << width) - 1) for row in rows[:6]]
        assert result(state, 0, 6).tolist() == expected, table


def _by_bits(table: int, a: int, b: int, c: int) -> int:
    return sum((table >> (4 * (a >> n & 1) + 2 * (b >> n & 1) + (c >> n & 1)) & 1) << n for n in range(32))


@pytest.mark.parametrize("place", [0, 1, 2])
def test_the_destination_of_a_bit_function_may_be_a_source(place: int) -> None:
    sources = [words(94 + n, LANES) for n in range(3)]
    for table in (0x6C, 0xCA, 0x96, 0xE8, 0x1E, 0xFE, 0x80, 0x2D):
        state = run(
            f"v_bitop3_b32 v{place + 1}, v1, v2, v3 bitop3:{table}", lanes_of({n + 1: s for n, s in enumerate(sources)})
        )
        expected = [_by_bits(table, *row) for row in zip(*(s.tolist() for s in sources), strict=True)]
        assert result(state, place + 1, LANES).tolist() == expected, table


def test_a_saturating_difference_stops_at_zero() -> None:
    a, b = _sources(95, 2)
    state = run("v_sub_u32_e64 v0, v1, v2 clamp", lanes_of({1: a, 2: b}))
    assert result(state, 0, COUNT).tolist() == [max(int(x) - int(y), 0) for x, y in zip(a, b, strict=True)]


@pytest.mark.parametrize("first", [0, 32])
def test_set_bits_below_each_lane_are_counted(first: int) -> None:
    bits, add = words(96, LANES), words(97, LANES)
    state = run(f"v_mbcnt_{'hi' if first else 'lo'}_u32_b32 v0, v1, v2", lanes_of({1: bits, 2: add}))
    expected = [
        (int(bits[n]) & ((1 << min(max(n - first, 0), 32)) - 1)).bit_count() + int(add[n]) & M32 for n in range(LANES)
    ]
    assert result(state, 0, LANES).tolist() == expected


def _wide(seed: int) -> tuple[Any, Any, list[int]]:
    low, high = _sources(seed, 2)
    return low, high, [int(x) | int(y) << 32 for x, y in zip(low, high, strict=True)]


def _pairs(state: Any, index: int) -> list[int]:
    low, high = (result(state, index + n, COUNT).tolist() for n in range(2))
    return [x | y << 32 for x, y in zip(low, high, strict=True)]


@pytest.mark.parametrize(
    ("text", "function"),
    [("v_lshlrev_b64 v[0:1], v4, v[2:3]", lambda a, n: a << (n & 63)),
     ("v_lshrrev_b64 v[0:1], v4, v[2:3]", lambda a, n: a >> (n & 63)),
     ("v_ashrrev_i64 v[0:1], v4, v[2:3]", lambda a, n: (a - (a >> 63 << 64)) >> (n & 63)),
     ("v_lshl_add_u64 v[0:1], v[2:3], 3, v[2:3]", lambda a, _: (a << 3) + a),
     ("v_lshl_add_u64 v[0:1], v[2:3], 0, -5", lambda a, _: a - 5),
     ("v_mov_b64_e32 v[0:1], v[2:3]", lambda a, _: a)],
)  # fmt: skip
def test_a_64_bit_instruction_agrees_with_integers(text: str, function: Callable[[int, int], int]) -> None:
    low, high, numbers = _wide(111)
    amounts = words(112, COUNT)
    expected = [function(a, n) & M64 for a, n in zip(numbers, amounts.tolist(), strict=True)]
    state = run(text, lanes_of({2: low, 3: high, 4: amounts}))
    assert _pairs(state, 0) == expected
    state = run(text.replace("v[0:1], ", "v[2:3], ", 1), lanes_of({2: low, 3: high, 4: amounts}))
    assert _pairs(state, 2) == expected


def test_a_64_bit_shift_and_sum_takes_a_scalar_pair() -> None:
    low, high, numbers = _wide(113)
    state = lanes_of({2: low, 3: high}, scalars={6: 0x89ABCDEF, 7: 0xFEDCBA98})
    run("v_lshl_add_u64 v[0:1], s[6:7], 2, v[2:3]", state)
    assert _pairs(state, 0) == [(0xFEDCBA9889ABCDEF << 2) + a & M64 for a in numbers]


@pytest.mark.parametrize(("name", "signed"), [("v_mad_u64_u32", False), ("v_mad_i64_i32", True)])
def test_a_wide_multiply_add_gives_65_bits(name: str, signed: bool) -> None:
    low, high, numbers = _wide(114)
    a, b = _sources(116, 2)
    state = run(f"{name} v[0:1], s[4:5], v4, v5, v[2:3]", lanes_of({2: low, 3: high, 4: a, 5: b}))
    totals = [
        i32(int(x)) * i32(int(y)) + z - (z >> 63 << 64) if signed else int(x) * int(y) + z
        for x, y, z in zip(a, b, numbers, strict=True)
    ]
    assert _pairs(state, 0) == [total & M64 for total in totals]
    assert mask(state, 4, COUNT).tolist() == [bool(total >> 64 & 1) for total in totals]


CARRIES: dict[str, Callable[[int, int, int], int]] = {
    "v_add_co_u32": lambda a, b, _: a + b,
    "v_addc_co_u32": lambda a, b, c: a + b + c,
    "v_sub_co_u32": lambda a, b, _: a - b,
    "v_subb_co_u32": lambda a, b, c: a - b - c,
    "v_subrev_co_u32": lambda a, b, _: b - a,
    "v_subbrev_co_u32": lambda a, b, c: b - a - c,
}


@pytest.mark.parametrize("name", CARRIES)
@pytest.mark.parametrize("exec_", [ALL, HALF_EXEC])
def test_sums_and_differences_carry(name: str, exec_: int) -> None:
    a, b = words(121, COUNT), words(122, COUNT)
    state = lanes_of({1: a, 2: b}, exec_=exec_, scalars={8: 0x0FF0A5A5, 9: 0x13579BDF})
    carried = mask(state, 8, COUNT).tolist()
    into = ", s[8:9]" if name in ("v_addc_co_u32", "v_subb_co_u32", "v_subbrev_co_u32") else ""
    before = state.v[0].ravel().copy()
    run(f"{name}_e64 v0, s[4:5], v1, v2{into}", state)
    totals = [CARRIES[name](int(x), int(y), int(c)) for x, y, c in zip(a, b, carried, strict=True)]
    alive = [bool(exec_ >> (n % LANES) & 1) for n in range(COUNT)]
    kept = before.tolist()
    assert result(state, 0, COUNT).tolist() == [
        t & M32 if live else k for t, live, k in zip(totals, alive, kept, strict=True)
    ]
    assert mask(state, 4, COUNT).tolist() == [live and not 0 <= t <= M32 for t, live in zip(totals, alive, strict=True)]


@pytest.mark.parametrize(
    "text",
    ["v_add_u32_e32 v0, -v1, v2", "v_and_b32_e64 v0, v1, v2 clamp", "v_perm_b32 v0, |v1|, v2, v3",
     "v_add_u32_e32 s0, v1, v2", "v_bitop3_b16 v0, v1, v2, v3 bitop3:1 op_sel:[1,0,0,0]",
     "v_cmp_eq_f64_e64 s[4:5], v[0:1], v[2:3]",
     "v_cmp_eq_u64_sdwa s[4:5], v[0:1], v[2:3] src0_sel:DWORD src1_sel:DWORD",
     "v_pk_mul_f16 v0, v1, 2.0", "v_sub_u32_sdwa v0, v1, v2 clamp src0_sel:WORD_1"],
)  # fmt: skip
def test_what_has_no_meaning_here_is_refused(text: str) -> None:
    with pytest.raises(Unsupported):
        step(text)


def test_registers_stay_contiguous_when_waves_part() -> None:
    """Steps write through reshaped registers, which numpy allows without a copy only then."""
    state = blank(4)
    part = state.part(np.array([True, False, True, True]))
    part.v[0], part.v[1] = np.arange(LANES), np.arange(LANES) + 100
    execute(part, ALL)
    run("v_permlane32_swap_b32_e32 v0, v1", part)
    assert part.v[0][2].tolist() == [*range(32), *range(100, 132)]


@pytest.mark.parametrize("name", ["v_mad_i32_i16", "v_mad_u32_u16"])
@pytest.mark.parametrize(("selects", "first", "second"), [("[1,0,0,0]", 16, 0), ("[0,1,0,0]", 0, 16)])
def test_factors_of_sixteen_bits_come_from_chosen_halves(name: str, selects: str, first: int, second: int) -> None:
    sources = _sources(71, 3)
    state = run(f"{name} v0, v1, v2, v3 op_sel:{selects}", lanes_of(dict(enumerate(sources, 1))))
    expected = [TERNARY[name](a >> first, b >> second, c) & M32 for a, b, c in _rows(sources)]
    assert result(state, 0, COUNT).tolist() == expected
