"""Source faults: a kernel module with one line rewritten, executed under another name."""

from __future__ import annotations

import functools
import importlib
import inspect
import linecache
import sys
from types import ModuleType

from rocassay.harness.errors import RocassayError
from rocassay.harness.faults.fault import ChangeSource


class StaleFault(RocassayError):
    """The line a fault rewrites is no longer in the source, or no longer unique."""


@functools.lru_cache(maxsize=64)
def mutated(fault: str, change: ChangeSource) -> ModuleType:
    """The module of `change` with its line rewritten; the original module is left alone.

    Raises StaleFault unless the line occurs exactly once.
    """
    source = rewrite(fault, inspect.getsource(importlib.import_module(change.module)), change)
    name = f"{change.module}__{fault.replace('-', '_')}"
    filename = f"<{change.module} with {fault}>"
    # Triton reads a kernel's text back through inspect, hence through linecache.
    linecache.cache[filename] = (len(source), None, source.splitlines(keepends=True), filename)
    module = ModuleType(name)
    module.__file__ = filename
    sys.modules[name] = module
    exec(compile(source, filename, "exec"), module.__dict__)  # noqa: S102
    return module


def rewrite(fault: str, source: str, change: ChangeSource) -> str:
    """`source` with the one line replaced, at its indentation."""
    lines = source.splitlines(keepends=True)
    places = [number for number, line in enumerate(lines) if line.strip() == change.line.strip()]
    if len(places) != 1:
        raise StaleFault(
            f"fault {fault}: the line {change.line!r} occurs {len(places)} times in {change.module}, not once; "
            "bring the fault up to the kernel's new source"
        )
    old = lines[places[0]]
    indentation = old[: len(old) - len(old.lstrip())]
    lines[places[0]] = "".join(f"{indentation}{line}\n" for line in change.becomes.splitlines())
    return "".join(lines)
