"""Signatures as a source file writes them: names, kinds, and defaults as text."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Literal

Kind = Literal["positional only", "plain", "variadic", "keyword only", "keywords"]
"""How a parameter takes its value; `variadic` is *args, `keywords` is **kwargs."""


@dataclass(frozen=True, slots=True)
class Parameter:
    """One parameter."""

    name: str
    kind: Kind = "plain"
    default: str | None = None
    """Source text of the default; None: it must be passed."""

    @property
    def required(self) -> bool:
        """Whether a call without it fails."""
        return self.default is None and self.kind not in ("variadic", "keywords")

    def __str__(self) -> str:
        stars = {"variadic": "*", "keywords": "**"}.get(self.kind, "")
        return f"{stars}{self.name}" + ("" if self.default is None else f"={self.default}")


@dataclass(frozen=True, slots=True)
class Signature:
    """The parameters of a function, in order."""

    parameters: tuple[Parameter, ...]

    @property
    def slots(self) -> tuple[Parameter, ...]:
        """What positional arguments fill, in order."""
        return tuple(each for each in self.parameters if each.kind in ("positional only", "plain"))

    @property
    def by_keyword(self) -> dict[str, Parameter]:
        """What can be passed by name."""
        return {each.name: each for each in self.parameters if each.kind in ("plain", "keyword only")}

    def takes_any(self, kind: Literal["variadic", "keywords"]) -> bool:
        """Whether further positional (`variadic`) or named (`keywords`) arguments are taken."""
        return any(each.kind == kind for each in self.parameters)

    def __str__(self) -> str:
        return f"({', '.join(_marked(self.parameters))})"


def _marked(parameters: tuple[Parameter, ...]) -> Iterator[str]:
    """Parameters as text, with the bare / and * that separate their kinds."""
    starred = any(each.kind == "variadic" for each in parameters)
    before: Kind | None = None
    for each in parameters:
        if before == "positional only" and each.kind != "positional only":
            yield "/"
        if each.kind == "keyword only" and not starred:
            starred = True
            yield "*"
        yield str(each)
        before = each.kind
    if before == "positional only":
        yield "/"


def of_arguments(arguments: ast.arguments, *, bound: bool = False) -> Signature:
    """Signature of a function's or lambda's arguments; `bound` drops the first, as calling a method does."""
    first = [("positional only", each) for each in arguments.posonlyargs] + [("plain", each) for each in arguments.args]
    defaults = [None] * (len(first) - len(arguments.defaults)) + [ast.unparse(each) for each in arguments.defaults]
    found: list[Parameter] = []
    for (kind, each), default in zip(first, defaults, strict=True):
        found.append(Parameter(each.arg, "plain" if kind == "plain" else "positional only", default))
    if arguments.vararg:
        found.append(Parameter(arguments.vararg.arg, "variadic"))
    for each, value in zip(arguments.kwonlyargs, arguments.kw_defaults, strict=True):
        found.append(Parameter(each.arg, "keyword only", None if value is None else ast.unparse(value)))
    if arguments.kwarg:
        found.append(Parameter(arguments.kwarg.arg, "keywords"))
    return Signature(tuple(found[1:] if bound and found else found))
