"""The interpreter engine computes what hardware computes, and leaves nothing behind."""

from __future__ import annotations

import math
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import triton
import triton.language as tl
from triton.backends.compiler import GPUTarget
from triton.compiler import ASTSource
from triton.runtime.jit import JITFunction

from rocassay.harness import fp8
from rocassay.harness.engines.base import EngineUnavailable
from rocassay.harness.engines.interpreter import KNOWN_TRITON, InterpreterEngine, UnsupportedLaunch
from rocassay.harness.engines.numerics import UnsupportedOperation
from rocassay.suites.selftest import interpreter_kernels as kernels

FORMATS = sorted(fp8.FORMATS)
WIDE = [torch.float32, torch.float16, torch.bfloat16]
CHUNK = 1 << 18
FUSION = {"enable_fp_fusion": True}


def launch(kernel: Any, grid: tuple[int, ...], *args: Any, **kwargs: Any) -> None:
    with InterpreterEngine().session() as trace:
        kernel[grid](*args, **kwargs)
    assert trace.findings == []


def converted(source: torch.Tensor, dtype: torch.dtype) -> torch.Tensor:
    """`source` (1-D, any length) through the conversion kernel."""
    block = min(CHUNK, triton.next_power_of_2(source.numel()))
    programs = triton.cdiv(source.numel(), block)
    padded = torch.zeros(programs * block, dtype=source.dtype)
    padded[: source.numel()] = source
    out = torch.empty(programs * block, dtype=dtype)
    launch(kernels.convert, (programs,), padded, out, BLOCK=block)
    return out[: source.numel()]


def torch_dtype(name: str) -> torch.dtype:
    return getattr(torch, fp8.format_of(name).torch_name)


def all_codes(name: str) -> torch.Tensor:
    return torch.arange(256, dtype=torch.uint8).view(torch_dtype(name))


