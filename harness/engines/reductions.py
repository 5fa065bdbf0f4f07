"""``tl.reduce`` and ``tl.associative_scan`` on whole arrays, for any combine function."""

# pyright: reportMissingTypeStubs=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportUnknownParameterType=false, reportPrivateUsage=false
from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import triton.language as tl

from rocassay.harness.engines import numerics
from rocassay.harness.engines.builder import Handle
from rocassay.harness.engines.numerics import Array, UnsupportedOperation

_ARGMAX = ("_argmax_combine_tie_break_left", "_argmax_combine_tie_break_fast")
_ARGMIN = ("_argmin_combine_tie_break_left", "_argmin_combine_tie_break_fast")


def _is(combine: Any, *names: str) -> bool:
    return any(combine is getattr(tl.standard, name, None) for name in names)


def _constant(value: Any) -> Any:
    return value.value if isinstance(value, tl.constexpr) else value


def _tensor(data: Array, dtype: Any) -> Any:
    if data.ndim == 0:
        return tl.tensor(Handle(data.reshape(1), dtype), dtype)
    return tl.tensor(Handle(data, dtype), tl.block_type(dtype, list(data.shape)))


def _position(axis: int, dimensions: int) -> int:
    """The axis, counted from the front. UnsupportedOperation for one that the block has not, which Triton refuses."""
    if not -dimensions <= axis < dimensions:
        raise UnsupportedOperation(f"a block of {dimensions} dimensions has no axis {axis}")
    return axis % dimensions


def _combined(combine: Callable[..., Any], left: Sequence[Any], right: Sequence[Any]) -> list[Any]:
    result = combine(*left, *right)
    return list(result) if isinstance(result, tuple | tl.tuple) else [result]


def reduce(input: Any, axis: Any, combine_fn: Any, keep_dims: Any = False, **_context: Any) -> Any:  # noqa: A002
    """What ``tl.reduce`` returns: a tensor, or a tuple when `input` is one; `axis` None reduces all."""
    if isinstance(input, tl.tensor):
        return reduce((input,), axis, combine_fn, keep_dims)[0]
    axis, keep_dims = _constant(axis), _constant(keep_dims)
    arrays = [tensor.handle.data for tensor in input]
    dtypes = [tensor.dtype for tensor in input]
    shape = arrays[0].shape
    if axis is None:
        arrays, position, kept = [data.reshape(-1) for data in arrays], 0, (1,) * len(shape)
    else:
        position = _position(axis, len(shape))
        kept = (*shape[:position], 1, *shape[position + 1 :])
    results = _reduced(arrays, dtypes, position, combine_fn)
    return tuple(
        _tensor(np.asarray(data).reshape(kept) if keep_dims else np.asarray(data), dtype)
        for data, dtype in zip(results, dtypes, strict=True)
    )


def _reduced(arrays: list[Array], dtypes: list[Any], axis: int, combine: Any) -> list[Array]:
    """The reduced arrays, without the axis; whole-array shortcuts where they mean the same."""
    data, dtype = arrays[0], dtypes[0].name
    if _is(combine, "_sum_combine"):
        return [numerics.reduce_sum(data, dtype, axis)]
    if _is(combine, "_elementwise_max", "_elementwise_min"):
        largest = _is(combine, "_elementwise_max")
        return [numerics.reduce_extreme(data, dtype, axis, largest=largest)]
    if _is(combine, *_ARGMAX, *_ARGMIN):
        position = numerics.reduce_arg(data, dtype, axis, largest=_is(combine, *_ARGMAX))
        if position is not None:
            at = np.expand_dims(position, axis)
            return [np.take_along_axis(each, at, axis).squeeze(axis) for each in arrays]
    return _tree(arrays, dtypes, axis, combine)


def _tree(arrays: list[Array], dtypes: list[Any], axis: int, combine: Any) -> list[Array]:
    """Neighbours combined level by level, left before right: right for any associative function."""
    level = [np.moveaxis(data, axis, -1) for data in arrays]
    while level[0].shape[-1] > 1:
        left = [_tensor(data[..., ::2], dtype) for data, dtype in zip(level, dtypes, strict=True)]
        right = [_tensor(data[..., 1::2], dtype) for data, dtype in zip(level, dtypes, strict=True)]
        level = [tensor.handle.data for tensor in _combined(combine, left, right)]
    return [data[..., 0] for data in level]


def scan(input: Any, axis: Any, combine_fn: Any, reverse: Any = False, **_context: Any) -> Any:  # noqa: A002
    """What ``tl.associative_scan`` returns: inclusive, from the end when `reverse`."""
    if isinstance(input, tl.tensor):
        return scan((input,), axis, combine_fn, reverse)[0]
    axis = _position(_constant(axis), input[0].handle.data.ndim)
    arrays = [np.moveaxis(tensor.handle.data, axis, -1) for tensor in input]
    dtypes = [tensor.dtype for tensor in input]
    if _constant(reverse):
        arrays = [data[..., ::-1] for data in arrays]
    arrays = _scanned(arrays, dtypes, combine_fn)
    if _constant(reverse):
        arrays = [data[..., ::-1] for data in arrays]
    return tuple(_tensor(np.moveaxis(data, -1, axis), dtype) for data, dtype in zip(arrays, dtypes, strict=True))


def _scanned(arrays: list[Array], dtypes: list[Any], combine: Any) -> list[Array]:
    data, dtype = arrays[0], dtypes[0]
    if not numerics.is_narrow(dtype.name) and _is(combine, "_sum_combine", "_prod_combine"):
        function = np.add if _is(combine, "_sum_combine") else np.multiply
        return [function.accumulate(data, axis=-1, dtype=data.dtype)]
    lanes, distance = np.arange(data.shape[-1]), 1
    while distance < len(lanes):
        # Lanes without a neighbour that far keep their value; their combination is computed and dropped.
        earlier = [_tensor(np.roll(each, distance, -1), ty) for each, ty in zip(arrays, dtypes, strict=True)]
        later = [_tensor(each, ty) for each, ty in zip(arrays, dtypes, strict=True)]
        combined = [tensor.handle.data for tensor in _combined(combine, earlier, later)]
        arrays = [np.where(lanes < distance, old, new) for old, new in zip(arrays, combined, strict=True)]
        distance *= 2
    return arrays
