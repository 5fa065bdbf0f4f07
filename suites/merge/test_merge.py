"""Merging attention states: golden vectors, the conventions for empty parts, and the rule that picks a kernel."""

from __future__ import annotations

import math

import pytest
import torch

from rocassay.harness.arch import Target
from rocassay.harness.engines.interpreter import InterpreterEngine
from rocassay.harness.layouts import LayoutError
from rocassay.kernels.merge.dispatch import DISPATCH, merge_variant
from rocassay.kernels.merge.merge_attn_states import merge_attn_states
from rocassay.references.common.rounding import U32
from rocassay.references.merge.merge_attn_states import merge_attn_states as golden

INF = math.inf
# prefix LSE, prefix value, suffix LSE, suffix value -> merged value and LSE; ln 3 is stored in fp32
VECTORS = [
    (0.0, 1.0, math.log(3), 5.0, 4.0, math.log(4)),
    (INF, 1.0, 0.5, 5.0, 5.0, 0.5),
    (0.5, 1.0, INF, 5.0, 1.0, 0.5),
    (-INF, 1.0, 0.5, 5.0, 5.0, 0.5),
    (-INF, 1.0, -INF, 5.0, 0.0, -INF),
    (INF, 1.0, -INF, 5.0, 0.0, -INF),
    (-1e30, 1.0, 0.5, 5.0, 5.0, 0.5),
    (-1e30, 1.0, -INF, 5.0, 1.0, float(torch.tensor(-1e30))),
    (2.0, 1.0, 2.0, 5.0, 3.0, 2 + math.log(2)),
]
HIP = Target("gfx942", "hip", frozenset({"e4m3fnuz"}))
# dtype, head dim -> path on CUDA and on CDNA 3 or later
WHOLE_PACKS = {
    ("bfloat16", 128): "packed",
    ("float16", 72): "packed",
    ("bfloat16", 100): "general",
    ("float32", 100): "packed",
    ("float32", 102): "general",
    ("float64", 128): "general",
}


def states(value: float, dtype: torch.dtype = torch.float32) -> torch.Tensor:
    return torch.full((1, 1, 8), value, dtype=dtype)


def lse(value: float) -> torch.Tensor:
    return torch.full((1, 1), value)


def run(*parts: torch.Tensor, context: int | None = None) -> tuple[torch.Tensor, torch.Tensor]:
    output, output_lse = torch.full_like(parts[0], 77.0), torch.full_like(parts[1], 77.0)
    dtype = str(output.dtype).removeprefix("torch.")
    variant = merge_variant(HIP, dtype=dtype, tokens=output.shape[0], head_dim=output.shape[2])
    with InterpreterEngine().session():
        merge_attn_states(output, *parts, output_lse=output_lse, prefill_tokens_with_context=context, variant=variant)
    return output, output_lse


@pytest.mark.parametrize(("pl", "po", "sl", "so", "value", "total"), VECTORS)
def test_golden_and_kernel_give_the_contract_s_vectors(
    pl: float, po: float, sl: float, so: float, value: float, total: float
) -> None:
    parts = (states(po), lse(pl), states(so), lse(sl))
    expected = golden(*parts)
    output, output_lse = run(*parts)
    assert expected.output.value.flatten().tolist() == pytest.approx([value] * 8, rel=U32)
    assert expected.lse.value.item() == pytest.approx(total, rel=U32)
    assert bool(((output.double() - value).abs() <= expected.output.bound).all())
    assert output_lse.item() == total or abs(output_lse.item() - total) <= expected.lse.bound.item()


def test_the_output_of_an_empty_part_may_be_nan() -> None:
    output, _ = run(states(math.nan), lse(-INF), states(5.0), lse(0.5))
    assert output.unique().tolist() == [5.0]
    output, _ = run(states(math.nan), lse(INF), states(math.nan), lse(-INF))
    assert output.unique().tolist() == [0.0]


