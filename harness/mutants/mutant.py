"""Mutants: what they are called, and all of them for an op."""

from __future__ import annotations

import ast
import functools
import hashlib
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace

from rocassay.harness.errors import RocassayError
from rocassay.harness.mutants.operators import OPERATORS, name_of
from rocassay.harness.mutants.reach import DeviceFunction, reach_of
from rocassay.harness.mutants.text import Edit, FunctionText
from rocassay.harness.ops import Op

HASH_DIGITS = 6
"""Of the line's hash: two different lines of one function share it with a chance of 1 in 16 million."""

INTERPRETED = "triton"
"""Dialect that the interpreter knows; Gluon is compiled only."""

INTERPRETER = "interpreter"
"""The engine without a compiler: it tells which lines a case executes; of the others machine code tells."""


class UnknownMutant(RocassayError, KeyError):
    """No mutant of that id exists."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True, slots=True)
class Mutant:
    """One small mistake in one device function."""

    id: str
    """`module:function:hash of the line:operator`, `#2` and so on behind it where that occurs again."""
    function: DeviceFunction
    """As it is without the mistake."""
    operator: str
    """What kind of mistake."""
    line: int
    """Line in the module's file on which it begins."""
    statement: range
    """Lines in that file that execute it: those of its statement, of a compound one the head's."""
    old: str
    """The line or lines."""
    new: str
    """What becomes of them."""
    source: str
    """The whole function with the mistake."""


def mutants_of(op: Op, engine: str) -> tuple[Mutant, ...]:
    """Every mutant of what can run for the op on the engine, by module and line; equal texts once."""
    functions = reach_of(op.launcher).functions
    if engine == INTERPRETER:
        functions = tuple(function for function in functions if function.dialect == INTERPRETED)
    return tuple(mutant for function in functions for mutant in mutants_in(function))


@functools.lru_cache(maxsize=512)
def mutants_in(function: DeviceFunction) -> tuple[Mutant, ...]:
    """Every mutant of a device function, by place in its source."""
    text = FunctionText(function.source)
    known, counted = {function.source}, Counter[str]()
    found: list[Mutant] = []
    for operator, node, edit in _edits(text):
        source = edit.applied(function.source)
        if source not in known:
            known.add(source)
            mutant = _mutant(function, text, operator, node, edit)
            counted[mutant.id] += 1
            again = f"#{counted[mutant.id]}" if counted[mutant.id] > 1 else ""
            found.append(replace(mutant, id=mutant.id + again, source=source))
    return tuple(found)


def _edits(text: FunctionText) -> list[tuple[str, ast.AST, Edit]]:
    found = [
        (name_of(operator), node, edit)
        for node in text.sites()
        for operator in OPERATORS
        for edit in operator(node, text)
    ]
    return sorted(found, key=lambda item: (item[2].start, item[2].end))


def _mutant(function: DeviceFunction, text: FunctionText, operator: str, node: ast.AST, edit: Edit) -> Mutant:
    """The mutant, of whose kind there may be others on its line."""
    first, last = text.line_of(edit.start), text.line_of(edit.end - 1)
    old = text.lines(first, last)
    start, end = text.span(first, last)
    new = Edit(edit.start - start, edit.end - start, edit.new).applied(text.source[start:end])
    shared = hashlib.sha256(text.lines(first, first).encode()).hexdigest()[:HASH_DIGITS]
    where = f"{function.module.partition('.')[2]}:{function.name}"
    above = function.line - 1
    return Mutant(
        id=f"{where}:{shared}:{operator}",
        function=function,
        operator=operator,
        line=above + first,
        statement=_executed_by(text.statement(node), above),
        old=old,
        new=" ".join(new.split()),
        source="",
    )


def _executed_by(statement: ast.stmt, above: int) -> range:
    """Lines in the file that run a statement; of one that holds others those before them."""
    body: list[ast.stmt] = getattr(statement, "body", [])
    last = max(statement.lineno, body[0].lineno - 1) if body else statement.end_lineno or statement.lineno
    return range(above + statement.lineno, above + last + 1)


def sampled(mutants: Sequence[Mutant], limit: int) -> tuple[Mutant, ...]:
    """At most `limit` of them, evenly spread over their order; 0: all."""
    if not limit or limit >= len(mutants):
        return tuple(mutants)
    return tuple(mutants[number * len(mutants) // limit] for number in range(limit))
