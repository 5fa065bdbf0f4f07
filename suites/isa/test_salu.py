"""The scalar unit, results and condition codes, against Python's integers."""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownLambdaType=false

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rocassay.harness.engines.isa.asm import Unsupported
from rocassay.harness.engines.isa.state import State
from rocassay.suites.isa.registers import blank, execute, run, step, words

WAVES = 96
M32, M64 = (1 << 32) - 1, (1 << 64) - 1

Answer = tuple[int, bool | None]
"""A result, and the condition code where the instruction sets it."""


def i32(x: int) -> int:
    """Bits as a signed number."""
    return x - (x >> 31 << 32)


def i64(x: int) -> int:
    """Bits as a signed number."""
    return x - (x >> 63 << 64)


def _set(value: int, width: int = 32) -> Answer:
    return value, value & ((1 << width) - 1) != 0


def _signed(value: int) -> Answer:
    return value, not -(1 << 31) <= value < 1 << 31


def _field(a: int, b: int) -> int:
    return a >> (b & 31) & ((1 << min(b >> 16 & 127, 32)) - 1)


def _signed_field(a: int, b: int) -> int:
    width, taken = min(b >> 16 & 127, 32), _field(i32(a), b)
    return taken - (1 << width) if width and taken >> (width - 1) & 1 else taken


def _first_bit(x: int) -> int:
    return (x & -x).bit_length() - 1


WORDS: dict[str, Callable[..., Answer]] = {
    "s_mov_b32": lambda a: (a, None),
    "s_not_b32": lambda a: _set(~a),
    "s_brev_b32": lambda a: (int(f"{a:032b}"[::-1], 2), None),
    "s_abs_i32": lambda a: _set(abs(i32(a))),
    "s_sext_i32_i8": lambda a: ((a & 255) - ((a >> 7 & 1) << 8), None),
    "s_sext_i32_i16": lambda a: ((a & 0xFFFF) - ((a >> 15 & 1) << 16), None),
    "s_bcnt1_i32_b32": lambda a: _set(a.bit_count()),
    "s_ff1_i32_b32": lambda a: (_first_bit(a), None),
    "s_add_i32": lambda a, b: _signed(i32(a) + i32(b)),
    "s_sub_i32": lambda a, b: _signed(i32(a) - i32(b)),
    "s_add_u32": lambda a, b: (a + b, a + b > M32),
    "s_sub_u32": lambda a, b: (a - b, b > a),
    "s_mul_i32": lambda a, b: (a * b, None),
    "s_mul_hi_u32": lambda a, b: (a * b >> 32, None),
    "s_mul_hi_i32": lambda a, b: (i32(a) * i32(b) >> 32, None),
    "s_and_b32": lambda a, b: _set(a & b),
    "s_or_b32": lambda a, b: _set(a | b),
    "s_xor_b32": lambda a, b: _set(a ^ b),
    "s_andn2_b32": lambda a, b: _set(a & ~b),
    "s_orn2_b32": lambda a, b: _set(a | ~b),
    "s_lshl_b32": lambda a, b: _set(a << (b & 31)),
    "s_lshr_b32": lambda a, b: _set(a >> (b & 31)),
    "s_ashr_i32": lambda a, b: _set(i32(a) >> (b & 31)),
    "s_bfe_u32": lambda a, b: _set(_field(a, b)),
    "s_bfe_i32": lambda a, b: _set(_signed_field(a, b)),
    "s_bfm_b32": lambda a, b: (((1 << (a & 31)) - 1) << (b & 31), None),
    "s_min_i32": lambda a, b: (min(i32(a), i32(b)), i32(a) < i32(b)),
    "s_max_i32": lambda a, b: (max(i32(a), i32(b)), i32(a) >= i32(b)),
    "s_min_u32": lambda a, b: (min(a, b), a < b),
    "s_max_u32": lambda a, b: (max(a, b), a >= b),
    **{f"s_lshl{n}_add_u32": lambda a, b, n=n: ((a << n) + b, (a << n) + b > M32) for n in (1, 2, 3, 4)},
    "s_pack_ll_b32_b16": lambda a, b: (a & 0xFFFF | b << 16, None),
}
PAIRS: dict[str, Callable[..., Answer]] = {
    "s_mov_b64": lambda a: (a, None),
    "s_not_b64": lambda a: _set(~a, 64),
    "s_and_b64": lambda a, b: _set(a & b, 64),
    "s_or_b64": lambda a, b: _set(a | b, 64),
    "s_xor_b64": lambda a, b: _set(a ^ b, 64),
    "s_andn2_b64": lambda a, b: _set(a & ~b, 64),
    "s_orn2_b64": lambda a, b: _set(a | ~b, 64),
    "s_nand_b64": lambda a, b: _set(~(a & b), 64),
    "s_nor_b64": lambda a, b: _set(~(a | b), 64),
    "s_xnor_b64": lambda a, b: _set(~(a ^ b), 64),
}


