"""Branches through a register, as the compiler writes those that are too far for a short one."""

from __future__ import annotations

import numpy as np
import pytest

from rocassay.harness.engines.isa import asm
from rocassay.harness.engines.isa.asm import Unsupported
from rocassay.suites.isa.programs import kernel_text, kinds, launch

LANES = 64


def far(label: str, number: int = 0) -> str:
    """A jump to `label` as LLVM relaxes it."""
    here = f".Lpost_getpc{number}"
    return f"""s_getpc_b64 s[20:21]
    {here}:
    s_add_u32 s20, s20, ({label}-{here})&4294967295
    s_addc_u32 s21, s21, ({label}-{here})>>32
    s_setpc_b64 s[20:21]
    """


def test_far_jumps_go_forward_and_back_and_carry_as_their_sums_do() -> None:
    """Twice round: forward over an addition that must not happen, back from behind one that must.

    The carry of the upper halves is left in the condition code: none forward, one back.
    """
    out = np.zeros(LANES, np.uint32)
    code = f"""v_lshlrev_b32_e32 v1, 2, v0
    v_mov_b32_e32 v2, 0
    s_mov_b32 s10, 0
    .LBB0_1:
    s_cselect_b32 s11, 0x100, 0
    v_add_u32_e32 v2, s11, v2
    {far(".LBB0_2")}
    v_add_u32_e32 v2, 0x1000, v2
    .LBB0_2:
    s_cselect_b32 s11, 0x10000, 1
    v_add_u32_e32 v2, s11, v2
    s_add_i32 s10, s10, 1
    s_cmp_lt_i32 s10, 3
    s_cbranch_scc0 .LBB0_3
    {far(".LBB0_1", 1)}
    .LBB0_3:
    global_store_dword v1, v2, s[4:5]"""
    outcome = launch("s_cmp_eq_u32 s2, s2\n" + code, {"out": out})
    assert kinds(outcome) == []
    assert out.tolist() == [3 * 0x100 + 3] * LANES


def test_a_jump_to_an_address_of_another_kind_is_refused() -> None:
    for code in (
        "s_setpc_b64 s[4:5]\n",
        far(".LBB0_1").replace("s_getpc_b64 s[20:21]", "s_getpc_b64 s[22:23]"),
        far(".LBB0_1").replace("s_addc_u32 s21, s21", "s_addc_u32 s21, s22"),
    ):
        program = asm.parse(kernel_text(f".LBB0_1:\n{code}", 1, 0), "kernel")
        with pytest.raises(Unsupported):
            launch(f".LBB0_1:\n{code}", {"out": np.zeros(1, np.uint32)})
        assert any(instruction.name == "s_setpc_b64" for instruction in program.instructions)
