"""Op `toy_mutated`: a kernel with a mutant that ends its process."""

from __future__ import annotations

from collections.abc import Iterable

from rocassay.harness.cases import Case, cross
from rocassay.harness.faults import register as declare
from rocassay.harness.ops import Tier, register
from rocassay.suites.selftest.toys import toy_fault, toy_op
from rocassay.suites.selftest.toysuite.names import MUTATED


def cases(tier: Tier) -> Iterable[Case]:
    """One case; its mode is the size of a block."""
    yield from cross(MUTATED, arches=("gfx942",), fp8s=("e4m3fn",), block_sizes=(1,), mode=("128",), number=(0,))


OP = register(toy_op(MUTATED, cases=cases, launcher="rocassay.suites.selftest.mutant_kernels:fatal_rows"))
FAULT = declare(toy_fault(MUTATED, applies=lambda _: True))
