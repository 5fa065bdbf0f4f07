"""What the machine code of the indexer kernels must contain, checked by cross-compilation."""

from __future__ import annotations

from dataclasses import replace
from functools import cache

import pytest
import torch

from rocassay.harness.arch import Target, profile
from rocassay.harness.codegen import CodeObject, captured, compile_launch
from rocassay.harness.engines.launch import Launch
from rocassay.kernels.indexer.cp_gather_indexer_k_quant_cache import cp_gather_indexer_k_quant_cache
from rocassay.kernels.indexer.dispatch import LaunchPath, LogitsVariant, gather_variant, logits_variant, write_variant
from rocassay.kernels.indexer.fp8_paged_mqa_logits import fp8_paged_mqa_logits
from rocassay.kernels.indexer.indexer_k_quant_and_cache import indexer_k_quant_and_cache

NATIVE = [("gfx942", "e4m3fnuz"), ("gfx950", "e4m3fn")]
FOREIGN = [("gfx942", "e4m3fn"), ("gfx950", "e4m3fnuz")]
# The production shape, the largest one, and head counts that are no power of two.
SHAPES = [(64, 1, 64, False), (128, 8, 128, True), (12, 3, 16, False)]
FP8_CONVERSION = r"v_cvt_(scalef32_)?(pk|sr)_fp8_f32"
REQUESTS, MAX_MODEL_LEN = 2, 256


def target(arch: str) -> Target:
    if arch.startswith("sm"):
        return Target("gfx950", "cuda", frozenset({"e4m3fn", "e5m2"}))
    return Target(arch, "hip", profile(arch).native_fp8)


