"""What the machine code of the FP8 prefill kernels must contain, checked by cross-compilation."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from rocassay.harness.arch import Target, profile
from rocassay.harness.codegen import CodeObject, captured, compile_launch
from rocassay.kernels.fp8_prefill.dispatch import PrefillPath, prefill_variant
from rocassay.kernels.fp8_prefill.mla_prefill_ps import mla_prefill_ps

NATIVE = [("gfx942", "e4m3fnuz"), ("gfx950", "e4m3fn")]
FOREIGN = [("gfx942", "e4m3fn"), ("gfx950", "e4m3fnuz")]
BF16_DOT = r"v_mfma_f32_\d+x\d+x\d+_?bf16"
HEADS, TOKENS, WORKERS = 16, 512, 8
PATHS: tuple[PrefillPath, ...] = ("persistent", "fallback")
BUILT: list[tuple[str, str, PrefillPath]] = [
    *((*pair, "persistent") for pair in NATIVE + FOREIGN), (*NATIVE[0], "fallback"),
    *((arch, "bf16", "fallback") for arch in ("gfx942", "gfx950")),
]  # fmt: skip
"""What the other tests look at, too; `rocassay codegen` builds every combination."""


def target(arch: str) -> Target:
    if arch.startswith("sm"):
        return Target("gfx950", "cuda", frozenset({"e4m3fn", "e5m2"}))
    return Target(arch, "hip", profile(arch).native_fp8)


@cache
def code(arch: str, fp8: str, path: PrefillPath) -> tuple[CodeObject, ...]:
    variant = prefill_variant(target(arch), fp8=fp8, heads=HEADS, path=path)
    dtype = torch.bfloat16 if fp8 == "bf16" else torch.uint8
    q, k, v = (torch.zeros(TOKENS, HEADS, width, dtype=dtype) for width in (192, 192, 128))
    indptr, pages = torch.zeros(5, dtype=torch.int32), torch.zeros(TOKENS, dtype=torch.int32)
    scale = torch.ones(1)
    launches = captured(
        lambda: mla_prefill_ps(
            q,
            k,
            v,
            torch.zeros(TOKENS, HEADS, 128, dtype=torch.bfloat16),
            indptr,
            indptr,
            max_seqlen_q=TOKENS,
            softmax_scale=0.07,
            variant=variant,
            kv_page_indices=pages,
            q_scale=scale,
            k_scale=scale,
            v_scale=scale,
            final_lse=torch.zeros(TOKENS, HEADS),
            work_indptr=torch.zeros(WORKERS + 1, dtype=torch.int32),
            work_info_set=torch.zeros(64, 8, dtype=torch.int32),
            split_data=torch.zeros(TOKENS, HEADS, 128),
            split_lse=torch.zeros(TOKENS, HEADS),
            reduce_indptr=indptr,
            reduce_final_map=torch.zeros(4, 2, dtype=torch.int32),
            reduce_partial_map=torch.zeros(16, dtype=torch.int32),
        )
    )
    return tuple(compile_launch(launch, arch) for launch in launches)


def assert_fits(found: CodeObject) -> None:
    limit = profile(found.arch).lds_bytes
    assert found.lds_bytes <= limit, f"{found.kernel} takes {found.lds_bytes} of {limit} LDS bytes on {found.arch}"
    assert (found.spills, found.scratch_bytes) == (0, 0), f"{found.kernel} spills registers on {found.arch}"


@pytest.mark.parametrize(("arch", "fp8", "path"), BUILT)
def test_no_prefill_kernel_spills_or_exceeds_the_lds(arch: str, fp8: str, path: PrefillPath) -> None:
    for found in code(arch, fp8, path):
        assert_fits(found)


@pytest.mark.parametrize(("arch", "fp8"), NATIVE)
def test_the_planned_prefill_multiplies_native_fp8_with_fp8_matrix_instructions_only(arch: str, fp8: str) -> None:
    found, facts = code(arch, fp8, "persistent")[0], profile(arch)
    assert facts.fp8_matrix_instruction is not None
    assert found.instructions(facts.fp8_matrix_instruction)
    assert not found.instructions(facts.f16_matrix_instruction)


@pytest.mark.parametrize(
    ("arch", "fp8", "path"), [(*pair, "persistent") for pair in FOREIGN] + [(*NATIVE[0], "fallback")]
)
def test_a_foreign_flavour_and_the_fallback_multiply_in_fp16(arch: str, fp8: str, path: PrefillPath) -> None:
    found, facts = code(arch, fp8, path)[0], profile(arch)
    assert facts.fp8_matrix_instruction is not None
    assert found.instructions(facts.f16_matrix_instruction)
    assert not found.instructions(facts.fp8_matrix_instruction)


@pytest.mark.parametrize("arch", ["gfx942", "gfx950"])
def test_the_fallback_multiplies_unquantised_states_in_bf16(arch: str) -> None:
    assert code(arch, "bf16", "fallback")[0].instructions(BF16_DOT)


@pytest.mark.parametrize(("arch", "fp8"), NATIVE)
def test_keys_are_loaded_sixteen_bytes_a_lane(arch: str, fp8: str) -> None:
    assert code(arch, fp8, "persistent")[0].instructions(r"(global|buffer)_load_(lds_)?dwordx4")


@pytest.mark.parametrize(("arch", "fp8"), NATIVE)
def test_the_planned_path_is_a_persistent_kernel_and_a_reduction_without_dots(arch: str, fp8: str) -> None:
    planned, reduction = code(arch, fp8, "persistent")
    assert planned.kernel == "_mla_prefill_ps_kernel"
    assert not reduction.instructions(r"v_mfma_")


@pytest.mark.parametrize(("fp8", "path"), [("e4m3fn", "persistent"), ("e4m3fnuz", "fallback")])
def test_both_paths_and_both_flavours_build_for_hopper(fp8: str, path: PrefillPath) -> None:
    assert "mma" in code("sm90", fp8, path)[0].asm
