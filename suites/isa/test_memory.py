"""Loads and stores of global memory: every width, extension and way to address, against the bytes themselves."""

from __future__ import annotations

import numpy as np
import pytest

from rocassay.harness.engines.isa.asm import Unsupported
from rocassay.suites.isa.programs import JUNK, launch, noise

LANES, STRIDE = 64, 20
"""Lane n works at byte 20 n, plus what the instruction adds."""

DESCRIPTOR = """
s_mov_b32 s6, 0x7ffffffe
s_mov_b32 s7, 0x27000
"""
"""Behind s[4:5]: as Triton makes it, with a size that says nothing of the tensor's. Overwrites the second pointer."""

WAYS = {
    "saddr": ("global", "v1, s[4:5] offset:{o}"),
    "negative": ("global", "v2, s[4:5] offset:-{o}"),
    "wide": ("global", "v[4:5], off offset:{o}"),
    "flat": ("flat", "v[4:5] offset:{o}"),
    "buffer": ("buffer", "v1, s[4:7], 0 offen offset:{o}"),
    "soffset": ("buffer", "v1, s[4:7], s30 offen"),
}

SET_UP = f"""
s_mov_b64 s[28:29], s[6:7]
s_movk_i32 s30, 0x8
v_mul_u32_u24_e32 v1, {STRIDE}, v0
v_add_u32_e32 v2, 16, v1
v_lshl_add_u64 v[4:5], s[4:5], 0, v[2:3]
v_add_u32_e32 v4, s4, v1
v_mov_b32_e32 v5, s5
v_lshlrev_b32_e32 v3, 4, v0
{DESCRIPTOR}
"""
"""v1 = 20 n, v2 = v1 + 16, v[4:5] = address of byte v1, v3 = 16 n, s[28:29] the output."""

LOADS = {
    "ubyte": (1, False), "sbyte": (1, True), "ushort": (2, False), "sshort": (2, True), "dword": (4, False),
    "dwordx2": (8, False), "dwordx3": (12, False), "dwordx4": (16, False),
}  # fmt: skip


def expected(data: np.ndarray, start: int, size: int, signed: bool) -> list[int]:
    """The four registers of one lane, of which a load leaves some as they were."""
    raw = bytes(data[start : start + size])
    if size < 4:
        return [int.from_bytes(raw, "little", signed=signed) & 0xFFFFFFFF, JUNK, JUNK, JUNK]
    words = [int.from_bytes(raw[n : n + 4], "little") for n in range(0, size, 4)]
    return words + [JUNK] * (4 - len(words))


