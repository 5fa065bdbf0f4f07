"""What the machine code of the MLA cache kernels must contain, checked by cross-compilation."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import pytest
import torch

from rocassay.harness.arch import Target, profile
from rocassay.harness.codegen import CodeObject, captured, compile_launch
from rocassay.kernels.caches.concat_and_cache_ds_mla import concat_and_cache_ds_mla
from rocassay.kernels.caches.concat_and_cache_mla import concat_and_cache_mla
from rocassay.kernels.caches.dequantize_and_gather_k_cache import dequantize_and_gather_k_cache
from rocassay.kernels.caches.dispatch import (
    KvCacheDtype,
    insert_variant,
    latent_gather_variant,
    latent_write_variant,
    planar_gather_variant,
)
from rocassay.kernels.caches.gather_and_maybe_dequant_cache import gather_and_maybe_dequant_cache
from rocassay.kernels.caches.quantize_and_insert_k_cache import quantize_and_insert_k_cache

NATIVE = [("gfx942", "e4m3fnuz"), ("gfx950", "e4m3fn")]
FOREIGN = [("gfx942", "e4m3fn"), ("gfx950", "e4m3fnuz")]
CONVERSION = r"v_cvt_\w*(fp8|bf8)"
TOKENS, BLOCKS = 64, 4
WIDTHS = {"auto": 576, "fp8": 576, "fp8_ds_mla": 656}


def target(arch: str) -> Target:
    if arch.startswith("sm"):
        return Target("gfx950", "cuda", frozenset({"e4m3fn", "e5m2"}))
    return Target(arch, "hip", profile(arch).native_fp8)


def rows(width: int) -> torch.Tensor:
    return torch.zeros(TOKENS, width, dtype=torch.bfloat16)


def planar_pages(block_size: int) -> torch.Tensor:
    stride = -(-block_size * 584 // 576) * 576
    return torch.zeros(BLOCKS * stride, dtype=torch.uint8).as_strided((BLOCKS, block_size, 584), (stride, 584, 1))


def tokens_of(dtype: KvCacheDtype) -> torch.Tensor:
    return torch.zeros(BLOCKS, 64, WIDTHS[dtype], dtype=torch.bfloat16 if dtype == "auto" else torch.uint8)


def compiled(arch: str, call: Callable[[], None]) -> CodeObject:
    (launch,) = captured(call)
    return compile_launch(launch, arch)


@cache
def planar_code(op: str, arch: str, fp8: str, block_size: int = 64) -> CodeObject:
    pages, slots = planar_pages(block_size), torch.zeros(TOKENS, dtype=torch.int64)
    if op == "insert":
        own = insert_variant(target(arch), fp8=fp8, block_size=block_size)
        return compiled(arch, lambda: quantize_and_insert_k_cache(rows(512), pages, slots, variant=own))
    variant = planar_gather_variant(target(arch), fp8=fp8, block_size=block_size)
    lengths, table = torch.zeros(2, dtype=torch.int32), torch.zeros(2, 4, dtype=torch.int32)
    out = torch.zeros(2, TOKENS, 512, dtype=torch.bfloat16)
    return compiled(
        arch,
        lambda: dequantize_and_gather_k_cache(out, pages, lengths, table, lengths, offset=7, variant=variant),
    )


@cache
def token_code(op: str, dtype: KvCacheDtype, arch: str, fp8: str) -> CodeObject:
    cache_, slots, scale = tokens_of(dtype), torch.zeros(TOKENS, dtype=torch.int64), torch.ones(1)
    if op == "gather":
        variant = latent_gather_variant(target(arch), kv_cache_dtype=dtype, fp8=fp8)
        table, bounds, owner = (torch.zeros(shape, dtype=torch.int32) for shape in ((2, 4), (3,), (TOKENS,)))
        return compiled(
            arch,
            lambda: gather_and_maybe_dequant_cache(cache_, rows(576), table, bounds, owner, scale, variant=variant),
        )
    own = latent_write_variant(target(arch), kv_cache_dtype=dtype, fp8=fp8)
    if dtype == "fp8_ds_mla":
        return compiled(
            arch,
            lambda: concat_and_cache_ds_mla(rows(512), rows(64), cache_, slots, scale_fmt="float", variant=own),
        )
    return compiled(arch, lambda: concat_and_cache_mla(rows(512), rows(64), cache_, slots, scale, variant=own))


def assert_fits(code: CodeObject) -> None:
    limit = profile(code.arch).lds_bytes
    assert code.lds_bytes <= limit, f"{code.kernel} takes {code.lds_bytes} of {limit} LDS bytes on {code.arch}"
    assert (code.spills, code.scratch_bytes) == (0, 0), f"{code.kernel} spills registers on {code.arch}"


@pytest.mark.parametrize("op", ["insert", "gather"])
@pytest.mark.parametrize(("arch", "fp8"), NATIVE + FOREIGN)
def test_the_planar_kernels_fit_and_convert_a_foreign_flavour_by_integers(arch: str, fp8: str, op: str) -> None:
    code = planar_code(op, arch, fp8)
    assert_fits(code)
    if (arch, fp8) in FOREIGN:
        assert not code.instructions(CONVERSION)


@pytest.mark.parametrize("dtype", ["fp8_ds_mla", "fp8"])
@pytest.mark.parametrize("op", ["write", "gather"])
@pytest.mark.parametrize(("arch", "fp8"), NATIVE + FOREIGN)
def test_the_token_kernels_fit_and_convert_a_foreign_flavour_by_integers(
    arch: str, fp8: str, op: str, dtype: KvCacheDtype
) -> None:
    code = token_code(op, dtype, arch, fp8)
    assert_fits(code)
    if (arch, fp8) in FOREIGN:
        assert not code.instructions(CONVERSION)


@pytest.mark.parametrize("op", ["write", "gather"])
@pytest.mark.parametrize("arch", ["gfx942", "gfx950"])
def test_a_bf16_cache_is_moved_without_any_arithmetic_on_its_elements(arch: str, op: str) -> None:
    code = token_code(op, "auto", arch, "e4m3fn")
    assert_fits(code)
    assert not code.instructions(r"v_cvt_\w*f(32|16)|v_(pk_)?(mul|fma|add)_f32")


def test_the_planar_writer_and_gather_convert_fnuz_in_hardware_on_gfx942() -> None:
    assert planar_code("insert", "gfx942", "e4m3fnuz").instructions(CONVERSION)
    assert planar_code("gather", "gfx942", "e4m3fnuz").instructions(CONVERSION)


@pytest.mark.parametrize("op", ["insert", "gather"])
def test_values_of_padded_pages_move_eight_bytes_or_more_at_a_time(op: str) -> None:
    wide = r"(global|buffer)_store_dwordx[24]"
    assert planar_code(op, "gfx942", "e4m3fnuz").instructions(wide)
    assert planar_code(op, "gfx950", "e4m3fn").instructions(wide)


@pytest.mark.parametrize("fp8", ["e4m3fn", "e4m3fnuz"])
def test_every_kernel_builds_for_hopper_in_both_flavours(fp8: str) -> None:
    digests = {planar_code(op, "sm90", fp8).digest for op in ("insert", "gather")}
    digests |= {token_code(op, dtype, "sm90", fp8).digest for op in ("write", "gather") for dtype in WIDTHS}
    assert len(digests) == 8


def test_a_page_of_another_size_is_another_kernel() -> None:
    first, other = (planar_code("gather", "gfx950", "e4m3fn", size) for size in (64, 256))
    assert first.digest != other.digest
