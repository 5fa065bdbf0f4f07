"""Each path of the Indexer with a RoPE of either kind: which pairings rotate, and which the dispatcher may choose."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rocassay.harness.arch import Target
from rocassay.harness.engines.interpreter import InterpreterEngine
from rocassay.harness.layouts import LayoutError
from rocassay.kernels.rope.cos_sin_cache import DEEPSEEK_V32, cos_sin_cache
from rocassay.kernels.rope.dispatch import DISPATCH
from rocassay.kernels.rope.implementations import ROPES
from rocassay.kernels.rope.indexer_rope_forward import indexer_rope_forward, indexer_rope_variant
from rocassay.references.rope.rotation import peer_rotate

HIP = Target("gfx950", "hip", frozenset({"e4m3fn"}))
POSITIONS = torch.tensor([0, 1, 4095, 4096], dtype=torch.int32)
CACHE = cos_sin_cache(DEEPSEEK_V32, 4097)


def tensors() -> tuple[torch.Tensor, torch.Tensor]:
    generator = torch.Generator().manual_seed(11)
    return torch.randn(4, 2, 128, generator=generator), torch.randn(4, 128, generator=generator)


def rotated(x: torch.Tensor) -> torch.Tensor:
    rows = x if x.dim() == 3 else x[:, None]
    return peer_rotate(rows, POSITIONS, CACHE, style="neox", span="first").reshape(x.shape)


def forward(path: str, rope: str) -> tuple[dict[str, torch.Tensor], dict[str, torch.Tensor]]:
    """Results and what became of the inputs, with `path` forced whatever the dispatcher would choose."""
    q, k = tensors()
    variant = indexer_rope_variant(HIP, rope=ROPES[rope], tensor="v32_indexer", tokens=4, heads=2)
    variant = replace(variant, path="inplace" if path == "inplace" else "functional")
    q_out, k_out = (torch.full_like(x, 77.0) for x in (q, k))
    with InterpreterEngine().session():
        indexer_rope_forward(POSITIONS, q, k, CACHE, variant=variant, q_out=q_out, k_out=k_out)
    return {"q": q_out, "k": k_out}, {"q": q, "k": k}


@pytest.mark.parametrize(("path", "rope"), [("inplace", "custom_op"), ("functional", "native"), ("functional", "yarn")])
def test_a_path_with_its_own_kind_of_rope_rotates_and_leaves_its_inputs_alone(path: str, rope: str) -> None:
    results, inputs = forward(path, rope)
    for name, before in zip("qk", tensors(), strict=True):
        torch.testing.assert_close(results[name], rotated(before))
        assert torch.equal(inputs[name], before)


@pytest.mark.parametrize("rope", ["native", "yarn"])
def test_the_in_place_path_with_a_rope_that_returns_copies_rotates_nothing(rope: str) -> None:
    results, _ = forward("inplace", rope)
    for name, before in zip("qk", tensors(), strict=True):
        assert torch.equal(results[name], before)
        assert not torch.equal(rotated(before)[1:], before[1:]), "positions past 0 would have turned it"


def test_the_functional_path_with_a_rope_that_mutates_is_right_but_spoils_its_inputs() -> None:
    results, inputs = forward("functional", "custom_op")
    for name, before in zip("qk", tensors(), strict=True):
        torch.testing.assert_close(results[name], rotated(before))
        assert not torch.equal(inputs[name], before)


@pytest.mark.parametrize("rope", ROPES)
def test_the_dispatcher_pairs_each_rope_with_the_path_of_its_kind(rope: str) -> None:
    q, _ = tensors()
    lanes = q[..., :64].clone()
    with InterpreterEngine().session():
        variant = indexer_rope_variant(HIP, rope=ROPES[rope], tensor="v32_indexer", tokens=4, heads=2)
        ROPES[rope].rotate(POSITIONS, lanes, lanes[:, :1].clone(), CACHE, variant.launch)
    mutates = not torch.equal(lanes, q[..., :64])
    assert ROPES[rope].inplace == mutates
    assert variant.path == ("inplace" if mutates else "functional")


def test_the_gate_on_enabled_alone_would_pair_yarn_with_the_wrong_path() -> None:
    yarn = ROPES["yarn"]
    upstream = replace(DISPATCH, inplace=lambda rope: rope.enabled)
    assert yarn.enabled
    assert upstream.indexer_path("rocm", yarn) == "inplace"
    assert DISPATCH.indexer_path("rocm", yarn) == "functional"


def test_cuda_fuses_and_elsewhere_the_functional_path_serves_every_rope() -> None:
    for rope in ROPES.values():
        assert DISPATCH.indexer_path("cuda", rope) == "fused"
        assert DISPATCH.indexer_path("cpu", rope) == "functional"


def test_one_output_without_the_other_is_refused() -> None:
    q, k = tensors()
    variant = indexer_rope_variant(HIP, rope=ROPES["native"], tensor="v32_indexer", tokens=4, heads=2)
    with pytest.raises(LayoutError, match="pass both or neither"):
        indexer_rope_forward(POSITIONS, q, k, CACHE, variant=variant, q_out=torch.empty_like(q))
