"""What the machine code of the top-k and packing kernels must contain, checked by cross-compilation."""

from __future__ import annotations

from functools import cache

import pytest
import torch

from rocassay.harness.arch import Target, profile
from rocassay.harness.codegen import CodeObject, captured, compile_launch
from rocassay.kernels.topk.dispatch import pack_variant, select_variant
from rocassay.kernels.topk.pack_seq import pack_seq
from rocassay.kernels.topk.top_k_per_row_decode import top_k_per_row_decode
from rocassay.kernels.topk.top_k_per_row_prefill import top_k_per_row_prefill
from rocassay.kernels.topk.unpack_seq import unpack_seq

ARCHES = ["gfx942", "gfx950"]
ROWS = 4
COLUMNS = [4096, 65536]
"""A row that a program holds at once, and one that it reads tile by tile."""


def target(arch: str) -> Target:
    if arch.startswith("sm"):
        return Target("gfx950", "cuda", frozenset({"e4m3fn", "e5m2"}))
    return Target(arch, "hip", profile(arch).native_fp8)


def integers(*shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.int32)


@cache
def prefill_code(arch: str, columns: int, topk: int = 2048) -> CodeObject:
    variant = select_variant(target(arch), columns=columns, splits=1)
    logits, bounds = torch.zeros(ROWS, columns), integers(ROWS)
    launches = captured(lambda: top_k_per_row_prefill(logits, bounds, bounds, integers(ROWS, topk), variant=variant))
    return compile_launch(launches[0], arch)


@cache
def decode_code(arch: str, splits: int, topk: int = 2048) -> tuple[CodeObject, ...]:
    columns = 65536
    variant = select_variant(target(arch), columns=columns, splits=splits)
    logits, lens, candidates = torch.zeros(ROWS, columns), integers(ROWS), integers(ROWS, splits * topk)
    launches = captured(
        lambda: top_k_per_row_decode(
            logits, lens, integers(ROWS, topk), next_n=1, variant=variant, candidates=candidates
        )
    )
    return tuple(compile_launch(launch, arch) for launch in launches)


@cache
def packing_code(arch: str, dtype: torch.dtype) -> tuple[CodeObject, CodeObject]:
    ragged, batch = torch.zeros(ROWS, 64, 128).to(dtype), torch.zeros(2, ROWS, 64, 128).to(dtype)
    variant, lengths = pack_variant(target(arch), features=64 * 128), integers(2)
    pad = {"pad_value": 0.0} if dtype is torch.uint8 else {}
    (pack,) = captured(lambda: pack_seq(ragged, lengths, batch, variant=variant, **pad))
    (unpack,) = captured(lambda: unpack_seq(batch, lengths, ragged, variant=variant))
    return compile_launch(pack, arch), compile_launch(unpack, arch)


def assert_fits(code: CodeObject) -> None:
    limit = profile(code.arch).lds_bytes
    assert code.lds_bytes <= limit, f"{code.kernel} takes {code.lds_bytes} of {limit} LDS bytes on {code.arch}"
    assert (code.spills, code.scratch_bytes) == (0, 0), f"{code.kernel} spills registers on {code.arch}"


@pytest.mark.parametrize("columns", COLUMNS)
@pytest.mark.parametrize("arch", ARCHES)
def test_the_prefill_selection_fits_and_reads_four_scores_at_a_time(arch: str, columns: int) -> None:
    code = prefill_code(arch, columns)
    assert_fits(code)
    assert code.instructions(r"(global|buffer)_load_dwordx4")


@pytest.mark.parametrize("splits", [1, 10])
@pytest.mark.parametrize("arch", ARCHES)
def test_the_decode_selection_fits_in_one_kernel_or_in_two(arch: str, splits: int) -> None:
    codes = decode_code(arch, splits)
    names = ["_top_k_decode_kernel"] if splits == 1 else ["_top_k_part_kernel", "_top_k_merge_kernel"]
    assert [code.kernel for code in codes] == names
    for code in codes:
        assert_fits(code)


@pytest.mark.parametrize("arch", ARCHES)
def test_selecting_compares_integers_and_never_rounds_a_score(arch: str) -> None:
    assert not prefill_code(arch, COLUMNS[0]).instructions(r"v_(cvt|add_f|mul_f|max_f|min_f|cmp\w*_f)")


@pytest.mark.parametrize("dtype", [torch.uint8, torch.bfloat16, torch.float32])
@pytest.mark.parametrize("arch", ARCHES)
def test_packing_moves_16_bytes_a_lane_without_any_conversion(arch: str, dtype: torch.dtype) -> None:
    for code in packing_code(arch, dtype):
        assert_fits(code)
        assert code.instructions(r"(global|buffer)_store_dwordx4")
        assert not code.instructions("v_cvt")


def test_every_kernel_builds_for_hopper() -> None:
    codes = [prefill_code("sm90", COLUMNS[1]), *decode_code("sm90", 1), *decode_code("sm90", 10)]
    codes += packing_code("sm90", torch.bfloat16)
    assert len({code.digest for code in codes}) == len(codes)
