"""Counters of operations under way: what a wait need not wait for because the hardware has no room for more."""

from __future__ import annotations

import numpy as np
import pytest

from rocassay.suites.isa.programs import kinds, launch


@pytest.mark.parametrize(("behind", "found"), [(62, ["missing_wait"]), (63, [])])
def test_the_oldest_load_has_arrived_when_its_counter_is_full(behind: int, found: list[str]):
    """The 64th operation is issued only when the first is done; LLVM leaves its wait out."""
    data, out = np.arange(64, dtype=np.uint32), np.zeros(64, np.uint32)
    others = "\n".join("global_load_dword v9, v1, s[4:5]" for _ in range(behind))
    outcome = launch(
        f"""v_lshlrev_b32_e32 v1, 2, v0
        global_load_dword v8, v1, s[4:5]
        {others}
        v_add_u32_e32 v10, 1, v8
        s_waitcnt vmcnt(0)
        global_store_dword v1, v10, s[6:7]""",
        {"data": data, "out": out},
    )
    assert kinds(outcome) == found
    assert (out.tolist() == (data + 1).tolist()) == (not found)


@pytest.mark.parametrize(("behind", "found"), [(14, ["missing_wait"]), (15, [])])
def test_local_memory_has_a_counter_of_fifteen(behind: int, found: list[str]):
    out = np.zeros(64, np.uint32)
    others = "\n".join("ds_read_b32 v9, v1" for _ in range(behind))
    outcome = launch(
        f"""v_lshlrev_b32_e32 v1, 2, v0
        v_mov_b32_e32 v7, 5
        ds_write_b32 v1, v7
        s_waitcnt lgkmcnt(0)
        ds_read_b32 v8, v1
        {others}
        v_add_u32_e32 v10, 1, v8
        s_waitcnt lgkmcnt(0)
        global_store_dword v1, v10, s[4:5]""",
        {"out": out},
        lds=256,
    )
    assert kinds(outcome) == found
    assert (set(out.tolist()) == {6}) == (not found)
