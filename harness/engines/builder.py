"""Triton's interpreter builder with mended arithmetic and checked memory."""

# pyright: reportMissingTypeStubs=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# pyright: reportPrivateUsage=false, reportUnknownParameterType=false, reportMissingParameterType=false
# pyright: reportUnknownLambdaType=false, reportIncompatibleMethodOverride=false, reportAttributeAccessIssue=false
# ruff: noqa: D102 - the method names are the interface of Triton's builder, described by Builder
from __future__ import annotations

import functools
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import triton.language as tl
from triton._C.libtriton import interpreter as native
from triton._C.libtriton import ir
from triton.runtime import interpreter as stock

from rocassay.harness.engines import numerics
from rocassay.harness.engines.base import FindingKind
from rocassay.harness.engines.memory import POISON_BYTE, Addresses, Findings, Lanes, Memory
from rocassay.harness.engines.numerics import UnsupportedOperation
from rocassay.harness.engines.rewriting import MARK


@functools.cache
def _numpy_dtype(name: str) -> np.dtype[Any]:
    return stock._get_np_dtype(tl.dtype(name))


def numpy_dtype(dtype: Any) -> np.dtype[Any]:
    """The numpy type of storage of a scalar, block or pointer type."""
    scalar = dtype.scalar
    return np.dtype(np.uint64) if scalar.is_ptr() else _numpy_dtype(scalar.name)


class Handle(stock.TensorHandle):
    """A value; without the check of every construction, which the builder's own types make needless."""

    def __post_init__(self) -> None:
        pass


def kernel_line() -> int | None:
    """Source line of the innermost kernel code on the stack."""
    frame = sys._getframe()
    while frame is not None:
        if MARK in frame.f_globals:
            return frame.f_lineno
        frame = frame.f_back
    return None


