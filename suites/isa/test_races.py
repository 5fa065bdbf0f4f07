"""Races in local memory: seeded programs of a few lines, each with its barrier and without."""

from __future__ import annotations

import numpy as np
import pytest

from rocassay.harness.engines.isa.findings import MachineFinding
from rocassay.harness.engines.isa.launching import Outcome
from rocassay.suites.isa.programs import kinds, launch

WAIT = "s_waitcnt vmcnt(0) lgkmcnt(0)\ns_barrier"

SET_UP = """
v_lshlrev_b32_e32 v1, 2, v0
v_xor_b32_e32 v2, 0x100, v1
v_mov_b32_e32 v8, 1
v_and_b32_e32 v3, 63, v0
v_lshlrev_b32_e32 v4, 2, v3
"""
"""v1: a dword of the lane's own; v2: the other wave's; v4: one that lane n of every wave shares."""


def run(code: str, waves: int = 2, groups: int = 1) -> Outcome:
    return launch(SET_UP + code, {}, waves=waves, groups=groups, lds=2048)


def races(outcome: Outcome) -> list[str]:
    assert set(kinds(outcome)) <= {"local_race"}
    return sorted({finding.detail for finding in outcome.findings})


def only(outcome: Outcome) -> MachineFinding:
    (finding,) = outcome.findings
    return finding


@pytest.mark.parametrize(("first", "second", "order"), [
    ("ds_write_b32 v1, v0", "ds_read_b32 v9, v2", "read after write"),
    ("ds_read_b32 v9, v1", "ds_write_b32 v2, v0", "write after read"),
    ("ds_write_b32 v1, v0", "ds_write_b32 v2, v1", "write after write"),
    ("ds_write_b32 v1, v0", "ds_add_u32 v2, v0", "atomic after write"),
    ("ds_read_b32 v9, v1", "ds_add_u32 v2, v0", "atomic after read"),
    ("ds_add_u32 v1, v0", "ds_read_b32 v9, v2", "read after write"),
    ("ds_add_u32 v1, v0", "ds_write_b32 v2, v8", "write after write"),
])  # fmt: skip
def test_waves_that_meet_without_a_barrier_race(first: str, second: str, order: str):
    assert run(f"{first}\n{WAIT}\n{second}").clean
    finding = only(run(f"{first}\ns_waitcnt lgkmcnt(0)\n{second}"))
    assert (finding.kind, finding.detail, finding.text.strip()) == ("local_race", order, second)
    assert (finding.wave, finding.other, finding.offset, finding.lanes) == (0, 1, 256, 128)


def test_waves_that_keep_to_their_own_dwords_need_no_barrier():
    assert run(
        "ds_write_b32 v1, v0\nds_read_b32 v9, v1\nds_write_b32 v1, v8\nds_add_u32 v1, v8\nds_read_b32 v9, v1"
    ).clean


def test_readers_do_not_race_with_each_other():
    assert run("ds_read_b32 v9, v1\nds_read_b32 v9, v2\nds_read_b32 v9, v4").clean


def test_atomics_do_not_race_with_each_other():
    assert run("ds_add_u32 v4, v8\nds_max_u32 v4, v0\nds_add_u32 v1, v8\nds_add_u32 v2, v8").clean


def test_waves_that_store_the_same_value_do_not_race_but_those_that_differ_do():
    assert run("ds_write_b32 v4, v8").clean
    assert run("ds_write_b32 v4, v3\nds_write_b32 v4, v3").clean
    finding = only(run("ds_write_b32 v4, v0"))
    assert (finding.detail, finding.wave, finding.other) == ("write after write", 0, 1)


def test_one_differing_lane_is_enough_and_is_named():
    """Lane 5 of the second wave stores another value than lane 5 of the first."""
    finding = only(run("v_cmp_eq_u32_e32 vcc, 0x45, v0\nv_cndmask_b32_e32 v9, 0, v8, vcc\nds_write_b32 v4, v9"))
    assert (finding.offset, finding.lanes) == (20, 1)


def test_readers_of_several_waves_are_remembered():
    """All waves read; the last one to read then writes what the others read."""
    finding = only(run("ds_read_b32 v9, v4\ns_mov_b32 exec_lo, 1\ns_mov_b32 exec_hi, 0\nds_write_b32 v1, v0"))
    assert (finding.detail, finding.other, finding.offset, finding.wave) == ("write after read", -2, 0, 0)


def test_halves_of_a_dword_belong_to_whom_writes_them():
    """Wave 0 writes the lower half of each dword and wave 1 the upper one."""
    halves = "v_lshrrev_b32_e32 v5, 6, v0\nv_lshlrev_b32_e32 v5, 1, v5\nv_add_u32_e32 v5, v4, v5\n"
    assert run(f"{halves}ds_write_b16 v5, v0\nds_read_u16 v9, v5").clean
    assert races(run(f"{halves}ds_write_b16 v5, v0\nds_read_b32 v9, v4")) == ["read after write"]
    single = "v_lshrrev_b32_e32 v5, 6, v0\nv_add_u32_e32 v5, v4, v5\n"
    assert run(f"{single}ds_write_b8 v5, v0\nds_read_u8 v9, v5").clean
    assert races(run(f"{single}ds_write_b8 v5, v0\nds_read_u16 v9, v4")) == ["read after write"]


