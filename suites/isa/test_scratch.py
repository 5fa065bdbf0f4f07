"""Private memory: every lane its own, at uniform places and at places of the lane's choice."""

from __future__ import annotations

import numpy as np
import pytest

from rocassay.suites.isa.programs import JUNK, kinds, launch, noise


@pytest.mark.parametrize(("name", "size"), [("dword", 4), ("dwordx2", 8), ("dwordx4", 16), ("byte", 1), ("short", 2)])
def test_what_is_spilled_comes_back(name: str, size: int):
    data, out = noise(21, 2 * 64 * 16), np.zeros(2 * 64 * 16, np.uint8)
    registers = f"v[8:{7 + size // 4}]" if size > 4 else "v8"
    load = {"byte": "ubyte", "short": "ushort"}.get(name, name)
    found = launch(
        f"""v_lshlrev_b32_e32 v1, 4, v0
        global_load_dwordx4 v[8:11], v1, s[4:5]
        s_waitcnt vmcnt(0)
        scratch_store_{name} off, {registers}, off offset:12
        v_mov_b32_e32 v8, 0
        v_mov_b32_e32 v9, 0
        v_mov_b32_e32 v10, 0
        v_mov_b32_e32 v11, 0
        scratch_load_{load} {registers}, off, off offset:12
        s_waitcnt vmcnt(0)
        global_store_dwordx4 v1, v[8:11], s[6:7]""",
        {"data": data, "out": out},
        waves=2,
        scratch=32,
    )
    wanted = data.reshape(-1, 16).copy()
    wanted[:, size:] = 0
    assert found.clean
    assert np.array_equal(out.reshape(-1, 16), wanted)
    assert found.counts.scratch == 2 * 2 * 64 * size


def test_lanes_may_choose_places_of_their_own():
    """Lane n writes dword n % 8 of its memory and reads all of it: what nobody wrote is junk."""
    out = np.zeros((64, 8), np.uint32)
    reads = "\n".join(f"scratch_load_dword v{8 + n}, off, s20 offset:{4 * n}" for n in range(8))
    found = launch(
        f"""v_and_b32_e32 v1, 7, v0
        v_lshlrev_b32_e32 v1, 2, v1
        v_add_u32_e32 v2, 0x100, v0
        s_mov_b32 s20, 0
        scratch_store_dword v1, v2, off
        {reads}
        v_lshlrev_b32_e32 v3, 5, v0
        s_waitcnt vmcnt(0)
        global_store_dwordx4 v3, v[8:11], s[4:5]
        global_store_dwordx4 v3, v[12:15], s[4:5] offset:16""",
        {"out": out},
        scratch=32,
    )
    assert found.clean
    assert out.tolist() == [[0x100 + n if place == n % 8 else JUNK for place in range(8)] for n in range(64)]


def test_a_place_beyond_private_memory_is_found():
    found = launch(
        "v_lshlrev_b32_e32 v1, 2, v0\nscratch_store_dword v1, v0, off\nscratch_load_dword v2, off, off offset:-4",
        {},
        scratch=128,
    )
    assert kinds(found) == ["local_out_of_bounds", "local_out_of_bounds"]
    assert [(one.subject, one.offset, one.lanes) for one in found.findings] == [
        ("private memory", 128, 32), ("private memory", -4, 64),
    ]  # fmt: skip