def test_a_token_without_context_copies_the_suffix_to_the_bit() -> None:
    suffix = torch.tensor([-0.0, 1.0, math.inf, -1e-40, 3.0, 0.0, -2.0, 65504.0]).reshape(1, 1, 8)
    output, output_lse = run(states(math.nan), lse(math.nan), suffix, lse(INF), context=0)
    assert torch.equal(output.view(torch.int32), suffix.view(torch.int32))
    assert output_lse.item() == INF


def test_many_finite_lses_merge_to_torch_s_logsumexp() -> None:
    generator = torch.Generator().manual_seed(5)
    parts = torch.randn(2, 3, 70, generator=generator) * 4
    states_ = torch.zeros(70, 3, 8)
    _, output_lse = run(states_, parts[0], states_, parts[1])
    expected = parts.double().logsumexp(dim=0)
    bound = golden(states_, parts[0], states_, parts[1]).lse.bound
    assert bool(((output_lse.double() - expected).abs() <= bound).all())


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_elements_that_absorb_an_equal_part_do_not_widen_what_their_row_is_granted(dtype: torch.dtype) -> None:
    """Both parts hold the same element and float64 leaves 1e-17 of their difference: no error is drawn there."""
    generator = torch.Generator().manual_seed(5)
    both = torch.randn(4, 1, 128, generator=generator).to(dtype)
    prefix = both.where(torch.arange(128) % 2 == 0, -both)
    modelled = golden(prefix, torch.full((1, 4), -12.0), both, torch.zeros(1, 4)).output
    assert modelled.share is not None
    assert bool((modelled.sigma > 0).any())
    assert float(modelled.share.max()) <= 1


def test_no_token_is_no_launch() -> None:
    empty = torch.zeros(0, 4, 8)
    with InterpreterEngine().session() as trace:
        variant = merge_variant(HIP, dtype="float32", tokens=0, head_dim=8)
        merge_attn_states(empty, empty, torch.zeros(4, 0), empty, torch.zeros(4, 0), variant=variant)
    assert trace.launches == []


def test_parts_of_another_dtype_or_a_strided_last_dimension_are_refused() -> None:
    with pytest.raises(LayoutError, match=r"suffix_output is .* of torch\.float16"):
        run(states(1.0), lse(0.0), states(1.0, torch.float16), lse(0.0))
    strided = torch.zeros(1, 1, 16)[..., ::2]
    with pytest.raises(LayoutError, match="prefix_output has stride 2"):
        run(strided, lse(0.0), states(1.0), lse(0.0))


@pytest.mark.parametrize(("dtype", "head_dim"), WHOLE_PACKS)
def test_the_packed_kernel_runs_on_cuda_and_from_cdna_3_on_for_whole_packs(dtype: str, head_dim: int) -> None:
    whole = WHOLE_PACKS[dtype, head_dim]
    for arch in ("gfx942", "gfx950", "gfx1250"):
        assert DISPATCH.path("rocm", arch, dtype=dtype, head_dim=head_dim) == whole
    assert DISPATCH.path("cuda", "gfx942", dtype=dtype, head_dim=head_dim) == whole


def test_older_cdna_and_rdna_take_the_general_kernel_and_the_cpu_torch() -> None:
    for arch in ("gfx90a", "gfx1201"):
        assert DISPATCH.path("rocm", arch, dtype="bfloat16", head_dim=128) == "general"
    assert DISPATCH.path("cpu", "gfx942", dtype="bfloat16", head_dim=128) == "torch"


@pytest.mark.parametrize(("tokens", "head_dim", "tile"), [(1, 128, 1), (5, 128, 8), (4096, 128, 32), (4096, 512, 8)])
def test_tiles_hold_the_same_number_of_elements_and_no_more_tokens_than_there_are(
    tokens: int, head_dim: int, tile: int
) -> None:
    variant = merge_variant(HIP, dtype="bfloat16", tokens=tokens, head_dim=head_dim)
    assert variant.tokens_per_program == tile
