"""The dispatchers of DeepSeek V4's attention against the enumerated tables."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest

from rocassay.kernels.dispatch.decision import DispatchError
from rocassay.kernels.dispatch.dsv4_attention import (
    DSV4_DECODE,
    Dsv4DecodeDecision,
    Dsv4DecodeRequest,
    Flavours,
    InverseRope,
)
from rocassay.kernels.dispatch.dsv4_caches import DSV4_CACHES, Dsv4CacheRequest
from rocassay.kernels.dispatch.dsv4_prefill import (
    DSV4_PREFILL,
    Dsv4PrefillDecision,
    Dsv4PrefillRequest,
    TensorFacts,
)
from rocassay.kernels.dispatch.resolver import resolve
from rocassay.kernels.indexer.decisions import Aiter
from rocassay.references.dispatch import dsv4 as expected


def prefill(**changes: Any) -> Dsv4PrefillRequest:
    """A prefill that OPUS takes, less the changes."""
    dtype, device, queries = changes.get("dtype", "bf16"), changes.get("device", "cuda:0"), changes.get("queries", 1024)
    dim = changes.get("dim", 512)
    q = TensorFacts.dense(queries, 16, dim, dtype=dtype, device=device)
    kv_device = changes.get("kv_device", device)
    kv = TensorFacts.dense(4096, 1, changes.get("kv_dim", dim), dtype=changes.get("kv_dtype", dtype), device=kv_device)
    kv = replace(kv, strides=changes.get("kv_strides", kv.strides))
    shape = changes.get("output_shape", q.shape)
    output = TensorFacts(shape, changes.get("output_strides", q.strides), changes.get("output_dtype", dtype), device)
    sink = TensorFacts.dense(
        *changes.get("sink_shape", (16,)),
        dtype=changes.get("sink_dtype", "fp32"),
        device=changes.get("sink_device", device),
    )
    return Dsv4PrefillRequest(
        changes.get("arch", "gfx950"),
        q,
        kv,
        output,
        changes.get("sink", sink),
        Aiter(changes.get("aiter", "on")),
        changes.get("aiter_mla", True),
        changes.get("opus_importable", True),
        changes.get("triton_sparse_mla", False),
        changes.get("kv_connector", False),
    )


@pytest.mark.parametrize(("arch", "asked", "connector"), expected.DECODE)
def test_decode_takes_the_enumerated_path(arch: str, asked: bool, connector: bool) -> None:
    request = Dsv4DecodeRequest(arch, triton_sparse_mla=asked, kv_connector=connector)
    decision = resolve("sparse_attn_decode", request)
    assert isinstance(decision, Dsv4DecodeDecision)
    assert decision.row == expected.DECODE[arch, asked, connector]
    found = (decision.path, decision.split_rule, decision.nope_block, decision.direct)
    assert found == expected.DECODE_PATH[decision.row]


def test_the_decode_table_covers_every_architecture_and_every_row() -> None:
    assert {arch for arch, *_ in expected.DECODE} == set(expected.ARCHES)
    assert set(expected.DECODE.values()) == {"S1", "S2", "S3", "S4"}


@pytest.mark.parametrize(("arch", "queries", "heads", "main", "extra"), expected.SPLITS)
def test_decode_splits_by_the_rule_of_its_row(arch: str, queries: int, heads: int, main: int, extra: int) -> None:
    request = Dsv4DecodeRequest(arch, queries=queries, heads=heads, main_capacity=main, extra_capacity=extra)
    assert DSV4_DECODE.decode(request).splits == expected.SPLITS[arch, queries, heads, main, extra]


def test_a_sliding_window_layer_splits_without_looking_at_an_extra_buffer() -> None:
    window = Dsv4DecodeRequest("gfx942", ratio=1, extra_capacity=512)
    assert DSV4_DECODE.decode(window).splits == expected.SPLITS["gfx942", 1, 16, 128, 0]


def test_only_a_bf16_output_is_written_directly() -> None:
    assert not DSV4_DECODE.decode(Dsv4DecodeRequest("gfx950", output_dtype="fp16")).direct


@pytest.mark.parametrize(("arch", "dtype", "connector", "ratio"), expected.NAN_TRUST)
def test_the_nan_scrub_is_skipped_only_where_enumerated(arch: str, dtype: str, connector: bool, ratio: int) -> None:
    request = Dsv4DecodeRequest(arch, ratio=ratio, kv_dtype=dtype, kv_connector=connector)
    decision = resolve("sparse_attn_decode_nan_trust", request)
    trusted = expected.NAN_TRUST[arch, dtype, connector, ratio]
    assert (decision.row, decision.path) == ("S5", "trusted" if trusted else "scrubbed")


@pytest.mark.parametrize(("arch", "ratio", "graph", "queries", "heads", "extra"), expected.ADAPTIVE)
def test_splits_adapt_only_where_enumerated(
    arch: str, ratio: int, graph: bool, queries: int, heads: int, extra: int
) -> None:
    request = Dsv4DecodeRequest(
        arch,
        ratio,
        queries,
        heads,
        main_capacity=128 * queries,
        extra_capacity=extra * queries,
        graph_metadata=graph,
    )
    decision = resolve("sparse_attn_decode_adaptive", request)
    wanted = expected.ADAPTIVE[arch, ratio, graph, queries, heads, extra]
    assert (decision.row, decision.path) == ("S6", wanted)


@pytest.mark.parametrize(("arch", "prequantised", "triton"), expected.INVERSE_ROPE)
def test_the_inverse_rope_runs_and_is_reported_as_enumerated(arch: str, prequantised: bool, triton: bool) -> None:
    request = Dsv4DecodeRequest(arch, queries=7, wo_a_prequantised=prequantised, triton_sparse_mla=triton)
    decision = resolve("sparse_attn_decode_inverse_rope", request)
    assert isinstance(decision, InverseRope)
    path, reported, rotated = expected.INVERSE_ROPE[arch, prequantised, triton]
    assert (decision.row, decision.path) == ("S7", path)
    assert (decision.reported, decision.rotated) == (7 * reported, 7 * rotated)


def test_the_single_pass_leaves_rows_unrotated_that_it_reports_as_done() -> None:
    lost = set[str]()
    for arch in expected.ARCHES:
        decision = DSV4_DECODE.inverse_rope(Dsv4DecodeRequest(arch))
        if decision.reported != decision.rotated:
            lost.add(arch)
    assert lost == {"gfx90a", "gfx1201"}


def test_guarding_every_single_pass_architecture_would_rotate_every_row() -> None:
    mended = replace(DSV4_DECODE, standalone_rope_arches=frozenset({"gfx90a", "gfx1201", "gfx1250"}))
    decisions = [mended.inverse_rope(Dsv4DecodeRequest(arch)) for arch in expected.ARCHES]
    assert all(decision.reported == decision.rotated for decision in decisions)


@pytest.mark.parametrize("arch", expected.ARCHES)
def test_the_main_cache_has_the_platforms_format_and_the_extra_cache_never_fnuz(arch: str) -> None:
    decision = resolve("sparse_attn_decode_flavours", Dsv4DecodeRequest(arch))
    assert isinstance(decision, Flavours)
    assert (decision.row, decision.path) == ("S8", expected.MAIN_FP8[arch])
    assert decision.extra == expected.EXTRA_FP8


def test_the_two_caches_differ_in_format_on_gfx942_alone() -> None:
    flavours = {arch: DSV4_DECODE.flavours(Dsv4DecodeRequest(arch)) for arch in expected.ARCHES}
    assert {arch for arch, found in flavours.items() if found.path != found.extra} == {"gfx942"}


def test_a_large_batch_on_gfx950_goes_to_opus_in_both_half_types() -> None:
    for dtype in ("bf16", "fp16"):
        decision = resolve("sparse_attn_prefill", prefill(dtype=dtype))
        assert (decision.row, decision.path) == ("S9", "opus")


@pytest.mark.parametrize("change", expected.OPUS_BREAKS)
def test_every_single_guard_keeps_a_prefill_from_opus(change: str) -> None:
    decision = resolve("sparse_attn_prefill", prefill(**expected.OPUS_BREAKS[change]))
    assert (decision.row, decision.path) == ("S10", "ragged")


def test_the_threshold_of_opus_is_1024_queries_and_no_other_size_matters() -> None:
    rows = {queries: DSV4_PREFILL.decide(prefill(queries=queries)).row for queries in (1, 1023, 1024, 1025, 9000)}
    assert rows == {1: "S10", 1023: "S10", 1024: "S9", 1025: "S9", 9000: "S9"}


@pytest.mark.parametrize("dim", expected.BLOCK_K)
def test_the_ragged_kernel_takes_the_enumerated_tile(dim: int) -> None:
    decision = resolve("sparse_attn_prefill", prefill(dim=dim, queries=5))
    assert isinstance(decision, Dsv4PrefillDecision)
    assert (decision.row, decision.block_k) == ("S10", expected.BLOCK_K[dim])


@pytest.mark.parametrize(("arch", "asked", "connector"), expected.DECODE)
def test_prefill_and_decode_switch_to_aiters_triton_kernels_together(arch: str, asked: bool, connector: bool) -> None:
    decision = DSV4_PREFILL.decide(prefill(arch=arch, triton_sparse_mla=asked, kv_connector=connector))
    assert (decision.row == "S1") == (expected.DECODE[arch, asked, connector] == "S1")


@pytest.mark.parametrize("ratio", expected.INDICES)
def test_decode_indices_come_from_the_enumerated_source(ratio: int) -> None:
    request = Dsv4CacheRequest("gfx950", ratio)
    wanted = expected.INDICES[ratio]
    if wanted is None:
        with pytest.raises(DispatchError, match=f"ratio {ratio};.*1, 4, 128"):
            resolve("sparse_attn_decode_indices", request)
    else:
        decision = resolve("sparse_attn_decode_indices", request)
        assert (decision.row, decision.path) == ("S11", wanted)


@pytest.mark.parametrize("arch", expected.MXFP8)
def test_mxfp8_output_exists_only_where_enumerated(arch: str) -> None:
    request = Dsv4DecodeRequest(arch, mxfp8=True)
    if expected.MXFP8[arch]:
        decision = resolve("sparse_attn_decode_output", request)
        assert (decision.row, decision.path) == ("S12", "mxfp8")
    else:
        with pytest.raises(DispatchError, match=f"'{arch}'.*gfx950"):
            resolve("sparse_attn_decode_output", request)
    assert DSV4_DECODE.output(replace(request, mxfp8=False)).path == "bf16"


@pytest.mark.parametrize(("arch", "source", "buffer"), expected.RAGGED_ELEMENTS)
def test_the_graph_buffer_is_trimmed_only_where_enumerated(arch: str, source: int, buffer: int) -> None:
    request = Dsv4CacheRequest(arch, source_elements=source, buffer_elements=buffer)
    assert DSV4_CACHES.ragged_buffer(request).elements == expected.RAGGED_ELEMENTS[arch, source, buffer]
    assert resolve("sparse_attn_ragged_buffer", request).row == "S13"


def test_the_split_count_follows_the_buffers_capacity_where_nothing_is_trimmed() -> None:
    splits = dict[tuple[str, int], int]()
    for arch in ("gfx942", "gfx950"):
        for capacity in (0, 8192):
            buffer = DSV4_CACHES.ragged_buffer(Dsv4CacheRequest(arch, source_elements=0, buffer_elements=capacity))
            request = Dsv4DecodeRequest(arch, queries=1, extra_capacity=buffer.elements)
            splits[arch, capacity] = DSV4_DECODE.decode(request).splits
    assert splits["gfx942", 0] != splits["gfx942", 8192]
    assert splits["gfx950", 0] == splits["gfx950", 8192]


@pytest.mark.parametrize("fnuz", [False, True])
def test_the_triton_gather_honours_the_asked_format_and_nvidias_never_runs_on_rocm(fnuz: bool) -> None:
    request = Dsv4CacheRequest("gfx942", use_fnuz=fnuz)
    assert DSV4_CACHES.gather(request).fnuz == fnuz
    assert resolve("dequantize_and_gather_k_cache", request).path == "triton"
    assert not DSV4_CACHES.gather(replace(request, platform="cuda", cutedsl=True)).fnuz
    with pytest.raises(DispatchError, match="cutedsl"):
        DSV4_CACHES.gather(replace(request, cutedsl=True))


@pytest.mark.parametrize("arch", expected.FNUZ_WRITER)
def test_only_a_fnuz_platform_writes_fnuz_and_every_platform_writes_ocp(arch: str) -> None:
    assert resolve("quantize_and_insert_k_cache", Dsv4CacheRequest(arch)).path == "e4m3fn"
    request = Dsv4CacheRequest(arch, use_fnuz=True)
    if expected.FNUZ_WRITER[arch]:
        decision = resolve("quantize_and_insert_k_cache", request)
        assert (decision.row, decision.path) == ("S15", "e4m3fnuz")
    else:
        with pytest.raises(ValueError, match=f"'{arch}' has e4m3fn;"):
            resolve("quantize_and_insert_k_cache", request)
