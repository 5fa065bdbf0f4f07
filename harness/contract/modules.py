"""What a module binds at its top level, in order, read from its syntax tree."""

from __future__ import annotations

import ast
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from typing import TypeAlias

from rocassay.harness.contract.signature import Signature, of_arguments


@dataclass(frozen=True, slots=True)
class Decorator:
    """A decorator: the last part of its name, and the strings it is given."""

    name: str
    texts: tuple[str, ...] = ()
    named: tuple[tuple[str, str], ...] = ()


@dataclass(frozen=True, slots=True)
class Function:
    """A function, or a class by its constructor, where it is defined."""

    name: str
    module: str
    line: int
    signature: Signature
    decorators: tuple[Decorator, ...] = ()

    @property
    def path(self) -> str:
        """`module:function`."""
        return f"{self.module}:{self.name}"


@dataclass(frozen=True, slots=True)
class Import:
    """A name that comes from elsewhere: a module, or `attribute` of one."""

    module: str
    attribute: str = ""


@dataclass(frozen=True, slots=True)
class Opaque:
    """A name bound to an expression that only running the module would tell."""

    module: str
    line: int
    text: str


Bound: TypeAlias = Function | Import | Opaque


@dataclass(frozen=True, slots=True)
class Star:
    """`from module import *`."""

    module: str


@dataclass(slots=True)
class Module:
    """The top level of one file."""

    name: str
    package: bool
    events: list[tuple[str, Bound] | Star] = field(default_factory=list[tuple[str, Bound] | Star])
    """Bindings in the order in which they happen."""
    exports: frozenset[str] | None = None
    """`__all__` as far as literals say it; None without."""
    tables: list[dict[str, str]] = field(default_factory=list[dict[str, str]])
    """Dictionaries of strings: tables of lazy names and of renamed modules among them."""
    functions: dict[str, Function] = field(default_factory=dict[str, Function])
    problem: str = ""
    """Why it could not be parsed."""

    def exported(self, name: str) -> bool:
        """Whether a star import takes the name."""
        return name in self.exports if self.exports is not None else not name.startswith("_")


def parse(name: str, text: str, *, package: bool) -> Module:
    """Read a module; one that is not Python has a `problem` and binds nothing."""
    module = Module(name, package)
    try:
        body = ast.parse(text).body
    except (SyntaxError, ValueError) as error:
        module.problem = f"{name} is no Python that can be read here: {error}"
        return module
    _walk(module, body, certain=True)
    return module


def _walk(module: Module, body: Sequence[ast.stmt], *, certain: bool) -> None:
    """Take the statements in order; what is not certain to run binds only names that are free."""
    for node in body:
        for name, bound in _bindings(module, node):
            if certain or not _taken(module, name):
                module.events.append((name, bound))
            if isinstance(bound, Function):
                module.functions[name] = bound
        if isinstance(node, ast.ImportFrom) and node.names[0].name == "*":
            module.events.append(Star(absolute(module, node)))
        for inner, sure in _blocks(node):
            _walk(module, inner, certain=certain and sure)
        _literals(module, node)


def _blocks(node: ast.stmt) -> Iterator[tuple[Sequence[ast.stmt], bool]]:
    """Statements inside a statement of the top level, and whether they are what normally runs."""
    if isinstance(node, ast.If):
        yield node.body, True
        yield node.orelse, False
    elif isinstance(node, ast.Try):
        yield node.body, True
        yield node.orelse, True
        for handler in node.handlers:
            yield handler.body, False
        yield node.finalbody, True
    elif isinstance(node, ast.With):
        yield node.body, True


def _taken(module: Module, name: str) -> bool:
    return any(not isinstance(event, Star) and event[0] == name for event in module.events)


def absolute(module: Module, node: ast.ImportFrom) -> str:
    """Full name of the module that a from-import names."""
    if not node.level:
        return node.module or ""
    parts = module.name.split(".")
    kept = parts[: len(parts) - node.level + (1 if module.package else 0)]
    return ".".join((*kept, *filter(None, (node.module,))))


