"""Arithmetic of Triton values on numpy arrays, where Triton's own interpreter computes wrongly.

A value travels as its storage: bfloat16 as uint16 bits, FP8 as uint8 codes, everything else as the numpy
type. Triton 3.6's and 3.9's interpreters compute on those bits, truncate where hardware rounds, lose the
carry of an FP8 mantissa and decode FP8 NaNs as numbers (triton/runtime/interpreter.py: `_convert_float`,
`cast_impl`, `binary_op`, `create_dot`). Here every operation decodes, computes in float32, and rounds to
nearest even; FP8 saturates as v_cvt_pk_fp8_f32 under FP16_OVFL and PTX cvt.satfinite do.
"""

# pyright: reportMissingTypeStubs=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
from __future__ import annotations

import functools
from collections.abc import Callable, Mapping
from typing import Any, TypeAlias

import numpy as np
import triton.language as tl
from numpy.typing import NDArray

from rocassay.harness import fp8
from rocassay.harness.errors import RocassayError

Array: TypeAlias = NDArray[Any]

FP8: Mapping[str, fp8.Fp8Format] = {getattr(tl, fmt.triton_name).name: fmt for fmt in fp8.FORMATS.values()}
"""FP8 formats by the name of their ``triton.language`` dtype, such as "fp8e4b8"."""

_NATIVE = {"fp16": np.float16, "fp32": np.float32, "fp64": np.float64}
_BF16 = "bf16"


class UnsupportedOperation(RocassayError, TypeError):
    """The interpreter will not guess what hardware does with this operation or type."""


@functools.cache
def _float32_table(name: str) -> NDArray[np.float32]:
    return FP8[name].values.astype(np.float32)


def is_narrow(dtype: str) -> bool:
    """Whether storage of this dtype is a bit pattern that numpy cannot compute on."""
    return dtype == _BF16 or dtype in FP8


def to_float(data: Array, dtype: str) -> Array:
    """The values of floating storage: float32 for bf16 and FP8 (exact), else the array itself.

    Raises UnsupportedOperation for a dtype that is no known float (fp8e4b15, an integer).
    """
    if dtype in _NATIVE:
        return data
    if dtype == _BF16:
        return fp8.bfloat16_from_bits(data)
    if dtype in FP8:
        return _float32_table(dtype)[data]
    raise UnsupportedOperation(f"the interpreter knows no floating values of type {dtype}; convert to fp32")


def from_float(values: Array, dtype: str, *, toward_zero: bool = False) -> Array:
    """Storage of floating values in `dtype`: to nearest even, FP8 saturating, NaN to NaN.

    Rounds once, from float64 too. `toward_zero` truncates instead (bf16 only).
    """
    if toward_zero and dtype != _BF16:
        raise UnsupportedOperation(f"rounding {values.dtype} toward zero into {dtype} is not modelled; use 'rtne'")
    if dtype in _NATIVE:
        return values.astype(_NATIVE[dtype], copy=False)
    if dtype == _BF16:
        single = _to_odd_float32(values) if values.dtype == np.float64 else values.astype(np.float32, copy=False)
        return _truncated_bfloat16(single) if toward_zero else fp8.bfloat16_bits(single)
    if dtype in FP8:
        wide = values.astype(np.float32) if values.dtype == np.float16 else values
        return fp8.encode(wide, FP8[dtype], overflow="saturate")
    raise UnsupportedOperation(f"the interpreter cannot convert floating values to {dtype}")


def _to_odd_float32(values: NDArray[np.float64]) -> NDArray[np.float32]:
    """float32 rounded to odd, from which a second rounding gives what one rounding of float64 gives."""
    single = values.astype(np.float32)
    wide = single.astype(np.float64)
    even_inexact = (wide != values) & ((single.view(np.uint32) & 1) == 0) & np.isfinite(values)
    neighbour = np.nextafter(single, np.where(values > wide, np.inf, -np.inf).astype(np.float32))
    return np.where(even_inexact, neighbour, single)


def _truncated_bfloat16(single: NDArray[np.float32]) -> NDArray[np.uint16]:
    bits = (single.view(np.uint32) >> 16).astype(np.uint16)
    return np.where(np.isnan(single), bits | 0x40, bits)


