"""The record schema as Markdown, from the models and the docstrings of their fields.

`python -m rocassay.reports.schema FILE` brings the tables in a document up to date.
"""

from __future__ import annotations

import sys
import types
import typing
from collections.abc import Iterator
from enum import Enum
from pathlib import Path
from typing import Any, Literal, Union

from rocassay.harness.errors import RocassayError
from rocassay.harness.results import Model, Record

BEGIN, END = "<!-- begin of the field tables -->\n", "<!-- end of the field tables -->\n"
"""What the tables stand between in a document; the command replaces them."""

_SCALARS: dict[Any, str] = {str: "string", int: "integer", float: "number", bool: "boolean", type(None): "null"}


def markdown() -> str:
    """A table of fields per kind of line, then one for each object inside of them."""
    lines = [_section(f"`{_kind(model)}`", model) for model in typing.get_args(Record)]
    return "\n".join([*lines, *(_section(model.__name__, model) for model in _inner())])


def _kind(model: type[Model]) -> str:
    return str(model.model_fields["kind"].default)


def _inner() -> list[type[Model]]:
    """Models that fields hold, in the order in which the lines lead to them."""
    found: dict[type[Model], None] = {}
    waiting: list[type[Model]] = list(typing.get_args(Record))
    while waiting:
        for field in waiting.pop(0).model_fields.values():
            new = [model for model in _models_in(field.annotation) if model not in found]
            found |= dict.fromkeys(new)
            waiting += new
    return list(found)


def _models_in(annotation: Any) -> Iterator[type[Model]]:
    if isinstance(annotation, type) and issubclass(annotation, Model):
        yield annotation
    for part in typing.get_args(annotation):
        yield from _models_in(part)


def _section(title: str, model: type[Model]) -> str:
    rows = [
        f"| `{name}` | {_words(field.annotation)}{'' if field.is_required() or name == 'kind' else ', optional'} "
        f"| {' '.join((field.description or '').split()).replace('|', chr(92) + '|')} |\n"
        for name, field in model.model_fields.items()
    ]
    about = " ".join((model.__doc__ or "").split())
    return f"### {title}\n\n{about}\n\n| field | type | meaning |\n|---|---|---|\n{''.join(rows)}"


def _words(annotation: Any) -> str:
    """A type as JSON has it."""
    origin, parts = typing.get_origin(annotation), typing.get_args(annotation)
    if origin is Literal:
        return " or ".join(f"`{part}`" for part in parts)
    if origin in (Union, types.UnionType):
        return " or ".join(map(_words, parts))
    if origin is tuple:
        return f"[{', '.join(map(_words, parts))}]"
    if origin is dict:
        return f"object of {_words(parts[1])}"
    if annotation is Ellipsis:
        return "…"
    if isinstance(annotation, type) and issubclass(annotation, Enum):
        return " or ".join(f"`{member.value}`" for member in annotation)
    if isinstance(annotation, type) and issubclass(annotation, Model):
        return f"[{annotation.__name__}](#{annotation.__name__.lower()})"
    return _SCALARS[annotation]


def updated(text: str) -> str:
    """A document with the tables of now between its marks; RocassayError for one without marks."""
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not (begin and end):
        raise RocassayError(f"the document has no place for the tables: it needs {BEGIN.strip()} and {END.strip()}")
    return f"{before}{BEGIN}\n{markdown()}\n{END}{after}"


def main(names: list[str]) -> None:
    """Bring documents up to date."""
    for path in map(Path, names):
        path.write_text(updated(path.read_text(encoding="utf-8")), encoding="utf-8")


if __name__ == "__main__":
    main(sys.argv[1:])