def random_floats(count: int, scale: float, seed: int = 0) -> torch.Tensor:
    """Half random bit patterns (NaN, inf and subnormals among them), half normals of the given scale."""
    rng = np.random.default_rng(seed)
    bits = rng.integers(0, 1 << 32, count // 2, dtype=np.uint32).view(np.float32)
    normals = (rng.standard_normal(count - count // 2) * scale).astype(np.float32)
    return torch.from_numpy(np.concatenate([bits, normals]))


def ties(fmt: fp8.Fp8Format) -> torch.Tensor:
    """Midpoints between neighbouring finite values, the values themselves, and their float32 neighbours."""
    finite = np.sort(fmt.values[np.isfinite(fmt.values)])
    exact = np.concatenate([finite, (finite[1:] + finite[:-1]) / 2]).astype(np.float32)
    return torch.from_numpy(
        np.concatenate([exact, np.nextafter(exact, np.float32(np.inf)), np.nextafter(exact, np.float32(-np.inf))])
    )


def assert_same(actual: torch.Tensor, expected: torch.Tensor) -> None:
    """Bitwise equality of values, NaNs being equal; −0 differs from 0."""
    assert actual.dtype == expected.dtype
    nan = torch.isnan(expected)
    assert torch.equal(torch.isnan(actual), nan)
    assert torch.equal(actual[~nan], expected[~nan])
    assert torch.equal(torch.signbit(actual[~nan]), torch.signbit(expected[~nan]))


@pytest.mark.parametrize("dtype", WIDE, ids=str)
@pytest.mark.parametrize("name", FORMATS)
def test_every_fp8_code_decodes_to_its_value(name: str, dtype: torch.dtype):
    expected = torch.tensor(fp8.format_of(name).values).to(dtype)
    assert_same(converted(all_codes(name), dtype), expected)


@pytest.mark.parametrize("name", FORMATS)
def test_a_million_floats_encode_to_the_nearest_code_and_saturate(name: str):
    fmt = fp8.format_of(name)
    extremes = torch.tensor([math.inf, -math.inf, math.nan, 0.0, -0.0, 1e30, -1e30])
    source = torch.cat([random_floats(1 << 20, fmt.max_finite / 3), ties(fmt), extremes])
    codes = converted(source, torch_dtype(name)).view(torch.uint8).numpy()
    saturated = source.clamp(-fmt.max_finite, fmt.max_finite)
    expected = saturated.to(torch_dtype(name)).view(torch.uint8).numpy()
    nan = torch.isnan(source).numpy()
    assert np.isin(codes[nan], fmt.nan_codes).all()
    assert np.array_equal(codes[~nan], expected[~nan])


@pytest.mark.parametrize("source_type", [torch.float16, torch.bfloat16, torch.float64], ids=str)
@pytest.mark.parametrize("name", FORMATS)
def test_other_floats_encode_as_their_value_does(name: str, source_type: torch.dtype):
    fmt = fp8.format_of(name)
    source = torch.cat([random_floats(4096, fmt.max_finite / 3), ties(fmt)]).to(source_type)
    expected = fp8.encode(source.to(torch.float64).numpy(), fmt, overflow="saturate")
    assert np.array_equal(converted(source, torch_dtype(name)).view(torch.uint8).numpy(), expected)


def test_a_million_floats_round_to_bf16_as_torch_rounds_them():
    source = torch.cat([random_floats(1 << 20, 1.0), torch.tensor([1 + 2**-8, 1 + 3 * 2**-8, 3.4e38])])
    assert_same(converted(source, torch.bfloat16), source.to(torch.bfloat16))


@pytest.mark.parametrize("types", [(torch.float16, torch.bfloat16), (torch.bfloat16, torch.float16)], ids=str)
def test_half_formats_convert_into_each_other_as_in_torch(types: tuple[torch.dtype, torch.dtype]):
    source = torch.arange(1 << 16, dtype=torch.int32).to(torch.uint16).view(types[0])
    assert_same(converted(source, types[1]), source.to(types[1]))


def test_float64_rounds_to_bf16_once():
    tie = 1 + 2**-8
    source = torch.tensor([tie, tie + 2**-40, -tie - 2**-40, tie - 2**-40, math.inf, math.nan], dtype=torch.float64)
    expected = torch.tensor([1, 1 + 2**-7, -1 - 2**-7, 1, math.inf, math.nan], dtype=torch.bfloat16)
    assert_same(converted(source, torch.bfloat16), expected)


def test_integers_and_bf16_convert_by_value():
    numbers = torch.tensor([0, 1, -3, 257, -65535, 2**30], dtype=torch.int32)
    assert_same(converted(numbers, torch.bfloat16), numbers.to(torch.bfloat16))
    floats = torch.tensor([0.0, -1.99, 2.5, 1024.0, -40000.0], dtype=torch.bfloat16)
    assert torch.equal(converted(floats, torch.int32), floats.to(torch.int32))


def test_floats_out_of_an_integers_range_saturate_and_nan_is_zero():
    source = torch.tensor([3e9, -3e9, math.nan, math.inf, -2147483648.0, 2147483520.0, 2.9, -2.9])
    top, bottom = 2**31 - 1, -(2**31)
    assert converted(source, torch.int32).tolist() == [top, bottom, 0, top, bottom, 2147483520, 2, -2]


DOT_TYPES = [torch.float32, torch.float16, torch.bfloat16, *map(torch_dtype, FORMATS)]


@pytest.mark.parametrize("dtype", DOT_TYPES, ids=str)
def test_a_dot_multiplies_exactly_and_accumulates_in_float32(dtype: torch.dtype):
    m, n, k = 16, 32, 64
    generator = torch.Generator().manual_seed(1)
    a = torch.randn(m, k, generator=generator).to(dtype)
    b = torch.randn(k, n, generator=generator).to(dtype)
    out = torch.empty(m, n)
    launch(kernels.matmul, (1,), a, b, out, m, n, k)
    wide_a, wide_b = a.to(torch.float64), b.to(torch.float64)
    # Any order of k float32 additions stays within this bound (Higham, section 3.1).
    bound = k * torch.finfo(torch.float32).eps * (wide_a.abs() @ wide_b.abs())
    assert ((out.double() - wide_a @ wide_b).abs() <= bound).all()


def test_a_dot_into_fp16_rounds_only_the_result():
    k = 128
    a, b = torch.full((16, k), 0.1, dtype=torch.float16), torch.full((k, 16), 10.0, dtype=torch.float16)
    out = torch.empty(16, 16, dtype=torch.float16)
    launch(kernels.matmul, (1,), a, b, out, 16, 16, k)
    assert torch.equal(out, (a.double() @ b.double()).half())


def test_an_int8_dot_is_exact():
    generator = torch.Generator().manual_seed(2)
    a, b = (torch.randint(-128, 128, (32, 32), generator=generator, dtype=torch.int8) for _ in range(2))
    out = torch.empty(32, 32, dtype=torch.int32)
    launch(kernels.matmul, (1,), a, b, out, 32, 32, 32)
    assert torch.equal(out, a.int() @ b.int())


@pytest.mark.parametrize("name", FORMATS)
def test_an_fp8_nan_in_a_dot_poisons_its_row_only(name: str):
    fmt = fp8.format_of(name)
    codes = torch.full((16, 16), 0x38, dtype=torch.uint8)
    codes[3, 5] = fmt.nan_code
    out = torch.empty(16, 16)
    b = torch.full((16, 16), 0x38, dtype=torch.uint8).view(torch_dtype(name))
    launch(kernels.matmul, (1,), codes.view(torch_dtype(name)), b, out, 16, 16, 16)
    expected = torch.zeros(16, dtype=torch.bool)
    expected[3] = True
    assert torch.equal(torch.isnan(out).all(1), expected)
    assert torch.equal(torch.isnan(out).any(1), expected)


def operands(dtype: torch.dtype) -> tuple[torch.Tensor, torch.Tensor]:
    special = torch.tensor([math.nan, math.inf, -math.inf, 0.0, -0.0, 1.0, -1.0, 1e-30])
    pairs = torch.cartesian_prod(special, special)
    x = torch.cat([pairs[:, 0], random_floats(960, 2.0, seed=3)[480:], random_floats(960, 2.0, seed=4)[480:]])
    y = torch.cat([pairs[:, 1], random_floats(960, 2.0, seed=5)[480:], random_floats(960, 2.0, seed=6)[480:]])
    return x.to(dtype), y.to(dtype)


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_arithmetic_is_that_of_torch(dtype: torch.dtype):
    x, y = operands(dtype)
    out = torch.empty(10, 1024, dtype=dtype)
    launch(kernels.arithmetic, (1,), x, y, out, BLOCK=1024)
    assert_same(out[0], x + y)
    assert_same(out[1], x - y)
    assert_same(out[2], x * y)
    # Triton 3.6 compiles −x as 0 − x, which makes no −0.
    assert_same(out[3][x != 0], -x[x != 0])
    assert_same(out[4], x.abs())
    minimum, maximum = torch.minimum(x, y), torch.maximum(x, y)
    unsigned = (x != 0) | (y != 0)  # the sign of min(0, −0) is nobody's promise
    assert_same(out[5][unsigned], minimum[unsigned])
    assert_same(out[6][unsigned], maximum[unsigned])
    assert_same(out[7], x.clamp(-1.0, 1.0))
    assert_same(out[8], torch.where(x > y, x, y))
    assert_same(out[9], x * torch.tensor(0.3, dtype=dtype))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32], ids=str)
def test_comparisons_are_those_of_torch(dtype: torch.dtype):
    x, y = operands(dtype)
    out = torch.empty(6, 1024, dtype=torch.bool)
    launch(kernels.compare, (1,), x, y, out, BLOCK=1024)
    assert torch.equal(out, torch.stack([x < y, x <= y, x == y, x != y, x >= y, x > y]))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32, torch.int32], ids=str)
