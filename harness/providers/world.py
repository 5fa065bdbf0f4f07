"""A private import world: chosen modules of another project, with everything around them replaced.

A project's kernels lie in modules that import its platform layer, its configuration and its native extensions, none of
which load on a machine without the hardware. Within a world only the modules that were chosen are executed, from their
own files. Every other module of the package is a facade: it has the attributes that were given, and a placeholder for
any other name, which raises when it is used. Nothing of a world is left in `sys.modules` outside of it.
"""

from __future__ import annotations

import ast
import contextlib
import importlib
import importlib.abc
import importlib.machinery
import sys
from collections.abc import Collection, Generator, Mapping, Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

from rocassay.harness.errors import RocassayError
from rocassay.harness.providers.trees import Tree

_ON_DEVICE = frozenset({"is_cuda", "is_cpu"})
"""Attributes by which a launcher asserts that a tensor is on a device."""


class Absent(RocassayError, NotImplementedError):
    """A name that the world does not have was used."""


class Placeholder:
    """A name that no one provided: it can be imported, annotate and be derived from, but not be used."""

    def __init__(self, name: str) -> None:
        self._name = name

    def __getattr__(self, name: str) -> Placeholder:
        if name.startswith("__"):
            raise AttributeError(name)
        return Placeholder(f"{self._name}.{name}")

    def __getitem__(self, _: object) -> Placeholder:
        return self

    def __or__(self, _: object) -> Placeholder:
        return self

    __ror__ = __or__

    def __mro_entries__(self, _: tuple[object, ...]) -> tuple[type, ...]:
        return ()

    def __repr__(self) -> str:
        return f"<placeholder of {self._name}>"

    def __eq__(self, other: object) -> bool:
        # Annotations are compared with the special forms of `typing` while a class is made.
        owner = getattr(other, "__module__", None) or type(other).__module__
        return owner not in ("typing", "typing_extensions") and self._raise()

    def _raise(self, *_: object, **__: object) -> Any:
        raise Absent(
            f"{self._name} was used, and is none of the modules that are judged; "
            "the case takes a path that the adapter does not provide"
        )

    __call__ = __bool__ = __iter__ = __len__ = __int__ = __float__ = __index__ = __enter__ = _raise
    __lt__ = __le__ = __gt__ = __ge__ = __add__ = __sub__ = __mul__ = __contains__ = _raise
    __hash__ = object.__hash__


class _Facade(ModuleType):
    """A module of given attributes, and placeholders for all others."""

    def __init__(self, name: str, world: World, attributes: Mapping[str, Any]) -> None:
        super().__init__(name)
        self.__dict__.update(attributes, __path__=[], _world=world)

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        inner = f"{self.__name__}.{name}"
        if self.__dict__["_world"].knows(inner):
            return importlib.import_module(inner)
        return Placeholder(inner)


class _Loader(importlib.abc.Loader):
    """Makes the modules of a world."""

    def __init__(self, world: World) -> None:
        self._world = world

    def create_module(self, spec: importlib.machinery.ModuleSpec) -> ModuleType | None:
        """A facade, or nothing for a module that is executed."""
        world = self._world
        return None if world.executes(spec.name) else _Facade(spec.name, world, world.facades.get(spec.name, {}))

    def exec_module(self, module: ModuleType) -> None:
        """Run a chosen module's own source, with its launchers' assertions of a device left out."""
        if not isinstance(module, _Facade):
            file = self._world.file_of(module.__name__)
            module.__file__ = str(file)
            exec(compile(parsed(file)[0], str(file), "exec", dont_inherit=True), module.__dict__)  # noqa: S102


class _Finder(importlib.abc.MetaPathFinder):
    """Finds everything below the world's packages."""

    def __init__(self, world: World) -> None:
        self._world, self._loader = world, _Loader(world)

    # ruff: noqa: ARG002 (the signature is Python's)
    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> importlib.machinery.ModuleSpec | None:
        """A spec for a module of the world; None for the rest of Python's."""
        if not self._world.owns(fullname):
            return None
        if fullname in self._world.missing:
            raise ModuleNotFoundError(f"{fullname} is left out where nothing runs it", name=fullname)
        return importlib.machinery.ModuleSpec(fullname, self._loader, is_package=not self._world.is_file(fullname))


