"""A mutant in force: one device function has another source until the context is left.

Whoever holds the function (a kernel that calls it, a launcher, a table of implementations) runs the mutated source,
since it is the function itself that changes; every engine reads the source of a function when it is launched.
"""

# pyright: reportMissingTypeStubs=false
from __future__ import annotations

import contextlib
import importlib
import sys
from collections.abc import Generator, Sequence
from typing import Any

from rocassay.harness.errors import RocassayError
from rocassay.harness.mutants.mutant import Mutant
from rocassay.harness.mutants.reach import DeviceFunction


class StaleSource(RocassayError):
    """The file of a kernel has changed since the kernel was imported."""


@contextlib.contextmanager
def injected(mutant: Mutant, callers: Sequence[DeviceFunction]) -> Generator[None, None, None]:
    """While open, the mutant's function has the mutant's source.

    `callers`: all device functions that may call it; what Triton remembers of their sources is forgotten, on the way
    in and out. StaleSource when the imported function is not the one that the mutant was made of.
    """
    function, original = _loaded(mutant.function), mutant.function.source
    if function.src.rstrip() != original.rstrip():
        raise StaleSource(
            f"{mutant.function.module}:{mutant.function.name} is not imported as its file has it; start anew"
        )
    original = function.src
    loaded = [_loaded(caller) for caller in callers if caller.module in sys.modules]
    _rewrite(function, mutant.source, loaded)
    try:
        yield
    finally:
        _rewrite(function, original, loaded)


def _loaded(function: DeviceFunction) -> Any:
    return getattr(importlib.import_module(function.module), function.name)


def _rewrite(function: Any, source: str, callers: Sequence[Any]) -> None:
    function._unsafe_update_src(source)
    # A caller's hash, by which compiled code is found again, covers the sources of what it calls.
    for caller in callers:
        caller.hash = None
