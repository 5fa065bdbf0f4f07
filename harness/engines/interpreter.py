"""The interpreter engine: any plain ``@triton.jit`` kernel on the CPU, with correct numerics.

It reuses Triton's interpreter (triton/runtime/interpreter.py) for the meaning of the language, and replaces
its arithmetic, its memory access, its reductions and its launch: no environment variable, no copy of a
tensor's storage, and nothing left patched once a launch is over.
"""

# pyright: reportMissingTypeStubs=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportUnknownParameterType=false
from __future__ import annotations

import contextlib
import itertools
from collections.abc import Callable, Generator, Iterator
from types import FunctionType
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
import triton
import triton.language as tl
from triton.runtime.jit import JITFunction, TensorWrapper, mangle_type
from triton.tools.tensor_descriptor import TensorDescriptor

from rocassay.harness import fp8 as fp8_formats
from rocassay.harness.engines import language
from rocassay.harness.engines.base import OUT_OF_BOUNDS, EngineUnavailable, FindingKind, Trace
from rocassay.harness.engines.builder import Handle
from rocassay.harness.engines.language import BUILDER, SEMANTIC
from rocassay.harness.engines.launch import Launch, intercepted
from rocassay.harness.engines.memory import Findings, Memory, Span, span_of
from rocassay.harness.engines.rewriting import rewritten
from rocassay.harness.errors import RocassayError

if TYPE_CHECKING:
    from rocassay.harness.arch import Target

KNOWN_TRITON = ("3.6.0", "3.9.0")
"""Triton releases whose interpreter internals this engine was proven against."""


_WATCHED: frozenset[FindingKind] = frozenset([*OUT_OF_BOUNDS, "write_conflict"])


class UnsupportedLaunch(RocassayError, TypeError):
    """The interpreter engine cannot run this launch: a Gluon kernel, or an argument it cannot read."""


class InterpreterEngine:
    """Runs launches on the CPU, one program instance at a time.

    `triton_version` is what the engine checks against `KNOWN_TRITON`; local suffixes ("+rocm7.2") count
    as the release they were built from.
    """

    name = "interpreter"

    def __init__(self, triton_version: str = triton.__version__) -> None:
        self._version = triton_version
        self.device = torch.device("cpu")

    def target(self, arch: str) -> Target:
        """Decisions of `arch`; every FP8 format is native here."""
        from rocassay.harness.arch import Target

        return Target(arch, "interpreter", frozenset(fp8_formats.FORMATS))

    def unavailable(self, arch: str, fp8: str) -> str | None:  # noqa: ARG002
        """None for every arch and every FP8 format on a known Triton; else what is wrong with Triton."""
        return self._problem()

    @contextlib.contextmanager
    def session(self) -> Generator[Trace, None, None]:
        """While open, launches are interpreted; accesses out of bounds or in no order are findings, not crashes."""
        problem = self._problem()
        if problem is not None:
            raise EngineUnavailable(problem)
        trace = Trace(reads={}, watched=_WATCHED)

        def handle(launch: Launch, _proceed: Callable[..., Any]) -> None:
            trace.launches.append(launch)
            execute(launch, trace)

        with intercepted(handle):
            yield trace

    def stands_for(self, arch: str) -> bool:  # noqa: ARG002
        """The interpreter runs the source of every architecture's decisions."""
        return True

    def release(self) -> None:
        """The allocator gives host memory back by itself."""

    def lost(self) -> str | None:
        """A fault inside a kernel is a Python exception here: the process goes on."""
        return None

    def describe(self) -> dict[str, str]:
        """Versions of Triton, numpy and torch."""
        return {
            "engine": self.name,
            "device": "cpu",
            "triton": self._version,
            "numpy": np.__version__,
            "torch": str(torch.__version__),
        }

    def _problem(self) -> str | None:
        if self._version.partition("+")[0] not in KNOWN_TRITON:
            return (
                f"the interpreter engine does not know the internals of Triton {self._version}; "
                f"install {' or '.join(KNOWN_TRITON)}, or use the isa or device engine"
            )
        if not isinstance(tl.cdiv, JITFunction):  # pyright: ignore[reportUnnecessaryIsInstance]
            return "Triton was imported with TRITON_INTERPRET set; unset it, this engine works without"
        return None


