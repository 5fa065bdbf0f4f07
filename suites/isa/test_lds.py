"""Local memory: every width and form against the bytes, moves between lanes, asynchronous copies, counts."""

from __future__ import annotations

import numpy as np
import pytest

from rocassay.harness.engines.isa.banks import extra_cycles
from rocassay.suites.isa.programs import JUNK, kinds, launch, noise

LANES = 64

FILL = """
v_lshlrev_b32_e32 v1, 4, v0
global_load_dwordx4 v[8:11], v1, s[4:5]
s_waitcnt vmcnt(0)
ds_write_b128 v1, v[8:11]
s_waitcnt lgkmcnt(0)
s_barrier
v_mov_b32_e32 v8, 0xdeadbeef
v_mov_b32_e32 v9, v8
v_mov_b32_e32 v10, v8
v_mov_b32_e32 v11, v8
"""
"""The tensor at s[4:5] is in local memory; v1 = 16 n."""

READS = {
    "u8": (1, False, 1), "i8": (1, True, 1), "u16": (2, False, 2), "i16": (2, True, 2), "b32": (4, False, 4),
    "b64": (8, False, 8), "b96": (12, False, 16), "b128": (16, False, 16),
}  # fmt: skip
"""Bytes, sign and alignment."""


def dwords(data: np.ndarray, start: int, size: int, signed: bool = False) -> list[int]:
    raw = bytes(data[start : start + size])
    if size < 4:
        return [int.from_bytes(raw, "little", signed=signed) & 0xFFFFFFFF]
    return [int.from_bytes(raw[n : n + 4], "little") for n in range(0, size, 4)]


