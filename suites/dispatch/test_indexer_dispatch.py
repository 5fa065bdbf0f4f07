"""The indexer's dispatcher against the enumerated tables, decision by decision."""

from __future__ import annotations

from dataclasses import replace

import pytest

from rocassay.harness.arch import Target
from rocassay.harness.fp8 import format_of
from rocassay.harness.layouts import LayoutError
from rocassay.kernels.indexer.dispatch import (
    DISPATCH,
    Aiter,
    LogitsVariant,
    gather_variant,
    logits_variant,
    write_variant,
)
from rocassay.references.indexer import dispatch as expected

HIP_942 = Target("gfx942", "hip", frozenset({"e4m3fnuz"}))


@pytest.mark.parametrize("block_size", expected.BLOCK_SIZES)
@pytest.mark.parametrize("arch", expected.ARCHES)
@pytest.mark.parametrize("state", expected.AITER_STATES)
def test_decode_logits_take_the_enumerated_path_at_every_ratio(arch: str, state: str, block_size: int) -> None:
    for ratio in expected.RATIOS:
        cell = expected.PAGED_LOGITS[arch, state, block_size, ratio]
        decision = DISPATCH.paged_logits(arch, aiter=Aiter(state), block_size=block_size, ratio=ratio)
        assert (decision.path, decision.row, decision.layout) == (cell.path, cell.row, cell.layout), ratio
        assert decision.preshuffle == cell.preshuffle, ratio
        assert decision.kv_block_size == block_size, ratio
        assert (decision.chunk_k, decision.waves_per_eu) == (cell.chunk_k, cell.waves_per_eu), ratio


def test_the_table_covers_every_combination_and_every_row() -> None:
    combinations = len(expected.ARCHES) * len(expected.AITER_STATES) * len(expected.BLOCK_SIZES) * len(expected.RATIOS)
    assert len(expected.PAGED_LOGITS) == combinations
    assert {cell.row for cell in expected.PAGED_LOGITS.values()} == {"P1", "P2", "P3", "P4", "P5"}


@pytest.mark.parametrize(("block_size", "ratio"), expected.WRITE_LAYOUT)
def test_writer_and_gather_agree_on_the_enumerated_layout(block_size: int, ratio: int) -> None:
    assert DISPATCH.write_layout(block_size, ratio) == expected.WRITE_LAYOUT[block_size, ratio]
    assert DISPATCH.gather_layout(block_size, ratio) == expected.GATHER_LAYOUT[block_size, ratio]


@pytest.mark.parametrize("arch", ["gfx942", "gfx950"])
@pytest.mark.parametrize(("block_size", "ratio"), expected.WRITE_LAYOUT)
def test_the_decode_reader_assumes_what_the_writer_stored_where_the_fast_paths_run(
    arch: str, block_size: int, ratio: int
) -> None:
    decision = DISPATCH.paged_logits(arch, aiter=Aiter.ON, block_size=block_size, ratio=ratio)
    assert decision.layout == DISPATCH.write_layout(block_size, ratio)


def test_attention_backends_come_in_the_enumerated_order() -> None:
    assert DISPATCH.attention_backends(sparse=True) == expected.ATTENTION_BACKENDS["sparse"]
    assert DISPATCH.attention_backends(sparse=True, aiter_mla=True) == expected.ATTENTION_BACKENDS["sparse"]
    dense = DISPATCH.attention_backends(sparse=False, aiter_mla=True)
    assert dense == expected.ATTENTION_BACKENDS["dense with AITER MLA"]
    assert DISPATCH.attention_backends(sparse=False) == expected.ATTENTION_BACKENDS["dense"]
    v4 = DISPATCH.attention_backends(sparse=True, deepseek_v4=True)
    assert v4 == expected.ATTENTION_BACKENDS["DeepSeek V4"]


@pytest.mark.parametrize(("platform", "block_size"), expected.BLOCK_SIZE_ALLOWED)
def test_declared_block_sizes_are_the_enumerated_ones(platform: str, block_size: int) -> None:
    declared = DISPATCH.kernel_block_sizes("rocm" if platform == "rocm" else "cuda")
    assert declared.allows(block_size) == expected.BLOCK_SIZE_ALLOWED[platform, block_size]


@pytest.mark.parametrize(("ndim", "block_size"), expected.FUSED_WRITE_LAYOUT)
def test_the_fused_writer_tiles_whole_pages_or_refuses(ndim: int, block_size: int) -> None:
    layout = expected.FUSED_WRITE_LAYOUT[ndim, block_size]
    if layout is None:
        with pytest.raises(LayoutError, match=str(block_size)):
            DISPATCH.fused_write_layout(ndim, block_size)
    else:
        assert DISPATCH.fused_write_layout(ndim, block_size) == layout