def execute(launch: Launch, trace: Trace) -> None:
    """Run every program instance of a launch and add what its memory accesses revealed to `trace`.

    Exceptions raised by kernel code propagate as they are, with the kernel's source lines.
    """
    kernel = launch.kernel
    if kernel.is_gluon():
        raise UnsupportedLaunch(f"{launch.name} is a Gluon kernel, which cannot be interpreted; use another engine")
    memory = Memory(_spans(launch))
    findings = Findings(launch.name, memory)
    BUILDER.enter(memory, findings, launch.grid)
    for hook in kernel.pre_run_hooks:
        hook(**launch.args)
    try:
        with language.active(_Functions()) as functions, np.errstate(all="ignore"):
            args = {p.name: _argument(launch.args[p.name], p) for p in kernel.params}
            function = functions(kernel)
            x, y, z = launch.grid
            for BUILDER.grid_idx in _programs(x, y, z):
                function(**args)
    finally:
        trace.findings.extend(findings.all())
        if trace.reads is not None:
            for start, count in memory.reads.items():
                trace.reads[start] = trace.reads.get(start, 0) + count


def _programs(x: int, y: int, z: int) -> Iterator[tuple[int, int, int]]:
    """Program indices with x fastest, the order in which GPUs start them."""
    return ((i, j, k) for k, j, i in itertools.product(range(z), range(y), range(x)))


class _Functions:
    """The rewritten functions of one launch: module globals are read afresh for each launch."""

    def __init__(self) -> None:
        self._functions: dict[int, FunctionType] = {}

    def __call__(self, kernel: Any) -> FunctionType:
        function = self._functions.get(id(kernel))
        if function is None:
            function = rewritten(kernel, language.interpreted_global, language.HELPERS)
            self._functions[id(kernel)] = function
        return function


def _spans(launch: Launch) -> Iterator[Span]:
    for name, value in launch.args.items():
        for tensor in _tensors(value):
            if tensor.device.type != "cpu":
                raise UnsupportedLaunch(
                    f"argument {name} of {launch.name} lives on {tensor.device}; "
                    "the interpreter engine needs CPU tensors: make the inputs on engine.device"
                )
            yield span_of(name, tensor)


def _tensors(value: Any) -> Iterator[torch.Tensor]:
    if isinstance(value, TensorDescriptor | TensorWrapper):
        yield from _tensors(value.base)
    elif isinstance(value, torch.Tensor):
        yield value
    elif isinstance(value, tuple):
        for item in value:
            yield from _tensors(item)


def _argument(value: Any, parameter: Any) -> Any:
    """The value that kernel code sees: constexprs as they are, the rest as tensors.

    An annotated scalar has its annotated type, as in a compiled kernel; a plain float is fp32.
    """
    if parameter.is_constexpr:
        return value
    annotated = parameter.annotation_type
    if annotated and isinstance(value, bool | int | float):
        return _scalar(value, tl.str_to_ty(annotated, None))
    return _converted(value)


def _converted(value: Any) -> Any:
    if hasattr(value, "data_ptr"):
        pointer: Any = tl.str_to_ty(mangle_type(value), None)
        return tl.tensor(Handle(np.array([value.data_ptr()], dtype=np.uint64), pointer), pointer)
    if isinstance(value, bool | int | float):
        return _scalar(value, tl.str_to_ty(mangle_type(value), None))
    if isinstance(value, tuple):
        items = map(_converted, value)
        return type(value)(*items) if hasattr(value, "_fields") else type(value)(items)
    if isinstance(value, TensorDescriptor):
        return _descriptor(value)
    return value


def _scalar(value: float, dtype: Any) -> Any:
    return SEMANTIC.scalar_constant(value, dtype=dtype)


def _descriptor(value: Any) -> Any:
    strides = [_converted(stride) for stride in value.strides]
    strides[-1] = tl.constexpr(1)
    descriptor = SEMANTIC.make_tensor_descriptor(
        base=_converted(value.base),
        shape=[_converted(size) for size in value.shape],
        strides=strides,
        block_shape=[tl.constexpr(size) for size in value.block_shape],
        padding_option=value.padding,
    )
    descriptor.handle.round_f32_to_tf32 = getattr(value, "round_f32_to_tf32", False)
    return descriptor