def _wide_field(a: int, b: int) -> int:
    return a >> (b & 63) & ((1 << min(b >> 16 & 127, 64)) - 1)


def _wide_signed_field(a: int, b: int) -> int:
    width = min(b >> 16 & 127, 64)
    taken = _wide_field(i64(a), b)
    return taken - (1 << width) if width and taken >> (width - 1) & 1 else taken


SHIFTS: dict[str, Callable[[int, int], Answer]] = {
    "s_bfe_u64": lambda a, b: _set(_wide_field(a, b), 64),
    "s_bfe_i64": lambda a, b: _set(_wide_signed_field(a, b), 64),
    "s_lshl_b64": lambda a, b: _set(a << (b & 63), 64),
    "s_lshr_b64": lambda a, b: _set(a >> (b & 63), 64),
    "s_ashr_i64": lambda a, b: _set(i64(a) >> (b & 63), 64),
}


def _state(seed: int, sources: int) -> State:
    """Registers from s20 on hold the sources, pairs two apart; the condition code is mixed."""
    state = blank(WAVES, vectors=1)
    for n in range(sources):
        state.s[20 + n] = words(seed + n, WAVES)
    state.s[20, ::5] = 0
    state.s[21, ::4] = state.s[20, ::4]
    state.s[21, 1::6] &= np.uint32(0x001F001F)
    state.scc = words(seed + 9, WAVES) & 1 == 1
    return state


def _column(state: State, index: int) -> list[int]:
    return [int(x) for x in state.s[index]]


def _pair(state: State, index: int) -> list[int]:
    return [low | high << 32 for low, high in zip(_column(state, index), _column(state, index + 1), strict=True)]


def _judge(state: State, before: Any, got: list[int], answers: list[Answer], width: int) -> None:
    assert got == [value & ((1 << width) - 1) for value, _ in answers]
    flags = [old if flag is None else flag for old, (_, flag) in zip(before.tolist(), answers, strict=True)]
    assert state.scc.tolist() == flags


@pytest.mark.parametrize("target", [10, 20, 21])
@pytest.mark.parametrize("name", WORDS)
def test_an_instruction_on_words_agrees_with_integers(name: str, target: int) -> None:
    arity = WORDS[name].__code__.co_argcount - len(WORDS[name].__defaults__ or ())
    state = _state(sum(map(ord, name)), 2)
    before, sources = state.scc.copy(), [_column(state, 20 + n) for n in range(arity)]
    run(f"{name} s{target}, {', '.join(f's{20 + n}' for n in range(arity))}", state)
    _judge(state, before, _column(state, target), [WORDS[name](*row) for row in zip(*sources, strict=True)], 32)


@pytest.mark.parametrize("name", WORDS)
def test_a_source_may_be_a_constant(name: str) -> None:
    arity = WORDS[name].__code__.co_argcount - len(WORDS[name].__defaults__ or ())
    state = _state(sum(map(ord, name)) + 50, 2)
    before, (first,) = state.scc.copy(), [_column(state, 20)]
    if arity == 2:
        run(f"{name} s10, s20, 0x70009", state)
        _judge(state, before, _column(state, 10), [WORDS[name](a, 0x70009) for a in first], 32)
        before = state.scc.copy()
    run(f"{name} s10, {', '.join(['-6'] * arity)}", state)
    _judge(state, before, _column(state, 10), [WORDS[name](*[M32 - 5] * arity)] * WAVES, 32)


@pytest.mark.parametrize("target", [10, 20, 22])
@pytest.mark.parametrize("name", PAIRS)
def test_an_instruction_on_pairs_agrees_with_integers(name: str, target: int) -> None:
    arity = PAIRS[name].__code__.co_argcount
    state = _state(sum(map(ord, name)), 4)
    state.s[22:24, ::3] = state.s[20:22, ::3]
    before, sources = state.scc.copy(), [_pair(state, 20 + 2 * n) for n in range(arity)]
    run(f"{name} s[{target}:{target + 1}], {', '.join(f's[{20 + 2 * n}:{21 + 2 * n}]' for n in range(arity))}", state)
    _judge(state, before, _pair(state, target), [PAIRS[name](*row) for row in zip(*sources, strict=True)], 64)
    before, sources = state.scc.copy(), [_pair(state, 30)]
    run(f"{name} s[10:11], {', '.join(['-1', 's[30:31]'][:arity])}", state)
    operands = [[M64] * WAVES, sources[0]][:arity]
    _judge(state, before, _pair(state, 10), [PAIRS[name](*row) for row in zip(*operands, strict=True)], 64)


