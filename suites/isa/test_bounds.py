"""Accesses outside tensors, suppressed and misaligned ones: named to the byte, and without effect on anything else."""

from __future__ import annotations

import numpy as np
import pytest

from rocassay.harness.engines.isa.findings import FindingLog, MachineFinding
from rocassay.suites.isa.programs import kinds, launch

DESCRIPTOR = "s_mov_b32 s6, 0x7ffffffe\ns_mov_b32 s7, 0x27000"


@pytest.mark.parametrize("short", [0, 1, 3])
@pytest.mark.parametrize("form", ["global", "buffer"])
def test_a_load_past_the_end_is_named_to_the_byte_and_gives_zero(short: int, form: str):
    data, out = np.arange(1, 64 - short + 1, dtype=np.uint32), np.full(64, 9, np.uint32)
    load = {
        "global": "global_load_dword v8, v1, s[4:5]",
        "buffer": f"{DESCRIPTOR}\nbuffer_load_dword v8, v1, s[4:7], 0 offen",
    }[form]
    found = launch(
        f"v_lshlrev_b32_e32 v1, 2, v0\ns_mov_b64 s[20:21], s[6:7]\n{load}\ns_waitcnt vmcnt(0)\n"
        "global_store_dword v1, v8, s[20:21]",
        {"data": data, "out": out},
    )
    assert out.tolist() == [*data.tolist(), *[0] * short]
    if short:
        (finding,) = found.findings
        assert (finding.kind, finding.subject, finding.offset, finding.lanes, finding.wave) == (
            "out_of_bounds_read", "data", 4 * (64 - short), short, 0,
        )  # fmt: skip
        assert finding.text.strip() == load.splitlines()[-1]
    else:
        assert found.clean


def test_an_access_that_begins_inside_and_ends_outside_is_outside():
    data = np.zeros(66, np.uint32)
    found = launch(
        "v_lshlrev_b32_e32 v1, 2, v0\nv_mov_b64_e32 v[8:9], 1\nv_mov_b64_e32 v[10:11], 1\n"
        "global_store_dwordx4 v1, v[8:11], s[4:5]",
        {"data": data},
    )
    (finding,) = (one for one in found.findings if one.kind == "out_of_bounds_write")
    assert (finding.offset, finding.lanes) == (63 * 4, 1)


def test_a_store_before_the_first_byte_changes_nothing():
    data, other = np.full(64, 5, np.uint32), np.full(4096, 6, np.uint32)
    found = launch(
        "v_lshlrev_b32_e32 v1, 2, v0\nv_mov_b32_e32 v8, 1\nglobal_store_dword v1, v8, s[4:5] offset:-8",
        {"data": data, "other": other},
    )
    (finding,) = found.findings
    assert (finding.kind, finding.subject, finding.offset, finding.lanes) == ("out_of_bounds_write", "data", -8, 2)
    assert data.tolist() == [1] * 62 + [5] * 2
    assert (other == 6).all()


def test_each_tensor_that_is_missed_is_a_finding_of_its_own():
    first, second = np.zeros(32, np.uint32), np.zeros(48, np.uint32)
    found = launch(
        "v_lshlrev_b32_e32 v1, 2, v0\nglobal_load_dword v8, v1, s[4:5]\nglobal_load_dword v9, v1, s[6:7]",
        {"first": first, "second": second},
        waves=1,
    )
    assert [(one.subject, one.offset, one.lanes) for one in found.findings] == [
        ("first", 128, 32),
        ("second", 192, 16),
    ]


def test_a_masked_lane_of_a_buffer_access_is_no_finding_but_any_other_dropped_offset_is():
    data, out = np.arange(64, dtype=np.uint32), np.full(64, 3, np.uint32)
    code = """s_mov_b64 s[20:21], s[6:7]
        v_lshlrev_b32_e32 v1, 2, v0
        v_mov_b32_e32 v2, {offset}
        v_cmp_gt_u32_e32 vcc, 8, v0
        v_cndmask_b32_e32 v3, v1, v2, vcc
        s_mov_b32 s6, 0x7ffffffe
        s_mov_b32 s7, 0x27000
        buffer_load_dword v8, v3, s[4:7], 0 offen
        s_waitcnt vmcnt(0)
        global_store_dword v1, v8, s[20:21]"""
    masked = launch(code.format(offset="0x80000000"), {"data": data, "out": out})
    assert masked.clean
    assert out.tolist() == [0] * 8 + list(range(8, 64))
    assert masked.counts.read["data"] == 56 * 4
    index_minus_one = launch(code.format(offset="0xfffffffc"), {"data": data, "out": out})
    (finding,) = index_minus_one.findings
    assert (finding.kind, finding.subject, finding.offset, finding.lanes) == ("suppressed", "data", 0xFFFFFFFC, 8)
    assert out.tolist() == [0] * 8 + list(range(8, 64))


