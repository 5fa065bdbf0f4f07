"""``triton.language`` as running code: what the names in a kernel do while one is interpreted."""

# pyright: reportMissingTypeStubs=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportUnknownParameterType=false, reportMissingParameterType=false
# pyright: reportUnknownLambdaType=false, reportAttributeAccessIssue=false
from __future__ import annotations

import builtins
import contextlib
import functools
import importlib
import inspect
from collections.abc import Callable, Generator, Iterator, Mapping
from typing import Any, TypeVar

import numpy as np
import triton.language as tl
from triton.language.semantic import TritonSemantic
from triton.runtime import interpreter as stock
from triton.runtime.jit import JITFunction

from rocassay.harness.engines import reductions
from rocassay.harness.engines.builder import Builder, Handle, numpy_dtype
from rocassay.harness.engines.numerics import UnsupportedOperation
from rocassay.harness.engines.rewriting import AS_TENSOR, BOOLEAN, CONDITION, NEGATION

# The compiler knows Triton's builtins by identity: it must have seen them before anything below replaces them.
importlib.import_module("triton.compiler.code_generator")

BUILDER = Builder()
SEMANTIC: Any = TritonSemantic(BUILDER)

_Functions = TypeVar("_Functions", bound=Callable[[Any], Any])
_Change = tuple[Any, str, Any]
_MISSING = object()


@functools.cache
def _bound(builtin: Any) -> Callable[..., Any]:
    """A ``tl`` builtin as a plain function that computes at once."""
    function = getattr(builtin, "__wrapped__", builtin)

    def call(*args: Any, **keywords: Any) -> Any:
        keywords["_semantic"] = SEMANTIC
        return function(*args, **keywords)

    return call


def _is_builtin(value: Any) -> bool:
    return inspect.isfunction(value) and tl.core.is_builtin(value)


def interpreted_global(value: Any) -> Any:
    """What a global of a kernel's module becomes: builtins that were imported by name are bound."""
    return _bound(value) if _is_builtin(value) else value


# What rewritten code calls


def _as_tensor(value: Any) -> Any:
    """The value of an assignment: numbers become tensors, as Triton's code generator makes them."""
    if isinstance(value, tl.tensor):
        return value
    if type(value) is tuple:
        return tuple(_as_tensor(item) for item in value)
    return SEMANTIC.to_tensor(value, False)


def _condition(value: Any) -> Any:
    if isinstance(value, tl.tensor) and value.type.is_block():
        raise UnsupportedOperation("a block tensor is no condition; reduce it to a scalar first")
    return value


def _negation(value: Any) -> Any:
    return value.__not__() if isinstance(value, tl.tensor) else not value


def _boolean(conjunction: bool, *operands: Callable[[], Any]) -> Any:
    """``and``/``or``: only compile-time values short-circuit; tensors are all evaluated and combined."""
    tensors: list[Any] = []
    value: Any = None
    for operand in operands:
        value = operand()
        if isinstance(value, tl.tensor):
            tensors.append(value)
        elif bool(value) is not conjunction:
            return value
    if not tensors:
        return value
    combine = tl.tensor.logical_and if conjunction else tl.tensor.logical_or
    return functools.reduce(combine, tensors)


def _extreme(builtin: Any) -> Callable[..., Any]:
    def call(*args: Any, **keywords: Any) -> Any:
        result = _bound(builtin)(*args, **keywords)
        return result.value if isinstance(result, tl.constexpr) else result

    return call


def _unwrapped(value: Any) -> Any:
    return value.value if isinstance(value, tl.constexpr) else value


def _loop(*bounds: Any, **_hints: Any) -> Iterator[Any]:
    """``range`` in a kernel: the variable is an integer tensor of the bounds' common type."""
    values = [_unwrapped(bound) for bound in bounds]
    dtype = functools.reduce(SEMANTIC.integer_promote_impl, (SEMANTIC.to_tensor(v).dtype for v in values))
    storage = numpy_dtype(dtype)
    for index in builtins.range(*(int(value) for value in values)):
        yield tl.tensor(Handle(np.array([index], dtype=storage), dtype), dtype)


def _static_loop(arg1: Any, arg2: Any = None, step: Any = None, **_hints: Any) -> builtins.range:
    start, stop = (0, arg1) if arg2 is None else (arg1, arg2)
    first, last, stride = (int(_unwrapped(value)) for value in (start, stop, 1 if step is None else step))
    return builtins.range(first, last, stride)


def _runtime_loop(arg1: Any, arg2: Any = None, step: Any = None, **_hints: Any) -> Iterator[Any]:
    start, stop = (0, arg1) if arg2 is None else (arg1, arg2)
    return _loop(start, stop, 1 if step is None else step)


HELPERS: Mapping[str, Any] = {
    AS_TENSOR: _as_tensor,
    CONDITION: _condition,
    BOOLEAN: _boolean,
    NEGATION: _negation,
    "_InterpreterComparison": getattr(stock, "_InterpreterComparison", None),
    # Python's own would compare blocks by truth and count in unbounded integers.
    "range": _loop,
    "min": _extreme(tl.core.builtin_min),
    "max": _extreme(tl.core.builtin_max),
}
"""Names that rewritten kernel code finds unless its module defines them."""


# What changes in Triton while a launch runs


def _builtin_changes() -> Iterator[_Change]:
    classes = [value for value in vars(tl.core).values() if inspect.isclass(value)]
    for owner in (tl, tl.core, tl.math, *classes):
        for name, value in vars(owner).items():
            if _is_builtin(value):
                yield owner, name, _bound(value)


