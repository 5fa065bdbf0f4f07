"""Mistakes in directions: axes of tiles, of reductions and of the grid."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from rocassay.harness.mutants.operators.values import REDUCTIONS
from rocassay.harness.mutants.text import Edit, FunctionText, called

_NEXT = {0: 1, 1: 0, 2: 1}
"""Axis -> the one that it is taken for."""

_OF_THE_GRID = ("program_id", "num_programs")


def axis_exchanged(node: ast.AST, text: FunctionText) -> Iterator[Edit]:
    """A reduction runs along another axis."""
    if not isinstance(node, ast.Call) or called(node) in _OF_THE_GRID:
        return
    given = [keyword.value for keyword in node.keywords if keyword.arg in ("axis", "dim")]
    if called(node) in REDUCTIONS:
        given += node.args[1:2]
    yield from _renumbered(given, text)


def program_axis_exchanged(node: ast.AST, text: FunctionText) -> Iterator[Edit]:
    """`program_id` and `num_programs` are those of another axis of the grid."""
    if isinstance(node, ast.Call) and called(node) in _OF_THE_GRID:
        yield from _renumbered([*node.args, *(keyword.value for keyword in node.keywords)], text)


def _renumbered(axes: list[ast.expr], text: FunctionText) -> Iterator[Edit]:
    for axis in axes:
        if isinstance(axis, ast.Constant) and isinstance(axis.value, int) and axis.value in _NEXT:
            yield text.replaced(axis, str(_NEXT[axis.value]))


def dimension_turned(node: ast.AST, text: FunctionText) -> Iterator[Edit]:
    """`[:, None]` becomes `[None, :]`, and back; of more dimensions the first becomes the last."""
    if isinstance(node, ast.Subscript) and isinstance(node.slice, ast.Tuple):
        parts = [text.text(part) for part in node.slice.elts]
        if "None" in parts:
            yield text.replaced(node.slice, ", ".join([*parts[1:], parts[0]]))


def transpose_dropped(node: ast.AST, text: FunctionText) -> Iterator[Edit]:
    """`trans(x)`, `permute(x, ...)` and `x.T` become `x`."""
    if isinstance(node, ast.Call) and called(node) in ("trans", "permute") and node.args:
        yield text.replaced(node, text.operand(node.args[0]))
    elif isinstance(node, ast.Attribute) and node.attr == "T":
        yield text.replaced(node, text.operand(node.value))
