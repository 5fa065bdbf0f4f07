"""The dispatchers of dense and sparse MLA against the enumerated tables."""

from __future__ import annotations

from dataclasses import replace
from typing import Any, cast

import pytest

from rocassay.kernels.dispatch.decision import DispatchError
from rocassay.kernels.dispatch.mla import METADATA, MLA, MlaDecodeRequest
from rocassay.kernels.dispatch.mla_heads import (
    HEADS,
    KERNEL_HEADS,
    HeadPadding,
    HeadsRequest,
    KernelHeads,
    KernelRequest,
    MlaDtype,
)
from rocassay.kernels.dispatch.mla_prefill import (
    MLA_PREFILL,
    IndexerRope,
    IndexerRopeRequest,
    MergeRequest,
    MlaPrefillRequest,
)
from rocassay.kernels.dispatch.mla_sparse import SPARSE_MLA, SparseMlaDecision, SparseMlaRequest
from rocassay.kernels.dispatch.resolver import resolve
from rocassay.references.dispatch import mla as expected

CASES = sorted({case for _, case in expected.DECODE})


def decode(arch: str, case: expected.DecodeCase) -> MlaDecodeRequest:
    heads, qlen, dtype, mtp, padding = case
    return MlaDecodeRequest(arch, heads, qlen, cast("MlaDtype", dtype), padding=cast("Any", padding), mtp_qlen=mtp)


@pytest.mark.parametrize("case", CASES)
def test_decode_takes_the_enumerated_path(case: expected.DecodeCase) -> None:
    for arch in expected.ARCHES:
        decision = resolve("mla_decode", decode(arch, case))
        path = expected.DECODE[arch, case]
        assert (decision.row, decision.path) == (expected.DECODE_ROW[path], path), arch


@pytest.mark.parametrize("case", CASES)
def test_gluon_keeps_the_heads_that_every_other_path_pads(case: expected.DecodeCase) -> None:
    padded = expected.PADDING[case[0], False, False]
    for arch in expected.ARCHES:
        decision = MLA.decode(decode(arch, case))
        gluon = decision.path.startswith("gluon")
        assert padded is not None
        assert decision.width == (case[0] if gluon else padded[1])
        assert decision.zero_output == (decision.path == "split_kv" and case[1] > 1)


def test_the_decode_table_reaches_every_path() -> None:
    assert set(expected.DECODE.values()) == set(expected.DECODE_ROW)


def test_gluon_decodes_caches_of_up_to_two_gibibytes() -> None:
    limit = MlaDecodeRequest("gfx950", 8, kv_bytes=2**31, mtp_qlen=4)
    assert [MLA.decode(replace(limit, kv_bytes=size)).row for size in (2**31, 2**31 + 1)] == ["M1", "M3"]


def test_neither_a_missing_mask_nor_several_ranks_are_verified_by_gluon() -> None:
    verify = MlaDecodeRequest("gfx950", 8, 4, mtp_qlen=4)
    assert MLA.decode(verify).row == "M2"
    assert MLA.decode(replace(verify, causal=False)).path == "persistent"
    assert MLA.decode(replace(verify, dcp=8)).path == "persistent"


def test_without_a_mask_small_heads_and_long_queries_are_persistent() -> None:
    block = MlaDecodeRequest("gfx950", 8, 5, "fp16", mtp_qlen=8)
    paths = [MLA.decode(replace(block, causal=causal)).path for causal in (True, False)]
    assert paths == ["split_kv", "persistent"]


def test_routes_with_a_row_for_each_query_get_no_metadata() -> None:
    batch = MlaDecodeRequest("gfx950", 96, 2, "fp8", mtp_qlen=4, dcp=8)
    assert (MLA.route(batch).path, MLA.decode(batch).path) == ("SEGMENTED", "split_kv")
    longer = replace(batch, qlen=3)
    assert (MLA.route(longer).path, MLA.decode(longer).path) == ("CPRR", "persistent")
    triton = replace(longer, arch="gfx942")
    assert (MLA.route(triton).path, MLA.decode(triton).path) == ("TRITON", "split_kv")


def test_the_wrapper_takes_all_six_tensors_or_none() -> None:
    assert resolve("mla_decode_metadata", frozenset(METADATA)).path == "persistent"
    assert resolve("mla_decode_metadata", frozenset[str]()).path == "split_kv"


@pytest.mark.parametrize("missing", METADATA[1:])
def test_one_missing_tensor_beside_the_work_metadata_is_refused(missing: str) -> None:
    with pytest.raises(DispatchError, match=f"{missing} is None"):
        resolve("mla_decode_metadata", frozenset(METADATA) - {missing})


