"""Atomics of global and local memory against Python's numbers, lane after lane, with colliding lanes and results."""

from __future__ import annotations

import operator
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest

from rocassay.harness.engines.isa.asm import Unsupported
from rocassay.suites.isa.programs import launch

LANES, PLACES = 64, 5


def signed(x: int, bits: int) -> int:
    return x - (1 << bits) if x >> (bits - 1) else x


INTEGERS: dict[str, Callable[[int, int], int]] = {
    "add": operator.add, "sub": operator.sub, "and": operator.and_, "or": operator.or_, "xor": operator.xor,
    "swap": lambda *both: both[1], "smin": min, "smax": max, "umin": min, "umax": max,
    "inc": lambda m, d: 0 if m >= d else m + 1, "dec": lambda m, d: d if m == 0 or m > d else m - 1,
}  # fmt: skip


def step_of(name: str, bits: int) -> Callable[[Any, Any], Any]:
    """The update of memory by data, unsigned numbers of `bits` bits."""
    kind, plain = np.dtype(f"u{bits // 8}").type, INTEGERS[name]

    def step(memory: Any, data: Any) -> Any:
        numbers = [signed(int(x), bits) if name in ("smin", "smax") else int(x) for x in (memory, data)]
        return kind(plain(*numbers) % (1 << bits))

    return step


LOCAL = {
    "add": "add_u", "sub": "sub_u", "and": "and_b", "or": "or_b", "xor": "xor_b", "smin": "min_i", "smax": "max_i",
    "umin": "min_u", "umax": "max_u", "inc": "inc_u", "dec": "dec_u",
}  # fmt: skip


def in_turn(
    memory: np.ndarray, data: np.ndarray, places: np.ndarray, step: Callable[[Any, Any], Any]
) -> tuple[Any, Any]:
    """(memory after all lanes, what each lane found), one lane after the other."""
    memory, before = memory.copy(), np.zeros_like(data)
    for lane, place in enumerate(places):
        before[lane] = memory[place]
        memory[place] = step(memory[place], data[lane])
    return memory, before


