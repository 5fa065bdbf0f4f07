"""What a launch costs whatever it does: Triton's own host time, beside which those of the launchers are to be read."""

from __future__ import annotations

import functools

import torch
import triton
import triton.language as tl

from rocassay.harness.bench.bench import SHIPPED, Arguments, Bench, Call, Place, Traffic, register
from rocassay.harness.gates import Verdict
from rocassay.suites.bench.exactness import byte_verdict

MANY = 10
"""Tensors, integers and constants that the larger launch passes, each: about what an attention kernel takes."""

VALUE = 7


# pyright: reportArgumentType=false, reportCallIssue=false
@triton.jit
def _one_store_kernel(output, VALUE: tl.constexpr) -> None:
    tl.store(output, VALUE)


@triton.jit
def _many_arguments_kernel(
    output, t1, t2, t3, t4, t5, t6, t7, t8, t9, i0, i1, i2, i3, i4, i5, i6, i7, i8, i9, VALUE: tl.constexpr,
    C1: tl.constexpr, C2: tl.constexpr, C3: tl.constexpr, C4: tl.constexpr, C5: tl.constexpr, C6: tl.constexpr,
    C7: tl.constexpr, C8: tl.constexpr, C9: tl.constexpr,
) -> None:  # fmt: skip
    tl.store(output, VALUE)


def make(where: Place, count: int) -> list[Arguments]:
    """One element a set."""
    return [{"output": torch.empty(1, dtype=torch.int32, device=where.device)} for _ in range(count)]


def calls(_: Place, *, many: bool) -> dict[str, Call]:
    """A kernel of one store, with two arguments or with thirty."""
    constants = {f"C{number}": number for number in range(1, MANY)}
    integers = tuple(range(100, 100 + MANY))
    if many:
        return {
            SHIPPED: lambda a: _many_arguments_kernel[(1,)](*[a["output"]] * MANY, *integers, VALUE=VALUE, **constants)
        }
    return {SHIPPED: lambda a: _one_store_kernel[(1,)](a["output"], VALUE=VALUE)}


def check(_: Place, a: Arguments) -> list[Verdict]:
    """The stored value."""
    return [byte_verdict("output", a["output"].cpu(), torch.tensor([VALUE], dtype=torch.int32))]


for _many in (False, True):
    register(
        Bench(
            op="empty_launch",
            name="30-arguments" if _many else "2-arguments",
            traffic=Traffic(0, 4),
            make=make,
            implementations=functools.partial(calls, many=_many),
            outputs=("output",),
            check=check,
        )
    )
