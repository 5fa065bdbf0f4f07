"""The kernels' FP8 codec as machine code: every branch of it, beyond what the ops' own inputs may hold."""
# pyright: reportUnknownMemberType=false, reportArgumentType=false, reportCallIssue=false

from __future__ import annotations

import numpy as np
import pytest
import torch
import triton
import triton.language as tl

from rocassay.harness.arch import profile
from rocassay.harness.engines import isa
from rocassay.harness.fp8 import decode_tensor, encode_tensor, format_of
from rocassay.kernels.common.fp8_codec import decode_fp8, encode_fp8
from rocassay.suites.kernels.midpoints import quotients

SIZE = 2048
on_every_chip = pytest.mark.parametrize("arch", ["gfx942", "gfx950"])
in_every_flavour = pytest.mark.parametrize("fp8", ["e4m3fn", "e4m3fnuz"])


@triton.jit
def _encode(x, codes, FORMAT: tl.constexpr, NATIVE: tl.constexpr, SIZE: tl.constexpr) -> None:
    lane = tl.arange(0, SIZE)
    tl.store(codes + lane, encode_fp8(tl.load(x + lane), FORMAT, NATIVE))


@triton.jit
def _decode(codes, x, FORMAT: tl.constexpr, NATIVE: tl.constexpr, SIZE: tl.constexpr) -> None:
    lane = tl.arange(0, SIZE)
    tl.store(x + lane, decode_fp8(tl.load(codes + lane), FORMAT, NATIVE).to(tl.float32))


def _beyond(fp8: str) -> torch.Tensor:
    """What rounds past the largest number, just so and by far, infinities, NaNs of either sign and any payload."""
    values = format_of(fp8).values
    largest, step = float(np.nanmax(values)), float(np.nanmax(values) - np.sort(values[values > 0])[-2])
    magnitudes = np.array([largest + step / 2, largest + step, 2 * largest, 3.4e38, np.inf, np.nan])
    loud = np.array([0x7F800001, 0xFF800001], np.uint32).view(np.float32)
    return torch.from_numpy(np.concatenate([np.float32(magnitudes), np.float32(-magnitudes), loud]))


@on_every_chip
@in_every_flavour
def test_every_number_has_the_nearest_code_and_what_is_too_large_the_largest(arch: str, fp8: str):
    fmt = format_of(fp8)
    every = torch.cat([_beyond(fp8), torch.from_numpy(quotients(fp8, torch.float32, fmt.max_finite)).float()])
    x = every.repeat(-(-SIZE // len(every)))[:SIZE]
    codes = torch.zeros(SIZE, dtype=torch.uint8)
    arguments = {"FORMAT": fp8, "NATIVE": fp8 in profile(arch).native_fp8, "SIZE": SIZE}
    outcome = isa.run(_encode, {"x": x, "codes": codes, **arguments}, (1,), arch, num_warps=4)
    assert outcome.clean
    expected = encode_tensor(x, fmt, overflow="saturate")
    nan = x.isnan()
    assert torch.equal(codes[~nan], expected[~nan])
    assert decode_tensor(codes[nan], fmt).isnan().all()


@on_every_chip
@in_every_flavour
def test_every_code_has_its_value_and_every_nan_stays_one(arch: str, fp8: str):
    codes, x = torch.arange(256).to(torch.uint8), torch.zeros(256)
    arguments = {"FORMAT": fp8, "NATIVE": fp8 in profile(arch).native_fp8, "SIZE": 256}
    outcome = isa.run(_decode, {"codes": codes, "x": x, **arguments}, (1,), arch, num_warps=4)
    assert outcome.clean
    expected = decode_tensor(codes, format_of(fp8)).float()
    nan = expected.isnan()
    assert torch.equal(x.isnan(), nan)
    assert torch.equal(x[~nan].view(torch.int32), expected[~nan].view(torch.int32))
