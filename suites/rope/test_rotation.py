"""Rotations: forward and back, the two styles, and the layouts of the models."""

from __future__ import annotations

import pytest
import torch

from rocassay.harness.arch import Target
from rocassay.harness.engines.interpreter import InterpreterEngine
from rocassay.harness.layouts import LayoutError
from rocassay.kernels.rope.apply_rope import apply_rope
from rocassay.kernels.rope.cos_sin_cache import DEEPSEEK_V32, cos_sin_cache
from rocassay.kernels.rope.dispatch import DISPATCH, RopeVariant, rope_variant
from rocassay.kernels.rope.inverse_rope import inverse_rope
from rocassay.references.common.rounding import U32, ulp
from rocassay.references.rope.rotation import rotate, unit_numbers

HIP = Target("gfx942", "hip", frozenset({"e4m3fnuz"}))
CACHE = cos_sin_cache(DEEPSEEK_V32, 4097)
POSITIONS = torch.tensor([4096, 0, 1, 777, 4095])
# The table of the contract: tensor -> style and rotated lanes.
LAYOUTS = {
    "mla": ("gptj", "first"),
    "v32_indexer": ("neox", "first"),
    "glm_indexer": ("gptj", "first"),
    "v4": ("gptj", "last"),
}


def random(shape: tuple[int, ...], dtype: torch.dtype = torch.bfloat16) -> torch.Tensor:
    return torch.randn(shape, generator=torch.Generator().manual_seed(3)).to(dtype)


def variant(tensor: str, heads: int = 2) -> RopeVariant:
    return rope_variant(HIP, tensor=tensor, tokens=len(POSITIONS), heads=heads)


@pytest.mark.parametrize("tensor", LAYOUTS)
def test_the_dispatched_layout_is_the_contract_s(tensor: str) -> None:
    layout = DISPATCH.layouts[tensor]
    assert (layout.style, layout.span) == LAYOUTS[tensor]


def test_forward_then_back_is_the_identity_within_two_ulp_of_the_pair() -> None:
    before = random((5, 2, 128))
    x = before.clone()
    with InterpreterEngine().session():
        apply_rope(POSITIONS, x, CACHE, variant=variant("v4"))
        inverse_rope(x, POSITIONS, CACHE, variant=variant("v4"))
    pairs = before[..., 64:].double().unflatten(-1, (-1, 2))
    scale = pairs.square().sum(dim=-1, keepdim=True).sqrt().expand(pairs.shape).flatten(-2)
    error = (x[..., 64:].double() - before[..., 64:].double()).abs()
    assert bool((error <= 2 * ulp(scale, torch.bfloat16)).all())
    assert torch.equal(x[..., :64], before[..., :64])
    assert torch.equal(x[1], before[1]), "position 0 turns nothing"


def test_rotation_keeps_the_scores_of_pairs_at_equal_distances() -> None:
    q, k = random((2, 1, 64), torch.float32)
    x = torch.stack([q, k])
    scores: list[float] = []
    for shift in (0, 1000):
        places = torch.tensor([5, 3]) + shift
        turned = rotate(x, unit_numbers(places, CACHE), style="neox", span="first").value
        scores.append(float((turned[0] * turned[1]).sum()))
    # Cosines and sines are stored in fp32.
    slack = 8 * U32 * float(q.abs().sum(dim=-1).max() * k.abs().max())
    assert abs(scores[0] - scores[1]) <= slack


def test_styles_agree_only_after_the_lanes_are_reordered() -> None:
    x = random((5, 2, 64), torch.float32)
    unit = unit_numbers(POSITIONS, CACHE)
    neighbours = rotate(x, unit, style="gptj", span="first").value
    order = torch.arange(64).reshape(32, 2).T.flatten()
    halves = rotate(x[..., order], unit, style="neox", span="first").value
    assert torch.equal(neighbours[..., order], halves)
    assert not torch.equal(rotate(x, unit, style="neox", span="first").value, neighbours)


def test_the_key_turns_once_however_many_query_heads_there_are() -> None:
    k = random((5, 1, 64))
    turned: list[torch.Tensor] = []
    for heads in (1, 20):
        key = k.clone()
        with InterpreterEngine().session():
            apply_rope(POSITIONS, random((5, heads, 64)), CACHE, k=key, variant=variant("mla", heads))
        turned.append(key)
    assert torch.equal(*turned)


def test_no_token_is_no_launch() -> None:
    none, empty = POSITIONS[:0], torch.zeros(0, 2, 128)
    with InterpreterEngine().session() as trace:
        apply_rope(none, empty, CACHE, variant=variant("v4"))
        inverse_rope(empty, none, CACHE, variant=variant("v4"))
    assert trace.launches == []


def test_a_rotation_that_does_not_fit_the_head_is_refused() -> None:
    with pytest.raises(LayoutError, match="q has 32 lanes a head and the cache 64"):
        apply_rope(POSITIONS, random((5, 2, 32)), CACHE, variant=variant("mla"))
    with pytest.raises(LayoutError, match="o has 128 lanes a head and the cache 48"):
        inverse_rope(random((5, 2, 128)), POSITIONS, CACHE[:, :48].contiguous(), variant=variant("v4"))
    with pytest.raises(LayoutError, match=r"k is .* of torch\.float32"):
        apply_rope(POSITIONS, random((5, 2, 64)), CACHE, k=random((5, 1, 64), torch.float32), variant=variant("mla"))


@pytest.mark.parametrize(("tokens", "heads", "rows", "tile"), [(1, 1, 1, 1), (1, 128, 64, 16), (9, 3, 32, 4)])
def test_programs_hold_as_many_rows_as_there_are_up_to_the_tile(tokens: int, heads: int, rows: int, tile: int) -> None:
    made = rope_variant(HIP, tensor="v4", tokens=tokens, heads=heads)
    assert (made.rows_per_program, made.heads_tile(heads)) == (rows, tile)