def test_reductions_and_scans_compute_on_values(dtype: torch.dtype):
    # Integers this small and all their partial sums are exact in every one of the types.
    rows = torch.randint(-8, 9, (4, 16), generator=torch.Generator().manual_seed(7)).to(dtype)
    total, largest, smallest = (torch.empty(4, dtype=dtype) for _ in range(3))
    where, running = torch.empty(4, dtype=torch.int32), torch.empty(4, 16, dtype=dtype)
    launch(kernels.reduce_rows, (1,), rows, total, largest, smallest, where, running, 4, 16)
    exact = rows.double()
    assert torch.equal(total.double(), exact.sum(1))
    assert torch.equal(largest.double(), exact.max(1).values)
    assert torch.equal(smallest.double(), exact.min(1).values)
    assert torch.equal(where.long(), torch.from_numpy(exact.numpy().argmax(1)))
    assert torch.equal(running.double(), exact.cumsum(1))


def test_a_maximum_ignores_nan_and_a_sum_propagates_it():
    rows = torch.ones(4, 16, dtype=torch.bfloat16)
    rows[1, 4] = math.nan
    total, largest, smallest = (torch.empty(4, dtype=torch.bfloat16) for _ in range(3))
    where, running = torch.empty(4, dtype=torch.int32), torch.empty(4, 16, dtype=torch.bfloat16)
    launch(kernels.reduce_rows, (1,), rows, total, largest, smallest, where, running, 4, 16)
    assert torch.isnan(total).tolist() == [False, True, False, False]
    assert largest.tolist() == smallest.tolist() == [1.0] * 4
    assert torch.isnan(running[1]).tolist() == [False] * 4 + [True] * 12


