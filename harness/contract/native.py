"""Signatures that pybind11 bindings give native functions, and schemas of torch ops, read from C++ text."""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator

from rocassay.harness.contract.signature import Parameter, Signature

_COMMENT = re.compile(r"//[^\n]*|/\*.*?\*/|\\\n", re.DOTALL)
_DEFINED = re.compile(r"\.\s*def\s*\(\s*((?:\"[^\"]*\"\s*)+)")
_NAMED = re.compile(r"(?:py(?:bind11)?::arg\s*\(\s*\"(\w+)\"\s*\)|\"(\w+)\"_a)(?:\s*=\s*(.*))?", re.DOTALL)
_KEYWORDS_ONLY = re.compile(r"py(?:bind11)?::kw_only\s*\(\s*\)")

_PYTHON = {"true": "True", "false": "False", "std::nullopt": "None", "c10::nullopt": "None", "py::none()": "None"}
"""C++ values that Python's stubs spell otherwise."""


def native_functions(texts: Iterable[str]) -> dict[str, tuple[Signature, ...]]:
    """Name -> signatures of all bindings with named arguments; one without names tells nothing and is left out."""
    found: dict[str, list[Signature]] = {}
    for text in texts:
        if ".def" not in text:
            continue
        for name, arguments in bindings(text):
            signature = _signature(arguments)
            if signature.parameters and signature not in found.setdefault(name, []):
                found[name].append(signature)
    return {name: tuple(signatures) for name, signatures in found.items() if signatures}


def bindings(text: str) -> Iterator[tuple[str, list[str]]]:
    """(first string, further arguments) of every `.def(...)` in C++ text."""
    plain = _COMMENT.sub(" ", text)
    for match in _DEFINED.finditer(plain):
        name = "".join(re.findall(r"\"([^\"]*)\"", match[1]))
        yield name, list(_split(_balanced(plain, match.end())))


def _balanced(text: str, start: int) -> str:
    """Text from `start` to the parenthesis that closes the one before it."""
    depth, quoted = 1, False
    for at in range(start, len(text)):
        if text[at] == '"' and text[at - 1] != "\\":
            quoted = not quoted
        elif not quoted and text[at] in "([{":
            depth += 1
        elif not quoted and text[at] in ")]}":
            depth -= 1
            if not depth:
                return text[start:at]
    return text[start:]


def _split(text: str) -> Iterator[str]:
    """Parts between commas that stand in no bracket and no string."""
    depth, quoted, part = 0, False, ""
    for at, letter in enumerate(text):
        if letter == '"' and text[at - 1 : at] != "\\":
            quoted = not quoted
        elif not quoted:
            depth += (letter in "([{") - (letter in ")]}")
        if letter == "," and not depth and not quoted:
            yield part.strip()
            part = ""
        else:
            part += letter
    yield part.strip()


def _signature(arguments: list[str]) -> Signature:
    found: list[Parameter] = []
    only = False
    for argument in arguments:
        only = only or bool(_KEYWORDS_ONLY.fullmatch(argument))
        if match := _NAMED.fullmatch(argument):
            default = match[3].strip() if match[3] is not None else None
            kind = "keyword only" if only else "plain"
            found.append(Parameter(match[1] or match[2], kind, None if default is None else python_value(default)))
    return Signature(tuple(found))


def python_value(text: str) -> str:
    """A C++ default as Python spells it."""
    plain = re.sub(r"^std::make_optional\((.*)\)$", r"\1", " ".join(text.split()))
    return _PYTHON.get(plain, plain)


_SCHEMA = re.compile(r"\s*(?:(\w+)::)?(\w+)(?:\.\w+)?\s*\((.*)\)\s*->", re.DOTALL)


def schema(text: str) -> tuple[str, str, Signature] | None:
    """(namespace, name, signature) of a torch schema, `op(Tensor a, *, int k=1) -> Tensor`; None if it is none."""
    match = _SCHEMA.match(text)
    if not match:
        return None
    found: list[Parameter] = []
    only = False
    for part in filter(None, _split(match[3])):
        if part == "*":
            only = True
            continue
        declared, equals, default = part.partition("=")
        found.append(
            Parameter(declared.split()[-1], "keyword only" if only else "plain", default.strip() if equals else None)
        )
    return match[1] or "", match[2], Signature(tuple(found))
