"""Mistakes in numbers, types and functions of values."""

from __future__ import annotations

import ast
from collections.abc import Iterator

from rocassay.harness.mutants.text import Edit, FunctionText, called

_TYPES = {
    "float32": "float16",
    "float16": "float32",
    "bfloat16": "float32",
    "float8e4nv": "float8e4b8",
    "float8e4b8": "float8e4nv",
    "int64": "int32",
    "uint8": "int8",
}
"""Type -> the one it is taken for."""

_PAIRS = {"maximum": "minimum", "max": "min", "argmax": "argmin", "exp": "exp2", "log": "log2", "floor": "ceil"}
_FUNCTIONS = {**_PAIRS, **{other: name for name, other in _PAIRS.items()}}
"""Function -> its counterpart."""


def number_raised(node: ast.AST, text: FunctionText) -> Iterator[Edit]:
    """An integer is one too large."""
    yield from _moved(node, 1, text)


def number_lowered(node: ast.AST, text: FunctionText) -> Iterator[Edit]:
    """An integer is one too small."""
    yield from _moved(node, -1, text)


def _moved(node: ast.AST, by: int, text: FunctionText) -> Iterator[Edit]:
    if isinstance(node, ast.Constant) and type(node.value) is int and not _names_a_place(node, text):
        value = node.value + by
        hexadecimal = text.text(node).lower().startswith("0x") and value >= 0
        yield text.replaced(node, f"{value:#X}".replace("X", "x") if hexadecimal else str(value))


def _names_a_place(node: ast.Constant, text: FunctionText) -> bool:
    """Whether the integer is an axis, part of a shape, or a value for masked lanes: others change those."""
    around = text.parent(node)
    if isinstance(around, ast.List | ast.Tuple):
        return True
    if isinstance(around, ast.keyword):
        return around.arg in ("axis", "dim", "other")
    if called(around) in ("arange", "program_id", "num_programs"):
        return True
    return called(around) in REDUCTIONS and isinstance(around, ast.Call) and around.args[1:2] == [node]


REDUCTIONS = frozenset({"sum", "max", "min", "argmax", "argmin", "cumsum", "reduce", "associative_scan", "flip"})
"""Functions whose second argument is an axis."""


def number_doubled(node: ast.AST, text: FunctionText) -> Iterator[Edit]:
    """A floating-point number is twice as large, and 0 is 1."""
    if isinstance(node, ast.Constant) and type(node.value) is float and not _is_other(node, text):
        yield text.replaced(node, repr(2 * node.value or 1.0))


def _is_other(node: ast.AST, text: FunctionText) -> bool:
    around = text.parent(node)
    return isinstance(around, ast.keyword) and around.arg == "other"


def other_changed(node: ast.AST, text: FunctionText) -> Iterator[Edit]:
    """What masked lanes hold is 1 larger; a computed value becomes 0."""
    if not isinstance(node, ast.keyword) or node.arg != "other":
        return
    number = node.value.value if isinstance(node.value, ast.Constant) else None
    yield text.replaced(node.value, str(number + 1) if isinstance(number, int | float) else "0")


def infinity_turned(node: ast.AST, text: FunctionText) -> Iterator[Edit]:
    """-inf becomes inf, and back."""
    if isinstance(node, ast.Constant) and node.value in ("inf", "-inf"):
        yield text.replaced(node, '"inf"' if node.value == "-inf" else '"-inf"')


def type_changed(node: ast.AST, text: FunctionText) -> Iterator[Edit]:
    """fp32 becomes fp16 and back, bf16 becomes fp32, one FP8 flavour the other, int64 becomes int32, uint8 int8."""
    if not isinstance(node, ast.Attribute) or node.attr not in _TYPES:
        return
    # `x.to(tl.int64)` without its cast is an int32 already.
    if node.attr != "int64" or called(text.parent(node)) != "to":
        yield text.replaced(node, f"{text.text(node.value)}.{_TYPES[node.attr]}")


def cast_dropped(node: ast.AST, text: FunctionText) -> Iterator[Edit]:
    """`x.to(dtype)` becomes `x`; bits that are taken for another type stay so."""
    if called(node) != "to" or not isinstance(node, ast.Call) or not isinstance(node.func, ast.Attribute):
        return
    if not any(keyword.arg == "bitcast" for keyword in node.keywords):
        yield text.replaced(node, text.operand(node.func.value))


def function_exchanged(node: ast.AST, text: FunctionText) -> Iterator[Edit]:
    """Maximum and minimum, e and 2 as the base, floor and ceiling are taken for each other."""
    if isinstance(node, ast.Call) and called(node) in _FUNCTIONS:
        prefix = f"{text.text(node.func.value)}." if isinstance(node.func, ast.Attribute) else ""
        yield text.replaced(node.func, prefix + _FUNCTIONS[called(node)])