@pytest.mark.parametrize(
    ("dtype", "step"),
    [(torch.float32, 2.0**-12), (torch.float16, 2.0**-6), (torch.bfloat16, 2.0**-4)],
    ids=str,
)
def test_fma_rounds_once(dtype: torch.dtype, step: float):
    # (1 + step)² needs a bit that the type lacks, and z cancels everything else of it.
    x = torch.full((16,), 1 + step, dtype=dtype)
    z = torch.full((16,), -(1 + 2 * step), dtype=dtype)
    out = torch.empty(16, dtype=dtype)
    launch(kernels.fused, (1,), x, x, z, out, BLOCK=16)
    assert out.tolist() == [step * step] * 16


@pytest.mark.parametrize(
    ("kernel", "source", "target", "message"),
    [
        (kernels.add_same, torch.float8_e4m3fn, torch.float8_e4m3fn, "convert the operands to fp32"),
        (kernels.less_same, torch.float8_e4m3fnuz, torch.bool, "convert the operands to fp32"),
        (kernels.sum_all, torch.float8_e5m2, torch.float8_e5m2, "convert the operands to fp32"),
        (kernels.sum_beyond, torch.float32, torch.float32, "1 dimensions has no axis 1"),
        (kernels.scan_beyond, torch.float32, torch.float32, "1 dimensions has no axis -2"),
        (kernels.atomic_into, torch.bfloat16, torch.bfloat16, "atomic on bf16"),
        (kernels.toward_zero, torch.float32, torch.float16, "toward zero"),
        (kernels.inline_assembly, torch.float32, torch.float32, "another engine"),
    ],
    ids=lambda value: getattr(value, "__name__", None),
)
def test_what_it_cannot_compute_rightly_is_refused(kernel: Any, source: torch.dtype, target: torch.dtype, message: str):
    with pytest.raises(UnsupportedOperation, match=message):
        launch(kernel, (1,), torch.zeros(16).to(source), torch.zeros(16).to(target))


def test_bf16_can_be_truncated_on_request():
    out = torch.empty(1, dtype=torch.bfloat16)
    launch(kernels.toward_zero, (1,), torch.tensor([1 + 2**-7 - 2**-20]), out)
    assert out.item() == 1.0


def test_control_flow_nested_functions_and_loop_variables_work_as_compiled():
    out = torch.zeros(16, dtype=torch.int64)
    launch(kernels.control_flow, (1,), out, 13, True)
    assert out.tolist() == [3, 4, 5, 6, 0, 0, 0, 0, 3, 1, 4, 13, 1, 0, 0, 0]