class World:
    """Modules of one tree that see each other and the facades around them, and that nobody else sees."""

    def __init__(
        self,
        tree: Tree,
        package: str,
        modules: Collection[str],
        facades: Mapping[str, Mapping[str, Any]],
        missing: Collection[str] = (),
    ) -> None:
        """`modules`: full names of those that are executed. `facades`: full name -> attributes of the others.

        `missing`: full names of modules that cannot be imported, for code that has another way then.
        """
        self._tree, self._chosen = tree, frozenset(modules)
        self.facades = facades
        """Attributes of modules that are not executed."""
        self.missing = frozenset(missing)
        """Modules whose import fails."""
        self._roots = frozenset({package, *(name.partition(".")[0] for name in facades)})
        self._modules: dict[str, ModuleType] = {}
        self._finder = _Finder(self)

    def owns(self, name: str) -> bool:
        """Whether a module of this name is the world's."""
        return name.partition(".")[0] in self._roots

    def executes(self, name: str) -> bool:
        """Whether the module's own source is run."""
        return name in self._chosen

    def is_file(self, name: str) -> bool:
        """Whether the module is executed and no package, so that its relative imports start beside it."""
        return self.executes(name) and self.file_of(name).name != "__init__.py"

    def knows(self, name: str) -> bool:
        """Whether the module was chosen, has a facade, or leads to one that does."""
        return any(known == name or known.startswith(f"{name}.") for known in (*self._chosen, *self.facades))

    def file_of(self, name: str) -> Path:
        """Source of a chosen module; BadSource when the tree has none."""
        path = name.replace(".", "/")
        inner = f"{path}/__init__.py"
        return self._tree.file(inner if self._tree.holds(inner) else f"{path}.py")

    def module(self, name: str) -> ModuleType:
        """The chosen module, imported on first use."""
        if name not in self._modules:
            with self.entered():
                importlib.import_module(name)
        return self._modules[name]

    @contextlib.contextmanager
    def entered(self) -> Generator[None, None, None]:
        """While open, imports below the world's packages are the world's; afterwards all is as it was."""
        former = self._taken_out()
        sys.modules.update(self._modules)
        sys.meta_path.insert(0, self._finder)
        try:
            yield
        finally:
            sys.meta_path.remove(self._finder)
            self._modules = self._taken_out()
            sys.modules.update(former)

    def _taken_out(self) -> dict[str, ModuleType]:
        """Remove the modules below the world's packages from Python's."""
        names = [name for name in sys.modules if self.owns(name)]
        return {name: sys.modules.pop(name) for name in names}

    def dropped(self) -> list[str]:
        """Assertions of chosen modules that are left out, as "module:line text"."""
        return [f"{name}:{found}" for name in sorted(self._chosen) for found in parsed(self.file_of(name))[1]]


class _Launchers(ast.NodeTransformer):
    """Leaves out assertions that a tensor is on a device, outside of functions that Triton compiles."""

    def __init__(self) -> None:
        self.dropped: list[str] = []

    def visit_FunctionDef(self, node: ast.FunctionDef) -> ast.AST:
        """Kernels stay as they are."""
        decorators = (ast.unparse(decorator).partition("(")[0] for decorator in node.decorator_list)
        compiled = any(name.rpartition(".")[2] == "jit" for name in decorators)
        return node if compiled else self.generic_visit(node)

    def visit_Assert(self, node: ast.Assert) -> ast.AST:
        """An assertion that asks for a device becomes nothing."""
        asked = {inner.attr for inner in ast.walk(node.test) if isinstance(inner, ast.Attribute)}
        if not asked & _ON_DEVICE:
            return node
        self.dropped.append(f"{node.lineno} {ast.unparse(node.test)}")
        return ast.copy_location(ast.Pass(), node)


def parsed(file: Path) -> tuple[ast.Module, list[str]]:
    """The module's code with its own lines, and the assertions that were left out, as "line text"."""
    transformer = _Launchers()
    tree = transformer.visit(ast.parse(file.read_text(encoding="utf-8"), str(file)))
    return tree, transformer.dropped
