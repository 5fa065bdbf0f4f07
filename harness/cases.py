"""Cases: one frozen description of what is run, whose text reproduces it on any machine."""

from __future__ import annotations

import itertools
import re
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass, replace

from rocassay.harness.arch import fp8_format_of
from rocassay.harness.errors import RocassayError
from rocassay.harness.fp8 import format_of

Value = int | str
"""A parameter is an integer or a word."""

_FORM = "op:arch:fp8:bsN:name=value,...:recipe:sN"
_WORD = re.compile(r"[A-Za-z0-9_.+-]+")
_INTEGER = re.compile(r"-?\d+")


class MalformedCase(RocassayError, ValueError):
    """A case id that does not parse."""


class MissingParameter(RocassayError, KeyError):
    """A case lacks a parameter that its op needs, or holds a word where a number belongs."""

    def __str__(self) -> str:
        return str(self.args[0])


@dataclass(frozen=True, slots=True, order=True)
class Case:
    """What is run: op, chip, byte format, page size, shapes, input recipe and seed.

    `str(case)` is the pytest id; `Case.parse(str(case)) == case`.
    """

    op: str
    """Operation, as in the registry."""
    arch: str
    """gfx architecture whose decisions are taken."""
    fp8: str
    """FP8 flavour of the cached bytes."""
    block_size: int
    """Tokens per cache page."""
    params: tuple[tuple[str, Value], ...] = ()
    """Shapes and modes, in the order in which the op declares them."""
    recipe: str = "tagged"
    """Name of the way in which inputs are drawn and placed."""
    seed: int = 0
    """Seed of the input generator."""

    def __str__(self) -> str:
        params = ",".join(f"{name}={value}" for name, value in self.params)
        return f"{self.op}:{self.arch}:{self.fp8}:bs{self.block_size}:{params}:{self.recipe}:s{self.seed}"

    def __getitem__(self, name: str) -> Value:
        for known, value in self.params:
            if known == name:
                return value
        raise MissingParameter(f"case {self} has no parameter {name!r}; `rocassay list --ids` shows complete ids")

    def integer(self, name: str) -> int:
        """Parameter `name` as an integer; MissingParameter if it is a word."""
        value = self[name]
        if isinstance(value, str):
            raise MissingParameter(f"parameter {name}={value} of case {self} is not an integer")
        return value

    def with_seed(self, seed: int) -> Case:
        """The same case with other random numbers."""
        return replace(self, seed=seed)

    @classmethod
    def parse(cls, text: str) -> Case:
        """The case that `text` names; raises MalformedCase saying which part is wrong."""
        parts = text.strip().split(":")
        if len(parts) != 7:
            raise MalformedCase(f"case id {text!r} has {len(parts)} parts, not 7; the form is {_FORM}")
        op, arch, fp8, block, params, recipe, seed = parts
        for name, word in (("op", op), ("arch", arch), ("recipe", recipe)):
            if not _WORD.fullmatch(word):
                raise MalformedCase(f"case id {text!r}: {name} {word!r} is not a word; the form is {_FORM}")
        fp8_format_of(arch)
        format_of(fp8)
        block_size = _prefixed_integer(text, "block size", "bs", block)
        if block_size < 1:
            raise MalformedCase(f"case id {text!r}: block size 0 is not a positive number of tokens")
        return cls(
            op,
            arch,
            fp8,
            block_size,
            tuple(_parse_params(text, params)),
            recipe,
            _prefixed_integer(text, "seed", "s", seed),
        )


def _prefixed_integer(text: str, name: str, prefix: str, part: str) -> int:
    digits = part.removeprefix(prefix)
    if not part.startswith(prefix) or not digits.isascii() or not digits.isdigit():
        raise MalformedCase(f"case id {text!r}: {name} {part!r} is not {prefix}N; the form is {_FORM}")
    return int(digits)


def _parse_params(text: str, params: str) -> Iterator[tuple[str, Value]]:
    for item in filter(None, params.split(",")):
        name, equals, value = item.partition("=")
        if not equals or not _WORD.fullmatch(name) or not _WORD.fullmatch(value):
            raise MalformedCase(f"case id {text!r}: parameter {item!r} is not name=value; the form is {_FORM}")
        yield name, int(value) if _INTEGER.fullmatch(value) else value


def cross(
    op: str,
    *,
    arches: Iterable[str],
    fp8s: Iterable[str],
    block_sizes: Iterable[int],
    recipes: Iterable[str] = ("tagged",),
    where: Callable[[Case], bool] = lambda _: True,
    **axes: Sequence[Value],
) -> list[Case]:
    """Every combination of the axes that satisfies `where`, in axis order."""
    points = itertools.product(arches, fp8s, block_sizes, recipes, itertools.product(*axes.values()))
    cases = (
        Case(op, arch, fp8, block_size, tuple(zip(axes, values, strict=True)), recipe)
        for arch, fp8, block_size, recipe, values in points
    )
    return [case for case in cases if where(case)]


@dataclass(frozen=True, slots=True)
class Selection:
    """Which cases a run is limited to; an empty field does not limit."""

    ops: frozenset[str] = frozenset()
    arches: frozenset[str] = frozenset()
    fp8s: frozenset[str] = frozenset()
    block_sizes: frozenset[int] = frozenset()
    cases: frozenset[str] = frozenset()

    def takes(self, op: str, arch: str, fp8: str, block_size: int) -> bool:
        """Whether a case or matrix cell with these axes is selected."""
        limits = ((op, self.ops), (arch, self.arches), (fp8, self.fp8s), (block_size, self.block_sizes))
        return all(not limit or value in limit for value, limit in limits)

    def takes_case(self, case: Case) -> bool:
        """Whether the case is selected, by its axes and, if ids are given, by its id."""
        by_axes = self.takes(case.op, case.arch, case.fp8, case.block_size)
        return by_axes and (not self.cases or str(case) in self.cases)
