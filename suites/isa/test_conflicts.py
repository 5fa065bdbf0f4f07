"""Workgroups of one launch that meet in global memory, in the same instruction, chunk or in another; and hand-overs."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rocassay.harness.engines.isa.findings import MachineFinding
from rocassay.harness.engines.isa.launching import Outcome, Settings
from rocassay.harness.engines.isa.memory import Memory
from rocassay.suites.isa.programs import JUNK, kinds, launch

SET_UP = """
v_lshlrev_b32_e32 v1, 2, v0
s_lshl_b32 s20, s2, 8
v_add_u32_e32 v2, s20, v1
s_xor_b32 s21, s20, 0x100
v_add_u32_e32 v3, s21, v1
v_mov_b32_e32 v8, s2
v_mov_b32_e32 v9, 1
"""
"""v1: place that all workgroups share; v2: the workgroup's own; v3: that of the workgroup beside it; v8: its number."""

APART = Settings(junk=(JUNK,), waves_at_once=1)
"""One workgroup after the other."""


@pytest.fixture(params=["together", "apart"])
def settings(request: pytest.FixtureRequest) -> Settings:
    return APART if request.param == "apart" else Settings(junk=(JUNK,))


def run(code: str, settings: Settings, groups: int = 4) -> Outcome:
    data = np.arange(64 * groups, dtype=np.uint32) + 1000
    return launch(SET_UP + code, {"data": data}, groups=groups, settings=settings)


def first(outcome: Outcome) -> MachineFinding:
    return outcome.findings[0]


def test_workgroups_that_store_different_values_to_one_byte_conflict(settings: Settings):
    found = run("global_store_dword v1, v8, s[4:5]", settings)
    assert kinds(found) == ["write_conflict"]
    assert (first(found).subject, first(found).offset) == ("data", 0)
    assert {first(found).group, first(found).other} <= {0, 1, 2, 3}
    assert first(found).group != first(found).other


def test_workgroups_that_store_the_same_value_do_not(settings: Settings):
    assert run("global_store_dword v1, v9, s[4:5]", settings).clean
    assert run("global_store_dword v2, v9, s[4:5]", settings).clean


def test_a_byte_beside_the_others_is_no_conflict(settings: Settings):
    """Workgroup n stores byte n of every dword."""
    code = "v_add_u32_e32 v4, s2, v1\nglobal_store_byte v4, v8, s[4:5]"
    assert run(code, settings).clean
    assert set(kinds(run("global_store_byte v1, v8, s[4:5]\n" + code, settings))) == {"write_conflict"}


def test_only_the_byte_that_differs_counts(settings: Settings):
    code = "v_lshlrev_b32_e32 v8, 16, v8\nglobal_store_dword v1, v8, s[4:5]"
    assert first(run(code, settings)).offset == 2


@pytest.mark.parametrize(("code", "clean"), [
    ("global_store_dword v3, v9, s[4:5]\nglobal_load_dword v10, v2, s[4:5]", False),
    ("global_load_dword v10, v2, s[4:5]\nglobal_store_dword v3, v9, s[4:5]", False),
    ("global_load_dword v10, v2, s[4:5]\nglobal_store_dword v2, v9, s[4:5]\nglobal_load_dword v10, v2, s[4:5]", True),
    ("global_load_dword v10, v1, s[4:5]\nglobal_load_dword v10, v3, s[4:5]", True),
    ("global_load_ushort v10, v2, s[4:5] offset:2\nglobal_store_short v3, v9, s[4:5]", True),
    ("global_load_ushort v10, v2, s[4:5]\nglobal_store_byte v3, v9, s[4:5] offset:1", False),
])  # fmt: skip
def test_what_one_workgroup_stores_another_must_not_load_in_the_same_launch(code: str, clean: bool, settings: Settings):
    found = run(code, settings)
    assert set(kinds(found)) == (set() if clean else {"read_conflict"})
    if not clean:
        assert first(found).group ^ 1 == first(found).other


def test_all_workgroups_that_loaded_are_remembered(settings: Settings):
    """Every workgroup loads the first 64 dwords; the last of them then stores to one."""
    code = """global_load_dword v10, v1, s[4:5]
        s_cmp_eq_u32 s2, {writer}
        s_cbranch_scc0 .LBB0_1
        global_store_dword v1, v9, s[4:5]
        .LBB0_1:
        s_nop 0"""
    for writer in (0, 3):
        assert kinds(run(code.format(writer=writer), settings)) == ["read_conflict"]


