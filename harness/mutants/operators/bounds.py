"""Mistakes at the edges: comparisons, the ends of loops, rounding up."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from rocassay.harness.mutants.text import Edit, FunctionText, called

_SYMBOLS: Mapping[type[ast.cmpop], str] = {
    ast.Lt: "<", ast.LtE: "<=", ast.Gt: ">", ast.GtE: ">=", ast.Eq: "==", ast.NotEq: "!=",
}  # fmt: skip
_BOUNDARY = {"<": "<=", "<=": "<", ">": ">=", ">=": ">", "==": "!=", "!=": "=="}
_REVERSED = {"<": ">", "<=": ">=", ">": "<", ">=": "<="}


def boundary_moved(node: ast.AST, text: FunctionText) -> Iterator[Edit]:
    """`<` becomes `<=` and back, `>` becomes `>=` and back, `==` becomes `!=` and back."""
    yield from _compared(node, _BOUNDARY, text)


def comparison_reversed(node: ast.AST, text: FunctionText) -> Iterator[Edit]:
    """`<` becomes `>`, `<=` becomes `>=`, and back."""
    yield from _compared(node, _REVERSED, text)


def _compared(node: ast.AST, becomes: Mapping[str, str], text: FunctionText) -> Iterator[Edit]:
    if not isinstance(node, ast.Compare):
        return
    operands = [node.left, *node.comparators]
    for left, kind, right in zip(operands, node.ops, operands[1:]):  # noqa: B905 (the last operand has no operator)
        old = _SYMBOLS.get(type(kind), "")
        if old in becomes:
            yield text.token(left, right, old, becomes[old])


def loop_shortened(node: ast.AST, text: FunctionText) -> Iterator[Edit]:
    """`range(a, b)` leaves out its last step; with a step of its own it is left alone."""
    if isinstance(node, ast.Call) and called(node) in ("range", "static_range") and len(node.args) in (1, 2):
        yield text.replaced(node.args[-1], f"{text.operand(node.args[-1])} - 1")


def ceiling_dropped(node: ast.AST, text: FunctionText) -> Iterator[Edit]:
    """`cdiv(a, b)` rounds down."""
    if isinstance(node, ast.Call) and called(node) in ("cdiv", "ceil_div") and len(node.args) == 2:
        whole, part = node.args
        yield text.replaced(node, f"({text.operand(whole)} // {text.operand(part)})")
