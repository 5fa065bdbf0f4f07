"""Mistakes in what happens at all: branches, choices, stores, and the order between programs and waves."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from rocassay.harness.mutants.text import Edit, FunctionText, called

_ORDER = ("barrier", "wait")
"""Parts of the names of calls that only order what others do."""


def choice_fixed(node: ast.AST, text: FunctionText) -> Iterator[Edit]:
    """`where(c, a, b)` gives `a` everywhere, and `b` everywhere."""
    if isinstance(node, ast.Call) and called(node) == "where" and len(node.args) == 3:
        yield text.replaced(node.args[0], "True")
        yield text.replaced(node.args[0], "False")


def condition_fixed(node: ast.AST, text: FunctionText) -> Iterator[Edit]:
    """`if` always takes its branch, and never does; `while` never begins."""
    if isinstance(node, ast.If | ast.IfExp):
        yield text.replaced(node.test, "True")
    if isinstance(node, ast.If | ast.IfExp | ast.While):
        yield text.replaced(node.test, "False")


def store_dropped(node: ast.AST, text: FunctionText) -> Iterator[Edit]:
    """A store or atomic whose result nobody uses does not happen."""
    if isinstance(node, ast.Expr) and ("store" in called(node.value) or called(node.value).startswith("atomic")):
        yield text.replaced(node, "pass")


def barrier_dropped(node: ast.AST, text: FunctionText) -> Iterator[Edit]:
    """A barrier or wait is missing."""
    if isinstance(node, ast.Expr) and any(word in called(node.value) for word in _ORDER):
        yield text.replaced(node, "pass")


def order_relaxed(node: ast.AST, text: FunctionText) -> Iterator[Edit]:
    """An atomic orders nothing but itself."""
    if isinstance(node, ast.keyword) and node.arg == "sem" and ast.unparse(node.value) != "'relaxed'":
        yield text.replaced(node.value, '"relaxed"')


def atomic_made_plain(node: ast.AST, text: FunctionText) -> Iterator[Edit]:
    """An atomic whose result nobody uses becomes an ordinary store."""
    if not isinstance(node, ast.Expr) or not called(node.value).startswith("atomic"):
        return
    call = node.value
    if isinstance(call, ast.Call) and isinstance(call.func, ast.Attribute) and called(call) != "atomic_cas":
        given = [text.text(part) for part in (*call.args, *(k for k in call.keywords if k.arg == "mask"))]
        yield text.replaced(call, f"{text.text(call.func.value)}.store({', '.join(given)})")