def convert_float(data: Array, source: str, target: str, *, toward_zero: bool = False) -> Array:
    """Storage of `source` as storage of `target`, both floating."""
    return from_float(to_float(data, source), target, toward_zero=toward_zero)


def int_to_float(data: Array, target: str) -> Array:
    """Integers as floating storage; to bf16 by way of float32, as both GPU back ends lower it."""
    return from_float(data.astype(_NATIVE.get(target, np.float32)), target)


def float_to_int(data: Array, source: str, target: np.dtype[Any]) -> Array:
    """Truncated integers of floating storage.

    Out of range, as v_cvt_i32_f32 and cvt.rzi do: saturated to 32 bits (64 for a 64-bit target), NaN to 0,
    then cut to the target's width.
    """
    values = to_float(data, source)
    if target == np.bool_:
        return values != 0
    wide = np.dtype(f"{target.kind}{max(4, target.itemsize)}")
    limits = np.iinfo(wide)
    exact = values.astype(np.float64)
    inside = (exact > float(limits.min) - 1) & (exact < float(limits.max))
    if np.all(inside):
        return values.astype(wide).astype(target, copy=False)
    clamped = np.where(exact >= float(limits.max), limits.max, limits.min).astype(wide)
    truncated = np.where(inside, exact, 0.0).astype(wide)
    return np.where(inside, truncated, np.where(np.isnan(exact), 0, clamped)).astype(target)


def _unordered(ordered_opposite: np.ufunc) -> Callable[[Array, Array], Array]:
    return lambda lhs, rhs: ~ordered_opposite(lhs, rhs)


def _ordered_unequal(lhs: Array, rhs: Array) -> Array:
    return (lhs < rhs) | (lhs > rhs)


def _unordered_equal(lhs: Array, rhs: Array) -> Array:
    return ~_ordered_unequal(lhs, rhs)


def _reciprocal_root(values: Array) -> Array:
    return np.reciprocal(np.sqrt(values))


FLOAT_BINARY: Mapping[str, Callable[..., Array]] = {
    "create_fadd": np.add,
    "create_fsub": np.subtract,
    "create_fmul": np.multiply,
    "create_fdiv": np.divide,
    "create_precise_divf": np.divide,
    "create_approx_divf": np.divide,
    "create_frem": np.fmod,
    "create_minimumf": np.minimum,
    "create_maximumf": np.maximum,
    "create_minnumf": np.fmin,
    "create_maxnumf": np.fmax,
}
"""Builder methods that compute a float from two floats of one dtype."""

FLOAT_COMPARE: Mapping[str, Callable[..., Array]] = {
    "create_fcmpOLT": np.less,
    "create_fcmpOGT": np.greater,
    "create_fcmpOLE": np.less_equal,
    "create_fcmpOGE": np.greater_equal,
    "create_fcmpOEQ": np.equal,
    "create_fcmpONE": _ordered_unequal,
    "create_fcmpULT": _unordered(np.greater_equal),
    "create_fcmpUGT": _unordered(np.less_equal),
    "create_fcmpULE": _unordered(np.greater),
    "create_fcmpUGE": _unordered(np.less),
    "create_fcmpUEQ": _unordered_equal,
    "create_fcmpUNE": np.not_equal,
}
"""Builder methods that compare two floats; U is true and O is false when either is NaN."""

FLOAT_UNARY: Mapping[str, Callable[..., Array]] = {
    "create_fneg": np.negative,
    "create_fabs": np.abs,
    "create_cos": np.cos,
    "create_sin": np.sin,
    "create_exp": np.exp,
    "create_exp2": np.exp2,
    "create_log": np.log,
    "create_log2": np.log2,
    "create_floor": np.floor,
    "create_ceil": np.ceil,
    "create_sqrt": np.sqrt,
    "create_precise_sqrt": np.sqrt,
    "create_rsqrt": _reciprocal_root,
}
"""Builder methods that compute a float from one float."""