def kv_cache(block_size: int) -> torch.Tensor:
    return torch.zeros(MAX_MODEL_LEN // block_size, block_size, 132, dtype=torch.uint8)


def writer_launch(arch: str, fp8: str, block_size: int = 64) -> Launch:
    variant = write_variant(target(arch), fp8=fp8, block_size=block_size, ratio=1)
    k, slots = torch.zeros(8, 128, dtype=torch.bfloat16), torch.zeros(8, dtype=torch.int64)
    cache_ = kv_cache(block_size)
    launches = captured(lambda: indexer_k_quant_and_cache(k, cache_, slots, scale_fmt="ue8m0", variant=variant))
    return launches[0]


def gather_launch(arch: str, block_size: int = 64) -> Launch:
    variant = gather_variant(target(arch), block_size=block_size, ratio=1)
    values, scales = torch.zeros(64, 128, dtype=torch.uint8), torch.zeros(64)
    table, bounds, owner = (torch.zeros(shape, dtype=torch.int32) for shape in ((2, 4), (3,), (64,)))
    launches = captured(
        lambda: cp_gather_indexer_k_quant_cache(
            kv_cache(block_size), values, scales, table, bounds, owner, variant=variant
        )
    )
    return launches[0]


def logits_launches(variant: LogitsVariant, *, heads: int = 64, next_n: int = 1, block_size: int = 64) -> list[Launch]:
    rows = REQUESTS * next_n
    q = torch.zeros(REQUESTS, next_n, heads, 128, dtype=torch.uint8)
    weights, logits = torch.zeros(rows, heads), torch.zeros(rows, MAX_MODEL_LEN)
    lengths = torch.full((REQUESTS,), MAX_MODEL_LEN, dtype=torch.int32)
    table = torch.zeros(REQUESTS, MAX_MODEL_LEN // block_size, dtype=torch.int32)
    workspace = torch.zeros(heads, rows, MAX_MODEL_LEN) if variant.path == "two_kernel" else None
    return captured(
        lambda: fp8_paged_mqa_logits(
            q,
            kv_cache(block_size),
            weights,
            lengths,
            table,
            logits,
            max_model_len=MAX_MODEL_LEN,
            variant=variant,
            workspace=workspace,
        )
    )


def triton_variant(arch: str, fp8: str, block_size: int, path: LaunchPath) -> LogitsVariant:
    """Decisions where the single kernel is Triton's: before the releases whose Gluon is used."""
    return logits_variant(target(arch), fp8=fp8, block_size=block_size, ratio=1, path=path, triton_release=(3, 8))


@cache
def logits_code(
    arch: str, fp8: str, heads: int = 64, next_n: int = 1, block_size: int = 64, two: bool = False
) -> tuple[CodeObject, ...]:
    variant = triton_variant(arch, fp8, block_size, "two_kernel" if two else "single")
    launches = logits_launches(variant, heads=heads, next_n=next_n, block_size=block_size)
    return tuple(compile_launch(launch, arch) for launch in launches)


def assert_fits(code: CodeObject) -> None:
    limit = profile(code.arch).lds_bytes
    assert code.lds_bytes <= limit, f"{code.kernel} takes {code.lds_bytes} of {limit} LDS bytes on {code.arch}"
    assert (code.spills, code.scratch_bytes) == (0, 0), f"{code.kernel} spills registers on {code.arch}"


@pytest.mark.parametrize(("arch", "fp8"), NATIVE)
def test_the_scoring_kernel_multiplies_native_fp8_with_fp8_matrix_instructions_only(arch: str, fp8: str) -> None:
    (code,) = logits_code(arch, fp8)
    facts = profile(arch)
    assert facts.fp8_matrix_instruction is not None
    assert code.instructions(facts.fp8_matrix_instruction)
    assert not code.instructions(facts.f16_matrix_instruction)


def test_native_fp8_is_the_short_k_form_on_gfx942_and_the_f8f6f4_form_on_gfx950() -> None:
    (cdna3,), (cdna4,) = logits_code("gfx942", "e4m3fnuz"), logits_code("gfx950", "e4m3fn")
    assert cdna3.instructions(r"v_mfma_f32_\d+x\d+x\d+_fp8_fp8")
    assert cdna4.instructions(r"v_mfma_f32_\d+x\d+x\d+_f8f6f4")


@pytest.mark.parametrize(("arch", "fp8"), FOREIGN)
def test_a_foreign_flavour_is_multiplied_in_fp16_after_an_exact_upcast(arch: str, fp8: str) -> None:
    (code,) = logits_code(arch, fp8)
    facts = profile(arch)
    assert facts.fp8_matrix_instruction is not None
    assert code.instructions(facts.f16_matrix_instruction)
    assert not code.instructions(facts.fp8_matrix_instruction)


@pytest.mark.filterwarnings("ignore:fp8e4b8 is AMD gfx942 specific")
@pytest.mark.parametrize(("arch", "fp8"), NATIVE)
def test_the_wrong_flavour_claimed_native_shows_as_a_dot_without_fp8_matrix_instructions(arch: str, fp8: str) -> None:
    foreign = {"e4m3fn": "e4m3fnuz", "e4m3fnuz": "e4m3fn"}[fp8]
    (launch,) = logits_launches(replace(triton_variant(arch, fp8, 64, "single"), fp8=foreign))
    fp8_dot = profile(arch).fp8_matrix_instruction
    assert fp8_dot is not None
    assert not compile_launch(launch, arch).instructions(fp8_dot)


@pytest.mark.parametrize(("heads", "next_n", "block_size", "two"), SHAPES)
@pytest.mark.parametrize(("arch", "fp8"), NATIVE + FOREIGN)
def test_no_shape_of_the_logits_spills_or_exceeds_the_lds(
    arch: str, fp8: str, heads: int, next_n: int, block_size: int, two: bool
) -> None:
    for code in logits_code(arch, fp8, heads, next_n, block_size, two):
        assert_fits(code)


@pytest.mark.parametrize("block_size", [1, 64])
@pytest.mark.parametrize(("arch", "fp8"), NATIVE + FOREIGN)
def test_the_writer_fits_and_converts_a_foreign_flavour_by_integers(arch: str, fp8: str, block_size: int) -> None:
    code = compile_launch(writer_launch(arch, fp8, block_size), arch)
    assert_fits(code)
    if (arch, fp8) in FOREIGN:
        assert not code.instructions(FP8_CONVERSION)


def test_the_writer_converts_fnuz_in_hardware_on_gfx942() -> None:
    # On gfx950 older Triton releases lower the same cast to integer code, so only gfx942 can be pinned.
    assert compile_launch(writer_launch("gfx942", "e4m3fnuz"), "gfx942").instructions(FP8_CONVERSION)


@pytest.mark.parametrize("block_size", [1, 64])
@pytest.mark.parametrize("arch", ["gfx942", "gfx950"])
def test_the_gather_moves_bytes_without_any_conversion(arch: str, block_size: int) -> None:
    code = compile_launch(gather_launch(arch, block_size), arch)
    assert_fits(code)
    assert not code.instructions(r"v_cvt_\w*fp8")


@pytest.mark.parametrize("fp8", ["e4m3fn", "e4m3fnuz"])
def test_every_kernel_builds_for_hopper_in_both_flavours(fp8: str) -> None:
    (scored,) = logits_code("sm90", fp8)
    written = compile_launch(writer_launch("sm90", fp8), "sm90")
    gathered = compile_launch(gather_launch("sm90"), "sm90")
    assert "wgmma" in scored.asm
    assert ".f16" in next(line for line in scored.asm.splitlines() if "wgmma.mma_async" in line)
    assert written.digest != gathered.digest


def test_equal_launches_have_equal_digests_and_another_block_size_another() -> None:
    first, again = (compile_launch(gather_launch("gfx942"), "gfx942") for _ in range(2))
    other = compile_launch(gather_launch("gfx942", block_size=16), "gfx942")
    assert first.digest == again.digest
    assert first.digest != other.digest
