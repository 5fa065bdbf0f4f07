"""Mistakes in what is guarded: masks, their parts, and checks for slots that hold nothing."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from rocassay.harness.mutants.text import Edit, FunctionText


def mask_dropped(node: ast.AST, text: FunctionText) -> Iterator[Edit]:
    """`mask=m` lets every lane through; the shape stays."""
    if isinstance(node, ast.keyword) and node.arg == "mask" and not isinstance(node.value, ast.Constant):
        yield text.replaced(node.value, f"{text.operand(node.value)} | True")


def conjunct_dropped(node: ast.AST, text: FunctionText) -> Iterator[Edit]:
    """`a & b` becomes `a`, and `b`."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitAnd):
        yield from either(node, text)
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.And):
        yield from _without_one(node, "and", text)


def disjunct_dropped(node: ast.AST, text: FunctionText) -> Iterator[Edit]:
    """`a | b` becomes `a`, and `b`."""
    if isinstance(node, ast.BinOp) and isinstance(node.op, ast.BitOr):
        yield from either(node, text)
    if isinstance(node, ast.BoolOp) and isinstance(node.op, ast.Or):
        yield from _without_one(node, "or", text)


def check_dropped(node: ast.AST, text: FunctionText) -> Iterator[Edit]:
    """`slot >= 0` and `slot != -1` hold for every slot."""
    if not isinstance(node, ast.Compare) or len(node.ops) != 1:
        return
    bound = ast.unparse(node.comparators[0])
    if (type(node.ops[0]), bound) in ((ast.GtE, "0"), (ast.Gt, "-1"), (ast.NotEq, "-1")):
        yield text.replaced(node, f"{text.operand(node.left)} == {text.operand(node.left)}")


def either(node: ast.BinOp, text: FunctionText) -> Iterator[Edit]:
    """The operation replaced by each of its operands, unless that is a number, which no kernel computes with."""
    for kept in (node.left, node.right):
        if not isinstance(kept, ast.Constant):
            yield text.replaced(node, text.operand(kept))


def _without_one(node: ast.BoolOp, word: str, text: FunctionText) -> Iterator[Edit]:
    for dropped in node.values:
        kept = [text.operand(value) for value in node.values if value is not dropped]
        yield text.replaced(node, f" {word} ".join(kept))
