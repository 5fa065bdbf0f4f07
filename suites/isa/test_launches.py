"""Whole launches: entries, worlds, ends that never come, counts, and what a finding points to."""

# pyright: reportMissingTypeStubs=false, reportUnknownMemberType=false
from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
import torch
import triton
import triton.language as tl

from rocassay import isa
from rocassay.harness.engines.isa.asm import Unsupported
from rocassay.harness.engines.isa.codeobj import ARCHES
from rocassay.harness.engines.isa.launching import JUNK
from rocassay.harness.engines.isa.placement import PIECE
from rocassay.suites.isa.programs import kinds, launch

ENTRIES = ("preload", "compatible")


@triton.jit
def halved(x):
    return x * 0.5


@triton.jit
def scaled(x, out, width, by, BLOCK: tl.constexpr):
    """out = by * x / 2, a row a program."""
    at = tl.arange(0, BLOCK)
    place = tl.program_id(0) * width + at
    tl.store(out + place, halved(tl.load(x + place, mask=at < width)) * by, mask=at < width)


@triton.jit
def flipped(x, out, BLOCK: tl.constexpr):
    """out = x backwards, through local memory."""
    at = tl.arange(0, BLOCK)
    value = tl.load(x + at)
    tl.store(out + at, tl.flip(value))


def rows(count: int = 3, width: int = 100) -> dict[str, torch.Tensor]:
    return {"x": torch.arange(float(count * width)).reshape(count, width), "out": torch.zeros(count, width)}


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("entry", ENTRIES)
def test_both_entries_pass_pointers_and_numbers(arch: str, entry: isa.Entry):
    tensors = rows()
    arguments = {**tensors, "width": 100, "by": 3.0, "BLOCK": 128}
    outcome = isa.run(scaled, arguments, (3,), arch, settings=isa.Settings(entry=entry))
    assert torch.equal(tensors["out"], tensors["x"] * 1.5)
    assert outcome.clean
    assert list(outcome.outputs) == ["out"]
    assert outcome.outputs["out"] is tensors["out"]


def test_arguments_may_come_in_order_and_the_grid_from_a_function():
    tensors = rows()
    outcome = isa.run(
        scaled, [tensors["x"], tensors["out"], 100, 3.0, 128], lambda meta: (meta["x"].shape[0],), "gfx942"
    )
    assert outcome.clean
    assert torch.equal(tensors["out"], tensors["x"] * 1.5)


def test_a_finding_names_the_line_and_the_calls_it_was_inlined_through():
    tensors = rows()
    short = {"x": tensors["x"], "out": torch.zeros(299)}
    outcome = isa.run(scaled, {**short, "width": 100, "by": 1.0, "BLOCK": 128}, (3,), "gfx950")
    (finding,) = outcome.findings
    assert (finding.kind, finding.subject, finding.offset, finding.lanes) == ("out_of_bounds_write", "out", 1196, 1)
    assert finding.group == 2
    assert finding.place.startswith("test_launches.py:")
    inlined = {where for where in outcome.by_line() if " in " in where}
    assert any(where.count("test_launches.py") == 2 for where in inlined)


def test_one_world_or_two_cost_the_same_and_give_the_same():
    found: list[isa.Outcome] = []
    for junk in (JUNK[:1], JUNK):
        tensors = rows()
        arguments = {**tensors, "width": 100, "by": 3.0, "BLOCK": 256}
        found.append(isa.run(scaled, arguments, (3,), "gfx942", settings=isa.Settings(junk=junk)))
        assert torch.equal(tensors["out"], tensors["x"] * 1.5)
    assert found[0].counts == found[1].counts
    assert found[0].counts.read == {"x": 1200}
    assert found[0].counts.written == {"out": 1200}


def test_a_stored_register_that_nobody_set_is_uninitialised():
    out = np.zeros(64, np.uint32)
    text = "v_lshlrev_b32_e32 v1, 2, v0\nglobal_store_dword v1, v9, s[4:5]"
    outcome = launch(text, {"out": out}, settings=isa.Settings())
    assert kinds(outcome) == ["uninitialised"]
    assert outcome.findings[0].subject == "out"
    assert outcome.findings[0].text == "global_store_dword v1, v9, s[4:5]"


def test_junk_that_is_multiplied_away_is_no_finding():
    out = np.zeros(64, np.uint32)
    text = "v_lshlrev_b32_e32 v1, 2, v0\nv_and_b32_e32 v9, 0, v9\nglobal_store_dword v1, v9, s[4:5]"
    assert launch(text, {"out": out}, settings=isa.Settings()).clean


@pytest.mark.parametrize(("undefined", "found"), [((), []), (("x",), ["uninitialised"])])
def test_a_tensor_may_be_declared_undefined(undefined: tuple[str, ...], found: list[str]):
    tensors = rows()
    arguments = {**tensors, "width": 100, "by": 3.0, "BLOCK": 128}
    outcome = isa.run(scaled, arguments, (3,), "gfx942", settings=isa.Settings(undefined=frozenset(undefined)))
    assert kinds(outcome) == found


