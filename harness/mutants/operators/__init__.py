"""Mutation operators: each a function from a node of a kernel to the edits that write one kind of mistake into it."""

from __future__ import annotations

import ast
from collections.abc import Callable, Iterator
from typing import TypeAlias

from rocassay.harness.mutants.operators import arithmetic, axes, bounds, control, masks, values
from rocassay.harness.mutants.text import Edit, FunctionText

Operator: TypeAlias = Callable[[ast.AST, FunctionText], Iterator[Edit]]
"""(node, the function it stands in) -> edits; nothing where the operator does not apply."""

OPERATORS: tuple[Operator, ...] = (
    masks.mask_dropped,
    masks.conjunct_dropped,
    masks.disjunct_dropped,
    masks.check_dropped,
    bounds.boundary_moved,
    bounds.comparison_reversed,
    bounds.loop_shortened,
    bounds.ceiling_dropped,
    arithmetic.addend_dropped,
    arithmetic.factor_dropped,
    arithmetic.bits_dropped,
    arithmetic.sign_turned,
    arithmetic.quotient_exchanged,
    arithmetic.shift_turned,
    arithmetic.negation_dropped,
    arithmetic.stride_exchanged,
    values.number_raised,
    values.number_lowered,
    values.number_doubled,
    values.other_changed,
    values.infinity_turned,
    values.type_changed,
    values.cast_dropped,
    values.function_exchanged,
    axes.axis_exchanged,
    axes.program_axis_exchanged,
    axes.dimension_turned,
    axes.transpose_dropped,
    control.choice_fixed,
    control.condition_fixed,
    control.store_dropped,
    control.barrier_dropped,
    control.order_relaxed,
    control.atomic_made_plain,
)


def name_of(operator: Operator) -> str:
    """The operator's name as ids and records have it, e.g. `mask-dropped`."""
    return operator.__name__.replace("_", "-")  # type: ignore[attr-defined]
