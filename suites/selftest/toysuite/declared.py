"""Op `toy_run`: cases that pass, in two block sizes of which the matrix expects one; slow and fatal ones.

Op `toy_fatal` takes its process with it in one of its modes, op `toy_felling` its node of a cluster.
"""

from __future__ import annotations

from collections.abc import Iterable
from types import ModuleType
from typing import Any

from rocassay.harness.cases import Case, cross
from rocassay.harness.faults import ChangeVariant
from rocassay.harness.faults import register as declare
from rocassay.harness.ops import Matrix, Op, Tier, expect, register
from rocassay.harness.providers import Function, Functions, Offer, Provider
from rocassay.suites.selftest.toys import HOSTILE, double, toy_fault, toy_op
from rocassay.suites.selftest.toysuite.names import (
    EXPECTED_BLOCK_SIZE,
    FATAL,
    FATAL_BLOCK_SIZE,
    FELLING,
    FELLING_BLOCK_SIZE,
    NAME,
    OTHER_BLOCK_SIZE,
    SLOW_BLOCK_SIZE,
    SLOW_CASES,
)


def cases(tier: Tier) -> Iterable[Case]:
    """The block size tells the modes apart, so that the ordinary filters select them."""
    axes: dict[str, Any] = {"arches": ("gfx942",), "fp8s": ("e4m3fn",)}
    sizes = (EXPECTED_BLOCK_SIZE, OTHER_BLOCK_SIZE)
    yield from cross(NAME, **axes, block_sizes=sizes, mode=("fine",), number=range(3))
    yield from cross(NAME, **axes, block_sizes=(SLOW_BLOCK_SIZE,), mode=("slow",), number=range(SLOW_CASES))
    modes = ("dies", "raises", *HOSTILE)
    yield from cross(NAME, **axes, block_sizes=(FATAL_BLOCK_SIZE,), mode=modes, number=(0,))
    yield from cross(NAME, **axes, block_sizes=(FATAL_BLOCK_SIZE,), mode=("fine",), number=range(len(modes)))


class Absent(Provider):
    """A provider that can run nothing."""

    name = "absent"

    def unavailable(self, op: Op, case: Case) -> str | None:  # noqa: ARG002
        """Always says why not."""
        return "the toy is not installed"

    def call(self, op: Op, case: Case, arguments: dict[str, Any], variant: Any, module: ModuleType | None) -> None:  # noqa: ARG002
        """Never reached."""
        raise AssertionError(case)


PART = Functions("part", {NAME: Function(double, Offer(block_sizes=(OTHER_BLOCK_SIZE,)))})
"""A provider that offers cases of one block size."""

OP = register(
    toy_op(
        NAME,
        cases=cases,
        faults=(f"{NAME}-off-by-one", f"{NAME}-harmless"),
        probed=lambda case: case["mode"] == "fine",
    )
)
FAULTS = (
    declare(toy_fault(NAME)),
    declare(
        toy_fault(
            NAME,
            name=f"{NAME}-harmless",
            seams={NAME: ChangeVariant(lambda variant: variant)},
            applies=lambda case: case.block_size == OTHER_BLOCK_SIZE,
        )
    ),
)
register(
    toy_op(
        FATAL,
        cases=lambda _: cross(
            FATAL,
            arches=("gfx942",),
            fp8s=("e4m3fn",),
            block_sizes=(FATAL_BLOCK_SIZE,),
            mode=("fine", "dies"),
            number=(0,),
        ),
        faults=(f"{NAME}-off-by-one",),
    )
)
register(
    toy_op(
        FELLING,
        cases=lambda _: [
            Case(FELLING, "gfx942", "e4m3fn", FELLING_BLOCK_SIZE, (("mode", mode), ("number", number)))
            for mode, number in (("fells", 0), ("fine", 0), ("fine", 1))
        ],
        faults=(f"{NAME}-off-by-one",),
    )
)
EXPECTED = expect(Matrix(ops=(NAME,), arches=("gfx942",), fp8s=("e4m3fn",), block_sizes=(EXPECTED_BLOCK_SIZE,)))
