"""The ragged builders' machine code: they compile for both chips, spill nothing and fit the local memory."""

from __future__ import annotations

import pytest
import torch

from rocassay.harness.arch import Target, profile
from rocassay.harness.codegen import CodeObject, captured, compile_launch
from rocassay.kernels.ragged.build_ragged_indices_from_dense import build_ragged_indices_from_dense
from rocassay.kernels.ragged.mla_paged_kv_metadata import mla_paged_kv_metadata
from rocassay.kernels.ragged.variants import ragged_variant

ARCHES = ["gfx942", "gfx950"]
REQUESTS, BLOCKS, BLOCK_SIZE = 4, 512, 64


def integers(*shape: int) -> torch.Tensor:
    return torch.zeros(shape, dtype=torch.int32)


def target(arch: str) -> Target:
    return Target(arch, "hip", profile(arch).native_fp8)


def paged_code(arch: str, page_size: int) -> list[CodeObject]:
    variant = ragged_variant(target(arch), columns=BLOCKS * BLOCK_SIZE // page_size)
    launches = captured(
        lambda: mla_paged_kv_metadata(
            integers(REQUESTS, BLOCKS),
            integers(REQUESTS),
            integers(REQUESTS + 1),
            integers(REQUESTS * BLOCKS * BLOCK_SIZE),
            integers(REQUESTS),
            integers(REQUESTS),
            block_size=BLOCK_SIZE,
            page_size=page_size,
            variant=variant,
        )
    )
    return [compile_launch(launch, arch) for launch in launches]


def dense_code(arch: str, width: int) -> list[CodeObject]:
    launches = captured(
        lambda: build_ragged_indices_from_dense(
            integers(REQUESTS, width),
            integers(REQUESTS),
            integers(REQUESTS * width),
            integers(REQUESTS + 1),
            integers(REQUESTS),
            num_rows=1000,
            variant=ragged_variant(target(arch), columns=width),
        )
    )
    return [compile_launch(launch, arch) for launch in launches]


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("page_size", [1, 16, 64])
def test_page_metadata_take_three_kernels_that_fit(arch: str, page_size: int):
    codes = paged_code(arch, page_size)
    assert len(codes) == 3
    for code in codes:
        assert code.spills == 0
        assert code.lds_bytes <= profile(arch).lds_bytes


@pytest.mark.parametrize("arch", ARCHES)
@pytest.mark.parametrize("width", [16, 2048])
def test_compaction_takes_three_kernels_that_fit(arch: str, width: int):
    codes = dense_code(arch, width)
    assert len(codes) == 3
    for code in codes:
        assert code.spills == 0
        assert code.lds_bytes <= profile(arch).lds_bytes
