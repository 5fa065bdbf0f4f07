"""The dispatcher of the indexer's top-k against the enumerated table."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rocassay.kernels.dispatch.resolver import resolve
from rocassay.kernels.dispatch.top_k import TOP_K, TopKDecision, TopKRequest
from rocassay.kernels.indexer.decisions import Aiter
from rocassay.references.dispatch import topk as expected

CASES = sorted({case for _, case in expected.TOP_K})


def request(arch: str, case: expected.Case, state: Aiter = Aiter.ON) -> TopKRequest:
    phase, ratio, topk, rows, columns, max_seq_len, op_length, mode = case
    return TopKRequest(
        arch,
        state,
        "prefill" if phase == "prefill" else "decode",
        ratio,
        topk,
        rows,
        columns,
        max_seq_len,
        op_length,
        full_graph=mode in {"full", "capture"},
        capturing=mode == "capture",
    )


def check(decision: TopKDecision, cell: str) -> None:
    wanted = expected.CELLS[cell]
    assert decision.row == cell[:2]
    assert (decision.path, decision.absolute, decision.scored) == (wanted.path, wanted.absolute, wanted.scored)


@pytest.mark.parametrize("case", CASES, ids=str)
def test_top_k_takes_the_enumerated_path(case: expected.Case) -> None:
    for arch in expected.ARCHES:
        decision = resolve("top_k_per_row", request(arch, case))
        assert isinstance(decision, TopKDecision)
        check(decision, expected.TOP_K[arch, case])


def test_without_aiter_gfx950_selects_like_every_other_architecture() -> None:
    for case in CASES:
        check(TOP_K.decide(request("gfx950", case, Aiter.OFF)), expected.TOP_K["gfx942", case])


def test_a_broken_paged_logits_function_does_not_switch_top_k_off() -> None:
    for case in CASES:
        assert TOP_K.decide(request("gfx950", case, Aiter.INCOMPATIBLE)) == TOP_K.decide(request("gfx950", case))


def test_the_table_reaches_every_row() -> None:
    assert set(expected.TOP_K.values()) == set(expected.CELLS)


def test_only_aiters_prefill_counts_from_column_zero() -> None:
    decisions = [TOP_K.decide(request(arch, case)) for arch, case in expected.TOP_K]
    assert {(d.path, d.absolute) for d in decisions} == {
        ("aiter", True),
        ("aiter", False),
        ("native", False),
        ("identity", False),
    }


def test_a_capture_never_takes_the_shortcut_because_the_graph_replays_longer_contexts() -> None:
    short = TopKRequest("gfx950", Aiter.ON, "decode", 4, 1024, 8, 1024, max_seq_len=16)
    assert TOP_K.decide(short).row == "T0"
    assert TOP_K.decide(replace(short, capturing=True)).row == "T3"


def test_the_uncompressed_model_has_no_shortcut() -> None:
    assert TOP_K.decide(TopKRequest("gfx950", Aiter.ON, "decode", 1, 2048, 8, 16, max_seq_len=16)).scored


def test_a_full_graph_decides_by_the_ops_length_alone() -> None:
    eager = TopKRequest("gfx950", Aiter.ON, "decode", 4, 1024, 8, 65537, max_seq_len=4 * 65537, op_length=5000)
    assert TOP_K.decide(eager).row == "T4"
    assert TOP_K.decide(replace(eager, full_graph=True)).row == "T3"


def test_forgetting_to_localise_is_one_replaced_entry() -> None:
    case = ("prefill", 4, 1024, 1000, 40960, 163840, 0, "eager")
    faulty = replace(TOP_K, aiter_prefill_absolute=False)
    assert (TOP_K.decide(request("gfx950", case)).absolute, faulty.decide(request("gfx950", case)).absolute) == (
        True,
        False,
    )
