"""The dispatcher of the prefill logits against the enumerated tables."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rocassay.kernels.dispatch.prefill_logits import PREFILL_LOGITS, PrefillLogitsDecision, PrefillLogitsRequest
from rocassay.kernels.dispatch.resolver import TABLES, resolve
from rocassay.kernels.indexer.decisions import Aiter
from rocassay.references.dispatch import prefill as expected


@pytest.mark.parametrize("arch", expected.ARCHES)
@pytest.mark.parametrize("state", expected.AITER_STATES)
def test_prefill_logits_take_the_enumerated_path(arch: str, state: str) -> None:
    decision = PREFILL_LOGITS.decide(PrefillLogitsRequest(arch, Aiter(state)))
    assert decision.row == expected.ROW[arch, state]
    assert (decision.path, decision.outside) == expected.PATH[decision.row]
    assert resolve("fp8_mqa_logits", PrefillLogitsRequest(arch, Aiter(state))) == decision


def test_the_table_covers_every_combination_and_every_row() -> None:
    assert len(expected.ROW) == len(expected.ARCHES) * len(expected.AITER_STATES)
    assert set(expected.ROW.values()) == set(expected.PATH) == {"L1", "L2", "L3"}


@pytest.mark.parametrize(("arch", "triton", "lds"), expected.AITER_KERNEL)
def test_aiters_own_function_takes_the_enumerated_kernel(arch: str, triton: tuple[int, int], lds: int) -> None:
    decision = resolve("aiter_fp8_mqa_logits", PrefillLogitsRequest(arch, Aiter.ON, triton, lds))
    assert isinstance(decision, PrefillLogitsDecision)
    found = (decision.kernel, decision.block_kv, decision.num_stages)
    assert found == expected.AITER_KERNEL[arch, triton, lds]


@pytest.mark.parametrize("arch", [arch for (arch, state), row in expected.ROW.items() if row != "L3" and state == "on"])
def test_no_fast_path_defines_what_lies_outside_the_window(arch: str) -> None:
    assert PREFILL_LOGITS.decide(PrefillLogitsRequest(arch, Aiter.ON)).outside == "undefined"


def test_a_broken_aiter_module_is_noticed_everywhere_but_on_gfx942() -> None:
    rows = {arch: expected.ROW[arch, "incompatible"] for arch in expected.ARCHES}
    assert {arch for arch, row in rows.items() if row != "L3"} == {"gfx942"}


def test_asking_aiter_to_clean_defines_the_outside_on_gfx950_only_where_aiter_runs() -> None:
    faulty = replace(TABLES, prefill_logits=replace(PREFILL_LOGITS, clean_logits=True))
    decisions = {
        arch: resolve("fp8_mqa_logits", PrefillLogitsRequest(arch, Aiter.ON), faulty) for arch in ("gfx942", "gfx950")
    }
    outside = {arch: d.outside for arch, d in decisions.items() if isinstance(d, PrefillLogitsDecision)}
    assert outside == {"gfx942": "undefined", "gfx950": "-inf"}


def test_dropping_gfx942_from_flydsl_sends_it_to_aiters_triton_kernel() -> None:
    faulty = replace(PREFILL_LOGITS, flydsl_arches=frozenset())
    decision = faulty.decide(PrefillLogitsRequest("gfx942", Aiter.ON))
    assert (decision.row, decision.kernel, decision.block_kv) == ("L2", "triton", 128)
