"""Kernel source as an ordinary Python function with Triton's meaning, in a copy of the kernel's globals."""

# pyright: reportMissingTypeStubs=false
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false
# ruff: noqa: N802 - method names given by ast.NodeTransformer
from __future__ import annotations

import ast
import functools
import re
from collections.abc import Callable, Mapping
from types import CodeType, FunctionType
from typing import Any

from triton.runtime import interpreter as stock

MARK = "__rocassay_interpreted__"
"""Present in the globals of every rewritten function; how a frame is known to be kernel code."""

AS_TENSOR, CONDITION, BOOLEAN, NEGATION = (
    f"__rocassay_{name}__" for name in ("as_tensor", "condition", "boolean", "negation")
)
"""Names under which rewritten code finds the helpers that `function` is given."""


def _call(name: str, *args: ast.expr) -> ast.Call:
    return ast.Call(func=ast.Name(id=name, ctx=ast.Load()), args=list(args), keywords=[])


def _is_constexpr(annotation: ast.expr) -> bool:
    return "constexpr" in ast.unparse(annotation)


class _Transformer(stock.ASTTransformer):
    """Triton's transformer, and what it leaves to Python although Triton means something else.

    Triton's code generator evaluates both sides of ``and``/``or`` on tensors, refuses a block as a
    condition, and turns assigned numbers into tensors, within tuples and annotated assignments too.
    """

    def visit_Assign(self, node: ast.Assign) -> ast.Assign:
        self.generic_visit(node)
        node.value = _call(AS_TENSOR, node.value)
        return node

    def visit_AnnAssign(self, node: ast.AnnAssign) -> ast.AST:
        self.generic_visit(node)
        if node.value is not None and not _is_constexpr(node.annotation):
            node.value = _call(AS_TENSOR, node.value)
        return node

    def visit_BoolOp(self, node: ast.BoolOp) -> ast.AST:
        self.generic_visit(node)
        empty = ast.arguments(posonlyargs=[], args=[], kwonlyargs=[], kw_defaults=[], defaults=[])
        thunks = [ast.Lambda(args=empty, body=value) for value in node.values]
        return _call(BOOLEAN, ast.Constant(value=isinstance(node.op, ast.And)), *thunks)

    def visit_UnaryOp(self, node: ast.UnaryOp) -> ast.AST:
        self.generic_visit(node)
        return _call(NEGATION, node.operand) if isinstance(node.op, ast.Not) else node

    def _visit_test(self, node: Any) -> ast.AST:
        self.generic_visit(node)
        node.test = _call(CONDITION, node.test)
        return node

    visit_If = visit_While = visit_IfExp = visit_Assert = _visit_test  # noqa: N815


@functools.lru_cache(maxsize=4096)
def _compiled(source: str, name: str, file: str, line: int) -> CodeType:
    """The module code that defines the rewritten function, with the line numbers of `file`."""
    tree = _Transformer().visit(ast.parse(source))
    definition = tree.body[0]
    definition.returns = None
    for arg in (*definition.args.posonlyargs, *definition.args.args, *definition.args.kwonlyargs):
        arg.annotation = None
    # Defaults are values of the original function; only their number matters to the syntax.
    definition.args.defaults = [ast.Constant(value=None) for _ in definition.args.defaults]
    definition.args.kw_defaults = [default and ast.Constant(value=None) for default in definition.args.kw_defaults]
    definition.name = name
    ast.fix_missing_locations(tree)
    ast.increment_lineno(tree, line - 1)
    return compile(tree, filename=file, mode="exec", dont_inherit=True)


def _definition_line(kernel: Any) -> int:
    """Line of ``def`` in the source file: decorators come before it in the raw source."""
    for index, line in enumerate(kernel.raw_src):
        if re.match(r"\s*def\s", line):
            return int(kernel.starting_line_number) + index
    return int(kernel.starting_line_number)


def _closure(function: FunctionType) -> dict[str, Any]:
    cells = zip(function.__code__.co_freevars, function.__closure__ or (), strict=True)
    return {name: cell.cell_contents for name, cell in cells}


def rewritten(kernel: Any, replace: Callable[[Any], Any], helpers: Mapping[str, Any]) -> FunctionType:
    """A Python function that computes what the ``@triton.jit`` function `kernel` means.

    Its globals are a copy of the kernel's (closure included), each value passed through `replace`, with
    `helpers` on top of names the module does not define itself; the kernel's module stays as it is.
    """
    function: FunctionType = kernel.fn
    scope: dict[str, Any] = {**helpers, **function.__globals__, **_closure(function)}
    scope = {name: replace(value) for name, value in scope.items()} | {MARK: True}
    file = function.__code__.co_filename
    code = _compiled(kernel.src, function.__name__, file, _definition_line(kernel))
    exec(code, scope)  # noqa: S102 - the kernel's own source
    result: FunctionType = scope[function.__name__]
    result.__defaults__, result.__kwdefaults__ = function.__defaults__, function.__kwdefaults__
    return result