INTEGER_COMPARE: Mapping[str, Callable[..., Array]] = {
    f"create_icmp{sign}{order}": compare
    for order, compare in {
        "LE": np.less_equal, "LT": np.less, "GE": np.greater_equal, "GT": np.greater,
    }.items()
    for sign in "SU"
} | {"create_icmpEQ": np.equal, "create_icmpNE": np.not_equal}  # fmt: skip
"""Builder methods that compare two integers or pointers."""


def _amount(lhs: Array, rhs: Array) -> Array:
    """Bits to shift by. Hardware looks at the low ones alone (AMD CDNA3 ISA guide, V_LSHLREV_B32), numpy at all."""
    return np.bitwise_and(rhs, rhs.dtype.type(8 * lhs.dtype.itemsize - 1))


def shift_left(lhs: Array, rhs: Array) -> Array:
    """Shift in zeros from below."""
    return np.left_shift(lhs, _amount(lhs, rhs))


def logical_shift_right(lhs: Array, rhs: Array) -> Array:
    """Shift in zeros whatever the storage's signedness."""
    unsigned = np.dtype(f"u{lhs.dtype.itemsize}")
    return (lhs.view(unsigned) >> _amount(lhs, rhs).view(unsigned)).view(lhs.dtype)


def arithmetic_shift_right(lhs: Array, rhs: Array) -> Array:
    """Shift in the sign whatever the storage's signedness."""
    signed = np.dtype(f"i{lhs.dtype.itemsize}")
    return (lhs.view(signed) >> _amount(lhs, rhs).view(signed)).view(lhs.dtype)


INTEGER_BINARY: Mapping[str, Callable[..., Array]] = {
    "create_add": np.add,
    "create_sub": np.subtract,
    "create_mul": np.multiply,
    "create_shl": shift_left,
    "create_srem": np.fmod,
    "create_urem": np.fmod,
    "create_minsi": np.minimum,
    "create_minui": np.minimum,
    "create_maxsi": np.maximum,
    "create_maxui": np.maximum,
    "create_and": np.bitwise_and,
    "create_or": np.bitwise_or,
    "create_xor": np.bitwise_xor,
}
"""Builder methods that compute an integer from two integers; all wrap around."""


def refuse_fp8(dtype: str, operation: str) -> None:
    """Raise UnsupportedOperation for arithmetic on FP8: no GPU has it, and compilers differ."""
    if dtype in FP8:
        raise UnsupportedOperation(
            f"{operation} on {dtype} has no hardware meaning; convert the operands to fp32 first"
        )


def float_op(operation: str, function: Callable[..., Array], dtype: str, *data: Array) -> Array:
    """Apply an elementwise float function to storage of one dtype; bf16 in float32, rounded once."""
    if dtype in _NATIVE:
        return function(*data)
    refuse_fp8(dtype, operation)
    return from_float(function(*(to_float(each, dtype) for each in data)), dtype)


def float_compare(operation: str, function: Callable[..., Array], dtype: str, lhs: Array, rhs: Array) -> Array:
    """Apply a float comparison to storage of one dtype; bool of the same shape."""
    if dtype in _NATIVE:
        return function(lhs, rhs)
    refuse_fp8(dtype, operation)
    return function(to_float(lhs, dtype), to_float(rhs, dtype))


def integer_op(function: Callable[..., Array], lhs: Array, rhs: Array) -> Array:
    """Apply an integer function; int1 wraps modulo 2 instead of numpy's logical meaning."""
    if lhs.dtype == np.bool_:
        return (function(lhs.astype(np.int8), rhs.astype(np.int8)) & 1).astype(np.bool_)
    return function(lhs, rhs)


def quotient(lhs: Array, rhs: Array) -> Array:
    """Integer quotient towards zero. By 0 it is all ones: GPUs give junk there, and numpy's 0 would look harmless."""
    found = (lhs - np.fmod(lhs, rhs)) // rhs
    return found if rhs.all() else np.where(rhs == 0, ~np.zeros_like(found), found)


def clamp(dtype: str, values: Array, low: Array, high: Array, *, propagate_nan: bool) -> Array:
    """min(max(x, low), high); NaN in x gives NaN if `propagate_nan`, else `low`."""
    lower, upper = (np.maximum, np.minimum) if propagate_nan else (np.fmax, np.fmin)
    return float_op("clamp", upper, dtype, float_op("clamp", lower, dtype, values, low), high)


