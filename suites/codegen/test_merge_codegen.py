"""What the machine code of the merge kernel must contain, checked by cross-compilation."""

from __future__ import annotations

import pytest
import torch

from rocassay.harness.arch import Target, profile
from rocassay.harness.codegen import CodeObject, captured, compile_launch
from rocassay.kernels.merge.dispatch import merge_variant
from rocassay.kernels.merge.merge_attn_states import merge_attn_states

SHAPES = [(torch.bfloat16, 128), (torch.float32, 128), (torch.float16, 512), (torch.bfloat16, 100)]


def code(arch: str, dtype: torch.dtype, head_dim: int, tokens: int = 256) -> CodeObject:
    chip = "gfx950" if arch.startswith("sm") else arch
    target = Target(chip, "cuda" if arch.startswith("sm") else "hip", profile(chip).native_fp8)
    name = str(dtype).removeprefix("torch.")
    variant = merge_variant(target, dtype=name, tokens=tokens, head_dim=head_dim)
    states = [torch.zeros(tokens, 16, head_dim, dtype=dtype) for _ in range(3)]
    lse = [torch.zeros(16, tokens) for _ in range(3)]
    (launch,) = captured(
        lambda: merge_attn_states(states[0], states[1], lse[0], states[2], lse[1], output_lse=lse[2], variant=variant)
    )
    return compile_launch(launch, arch)


@pytest.mark.parametrize(("dtype", "head_dim"), SHAPES)
@pytest.mark.parametrize("arch", ["gfx942", "gfx950"])
def test_the_merge_fits_and_spills_nothing(arch: str, dtype: torch.dtype, head_dim: int) -> None:
    built = code(arch, dtype, head_dim)
    assert built.lds_bytes <= profile(arch).lds_bytes
    assert (built.spills, built.scratch_bytes) == (0, 0)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32])
@pytest.mark.parametrize("arch", ["gfx942", "gfx950"])
def test_the_packed_path_moves_sixteen_bytes_a_lane(arch: str, dtype: torch.dtype) -> None:
    built = code(arch, dtype, 128)
    assert built.instructions(r"(global|buffer)_load_dwordx4")
    assert built.instructions(r"(global|buffer)_store_dwordx4")


@pytest.mark.parametrize("arch", ["gfx942", "gfx950"])
def test_exponential_and_logarithm_are_the_same_arithmetic_on_every_chip(arch: str) -> None:
    assert not code(arch, torch.bfloat16, 128).instructions(r"v_(exp|log)_f32")


def test_the_merge_builds_for_hopper_with_vector_loads() -> None:
    built = code("sm90", torch.bfloat16, 128)
    assert "ld.global.v4.b32" in built.asm or ".v4.b32" in built.asm