def registers(first: int, size: int) -> str:
    count = max(1, size // 4)
    return f"v[{first}:{first + count - 1}]" if count > 1 else f"v{first}"


def padded(found: list[int]) -> list[int]:
    return found + [JUNK] * (4 - len(found))


@pytest.mark.parametrize("name", READS)
def test_a_read_gives_the_bytes_of_its_address(name: str):
    size, signed, align = READS[name]
    data, out = noise(11, 16 * LANES), np.zeros((LANES, 4), np.uint32)
    found = launch(
        f"""{FILL}
        v_mul_u32_u24_e32 v2, {align}, v0
        ds_read_{name} {registers(8, size)}, v2 offset:{3 * align}
        s_waitcnt lgkmcnt(0)
        global_store_dwordx4 v1, v[8:11], s[6:7]""",
        {"data": np.concatenate([data, data]), "out": out},
        lds=32 * LANES,
    )
    assert out[:-3].tolist() == [padded(dwords(data, align * (n + 3), size, signed)) for n in range(LANES - 3)]
    assert found.clean
    assert found.counts.lds_read == size * LANES
    assert found.counts.lds_written == 16 * LANES


@pytest.mark.parametrize("high", [False, True])
@pytest.mark.parametrize("name", ["u8", "i8", "u16"])
def test_a_read_of_half_a_register_leaves_the_other_half(name: str, high: bool):
    size, signed, _ = READS[name]
    data, out = noise(12, 16 * LANES), np.zeros((LANES, 4), np.uint32)
    launch(
        f"""{FILL}
        ds_read_{name}_d16{"_hi" if high else ""} v8, v1 offset:2
        s_waitcnt lgkmcnt(0)
        global_store_dwordx4 v1, v[8:11], s[6:7]""",
        {"data": data, "out": out},
        lds=16 * LANES,
    )
    for n in range(LANES):
        half = dwords(data, 16 * n + 2, size, signed)[0] & 0xFFFF
        assert out[n, 0] == (half << 16 | JUNK & 0xFFFF if high else JUNK & 0xFFFF0000 | half)


@pytest.mark.parametrize(
    ("name", "size", "unit"),
    [("read2_b32", 4, 4), ("read2_b64", 8, 8), ("read2st64_b32", 4, 256), ("read2st64_b64", 8, 512)],
)
def test_a_double_read_takes_two_elements(name: str, size: int, unit: int):
    data, out = noise(13, 16 * LANES), np.zeros((LANES, 4), np.uint32)
    launch(
        f"""{FILL}
        v_lshlrev_b32_e32 v2, {2 if size == 4 else 3}, v0
        v_and_b32_e32 v2, 0xf8, v2
        ds_{name} {registers(8, 2 * size)}, v2 offset0:1 offset1:0
        s_waitcnt lgkmcnt(0)
        global_store_dwordx4 v1, v[8:11], s[6:7]""",
        {"data": data, "out": out},
        lds=16 * LANES,
    )
    for n in range(LANES):
        start = (n * size) & 0xF8
        assert out[n].tolist() == padded(dwords(data, start + unit, size) + dwords(data, start, size))


@pytest.mark.parametrize(
    ("instruction", "size", "places"),
    [
        ("ds_write_b8 v2, v8 offset:5", 1, [(5, 0)]),
        ("ds_write_b8_d16_hi v2, v8 offset:5", 1, [(5, 2)]),
        ("ds_write_b16 v2, v8 offset:6", 2, [(6, 0)]),
        ("ds_write_b16_d16_hi v2, v8 offset:6", 2, [(6, 2)]),
        ("ds_write_b32 v2, v8 offset:4", 4, [(4, 0)]),
        ("ds_write_b64 v2, v[8:9] offset:8", 8, [(8, 0)]),
        ("ds_write_b96 v2, v[8:10] offset:16", 12, [(16, 0)]),
        ("ds_write_b128 v2, v[8:11] offset:16", 16, [(16, 0)]),
        ("ds_write2_b32 v2, v8, v10 offset1:3", 4, [(0, 0), (12, 8)]),
        ("ds_write2_b64 v2, v[8:9], v[10:11] offset0:1", 8, [(8, 0), (0, 8)]),
        ("ds_write2st64_b32 v2, v8, v9 offset1:8", 4, [(0, 0), (2048, 4)]),
        ("ds_write2st64_b64 v2, v[8:9], v[10:11] offset1:4", 8, [(0, 0), (2048, 8)]),
    ],
)
def test_a_write_puts_its_bytes_and_no_others(instruction: str, size: int, places: list[tuple[int, int]]):
    data, brought, room = noise(14, 4096), noise(15, 16 * LANES), 4096
    out, wanted = np.zeros(room, np.uint8), data.copy()
    for n in range(LANES):
        for place, source in places:
            wanted[32 * n + place :][:size] = brought[16 * n + source :][:size]
    copies = "\n".join(
        f"ds_read_b128 v[16:19], v1 offset:{at}\ns_waitcnt lgkmcnt(0)\n"
        f"global_store_dwordx4 v1, v[16:19], s[6:7] offset:{at}"
        for at in range(0, room, 1024)
    )
    fills = "\n".join(
        f"global_load_dwordx4 v[16:19], v1, s[4:5] offset:{at}\ns_waitcnt vmcnt(0)\n"
        f"ds_write_b128 v1, v[16:19] offset:{at}"
        for at in range(0, room, 1024)
    )
    found = launch(
        f"""v_lshlrev_b32_e32 v1, 4, v0
        v_lshlrev_b32_e32 v2, 5, v0
        {fills}
        global_load_dwordx4 v[8:11], v1, s[8:9]
        s_waitcnt vmcnt(0)
        {instruction}
        {copies}""",
        {"data": data, "out": out, "brought": brought},
        lds=room,
    )
    assert found.clean
    assert np.array_equal(out, wanted)


def test_accumulation_registers_are_read_into_and_written_from():
    data, out = noise(16, 16 * LANES), np.zeros(4 * LANES, np.uint32)
    launch(
        f"""{FILL}
        ds_read_b128 a[0:3], v1
        s_waitcnt lgkmcnt(0)
        ds_write_b128 v1, a[0:3] offset:1024
        ds_read_b64 v[8:9], v1 offset:1024
        ds_read_b64 v[10:11], v1 offset:1032
        s_waitcnt lgkmcnt(0)
        global_store_dwordx4 v1, v[8:11], s[6:7]""",
        {"data": data, "out": out},
        lds=2048,
    )
    assert out.tolist() == data.view(np.uint32).tolist()


def test_workgroups_have_local_memory_of_their_own_with_junk_in_it():
    out = np.zeros((2, LANES), np.uint32)
    found = launch(
        """v_lshlrev_b32_e32 v1, 2, v0
        s_cmp_eq_u32 s2, 0
        s_cbranch_scc0 .LBB0_1
        v_mov_b32_e32 v8, 7
        ds_write_b32 v1, v8
        .LBB0_1:
        s_lshl_b32 s20, s2, 8
        ds_read_b32 v8, v1
        v_add_u32_e32 v2, s20, v1
        s_waitcnt lgkmcnt(0)
        global_store_dword v2, v8, s[4:5]""",
        {"out": out},
        groups=2,
        lds=256,
    )
    assert found.clean
    assert set(out[0].tolist()) == {7}
    assert set(out[1].tolist()) == {JUNK}


@pytest.mark.parametrize(
    ("instruction", "byte"), [("ds_read_b32 v8, v1 offset:4", 256), ("ds_write_b32 v1, v8 offset:8", 256)]
)
def test_an_access_beyond_local_memory_is_found_and_does_nothing(instruction: str, byte: int):
    """The memory is one dword or two short of what 64 lanes need, and the next workgroup's follows at once."""
    found = launch(f"v_lshlrev_b32_e32 v1, 2, v0\n{instruction}", {}, lds=256, groups=2)
    assert kinds(found) == ["local_out_of_bounds"]
    assert found.findings[0].offset == byte
    assert found.findings[0].count == 1
    assert found.findings[0].lanes == 2 * (1 if "read" in instruction else 2)


def test_a_negative_address_comes_back_into_the_memory_by_its_offset():
    out = np.zeros(64, np.uint32)
    text = """
        v_lshlrev_b32_e32 v1, 2, v0
        v_mov_b32_e32 v2, 7
        ds_write_b32 v1, v2
        s_waitcnt lgkmcnt(0)
        v_subrev_u32_e32 v3, 64, v1
        ds_read_b32 v4, v3 offset:64
        s_waitcnt lgkmcnt(0)
        global_store_dword v1, v4, s[4:5]
    """
    found = launch(text, {"out": out}, lds=256)
    assert found.clean
    assert set(out.tolist()) == {7}


@pytest.mark.parametrize(("instruction", "bad"), [
    ("ds_read_b64 v[8:9], v1 offset:2", True), ("ds_read_b64 v[8:9], v1 offset:4", False),
    ("ds_read_b128 v[8:11], v1 offset:8", False), ("ds_read_b128 v[8:11], v1 offset:1", True),
    ("ds_read2_b32 v[8:9], v1 offset0:1 offset1:2", False),
    ("ds_write_b16 v1, v8 offset:1", True), ("ds_read_u16 v8, v1 offset:2", False),
])  # fmt: skip
def test_an_access_is_aligned_to_its_size_or_to_a_dword(instruction: str, bad: bool):
    found = launch(f"v_lshlrev_b32_e32 v1, 4, v0\n{instruction}", {}, lds=2048)
    assert kinds(found) == (["misaligned"] if bad else [])


ASYNC = {
    "buffer_load_dword v1, s[4:7], 0 offen lds": 4,
    "buffer_load_dwordx4 v3, s[4:7], 0 offen lds": 16,
    "global_load_lds_dwordx4 v[4:5], off": 16,
    "global_load_lds_dword v[6:7], off": 4,
}


@pytest.mark.parametrize("instruction", ASYNC)
def test_a_copy_into_local_memory_arrives_with_the_wait_and_lies_lane_behind_lane(instruction: str):
    size = ASYNC[instruction]
    data, out = noise(18, size * LANES), np.zeros((2, LANES), np.uint32)
    code = f"""s_mov_b64 s[20:21], s[6:7]
        v_lshlrev_b32_e32 v1, 2, v0
        v_lshlrev_b32_e32 v3, 4, v0
        v_mov_b32_e32 v5, s5
        v_add_u32_e32 v4, s4, v3
        v_mov_b32_e32 v7, s5
        v_add_u32_e32 v6, s4, v1
        s_mov_b32 s6, 0x7ffffffe
        s_mov_b32 s7, 0x27000
        s_movk_i32 m0, 0x100
        v_mul_u32_u24_e32 v2, {size}, v0
        {instruction}
        {{wait}}
        ds_read_b32 v8, v2 offset:256
        s_waitcnt vmcnt(0) lgkmcnt(0)
        ds_read_b32 v9, v2 offset:256
        global_store_dword v1, v8, s[20:21]
        s_waitcnt lgkmcnt(0)
        global_store_dword v1, v9, s[20:21] offset:256"""
    tensors = {"data": data, "out": out}
    firsts = data.view(np.uint32)[:: size // 4].tolist()
    waited = launch(code.format(wait="s_waitcnt vmcnt(0)"), tensors, lds=2048, waves=1)
    assert waited.clean
    assert out.tolist() == [firsts, firsts]
    early = launch(code.format(wait="s_nop 0"), tensors, lds=2048, waves=1)
    assert out.tolist() == [[JUNK] * LANES, firsts]
    assert kinds(early) == ["missing_wait"]


def test_dropped_lanes_of_a_copy_leave_zero_and_idle_lanes_nothing():
    data, out = np.arange(1, 65, dtype=np.uint32), np.zeros(LANES, np.uint32)
    launch(
        """s_mov_b64 s[20:21], s[6:7]
        v_lshlrev_b32_e32 v1, 2, v0
        v_mov_b32_e32 v2, 0x80000000
        v_cmp_eq_u32_e32 vcc, 3, v0
        v_cndmask_b32_e32 v3, v1, v2, vcc
        s_mov_b32 s6, 0x7ffffffe
        s_mov_b32 s7, 0x27000
        s_mov_b32 m0, 0
        s_mov_b32 exec_lo, 0xff
        s_mov_b32 exec_hi, 0
        buffer_load_dword v3, s[4:7], 0 offen lds
        s_waitcnt vmcnt(0)
        s_mov_b64 exec, -1
        ds_read_b32 v8, v1
        s_waitcnt lgkmcnt(0)
        global_store_dword v1, v8, s[20:21]""",
        {"data": data, "out": out},
        lds=256,
    )
    assert out.tolist() == [1, 2, 3, 0, 5, 6, 7, 8] + [JUNK] * 56


@pytest.mark.parametrize(("size", "way", "stride", "cycles"), [
    (4, "read", 4, 0), (4, "read", 8, 2), (4, "write", 128, 62), (4, "read", 0, 0), (8, "read", 8, 0),
    (8, "read", 16, 4), (8, "write", 256, 60), (16, "write", 16, 0), (16, "read", 16, 0), (16, "read", 128, 56),
    (16, "write", 80, 0), (2, "read", 2, 0),
])  # fmt: skip
def test_bank_conflicts_follow_the_model(size: int, way: str, stride: int, cycles: int):
    assert extra_cycles((np.arange(64) * stride)[None], size, way) == cycles  # type: ignore[arg-type]


def test_reads_of_sixteen_bytes_are_served_in_the_documented_phases():
    """Places that share no bank within the phases of a read, lanes 0-3 with 20-23 and so on, but do in a write's."""
    phases = [[*range(a, a + 4), *range(b, b + 4)] for a, b in ((0, 20), (4, 16), (8, 28), (12, 24))]
    at = np.zeros((1, 64), np.int64)
    for row, phase in enumerate(phases + [[lane + 32 for lane in phase] for phase in phases]):
        at[0, phase] = 128 * row + 16 * np.arange(8)
    assert extra_cycles(at, 16, "read") == 0
    assert extra_cycles(at, 16, "write") == 8


def test_idle_lanes_cost_no_cycles_and_workgroups_that_do_the_same_cost_the_same():
    at = np.zeros((1, 64), np.int64)
    at[0] = np.arange(64) * 128
    lanes = np.zeros((1, 64), np.bool_)
    lanes[0, :2] = True
    assert extra_cycles(at, 4, "read", lanes) == 1
    code = "v_lshlrev_b32_e32 v1, 7, v0\nds_read_b32 v8, v1\nds_read_b32 v9, v1 offset:4"
    one = launch(code, {}, lds=64 * 128 + 16, groups=1)
    many = launch(code, {}, lds=64 * 128 + 16, groups=40)
    assert one.counts.lds_conflicts == 124
    assert many.counts.lds_conflicts == 40 * 124