def test_five_tensors_without_the_work_metadata_are_silently_ignored() -> None:
    assert resolve("mla_decode_metadata", frozenset(METADATA[1:])).path == "split_kv"


def test_an_unknown_tensor_is_named_beside_the_known_ones() -> None:
    with pytest.raises(DispatchError, match=r"'work_info' is no .*work_info_set"):
        resolve("mla_decode_metadata", frozenset({"work_info"}))


@pytest.mark.parametrize(("heads", "native", "prefill"), expected.PADDING)
def test_heads_are_padded_as_enumerated(heads: int, native: bool, prefill: bool) -> None:
    request = HeadsRequest(heads, native, prefill)
    wanted = expected.PADDING[heads, native, prefill]
    if wanted is None:
        with pytest.raises(DispatchError, match=f"{heads} heads"):
            resolve("mla_head_padding", request)
    else:
        decision = resolve("mla_head_padding", request)
        assert isinstance(decision, HeadPadding)
        assert (decision.row, decision.path, decision.width) == ("M4", *wanted)


@pytest.mark.parametrize("heads", expected.SOURCES)
def test_padded_heads_compute_and_return_the_enumerated_ones(heads: int) -> None:
    padding = HEADS.pad(HeadsRequest(heads))
    sources, outputs = expected.SOURCES[heads]
    assert tuple(padding.source(slot) for slot in range(padding.width)) == sources
    assert tuple(padding.outputs()) == outputs


def test_every_real_head_comes_back_from_a_slot_that_computed_it() -> None:
    for heads in range(1, 129):
        padding = HEADS.pad(HeadsRequest(heads))
        assert [padding.source(slot) for slot in padding.outputs()] == list(range(heads))
        assert max(padding.outputs()) < padding.width


def test_an_unsupported_head_count_is_one_replaced_entry() -> None:
    strict = replace(HEADS, unsupported=frozenset({32}))
    with pytest.raises(DispatchError, match=r"32 heads.*except \[32\]"):
        strict.pad(HeadsRequest(32))


@pytest.mark.parametrize(("arch", "dtype", "qlen", "heads"), expected.NON_CAUSAL)
def test_blocks_without_a_mask_run_only_where_enumerated(arch: str, dtype: str, qlen: int, heads: int) -> None:
    request = MlaDecodeRequest(arch, heads, qlen, cast("MlaDtype", dtype), causal=False)
    if expected.NON_CAUSAL[arch, dtype, qlen, heads]:
        decision = resolve("mla_mask", request)
        assert (decision.row, decision.path) == ("M5", "non_causal")
    else:
        with pytest.raises(ValueError, match=r"gfx950|padded heads"):
            resolve("mla_mask", request)
    assert MLA.mask(replace(request, causal=True)).path == "causal"


@pytest.mark.parametrize(("arch", "ranks", "causal", "qlen", "heads"), expected.DCP_ROUTE)
def test_several_ranks_take_the_enumerated_route(arch: str, ranks: int, causal: bool, qlen: int, heads: int) -> None:
    decision = resolve("mla_dcp_route", MlaDecodeRequest(arch, heads, qlen, "fp8", causal, dcp=ranks))
    assert (decision.row, decision.path) == ("M6", expected.DCP_ROUTE[arch, ranks, causal, qlen, heads])


def test_the_routes_are_all_reached() -> None:
    assert set(expected.DCP_ROUTE.values()) == {"PLAIN", "SEGMENTED", "CPRR", "TRITON"}


@pytest.mark.parametrize("heads", expected.CPRR_WIDTH)
def test_the_round_robin_kernel_runs_at_the_next_width_it_has(heads: int) -> None:
    assert MLA.cprr_width(heads) == expected.CPRR_WIDTH[heads]


def test_two_causal_queries_without_a_segmented_decode_are_refused() -> None:
    with pytest.raises(DispatchError, match="2 causal queries a request over 8 ranks"):
        MLA.route(MlaDecodeRequest("gfx950", 96, 2, dcp=8, segmented=False))


