"""What the machine code of the Gluon kernels must contain, checked by cross-compilation."""

from __future__ import annotations

import subprocess
import sys
from functools import cache

import pytest
import torch

from rocassay.harness.arch import Target, profile
from rocassay.harness.codegen import CodeObject, captured, compile_launch
from rocassay.harness.engines.launch import Launch
from rocassay.kernels.indexer.dispatch import DISPATCH, LogitsVariant, logits_variant
from rocassay.kernels.indexer.fp8_paged_mqa_logits import fp8_paged_mqa_logits

NATIVE = [("gfx942", "e4m3fnuz"), ("gfx950", "e4m3fn")]
MATRIX = {"gfx942": r"v_mfma_f32_16x16x32_fp8_fp8", "gfx950": r"v_mfma_(scale_)?f32_16x16x128_f8f6f4"}
# heads, next_n, block size, ratio: production, the largest, no power of two, every way in which tiles meet pages.
SHAPES = [
    (64, 1, 64, 1), (64, 2, 64, 1), (128, 8, 128, 1), (12, 3, 16, 1), (64, 1, 1, 1), (64, 1, 192, 1), (64, 1, 256, 4),
]  # fmt: skip
REQUESTS = 2
WAVE_BYTES = 1024
"""A wave of 64 lanes with 16 bytes each: the keys' half of a SHUFFLE tile."""


def variant_of(arch: str, fp8: str, block_size: int, ratio: int = 1) -> LogitsVariant:
    target = Target(arch, "hip", profile(arch).native_fp8)
    release = DISPATCH.gluon_triton
    return logits_variant(target, fp8=fp8, block_size=block_size, ratio=ratio, triton_release=release)


def launches(arch: str, fp8: str, heads: int, next_n: int, block_size: int, ratio: int) -> list[Launch]:
    pages = 4
    rows, columns = REQUESTS * next_n, pages * block_size
    return captured(
        lambda: fp8_paged_mqa_logits(
            torch.zeros(REQUESTS, next_n, heads, 128, dtype=torch.uint8),
            torch.zeros(pages, block_size, 132, dtype=torch.uint8),
            torch.zeros(rows, heads),
            torch.full((REQUESTS,), columns, dtype=torch.int32),
            torch.zeros(REQUESTS, pages, dtype=torch.int32),
            torch.zeros(rows, columns),
            max_model_len=columns,
            variant=variant_of(arch, fp8, block_size, ratio),
        )
    )


@cache
def code_of(arch: str, fp8: str, heads: int = 64, next_n: int = 1, block_size: int = 64, ratio: int = 1) -> CodeObject:
    (launch,) = launches(arch, fp8, heads, next_n, block_size, ratio)
    return compile_launch(launch, arch)


@pytest.mark.parametrize(("arch", "fp8"), NATIVE)
def test_rocm_runs_one_kernel_in_gluon(arch: str, fp8: str) -> None:
    assert [launch.name for launch in launches(arch, fp8, 64, 1, 64, 1)] == ["_score_pages_gluon_kernel"]


@pytest.mark.parametrize("release", [(3, 6), (3, 8), (3, 9), (4, 0)])
@pytest.mark.parametrize(("arch", "fp8"), NATIVE)
def test_older_releases_cuda_and_the_interpreter_get_the_triton_kernel(
    arch: str, fp8: str, release: tuple[int, int]
) -> None:
    def kernel(backend: str, flavour: str = fp8) -> str:
        native = profile(arch).native_fp8 if backend == "hip" else frozenset({"e4m3fn", "e4m3fnuz"})
        target = Target(arch, backend, native)  # pyright: ignore[reportArgumentType]
        chosen = logits_variant(target, fp8=flavour, block_size=64, ratio=1, triton_release=release)
        return chosen.kernel

    assert kernel("hip") == ("gluon" if release >= (3, 9) else "triton")
    assert kernel("cuda") == kernel("interpreter") == "triton"
    assert kernel("hip", {"e4m3fn": "e4m3fnuz", "e4m3fnuz": "e4m3fn"}[fp8]) == "triton"


def test_importing_the_launcher_imports_no_gluon() -> None:
    code = (
        "import sys, rocassay.kernels.indexer.fp8_paged_mqa_logits as launcher; "
        "sys.exit(any('gluon' in name and name.startswith('rocassay') for name in sys.modules))"
    )
    assert subprocess.run([sys.executable, "-c", code], check=False).returncode == 0


@pytest.mark.parametrize(("heads", "next_n", "block_size", "ratio"), SHAPES)
@pytest.mark.parametrize(("arch", "fp8"), NATIVE)
def test_no_shape_spills_or_passes_its_operands_through_lds(
    arch: str, fp8: str, heads: int, next_n: int, block_size: int, ratio: int
) -> None:
    code = code_of(arch, fp8, heads, next_n, block_size, ratio)
    assert (code.spills, code.scratch_bytes, code.lds_bytes) == (0, 0, 0)


@pytest.mark.parametrize(("heads", "next_n", "block_size", "ratio"), SHAPES)
@pytest.mark.parametrize(("arch", "fp8"), NATIVE)
def test_only_the_fp8_matrix_instruction_of_sixteen_keys_multiplies(
    arch: str, fp8: str, heads: int, next_n: int, block_size: int, ratio: int
) -> None:
    code = code_of(arch, fp8, heads, next_n, block_size, ratio)
    assert code.instructions(r"v_mfma_\w+") == code.instructions(MATRIX[arch])
    assert code.instructions(MATRIX[arch])


@pytest.mark.parametrize("block_size", [64, 128, 256])
@pytest.mark.parametrize(("arch", "fp8"), NATIVE)
def test_tiled_pages_are_read_sixteen_bytes_a_lane_relative_to_a_page(arch: str, fp8: str, block_size: int) -> None:
    code = code_of(arch, fp8, block_size=block_size)
    variant = variant_of(arch, fp8, block_size)
    # By each wave the whole query and its weights, four to a lane, and its own keys of the first tile and the next.
    loads = 64 * 128 // WAVE_BYTES + 64 // 16 + 2 * variant.kv_tile * 128 // WAVE_BYTES // variant.num_warps
    assert len(code.instructions(r"buffer_load_dwordx4")) == loads
    assert not code.instructions(r"(buffer|global)_load_(u|s)(byte|short)")


@pytest.mark.parametrize("block_size", [1, 16])
@pytest.mark.parametrize(("arch", "fp8"), NATIVE)
def test_keys_of_several_pages_have_sixty_four_bit_addresses(arch: str, fp8: str, block_size: int) -> None:
    code = code_of(arch, fp8, block_size=block_size)
    assert code.instructions(r"global_load_dword(x4)?")
    assert not code.instructions(r"(buffer|global)_load_(u|s)(byte|short)")