class Builder(stock.InterpreterBuilder):
    """Executes one program instance at a time on numpy arrays.

    Integers wrap silently, as on hardware. Accesses outside `memory` are recorded in `findings` and do
    not happen: such lanes load a poison pattern and store nothing. Lanes of one store that write different values
    to one place are recorded, too.
    """

    memory: Memory
    findings: Findings
    grid_idx: tuple[int, int, int]

    def __init__(self) -> None:
        super().__init__()
        self.options = stock.InterpreterOptions(sanitize_overflow=False)
        self.enter(Memory(()), Findings("", Memory(())), (1, 1, 1))

    def enter(self, memory: Memory, findings: Findings, grid: tuple[int, int, int]) -> None:
        """Begin a launch."""
        self.memory, self.findings = memory, findings
        self.set_grid_dim(*grid)
        self.grid_idx = (0, 0, 0)

    def __getattr__(self, name: str) -> Any:
        if name.startswith(("create_", "get_")):
            what = name.partition("_")[2]
            raise UnsupportedOperation(f"the interpreter engine has no {what}; run this kernel on another engine")
        raise AttributeError(name)

    # Memory

    def _checked(
        self, kind: FindingKind, addresses: Addresses, mask: Lanes | None, size: int
    ) -> tuple[Lanes | None, Lanes | None]:
        """(lanes that may access, lanes that tried to leave every tensor); None: all, none."""
        outside = self.memory.outside(addresses, mask, size)
        if outside is None:
            return mask, None
        self.findings.add(kind, addresses[outside], size, self.grid_idx, kernel_line())
        return ~outside if mask is None else mask & ~outside, outside

    def _load(self, pointers: Any, mask: Lanes | None, other: Any) -> Handle:
        element = pointers.get_element_ty()
        dtype, addresses = numpy_dtype(element), pointers.data
        allowed, outside = self._checked("out_of_bounds_read", addresses, mask, dtype.itemsize)
        if allowed is None:
            allowed = np.ones(addresses.shape, dtype=np.bool_)
        self.memory.count(addresses, allowed, dtype.itemsize)
        fallback = np.zeros(addresses.shape, dtype=dtype) if other is None else other.data
        data = native.load(addresses, allowed, fallback, dtype)
        if outside is not None:
            data[outside] = np.frombuffer(bytes([POISON_BYTE]) * dtype.itemsize, dtype=dtype)[0]
        return Handle(data, element)

    def _store(self, pointers: Any, value: Any, mask: Lanes | None) -> None:
        addresses = pointers.data
        allowed, _ = self._checked("out_of_bounds_write", addresses, mask, value.data.dtype.itemsize)
        if allowed is None:
            allowed = np.ones(addresses.shape, dtype=np.bool_)
        self._find_conflicts(addresses[allowed], value.data[allowed])
        native.store(addresses, value.data, allowed)

    def _find_conflicts(self, addresses: Addresses, values: Any) -> None:
        """Record lanes of one store that meet with different values: which comes last is the compiler's choice."""
        if (addresses[1:] > addresses[:-1]).all():
            return
        order = addresses.argsort(kind="stable")
        size = values.dtype.itemsize
        places, bits = addresses[order], values[order].view(f"u{size}")
        met = (places[1:] == places[:-1]) & (bits[1:] != bits[:-1])
        if met.any():
            self.findings.add("write_conflict", places[1:][met], size, self.grid_idx, kernel_line())

    def create_load(self, ptr: Any, *_policy: Any) -> Handle:
        return self._load(ptr, None, None)

    def create_store(self, ptr: Any, val: Any, *_policy: Any) -> None:
        self._store(ptr, val, None)

    def create_masked_load(self, ptrs: Any, mask: Any, other: Any, *_policy: Any, **_named: Any) -> Handle:
        return self._load(ptrs, np.asarray(mask.data), other)

    def create_masked_store(self, ptrs: Any, value: Any, mask: Any, *_policy: Any) -> None:
        self._store(ptrs, value, np.asarray(mask.data))

    def create_descriptor_load(self, desc: Any, indices: Any, *_policy: Any) -> Handle:
        pointers, mask = desc.materialize_pointers(indices)
        element = pointers.get_element_ty()
        other = None
        if desc.padding == ir.PADDING_OPTION.PAD_NAN:
            nan = numerics.from_float(np.full(pointers.data.shape, np.nan), element.name)
            other = Handle(nan, element)
        loaded = self.create_masked_load(pointers, mask, other)
        if getattr(desc, "round_f32_to_tf32", False) and element == tl.float32:
            return Handle(stock._round_f32_to_tf32(loaded.data), element)
        return loaded

    def create_atomic_rmw(self, rmw_op: Any, ptr: Any, val: Any, mask: Any, sem: Any, _scope: Any) -> Handle:
        self._refuse_narrow("an atomic", val)
        if rmw_op not in self.ir_rmw_op_to_interpreter_rmw_op:
            raise UnsupportedOperation(f"the interpreter engine has no atomic {rmw_op}")
        data, lanes = val.data, np.asarray(mask.data)
        allowed, outside = self._checked("out_of_bounds_write", ptr.data, lanes, data.dtype.itemsize)
        operation = self.ir_rmw_op_to_interpreter_rmw_op[rmw_op]
        order = self.ir_sem_to_interpreter_sem[sem]
        former = native.atomic_rmw(operation, ptr.data, data, allowed, order)
        return Handle(_poisoned(former, outside), val.dtype.scalar)

    def create_atomic_cas(self, ptr: Any, cmp: Any, val: Any, sem: Any, _scope: Any) -> Handle:
        size = val.data.dtype.itemsize
        _, outside = self._checked("out_of_bounds_write", ptr.data, None, size)
        if outside is None:
            order = self.ir_sem_to_interpreter_sem[sem]
            return Handle(native.atomic_cas(ptr.data, cmp.data, val.data, order), cmp.dtype.scalar)
        raise UnsupportedOperation("an atomic_cas outside every tensor cannot be suppressed; fix its address")

    def _refuse_narrow(self, operation: str, *values: Any) -> None:
        for value in values:
            if numerics.is_narrow(value.dtype.scalar.name):
                raise UnsupportedOperation(
                    f"{operation} on {value.dtype.scalar} is not modelled by the interpreter; use fp32"
                )

    # Conversions

    def create_fp_to_fp(self, src: Any, dst_type: Any, rounding_mode: Any = None) -> Handle:
        source, target = src.dtype.scalar, dst_type.scalar
        toward_zero = rounding_mode == ir.ROUNDING_MODE.RTZ
        data = numerics.convert_float(src.data, source.name, target.name, toward_zero=toward_zero)
        return Handle(data, target)

    create_fp_ext = create_fp_trunc = create_fp_to_fp

    def create_si_to_fp(self, src: Any, dst_type: Any) -> Handle:
        target = dst_type.scalar
        return Handle(numerics.int_to_float(src.data, target.name), target)

    create_ui_to_fp = create_si_to_fp

    def create_fp_to_si(self, src: Any, dst_type: Any) -> Handle:
        target = dst_type.scalar
        return Handle(numerics.float_to_int(src.data, src.dtype.scalar.name, numpy_dtype(target)), target)

    create_fp_to_ui = create_fp_to_si

    def create_int_cast(self, src: Any, dst_type: Any, is_signed: bool) -> Handle:  # noqa: ARG002
        target = dst_type.scalar
        return Handle(src.data.astype(numpy_dtype(target)), target)

    def create_bitcast(self, src: Any, dst_type: Any) -> Handle:
        return Handle(src.data.view(numpy_dtype(dst_type)), dst_type.scalar)

    create_int_to_ptr = create_ptr_to_int = create_bitcast

    def get_bf16(self, value: float) -> Handle:
        return Handle(numerics.from_float(np.array([value], dtype=np.float32), "bf16"), tl.bfloat16)

    def get_null_value(self, type: Any) -> Handle:  # noqa: A002
        return Handle(np.zeros(1, dtype=numpy_dtype(type)), type.scalar)

    # Arithmetic beyond the tables below

    def create_idiv(self, lhs: Any, rhs: Any) -> Handle:
        return Handle(numerics.quotient(lhs.data, rhs.data), lhs.dtype.scalar)

    def create_lshr(self, lhs: Any, rhs: Any) -> Handle:
        return Handle(numerics.logical_shift_right(lhs.data, rhs.data), lhs.dtype.scalar)

    def create_ashr(self, lhs: Any, rhs: Any) -> Handle:
        return Handle(numerics.arithmetic_shift_right(lhs.data, rhs.data), lhs.dtype.scalar)

    def create_select(self, cond: Any, lhs: Any, rhs: Any) -> Handle:
        return Handle(np.where(cond.data, lhs.data, rhs.data), rhs.dtype.scalar)

    def create_clampf(self, arg: Any, lo: Any, hi: Any, propagate_nans: Any) -> Handle:
        dtype = arg.dtype.scalar
        propagate = propagate_nans != ir.PROPAGATE_NAN.NONE
        data = numerics.clamp(dtype.name, arg.data, lo.data, hi.data, propagate_nan=propagate)
        return Handle(data, dtype)

    def create_fma(self, x: Any, y: Any, z: Any) -> Handle:
        dtype = z.dtype.scalar
        return Handle(numerics.fma(dtype.name, x.data, y.data, z.data), dtype)

    def create_erf(self, arg: Any) -> Handle:
        self._refuse_narrow("erf", arg)
        handle = super().create_erf(arg)
        return Handle(handle.data, handle.dtype)

    def create_dot(self, a: Any, b: Any, d: Any, *_options: Any) -> Handle:
        types = a.dtype.scalar.name, b.dtype.scalar.name, d.dtype.scalar.name
        data = numerics.dot(a.data, types[0], b.data, types[1], d.data, types[2])
        return Handle(data, d.dtype.scalar)

    def create_dot_scaled(self, *_operands: Any) -> Handle:
        raise UnsupportedOperation("the interpreter engine does not model tl.dot_scaled; scale after tl.dot")

    def create_inline_asm(self, *_operands: Any) -> Handle:
        raise UnsupportedOperation("the interpreter engine runs no inline assembly; use another engine")

    def create_extern_elementwise(self, _library: Any, _path: Any, symbol: str, *_operands: Any) -> Handle:
        raise UnsupportedOperation(f"the interpreter engine has no library function {symbol}; use another engine")

    def create_histogram(self, data: Any, bins: int, mask: Any) -> Handle:
        lanes = None if mask is None else np.asarray(mask.data)
        return Handle(numerics.histogram(data.data, int(bins), lanes), tl.int32)

    def create_splat(self, ret_ty: Any, arg: Any) -> Handle:
        return Handle(np.full(ret_ty.shape, arg.data, dtype=arg.data.dtype), arg.dtype.scalar)