def problem(kind: Any, seed: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """(memory, data, place of every lane): most lanes share a place with others."""
    draw = np.random.default_rng(seed)
    places = draw.integers(0, PLACES, LANES).astype(np.uint32)
    if np.dtype(kind).kind == "f":
        memory, data = draw.normal(0, 100, PLACES).astype(kind), draw.normal(0, 100, LANES).astype(kind)
    else:
        top = 1 << 8 * np.dtype(kind).itemsize
        memory, data = (draw.integers(0, top, n, dtype=kind) for n in (PLACES, LANES))
        data[::7] &= kind(3)
    return memory, data, places


def run(instruction: str, memory: np.ndarray, data: np.ndarray, places: np.ndarray, *, lds: bool = False) -> np.ndarray:
    """Each lane loads its data (all registers) and place; what is in v[4:7] behind the instruction is returned."""
    width = data.itemsize // 4 * (data.shape[1] if data.ndim > 1 else 1)
    out = np.zeros((LANES, 4), np.uint32)
    size = memory.itemsize
    moves = [f"global_load_dword v{8 + n}, v2, s[6:7] offset:{4 * n}" for n in range(width)]
    fill = "global_load_dwordx4 v[12:15], v3, s[4:5]\ns_waitcnt vmcnt(0)\nds_write_b128 v3, v[12:15]" if lds else ""
    drain = "ds_read_b128 v[12:15], v3\ns_waitcnt lgkmcnt(0)\nglobal_store_dwordx4 v3, v[12:15], s[4:5]" if lds else ""
    held = np.zeros(1024 // size, memory.dtype)
    held[: len(memory)] = memory
    launch(
        f"""v_lshlrev_b32_e32 v1, 2, v0
        v_mul_u32_u24_e32 v2, {4 * width}, v0
        v_lshlrev_b32_e32 v3, 4, v0
        {chr(10).join(moves)}
        global_load_dword v16, v1, s[8:9]
        {fill}
        s_waitcnt vmcnt(0) lgkmcnt(0)
        v_mul_u32_u24_e32 v16, {size}, v16
        v_mov_b32_e32 v19, s5
        v_add_u32_e32 v18, s4, v16
        s_mov_b64 s[24:25], s[4:5]
        s_mov_b32 s26, 0x7ffffffe
        s_mov_b32 s27, 0x27000
        {instruction}
        s_waitcnt vmcnt(0) lgkmcnt(0)
        {drain}
        global_store_dwordx4 v3, v[4:7], s[10:11]""",
        {"memory": held, "data": data, "places": places, "out": out},
        lds=1024,
    )
    memory[:] = held[: len(memory)]
    return out


FORMS = {
    "returns": "global_atomic_{op} {r}, v16, {d}, s[4:5] sc0",
    "wide": "global_atomic_{op} {r}, v[18:19], {d}, off sc0",
    "silent": "global_atomic_{op} v[18:19], {d}, off",
    "flat": "flat_atomic_{op} {r}, v[18:19], {d} sc0",
    "buffer": "buffer_atomic_{op} {d}, v16, s[24:27], 0 offen",
}


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("bits", [32, 64])
def test_integer_atomics_go_lane_after_lane(form: str, bits: int):
    kind = np.uint32 if bits == 32 else np.uint64
    for seed, name in enumerate(INTEGERS):
        memory, data, places = problem(kind, seed)
        wanted, before = in_turn(memory, data, places, step_of(name, bits))
        op = name if bits == 32 else f"{name}_x2"
        r, d = ("v4", "v8") if bits == 32 else ("v[4:5]", "v[8:9]")
        out = run(FORMS[form].format(op=op, r=r, d=d), memory, data, places)
        assert memory.tolist() == wanted.tolist(), name
        if "sc0" in FORMS[form]:
            assert np.ascontiguousarray(out[:, : bits // 32]).view(kind)[:, 0].tolist() == before.tolist(), name


@pytest.mark.parametrize("bits", [32, 64])
def test_compare_and_swap_takes_the_value_first_and_the_comparand_behind_it(bits: int):
    kind = np.uint32 if bits == 32 else np.uint64
    draw = np.random.default_rng(31)
    places = draw.integers(0, PLACES, LANES).astype(np.uint32)
    memory, pairs = draw.integers(0, 3, PLACES).astype(kind), draw.integers(0, 3, (LANES, 2)).astype(kind)
    wanted, found = memory.copy(), []
    for lane, place in enumerate(places):
        found.append(int(wanted[place]))
        if wanted[place] == pairs[lane, 1]:
            wanted[place] = pairs[lane, 0]
    suffix, r, d = ("", "v4", "v[8:9]") if bits == 32 else ("_x2", "v[4:5]", "v[8:11]")
    out = run(f"global_atomic_cmpswap{suffix} {r}, v16, {d}, s[4:5] sc0", memory, pairs, places)
    assert memory.tolist() == wanted.tolist()
    assert np.ascontiguousarray(out[:, : bits // 32]).view(kind)[:, 0].tolist() == found


@pytest.mark.parametrize(("name", "kind", "step"), [
    ("add_f32", np.float32, lambda m, d: m + d), ("add_f64", np.float64, lambda m, d: m + d),
    ("min_f64", np.float64, min), ("max_f64", np.float64, max),
])  # fmt: skip
@pytest.mark.parametrize("returns", [True, False])
def test_float_atomics_round_after_every_lane(name: str, kind: Any, step: Any, returns: bool):
    memory, data, places = problem(kind, 41)
    wanted, before = in_turn(memory, data, places, step)
    width = np.dtype(kind).itemsize // 4
    r, d = ("v4", "v8") if width == 1 else ("v[4:5]", "v[8:9]")
    form = f"global_atomic_{name} {r}, v16, {d}, s[4:5] sc0" if returns else f"global_atomic_{name} v16, {d}, s[4:5]"
    out = run(form, memory, data, places)
    assert memory.tolist() == wanted.tolist()
    if returns:
        assert np.ascontiguousarray(out[:, :width]).view(kind)[:, 0].tolist() == before.tolist()


def bf16(x: np.ndarray) -> np.ndarray:
    """float64 -> bits, to nearest even by comparing with both neighbours."""
    low = (np.float32(x).view(np.uint32) >> 16).astype(np.uint32)
    candidates = np.stack([low - 1, low, low + 1])
    distance = np.abs((candidates << 16).view(np.float32).astype(np.float64) - x)
    best = np.lexsort((candidates & 1, distance), axis=0)[0]
    return np.take_along_axis(candidates, best[None], axis=0)[0].astype(np.uint16)


@pytest.mark.parametrize("local", [False, True])
@pytest.mark.parametrize("name", ["pk_add_f16", "pk_add_bf16"])
def test_packed_atomics_round_each_half(name: str, local: bool):
    draw = np.random.default_rng(51)
    places = draw.integers(0, PLACES, LANES).astype(np.uint32)
    values = draw.normal(0, 50, (PLACES + LANES, 2))
    if name == "pk_add_f16":
        halves = values.astype(np.float16)
        wanted = halves[:PLACES].copy()
        for lane, place in enumerate(places):
            wanted[place] = (wanted[place].astype(np.float64) + halves[PLACES + lane]).astype(np.float16)
        bits, want = halves.view(np.uint16), wanted.view(np.uint16)
    else:
        bits = bf16(values)
        want = bits[:PLACES].copy()

        def number(held: np.ndarray) -> np.ndarray:
            return (held.astype(np.uint32) << 16).view(np.float32).astype(np.float64)

        for lane, place in enumerate(places):
            want[place] = bf16(number(want[place]) + number(bits[PLACES + lane]))
    words = np.ascontiguousarray(bits).view(np.uint32)[:, 0]
    memory, data = words[:PLACES].copy(), words[PLACES:].copy()
    form = f"ds_{name} v16, v8" if local else f"global_atomic_{name} v16, v8, s[4:5]"
    run(form, memory, data, places, lds=local)
    assert memory.view(np.uint16).reshape(-1, 2).tolist() == want.tolist()


@pytest.mark.parametrize("bits", [32, 64])
@pytest.mark.parametrize("returns", [True, False])
def test_atomics_of_local_memory_go_lane_after_lane(bits: int, returns: bool):
    kind = np.uint32 if bits == 32 else np.uint64
    names = {**LOCAL, "swap": "wrxchg_rtn_b"} if returns else LOCAL
    for seed, (name, local) in enumerate(names.items()):
        memory, data, places = problem(kind, 60 + seed)
        wanted, before = in_turn(memory, data, places, step_of(name, bits))
        r, d = ("v4", "v8") if bits == 32 else ("v[4:5]", "v[8:9]")
        stem, sign = local.rsplit("_", 1)
        rtn = "_rtn" if returns and "rtn" not in stem else ""
        out = run(f"ds_{stem}{rtn}_{sign}{bits} {r + ', ' if returns else ''}v16, {d}", memory, data, places, lds=True)
        assert memory.tolist() == wanted.tolist(), name
        if returns:
            assert np.ascontiguousarray(out[:, : bits // 32]).view(kind)[:, 0].tolist() == before.tolist(), name


def test_an_atomic_counts_its_lanes_and_masked_ones_do_nothing():
    counter = np.zeros(1, np.uint32)
    found = launch(
        """v_mov_b32_e32 v1, 0
        v_mov_b32_e32 v2, 1
        s_mov_b32 exec_hi, 0
        global_atomic_add v1, v2, s[4:5]""",
        {"counter": counter},
        waves=2,
        groups=3,
    )
    assert counter[0] == 6 * 32
    assert found.counts.atomics == 6 * 32
    assert found.clean


def test_an_unknown_atomic_is_refused():
    for text in ("global_atomic_fmin v1, v2, s[4:5]", "ds_cmpst_b32 v1, v2, v3", "ds_add_u16 v1, v2"):
        with pytest.raises(Unsupported):
            launch(text, {"x": np.zeros(4, np.uint32)}, lds=64)
