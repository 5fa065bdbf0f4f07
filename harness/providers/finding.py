"""Where a provider of a name comes from: this package, its suites, or another distribution."""

from __future__ import annotations

import importlib
import importlib.metadata
import importlib.util
import pkgutil
from collections.abc import Callable
from typing import Any

from rocassay.harness.errors import RocassayError
from rocassay.harness.providers.provider import Provider, Shipped, TorchPeer

ENTRY_POINTS = "rocassay.providers"
"""Entry-point group of providers from other distributions: name -> a Provider object or class."""

FOREIGN = "rocassay.suites.providers"
"""Package whose packages each hold a `PROVIDER` for the kernels of another project."""


class UnknownProvider(RocassayError, KeyError):
    """No provider of that name is known."""

    def __str__(self) -> str:
        return str(self.args[0])


class BadProvider(RocassayError, TypeError):
    """What an entry point names is no provider, or takes no source."""


_SHIPPED: dict[str, Callable[[], Provider]] = {"rocassay": Shipped, "torch": TorchPeer}


def provider(name: str, source: str = "") -> Provider:
    """The provider called `name`: shipped, of another project's kernels, or by entry point.

    source: an installed distribution's folder, an unpacked tree or a wheel that holds the code; empty for what is
    installed. Raises UnknownProvider, which lists those that exist, and BadProvider.
    """
    if name in foreign_names():
        return _checked(name, importlib.import_module(f"{FOREIGN}.{name}").PROVIDER(source))
    if source:
        others = ", ".join(foreign_names()) or "none"
        raise BadProvider(
            f"provider {name!r} takes no source {source!r}: its code is where it is imported from; "
            f"leave out --source, or choose one that takes it: {others}"
        )
    if name in _SHIPPED:
        return _SHIPPED[name]()
    points = {point.name: point for point in importlib.metadata.entry_points(group=ENTRY_POINTS)}
    if name not in points:
        raise UnknownProvider(f"no provider is called {name!r}; known: {', '.join(provider_names())}")
    found: Any = points[name].load()
    return _checked(name, found() if isinstance(found, type) else found)


def foreign_names() -> tuple[str, ...]:
    """Names of the providers that judge another project's kernels."""
    if importlib.util.find_spec(FOREIGN) is None:
        return ()
    package = importlib.import_module(FOREIGN)
    return tuple(sorted(module.name for module in pkgutil.iter_modules(package.__path__) if module.ispkg))


def provider_names() -> tuple[str, ...]:
    """Providers that are known here; whether they can run anything is another question."""
    points = (point.name for point in importlib.metadata.entry_points(group=ENTRY_POINTS))
    return tuple(dict.fromkeys([*_SHIPPED, *foreign_names(), *points]))


def _checked(name: str, found: object) -> Provider:
    if isinstance(found, Provider):
        return found
    raise BadProvider(
        f"provider {name!r} is a {type(found).__name__}, no provider; "
        "derive it from rocassay.harness.providers.Provider, or make it of Functions"
    )
