"""A small part of the mutation suite, and the arguments by which it calls a mutant harmless."""

from __future__ import annotations

import functools

import pytest

from rocassay.harness.engines.isa import asm
from rocassay.harness.engines.isa.waits import Waits
from rocassay.suites.isa.mutants import Subject, relaxed_waits, without_barriers
from rocassay.suites.isa.mutations import Tally, fate, subjects, tensor_fates
from rocassay.suites.isa.programs import kernel_text


@functools.cache
def subject(arch: str) -> Subject:
    """A kernel with matrix instructions, local memory, barriers and a pipelined loop."""
    return next(one for one in subjects(("fp8_mqa_logits",), (arch,), 1, 100_000))


ARCHES = pytest.mark.parametrize("arch", ["gfx942", "gfx950"])


@ARCHES
def test_a_missing_barrier_is_reported_where_waves_meet(arch: str):
    """Two programs for one question: tags by epoch in the engine, lists of all accesses in the suite."""
    mutants = list(without_barriers(subject(arch).code.program))
    meeting = [mutant.number for mutant in mutants if subject(arch).meets(mutant)]
    assert subject(arch).clean.clean
    assert len(meeting) > 5
    assert [mutant.number for mutant in mutants if subject(arch).run(mutant).findings] == meeting


@ARCHES
def test_relaxed_waits_are_reported(arch: str):
    """Every twelfth of them."""
    mutants = list(relaxed_waits(subject(arch).code.program))[::12]
    fates = [fate(subject(arch), mutant, frozenset()) for mutant in mutants]
    assert fates.count("killed") >= 0.95 * (fates.count("killed") + fates.count("survived")) > 0


def test_every_shortened_tensor_is_reported():
    tally = Tally()
    tensor_fates(subject("gfx942"), tally)
    assert tally.survivors == []
    assert tally.fates["killed"] > 8


def uses(code: str) -> set[tuple[str, str]]:
    program = asm.parse(kernel_text(code, 1, 0), "kernel")
    found = Waits(program).uses()
    texts = [instruction.text.strip() for instruction in program.instructions]
    return {(texts[use.user], texts[use.operation]) for use in found}


LOAD, NEXT = "global_load_dword v1, v0, s[4:5]", "global_load_dword v2, v0, s[4:5]"


def test_the_flow_of_waits_knows_what_is_under_way():
    use = "v_add_u32_e32 v3, v1, v1"
    assert uses(f"{LOAD}\ns_waitcnt vmcnt(0)\n{use}") == set()
    assert uses(f"{LOAD}\n{use}") == {(use, LOAD)}
    assert uses(f"{LOAD}\n{NEXT}\ns_waitcnt vmcnt(1)\n{use}") == set()
    assert uses(f"{LOAD}\n{NEXT}\ns_waitcnt vmcnt(2)\n{use}") == {(use, LOAD)}
    assert uses(f"{LOAD}\ns_waitcnt lgkmcnt(0)\n{use}") == {(use, LOAD)}
    assert uses(f"{LOAD}\n{LOAD.replace('v0', 'v9')}\ns_waitcnt vmcnt(0)\n{use}") == set()


def test_the_flow_of_waits_follows_every_path():
    use = "v_add_u32_e32 v3, v1, v1"
    skipping = f"{LOAD}\ns_cbranch_scc0 .LBB0_1\ns_waitcnt vmcnt(0)\n.LBB0_1:\n{use}"
    assert uses(skipping) == {(use, LOAD)}
    around = f".LBB0_1:\n{use}\n{LOAD}\ns_cbranch_scc0 .LBB0_1"
    assert uses(around) == {(use, LOAD)}
    assert uses(around.replace(use, f"s_waitcnt vmcnt(0)\n{use}", 1)) == set()


def test_the_flow_of_waits_knows_local_memory_and_scalar_loads():
    write = "ds_write_b32 v1, v2"
    assert uses(f"{write}\ns_barrier") == {("s_barrier", write)}
    assert uses(f"{write}\ns_waitcnt lgkmcnt(0)\ns_barrier") == set()
    scalar, use = "s_load_dword s20, s[4:5], 0x0", "s_add_u32 s21, s20, s20"
    assert uses(f"{scalar}\n{write}\ns_waitcnt lgkmcnt(1)\n{use}") == {(use, scalar)}
    copy, read = "global_load_lds_dword v[2:3], off", "ds_read_b32 v4, v1"
    assert (read, copy) in uses(f"{copy}\n{read}")
