"""What the machine code of the sparse attention kernels must contain, checked by cross-compilation."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from rocassay.harness.arch import Target, profile
from rocassay.harness.codegen import CodeObject, captured, compile_launch
from rocassay.kernels.attention.dispatch import DecodePath, decode_variant, prefill_variant
from rocassay.kernels.attention.sparse_attn_decode import sparse_attn_decode
from rocassay.kernels.attention.sparse_attn_prefill import sparse_attn_prefill

ARCHES = ("gfx942", "gfx950")
BF16_DOT = r"v_mfma_f32_\d+x\d+x\d+_?bf16"
TOKENS = 2


def target(arch: str) -> Target:
    if arch.startswith("sm"):
        return Target("gfx950", "cuda", frozenset({"e4m3fn", "e5m2"}))
    return Target(arch, "hip", profile(arch).native_fp8)


def lists() -> tuple[torch.Tensor, torch.Tensor]:
    return torch.zeros(64, dtype=torch.int32), torch.zeros(TOKENS + 1, dtype=torch.int32)


@cache
def prefill_code(arch: str, dim: int, width: int, heads: int) -> CodeObject:
    variant = prefill_variant(target(arch), heads=heads, head_dim=dim)
    q = torch.zeros(TOKENS, heads, dim, dtype=torch.bfloat16)
    kv = torch.zeros(64, 1, dim, dtype=torch.bfloat16)
    output, sink = torch.zeros(TOKENS, heads, width, dtype=torch.bfloat16), torch.zeros(heads)
    launches = captured(
        lambda: sparse_attn_prefill(q, kv, *lists(), output, scale=0.05, variant=variant, attn_sink=sink)
    )
    return compile_launch(launches[0], arch)


@cache
def decode_code(arch: str, fp8: str, path: DecodePath, heads: int) -> tuple[CodeObject, ...]:
    variant = decode_variant(target(arch), fp8=fp8, heads=heads, path=path, splits=4)
    q, output = (torch.zeros(TOKENS, heads, 512, dtype=torch.bfloat16) for _ in range(2))
    main, extra = (torch.zeros(4, size, 584, dtype=torch.uint8) for size in (256, 64))
    part_m, part_l = (torch.zeros(TOKENS, 4, heads) for _ in range(2))
    launches = captured(
        lambda: sparse_attn_decode(
            q,
            main,
            *lists(),
            output,
            scale=0.05,
            variant=variant,
            kv_cache=extra,
            topk_ragged_indices=lists()[0],
            topk_ragged_indptr=lists()[1],
            attn_sink=torch.zeros(heads),
            part_m=part_m,
            part_l=part_l,
            part_acc=torch.zeros(TOKENS, 4, heads, 512),
        )
    )
    return tuple(compile_launch(launch, arch) for launch in launches)


def assert_fits(code: CodeObject) -> None:
    limit = profile(code.arch).lds_bytes
    assert code.lds_bytes <= limit, f"{code.kernel} takes {code.lds_bytes} of {limit} LDS bytes on {code.arch}"
    assert (code.spills, code.scratch_bytes) == (0, 0), f"{code.kernel} spills registers on {code.arch}"


@pytest.mark.parametrize(("dim", "width"), [(512, 512), (576, 576)])
@pytest.mark.parametrize("arch", ARCHES)
def test_the_prefill_fits_and_multiplies_bf16_in_the_matrix_unit(arch: str, dim: int, width: int) -> None:
    code = prefill_code(arch, dim, width, 128)
    assert_fits(code)
    assert code.instructions(BF16_DOT)


@pytest.mark.parametrize("fp8", ["e4m3fn", "e4m3fnuz"])
@pytest.mark.parametrize("arch", ARCHES)
def test_the_decode_fits_and_multiplies_bf16_in_the_matrix_unit(arch: str, fp8: str) -> None:
    codes = decode_code(arch, fp8, "split", 17)
    for code in codes:
        assert_fits(code)
    assert codes[0].instructions(BF16_DOT)


def test_the_split_decode_is_a_partial_kernel_and_a_reduction_without_dots() -> None:
    partial, reduce = decode_code("gfx942", "e4m3fnuz", "split", 17)
    assert partial.kernel == "_sparse_attn_decode_partial_kernel"
    assert not reduce.instructions(r"v_mfma_")


@pytest.mark.parametrize("path", ["single", "split"])
@pytest.mark.parametrize("arch", ARCHES)
def test_the_decode_gathers_every_row_once_with_sixteen_bytes_a_lane(arch: str, path: DecodePath) -> None:
    # A second walk over the lists, maximum first and weighted sum then, would load every tile again.
    fp8 = profile(arch).fp8
    variant = decode_variant(target(arch), fp8=fp8, heads=17, path=path)
    a_load = 16 * variant.num_warps * profile(arch).wave_size
    tile = variant.block_k * 512
    query, codes, rope = variant.block_h * 512 * 2 // a_load, tile // a_load, tile * 2 // a_load
    code = decode_code(arch, fp8, path, 17)[0]
    assert len(code.instructions(r"(global|buffer)_load_dwordx4")) == query + 2 * (codes + rope)
    assert not code.instructions(r"(global|buffer)_load_(u|s)short")


def test_every_kernel_builds_for_hopper() -> None:
    prefill = prefill_code("sm90", 576, 512, 16)
    decodes = [code for path in ("single", "split") for code in decode_code("sm90", "e4m3fnuz", path, 16)]
    assert "mma" in prefill.asm
    assert len({code.digest for code in decodes}) == 3
