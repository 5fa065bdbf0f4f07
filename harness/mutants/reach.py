"""Which device functions can run for a launcher: what its source names, directly or through others.

Sources are read, not imported: a module that only some engine or Triton can load is found, too.
"""

from __future__ import annotations

import ast
import functools
import importlib.util
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

HARNESS = __name__.partition(".mutants.")[0]
"""Package of the machinery, which is no part of any kernel."""

Name = tuple[str, str]
"""(module, name that it binds); an empty name is the module itself."""


@dataclass(frozen=True, slots=True)
class DeviceFunction:
    """A function that Triton compiles.

    Attributes:
        module, name: where it is found.
        file: the module's file, as code objects name it.
        line: line of its `def`.
        source: from `def` to its end.
        dialect: the decorator's package, `triton` or `gluon`.
    """

    module: str
    name: str
    file: str
    line: int
    source: str
    dialect: str


class _Module:
    """What a module binds at its top, and what it imports anywhere."""

    def __init__(self, name: str, path: Path) -> None:
        self.name, self.file, self.source = name, str(path), path.read_text(encoding="utf-8")
        tree = ast.parse(self.source)
        self.bound: dict[str, list[ast.stmt]] = {}
        for statement in tree.body:
            for bound in _bound_by(statement):
                self.bound.setdefault(bound, []).append(statement)
        # Also within functions: a launcher imports late what only some Triton can load.
        self.imported = {alias: target for node in ast.walk(tree) for alias, target in _imports(node)}

    def names(self, name: str) -> Iterator[Name]:
        """What the statements that bind `name` refer to; what the name is imported from."""
        if name in self.imported:
            yield self.imported[name]
        for statement in self.bound.get(name, ()):
            for node in ast.walk(statement):
                if isinstance(node, ast.Name):
                    yield self.name, node.id
                elif isinstance(node, ast.Attribute) and isinstance(node.value, ast.Name):
                    module, inner = self.imported.get(node.value.id, ("", ""))
                    yield f"{module}.{inner}" if inner else module, node.attr

    def device_function(self, name: str) -> DeviceFunction | None:
        """The device function of that name, if it is one."""
        for statement in self.bound.get(name, ()):
            if isinstance(statement, ast.FunctionDef) and (dialect := _dialect(statement)):
                lines = self.source.splitlines(keepends=True)[statement.lineno - 1 : statement.end_lineno]
                return DeviceFunction(self.name, name, self.file, statement.lineno, "".join(lines), dialect)
        return None


def _bound_by(statement: ast.stmt) -> Iterator[str]:
    if isinstance(statement, ast.FunctionDef | ast.ClassDef):
        yield statement.name
    elif not isinstance(statement, ast.Import | ast.ImportFrom):
        for node in ast.walk(statement):
            if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store):
                yield node.id


def _imports(node: ast.AST) -> Iterator[tuple[str, Name]]:
    if isinstance(node, ast.ImportFrom) and node.module and not node.level:
        for alias in node.names:
            yield alias.asname or alias.name, (node.module, alias.name)
    elif isinstance(node, ast.Import):
        for alias in node.names:
            if alias.asname:
                yield alias.asname, (alias.name, "")


def _dialect(function: ast.FunctionDef) -> str:
    """Package whose `jit` decorates the function; empty for host code."""
    for decorator in function.decorator_list:
        named = decorator.func if isinstance(decorator, ast.Call) else decorator
        package, _, last = ast.unparse(named).rpartition(".")
        if last == "jit":
            return package or "triton"
    return ""


@functools.lru_cache(maxsize=512)
def _module(name: str, root: str) -> _Module | None:
    """The module's source; None for what is no module beneath `root`, or belongs to the harness."""
    if name.partition(".")[0] != root or f"{name}.".startswith(f"{HARNESS}."):
        return None
    try:
        spec = importlib.util.find_spec(name)
    except ModuleNotFoundError:
        return None
    if spec is None or spec.origin is None or not spec.origin.endswith(".py"):
        return None
    return _Module(name, Path(spec.origin))


@dataclass(frozen=True, slots=True)
class Reach:
    """What can run for a launcher.

    Attributes:
        functions: device functions, by module and line.
        sources: text of every module that one of the names stands in, by module.
    """

    functions: tuple[DeviceFunction, ...]
    sources: tuple[tuple[str, str], ...]


@functools.lru_cache(maxsize=128)
def reach_of(launcher: str) -> Reach:
    """What can run for `module:function`, within the distribution of the launcher."""
    path, _, function = launcher.partition(":")
    root = path.partition(".")[0]
    pending: list[Name] = [(path, function)]
    seen: set[Name] = set()
    modules: dict[str, _Module] = {}
    found: list[DeviceFunction] = []
    while pending:
        item = pending.pop()
        module = _module(item[0], root) if item[0] else None
        if item in seen or module is None:
            continue
        seen.add(item)
        modules[module.name] = module
        if device := module.device_function(item[1]):
            found.append(device)
        pending.extend(module.names(item[1]))
    return Reach(_ordered(found), tuple(sorted((name, module.source) for name, module in modules.items())))


def _ordered(functions: Sequence[DeviceFunction]) -> tuple[DeviceFunction, ...]:
    return tuple(sorted(functions, key=lambda function: (function.module, function.line)))
