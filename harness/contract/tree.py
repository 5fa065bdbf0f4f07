"""A package's modules and what a path into them means, resolved as the import system would, without running it."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import TypeAlias

from rocassay.harness.contract.declared import Contract
from rocassay.harness.contract.modules import Function, Import, Module, Opaque, Star, parse
from rocassay.harness.contract.native import native_functions
from rocassay.harness.contract.registrations import Registered, registered
from rocassay.harness.contract.signature import Signature
from rocassay.harness.contract.sources import Source

TORCH_OPS = "torch.ops."
"""How the path of a torch op starts."""


@dataclass(frozen=True, slots=True)
class Absent:
    """A path that leads nowhere."""

    why: str


Target: TypeAlias = Function | Opaque | Absent
_Seen: TypeAlias = frozenset[tuple[str, str]]


class Tree:
    """One version of a package."""

    def __init__(self, source: Source, contract: Contract) -> None:
        self.source, self.contract = source, contract
        self._modules: dict[str, Module | None] = {}

    def module(self, name: str) -> Module | None:
        """The module of that name, by its own file or by a table of renamed modules; None if there is none."""
        if name not in self._modules:
            self._modules[name] = None  # while its tables are read, it is not there
            self._modules[name] = self._read(name) or self._renamed(name)
        return self._modules[name]

    def _read(self, name: str) -> Module | None:
        base = name.replace(".", "/")
        for path, package in ((f"{base}/__init__.py", True), (f"{base}.py", False)):
            text = self.source.files.text(path)
            if text is not None:
                return parse(name, text, package=package)
        return None

    def _renamed(self, name: str) -> Module | None:
        """Packages keep old names of modules in a dictionary of strings: rest of the old name -> of the new one."""
        parts = name.split(".")
        for cut in range(len(parts) - 1, 0, -1):
            package, rest = ".".join(parts[:cut]), ".".join(parts[cut:])
            owner = self._read(package)
            for table in owner.tables if owner else ():
                new = table.get(rest, "")
                for full in (f"{package}.{new}", new):
                    if new and ":" not in new and full != name and (found := self.module(full)):
                        return found
        return None

    def resolve(self, path: str) -> Target:
        """What `module:function` or `torch.ops.NAMESPACE:name` is."""
        module, _, name = path.partition(":")
        if module.startswith(TORCH_OPS):
            return self._operator(module.removeprefix(TORCH_OPS), name)
        found = self.module(module)
        if found is None:
            return Absent(f"there is no module {module}")
        return self._attribute(found, name, frozenset()) or Absent(found.problem or f"{module} has no {name}")

    def _attribute(self, module: Module, name: str, seen: _Seen) -> Target | None:
        """Value of a module's attribute: the last binding counts; None if it has none."""
        if (module.name, name) in seen:
            return None
        seen |= {(module.name, name)}
        for event in reversed(module.events):
            if isinstance(event, Star):
                other = self.module(event.module)
                found = self._attribute(other, name, seen) if other and other.exported(name) else None
            elif event[0] == name:
                found = self._followed(module, name, event[1], seen)
            else:
                continue
            if found is not None and not (isinstance(found, Opaque) and found.text == "None"):
                return found
        return self._lazy(module, name, seen)

    def _followed(self, module: Module, name: str, bound: Function | Import | Opaque, seen: _Seen) -> Target | None:
        if not isinstance(bound, Import):
            return bound
        owner, colon, attribute = bound.module.partition(":")
        if colon:  # `name = owner.attribute`, whose owner is a module that was imported
            bound = Import(self._imported(module, attribute), bound.attribute)
        elif owner == module.name and bound.attribute == name and not module.package:
            return None
        other = self.module(bound.module)
        if other is None:
            outside = not f"{bound.module}.".startswith(f"{self.contract.package}.")
            told = f"{module.name} imports {name} from {bound.module}"
            return Absent(f"{told}, which {'is outside the package' if outside else 'is not there'}")
        return self._attribute(other, bound.attribute, seen) if bound.attribute else None

    def _imported(self, module: Module, name: str) -> str:
        """Full name of the module that a dotted name means inside a module; itself where nothing imports it."""
        first, _, rest = name.partition(".")
        for event in module.events:
            if not isinstance(event, Star) and event[0] == first and isinstance(event[1], Import):
                full = ".".join(filter(None, (event[1].module, event[1].attribute, rest)))
                return full if self.module(full) else name
        return name

    def _lazy(self, module: Module, name: str, seen: _Seen) -> Target | None:
        """A name that a package's `__getattr__` looks up in a dictionary: name -> module, or (module, name)."""
        if not module.package or "__getattr__" not in module.functions:
            return None
        for table in module.tables:
            where, _, attribute = table.get(name, "").partition(":")
            for full in (f"{module.name}.{where.lstrip('.')}", where):
                if where and (other := self.module(full)):
                    return self._attribute(other, attribute or name, seen)
        return None

    def _operator(self, namespace: str, name: str) -> Target:
        for op in self.operators:
            if op.name == name and op.namespace in (namespace, ""):
                return op.function
        return Absent(f"nothing registers {namespace}::{name}")

    def names(self) -> Iterator[str]:
        """Full names of all modules of the package."""
        for path in self.source.files.below(self.contract.package):
            if path.endswith(".py"):
                yield path.removesuffix(".py").removesuffix("/__init__").replace("/", ".")

    @cached_property
    def operators(self) -> tuple[Registered, ...]:
        """Every torch op that the package's Python and C++ sources register."""
        return tuple(registered(self.source, self.contract, self._native_sources))

    @cached_property
    def _native_sources(self) -> tuple[tuple[str, str], ...]:
        """(path, text) of the C++ sources."""
        found: list[tuple[str, str]] = []
        for folder in self.contract.native:
            for path in self.source.files.below(folder):
                if path.endswith((".h", ".hpp", ".cuh", ".cu", ".cpp", ".cc", ".hip")):
                    found.append((path, self.source.files.text(path) or ""))
        return tuple(found)

    @cached_property
    def native(self) -> dict[str, tuple[Signature, ...]]:
        """Native function -> signatures that its bindings give it; the arguments of some have no names."""
        return native_functions(text for _, text in self._native_sources)

    def behind(self, function: Function) -> tuple[str, tuple[Signature, ...]]:
        """(name, signatures) of the native function that a stub stands for; no signatures if it is none or unknown."""
        for decorator in function.decorators:
            if self.contract.stub and decorator.name == self.contract.stub:
                name = dict(decorator.named).get(self.contract.stub_name) or "".join(decorator.texts[1:2])
                return name or function.name, self.native.get(name or function.name, ())
        return "", ()
