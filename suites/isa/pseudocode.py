"""An interpreter of the ISA documents' pseudocode, as far as arithmetic instructions need it; for development only.

It evaluates one lane at a time and shares nothing with the engine. Integers are unbounded until they are stored.
"""
# pyright: reportUnknownMemberType=false, reportUnknownVariableType=false, reportUnknownArgumentType=false

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np

from rocassay.suites.isa.pseudonumbers import FLOATS, FUNCTIONS, NotKnown, Special, bits_of, cast, operate, part, typed

_TOKEN = re.compile(
    r"""\s*(?:(?P<cast>\d+'[FUIB](?=\())|(?P<sized>\d+'(?:0x[0-9a-fA-F]+|\d+)U?)
    |(?P<real>\d+\.\d+F?)|(?P<whole>(?:0x[0-9a-fA-F]+|\d+)(?:ULL|LL|U|F)?)|(?P<name>[A-Za-z_]\w*)
    |(?P<sign><<|>>|<>|<=|>=|==|!=|&&|\|\||\*\*|[-+*/&|^~!?:(){}\[\],.<>=;]))""",
    re.VERBOSE,
)
_PRECEDENCE = ({"||": 1, "&&": 2, "|": 3, "^": 4, "&": 5, "==": 6, "!=": 6, "<>": 6, "<": 7, ">": 7, "<=": 7, ">=": 7,
                "<<": 8, ">>": 8, "+": 9, "-": 9, "*": 10, "/": 10, "**": 11})  # fmt: skip


@dataclass(slots=True)
class Lane:
    """Registers of one lane, and variables; assigned values are bits or numbers.

    Attributes:
        names: S0 to S2, D0, VCC, SCC, EXEC, laneId and what the text assigns.
        library: pseudocode by name, for calls of other instructions.
    """

    names: dict[str, Any]
    library: Mapping[str, str] = field(default_factory=dict[str, str])


def execute(text: str, lane: Lane) -> None:
    """Execute the pseudocode of an instruction. Raises NotKnown."""
    clean = [line.split("//")[0].strip().rstrip(";") for line in text.split("\n")]
    lines = [line for line in clean if line]
    if any(word in text for word in ("lambda", "VGPR", "HW_REGISTERS", "SDWA", "OPSEL", "INST.")):
        raise NotKnown(text)
    if _run(lines, 0, lane, active=True) != len(lines):
        raise NotKnown(text)


def _run(lines: list[str], at: int, lane: Lane, *, active: bool) -> int:
    """Execute statements up to the end of a block; the line behind the last one. `break` raises StopIteration."""
    while at < len(lines):
        line = lines[at]
        if line.startswith(("else", "elsif", "endif", "endfor")):
            return at
        if line.startswith("if "):
            at = _branch(lines, at, lane, active=active)
        elif line.startswith("for "):
            at = _loop(lines, at, lane, active=active)
        elif line == "break":
            if active:
                raise StopIteration
            at += 1
        else:
            if active:
                _assign(line, lane)
            at += 1
    return at


def _branch(lines: list[str], at: int, lane: Lane, *, active: bool) -> int:
    done = not active
    while not lines[at].startswith("endif"):
        line = lines[at]
        condition = line[line.index(" ") : line.rindex(" then")] if " then" in line else "1"
        taken = not done and bool(Parser(condition, lane).whole())
        at = _run(lines, at + 1, lane, active=taken)
        done = done or taken
    return at + 1


def _loop(lines: list[str], at: int, lane: Lane, *, active: bool) -> int:
    found = re.match(r"for (\w+) in (\d+) : (\d+) do$", lines[at])
    if not found:
        raise NotKnown(lines[at])
    end = _run(lines, at + 1, lane, active=False)
    for value in range(int(found[2]), int(found[3]) + 1) if active else ():
        lane.names[found[1]] = value
        try:
            _run(lines, at + 1, lane, active=True)
        except StopIteration:
            break
    return end + 1


_TARGET = re.compile(r"(?P<name>\w+)(?P<rest>[^=]*?)\s*(?P<operator>[-+]?)=(?!=)\s*(?P<value>.*)$")


def _assign(line: str, lane: Lane) -> None:
    if line.startswith("declare"):
        lane.names[line.split()[1]] = 0
        return
    if line.startswith("{"):
        left, right = line.split("}", 1)
        value = Parser(right.split("=", 1)[1], lane).whole()
        for part in reversed(left.strip("{ ").split(",")):
            name, kind = part.strip().split(".")
            width = int(kind[1:])
            lane.names[name] = bits_of(value) & ((1 << width) - 1)
            value = bits_of(value) >> width
        return
    found = _TARGET.match(line)
    if not found:
        raise NotKnown(line)
    value = Parser(found["value"], lane).whole()
    if found["operator"]:
        old = Parser(found["name"] + found["rest"], lane).whole()
        value = old + value if found["operator"] == "+" else old - value
    _store(found["name"], found["rest"].strip(), value, lane)


def _store(name: str, rest: str, value: Any, lane: Lane) -> None:
    place = re.match(
        r"(?:\.(?P<before>\w\d+))?(?:\[(?P<high>[^:\]]+)(?: : (?P<low>[^\]]+))?\])?(?:\.(?P<kind>\w\d+))?$", rest
    )
    if not place:
        raise NotKnown(rest)
    kind = place["kind"] or (place["before"] if not place["high"] else None)
    if place["high"] is None and kind is None:
        lane.names[name] = value
        return
    if kind and kind[0] == "f" and not isinstance(value, np.floating):
        value = FLOATS[int(kind[1:])](value)
    elif kind and kind[0] == "f":
        value = value.astype(FLOATS[int(kind[1:])])
    if place["high"] is None:
        assert kind
        low, width = 0, int(kind[1:])
    else:
        high = int(Parser(place["high"], lane).whole())
        low = int(Parser(place["low"], lane).whole()) if place["low"] else high
        width = abs(high - low) + 1
        if low > high:
            raise NotKnown(rest)
    old = bits_of(lane.names.get(name, 0))
    keep = ((1 << width) - 1) << low
    lane.names[name] = old & ~keep | bits_of(value) << low & keep