@pytest.mark.parametrize("name", SHIFTS)
def test_pairs_are_shifted(name: str) -> None:
    state = _state(3, 3)
    before, numbers, amounts = state.scc.copy(), _pair(state, 20), _column(state, 22)
    run(f"{name} s[20:21], s[20:21], s22", state)
    _judge(state, before, _pair(state, 20), [SHIFTS[name](a, b) for a, b in zip(numbers, amounts, strict=True)], 64)


@pytest.mark.parametrize(("name", "function"), [("s_bcnt1_i32_b64", int.bit_count), ("s_ff1_i32_b64", _first_bit)])
def test_bits_of_pairs_are_counted_and_found(name: str, function: Callable[[int], int]) -> None:
    state = _state(4, 2)
    state.s[20, 1::3], state.s[21, ::10] = 0, 0
    numbers, before = _pair(state, 20), state.scc.copy()
    run(f"{name} s10, s[20:21]", state)
    counts = [function(x) for x in numbers]
    assert _column(state, 10) == [count & M32 for count in counts]
    assert state.scc.tolist() == ([count != 0 for count in counts] if "bcnt" in name else before.tolist())


@pytest.mark.parametrize("name", ["s_addc_u32", "s_subb_u32"])
def test_sums_and_differences_carry(name: str) -> None:
    state = _state(5, 2)
    state.s[20, 2::7] = M32
    rows = list(zip(_column(state, 20), _column(state, 21), state.scc.tolist(), strict=True))
    run(f"{name} s10, s20, s21", state)
    totals = [a + b + c if name == "s_addc_u32" else a - b - c for a, b, c in rows]
    assert _column(state, 10) == [total & M32 for total in totals]
    assert state.scc.tolist() == [not 0 <= total <= M32 for total in totals]


RELATIONS: dict[str, Callable[[int, int], bool]] = {
    "eq": lambda a, b: a == b, "lg": lambda a, b: a != b, "lt": lambda a, b: a < b, "le": lambda a, b: a <= b,
    "gt": lambda a, b: a > b, "ge": lambda a, b: a >= b,
}  # fmt: skip


KINDS = [*((relation, kind) for relation in RELATIONS for kind in ("i32", "u32")), ("eq", "u64"), ("lg", "u64")]


@pytest.mark.parametrize(("relation", "kind"), KINDS)
def test_numbers_are_compared(relation: str, kind: str) -> None:
    state = _state(6, 4)
    state.s[22:24, ::3] = state.s[20:22, ::3]
    if kind == "u64":
        a, b, text = _pair(state, 20), _pair(state, 22), "s[20:21], s[22:23]"
    else:
        a, b, text = _column(state, 20), _column(state, 21), "s20, s21"
    view = i32 if kind == "i32" else int
    run(f"s_cmp_{relation}_{kind} {text}", state)
    assert state.scc.tolist() == [RELATIONS[relation](view(x), view(y)) for x, y in zip(a, b, strict=True)]


def test_pairs_have_no_order() -> None:
    with pytest.raises(Unsupported):
        step("s_cmp_lt_u64 s[20:21], s[22:23]")


@pytest.mark.parametrize(
    ("kind", "text", "value"), [("i32", "0xfff0", -16), ("u32", "0xfff0", 0xFFF0), ("i32", "7", 7)]
)
@pytest.mark.parametrize("relation", RELATIONS)
def test_numbers_are_compared_with_a_short_constant(relation: str, kind: str, text: str, value: int) -> None:
    state = _state(7, 1)
    state.s[20, ::3], state.s[20, 1::3] = value & M32, (value + 1) & M32
    view = i32 if kind == "i32" else int
    run(f"s_cmpk_{relation}_{kind} s20, {text}", state)
    assert state.scc.tolist() == [RELATIONS[relation](view(x), value) for x in _column(state, 20)]


