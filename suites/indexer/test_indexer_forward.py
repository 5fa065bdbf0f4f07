"""Each path of the Indexer with each kind of RoPE, and both paths' bytes side by side."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from rocassay.harness.arch import Target, profile
from rocassay.harness.cases import Case
from rocassay.harness.codegen import captured, compile_launch
from rocassay.harness.engines.interpreter import InterpreterEngine
from rocassay.harness.fp8 import decode_tensor, format_of
from rocassay.harness.inputs import Operands, Stream
from rocassay.harness.layouts import LayoutError
from rocassay.kernels.indexer.forward_variant import ForwardVariant, forward_variant
from rocassay.kernels.indexer.indexer_forward import indexer_forward
from rocassay.kernels.rope.implementations import ROPES, Rope
from rocassay.suites.kernels import indexer_forward as suite

KINDS = tuple(ROPES.values())
PATHS = ("inplace", "functional")
FORM = (
    "indexer_forward:gfx950:{fp8}:bs16:tokens=19,heads=6,dtype=bf16,index=int64,ratio=1,"
    "tensor={tensor},rope=custom_op,path={path},out=new:tagged:s0"
)


def drawn(fp8: str = "e4m3fn", tensor: str = "v32_indexer", path: str = "unfused") -> tuple[Case, Operands]:
    case = Case.parse(FORM.format(fp8=fp8, tensor=tensor, path=path))
    # One stream for both paths: their inputs must be the same.
    return case, suite.inputs(case, Stream("both paths", fp8, tensor))


def decided(case: Case) -> ForwardVariant:
    return suite.variant(case, InterpreterEngine().target(case.arch), suite.DISPATCH)


def ran(operands: Operands, variant: ForwardVariant) -> dict[str, torch.Tensor]:
    """All tensors after the forward; the operands themselves stay as they are."""
    tensors = {name: tensor.clone() for name, tensor in operands.tensors().items()}
    with InterpreterEngine().session() as trace:
        indexer_forward(**tensors, variant=variant)
    assert trace.findings == []
    return tensors


def meets_the_golden(case: Case, operands: Operands, found: dict[str, torch.Tensor]) -> bool:
    expectations = suite.golden(case, operands)
    return all(v.passed for name, e in expectations.items() for v in e.judge(name, found[name]))


@pytest.mark.parametrize("rope", KINDS, ids=lambda rope: rope.name)
@pytest.mark.parametrize("path", PATHS)
def test_the_path_on_slices_is_right_for_a_rope_in_place_only_and_concatenation_for_all(path: str, rope: Rope) -> None:
    case, operands = drawn()
    variant = decided(case)
    paired = replace(variant, rope=replace(variant.rope, path=path, rope=rope))
    assert meets_the_golden(case, operands, ran(operands, paired)) == (path == "functional" or rope.inplace)


@pytest.mark.parametrize("rope", KINDS, ids=lambda rope: rope.name)
def test_concatenation_leaves_the_callers_tensors_alone_unless_its_rope_works_in_place(rope: Rope) -> None:
    case, operands = drawn()
    variant = decided(case)
    found = ran(operands, replace(variant, rope=replace(variant.rope, path="functional", rope=rope)))
    assert torch.equal(found["q"], operands.inputs["q"]) == (not rope.inplace)


@pytest.mark.parametrize("rope", KINDS, ids=lambda rope: rope.name)
def test_the_dispatcher_pairs_every_rope_with_the_path_that_is_right_for_it(rope: Rope) -> None:
    case, operands = drawn()
    target = Target("gfx942", "interpreter", frozenset({"e4m3fn", "e4m3fnuz"}))
    variant = forward_variant(
        target, rope=rope, tensor="v32_indexer", fp8="e4m3fn", block_size=16, tokens=19, heads=suite.HEADS
    )
    found = ran(operands, variant)
    assert meets_the_golden(case, operands, found)
    assert torch.equal(found["q"], operands.inputs["q"])


@pytest.mark.parametrize("tensor", ["v32_indexer", "glm_indexer"])
@pytest.mark.parametrize("fp8", suite.FP8S)
def test_the_fused_kernel_leaves_the_very_bytes_of_the_unfused_path(fp8: str, tensor: str) -> None:
    case, operands = drawn(fp8, tensor)
    one_by_one, together = decided(case), decided(drawn(fp8, tensor, "fused")[0])
    assert (one_by_one.path, together.path) == ("unfused", "fused")
    apart, fused = ran(operands, one_by_one), ran(operands, together)
    for name in operands.outputs:
        assert torch.equal(apart[name], fused[name]), name


def test_every_folded_scale_is_a_power_of_two() -> None:
    case, operands = drawn(path="fused")
    weights = operands.inputs["weights"].float()
    found = ran(operands, decided(case))["weights_out"].double() * (128 * suite.HEADS) ** 0.5
    scale = (found / weights.double()).float()
    exponent = torch.log2(scale).round()
    # Five roundings of fp32 lie between the scale and what is left of it here.
    assert torch.allclose(scale, torch.exp2(exponent), rtol=8 * torch.finfo(torch.float32).eps, atol=0)


def test_an_indexer_of_positions_zero_only_quantises_what_it_is_given() -> None:
    case, operands = drawn(path="fused")
    still = replace(operands, inputs={**operands.inputs, "positions": torch.zeros(19, dtype=torch.int64)})
    cache = torch.cat([torch.ones(1, 32), torch.zeros(1, 32)], dim=1)
    still = replace(still, inputs={**still.inputs, "cos_sin_cache": cache})
    codes = decode_tensor(ran(still, decided(case))["q_fp8"], format_of("e4m3fn"))
    q = operands.inputs["q"].double()
    amax = q.abs().amax(dim=-1, keepdim=True).clamp(min=1e-10)
    scale = torch.exp2(torch.ceil(torch.log2(amax / 448)))
    # Half an ulp of the largest e4m3 binade is 16 codes; below the normals it is 2^-10.
    assert bool(((codes * scale - q).abs() <= torch.maximum(q.abs() * 2.0**-4, scale * 2.0**-10)).all())


def test_the_unfused_path_without_a_place_for_scales_says_what_to_pass() -> None:
    case, operands = drawn()
    tensors = {name: tensor for name, tensor in operands.tensors().items() if name != "q_scale"}
    with pytest.raises(LayoutError, match="pass one in fp32"):
        indexer_forward(**tensors, variant=decided(case))


def test_heads_that_lie_apart_are_refused_where_they_cannot_be_rows() -> None:
    case, operands = drawn()
    tensors = dict(operands.tensors())
    tensors["q_fp8"] = torch.zeros(19, suite.HEADS, 256, dtype=torch.uint8)[..., :128]
    with pytest.raises(LayoutError, match="take the fused path"), InterpreterEngine().session():
        indexer_forward(**tensors, variant=decided(case))


@pytest.mark.parametrize("tensor", ["v32_indexer", "glm_indexer"])
@pytest.mark.parametrize(("arch", "fp8"), [("gfx942", "e4m3fnuz"), ("gfx950", "e4m3fn"), ("gfx942", "e4m3fn")])
def test_the_fused_kernel_fits_every_register_and_moves_whole_vectors(arch: str, fp8: str, tensor: str) -> None:
    _, operands = drawn(fp8, tensor, "fused")
    variant = forward_variant(
        Target(arch, "hip", profile(arch).native_fp8), rope=ROPES["yarn"], tensor=tensor, fp8=fp8, block_size=16,
        tokens=4096, heads=64, path="fused",
    )  # fmt: skip
    (launch,) = captured(lambda: indexer_forward(**operands.tensors(), variant=variant))
    code = compile_launch(launch, arch)
    assert code.spills == 0
    assert code.lds_bytes <= profile(arch).lds_bytes
    assert code.instructions(r"(global|buffer)_load_dwordx[24]")
