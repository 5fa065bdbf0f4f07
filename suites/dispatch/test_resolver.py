"""The resolver over all tables: every row is reachable, and what it refuses is named."""

from __future__ import annotations

from dataclasses import fields, is_dataclass, replace

import pytest

from rocassay.harness.arch import DISPATCH_ARCHES, RocassayError
from rocassay.harness.layouts import LayoutError
from rocassay.kernels.dispatch.decision import DispatchError
from rocassay.kernels.dispatch.dsv4_attention import Dsv4DecodeRequest
from rocassay.kernels.dispatch.indexer import BackendRequest, IndexerRequest
from rocassay.kernels.dispatch.mla_prefill import MergeRequest
from rocassay.kernels.dispatch.resolver import OPS, TABLES, resolve
from rocassay.kernels.indexer.decisions import DISPATCH, Aiter
from rocassay.kernels.indexer.decisions import Decision as PagedLogitsDecision
from rocassay.references.indexer import dispatch as indexer


@pytest.mark.parametrize("arch", indexer.ARCHES)
@pytest.mark.parametrize("state", indexer.AITER_STATES)
def test_paged_logits_resolve_to_the_indexers_own_table(arch: str, state: str) -> None:
    for size in indexer.BLOCK_SIZES:
        for ratio in indexer.RATIOS:
            decision = resolve("fp8_paged_mqa_logits", IndexerRequest(arch, Aiter(state), size, ratio))
            cell = indexer.PAGED_LOGITS[arch, state, size, ratio]
            assert isinstance(decision, PagedLogitsDecision)
            assert (decision.row, decision.path, decision.layout) == (cell.row, cell.path, cell.layout)


def test_each_indexer_decision_names_its_row() -> None:
    request = IndexerRequest("gfx942", Aiter.ON, 64)
    ops = {
        "indexer_block_sizes": ("D4", "declared"),
        "indexer_k_quant_and_cache": ("D5", "SHUFFLE"),
        "cp_gather_indexer_k_quant_cache": ("D7", "SHUFFLE"),
        "fused_norm_rope": ("D8", "SHUFFLE"),
        "indexer_kv_dtype": ("D9", "fp8"),
        "indexer_availability": ("D10", "allowed"),
        "sparse_attn_indexer": ("D11", "enabled"),
    }
    found = {op: resolve(op, request) for op in ops}
    assert {op: (decision.row, decision.path) for op, decision in found.items()} == ops
    compressed = resolve("indexer_k_quant_and_cache", replace(request, ratio=4))
    assert (compressed.row, compressed.path) == ("D6", "NORMAL")
    with pytest.raises(LayoutError, match="24"):
        resolve("fused_norm_rope", replace(request, block_size=24))


@pytest.mark.parametrize(
    ("request_", "row", "name"),
    [
        (BackendRequest(sparse=True), "D1", "ROCM_AITER_MLA_SPARSE"),
        (BackendRequest(sparse=False, aiter_mla=True), "D2", "ROCM_AITER_MLA"),
        (BackendRequest(sparse=False), "D2", "TRITON_MLA"),
        (BackendRequest(sparse=True, deepseek_v4=True), "D3", "ROCM_FLASHMLA_SPARSE_DSV4"),
    ],
)
def test_the_first_backend_is_named_with_its_row(request_: BackendRequest, row: str, name: str) -> None:
    decision = resolve("attention_backend", request_)
    assert (decision.row, decision.path) == (row, name)


def test_a_tiled_cache_meets_a_linear_decode_reader_exactly_where_the_fast_path_is_missing() -> None:
    mixed = {
        (arch, state)
        for arch in indexer.ARCHES
        for state in indexer.AITER_STATES
        if DISPATCH.paged_logits(arch, aiter=Aiter(state), block_size=64, ratio=1).layout
        != DISPATCH.write_layout(64, 1)
    }
    single = {("gfx942", "on"), ("gfx950", "on")}
    assert mixed == {(arch, state) for arch in indexer.ARCHES for state in indexer.AITER_STATES} - single


def test_a_page_of_one_key_is_read_as_it_was_written_everywhere() -> None:
    for arch in indexer.ARCHES:
        for state in indexer.AITER_STATES:
            reader = DISPATCH.paged_logits(arch, aiter=Aiter(state), block_size=1, ratio=1)
            assert reader.layout == DISPATCH.write_layout(1, 1)


def test_an_unknown_op_is_named_beside_the_known_ones() -> None:
    with pytest.raises(DispatchError, match=r"'flash_mla' .*fp8_paged_mqa_logits.*sparse_mla"):
        resolve("flash_mla", object())


def test_a_request_of_another_op_is_refused_by_both_names() -> None:
    with pytest.raises(DispatchError, match=r"'top_k_per_row' .* IndexerRequest; pass TopKRequest"):
        resolve("top_k_per_row", IndexerRequest())


def test_an_unknown_architecture_is_refused_before_any_table_falls_through() -> None:
    with pytest.raises(DispatchError, match=r"'sparse_attn_decode' has no row for 'gfx1030'.*gfx90a.*gfx1201"):
        resolve("sparse_attn_decode", Dsv4DecodeRequest("gfx1030"))


def test_tables_that_know_more_architectures_still_answer() -> None:
    assert resolve("indexer_availability", IndexerRequest("gfx1100", Aiter.OFF)).path == "allowed"
    assert resolve("merge_attn_states", MergeRequest("cpu", "", "float32", 4)).path == "torch"


def test_every_refusal_is_a_project_error_and_a_value_error() -> None:
    assert issubclass(DispatchError, RocassayError)
    assert issubclass(DispatchError, ValueError)


def test_every_table_is_frozen_and_its_entries_are_replaceable_one_by_one() -> None:
    for field in fields(TABLES):
        table = getattr(TABLES, field.name)
        assert is_dataclass(table)
        for entry in fields(table):
            assert replace(table, **{entry.name: getattr(table, entry.name)}) == table  # type: ignore[type-var]
        with pytest.raises(AttributeError):
            setattr(table, fields(table)[0].name, None)


def test_one_replaced_table_changes_the_answer_of_its_op_alone() -> None:
    faulty = replace(TABLES, dsv4_decode=replace(TABLES.dsv4_decode, gfx950_arches=frozenset()))
    changed = {
        arch
        for arch in DISPATCH_ARCHES
        if resolve("sparse_attn_decode", Dsv4DecodeRequest(arch), faulty)
        != resolve("sparse_attn_decode", Dsv4DecodeRequest(arch))
    }
    assert changed == {"gfx950"}
    assert all(entry.request is not object for entry in OPS.values())
