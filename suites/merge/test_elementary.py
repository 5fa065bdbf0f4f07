"""exp and log of the merge kernels against float64, over all arguments that a merge can meet."""

from __future__ import annotations

import math
from typing import Any

import pytest
import torch
import triton
import triton.language as tl

from rocassay.harness.engines.interpreter import InterpreterEngine
from rocassay.kernels.merge.elementary import exp_of_negative, log_between_1_and_2
from rocassay.references.common.rounding import U32
from rocassay.references.merge.merge_attn_states import EXP_WORST, LOG_WORST

COUNT = 4096


@triton.jit
def _both_kernel(x, y, EXP: tl.constexpr, COUNT: tl.constexpr) -> None:
    at = tl.arange(0, COUNT)
    value = tl.load(x + at)
    if EXP:
        tl.store(y + at, exp_of_negative(value))
    else:
        tl.store(y + at, log_between_1_and_2(value))


def evaluated(x: torch.Tensor, *, exp: bool) -> torch.Tensor:
    y = torch.empty_like(x)
    kernel: Any = _both_kernel
    with InterpreterEngine().session():
        kernel[(1,)](x, y, EXP=exp, COUNT=COUNT)
    return y.double()


@pytest.mark.parametrize("reach", [1.0, 8.0, 86.9])
def test_the_exponential_is_as_accurate_as_the_model_says(reach: float) -> None:
    x = -torch.linspace(0, reach, COUNT)
    exact = x.double().exp()
    error = ((evaluated(x, exp=True) - exact) / exact).abs() / U32
    assert error.max() <= EXP_WORST
    assert error.square().mean().sqrt() <= 1


def test_the_exponential_is_exact_at_zero_vanishes_far_below_and_keeps_nan() -> None:
    edges = [0.0, -0.0, -87.5, -1e4, -1e30, -math.inf, math.nan]
    x = torch.tensor(edges).repeat(COUNT // len(edges) + 1)[:COUNT]
    found = evaluated(x, exp=True)[: len(edges)]
    assert found[:-1].tolist() == [1.0, 1.0, 0.0, 0.0, 0.0, 0.0]
    assert math.isnan(found[-1])


def test_the_logarithm_is_as_accurate_as_the_model_says_and_exact_at_one() -> None:
    x = torch.linspace(1, 2, COUNT)
    found = evaluated(x, exp=False)
    error = (found - x.double().log()).abs() / U32
    assert found[0] == 0.0
    assert error.max() <= LOG_WORST
    assert error.square().mean().sqrt() <= 1
