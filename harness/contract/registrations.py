"""Torch ops that a package registers: from Python, by decorator or by call, and from C++ by schema."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from rocassay.harness.contract.declared import Contract
from rocassay.harness.contract.modules import Function
from rocassay.harness.contract.native import bindings, schema
from rocassay.harness.contract.signature import of_arguments
from rocassay.harness.contract.sources import Source

_WORDS = ("custom_op", ".define(")
"""A file without any of them registers nothing."""


@dataclass(frozen=True, slots=True)
class Registered:
    """A torch op."""

    namespace: str
    """Empty where the source does not tell."""
    name: str
    function: Function


def registered(source: Source, contract: Contract, native: Sequence[tuple[str, str]]) -> Iterator[Registered]:
    """Every registration that can be read without running it."""
    for path in source.files.below(contract.package):
        text = source.files.text(path) if path.endswith(".py") else None
        if text and any(word in text for word in _WORDS):
            yield from _in_python(path.removesuffix(".py").replace("/", "."), text)
    for path, text in native:
        if "TORCH_LIBRARY" in text:
            for first, _ in bindings(text):
                yield from _of_schema(path, 0, first)


def _in_python(module: str, text: str) -> Iterator[Registered]:
    try:
        tree = ast.parse(text)
    except (SyntaxError, ValueError):
        return
    functions = {node.name: node for node in ast.walk(tree) if isinstance(node, ast.FunctionDef)}
    for node in functions.values():
        for decorator in node.decorator_list:
            if isinstance(decorator, ast.Call) and "custom_op" in ast.unparse(decorator.func):
                yield from _named(module, node, _texts(decorator.args)[:1])
    for node in ast.walk(tree):
        if not isinstance(node, ast.Call):
            continue
        word = ast.unparse(node.func).rpartition(".")[2]
        if word == "define":
            for first in _texts(node.args)[:1]:
                yield from _of_schema(module, node.lineno, first)
        elif "custom_op" in word:
            yield from _by_call(module, node, functions)


def _by_call(module: str, node: ast.Call, functions: dict[str, ast.FunctionDef]) -> Iterator[Registered]:
    """`register_custom_op("name", function, ...)`, with either as a keyword."""
    given = [*node.args, *(each.value for each in node.keywords)]
    used = [functions[each.id] for each in given if isinstance(each, ast.Name) and each.id in functions]
    if used:
        yield from _named(module, used[0], _texts(given)[:1])


def _named(module: str, node: ast.FunctionDef, texts: Sequence[str]) -> Iterator[Registered]:
    for text in texts:
        namespace, _, name = text.rpartition("::")
        yield Registered(namespace, name, Function(node.name, module, node.lineno, of_arguments(node.args)))


def _of_schema(where: str, line: int, text: str) -> Iterator[Registered]:
    if found := schema(text):
        namespace, name, signature = found
        yield Registered(namespace, name, Function(name, where, line, signature))


def _texts(nodes: Sequence[ast.expr]) -> list[str]:
    return [each.value for each in nodes if isinstance(each, ast.Constant) and isinstance(each.value, str)]
