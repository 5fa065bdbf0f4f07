"""What the machine code of the prefill kernels must contain, checked by cross-compilation."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch

from rocassay.harness.arch import Target, profile
from rocassay.harness.codegen import CodeObject, captured, compile_launch
from rocassay.harness.engines.launch import Launch
from rocassay.kernels.prefill.dispatch import (
    LogitsVariant,
    Tile,
    decode_lens_variant,
    logits_variant,
    quant_variant,
    rows_variant,
)
from rocassay.kernels.prefill.fp8_mqa_logits import fp8_mqa_logits, logits_pitch
from rocassay.kernels.prefill.indexer_decode_lens import indexer_decode_lens
from rocassay.kernels.prefill.indexer_prefill_windows import indexer_prefill_windows
from rocassay.kernels.prefill.indexer_weights import indexer_weights
from rocassay.kernels.prefill.per_token_group_quant_fp8 import per_token_group_quant_fp8

NATIVE = [("gfx942", "e4m3fnuz"), ("gfx950", "e4m3fn")]
FOREIGN = [("gfx942", "e4m3fn"), ("gfx950", "e4m3fnuz")]
# Query heads: in production, the most, and no power of two.
SHAPES = [(*pair, heads) for pair in NATIVE for heads in (64, 128, 12)] + [(*pair, 64) for pair in FOREIGN]
ROWS, KEYS = 64, 512
FP8_CONVERSION = r"v_cvt_(scalef32_)?(pk|sr)_fp8_f32"
OVERSIZED = Tile(kv_tile=256, dot_columns=256, num_warps=4, num_stages=4)


def target(arch: str) -> Target:
    if arch.startswith("sm"):
        return Target("gfx950", "cuda", frozenset({"e4m3fn", "e5m2"}))
    return Target(arch, "hip", profile(arch).native_fp8)


def logits_launch(variant: LogitsVariant, heads: int = 64, clean: bool = True) -> Launch:
    q, k = torch.zeros(ROWS, heads, 128, dtype=torch.uint8), torch.zeros(KEYS, 128, dtype=torch.uint8)
    weights, scales, logits = (
        torch.zeros(ROWS, heads),
        torch.zeros(KEYS),
        torch.zeros(ROWS, logits_pitch(KEYS))[:, :KEYS],
    )
    start, end = torch.zeros(ROWS, dtype=torch.int32), torch.full((ROWS,), KEYS, dtype=torch.int32)
    (launch,) = captured(
        lambda: fp8_mqa_logits(q, k, scales, weights, start, end, logits, clean_logits=clean, variant=variant)
    )
    return launch


@cache
def logits_code(arch: str, fp8: str, heads: int = 64) -> CodeObject:
    return compile_launch(logits_launch(logits_variant(target(arch), fp8=fp8), heads), arch)


def assert_fits(code: CodeObject) -> None:
    limit = profile(code.arch).lds_bytes
    assert code.lds_bytes <= limit, f"{code.kernel} takes {code.lds_bytes} of {limit} LDS bytes on {code.arch}"
    assert (code.spills, code.scratch_bytes) == (0, 0), f"{code.kernel} spills registers on {code.arch}"


@pytest.mark.parametrize(("arch", "fp8"), NATIVE)
def test_prefill_logits_multiply_native_fp8_with_fp8_matrix_instructions_only(arch: str, fp8: str) -> None:
    code, facts = logits_code(arch, fp8), profile(arch)
    assert facts.fp8_matrix_instruction is not None
    assert code.instructions(facts.fp8_matrix_instruction)
    assert not code.instructions(facts.f16_matrix_instruction)


@pytest.mark.parametrize(("arch", "fp8"), FOREIGN)
def test_prefill_logits_multiply_a_foreign_flavour_in_fp16_after_an_exact_upcast(arch: str, fp8: str) -> None:
    code, facts = logits_code(arch, fp8), profile(arch)
    assert facts.fp8_matrix_instruction is not None
    assert code.instructions(facts.f16_matrix_instruction)
    assert not code.instructions(facts.fp8_matrix_instruction)


@pytest.mark.parametrize(("arch", "fp8", "heads"), SHAPES)
def test_no_shape_of_the_prefill_logits_spills_or_exceeds_the_lds(arch: str, fp8: str, heads: int) -> None:
    # Cleaning adds loops and so contains the code of the other mode.
    assert_fits(logits_code(arch, fp8, heads))


@pytest.mark.parametrize(("arch", "fp8"), NATIVE + FOREIGN)
def test_keys_are_loaded_sixteen_bytes_a_lane(arch: str, fp8: str) -> None:
    wide = logits_code(arch, fp8).instructions(r"(global|buffer)_load_(lds_)?dwordx4")
    assert wide


def test_a_tile_sized_for_a_larger_part_is_seen_to_exceed_the_lds_of_gfx942() -> None:
    variant = replace(logits_variant(target("gfx942"), fp8="e4m3fnuz"), tile=OVERSIZED)
    code = compile_launch(logits_launch(variant), "gfx942")
    assert code.lds_bytes > profile("gfx942").lds_bytes or code.spills


@pytest.mark.parametrize("fp8", ["e4m3fn", "e4m3fnuz"])
def test_the_prefill_logits_build_for_hopper_in_both_flavours_on_fp16_tensor_cores(fp8: str) -> None:
    code = logits_code("sm90", fp8)
    assert ".f16" in next(line for line in code.asm.splitlines() if "wgmma.mma_async" in line)


def quant_launch(arch: str, fp8: str) -> Launch:
    x, codes = torch.zeros(64, 256, dtype=torch.bfloat16), torch.zeros(64, 256, dtype=torch.uint8)
    scales, variant = torch.zeros(64, 2), quant_variant(target(arch), fp8=fp8)
    (launch,) = captured(
        lambda: per_token_group_quant_fp8(x, codes, scales, group_size=128, scale_fmt="ue8m0", variant=variant)
    )
    return launch


@pytest.mark.parametrize(("arch", "fp8"), NATIVE + FOREIGN)
def test_the_query_quantiser_fits_and_converts_a_foreign_flavour_by_integers(arch: str, fp8: str) -> None:
    code = compile_launch(quant_launch(arch, fp8), arch)
    assert_fits(code)
    if (arch, fp8) in FOREIGN:
        assert not code.instructions(FP8_CONVERSION)


def test_the_query_quantiser_converts_fnuz_in_hardware_on_gfx942() -> None:
    assert compile_launch(quant_launch("gfx942", "e4m3fnuz"), "gfx942").instructions(FP8_CONVERSION)


def metadata_launches() -> list[Launch]:
    starts, lens, buffer = (torch.zeros(n, dtype=torch.int32) for n in (101, 100, 300))
    table, wide = torch.zeros(100, 8, dtype=torch.int32), torch.zeros(300, 8, dtype=torch.int32)

    def launch_all() -> None:
        for next_n in (2, 4):
            variant = decode_lens_variant(next_n=next_n)
            target_lens = torch.zeros(100, 2, dtype=torch.int32) if variant.path == "native" else buffer
            indexer_decode_lens(
                lens, target_lens, compress_ratio=4, variant=variant,
                query_start_loc=starts, block_table=table, row_table=wide,
            )  # fmt: skip
        indexer_prefill_windows(
            starts, lens, buffer, buffer.clone(), starts.clone(), buffer.clone(),
            compress_ratio=4, variant=rows_variant(),
        )  # fmt: skip
        weights = torch.zeros(8, 64, dtype=torch.bfloat16)
        scales = torch.zeros(8, 64)
        indexer_weights(weights, scales, scales.clone(), head_dim=128, variant=rows_variant())

    return captured(launch_all)


@pytest.mark.parametrize("arch", ["gfx942", "gfx950"])
def test_metadata_and_weights_build_without_spilling(arch: str) -> None:
    launches = metadata_launches()
    assert len(launches) == 6
    for launch in launches:
        assert_fits(compile_launch(launch, arch))
