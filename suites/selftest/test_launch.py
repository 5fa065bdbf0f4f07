"""The launch seam and the engine factory."""
# pyright: reportArgumentType=false, reportAttributeAccessIssue=false, reportGeneralTypeIssues=false
# pyright: reportInvalidTypeForm=false
# (a kernel's body is Triton's language: its literals are constexprs and its scalars have methods)

from __future__ import annotations

from typing import Any, TypeAlias

import pytest
import torch
import triton
import triton.language as tl
from triton.runtime.jit import JITFunction

from rocassay.harness.engines import base, device
from rocassay.harness.engines.launch import Handler, Launch, bind, intercepted

Tensors: TypeAlias = tuple[torch.Tensor, torch.Tensor]


@triton.jit
def scale(x, out, n, factor=2.0, BLOCK: tl.constexpr = 16):
    i = tl.program_id(0) * BLOCK + tl.arange(0, BLOCK)
    tl.store(out + i, tl.load(x + i, i < n) * factor, i < n)


@pytest.fixture
def tensors() -> Tensors:
    return torch.ones(32), torch.zeros(32)


def record(launches: list[Launch]) -> Handler:
    return lambda launch, _proceed: launches.append(launch)


def test_a_launch_binds_positions_keywords_and_defaults_by_parameter_name(tensors: Tensors):
    launches: list[Launch] = []
    with intercepted(record(launches)):
        scale[(2,)](*tensors, n=32)
    (launch,) = launches
    assert launch.name == "scale"
    assert launch.kernel is scale
    assert list(launch.args) == ["x", "out", "n", "factor", "BLOCK"]
    assert launch.args["x"] is tensors[0]
    assert (launch.args["n"], launch.args["factor"], launch.args["BLOCK"]) == (32, 2.0, 16)


def test_keywords_that_are_no_parameter_are_options(tensors: Tensors):
    launch = bind(scale, (1,), tensors, {"n": 32, "BLOCK": 8, "num_warps": 4, "waves_per_eu": 2})
    assert launch.options == {"num_warps": 4, "waves_per_eu": 2}
    assert launch.args["BLOCK"] == 8


@pytest.mark.parametrize(("grid", "expected"), [((3,), (3, 1, 1)), ((3, 2), (3, 2, 1)), ([4, 3, 2], (4, 3, 2))])
def test_a_grid_always_has_three_sizes(tensors: Tensors, grid: Any, expected: tuple[int, int, int]):
    assert bind(scale, grid, tensors, {"n": 32}).grid == expected


def test_a_callable_grid_sees_the_bound_parameters(tensors: Tensors):
    launch = bind(scale, lambda meta: (triton.cdiv(meta["n"], meta["BLOCK"]),), tensors, {"n": 33})
    assert launch.grid == (3, 1, 1)


@pytest.mark.parametrize("grid", [(), (1, 1, 1, 1)])
def test_a_grid_of_another_rank_is_refused(tensors: Tensors, grid: Any):
    with pytest.raises(ValueError, match="1 to 3 sizes"):
        bind(scale, grid, tensors, {"n": 32})


def test_a_missing_parameter_is_refused_as_in_a_call(tensors: Tensors):
    with pytest.raises(TypeError, match="'n'"):
        bind(scale, (1,), tensors, {})


def test_what_the_handler_returns_is_what_the_launch_returns(tensors: Tensors):
    with intercepted(lambda _launch, _proceed: "handled"):
        assert scale[(1,)](*tensors, 32) == "handled"


def test_the_innermost_interception_wins(tensors: Tensors):
    outer: list[Launch] = []
    inner: list[Launch] = []
    with intercepted(record(outer)):
        with intercepted(record(inner)):
            scale[(1,)](*tensors, 32)
        scale[(2,)](*tensors, 32)
    assert [launch.grid[0] for launch in inner] == [1]
    assert [launch.grid[0] for launch in outer] == [2]


def test_the_former_launch_is_restored_after_an_exception(tensors: Tensors):
    former = JITFunction.run

    def fail(_launch: Launch, _proceed: Any) -> None:
        raise KeyError("handler")

    with pytest.raises(KeyError, match="handler"), intercepted(fail):
        scale[(1,)](*tensors, 32)
    assert JITFunction.run is former


def test_proceed_overrides_options_but_no_parameters(tensors: Tensors):
    def override(_launch: Launch, proceed: Any) -> None:
        proceed(BLOCK=4)

    with pytest.raises(TypeError, match="BLOCK"), intercepted(override):
        scale[(1,)](*tensors, 32)


@pytest.mark.parametrize("name", ["interpreter", "device"])
def test_every_named_engine_fulfils_the_protocol(name: str):
    engine = base.engine(name)
    assert isinstance(engine, base.Engine)
    assert engine.name == name
    assert engine.describe()["triton"] == triton.__version__


def test_an_unknown_engine_is_refused_with_the_names_that_exist():
    with pytest.raises(base.UnknownEngine, match=r"'gpu'.*device.*interpreter"):
        base.engine("gpu")


def test_the_device_engine_states_why_it_cannot_run():
    engine = base.engine("device")
    reason = engine.unavailable("gfx942", "e4m3fnuz")
    if torch.cuda.is_available():
        assert reason is None or "gfx942" in reason
        return
    assert reason is not None
    assert "no GPU" in reason
    with pytest.raises(base.EngineUnavailable, match="no GPU"), engine.session():
        pass


def test_a_rocm_device_serves_only_its_own_architecture():
    assert device.architecture_of("gfx942:sramecc+:xnack-") == "gfx942"
    assert device.arch_mismatch("gfx942", "gfx942") is None
    assert device.arch_mismatch("gfx942", "gfx950") == "the device is gfx942, the case is for gfx950"


@pytest.mark.parametrize(
    ("capability", "formats"), [((8, 0), set()), ((8, 9), {"e4m3fn", "e5m2"}), ((9, 0), {"e4m3fn", "e5m2"})]
)
def test_cuda_devices_convert_ocp_formats_from_capability_8_9_on(capability: tuple[int, int], formats: set[str]):
    assert device.cuda_fp8(capability) == formats