def fma(dtype: str, x: Array, y: Array, z: Array) -> Array:
    """x * y + z rounded once, as storage of `dtype`; UnsupportedOperation for fp64 and FP8."""
    if dtype not in (_BF16, "fp16", "fp32"):
        raise UnsupportedOperation(f"fma on {dtype} is not modelled by the interpreter; multiply and add apart")
    a, b, c = (to_float(each, dtype).astype(np.float64) for each in (x, y, z))
    product = a * b  # exact: at most 48 bits
    total = product + c
    shadow = total - product
    error = (product - (total - shadow)) + (c - shadow)
    # Rounded to odd, so that the rounding into `dtype` below is the only one that counts.
    inexact_even = (error != 0) & np.isfinite(error) & ((total.view(np.uint64) & 1) == 0)
    odd = np.where(inexact_even, np.nextafter(total, np.where(error > 0, np.inf, -np.inf)), total)
    return from_float(odd, dtype)


def dot(lhs: Array, lhs_type: str, rhs: Array, rhs_type: str, acc: Array, acc_type: str) -> Array:
    """lhs @ rhs + acc as storage of `acc_type`.

    Products are exact and summed in float32 (float64 for fp64); integers are exact and wrap at 32 bits.
    A narrower accumulator is rounded once at the end, as AMD's matrix instructions allow.
    """
    if np.issubdtype(acc.dtype, np.integer) and not is_narrow(acc_type):
        # int8 products over any block's K stay far below 2^53, so float64 BLAS is exact.
        exact = np.matmul(lhs.astype(np.float64), rhs.astype(np.float64))
        return exact.astype(np.int64).astype(acc.dtype) + acc
    wide = np.float64 if acc_type == "fp64" else np.float32
    left, right = (
        to_float(lhs, lhs_type).astype(wide, copy=False),
        to_float(rhs, rhs_type).astype(wide, copy=False),
    )
    return from_float(np.matmul(left, right) + to_float(acc, acc_type).astype(wide, copy=False), acc_type)


def histogram(values: Array, bins: int, mask: Array | None) -> NDArray[np.int32]:
    """Counts of 0..bins-1; other values are dropped, as on hardware."""
    kept = (values >= 0) & (values < bins)
    if mask is not None:
        kept &= mask
    return np.bincount(values[kept].astype(np.int64), minlength=bins).astype(np.int32)


def reduce_sum(data: Array, dtype: str, axis: int) -> Array:
    """Sum along an axis in the given dtype; half-precision sums round at every level of a binary tree."""
    if dtype == _BF16 or dtype == "fp16":
        halves = np.moveaxis(data, axis, -1)
        while halves.shape[-1] > 1:
            halves = float_op("sum", np.add, dtype, halves[..., ::2], halves[..., 1::2])
        return halves[..., 0]
    refuse_fp8(dtype, "sum")
    if data.dtype == np.bool_:
        return np.bitwise_xor.reduce(data, axis=axis)  # int1 wraps modulo 2
    return np.sum(data, axis=axis, dtype=data.dtype)


def reduce_extreme(data: Array, dtype: str, axis: int, *, largest: bool) -> Array:
    """Maximum or minimum along an axis; NaNs lose against numbers, as in IEEE 754 maxNum."""
    if dtype in _NATIVE or not is_narrow(dtype):
        floating = (np.fmax if largest else np.fmin) if dtype in _NATIVE else None
        function = floating or (np.maximum if largest else np.minimum)
        return function.reduce(data, axis=axis)
    refuse_fp8(dtype, "max")
    return from_float(reduce_extreme(to_float(data, dtype), "fp32", axis, largest=largest), dtype)


def reduce_arg(data: Array, dtype: str, axis: int, *, largest: bool) -> NDArray[np.int64] | None:
    """Leftmost position of the extreme along an axis; None when a NaN makes it depend on the order."""
    refuse_fp8(dtype, "argmax")
    values = to_float(data, dtype) if is_narrow(dtype) else data
    if values.dtype.kind == "f" and bool(np.isnan(values).any()):
        return None
    return np.asarray(values.argmax(axis) if largest else values.argmin(axis))