def _bindings(module: Module, node: ast.stmt) -> Iterator[tuple[str, Bound]]:
    if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
        yield node.name, _function(module, node, of_arguments(node.args), node.name)
    elif isinstance(node, ast.ClassDef):
        yield node.name, _class(module, node)
    elif isinstance(node, ast.Import):
        for alias in node.names:
            top = alias.name.partition(".")[0]
            yield alias.asname or top, Import(alias.name if alias.asname else top)
    elif isinstance(node, ast.ImportFrom):
        for alias in node.names:
            if alias.name != "*":
                yield alias.asname or alias.name, Import(absolute(module, node), alias.name)
    elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
        targets = node.targets if isinstance(node, ast.Assign) else [node.target]
        for target in targets:
            if isinstance(target, ast.Name):
                yield target.id, _value(module, target.id, node.value)


def _function(
    module: Module, node: ast.FunctionDef | ast.AsyncFunctionDef | ast.ClassDef, signature: Signature, name: str
) -> Function:
    return Function(name, module.name, node.lineno, signature, tuple(map(_decorator, node.decorator_list)))


def _class(module: Module, node: ast.ClassDef) -> Bound:
    for inner in node.body:
        if isinstance(inner, ast.FunctionDef) and inner.name == "__init__":
            return _function(module, node, of_arguments(inner.args, bound=True), node.name)
    return Opaque(module.name, node.lineno, f"class {node.name} without a constructor of its own")


def _value(module: Module, name: str, value: ast.expr) -> Bound:
    """What an assignment binds: another name's value, a lambda, or something opaque."""
    if isinstance(value, ast.Name):
        return Import(module.name, value.id)
    if isinstance(value, ast.Attribute):
        owner, _, attribute = ast.unparse(value).rpartition(".")
        return Import(f"{module.name}:{owner}", attribute)
    if isinstance(value, ast.Lambda):
        return Function(name, module.name, value.lineno, of_arguments(value.args))
    return Opaque(module.name, value.lineno, ast.unparse(value).partition("\n")[0][:80])


def _decorator(node: ast.expr) -> Decorator:
    called = node.func if isinstance(node, ast.Call) else node
    name = ast.unparse(called).rpartition(".")[2]
    if not isinstance(node, ast.Call):
        return Decorator(name)
    texts = tuple(each.value for each in node.args if isinstance(each, ast.Constant) and isinstance(each.value, str))
    named = tuple(
        (each.arg, each.value.value)
        for each in node.keywords
        if each.arg and isinstance(each.value, ast.Constant) and isinstance(each.value.value, str)
    )
    return Decorator(name, texts, named)


def _literals(module: Module, node: ast.stmt) -> None:
    """`__all__`, as assigned, added to, extended or appended to, and dictionaries of strings."""
    if isinstance(node, ast.Expr) and isinstance(node.value, ast.Call):
        function, values = ast.unparse(node.value.func), node.value.args
        if function in ("__all__.extend", "__all__.append"):
            _export(module, values)
    elif isinstance(node, ast.AugAssign) and ast.unparse(node.target) == "__all__":
        _export(module, [node.value])
    elif isinstance(node, ast.Assign | ast.AnnAssign) and node.value is not None:
        target = node.targets[0] if isinstance(node, ast.Assign) else node.target
        if ast.unparse(target) == "__all__":
            module.exports = frozenset()
            _export(module, [node.value])
        elif isinstance(node.value, ast.Dict):
            module.tables.append(dict(_pairs(node.value)))


def _export(module: Module, values: Sequence[ast.expr]) -> None:
    texts = (each.value for value in values for each in ast.walk(value) if isinstance(each, ast.Constant))
    module.exports = (module.exports or frozenset()) | {text for text in texts if isinstance(text, str)}


def _pairs(node: ast.Dict) -> Iterator[tuple[str, str]]:
    """Keys and values that are strings; a tuple (module, name) as `module:name`."""
    for key, value in zip(node.keys, node.values, strict=True):
        parts = value.elts if isinstance(value, ast.Tuple) else [value]
        texts = [each.value for each in parts if isinstance(each, ast.Constant) and isinstance(each.value, str)]
        if isinstance(key, ast.Constant) and isinstance(key.value, str) and texts and len(texts) == len(parts):
            yield key.value, ":".join(texts[:2])
