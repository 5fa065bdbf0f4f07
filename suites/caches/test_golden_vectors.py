"""Vectors worked out by hand from the contract, against the goldens and the decisions of the MLA cache family."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rocassay.harness.arch import Target, UnknownArch, profile
from rocassay.harness.fp8 import format_of
from rocassay.harness.layouts import LayoutError, interleaved_584, planar_584
from rocassay.kernels.caches.concat_and_cache_mla import concat_and_cache_mla
from rocassay.kernels.caches.dispatch import (
    DISPATCH,
    PageMap,
    insert_variant,
    latent_write_variant,
    page_map,
    planar_gather_variant,
)
from rocassay.kernels.caches.quantize_and_insert_k_cache import quantize_and_insert_k_cache
from rocassay.references.caches.concat_and_cache_ds_mla import concat_and_cache_ds_mla
from rocassay.references.caches.dequantize_and_gather_k_cache import rows_584
from rocassay.references.caches.quantise import bf16_tensor, nearest_bf16_bits
from rocassay.references.caches.quantize_and_insert_k_cache import records_584

FP8S = ("e4m3fn", "e4m3fnuz")
FIRST_CODES = [251, 248, 242, 232, 96, 112, 118, 122, 250, 246, 240, 224]


def key(nope: torch.Tensor) -> torch.Tensor:
    """bf16 [1, 512] with zeros for RoPE."""
    return torch.cat([nope.double(), torch.zeros(64, dtype=torch.float64)])[None].to(torch.bfloat16)


def staircase() -> torch.Tensor:
    """bf16 [1, 512]: a sawtooth whose groups of 64 grow by a factor of 2 from one to the next."""
    d = torch.arange(448)
    return key((3 * d % 23 - 11) / 8 * torch.exp2(d // 64 - 3))


def scale_bytes(k: torch.Tensor, fp8: str) -> list[int]:
    return records_584(k, fp8)[0, 576:583].tolist()


@pytest.mark.parametrize(("fp8", "first"), [("e4m3fn", 116), ("e4m3fnuz", 117)])
def test_the_sawtooth_has_the_contract_s_codes_and_scale_bytes(fp8: str, first: int):
    record = records_584(staircase(), fp8)[0]
    assert record[:12].tolist() == FIRST_CODES
    assert int(record[:448].astype(int).sum()) == 76561
    assert record[576:].tolist() == [*range(first, first + 7), 0]


@pytest.mark.parametrize(
    ("amax", "fn", "fnuz"),
    [(0.0, 105, 106), (1e-4, 105, 106), (1.0, 119, 120), (448.0, 127, 128), (451.5, 128, 129), (224.0, 126, 127)],
)
def test_a_scale_byte_follows_from_the_largest_magnitude_alone(amax: float, fn: int, fnuz: int):
    nope = torch.zeros(448)
    nope[3::64] = -amax
    assert scale_bytes(key(nope), "e4m3fn") == [fn] * 7
    assert scale_bytes(key(nope), "e4m3fnuz") == [fnuz] * 7


@pytest.mark.parametrize("exponent", range(-13, 9))
def test_a_magnitude_of_exactly_the_scaling_maximum_times_a_power_of_two_is_not_rounded_up(exponent: int):
    nope = torch.full((448,), 448.0 * 2.0**exponent)
    assert scale_bytes(key(nope), "e4m3fn") == [127 + exponent] * 7


@pytest.mark.parametrize(("scale_fmt", "scale"), [("ue8m0", 2.0**-13), ("float", 2.0**-126)])
@pytest.mark.parametrize("fp8", FP8S)
def test_a_zero_latent_gets_the_floor_of_its_656_byte_writer(fp8: str, scale_fmt, scale: float):
    cache = torch.full((1, 1, 656), 0xAA, dtype=torch.uint8)
    stored = concat_and_cache_ds_mla(
        torch.zeros(1, 512, dtype=torch.bfloat16),
        torch.zeros(1, 64, dtype=torch.bfloat16),
        cache,
        torch.tensor([0]),
        fp8=fp8,
        scale_fmt=scale_fmt,
    )
    assert stored.expected[0, 0, 512:528].view(torch.float32).tolist() == [scale] * 4
    assert not stored.expected[0, 0, :512].any()


@pytest.mark.parametrize("fp8", FP8S)
def test_every_finite_code_is_exact_under_every_scale_byte_that_keeps_it_in_range(fp8: str):
    fmt = format_of(fp8)
    finite = np.flatnonzero(np.isfinite(fmt.values))
    for byte in (8, 120, 127, 200, 245):
        record = np.zeros((1, 584), dtype=np.uint8)
        record[0, : len(finite)], record[0, 576:583] = finite, byte
        found = bf16_tensor(rows_584(record, fp8))[0, : len(finite)].double().numpy()
        np.testing.assert_array_equal(found, np.ldexp(fmt.values[finite], byte - 127))


@pytest.mark.parametrize("fp8", FP8S)
def test_the_scale_bytes_at_the_ends_decode_as_the_kernels_exponent_bits_do(fp8: str):
    one = {"e4m3fn": 0x38, "e4m3fnuz": 0x40}[fp8]
    record = np.full((1, 584), one, dtype=np.uint8)
    record[0, 576:580] = (0, 1, 254, 255)
    found = bf16_tensor(rows_584(record, fp8))[0, [0, 64, 128, 192]].double().tolist()
    assert found == [2.0**-127, 2.0**-126, 2.0**127, np.inf]


def test_rounding_to_bf16_once_differs_from_rounding_through_fp32():
    just_above_a_tie = np.array([1 + 2.0**-8 + 2.0**-40])
    once = bf16_tensor(nearest_bf16_bits(just_above_a_tie)).item()
    through = torch.tensor(just_above_a_tie).to(torch.float32).to(torch.bfloat16).item()
    assert (once, through) == (1 + 2.0**-7, 1.0)


def test_rounding_to_bf16_agrees_with_torch_wherever_fp32_holds_the_number():
    bits = torch.arange(0, 2**31 - 2**23, 65_537, dtype=torch.int64).to(torch.int32)
    x = torch.cat([bits, bits | -(2**31)]).view(torch.float32)
    found = bf16_tensor(nearest_bf16_bits(x.double().numpy()))
    assert torch.equal(found.view(torch.int16), x.to(torch.bfloat16).view(torch.int16))


@pytest.mark.parametrize(
    ("block_size", "planar", "interleaved"),
    [
        (64, PageMap(576, 36864, 8), PageMap(584, 576, 584)),
        (2, PageMap(576, 1152, 8), PageMap(584, 576, 584)),
        (1, PageMap(0, 576, 0), PageMap(0, 576, 0)),
    ],
)
def test_the_kernels_three_numbers_are_those_of_the_index_map(block_size: int, planar, interleaved):
    assert page_map(planar_584(block_size)) == planar
    assert page_map(interleaved_584(block_size)) == interleaved


@pytest.mark.parametrize(("arch", "main"), [("gfx942", "e4m3fnuz"), ("gfx950", "e4m3fn"), ("gfx1250", "e4m3fn")])
def test_the_main_cache_has_the_chip_s_flavour_and_the_extra_cache_is_ocp(arch: str, main: str):
    target = Target(arch, "hip", profile(arch).native_fp8)
    names = [planar_gather_variant(target, block_size=64, cache=name).fp8 for name in ("main", "extra")]
    assert names == [main, "e4m3fn"]
    assert (DISPATCH.flavour("main", arch), DISPATCH.flavour("extra", arch)) == (main, "e4m3fn")


def test_an_unknown_chip_has_no_main_flavour():
    with pytest.raises(UnknownArch, match="gfx000"):
        DISPATCH.flavour("main", "gfx000")


@pytest.mark.parametrize("given", [{}, {"fp8": "e4m3fn", "cache": "main"}])
def test_a_gather_takes_its_flavour_from_exactly_one_place(given):
    with pytest.raises(ValueError, match="give exactly one"):
        planar_gather_variant(Target("gfx950", "hip", frozenset()), block_size=64, **given)


def test_a_writer_refuses_pages_and_rows_that_it_would_have_to_copy():
    target = Target("gfx950", "hip", frozenset())
    variant = insert_variant(target, fp8="e4m3fn", block_size=2)
    k, slots = torch.zeros(1, 512, dtype=torch.bfloat16), torch.zeros(1, dtype=torch.int64)
    apart = torch.zeros(2, 2, 600, dtype=torch.uint8)[:, :, :584]
    odd = torch.zeros(2400, dtype=torch.uint8).as_strided((2, 2, 584), (1169, 584, 1))
    for cache, reason in ((apart, "600 bytes apart"), (odd, "no multiple of 2"), (k[None], "contiguous uint8")):
        with pytest.raises(LayoutError, match=reason):
            quantize_and_insert_k_cache(k, cache, slots, variant=variant)
    with pytest.raises(LayoutError, match="rows of 512"):
        quantize_and_insert_k_cache(k[:, :448], torch.zeros(2, 2, 584, dtype=torch.uint8), slots, variant=variant)


def test_a_dense_writer_refuses_a_cache_of_another_dtype():
    variant = latent_write_variant(Target("gfx950", "hip", frozenset()), kv_cache_dtype="auto", fp8="e4m3fn")
    latent, rope = torch.zeros(1, 512, dtype=torch.bfloat16), torch.zeros(1, 64, dtype=torch.bfloat16)
    cache = torch.zeros(1, 1, 576, dtype=torch.uint8)
    with pytest.raises(LayoutError, match="name its kv_cache_dtype"):
        concat_and_cache_mla(latent, rope, cache, torch.zeros(1, dtype=torch.int64), torch.ones(1), variant=variant)