def _poisoned(data: Any, lanes: Lanes | None) -> Any:
    if lanes is not None:
        data[lanes] = np.frombuffer(bytes([POISON_BYTE]) * data.dtype.itemsize, dtype=data.dtype)[0]
    return data


def _float_binary(name: str, function: Callable[..., Any]) -> Callable[..., Handle]:
    def method(_self: Builder, lhs: Any, rhs: Any) -> Handle:
        dtype = lhs.dtype.scalar
        return Handle(numerics.float_op(name, function, dtype.name, lhs.data, rhs.data), dtype)

    return method


def _float_unary(name: str, function: Callable[..., Any]) -> Callable[..., Handle]:
    def method(_self: Builder, arg: Any) -> Handle:
        dtype = arg.dtype.scalar
        return Handle(numerics.float_op(name, function, dtype.name, arg.data), dtype)

    return method


def _float_compare(name: str, function: Callable[..., Any]) -> Callable[..., Handle]:
    def method(_self: Builder, lhs: Any, rhs: Any) -> Handle:
        data = numerics.float_compare(name, function, lhs.dtype.scalar.name, lhs.data, rhs.data)
        return Handle(data, tl.int1)

    return method


def _integer_binary(_name: str, function: Callable[..., Any]) -> Callable[..., Handle]:
    def method(_self: Builder, lhs: Any, rhs: Any) -> Handle:
        return Handle(numerics.integer_op(function, lhs.data, rhs.data), lhs.dtype.scalar)

    return method


def _integer_compare(_name: str, function: Callable[..., Any]) -> Callable[..., Handle]:
    return lambda _self, lhs, rhs: Handle(function(lhs.data, rhs.data), tl.int1)


for _table, _make in (
    (numerics.FLOAT_BINARY, _float_binary),
    (numerics.FLOAT_UNARY, _float_unary),
    (numerics.FLOAT_COMPARE, _float_compare),
    (numerics.INTEGER_BINARY, _integer_binary),
    (numerics.INTEGER_COMPARE, _integer_compare),
):
    for _name, _function in _table.items():
        setattr(Builder, _name, _make(_name, _function))
