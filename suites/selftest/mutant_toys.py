"""The toy op as a kernel, for the self-tests of mutants, and its mutants by what they change."""

from __future__ import annotations

from dataclasses import replace

from rocassay.harness.cases import Case
from rocassay.harness.inputs import Operands, Stream
from rocassay.harness.mutants.mutant import Mutant, mutants_of
from rocassay.suites.selftest.toys import toy_case, toy_fault, toy_inputs, toy_op

NAME = "toy_rows"
LAUNCHER = "rocassay.suites.selftest.mutant_kernels:double_rows"
CASES = tuple(replace(toy_case(mode), op=NAME) for mode in ("128", "256"))
"""The mode is the size of a block."""

ZEROS = replace(toy_case("128", number=1), op=NAME)
"""Its values are zeros: it does not see what becomes of them."""


def inputs(case: Case, stream: Stream) -> Operands:
    """The toy's; of an odd number zeros."""
    operands = toy_inputs(case, stream)
    return replace(operands, inputs={"x": operands.inputs["x"] * 0}) if case["number"] else operands


OP = toy_op(NAME, launcher=LAUNCHER, inputs=inputs, probes=(), cases=lambda _: CASES)
FAULT = toy_fault(NAME)


def mutant(operator: str, old: str, new: str = "") -> Mutant:
    """The one mutant of that operator whose line holds `old`, and becomes something that holds `new`."""
    every = mutants_of(OP, "interpreter")
    (found,) = (one for one in every if one.operator == operator and old in one.old and new in one.new)
    return found
