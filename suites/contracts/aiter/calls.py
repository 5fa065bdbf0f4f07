"""How this project's calls of AITER are written."""

from __future__ import annotations

from typing import Any

from rocassay.harness.contract.declared import Call

TRITON = "aiter.ops.triton"


def call(name: str, *paths: str, versions: str = "", **rest: Any) -> Call:
    """A call that this project makes."""
    return Call(name, "rocassay", paths, versions=versions, **rest)


def grouped(module: str, function: str, folder: str = "attention") -> tuple[str, str]:
    """Paths of a Triton wrapper: the folder into which it moved, and where it was."""
    return f"{TRITON}.{folder}.{module}:{function}", f"{TRITON}.{module}:{function}"