@pytest.mark.parametrize(("arch", "state"), expected.MXFP4_KV)
def test_the_v4_indexer_cache_defaults_to_mxfp4_only_where_enumerated(arch: str, state: str) -> None:
    kind = DISPATCH.indexer_kv_dtype(arch, Aiter(state))
    assert (kind.name == "mxfp4") == kind.separate_kernels == expected.MXFP4_KV[arch, state]


@pytest.mark.parametrize("option", [{"requested": "fp8"}, {"context_parallel": True}, {"sparse_logits": True}])
def test_any_special_request_keeps_the_v4_indexer_cache_in_fp8(option: dict[str, str | bool]) -> None:
    kind = DISPATCH.indexer_kv_dtype("gfx950", Aiter.ON, **option)  # type: ignore[arg-type]
    assert (kind.name, kind.separate_kernels) == ("fp8", False)


@pytest.mark.parametrize(("arch", "state"), expected.INDEXER_ALLOWED)
def test_the_indexer_is_available_where_enumerated(arch: str, state: str) -> None:
    assert DISPATCH.indexer_allowed(arch, Aiter(state)) == expected.INDEXER_ALLOWED[arch, state]


def test_the_custom_op_is_always_enabled() -> None:
    assert DISPATCH.custom_op_enabled is expected.CUSTOM_OP_ENABLED


@pytest.mark.parametrize(("length", "rows"), expected.SPLITS)
def test_splits_follow_length_rows_and_compute_units(length: int, rows: int) -> None:
    variant = replace(_logits(HIP_942, fp8="e4m3fnuz"), max_splits=256)
    assert variant.splits(rows, length) == expected.SPLITS[length, rows]


@pytest.mark.parametrize("arch", expected.ARCHES)
@pytest.mark.parametrize(("block_size", "ratio"), expected.WRITE_LAYOUT)
def test_variants_carry_the_dispatched_layouts_and_never_the_torch_path(arch: str, block_size: int, ratio: int) -> None:
    target = Target(arch, "interpreter", frozenset({"e4m3fn", "e4m3fnuz"}))
    cell = expected.PAGED_LOGITS[arch, "on", block_size, ratio]
    logits = logits_variant(target, fp8="e4m3fn", block_size=block_size, ratio=ratio)
    assert logits.layout == cell.layout
    assert logits.path == ("single" if cell.path == "torch" else cell.path)
    writer = write_variant(target, fp8="e4m3fn", block_size=block_size, ratio=ratio)
    assert writer.layout == expected.WRITE_LAYOUT[block_size, ratio]
    gather = gather_variant(target, block_size=block_size, ratio=ratio)
    assert gather.layout == expected.GATHER_LAYOUT[block_size, ratio]


def test_a_foreign_flavour_is_decoded_by_integers_and_multiplied_in_fp16() -> None:
    own, foreign = _logits(HIP_942, fp8="e4m3fnuz"), _logits(HIP_942, fp8="e4m3fn")
    assert (own.native, own.dot) == (True, "fp8")
    assert (foreign.native, foreign.dot) == (False, "fp16")


def test_cuda_multiplies_in_fp16_and_gets_no_amd_launch_option() -> None:
    on_cuda = _logits(Target("gfx950", "cuda", frozenset({"e4m3fn"})), fp8="e4m3fn")
    assert (on_cuda.native, on_cuda.dot) == (True, "fp16")
    assert "waves_per_eu" not in on_cuda.options
    assert _logits(HIP_942, fp8="e4m3fnuz").options["waves_per_eu"] == DISPATCH.waves_per_eu


@pytest.mark.parametrize("fp8", ["e4m3fn", "e4m3fnuz"])
def test_the_writer_scales_to_the_formats_scaling_maximum(fp8: str) -> None:
    variant = write_variant(HIP_942, fp8=fp8, block_size=64, ratio=1)
    assert variant.scaling_max == format_of(fp8).scaling_max


def test_dropping_an_arch_from_the_single_kernel_set_sends_it_to_two_kernels() -> None:
    faulty = replace(DISPATCH, single_kernel_arches=frozenset({"gfx942"}))
    decision = faulty.paged_logits("gfx950", aiter=Aiter.ON, block_size=64, ratio=1)
    assert (decision.path, decision.layout) == ("two_kernel", "NORMAL")


def test_an_overridden_path_keeps_the_dispatched_layout() -> None:
    variant = logits_variant(HIP_942, fp8="e4m3fnuz", block_size=64, ratio=1, path="two_kernel")
    assert (variant.path, variant.layout) == ("two_kernel", "SHUFFLE")


def _logits(target: Target, *, fp8: str) -> LogitsVariant:
    return logits_variant(target, fp8=fp8, block_size=64, ratio=1)