class Parser:
    """One expression, evaluated while it is read."""

    def __init__(self, text: str, lane: Lane) -> None:
        self._tokens: list[tuple[str, str]] = []
        self._lane, self._at, at = lane, 0, 0
        while text[at:].strip():
            found = _TOKEN.match(text, at)
            if not found:
                raise NotKnown(text)
            assert found.lastgroup
            self._tokens.append((found.lastgroup, found[found.lastgroup]))
            at = found.end()

    def whole(self) -> Any:
        """The value of all of the text."""
        value = self._choice()
        if self._at != len(self._tokens):
            raise NotKnown(str(self._tokens))
        return value

    def _next(self) -> str:
        return self._tokens[self._at][1] if self._at < len(self._tokens) else ""

    def _take(self, expected: str) -> None:
        if self._next() != expected:
            raise NotKnown(f"{expected} in {self._tokens}")
        self._at += 1

    def _choice(self) -> Any:
        condition = self._binary(1)
        if self._next() != "?":
            return condition
        self._at += 1
        first = self._choice()
        self._take(":")
        second = self._choice()
        return first if condition else second

    def _binary(self, least: int) -> Any:
        left = self._unary()
        while (sign := self._next()) in _PRECEDENCE and _PRECEDENCE[sign] >= least:
            self._at += 1
            left = operate(sign, left, self._binary(_PRECEDENCE[sign] + 1))
        return left

    def _unary(self) -> Any:
        sign = self._next()
        if sign in ("-", "+", "~", "!"):
            self._at += 1
            value = self._unary()
            return {"-": lambda: -value, "+": lambda: value, "~": lambda: ~value, "!": lambda: int(not value)}[sign]()
        return self._postfix(self._atom())

    def _postfix(self, value: Any) -> Any:
        while self._next() in (".", "["):
            self._at += 1
            if self._tokens[self._at - 1][1] == ".":
                value = self._kind(value, self._next())
                self._at += 1
                continue
            high = self._binary(1)
            low = high
            if self._next() == ":":
                self._at += 1
                low = self._binary(1)
            self._take("]")
            value = part(value, int(high), int(low))
        return value

    def _kind(self, value: Any, kind: str) -> Any:
        if isinstance(value, Special):
            return Special(int(kind[1:]))
        if not re.fullmatch(r"[uifb]\d+", kind):
            raise NotKnown(kind)
        return typed(value, kind)

    def _atom(self) -> Any:
        if self._at >= len(self._tokens):
            raise NotKnown(str(self._tokens))
        group, text = self._tokens[self._at]
        self._at += 1
        if group == "sized":
            return int(text.split("'")[1].rstrip("U"), 0)
        if group == "real":
            return np.float32(text[:-1]) if text.endswith("F") else np.float64(text)
        if group == "whole":
            if text.endswith("F") and not text.startswith("0x"):
                return np.float32(text[:-1])
            return int(text.rstrip("UL"), 0)
        if group == "cast":
            self._take("(")
            value = self._choice()
            self._take(")")
            return cast(value, text[-1], int(text.split("'")[0]))
        if text == "(":
            value = self._choice()
            self._take(")")
            return value
        if text == "{":
            return self._joined()
        if group == "name":
            return self._call(text) if self._next() == "(" else self._named(text)
        raise NotKnown(text)

    def _joined(self) -> int:
        """{ S0.u32, S1.u32 }: widths are those of the last member access."""
        value = 0
        while True:
            part = bits_of(self._choice())
            token = self._tokens[self._at - 1][1]
            if not re.fullmatch(r"[uib]\d+", token):
                raise NotKnown("a concatenation of parts without a width")
            value = value << int(token[1:]) | part
            if self._next() == "}":
                self._at += 1
                return value
            self._take(",")

    def _named(self, name: str) -> Any:
        constants = {"INF": np.float64(np.inf), "NAN": np.float32(np.nan), "DENORM": Special(0),
                     "UNDERFLOW_F32": np.float32(0), "OVERFLOW_F32": np.float32(np.inf)}  # fmt: skip
        if name in self._lane.names:
            return self._lane.names[name]
        if name == "INF" and self._next() == ".":
            self._at += 2
            return np.float32(np.inf)
        if name == "NAN" and self._next() == ".":
            self._at += 2
        if name in constants:
            return constants[name]
        if name == "WAVE_MODE":  # WAVE_MODE.IEEE
            self._at += 2
            return 1
        raise NotKnown(name)

    def _call(self, name: str) -> Any:
        self._take("(")
        arguments = [self._choice()]
        while self._next() == ",":
            self._at += 1
            arguments.append(self._choice())
        self._take(")")
        if name in FUNCTIONS:
            return FUNCTIONS[name](*arguments)
        text = self._lane.library.get(name.upper())
        if text is None:
            raise NotKnown(name)
        inner = Lane({f"S{n}": bits_of(value) for n, value in enumerate(arguments)} | {"D0": 0}, self._lane.library)
        execute(text, inner)
        return typed(inner.names["D0"], name[-3:])