def test_short_constants_are_extended_by_their_sign() -> None:
    state = _state(8, 1)
    state.s[20, :3] = 0x7FFFFFFF, 0x80000000, 0x80000010
    first, before = _column(state, 20), state.scc.copy()
    run("s_movk_i32 s10, 0x8001", state)
    assert _column(state, 10) == [0xFFFF8001] * WAVES
    run("s_mulk_i32 s20, 0xfffd", state)
    assert _column(state, 20) == [-3 * x & M32 for x in first]
    assert state.scc.tolist() == before.tolist()
    state.s[20] = first
    run("s_addk_i32 s20, 0xffef", state)
    assert _column(state, 20) == [x - 17 & M32 for x in first]
    assert state.scc.tolist() == [i32(x) - 17 < -(1 << 31) for x in first]


def test_one_of_two_is_selected_by_the_condition_code() -> None:
    state = _state(9, 4)
    scc, a, b, c = state.scc.tolist(), _column(state, 20), _column(state, 21), _pair(state, 22)
    run("s_cselect_b32 s10, s20, s21", state)
    assert _column(state, 10) == [x if flag else y for x, y, flag in zip(a, b, scc, strict=True)]
    run("s_cselect_b64 s[10:11], -1, s[22:23]", state)
    assert _pair(state, 10) == [M64 if flag else x for x, flag in zip(c, scc, strict=True)]


@pytest.mark.parametrize("wanted", [0, 1])
def test_a_bit_is_tested(wanted: int) -> None:
    state = _state(10, 2)
    rows = zip(_column(state, 20), _column(state, 21), strict=True)
    run(f"s_bitcmp{wanted}_b32 s20, s21", state)
    assert state.scc.tolist() == [a >> (b & 31) & 1 == wanted for a, b in rows]


SAVES: dict[str, Callable[[int, int], int]] = {
    "s_and_saveexec_b64": lambda new, old: new & old,
    "s_or_saveexec_b64": lambda new, old: new | old,
    "s_andn2_saveexec_b64": lambda new, old: new & ~old,
    "s_xor_saveexec_b64": lambda new, old: new ^ old,
}


@pytest.mark.parametrize("name", SAVES)
def test_the_execution_mask_is_saved_and_changed(name: str) -> None:
    state = _state(11, 2)
    execute(state, 0x00FF_F0F0_1234_0001)
    new, old = _pair(state, 20), 0x00FF_F0F0_1234_0001
    run(f"{name} s[20:21], s[20:21]", state)
    assert _pair(state, 20) == [old] * WAVES
    expected = [SAVES[name](x, old) & M64 for x in new]
    assert _pair(state, 126) == expected
    assert state.scc.tolist() == [x != 0 for x in expected]
    assert [sum(bit << n for n, bit in enumerate(row)) for row in state.mask.tolist()] == expected
    assert not state.full


@pytest.mark.parametrize(
    "text", ["s_mov_b64 exec, s[20:21]", "s_and_b64 exec, exec, s[20:21]", "s_cselect_b64 exec, s[20:21], s[20:21]"]
)
def test_lanes_follow_the_execution_mask(text: str) -> None:
    state = _state(12, 2)
    expected = _pair(state, 20)
    run(text, state)
    assert [sum(bit << n for n, bit in enumerate(row)) for row in state.mask.tolist()] == expected
    run("s_mov_b64 exec, -1", state)
    assert state.full
    run("s_mov_b32 exec_hi, 0", state)
    assert not state.full
    assert state.mask[:, :32].all()
    assert not state.mask[:, 32:].any()


def test_the_saturating_mode_is_set_and_nothing_else() -> None:
    state = run("s_setreg_imm32_b32 hwreg(HW_REG_MODE, 23, 1), 1", blank())
    assert state.saturate
    assert not run("s_setreg_imm32_b32 hwreg(HW_REG_MODE, 23, 1), 0", state).saturate
    with pytest.raises(Unsupported):
        step("s_setreg_imm32_b32 hwreg(HW_REG_MODE, 4, 4), 0")


@pytest.mark.parametrize(("name", "value"), [("s_bitset0_b32", 0), ("s_bitset1_b32", 1)])
def test_one_bit_of_the_destination_is_put_and_the_others_stay(name: str, value: int) -> None:
    state = blank(WAVES)
    before, places = words(3, WAVES), words(4, WAVES)
    state.s[10], state.s[11] = before, places
    run(f"{name} s10, s11", state)
    for wave in range(WAVES):
        bit = 1 << (int(places[wave]) & 31)
        assert int(state.s[10][wave]) == (int(before[wave]) | bit if value else int(before[wave]) & ~bit)