def _tensor_changes() -> Iterator[_Change]:
    for name, value in vars(tl.tensor).items():
        if isinstance(value, JITFunction):
            # Triton's code generator passes the tensor to such members; Python would not.
            yield tl.tensor, name, lambda self, *args, jit=value, **named: jit(self, *args, **named)
    yield tl.tensor, "__index__", lambda self: int(self.handle.data.item())
    # Triton's own library asks `if mask`, meaning "is there one", of blocks too.
    yield tl.tensor, "__bool__", lambda self: bool(self.handle.data) if self.handle.data.size == 1 else True
    yield tl.tensor, "__repr__", lambda self: repr(self.handle.data)
    yield tl.tensor, "__str__", lambda self: str(self.handle.data)
    yield tl.tensor, "T", property(_transposed)


def _transposed(tensor: Any) -> Any:
    data = np.swapaxes(tensor.handle.data, -1, -2)
    return tl.tensor(Handle(data, tensor.handle.dtype), tl.block_type(tensor.dtype, list(data.shape)))


_CONSTEXPR_OPERATORS = ("add", "sub", "mul", "truediv", "floordiv", "mod", "and", "or", "xor")


def _constexpr_changes() -> Iterator[_Change]:
    names = [f"__{side}{name}__" for name in _CONSTEXPR_OPERATORS for side in ("", "r")]
    names += [
        "__lt__",
        "__le__",
        "__gt__",
        "__ge__",
        "__eq__",
        "__ne__",
        "__lshift__",
        "__rshift__",
        "__pow__",
    ]
    for name in names:
        original = vars(tl.constexpr).get(name)
        if original is not None:
            yield tl.constexpr, name, _without_constexpr_tensor(original)


def _without_constexpr_tensor(original: Callable[..., Any]) -> Callable[..., Any]:
    """A constexpr operator whose result with a tensor is that tensor, not a constexpr around it."""

    def operator(self: Any, other: Any) -> Any:
        result = original(self, other)
        return result.value if isinstance(_unwrapped(result), tl.tensor) else result

    return operator


def _hint(value: Any, *_hints: Any) -> Any:
    return value


def _static_assert(condition: Any, message: str = "") -> None:
    if not condition:
        raise AssertionError(message)


def _core_changes() -> Iterator[_Change]:
    replacements = {
        "range": _runtime_loop,
        "static_range": _static_loop,
        "static_assert": _static_assert,
        "static_print": lambda *_args, **_named: None,
        "multiple_of": _hint,
        "max_contiguous": _hint,
        "max_constancy": _hint,
        "reduce": reductions.reduce,
        "associative_scan": reductions.scan,
    }
    for owner in (tl, tl.core):
        for name, value in replacements.items():
            yield owner, name, value
    yield tl.tensor, "reduce", reductions.reduce
    yield tl.tensor, "associative_scan", reductions.scan
    if hasattr(tl, "condition"):
        yield tl.condition, "__bool__", lambda self: bool(self.condition)


def _shape_changes() -> Iterator[_Change]:
    """Remembered types and shapes: Triton rebuilds them for every value, at half of the running time."""
    block_init, tensor_init = tl.block_type.__init__, tl.tensor.__init__
    blocks: dict[Any, dict[str, Any]] = {}
    shapes: dict[Any, tuple[Any, Any]] = {}

    def remembered_block(self: Any, element_ty: Any, shape: Any) -> None:
        key = element_ty.name, tuple([_unwrapped(size) for size in shape])
        known = blocks.get(key)
        if known is None:
            block_init(self, element_ty, shape)
            known = blocks[key] = {k: v for k, v in vars(self).items() if k != "element_ty"}
        vars(self).update(known, element_ty=element_ty)

    def remembered_tensor(self: Any, handle: Any, type: Any) -> None:  # noqa: A002
        # pointer_type and scalar types share the empty shape.
        key = type.name if type.is_block() else ""
        known = shapes.get(key)
        if known is None:
            tensor_init(self, handle, type)
            known = shapes[key] = self.shape, self.numel
        self.handle, self.type, self.dtype = handle, type, type.scalar
        self.shape, self.numel = known

    yield tl.block_type, "__init__", remembered_block
    yield tl.tensor, "__init__", remembered_tensor
    for owner in (tl.dtype, tl.pointer_type, tl.block_type):
        yield owner, "to_ir", lambda self, _builder: self


@functools.cache
def _changes() -> tuple[_Change, ...]:
    return (
        *_builtin_changes(),
        *_tensor_changes(),
        *_constexpr_changes(),
        *_core_changes(),
        *_shape_changes(),
    )


@contextlib.contextmanager
def active(functions: _Functions) -> Generator[_Functions, None, None]:
    """While active, ``triton.language`` computes on numpy arrays, and calling a JITFunction calls
    ``functions(it)``. Everything is put back on the way out, exception or not.
    """
    changes = (*_changes(), (JITFunction, "__call__", lambda self, *a, **k: functions(self)(*a, **k)))
    originals = [(owner, name, vars(owner).get(name, _MISSING)) for owner, name, _ in changes]
    try:
        for owner, name, value in changes:
            setattr(owner, name, value)
        yield functions
    finally:
        for owner, name, value in reversed(originals):
            if value is _MISSING:
                delattr(owner, name)
            else:
                setattr(owner, name, value)
