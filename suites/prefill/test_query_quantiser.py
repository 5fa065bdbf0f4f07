"""The query quantiser's golden: values of the contract, and what the two FP8 flavours must have in common."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from rocassay.harness.fp8 import decode_tensor, format_of
from rocassay.harness.inputs import Stream
from rocassay.references.prefill.per_token_group_quant_fp8 import Quantised, per_token_group_quant_fp8

FLAVOURS = ("e4m3fn", "e4m3fnuz")


def quantised(x: torch.Tensor, fp8: str, scale_fmt: str = "ue8m0") -> Quantised:
    return per_token_group_quant_fp8(
        x, fp8=fp8, scale_fmt="ue8m0" if scale_fmt == "ue8m0" else "float", group_size=x.shape[1]
    )


def row(amax: float) -> torch.Tensor:
    x = torch.zeros(1, 128)
    x[0, 5] = amax
    return x


@pytest.mark.parametrize(
    ("fp8", "amax", "exponent"),
    [
        ("e4m3fn", 0.0, -42),
        ("e4m3fnuz", 0.0, -41),
        ("e4m3fn", 448 * 2.0**-8, -8),
        ("e4m3fn", 1.7578125, -7),
        ("e4m3fn", 448.0, 0),
        ("e4m3fn", 451.5, 1),
        ("e4m3fnuz", 224.0, 0),
        ("e4m3fnuz", 225.75, 1),
        ("e4m3fnuz", 1.0, -7),
    ],
)
def test_the_scale_is_the_power_of_two_at_or_above_amax_over_the_maximum(fp8: str, amax: float, exponent: int):
    assert float(quantised(row(amax), fp8).scales[0, 0]) == 2.0**exponent


@pytest.mark.parametrize(
    ("scale_fmt", "first", "total"),
    [
        ("ue8m0", (247, 240, 216, 108, 117, 243, 232, 100, 114, 246, 238, 0, 110, 118, 242, 228), 21579),
        ("float", (254, 247, 223, 115, 124, 250, 239, 107, 121, 253, 245, 0, 117, 125, 249, 235), 22447),
    ],
)
@pytest.mark.parametrize("fp8", FLAVOURS)
def test_codes_of_the_contracts_row_are(fp8: str, scale_fmt: str, first: tuple[int, ...], total: int):
    x = torch.from_numpy((((7 * np.arange(128)) % 31) - 15) / 16).to(torch.bfloat16)[None]
    codes = quantised(x, fp8, scale_fmt).codes[0]
    assert tuple(codes[:16].tolist()) == first
    assert int(codes.sum()) == total


@pytest.mark.parametrize("scale_fmt", ["ue8m0", "float"])
def test_both_flavours_store_the_same_bytes_under_scales_that_differ_by_two(scale_fmt: str):
    x = torch.from_numpy(Stream("flavours").gaussian((300, 128))).to(torch.bfloat16)
    ocp, fnuz = (quantised(x, fp8, scale_fmt) for fp8 in FLAVOURS)
    same = torch.where(ocp.codes == 0x80, 0, ocp.codes)
    assert torch.equal(same, fnuz.codes)
    assert torch.equal(ocp.scales * 2, fnuz.scales)


@pytest.mark.parametrize("fp8", FLAVOURS)
def test_decoding_comes_back_to_within_half_a_step_and_without_bias(fp8: str):
    x = torch.from_numpy(Stream("round trip").gaussian((300, 128))).to(torch.bfloat16)
    done = quantised(x, fp8)
    back = decode_tensor(done.codes, format_of(fp8)) * done.scales.double()
    amax = x.double().abs().amax(dim=1, keepdim=True)
    step = torch.maximum(x.double().abs() / 8, amax * 2.0**-14)
    assert bool(((back - x.double()).abs() <= step / 2 * (1 + 2.0**-10)).all())
    weight = (back * x.double()).sum() / x.double().square().sum()
    assert abs(float(weight) - 1) < 2.0**-9