def test_module_globals_are_read_at_each_launch(monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(kernels, "SHADOWED", 42)
    out = torch.zeros(16, dtype=torch.int64)
    launch(kernels.control_flow, (1,), out, 1, False)
    assert (out[9].item(), out[12].item()) == (2, 42)


def test_and_or_not_of_blocks_are_elementwise():
    out = torch.empty(3, 8, dtype=torch.bool)
    launch(kernels.block_logic, (1,), torch.arange(8.0), out, BLOCK=8)
    x = torch.arange(8)
    assert torch.equal(out, torch.stack([(x > 2) & (x < 6), (x < 2) | (x > 6), x <= 2]))


def test_a_block_is_refused_as_a_condition():
    with pytest.raises(UnsupportedOperation, match="reduce it to a scalar"):
        launch(kernels.block_condition, (1,), torch.ones(2))


def test_int32_products_wrap_and_annotated_int64_ones_do_not():
    out = torch.empty(2, dtype=torch.int64)
    launch(kernels.wrap, (1,), out, 70000, 70000)
    assert out.tolist() == [70000**2 - 2**32, 70000**2]


def test_a_float_argument_is_fp32_and_promotes_bf16():
    out = torch.empty(1)
    launch(kernels.float_argument, (1,), torch.ones(1, dtype=torch.bfloat16), 0.1, out)
    assert out.item() == np.float32(0.1)


def test_custom_combine_functions_reduce_and_scan_in_order():
    x = torch.randn(16, generator=torch.Generator().manual_seed(8))
    out, scanned = torch.empty(2), torch.empty(2, 16)
    launch(kernels.custom_combine, (1,), x, out, scanned, BLOCK=16)
    expected = torch.logcumsumexp(x.double(), 0)
    bound = 16 * torch.finfo(torch.float32).eps * (1 + x.abs().max().item())
    assert (scanned[0].double() - expected).abs().max() <= bound
    assert (out[0].double() - expected[-1]).abs() <= bound
    assert out[1] == x[0]
    assert torch.equal(scanned[1], x[-1].expand(16))


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float32, torch.int32], ids=str)
def test_sort_and_histogram_compute_on_values(dtype: torch.dtype):
    x = torch.randint(-4, 12, (32,), generator=torch.Generator().manual_seed(9)).to(dtype)
    ordered, counts = torch.empty(32, dtype=dtype), torch.empty(8, dtype=torch.int32)
    launch(kernels.order_and_count, (1,), x, ordered, counts, 32, 8)
    assert torch.equal(ordered, x.sort().values)
    assert counts.tolist() == [(x == value).sum().item() for value in range(8)]


@pytest.mark.parametrize("dtype", [torch.int32, torch.int64, torch.uint32])
def test_a_quotient_by_zero_is_no_harmless_zero_and_others_round_towards_zero(dtype: torch.dtype):
    dividends = [0, 7, 7, 7] if dtype is torch.uint32 else [0, 7, -7, 7]
    divisors = [0, 0, 2, 2] if dtype is torch.uint32 else [0, 0, 2, -2]
    ones = 2**32 - 1 if dtype is torch.uint32 else -1
    out = torch.zeros(4, dtype=dtype)
    x, y = (torch.tensor(values, dtype=dtype) for values in (dividends, divisors))
    launch(kernels.divided, (1,), x, y, out, BLOCK=4)
    assert out.tolist() == [ones, ones, *([3, 3] if dtype is torch.uint32 else [-3, -3])]


def test_shifts_follow_the_signedness_of_the_type():
    out = torch.empty(2, dtype=torch.int32)
    launch(
        kernels.shift_right,
        (1,),
        torch.tensor([-8], dtype=torch.int32),
        torch.tensor([2**31], dtype=torch.uint32),
        out,
    )
    assert out.tolist() == [-4, 2**30]


@pytest.mark.parametrize("amount", [3, 35, -29])
def test_shifts_look_at_the_low_bits_of_their_amount_alone(amount: int):
    out, x = torch.empty(3, dtype=torch.int32), torch.tensor([-80], dtype=torch.int32)
    launch(kernels.shift_by, (1,), x, torch.tensor([2**31], dtype=torch.uint32), torch.tensor([amount]).int(), out)
    assert out.tolist() == [-10, 2**28, -640]


def test_every_program_of_a_three_dimensional_grid_runs():
    out = torch.full((4, 3, 2), -1, dtype=torch.int32)
    launch(kernels.program_ids, (2, 3, 4), out)
    z, y, x = torch.meshgrid(torch.arange(4), torch.arange(3), torch.arange(2), indexing="ij")
    assert torch.equal(out, (x + 10 * y + 100 * z).int())


