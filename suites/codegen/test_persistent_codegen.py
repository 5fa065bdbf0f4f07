"""What the machine code of the persistent MLA decode kernels must contain, checked by cross-compilation."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from rocassay.harness.arch import Target, profile
from rocassay.harness.codegen import CodeObject, captured, compile_launch
from rocassay.kernels.persistent.dispatch import DISPATCH, MlaPath, mla_decode_variant, mla_plan_variant
from rocassay.kernels.persistent.mla_decode_fwd import mla_decode_fwd
from rocassay.kernels.persistent.mla_plan import mla_plan
from rocassay.kernels.persistent.planner import Policy, Schedule
from rocassay.kernels.persistent.shapes import DecodeShape, Element

ARCHES = ("gfx942", "gfx950")
BF16_DOT = r"v_mfma_f32_\d+x\d+x\d+_?bf16"
TOKENS, PARTS = 4, 8
SIX = (
    "work_meta_data",
    "work_indptr",
    "work_info_set",
    "reduce_indptr",
    "reduce_final_map",
    "reduce_partial_map",
)


def target(arch: str) -> Target:
    if arch.startswith("sm"):
        return Target("gfx950", "cuda", frozenset({"e4m3fn", "e5m2"}))
    return Target(arch, "hip", profile(arch).native_fp8)


def elements(kind: Element, *shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.bfloat16 if kind == "bf16" else torch.uint8)


def ints(*shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.int32)


@cache
def codes(
    arch: str, kind: Element, fp8: str, heads: int, page: int = 1, path: MlaPath = "persistent"
) -> tuple[CodeObject, ...]:
    variant = mla_decode_variant(target(arch), heads=heads, q=kind, kv=kind, fp8=fp8, path=path, splits=PARTS)
    width = heads // variant.fold
    rows = (TOKENS * PARTS, width) if path == "persistent" else (TOKENS, PARTS, width)
    shapes = ((2,), (9,), (32, 8), (TOKENS + 1,), (TOKENS, 2), (PARTS * TOKENS,))
    plan = dict(zip(SIX, (ints(*shape) for shape in shapes), strict=True)) if path == "persistent" else {}
    scale = torch.ones(1) if kind == "fp8" else None
    launches = captured(
        lambda: mla_decode_fwd(
            elements(kind, TOKENS, heads, 576),
            elements(kind, 64, page, 1, 576),
            torch.zeros(TOKENS, heads, 512, dtype=torch.bfloat16),
            ints(TOKENS + 1),
            ints(TOKENS + 1),
            ints(64),
            ints(TOKENS),
            max_seqlen_q=1,
            sm_scale=0.05,
            logits=torch.zeros(*rows, 512),
            attn_lse=torch.zeros(*rows),
            variant=variant,
            q_scale=scale,
            kv_scale=scale,
            final_lse=torch.zeros(TOKENS, heads),
            **plan,
        )
    )
    return tuple(compile_launch(launch, arch) for launch in launches)


def assert_fits(code: CodeObject) -> None:
    limit = profile(code.arch).lds_bytes
    assert code.lds_bytes <= limit, f"{code.kernel} takes {code.lds_bytes} of {limit} LDS bytes on {code.arch}"
    assert (code.spills, code.scratch_bytes) == (0, 0), f"{code.kernel} spills registers on {code.arch}"


@pytest.mark.parametrize(("arch", "heads"), [("gfx942", 128), ("gfx950", 16)])
def test_the_bf16_decode_fits_and_multiplies_bf16_in_the_matrix_unit(arch: str, heads: int) -> None:
    for code in codes(arch, "bf16", "e4m3fn", heads):
        assert_fits(code)
    assert codes(arch, "bf16", "e4m3fn", heads)[0].instructions(BF16_DOT)


@pytest.mark.parametrize("arch", ARCHES)
def test_scores_of_the_native_flavour_are_fp8_products_and_of_the_other_one_fp16(arch: str) -> None:
    native = profile(arch).fp8
    foreign = "e4m3fn" if native == "e4m3fnuz" else "e4m3fnuz"
    instruction = profile(arch).fp8_matrix_instruction
    assert instruction is not None
    for fp8, wanted in ((native, True), (foreign, False)):
        code = codes(arch, "fp8", fp8, 128)[0]
        assert_fits(code)
        assert bool(code.instructions(instruction)) is wanted
        assert code.instructions(profile(arch).f16_matrix_instruction)


@pytest.mark.parametrize("arch", ARCHES)
def test_a_latent_row_is_loaded_once_with_sixteen_bytes_a_lane(arch: str) -> None:
    # The value is the key's first 512 dims: loading it again would double the only traffic that counts.
    variant = mla_decode_variant(target(arch), heads=16)
    a_load = 16 * variant.num_warps * profile(arch).wave_size
    latent, rope = (variant.block_n * dims * 2 / a_load for dims in (512, 64))
    query, query_rope = (variant.block_m * dims * 2 / a_load for dims in (512, 64))
    code = codes(arch, "bf16", "e4m3fn", 16)[0]
    wide = code.instructions(r"(global|buffer)_load_dwordx4")
    # The prologue of the pipeline loads one tile more a stage.
    loads = [max(1, round(count)) for count in (latent, rope)]
    once = sum(max(1, round(count)) for count in (query, query_rope))
    assert len(wide) == variant.num_stages * sum(loads) + once
    assert not code.instructions(r"(global|buffer)_load_(u|s)short")


@pytest.mark.parametrize("arch", ARCHES)
def test_the_plain_decode_fits_and_its_merge_has_no_dot(arch: str) -> None:
    split, merge = codes(arch, "bf16", "e4m3fn", 16, 64, "plain")
    assert_fits(split)
    assert_fits(merge)
    assert not merge.instructions(r"v_mfma_")


@pytest.mark.parametrize(("heads", "kind"), [(16, "bf16"), (128, "fp8")])
def test_both_stages_build_for_hopper(heads: int, kind: Element) -> None:
    stage, reduce = codes("sm90", kind, "e4m3fn", heads)
    assert "mma" in stage.asm
    assert stage.lds_bytes <= 227 * 1024
    assert "mma" not in reduce.asm


@cache
def plan_code(arch: str, policy: Policy, heads: int) -> CodeObject:
    shape = DecodeShape("gfx942", heads, 4)
    schedule = Schedule.v1_2(shape, workers=8)
    if policy == "exact":
        schedule = Schedule.exact(workers=8, heads=16, tile_rows=128, granularity=16, overhead=2)
    outputs = (torch.zeros(2, dtype=torch.int64), ints(9), ints(999, 8), ints(1000), ints(999, 2), ints(999))
    variant = mla_plan_variant(shape, schedule, DISPATCH)
    launches = captured(lambda: mla_plan(ints(5), ints(5), ints(4), *outputs, page_size=1, max_qlen=4, variant=variant))
    return compile_launch(launches[0], arch)


@pytest.mark.parametrize("policy", ["exact", "v1.2"])
@pytest.mark.parametrize("arch", [*ARCHES, "sm90"])
def test_the_planner_is_one_program_without_scratch_memory(arch: str, policy: Policy) -> None:
    code = plan_code(arch, policy, 64)
    assert (code.spills, code.scratch_bytes) == (0, 0)
