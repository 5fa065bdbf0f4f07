"""The toy op as a kernel, for the self-tests of mutants, and its mutants by what they change."""

from __future__ import annotations

from dataclasses import replace

from rocassay.harness.mutants.mutant import Mutant, mutants_of
from rocassay.suites.selftest.toys import toy_case, toy_fault, toy_op

NAME = "toy_rows"
LAUNCHER = "rocassay.suites.selftest.mutant_kernels:double_rows"
CASES = tuple(replace(toy_case(mode), op=NAME) for mode in ("128", "256"))
"""The mode is the size of a block."""

OP = toy_op(NAME, launcher=LAUNCHER, probes=(), cases=lambda _: CASES)
FAULT = toy_fault(NAME)


def mutant(operator: str, old: str, new: str = "") -> Mutant:
    """The one mutant of that operator whose line holds `old`, and becomes something that holds `new`."""
    every = mutants_of(OP, "interpreter")
    (found,) = (one for one in every if one.operator == operator and old in one.old and new in one.new)
    return found
