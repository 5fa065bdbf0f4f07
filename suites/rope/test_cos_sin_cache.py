"""The cos/sin cache against angles computed in decimal arithmetic, with and without YaRN."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rocassay.kernels.rope.cos_sin_cache import DEEPSEEK_V32, RopeScaling, cos_sin_cache
from rocassay.references.rope.cos_sin_cache import unit_number

EXACT = 16 * torch.finfo(torch.float64).eps
POSITIONS = (0, 1, 4095, 4096, 163839)


@pytest.fixture(scope="module")
def cache() -> torch.Tensor:
    return cos_sin_cache(DEEPSEEK_V32, 163840)


@pytest.mark.parametrize("position", POSITIONS)
def test_every_stored_cosine_and_sine_is_the_exact_one_rounded(cache: torch.Tensor, position: int) -> None:
    exact = [unit_number(position, pair, base=10000, rot=64, factor=40, original_positions=4096) for pair in range(32)]
    row = [*(number.real for number in exact), *(number.imag for number in exact)]
    assert torch.equal(cache[position], torch.tensor(row, dtype=torch.float64).to(torch.float32))


@pytest.mark.parametrize("position", POSITIONS[:-1])
def test_without_yarn_every_pair_keeps_its_frequency(position: int) -> None:
    plain = cos_sin_cache(RopeScaling(), 4097)
    exact = [unit_number(position, pair, base=10000, rot=64) for pair in range(32)]
    assert torch.equal(plain[position, :32], torch.tensor([n.real for n in exact], dtype=torch.float64).float())
    assert torch.equal(plain[position, 32:], torch.tensor([n.imag for n in exact], dtype=torch.float64).float())


def test_deepseek_keeps_eleven_fast_pairs_and_slows_nine_slow_ones_forty_times() -> None:
    ratio = DEEPSEEK_V32.frequencies() / replace(DEEPSEEK_V32, factor=1.0).frequencies()
    assert ratio[:11].tolist() == pytest.approx([1.0] * 11, rel=EXACT)
    assert ratio[23:].tolist() == pytest.approx([1 / 40] * 9, rel=EXACT)
    assert bool((ratio[11:23].diff() < 0).all())


def test_equal_weights_cancel_in_the_attention_factor_and_unequal_ones_do_not() -> None:
    assert DEEPSEEK_V32.attention_factor == 1.0
    # 0.1 * ln 40 + 1 over 1
    assert replace(DEEPSEEK_V32, mscale_all_dim=0.0).attention_factor == pytest.approx(1.3688879454113936, rel=EXACT)


def test_position_zero_turns_nothing(cache: torch.Tensor) -> None:
    assert cache[0].tolist() == [1.0] * 32 + [0.0] * 32