@pytest.mark.parametrize(
    ("name", "offset", "bad"),
    [
        ("dword", 2, True), ("dword", 4, False), ("dwordx4", 2, True), ("dwordx4", 4, False), ("ushort", 1, True),
        ("ushort", 2, False), ("ubyte", 1, False),
    ],
)  # fmt: skip
def test_dwords_begin_at_multiples_of_four_and_words_of_two(name: str, offset: int, bad: bool):
    data = np.arange(2048, dtype=np.uint8)
    registers = "v[8:11]" if name == "dwordx4" else "v8"
    found = launch(
        f"v_lshlrev_b32_e32 v1, 4, v0\nglobal_load_{name} {registers}, v1, s[4:5] offset:{offset}", {"data": data}
    )
    assert kinds(found) == (["misaligned"] if bad else [])
    if bad:
        assert (found.findings[0].offset, found.findings[0].lanes) == (offset, 64)


def test_a_misaligned_access_still_moves_the_right_bytes():
    data, out = np.arange(256, dtype=np.uint8), np.zeros(64 * 4, np.uint8)
    launch(
        "v_lshlrev_b32_e32 v1, 1, v0\nglobal_load_dword v8, v1, s[4:5] offset:1\nv_lshlrev_b32_e32 v2, 2, v0\n"
        "s_waitcnt vmcnt(0)\nglobal_store_dword v2, v8, s[6:7]",
        {"data": data, "out": out},
    )
    assert out.reshape(64, 4).tolist() == [[2 * n + 1 + k for k in range(4)] for n in range(64)]


def finding(n: int) -> MachineFinding:
    return MachineFinding("misaligned", f"load {n}", "f.py:1", "x", offset=n, wave=n, group=0, lanes=1)


def test_repetitions_are_counted_and_the_first_is_kept():
    log = FindingLog()
    log.add(finding(1))
    log.add(MachineFinding("misaligned", "load 1", "f.py:1", "x", offset=99, wave=3, group=0, lanes=1))
    assert [(one.offset, one.count) for one in log] == [(1, 2)]


def test_a_log_is_bounded_and_says_what_it_left_out():
    log = FindingLog(most=2)
    for n in (1, 2, 3, 3, 1):
        log.add(finding(n))
    assert len(log) == 2
    assert log.beyond == 2
    assert [one.count for one in log] == [2, 1]


@pytest.mark.parametrize(
    ("found", "sentence"),
    [
        (
            MachineFinding("out_of_bounds_read", "load v1", "a.py:3", "kv", 260, 5, 1, 2, detail="4 bytes a lane"),
            "out_of_bounds_read: `load v1` at a.py:3 reads outside every tensor, at byte 260 of kv; 4 bytes a lane "
            "(wave 5, workgroup 1, 2 lanes)",
        ),
        (
            MachineFinding("local_race", "ds_read", "a.py:4", "LDS", 8, 2, 0, 64, 1, "read after write", 3),
            "local_race: `ds_read` at a.py:4 races at byte 8 of LDS, no barrier between: read after write of wave 1 "
            "(wave 2, workgroup 0, 64 lanes) (3 times)",
        ),
        (
            MachineFinding("local_race", "ds_read", "a.py:4", "LDS", 8, 2, 0, 1, 1, "read after unfinished write"),
            "local_race: `ds_read` at a.py:4 races at byte 8 of LDS, the barrier between did not wait: read after "
            "unfinished write of wave 1 (wave 2, workgroup 0, 1 lane)",
        ),
        (
            MachineFinding("write_conflict", "store", "a.py:5", "out", 4, 0, 3, 1, -2),
            "write_conflict: `store` at a.py:5 writes byte 4 of out, where several workgroups wrote another value, in "
            "no order (wave 0, workgroup 3, 1 lane)",
        ),
    ],
)
def test_a_finding_reads_as_one_sentence(found: MachineFinding, sentence: str):
    assert str(found) == sentence