def test_an_empty_grid_runs_nothing():
    out = torch.zeros(1, dtype=torch.int32)
    launch(kernels.constant, (0,), out)
    assert out.item() == 0


def test_a_replaced_source_is_what_runs():
    kernel = triton.jit(kernels.constant.fn)
    kernel._unsafe_update_src(kernel.src.replace("1)", "7)"))
    out = torch.zeros(1, dtype=torch.int32)
    launch(kernel, (1,), out)
    assert out.item() == 7


def test_a_tensor_elsewhere_is_refused():
    with pytest.raises(UnsupportedLaunch, match="out of constant lives on meta"):
        launch(kernels.constant, (1,), torch.zeros(1, device="meta"))


def triton_state() -> dict[str, object]:
    owners = (
        tl,
        tl.core,
        tl.math,
        tl.standard,
        tl.tensor,
        tl.constexpr,
        tl.block_type,
        tl.dtype,
        JITFunction,
    )
    return {f"{owner.__name__}.{name}": value for owner in owners for name, value in vars(owner).items()}


@pytest.mark.parametrize("kernel", [kernels.constant, kernels.failing])
def test_nothing_stays_patched_and_no_global_is_added(kernel: Any):
    state, names = triton_state(), dict(vars(kernels))
    try:
        launch(kernel, (1,), torch.zeros(1, dtype=torch.int32))
    except AssertionError as error:
        assert "meant to fail" in str(error)  # noqa: PT017 - only one of the kernels fails
    after = triton_state()
    assert after.keys() == state.keys()
    assert [name for name in state if after[name] is not state[name]] == []
    assert dict(vars(kernels)) == names


def test_an_interpreted_kernel_still_compiles_for_a_gpu():
    launch(kernels.matmul, (1,), *(torch.zeros(16, 16) for _ in range(3)), 16, 16, 16)
    signature = {
        "a": "*fp32",
        "b": "*fp32",
        "c": "*fp32",
        "M": "constexpr",
        "N": "constexpr",
        "K": "constexpr",
    }
    source = ASTSource(kernels.matmul, signature, constexprs={"M": 16, "N": 16, "K": 16})
    compiled = triton.compile(source, target=GPUTarget("hip", "gfx942", 64), options=FUSION)
    assert "mfma" in compiled.asm["amdgcn"]


def test_an_unknown_triton_is_refused_with_what_to_do():
    engine = InterpreterEngine(triton_version="99.0.0")
    reason = engine.unavailable("gfx942", "e4m3fnuz")
    assert reason is not None
    assert "99.0.0" in reason
    assert all(version in reason for version in KNOWN_TRITON)
    with pytest.raises(EngineUnavailable, match="99"), engine.session():
        pass


def test_a_local_build_of_a_known_triton_is_accepted():
    assert InterpreterEngine(f"{KNOWN_TRITON[0]}+rocm7.2").unavailable("gfx950", "e4m3fn") is None


def test_the_interpreter_takes_the_decisions_of_any_arch_with_every_format_native():
    target = InterpreterEngine().target("gfx942")
    assert (target.arch, target.backend) == ("gfx942", "interpreter")
    assert target.native_fp8 == frozenset(fp8.FORMATS)


AFTERWARDS = """
import sys, torch
from rocassay.harness.codegen import captured, compile_launch
from rocassay.harness.engines.base import engine
from rocassay.suites.selftest import codegen_kernels as kernels

x = torch.zeros(32, 32)
with engine("interpreter").session():
    kernels.launch(x, x.clone(), "twice")
(launch,) = captured(lambda: kernels.launch(x, x.clone(), "refused"))
try:
    compile_launch(launch, "gfx942")
except Exception as error:
    sys.exit(0 if "refused" in str(error) else str(error))
sys.exit("a failed static_assert compiles")
"""


def test_the_compiler_knows_its_builtins_after_an_interpreted_launch_in_a_fresh_process(tmp_path: Path):
    environment = {**os.environ, "TRITON_CACHE_DIR": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", AFTERWARDS], env=environment, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