def test_a_store_that_changes_nothing_harms_no_reader(settings: Settings):
    assert run(
        "global_load_dword v10, v3, s[4:5]\ns_waitcnt vmcnt(0)\nglobal_store_dword v3, v10, s[4:5]", settings
    ).clean


@pytest.mark.parametrize("wide", [2, 4])
def test_wide_accesses_meet_in_each_of_their_dwords(wide: int, settings: Settings):
    values = "v_mov_b64_e32 v[10:11], 1\nv_mov_b64_e32 v[12:13], 1\n"
    span = f"v_lshlrev_b32_e32 v4, {3 if wide == 2 else 4}, v0\n{values}"
    for dword in range(wide):
        one = f"s_cmp_eq_u32 s2, 0\ns_cbranch_scc0 .LBB0_1\nglobal_store_dwordx{wide} v4, v[10:{9 + wide}], s[4:5]\n"
        other = f"s_endpgm\n.LBB0_1:\nglobal_load_dword v14, v4, s[4:5] offset:{4 * dword}"
        found = run(span + one + other, settings, groups=8)
        assert set(kinds(found)) == {"read_conflict"}
        assert {one.offset for one in found.findings} == {4 * dword}


HAND_OVER = """
global_store_dword v2, v8, s[4:5]
s_mov_b64 s[22:23], exec
s_mov_b64 exec, 1
v_mov_b32_e32 v4, 0
{release}
s_waitcnt vmcnt(0)
global_atomic_add v5, v4, v9, s[6:7] sc0
s_waitcnt vmcnt(0)
{acquire}
v_readfirstlane_b32 s24, v5
s_mov_b64 exec, s[22:23]
s_cmp_eq_u32 s24, 3
s_cbranch_scc0 .LBB0_1
global_load_dword v10, v1, s[4:5]
global_load_dword v11, v1, s[4:5] offset:256
global_load_dword v12, v1, s[4:5] offset:512
s_waitcnt vmcnt(0)
v_add_u32_e32 v10, v10, v11
v_add_u32_e32 v10, v10, v12
global_store_dword v1, v10, s[4:5] offset:1024
.LBB0_1:
s_nop 0
"""
"""As stream-K does: the last workgroup to arrive sums what the others stored."""


@pytest.mark.parametrize(("release", "acquire"), [
    ("buffer_wbl2 sc1", "buffer_inv sc1"), ("s_nop 0", "buffer_inv sc1"), ("buffer_wbl2 sc1", "s_nop 0"),
])  # fmt: skip
def test_a_counter_hands_over_when_it_releases_and_acquires(release: str, acquire: str, settings: Settings):
    data, counter = np.zeros(320, np.uint32), np.zeros(1, np.uint32)
    found = launch(
        SET_UP + HAND_OVER.format(release=release, acquire=acquire),
        {"data": data, "counter": counter},
        groups=4,
        settings=settings,
    )
    assert data[256:].tolist() == [0 + 1 + 2] * 64
    assert counter[0] == 4
    whole = "nop" not in release + acquire
    assert set(kinds(found)) == (set() if whole else {"read_conflict"})


def test_what_is_stored_behind_the_release_is_not_handed_over(settings: Settings):
    late = HAND_OVER.replace("s_cmp_eq_u32 s24, 3", "global_store_dword v2, v8, s[4:5]\ns_cmp_eq_u32 s24, 3", 1)
    found = launch(
        SET_UP
        + late.format(release="buffer_wbl2 sc1", acquire="buffer_inv sc1").replace(
            "v2, v8, s[4:5]\ns_cmp", "v2, v9, s[4:5]\ns_cmp"
        ),
        {"data": np.zeros(320, np.uint32), "counter": np.zeros(1, np.uint32)},
        groups=4,
        settings=settings,
    )
    assert "read_conflict" in kinds(found)


def test_atomics_and_loads_past_the_caches_conflict_with_nobody(settings: Settings):
    code = (
        "global_atomic_add v1, v9, s[4:5]\nglobal_load_dword v10, v1, s[4:5] sc0 sc1\nglobal_atomic_swap v1, v8, s[4:5]"
    )
    assert run(code, settings).clean


def test_two_worlds_do_not_meet():
    assert run("global_store_dword v2, v9, s[4:5]\nglobal_load_dword v10, v2, s[4:5]", Settings()).clean
    assert kinds(run("global_store_dword v1, v8, s[4:5]", Settings())) == ["write_conflict"]


def test_bytes_that_were_stored_are_known():
    """The map is what outputs of two worlds are compared by."""
    memory = Memory()
    memory.place([("x", torch.zeros(64, dtype=torch.int32))])
    assert not memory.written("x").any()
