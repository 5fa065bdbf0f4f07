"""Mistakes in arithmetic, that of addresses above all: what is left out, turned round or taken for another."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Mapping

from rocassay.harness.mutants.operators.masks import either
from rocassay.harness.mutants.text import Edit, FunctionText

_Assigned = ast.BinOp | ast.AugAssign


def addend_dropped(node: ast.AST, text: FunctionText) -> Iterator[Edit]:
    """`a + b` becomes `a`, and `b`; `a - b` becomes `a`; `a += b` does nothing."""
    yield from _dropped(node, text, both=ast.Add, right=ast.Sub)


def factor_dropped(node: ast.AST, text: FunctionText) -> Iterator[Edit]:
    """A scale or stride is missing: `a * b` becomes `a`, and `b`; `a / b` becomes `a`; `a *= b` does nothing."""
    yield from _dropped(node, text, both=ast.Mult, right=ast.Div)


def bits_dropped(node: ast.AST, text: FunctionText) -> Iterator[Edit]:
    """`a ^ b` becomes `a`, and `b`; `a << b` and `a >> b` become `a`."""
    yield from _dropped(node, text, both=ast.BitXor, right=(ast.LShift, ast.RShift))


_Operator = type[ast.operator]


def _dropped(
    node: ast.AST, text: FunctionText, *, both: _Operator, right: _Operator | tuple[_Operator, ...]
) -> Iterator[Edit]:
    """Operations of which either operand may be missing, and those that only keep their left one."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, both):
        yield from either(node, text)
    elif isinstance(node, ast.BinOp) and isinstance(node.op, right):
        yield text.replaced(node, text.operand(node.left))
    elif isinstance(node, ast.AugAssign) and isinstance(node.op, (both, right)):
        yield text.replaced(node, "pass")


def sign_turned(node: ast.AST, text: FunctionText) -> Iterator[Edit]:
    """`+` becomes `-`, and back."""
    yield from _exchanged(node, {ast.Add: ("+", "-"), ast.Sub: ("-", "+")}, text)


def quotient_exchanged(node: ast.AST, text: FunctionText) -> Iterator[Edit]:
    """`//` becomes `%`, and back: the page for the place in it."""
    yield from _exchanged(node, {ast.FloorDiv: ("//", "%"), ast.Mod: ("%", "//")}, text)


def shift_turned(node: ast.AST, text: FunctionText) -> Iterator[Edit]:
    """`<<` becomes `>>`, and back."""
    yield from _exchanged(node, {ast.LShift: ("<<", ">>"), ast.RShift: (">>", "<<")}, text)


def _exchanged(
    node: ast.AST, becomes: Mapping[type[ast.operator], tuple[str, str]], text: FunctionText
) -> Iterator[Edit]:
    if isinstance(node, _Assigned) and (symbols := becomes.get(type(node.op))):
        left, right = (node.left, node.right) if isinstance(node, ast.BinOp) else (node.target, node.value)
        yield text.token(left, right, *symbols)


def negation_dropped(node: ast.AST, text: FunctionText) -> Iterator[Edit]:
    """`-a`, `~a` and `not a` become `a`."""
    if isinstance(node, ast.UnaryOp):
        yield text.replaced(node, text.operand(node.operand))


def stride_exchanged(node: ast.AST, text: FunctionText) -> Iterator[Edit]:
    """A stride is taken for the next one among the function's parameters."""
    strides = [argument.arg for argument in text.definition.args.args if "stride" in argument.arg]
    if isinstance(node, ast.Name) and node.id in strides and len(strides) > 1 and isinstance(node.ctx, ast.Load):
        yield text.replaced(node, strides[(strides.index(node.id) + 1) % len(strides)])