@pytest.mark.parametrize("heads", sorted({heads for *_, heads in expected.KERNEL_HEADS}))
def test_aiter_takes_folds_or_refuses_heads_as_enumerated(heads: int) -> None:
    for (arch, dtype, qlen, count), mark in expected.KERNEL_HEADS.items():
        if count != heads:
            continue
        kind = cast("MlaDtype", dtype)
        request = KernelRequest(arch, heads, kind, kind, qlen)
        if mark == "-":
            with pytest.raises(DispatchError, match=f"{heads} heads .*{arch}"):
                resolve("mla_decode_fwd", request)
            continue
        found = resolve("mla_decode_fwd", request)
        assert isinstance(found, KernelHeads)
        wanted = ("native", heads, 1, False) if mark == "n" else ("fold", 16, heads // 16, qlen > 1)
        assert (found.row, found.path, found.heads, found.groups, found.permute) == ("M7", *wanted), request


def test_bf16_queries_over_an_fp8_cache_match_no_shape_of_either_type() -> None:
    for arch, heads in (("gfx942", 128), ("gfx950", 32), ("gfx950", 128)):
        assert KERNEL_HEADS.decide(KernelRequest(arch, heads, "bf16", "fp8")).path == "fold"


@pytest.mark.parametrize("qlen", expected.FOLDED_ROWS)
def test_folded_rows_lie_where_enumerated(qlen: int) -> None:
    fold = KERNEL_HEADS.decide(KernelRequest("gfx942", 32, qlen=qlen))
    rows = expected.FOLDED_ROWS[qlen]
    assert [fold.pseudo_row(request, token, group, qlen) for request, token, group, _ in rows] == [
        row[3] for row in rows
    ]


@pytest.mark.parametrize(("arch", "dtype", "heads", "qlen", "batch", "splits"), expected.DOWNGRADED)
def test_aiter_ignores_the_metadata_only_where_enumerated(
    arch: str, dtype: str, heads: int, qlen: int, batch: int, splits: int | None
) -> None:
    kind = cast("MlaDtype", dtype)
    found = KERNEL_HEADS.decide(KernelRequest(arch, heads, kind, kind, qlen, batch, splits))
    assert found.persistent != expected.DOWNGRADED[arch, dtype, heads, qlen, batch, splits]


@pytest.mark.parametrize("change", expected.FP8_PREFILL)
def test_fp8_prefill_is_enabled_and_used_as_enumerated(change: str) -> None:
    changes, model, batch = expected.FP8_PREFILL[change]
    request = MlaPrefillRequest(**{"arch": "gfx950", **changes})
    enabled, used = resolve("mla_fp8_prefill", request), resolve("mla_prefill", request)
    assert (enabled.row, enabled.path, used.row, used.path) == ("M8", model, "M9", batch)


def test_fp8_prefill_refuses_a_quantised_output_which_its_parent_takes() -> None:
    with pytest.raises(DispatchError, match="output_scale"):
        MLA_PREFILL.batch(MlaPrefillRequest("gfx950", output_scale=True))
    assert MLA_PREFILL.batch(MlaPrefillRequest("gfx942", output_scale=True)).path == "parent"


@pytest.mark.parametrize(("platform", "arch", "dtype", "dim"), expected.MERGE)
def test_states_merge_by_the_enumerated_kernel(platform: str, arch: str, dtype: str, dim: int) -> None:
    decision = resolve("merge_attn_states", MergeRequest(cast("Any", platform), arch, dtype, dim))
    assert (decision.row, decision.path) == ("M10", expected.MERGE[platform, arch, dtype, dim])


@pytest.mark.parametrize("change", expected.SPARSE)
def test_sparse_mla_takes_the_enumerated_kernel(change: str) -> None:
    changes, wanted = expected.SPARSE[change]
    found = resolve("sparse_mla", SparseMlaRequest(**{"arch": "gfx950", **changes}))
    assert isinstance(found, SparseMlaDecision)
    assert found.row == "M11"
    assert (found.path, found.width, found.stride, found.splits, found.max_split_per_batch) == wanted


def test_the_sparse_table_reaches_every_path() -> None:
    assert {wanted[0] for _, wanted in expected.SPARSE.values()} == {"triton", "lse", "persistent", "split_kv"}


def test_fp8_sinks_of_more_heads_than_any_kernel_are_refused() -> None:
    with pytest.raises(DispatchError, match=r"144 heads; known are \(16, 128\)"):
        SPARSE_MLA.decide(SparseMlaRequest("gfx950", 144, "fp8", sinks=True))


@pytest.mark.parametrize(("platform", "inplace", "functional"), expected.INDEXER_ROPE)
def test_the_indexer_rotates_as_enumerated(platform: str, inplace: bool, functional: bool) -> None:
    found = resolve("indexer_rope", IndexerRopeRequest(cast("Any", platform), inplace, functional))
    assert isinstance(found, IndexerRope)
    assert found.row == "M12"
    assert (found.path, found.rotates) == expected.INDEXER_ROPE[platform, inplace, functional]
