"""A kernel function's source and syntax tree side by side: which characters each node stands for."""

from __future__ import annotations

import ast
import itertools
from collections.abc import Iterator
from dataclasses import dataclass

ASSERTIONS = frozenset({"static_assert", "static_print", "device_assert", "device_print", "debug_assert"})
"""Calls that compute nothing."""

HINTS = frozenset({"multiple_of", "max_contiguous", "max_constancy", "assume"})
"""Calls whose arguments but the first are promises to the compiler: they change no value."""

TUNING = frozenset(
    {"num_stages", "eviction_policy", "cache_modifier", "volatile", "loop_unroll_factor", "flatten", "warp_specialize"}
)
"""Keywords that change how something is computed, not what."""


@dataclass(frozen=True, slots=True)
class Edit:
    """One span of a text replaced.

    Attributes:
        start, end: the span, in characters.
        new: what stands there instead.
    """

    start: int
    end: int
    new: str

    def applied(self, source: str) -> str:
        """The text with the span replaced."""
        return source[: self.start] + self.new + source[self.end :]


class FunctionText:
    """The source of one function, from its `def` on, and its tree."""

    def __init__(self, source: str) -> None:
        """`source`: without decorators or indentation; SyntaxError if it is no function."""
        self.source = source
        definition = ast.parse(source).body[0]
        assert isinstance(definition, ast.FunctionDef)
        self.definition = definition
        self._lines = source.splitlines(keepends=True)
        self._starts = [0, *itertools.accumulate(map(len, self._lines))]
        self._parents = {child: node for node in ast.walk(definition) for child in ast.iter_child_nodes(node)}

    def start(self, node: ast.AST) -> int:
        """Place of the node's first character."""
        return self._place(node.lineno, node.col_offset)  # type: ignore[attr-defined]

    def end(self, node: ast.AST) -> int:
        """Place behind the node's last character."""
        return self._place(node.end_lineno, node.end_col_offset)  # type: ignore[attr-defined]

    def _place(self, line: int, column: int) -> int:
        # The parser counts columns in bytes of UTF-8.
        return self._starts[line - 1] + len(self._lines[line - 1].encode()[:column].decode())

    def line_of(self, place: int) -> int:
        """Number of the line of a place, from 1 on."""
        return sum(start <= place for start in self._starts[:-1])

    def span(self, first: int, last: int) -> tuple[int, int]:
        """Places where line `first` begins and line `last` ends."""
        return self._starts[first - 1], self._starts[last]

    def lines(self, first: int, last: int) -> str:
        """These lines, from 1 on, with every run of white space made one blank."""
        start, end = self.span(first, last)
        return " ".join(self.source[start:end].split())

    def text(self, node: ast.AST) -> str:
        """What stands for the node, without parentheses around it."""
        return self.source[self.start(node) : self.end(node)]

    def operand(self, node: ast.AST) -> str:
        """The node's text as it can stand beside any operator."""
        atoms = (ast.Name, ast.Constant, ast.Call, ast.Attribute, ast.Subscript)
        return self.text(node) if isinstance(node, atoms) else f"({self.text(node)})"

    def parent(self, node: ast.AST) -> ast.AST:
        """The node around the node."""
        return self._parents[node]

    def statement(self, node: ast.AST) -> ast.stmt:
        """The innermost statement that holds the node."""
        while not isinstance(node, ast.stmt):
            node = self._parents[node]
        return node

    def replaced(self, node: ast.AST, new: str) -> Edit:
        """The node's text replaced."""
        return Edit(self.start(node), self.end(node), new)

    def token(self, left: ast.AST, right: ast.AST, old: str, new: str) -> Edit:
        """The first `old` between two nodes replaced."""
        start = self.source.index(old, self.end(left), self.start(right))
        return Edit(start, start + len(old), new)

    def sites(self) -> Iterator[ast.AST]:
        """Every node that computes: no docstring, annotation, assertion, hint or tuning."""
        for statement in self.definition.body:
            yield from _sites(statement)


def called(node: ast.AST) -> str:
    """Last name of what a call calls; empty for what is no call."""
    if not isinstance(node, ast.Call):
        return ""
    function = node.func
    return (
        function.attr if isinstance(function, ast.Attribute) else function.id if isinstance(function, ast.Name) else ""
    )


def _sites(node: ast.AST) -> Iterator[ast.AST]:
    name = called(node)
    if name in ASSERTIONS or name.endswith("Layout") or _says_nothing(node):
        return
    yield node
    children = ast.iter_child_nodes(node)
    if isinstance(node, ast.AnnAssign):
        children = iter([node.target, *([node.value] if node.value else [])])
    elif isinstance(node, ast.Call) and name in HINTS:
        children = iter(node.args[:1])
    for child in children:
        yield from _sites(child)


def _says_nothing(node: ast.AST) -> bool:
    """Docstrings, Python's own assertions, and keywords that tune."""
    if isinstance(node, ast.Expr):
        return isinstance(node.value, ast.Constant)
    return isinstance(node, ast.Assert) or (isinstance(node, ast.keyword) and node.arg in TUNING)