def test_an_undefined_output_that_is_written_whole_is_no_finding():
    tensors = rows()
    arguments = {**tensors, "width": 100, "by": 3.0, "BLOCK": 128}
    settings = isa.Settings(undefined=frozenset(["out"]))
    assert isa.run(scaled, arguments, (2,), "gfx942", settings=settings).clean
    assert torch.equal(tensors["out"][2], torch.zeros(100))


def test_worlds_share_a_large_tensor_but_for_the_pieces_that_are_stored_to():
    """The second row lies across the border of two pieces; both worlds read, store and read again there."""
    width = PIECE // 4 + 40
    tensors = {"x": torch.arange(float(3 * width)).reshape(3, width)}
    tensors["out"] = tensors["x"]
    arguments = {**tensors, "width": width - 3, "by": 3.0, "BLOCK": 1024}
    before = tensors["x"].clone().flatten()
    outcome = isa.run(scaled, arguments, (3,), "gfx950")
    assert outcome.clean
    expected = before.clone()
    for row in range(3):
        part = slice(row * (width - 3), row * (width - 3) + 1024)
        expected[part] = before[part] * 1.5
    assert torch.equal(tensors["x"].flatten(), expected)


@pytest.mark.parametrize("arch", ARCHES)
def test_a_barrier_that_some_waves_go_past_is_divergent(arch: str):
    text = """
        v_readfirstlane_b32 s20, v0
        s_cmp_lt_u32 s20, 64
        s_cbranch_scc1 .LBB0_1
        s_barrier
        s_branch .LBB0_2
        .LBB0_1:
        s_barrier
        .LBB0_2:
    """
    assert kinds(launch(text, {}, waves=2, arch=arch)) == ["divergent_barrier"]


def test_a_wave_that_ends_before_the_barrier_of_the_others_is_divergent():
    text = """
        v_readfirstlane_b32 s20, v0
        s_cmp_lt_u32 s20, 64
        s_cbranch_scc1 .LBB0_1
        s_barrier
        .LBB0_1:
    """
    outcome = launch(text, {}, waves=2)
    assert kinds(outcome) == ["divergent_barrier"]
    assert "end of the kernel" in str(outcome.findings[0])


def test_a_loop_without_an_end_ends_as_hung():
    with pytest.raises(isa.Hung, match="has not ended"):
        launch(".LBB0_1:\ns_branch .LBB0_1", {}, settings=isa.Settings(patience=1000))


@pytest.mark.parametrize(
    ("line", "named"),
    [
        ("v_fly_b32 v0, v1", "v_fly_b32"),
        ("v_add_u32_e32 v0, v1, v2 sideways", "sideways"),
        ("v_add_u32_e32 v0, v1, q2", "q2"),
        ("buffer_load_dword v0, v1, s[4:7], 0 offen tfe", "tfe"),
    ],
)
def test_what_the_engine_does_not_know_is_named(line: str, named: str):
    with pytest.raises(Unsupported, match=named):
        launch(line, {})


def test_another_chip_is_refused():
    tensors = rows()
    with pytest.raises(Unsupported, match="gfx1250"):
        isa.run(scaled, {**tensors, "width": 100, "by": 3.0, "BLOCK": 128}, (3,), "gfx1250")


def test_more_workgroups_than_run_at_once_are_numbered_through():
    """A finding of the last chunk names the launch's own workgroup and wave."""
    tensors = {"x": torch.zeros(300 * 16), "out": torch.zeros(300 * 16 - 1)}
    settings = isa.Settings(waves_at_once=64)
    arguments = {**tensors, "width": 16, "by": 1.0, "BLOCK": 16}
    outcome = isa.run(scaled, arguments, (300,), "gfx942", settings=settings)
    (finding,) = outcome.findings
    assert finding.group == 299
    assert finding.wave // outcome.code.num_warps == 299


def test_counts_say_where_the_work_is():
    tensors = {"x": torch.arange(1024.0), "out": torch.zeros(1024)}
    counts = isa.run(flipped, {**tensors, "BLOCK": 1024}, (1,), "gfx950").counts
    assert torch.equal(tensors["out"], tensors["x"].flip(0))
    assert counts.total == sum(counts.wave_instructions.values()) == sum(counts.mnemonics.values())
    assert counts.bytes_read == counts.bytes_written == 4096
    assert counts.wave_instructions["vmem"] == sum(
        times for name, times in counts.mnemonics.items() if name.startswith(("buffer_", "global_"))
    )
    assert counts.mfma_operations == 0


def test_a_matrix_product_counts_its_operations():
    text = "v_mfma_f32_16x16x16_bf16 v[8:11], v[4:5], v[6:7], 0\ns_nop 7"
    outcome = launch(text, {}, waves=3, settings=replace(isa.Settings(), junk=(0,)))
    assert outcome.counts.mfma_operations == 3 * 2 * 16**3
    assert outcome.counts.wave_instructions["mfma"] == 3