@pytest.mark.parametrize("way", WAYS)
def test_a_load_gives_the_bytes_of_its_address_extended_as_it_says(way: str):
    unit, form = WAYS[way]
    data = noise(1, STRIDE * LANES + 64)
    for name, (size, signed) in LOADS.items():
        count = max(1, size // 4)
        registers = f"v[8:{7 + count}]" if count > 1 else "v8"
        out = np.zeros((LANES, 4), np.uint32)
        found = launch(
            f"""{SET_UP}
            {unit}_load_{name} {registers}, {form.format(o=8)}
            s_waitcnt vmcnt(0) lgkmcnt(0)
            global_store_dwordx4 v3, v[8:11], s[28:29]""",
            {"data": data, "out": out},
        )
        assert not found.findings
        assert out.tolist() == [expected(data, STRIDE * n + 8, size, signed) for n in range(LANES)], name
        assert found.counts.read["data"] == LANES * size


@pytest.mark.parametrize("way", WAYS)
def test_a_store_writes_its_bytes_and_no_others(way: str):
    unit, form = WAYS[way]
    brought = noise(2, 16 * LANES)
    for name, size in {"byte": 1, "short": 2, "dword": 4, "dwordx2": 8, "dwordx3": 12, "dwordx4": 16}.items():
        count = max(1, size // 4)
        registers = f"v[8:{7 + count}]" if count > 1 else "v8"
        where = form.format(o=8)
        operands = f"{registers}, {where}" if unit == "buffer" else where.replace(", ", f", {registers}, ", 1)
        operands = where.replace(" offset", f", {registers} offset") if unit == "flat" else operands
        data = noise(3, STRIDE * LANES + 64)
        wanted = data.copy()
        for n in range(LANES):
            wanted[STRIDE * n + 8 :][:size] = brought[16 * n :][:size]
        found = launch(
            f"""{SET_UP}
            global_load_dwordx4 v[8:11], v3, s[28:29]
            s_waitcnt vmcnt(0)
            {unit}_store_{name} {operands}""",
            {"data": data, "brought": brought},
        )
        assert not found.findings
        assert np.array_equal(data, wanted), name
        assert found.counts.written == {"data": LANES * size}


@pytest.mark.parametrize("high", [False, True])
@pytest.mark.parametrize(("name", "size", "signed"), [("ubyte", 1, False), ("sbyte", 1, True), ("short", 2, False)])
def test_a_load_of_half_a_register_leaves_the_other_half(name: str, size: int, signed: bool, high: bool):
    data, out = noise(4, STRIDE * LANES), np.zeros(LANES, np.uint32)
    launch(
        f"""{SET_UP}
        v_mov_b32_e32 v8, 0x12345678
        global_load_{name}_d16{"_hi" if high else ""} v8, v1, s[4:5] offset:2
        s_waitcnt vmcnt(0)
        v_lshlrev_b32_e32 v3, 2, v0
        global_store_dword v3, v8, s[28:29]""",
        {"data": data, "out": out},
    )
    for n in range(LANES):
        raw = bytes(data[STRIDE * n + 2 :][:size])
        half = int.from_bytes(raw, "little", signed=signed) & 0xFFFF
        assert out[n] == (half << 16 | 0x5678 if high else 0x12340000 | half)


def test_the_upper_half_of_a_register_can_be_stored():
    data = np.zeros(LANES, np.uint32)
    launch(
        """v_lshlrev_b32_e32 v1, 2, v0
        v_mov_b32_e32 v8, 0xa1b2c3d4
        global_store_short_d16_hi v1, v8, s[4:5]
        global_store_byte_d16_hi v1, v8, s[4:5] offset:3""",
        {"data": data},
    )
    assert set(data.tolist()) == {0xB200A1B2}


def test_lanes_that_do_not_execute_neither_load_nor_store():
    data, out = np.arange(LANES, dtype=np.uint32), np.full(LANES, 7, np.uint32)
    found = launch(
        """v_lshlrev_b32_e32 v1, 2, v0
        v_mov_b32_e32 v8, 0x63
        s_mov_b32 exec_lo, 0xf0
        s_mov_b32 exec_hi, 0
        global_load_dword v8, v1, s[4:5]
        s_waitcnt vmcnt(0)
        global_store_dword v1, v8, s[6:7]
        s_mov_b64 exec, -1
        global_store_dword v1, v8, s[4:5]""",
        {"data": data, "out": out},
    )
    inner = range(4, 8)
    assert out.tolist() == [n if n in inner else 7 for n in range(LANES)]
    assert data.tolist() == [n if n in inner else 0x63 for n in range(LANES)]
    assert found.counts.read["data"] == 16


def test_scalar_loads_fetch_whole_ranges():
    data, out = noise(5, 128).view(np.uint32), np.zeros(16, np.uint32)
    moves = "\n".join(
        f"v_mov_b32_e32 v8, s{16 + n}\nglobal_store_dword v1, v8, s[6:7] offset:{4 * n}" for n in range(16)
    )
    launch(
        f"""s_load_dwordx8 s[16:23], s[4:5], 0x4
        s_load_dwordx4 s[24:27], s[4:5], 0x24
        s_load_dwordx2 s[28:29], s[4:5], 0x34
        s_load_dword s30, s[4:5], 0x3c
        s_load_dword s31, s[4:5], 0x40
        v_mov_b32_e32 v1, 0
        s_mov_b64 exec, 1
        s_waitcnt lgkmcnt(0)
        {moves}""",
        {"data": data, "out": out},
    )
    assert out.tolist() == data[1:17].tolist()


def test_a_strided_descriptor_is_refused():
    with pytest.raises(Unsupported, match="strided"):
        launch(
            f"{DESCRIPTOR}\ns_or_b32 s5, s5, 0x40000\nbuffer_load_dword v1, v0, s[4:7], 0 offen",
            {"data": np.zeros(64, np.uint32)},
        )


def test_several_tensors_are_reached_by_one_instruction():
    """Odd waves read another tensor than even ones."""
    first, second = np.arange(64, dtype=np.uint32), np.arange(64, dtype=np.uint32) + 100
    out = np.zeros(128, np.uint32)
    found = launch(
        """v_and_b32_e32 v1, 63, v0
        v_lshlrev_b32_e32 v1, 2, v1
        v_lshlrev_b32_e32 v9, 2, v0
        v_readfirstlane_b32 s20, v0
        s_cmp_eq_u32 s20, 0
        s_cselect_b32 s12, s4, s6
        s_cselect_b32 s13, s5, s7
        global_load_dword v8, v1, s[12:13]
        s_waitcnt vmcnt(0)
        global_store_dword v9, v8, s[8:9]""",
        {"first": first, "second": second, "out": out},
        waves=2,
    )
    assert out.tolist() == [*first.tolist(), *second.tolist()]
    assert found.counts.read["first"] == found.counts.read["second"] == 256
