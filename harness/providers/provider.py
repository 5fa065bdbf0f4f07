"""Providers: whose implementation is judged."""
# ruff: noqa: ARG002 (a provider may ignore what the protocol offers)

from __future__ import annotations

import importlib
import importlib.metadata
from collections.abc import Callable
from types import ModuleType
from typing import Any, Protocol

from rocassay.harness.cases import Case
from rocassay.harness.errors import RocassayError
from rocassay.harness.ops import Op

ENTRY_POINTS = "rocassay.providers"
"""Entry-point group of providers from other distributions: name -> a Provider object or class."""


class UnknownProvider(RocassayError, KeyError):
    """No provider of that name is known."""

    def __str__(self) -> str:
        return str(self.args[0])


class Provider(Protocol):
    """Maps an op to a callable and calls it in the op's own terms."""

    name: str

    def unavailable(self, op: Op, case: Case) -> str | None:
        """Why this provider cannot run the case, or None."""
        ...

    def call(self, op: Op, case: Case, arguments: dict[str, Any], variant: Any, module: ModuleType | None) -> None:
        """Run the op on guarded tensors; outputs are written in place.

        `module`, if given, replaces the shipped launcher's module (a source fault).
        """
        ...


class Shipped:
    """The kernels of this package."""

    name = "rocassay"

    def unavailable(self, op: Op, case: Case) -> str | None:
        """Every op has a shipped kernel."""
        return None

    def call(self, op: Op, case: Case, arguments: dict[str, Any], variant: Any, module: ModuleType | None) -> None:
        """Call the launcher with the dispatcher's variant."""
        path, _, function = op.launcher.partition(":")
        launcher: Callable[..., None] = getattr(module or importlib.import_module(path), function)
        launcher(**arguments, variant=variant)


class TorchPeer:
    """Plain torch with the kernels' rounding points: a provider like any other."""

    name = "torch"

    def unavailable(self, op: Op, case: Case) -> str | None:
        """Every op has a peer."""
        return None

    def call(self, op: Op, case: Case, arguments: dict[str, Any], variant: Any, module: ModuleType | None) -> None:
        """Call the peer; it takes no variant."""
        op.peer(case, arguments)


_SHIPPED: dict[str, Callable[[], Provider]] = {"rocassay": Shipped, "torch": TorchPeer}


def provider_names() -> tuple[str, ...]:
    """Providers that are known here, shipped or by entry point; whether they can run anything is another question."""
    points = (point.name for point in importlib.metadata.entry_points(group=ENTRY_POINTS))
    return tuple(dict.fromkeys([*_SHIPPED, *points]))


def provider(name: str) -> Provider:
    """The provider called `name`, shipped or by entry point; UnknownProvider lists those that exist."""
    if name in _SHIPPED:
        return _SHIPPED[name]()
    points = {point.name: point for point in importlib.metadata.entry_points(group=ENTRY_POINTS)}
    if name not in points:
        known = ", ".join([*_SHIPPED, *points])
        raise UnknownProvider(f"no provider is called {name!r}; known: {known}")
    found: Any = points[name].load()
    return found() if isinstance(found, type) else found