@pytest.mark.parametrize("size", ["b64", "b128"])
def test_a_race_in_any_dword_of_a_wide_access_is_found(size: str):
    count = 2 if size == "b64" else 4
    values = "v_mov_b64_e32 v[8:9], 1\nv_mov_b64_e32 v[10:11], 1\n"
    wide = f"v_lshlrev_b32_e32 v5, {3 if count == 2 else 4}, v0\n{values}"
    for dword in range(count):
        write = f"ds_write_{size} v5, v[8:{7 + count}]"
        other = f"v_xor_b32_e32 v6, {hex(512 if count == 2 else 1024)}, v5\nds_read_b32 v12, v6 offset:{4 * dword}"
        finding = only(run(f"{wide}{write}\n{other}"))
        assert finding.detail == "read after write"
        assert finding.offset == (512 if count == 2 else 1024) + 4 * dword


def test_workgroups_do_not_race_with_each_other():
    assert run("ds_write_b32 v1, v0\nds_read_b32 v9, v1\nds_write_b32 v1, v3", waves=1, groups=9).clean


def test_a_barrier_orders_thousands_of_times():
    """More epochs than a tag can count."""
    loop = f"s_movk_i32 s20, 0x500\n.LBB0_1:\nds_write_b32 v1, v0\n{WAIT}\nds_read_b32 v9, v2\n{WAIT}\n"
    again = "s_add_i32 s20, s20, -1\ns_cmp_lg_u32 s20, 0\ns_cbranch_scc1 .LBB0_1\n"
    assert run(loop + again).clean
    assert races(run(f"{loop}{again}ds_write_b32 v1, v0\nds_read_b32 v9, v2")) == ["read after write"]


@pytest.mark.parametrize(("first", "second"), [
    ("ds_write_b32 v1, v0", "ds_read_b32 v9, v2"), ("ds_read_b32 v9, v1", "ds_write_b32 v2, v0"),
    ("ds_write2_b32 v1, v0, v0 offset1:128", "ds_read_b32 v9, v2 offset:512"),
])  # fmt: skip
def test_a_barrier_orders_only_what_was_waited_for(first: str, second: str):
    assert run(f"{first}\ns_waitcnt lgkmcnt(0)\ns_barrier\n{second}").clean
    order = "write after unfinished read" if "write" in second else "read after unfinished write"
    assert races(run(f"{first}\ns_barrier\n{second}")) == [order]
    assert len(races(run(f"{first}\nds_read_b32 v10, v1 offset:1024\ns_waitcnt lgkmcnt(1)\ns_barrier\n{second}"))) == 0


def test_what_is_begun_behind_the_barrier_is_not_called_unfinished():
    """The second store of the same wave lies behind the barrier, as the load of the other wave does."""
    finding = only(run("ds_write_b32 v1, v0\ns_barrier\nds_write_b32 v1, v8\nds_read_b32 v9, v2"))
    assert (finding.detail, finding.offset) == ("read after write", 256)
    loads = only(run("ds_read_b32 v9, v1\ns_barrier\nds_read_b32 v9, v1\nds_write_b32 v2, v0"))
    assert (loads.detail, loads.offset) == ("write after read", 256)


@pytest.mark.parametrize(("others", "found"), [(14, ["read after unfinished write"]), (15, [])])
def test_a_full_counter_completes_the_oldest(others: int, found: list[str]):
    """lgkmcnt counts to 15: the sixteenth store waits until the first has landed."""
    stores = "\n".join(["ds_write_b32 v1, v0", *["ds_write_b32 v1, v0 offset:1024"] * others])
    assert races(run(f"{stores}\ns_barrier\nds_read_b32 v9, v2")) == found


COPY = """
s_mov_b32 s6, 0x7ffffffe
s_mov_b32 s7, 0x27000
v_readfirstlane_b32 s20, v0
s_lshl_b32 s21, s20, 2
s_mov_b32 m0, s21
"""


def copying(code: str) -> Outcome:
    return launch(SET_UP + COPY + code, {"data": np.arange(128, dtype=np.uint32)}, waves=2, lds=2048)


def test_an_asynchronous_copy_must_have_arrived_before_the_barrier():
    copy = "buffer_load_dword v1, s[4:7], 0 offen lds"
    assert copying(f"{copy}\ns_waitcnt vmcnt(0)\ns_barrier\nds_read_b32 v9, v2").clean
    late = copying(f"{copy}\ns_barrier\nds_read_b32 v9, v2\ns_waitcnt vmcnt(0)")
    assert "local_race" in kinds(late)
    assert "asynchronous" in late.findings[0].detail
    unordered = copying(f"{copy}\ns_waitcnt vmcnt(0)\nds_read_b32 v9, v2")
    assert races(unordered) == ["read after write"]


def test_an_asynchronous_copy_must_not_begin_while_others_read():
    copy = "buffer_load_dword v1, s[4:7], 0 offen lds\ns_waitcnt vmcnt(0)"
    assert copying(f"ds_read_b32 v9, v2\ns_waitcnt lgkmcnt(0)\ns_barrier\n{copy}").clean
    assert races(copying(f"ds_read_b32 v9, v2\ns_waitcnt lgkmcnt(0)\n{copy}")) == ["write after read"]


def test_a_copy_under_way_may_pass_barriers_that_others_do_not_need():
    """As a pipelined loop has it: the next tile's copy is under way while this one is read."""
    copy = "buffer_load_dword v1, s[4:7], 0 offen lds"
    ahead = "s_add_i32 m0, s21, 0x200\nbuffer_load_dword v1, s[4:7], 0 offen lds"
    code = f"{copy}\n{ahead}\ns_waitcnt vmcnt(1)\ns_barrier\nds_read_b32 v9, v2\n"
    assert copying(f"{code}s_waitcnt vmcnt(0) lgkmcnt(0)\ns_barrier\nds_read_b32 v9, v2 offset:512").clean
    assert "local_race" in kinds(copying(f"{code}s_waitcnt lgkmcnt(0)\ns_barrier\nds_read_b32 v9, v2 offset:512"))
